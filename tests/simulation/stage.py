"""What schedules share: a running org, a folder, a ledger's database, and the configurations that they switch between."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from local_org.launch import RunningOrg, spawn
from pipeline.core.configuration.configuration import Configuration
from resources.configuration import read_configuration
from resources.ledger import tables as t
from resources.ledger.database import Database
from tests.plant import FIELDS, LETTERS, clean, integration
from tests.simulation.clients import let_go_of

SHAPES: Final = ("lead", "all", "routed", "double", "account", "contacts")
"""Which integrations there are; `_integrations` says what each shape means."""

SCHEDULES_PER_ORG: Final = 200
"""After so many the org begins anew: what was deleted in it makes it slower."""

OPTIONS: Final = {"edit_converted_leads": True, "random_seed": 7}
"""A user who may edit converted leads: so only the pipeline itself can leave them alone (R25)."""


def _routed(name: str) -> list[dict[str, Any]]:
    """Two markets that write the same fields: candidate fields say which of them scores a record."""
    return [
        integration(name, "fit", "Fit", candidate_field="Fit_Candidate__c"),
        integration(name, "other", "Fit", candidate_field="Other_Candidate__c"),
    ]


def _integrations(shape: str) -> list[dict[str, Any]]:
    of_contacts = integration("Contact", persist=False)
    return {
        "lead": [integration("Lead")],
        "all": [integration("Lead"), of_contacts, integration("Account")],
        "routed": [*_routed("Lead"), integration("Account")],
        "double": [integration("Lead"), integration("Lead", "other", "Other")],
        "account": [integration("Account", candidate_field="Fit_Candidate__c")],
        "contacts": [integration("Contact", account_changes=True), integration("Account")],
    }[shape]


@dataclass
class Stage:
    """The shared parts, in a folder of their own; `url` is the ledger's."""

    folder: Path
    url: str
    org: RunningOrg
    schedules: int = 0
    _known: dict[tuple[str, str, bool, str], Configuration] = field(default_factory=dict)
    letters: Any = field(init=False)

    def __post_init__(self) -> None:
        spec = importlib.util.spec_from_file_location("letters", LETTERS / "model.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.letters = module.load(self.folder)
        database = Database(self.url)
        database.migrate()
        database.engine.dispose()
        if self.is_sqlite:
            shutil.copy(self._database, self.folder / "empty.db")

    @property
    def is_sqlite(self) -> bool:
        """Whether the ledger is a file."""
        return self.url.startswith("sqlite")

    @property
    def _database(self) -> Path:
        return Path(self.url.removeprefix("sqlite:///"))

    def configuration(
        self, shape: str, version: str, narrow: bool, half_saved: str = ""
    ) -> Configuration:
        """Return a configuration; `narrow` leaves an insight out of the mappings.

        Of the file `half_saved` only the first half is there.
        """
        key = (shape, version, narrow, half_saved)
        if key not in self._known:
            folder = self.folder / "-".join(map(str, key))
            entries = _integrations(shape)
            for market in ("fit", "other"):
                shutil.copytree(LETTERS, folder / "markets" / market)
                path = folder / "markets" / market / "market.yaml"
                described = yaml.safe_load(path.read_text())
                path.write_text(yaml.safe_dump(described | {"version": version}))
            (folder / "integrations").mkdir()
            for entry in entries:
                if narrow:
                    entry["outputs"].pop("good")
                path = folder / "integrations" / f"{entry['object']}.{entry['market']}.yaml"
                path.write_text(yaml.safe_dump(entry))
            if half_saved:
                path = folder / "integrations" / half_saved
                path.write_text(path.read_text()[: path.stat().st_size // 2])
            settings = {"environment": "local", "time_zone": "UTC", "daily_pull_time": "02:00"}
            (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
            self._known[key] = read_configuration(folder)
        return self._known[key]

    def fresh(self) -> None:
        """Make org and ledger as new."""
        self.schedules += 1
        if self.schedules % SCHEDULES_PER_ORG == 0:
            self.org.stop()
            self.org = new_org(self.folder)
        self.org.control("POST", "clock", {"frozen": False, "offset_seconds": 0})
        clean(self.org)
        self.org.set_options(**OPTIONS, query_page_rows=2000)
        self.empty_ledger()

    def empty_ledger(self) -> None:
        """Forget everything that the ledger holds."""
        if self.is_sqlite:
            self.put_ledger(self.folder / "empty.db")
            return
        with Database(self.url).begin() as connection:
            for table in t.metadata.sorted_tables:
                connection.execute(table.delete())

    def copy_ledger(self, target: Path) -> None:
        """Take a backup of the ledger as SQLite does it while others work."""
        target.unlink(missing_ok=True)
        with sqlite3.connect(self._database) as source, sqlite3.connect(target) as copy:
            source.backup(copy)
        copy.close()
        source.close()

    def put_ledger(self, source: Path) -> None:
        """Put a backup in the ledger's place; nobody has it open."""
        let_go_of(self.url)
        for path in self._database.parent.glob(f"{self._database.name}*"):
            path.unlink()
        shutil.copy(source, self._database)

    def kill_org(self) -> None:
        """Kill -9 the org's process and start it again on the same port."""
        options = self.org.control("GET", "options")
        process, port = self.org.process, int(self.org.base_url.rsplit(":", 1)[1])
        assert process is not None
        process.kill()
        process.wait()
        self.org = spawn(self.org.data, port=port)
        self.org.set_options(**options)


def new_org(folder: Path) -> RunningOrg:
    """Start an org with the test markets' fields on new data."""
    data = folder / "org.sqlite3"
    for path in folder.glob("org.sqlite3*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    org = spawn(data)
    org.add_fields(**FIELDS)
    return org


def memory_folder() -> str | None:
    """Return a folder in memory where there is one: what is synced there costs nothing."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def stage(url: str = "") -> Iterator[Stage]:
    """Set a stage up and take it down; without `url` the ledger is a SQLite file."""
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=memory_folder()) as name:
        folder = Path(name)
        found = Stage(folder, url or f"sqlite:///{folder / 'ledger.db'}", new_org(folder))
        try:
            yield found
        finally:
            found.org.stop()
            let_go_of(found.url)
