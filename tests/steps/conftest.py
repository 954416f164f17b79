"""The command `insights` in this process, on a new org over HTTP, with folders of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from local_org.launch import ADMIN_CLIENT_ID, ADMIN_CLIENT_SECRET, RunningOrg, start
from pipeline.cli import cli
from pipeline.commands.clients import opened_clients
from pipeline.core.errors import InsightsError
from pipeline.core.org_fit.preflight import Preflight
from pipeline.steps.preflight import check_and_roll_out
from resources.salesforce.calls import RetryPolicy
from tests.conftest import PLANT_VARIABLES

SAMPLES = Path(__file__).parents[2] / "config" / "local" / "markets"


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said, its error's message included."""

    code: int
    text: str

    def json(self) -> Any:
        """Return what it said to programs."""
        return json.loads(self.text)


def run_command(*arguments: str) -> Said:
    """Run the command as `main` does: errors for people become messages and exit codes."""
    result = CliRunner().invoke(cli, list(arguments))
    if isinstance(result.exception, InsightsError):
        return Said(result.exception.exit_code, f"{result.output}Error: {result.exception}")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.output)


@dataclass
class Desk:
    """An admin's desk: an org, a configuration's folder, a home, and the command."""

    org: RunningOrg
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def config(self) -> Path:
        """The folder of the configuration."""
        return self.folder / "config"

    @property
    def home(self) -> Path:
        """The folder of the state."""
        return self.folder / "home"

    def connect(self, org: RunningOrg) -> None:
        """Point the variables at an org, as its integration user."""
        self.org = org
        self.set(SALESFORCE_LOGIN_URL=org.base_url, **PLANT_VARIABLES)

    def set(self, **variables: str) -> None:
        """Set variables for this test."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def as_admin(self) -> None:
        """Describe the admin's connection beside the integration user's."""
        self.set(
            SALESFORCE_ADMIN_CLIENT_ID=ADMIN_CLIENT_ID,
            SALESFORCE_ADMIN_CLIENT_SECRET=ADMIN_CLIENT_SECRET,
        )

    def run(self, *arguments: str) -> Said:
        """Run the command as `main` does."""
        return run_command(*arguments)

    def check(self) -> Preflight:
        """Do what `insights check` does, with this desk's folders."""
        with opened_clients() as clients:
            return check_and_roll_out(clients)

    def configure(self, *integrations: dict[str, Any], markets: tuple[str, ...] = ()) -> None:
        """Write a configuration by hand."""
        shutil.rmtree(self.config, ignore_errors=True)
        (self.config / "integrations").mkdir(parents=True)
        for name in markets or ("enterprise_fit", "campaign_response"):
            shutil.copytree(SAMPLES / name, self.config / "markets" / name)
        settings = {"environment": "local", "time_zone": "UTC", "daily_pull_time": "02:00"}
        (self.config / "settings.yaml").write_text(yaml.safe_dump(settings))
        for entry in integrations:
            path = self.config / "integrations" / f"{entry['object']}.{entry['market']}.yaml"
            path.write_text(yaml.safe_dump(entry))


MakeDesk = Callable[[RunningOrg], Desk]


@pytest.fixture
def desk_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeDesk:
    """Make a desk on an org; retries wait for nothing."""
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (6, 0.0, 0.0, 0.0), raising=True)
    monkeypatch.setenv("INSIGHTS_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("INSIGHTS_LEDGER_URL", raising=False)

    def make(org: RunningOrg) -> Desk:
        desk = Desk(org, tmp_path, monkeypatch)
        desk.connect(org)
        return desk

    return make


@pytest.fixture(scope="session")
def plain_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """Run one org without custom fields, for tests that only read it."""
    with start(tmp_path_factory.mktemp("plain") / "org.sqlite3") as org:
        yield org


@pytest.fixture
def new_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """Run an org of the test's own, without custom fields."""
    with start(tmp_path / "org.sqlite3") as org:
        yield org


@pytest.fixture
def plain_desk(plain_org: RunningOrg, desk_for: MakeDesk) -> Desk:
    """Give a desk on the org that is only read."""
    return desk_for(plain_org)


@pytest.fixture
def desk(new_org: RunningOrg, desk_for: MakeDesk) -> Desk:
    """Give a desk on an org of the test's own."""
    return desk_for(new_org)
