"""A run whose calls take minutes each keeps its object (D3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import pytest

from assets.clients_resource import ClientsResource
from pipeline.core.errors import LeaseLost
from pipeline.jobs import OBJECT_TAG
from pipeline.steps.clients import Clients
from tests.plant import Plant, integration

Build = Callable[..., Plant]
COUNT = "SELECT COUNT() FROM Lead"


@pytest.fixture
def built(shared_plant: Build) -> Plant:
    """A plant with Lead turned on."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


@pytest.fixture
def run(built: Plant) -> dg.DagsterRun:
    """A run of the object that has begun."""
    return built.instance.create_run_for_job(
        job_def=built.definitions.resolve_job_def("pull"),
        status=dg.DagsterRunStatus.STARTED,
        tags={OBJECT_TAG: "Lead", "dagster/partition": "2026-03-10|Lead"},
    )


@pytest.fixture
def clients(built: Plant, run: dg.DagsterRun) -> Iterator[Clients]:
    """The clients of that run, which holds the object."""
    resource = (built.definitions.resources or {})["clients"]
    assert isinstance(resource, ClientsResource)
    opened = resource.get(run.run_id)
    assert opened.lease("Lead") is not None
    yield opened
    resource.close()


def call_every_four_minutes(built: Plant, clients: Clients) -> None:
    """Let a quarter of an hour pass in which the run does nothing but call."""
    for _ in range(4):
        built.wait(minutes=4)
        clients.org.count(COUNT)


def test_each_call_renews_the_lease_and_the_sensor_does_not_end_the_run(
    built: Plant, clients: Clients, run: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: the lease lasts ten minutes, and the run works for longer than that."""
    monkeypatch.setattr("pipeline.sensors.DEAD_AFTER", timedelta(minutes=-1))

    call_every_four_minutes(built, clients)
    built.ask()

    assert clients.ledger.leases.holder("Lead", clients.now()) == run.run_id
    assert built.instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_run_that_makes_no_calls_loses_its_lease_and_is_ended(
    built: Plant, clients: Clients, run: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: its process is gone."""
    monkeypatch.setattr("pipeline.sensors.DEAD_AFTER", timedelta(minutes=-1))

    built.wait(minutes=16)
    built.ask()

    assert clients.ledger.leases.holder("Lead", clients.now()) is None
    assert built.instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE


def test_a_call_of_a_run_that_was_overtaken_does_not_leave(built: Plant, clients: Clients) -> None:
    """D3: another run has the object, so this one stops; what is to be called off may be called off."""
    built.wait(minutes=11)
    taken = clients.ledger.leases.acquire(
        "Lead", "another", now=clients.now(), lasts=timedelta(minutes=10)
    )
    before = len(built.org.calls()["log"])
    counted = clients.ledger.calls.total(clients.today)

    with pytest.raises(LeaseLost, match="another run has taken over"):
        clients.org.count(COUNT)

    assert taken is not None
    assert built.calls_since(before) == []
    assert clients.ledger.calls.total(clients.today) == counted
    assert clients.org.count(COUNT) == 0


def test_the_lease_is_renewed_at_most_every_ten_seconds(built: Plant, clients: Clients) -> None:
    """D3: a run of many quick calls writes no lease for each."""
    clients.org.count(COUNT)
    until = _expires_at(clients)

    built.wait(seconds=9)
    clients.org.count(COUNT)
    assert _expires_at(clients) == until
    built.wait(seconds=2)
    clients.org.count(COUNT)
    assert _expires_at(clients) > until


def _expires_at(clients: Clients) -> object:
    import sqlalchemy as sa

    from resources.ledger import tables as t

    with clients.ledger.database.read() as connection:
        return connection.scalar(sa.select(t.leases.c.expires_at))
