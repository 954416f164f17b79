"""Kill -9 of what really runs in production: the run worker, the daemon with all below it, the org (D3, D11)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg
import pytest

from pipeline.instance import write_dagster_yaml
from tests.crash.trial import FLOW
from tests.plant import Plant, integration

ROOT: Final = Path(__file__).parents[2]
PATIENCE_SECONDS: Final = 800
"""Longer than a busy machine needs, shorter than the suite's own time-out: then the daemon's log is shown."""

HELD_SECONDS: Final = 900
ACME: Final = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
UPLOAD: Final = {"method": "PUT", "path": r"/jobs/ingest/\w+/batches$"}


@dataclass
class Site:
    """A plant on the real clock, and Dagster's daemon on it with sensor and schedule on."""

    plant: Plant
    folder: Path
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def dagster_home(self) -> Path:
        """Where Dagster's own state lies."""
        return self.folder / "dagster_home"

    def start_daemon(self) -> None:
        """Start the daemon in a process group of its own; its code server and run workers belong to it."""
        write_dagster_yaml(self.dagster_home)
        env = os.environ | {
            "DAGSTER_HOME": str(self.dagster_home),
            "INSIGHTS_HOME": str(self.folder / "home"),
            "INSIGHTS_CONFIG": str(self.folder / "config"),
            "INSIGHTS_RUNNING": "1",
        }
        command = [sys.executable, "-m", "dagster._daemon", "run", "-w", "workspace.yaml"]
        with (self.folder / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill_daemon(self) -> None:
        """Kill -9 the daemon, its code server and its run workers, as when a machine dies."""
        if self.daemon is not None:
            os.killpg(self.daemon.pid, signal.SIGKILL)
            self.daemon.wait()

    def let_pass(self, minutes: int) -> None:
        """Make what stands in the two databases older, as if the machine had been off for so long."""
        with closing(sqlite3.connect(self.folder / "home" / "ledger.db")) as ledger, ledger:
            ledger.execute(
                "UPDATE object_leases SET expires_at = datetime(expires_at, ?)",
                (f"-{minutes} minutes",),
            )
        runs = self.dagster_home / "history" / "runs.db"
        with closing(sqlite3.connect(runs)) as dagster, dagster:
            dagster.execute("UPDATE runs SET start_time = start_time - ?", (60 * minutes,))

    def worker_pid(self) -> int:
        """Return the process that works on the newest run."""
        with dg.DagsterInstance.from_config(str(self.dagster_home)) as instance:
            (run,) = instance.get_runs(limit=1)
            for entry in instance.all_logs(run.run_id):
                event = entry.dagster_event
                data = event.engine_event_data if event and event.is_engine_event else None
                if data and "pid" in data.metadata:
                    pid = int(str(data.metadata["pid"].value))
                    if Path(f"/proc/{pid}").exists():
                        return pid
        raise AssertionError(f"no process works on run {run.run_id}")

    def wait_until(self, holds: Callable[[], object]) -> None:
        """Wait until it holds; fail with the daemon's log."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            log = (self.folder / "daemon.log").read_text()[-4000:]
            assert time.monotonic() < deadline, log
            assert self.daemon is None or self.daemon.poll() is None, log
            time.sleep(0.2)


@pytest.fixture
def site(shared_plant: Callable[..., Plant], tmp_path: Path) -> Iterator[Site]:
    """A site on the real clock with one new lead; the daemon is ended with the test."""
    plant = shared_plant(integration("Lead"), pull_interval_minutes=1)
    plant.set_clock(datetime.now(UTC))
    plant.let_clock_run()
    plant.org.control("POST", "flows", FLOW)
    plant.turn_on()
    plant.let_clock_run()
    site = Site(plant, tmp_path)
    try:
        yield site
    finally:
        site.kill_daemon()


@pytest.mark.slow
@pytest.mark.parametrize(
    "killed",
    ["the run worker", pytest.param("the daemon and all below it", marks=pytest.mark.slow)],
)
def test_run_of_the_daemon_that_is_killed_in_its_push_is_finished(site: Site, killed: str) -> None:
    """D3, D11: Dagster starts the run again, or the next tick does its work; the lead is pushed once."""
    plant = site.plant
    (lead,) = plant.create("Lead", ACME)
    held = plant.org.arm("slow", seconds=HELD_SECONDS, count=1, **UPLOAD)
    site.start_daemon()
    site.wait_until(lambda: plant.org.fault_count(held))

    if killed == "the run worker":
        os.kill(site.worker_pid(), signal.SIGKILL)
    else:
        site.kill_daemon()
        site.let_pass(minutes=12)
        site.start_daemon()
    plant.org.clear_faults()

    site.wait_until(lambda: plant.waiting("Lead") == 0 and plant.scored_at("Lead", lead))
    _judge(plant, lead)


def _judge(plant: Plant, lead: str) -> None:
    """The lead is scored and was saved twice: when it was made, and by one push. No job of ours is open."""
    record = plant.org.query(
        f"SELECT NumberOfEmployees, Fit_Note__c FROM Lead WHERE Id = '{lead}'"
    )[0]
    assert (record["Fit_Note__c"], record["NumberOfEmployees"]) == ("Acme|CEO", 2)
    states = [job["state"] for job in plant.org.control("GET", "jobs") if job["object"] == "Lead"]
    assert "Open" not in states
    assert plant.with_clients(lambda clients: clients.ledger.segments.unfinished()) == []
    assert plant.with_clients(lambda clients: clients.ledger.days.use(clients.today, 1).used) == 1
