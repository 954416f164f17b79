"""The org's process is killed with -9 in the middle of a run and started again on its port; and runs whose process died."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest

from assets.partitions import partition_key
from local_org.launch import spawn
from pipeline.jobs import OBJECT_TAG
from pipeline.sensors import DEAD_AFTER
from pipeline.steps.budget import LEASE_LASTS
from pipeline.steps.clients import Clients
from tests.conftest import PLANT_VARIABLES
from tests.crash.trial import FLOW
from tests.plant import FIELDS, Plant, integration

ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.mark.parametrize(
    "at",
    [
        pytest.param("/composite", marks=pytest.mark.slow),
        "/jobs/ingest/",
        pytest.param("/successfulResults", marks=pytest.mark.slow),
    ],
)
def test_org_that_dies_while_it_is_asked_is_served_by_the_next_ticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """R20, D3: the run ends with a message; with the org back on its port each lead is pushed once."""
    data = tmp_path / "org.sqlite3"
    org = spawn(data)
    try:
        org.add_fields(**FIELDS)
        for name, value in {**PLANT_VARIABLES, "SALESFORCE_LOGIN_URL": org.base_url}.items():
            monkeypatch.setenv(name, value)
        retries = "resources.salesforce.calls.RetryPolicy.__init__.__defaults__"
        monkeypatch.setattr(retries, (2, 0.0, 0.0, 0.0))
        plant = Plant(org, tmp_path, integrations=[integration("Lead")], in_memory=True)
        org.control("POST", "flows", FLOW)
        plant.turn_on()
        leads = plant.create("Lead", ACME, {**ACME, "Company": "Umbrella"})
        plant.wait(minutes=1)
        skip = int(at == "/composite")  # the sensor's own question
        held = org.arm("slow", seconds=600, path=at, skip=skip, count=1)
        assert org.process is not None
        killer = _kill_when(lambda: org.fault_count(held) > 0, org.process.pid)

        ran = plant.tick(resumed=None)[0]

        killer()
        assert [run["success"] for run in ran] == [False]
        org.process.wait()
        org = plant.org = spawn(data, port=int(urlsplit(org.base_url).port or 0))
        for _ in range(6):
            plant.wait(minutes=5)
            plant.tick(resumed=None)
        saves = org.query("SELECT Id, NumberOfEmployees FROM Lead")
        assert {row["Id"]: row["NumberOfEmployees"] for row in saves} == dict.fromkeys(leads, 2)
        assert plant.waiting("Lead") == 0
        assert "Open" not in [job["state"] for job in org.control("GET", "jobs")]
    finally:
        org.stop()


def _kill_when(holds: Callable[[], bool], pid: int) -> Callable[[], None]:
    """Kill -9 a process once it holds, from a thread; the answer waits for the end of it."""
    import os
    import signal
    import threading

    def watch() -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if holds():
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread.join


def test_run_whose_process_died_is_ended_by_the_sensor_and_its_work_is_done(
    shared_plant: Callable[..., Plant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3, D11: after a machine has died nobody else ends it, and no other run of its object would ever begin."""
    plant = shared_plant(integration("Lead"))
    plant.turn_on()
    plant.create("Lead", ACME)
    plant.wait(minutes=1)
    key = partition_key(plant.today, "Lead")
    dead = plant.instance.create_run_for_job(
        plant.definitions.resolve_job_def("pull"),
        status=dg.DagsterRunStatus.STARTED,
        tags={OBJECT_TAG: "Lead", "dagster/partition": str(key)},
    )
    plant.wait(minutes=5)

    runs, why_not = plant.ask()
    assert (runs, "is on its way" in why_not) == ([], True)
    later = time.time() + DEAD_AFTER.total_seconds() + 1
    monkeypatch.setattr("pipeline.sensors.time.time", lambda: later)
    assert plant.ask()[0] == []
    ended = plant.instance.get_run_by_id(dead.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE

    assert [run["pushed"] for run in plant.tick()[0]] == [1]


def test_run_that_holds_its_object_is_not_ended_however_long_it_takes(
    shared_plant: Callable[..., Plant], monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: the lease tells that it works."""
    plant = shared_plant(integration("Lead"))
    plant.turn_on()
    alive = plant.instance.create_run_for_job(
        plant.definitions.resolve_job_def("pull"),
        status=dg.DagsterRunStatus.STARTED,
        tags={OBJECT_TAG: "Lead"},
    )

    def hold(clients: Clients) -> None:
        leases, now = clients.ledger.leases, clients.now()
        assert leases.acquire("Lead", alive.run_id, now=now, lasts=LEASE_LASTS) is not None

    plant.with_clients(hold)
    later = time.time() + DEAD_AFTER.total_seconds() + 1
    monkeypatch.setattr("pipeline.sensors.time.time", lambda: later)

    plant.ask()

    run = plant.instance.get_run_by_id(alive.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.STARTED
