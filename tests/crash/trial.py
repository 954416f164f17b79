"""One trial: a run is killed at a chosen effect, ticks go on, and the verdict is what must hold however it died.

The scene has leads of every kind that a pull meets: new, edited, never scored, one that the org refuses; and more of
them than one segment holds. Every save in the org is counted by the org itself, so that a second push shows.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sqlite3
import sys
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pyarrow.parquet as pq
import sqlalchemy as sa

from local_org.launch import RunningOrg
from pipeline.steps.clients import PUSHED, SCORED, Clients
from resources.ledger import tables as t
from tests.crash.effects import Effects
from tests.crash.forked import Ended, forked
from tests.plant import Plant, clean, integration

TICKS_MAX: Final = 40
TICK_MINUTES: Final = 3
LIMIT: Final = 40
TODAY: Final = date(2026, 3, 10)
REFUSED: Final = "Okafor"
FLOW: Final = {
    "object": "Lead",
    "name": "Saves",
    "field": "NumberOfEmployees",
    "expression": "append_counter",
}
RULE: Final = {
    "object": "Lead",
    "name": "Legal_Hold",
    "condition": f"LastName = '{REFUSED}' AND Mintigo_hash__c != null",
    "message": "This lead is on legal hold.",
}
WHOLE: Final = [{"job": "pull", "success": True, "claimed": 6, "pushed": 5, "failed": 1}]
"""What the pull of the scene comes to, where nothing happens to it."""

ASKED: Final = (
    "Id, LastName, Company, Title, NumberOfEmployees, Fit_Score__c, Fit_Note__c, Mintigo_hash__c, "
    "Mintigo_update_datetime__c"
)


@dataclass(frozen=True, slots=True)
class Ticked:
    """What a tick came to: the runs that it asked for, or why there were none; why runs failed; what its process did."""

    runs: list[dict[str, Any]]
    why_not: str
    told: list[str]
    cursor: str | None
    effects: list[str]
    modules: list[str]


@dataclass
class Trial:
    """A plant with its scene set; every run is a process of its own.

    The runs do without Dagster's engine, whose events here are in memory and no effects, or go `through_dagster`.
    `pushes` is how often each lead has to be pushed from the beginning to the end.
    """

    org: RunningOrg
    folder: Path
    through_dagster: bool = False
    plant: Plant = field(init=False)
    pushes: Counter[str] = field(default_factory=Counter)
    saves: Counter[str] = field(default_factory=Counter)
    fates: list[str] = field(default_factory=list)
    jobs_before: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        clean(self.org)
        self.plant = Plant(
            self.org,
            self.folder,
            settings={"segment_records_max": 3, "daily_record_limit": LIMIT},
            integrations=[integration("Lead")],
            in_memory=True,
            through_dagster=self.through_dagster,
        )
        self.jobs_before = {job["id"] for job in self.org.control("GET", "jobs")}
        self.org.control("POST", "flows", FLOW)
        self.org.control("POST", "validation-rules", RULE)

    @property
    def home(self) -> Path:
        """Where ledger and lake lie."""
        return self.folder / "home"

    def set_scene(self) -> None:
        """Let two leads be scored, then edit one of them and let five more arrive, one of them refused."""
        old = self._create("Ito", "Sato")
        self._in_child(self.plant.turn_on)
        self.plant.wait(minutes=1)
        self._in_child(self.plant.tick)
        self.pushes.update(old)
        self.plant.wait(minutes=5)
        self.plant.edit("Lead", old[0], Company="Edited")
        self.saves[old[0]] += 1
        new = self._create("Abe", "Mori", REFUSED, "Ueda", "Wada")
        self.pushes.update([old[0], *new])
        self.plant.wait(minutes=1)

    def _create(self, *names: str) -> list[str]:
        people = [{"LastName": n, "Company": f"{n} AG", "Title": "CEO"} for n in names]
        ids = self.plant.create("Lead", *people)
        self.saves.update(ids)
        return ids

    def tick(self, kill_at: int = 0, *, on_the_way: bool = False, full_at: int = 0) -> Ended:
        """Let one tick of the sensor and the runs that it asks for happen, killed at an effect where wanted.

        Or with a disk that is full from an effect on.
        """
        effects = Effects(self.home, self.folder / "told", kill_at, on_the_way, full_at)

        def step() -> Ticked:
            effects.watch()
            ran, why_not = self.plant.tick(resumed=None)
            cursor, modules = self.plant.cursor, sorted(sys.modules)
            told = [_why(self.plant) for run in ran if not run["success"]]
            runs = [_plain(run) for run in ran]
            return Ticked(runs, why_not, told, cursor, effects.seen, modules)

        ended = forked(step, Path(os.devnull) if full_at else self.folder / "log")
        if ended.was_killed:
            self.fates.append((self.folder / "told").read_text().splitlines()[-1])
        else:
            self.plant.cursor = ended.value.cursor
            _import(ended.value.modules)
            if full_at:
                self.fates.append(ended.value.effects[full_at - 1])
        return ended

    def finish(self) -> list[dict[str, Any]]:
        """Tick until two ticks in a row have nothing to do; return the runs that there were."""
        runs: list[dict[str, Any]] = []
        quiet = 0
        for _ in range(TICKS_MAX):
            self.plant.wait(minutes=TICK_MINUTES)
            ticked: Ticked = self.tick().value
            runs += ticked.runs
            assert all(run["success"] for run in ticked.runs), self._log()
            quiet = quiet + 1 if "nothing new" in ticked.why_not else 0
            if quiet == 2:
                return runs
        raise AssertionError(f"not quiet after {TICKS_MAX} ticks: {runs[-3:]}")

    # -- the verdict ---------------------------------------------------------------------------

    def judge(self, *, has_lost: bool = False) -> None:
        """Hold everything that a killed run may have spoilt against what must be there.

        Where ledger or lake `has_lost` something, their accounts cannot be whole; the org's records must be.
        """
        self._judge_org()
        self._in_child(lambda: self.plant.with_clients(lambda w: self._judge_ledger(w, has_lost)))
        self._judge_lake(has_lost)

    def _judge_org(self) -> None:
        for lead in self.org.query(f"SELECT {ASKED} FROM Lead WHERE IsDeleted = false"):
            text = f"{lead['Company']}|{lead['Title']}"
            pushes = 0 if lead["LastName"] == REFUSED else self.pushes[lead["Id"]]
            saves = self.saves[lead["Id"]] + pushes
            found = (lead["Fit_Note__c"], lead["Fit_Score__c"], lead["NumberOfEmployees"])
            if lead["LastName"] == REFUSED:
                assert found == (None, None, saves), lead
                continue
            assert found == (text, zlib.crc32(text.encode()) % 101, saves), lead
            assert lead["Mintigo_hash__c"], lead
            assert lead["Mintigo_update_datetime__c"], lead

    def _judge_ledger(self, clients: Clients, has_lost: bool) -> None:
        ledger = clients.ledger
        known = {
            job.job_id
            for s in ledger.segments.all()
            for job in ledger.push_jobs.of_segment(s.segment_id)
        }
        jobs = self.org.control("GET", "jobs")
        open_jobs = {j["id"] for j in jobs if j["state"] == "Open"} - self.jobs_before
        assert not known.intersection(open_jobs), "a job whose id was recorded is left open"
        # One whose id was lost with the process holds no data: there can be as many as there were deaths.
        assert len(open_jobs) <= len(self.fates)
        assert ledger.segments.unfinished() == []
        refused = self._refused()
        with ledger.database.read() as connection:
            waits = [(r.record_id, r.error_code) for r in connection.execute(sa.select(t.waiting))]
            scored = Counter(connection.scalars(sa.select(t.scorings.c.record_id)))
        assert waits == [(refused, "FIELD_CUSTOM_VALIDATION_EXCEPTION")]
        used, in_files = ledger.days.use(TODAY, LIMIT).used, self._kept(SCORED).total()
        assert in_files <= used <= LIMIT
        if not has_lost:
            assert scored.pop(refused) >= 1
            assert scored == {i: n for i, n in self.pushes.items() if i != refused}
            assert used == in_files, "the partition does not hold what was charged"

    def _judge_lake(self, has_lost: bool) -> None:
        refused = self._refused()
        wanted = Counter({i: n for i, n in self.pushes.items() if i != refused})
        for asset in () if has_lost else (SCORED, PUSHED):
            kept = self._kept(asset)
            assert kept.pop(refused) >= 1
            assert kept == wanted, asset
        lake = self.home / "lake"
        files = [path.relative_to(lake) for path in lake.rglob("*") if path.is_file()]
        left = [p for p in files if p.suffix != ".parquet" or p.parts[0] == "_work"]
        if has_lost:  # the last job's note is dropped by the object's next run
            left = [path for path in left if path.parts[:2] != ("_work", "jobs")]
        assert left == [], f"files that no run will look at again: {left}"

    def _refused(self) -> str:
        (lead,) = self.org.query(
            f"SELECT Id FROM Lead WHERE LastName = '{REFUSED}' AND IsDeleted = false"
        )
        return str(lead["Id"])

    def _kept(self, asset: str) -> Counter[str]:
        folder = self.home / "lake" / asset / f"day={TODAY}" / "object=Lead"
        kept: Counter[str] = Counter()
        for file in folder.glob("*.parquet"):
            kept.update(pq.read_table(file, columns=["id"], partitioning=None)["id"].to_pylist())
        return kept

    def _in_child(self, step: Any) -> None:
        def quietly() -> Any:
            step()
            return self.plant.now, self.plant.cursor

        self.plant.now, self.plant.cursor = forked(quietly, self.folder / "log").value

    def _log(self) -> str:
        return (self.folder / "log").read_text()[-1500:]


def _import(modules: list[str]) -> None:
    """Import here what a child imported late, so that the next one need not."""
    for name in modules:
        if name not in sys.modules and not name.startswith(("insights_market_", "__")):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def _why(plant: Plant) -> str:
    """Return what a person is told of a failed run, as the command line tells it."""
    from pipeline.runs import _failure

    if isinstance(plant.last, dg.ExecuteInProcessResult):
        return _failure(plant.last)[0]
    return plant.failure()[0]


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    return {
        key: run[key] for key in ("job", "success", "claimed", "pushed", "failed") if key in run
    }


def kill_twice(trial: Trial, first: int, second: int, *, on_the_way: bool) -> int:
    """Kill a pull at its `first` effect and what takes over at its `second` (0: not); finish and judge.

    Return how many effects the first run had, where it was not killed.
    """
    trial.set_scene()
    ended = trial.tick(first, on_the_way=on_the_way)
    effects = 0 if ended.was_killed else len(ended.value.effects)
    if second:
        # The lease of the dead run is honoured until it ends.
        trial.plant.wait(minutes=11)
        trial.tick(second)
    trial.finish()
    trial.judge()
    return effects


def disk_full(trial: Trial, at: int) -> None:
    """Let the disk be full from an effect on; once there is room again, finish and judge.

    The run (or the tick, where it did not come so far) must say which folder or database takes nothing.
    """
    trial.set_scene()
    ticked: Ticked = trial.tick(full_at=at).value
    told = [*ticked.told, ticked.why_not] if ticked.runs != WHOLE else []
    for text in filter(None, told):
        assert str(trial.home) in text, text
        assert "cannot be" in text, text
        assert "next run goes on" in text, text
    assert any(told) or ticked.runs == WHOLE, ticked
    trial.finish()
    trial.judge()


def lake_lost(trial: Trial, at: int) -> None:
    """Kill a pull at an effect, take the lake away, finish and judge."""
    trial.set_scene()
    trial.tick(at)
    shutil.rmtree(trial.home / "lake")
    trial.finish()
    trial.judge(has_lost=True)


def ledger_restored(trial: Trial, at: int) -> None:
    """Kill a pull at an effect, put the ledger back as it was before the pull, finish and judge."""
    trial.set_scene()
    ledger, backup = trial.home / "ledger.db", trial.folder / "backup.db"
    copy_database(ledger, backup)
    trial.tick(at)
    for path in trial.home.glob("ledger.db*"):
        path.unlink()
    copy_database(backup, ledger)
    trial.finish()
    trial.judge(has_lost=True)


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database as `docs/backup.md` says: whole, whoever else works on it."""
    with closing(sqlite3.connect(source)) as of, closing(sqlite3.connect(target)) as to:
        of.backup(to)


__all__ = [
    "LIMIT",
    "TODAY",
    "Trial",
    "copy_database",
    "disk_full",
    "kill_twice",
    "lake_lost",
    "ledger_restored",
]
