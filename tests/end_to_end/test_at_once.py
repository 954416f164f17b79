"""Several runs at the same time, and clocks that pass midnight and the change of the clocks in mid-run (R20)."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from assets.clients_resource import ClientsResource
from pipeline.core.errors import LeaseLost
from pipeline.steps.clients import Clients
from pipeline.steps.pull import daily_pull, pull
from pipeline.steps.push import push
from pipeline.steps.redo import redo
from pipeline.steps.score import score
from resources.ledger import tables as t
from tests.plant import Plant, integration

Build = Callable[..., Plant]
BERLIN = ZoneInfo("Europe/Berlin")
OBJECTS = ("Account", "Contact", "Lead")


@pytest.mark.both_ledgers
def test_ticks_a_daily_pull_and_a_backfill_at_once_keep_the_limit(shared_plant: Build) -> None:
    """R20: each with clients of its own; exactly the limit is scored, no record twice, and nothing is lost."""
    limit = 60
    plant = shared_plant(*(integration(name) for name in OBJECTS), daily_record_limit=limit)
    made = fill(plant, 40)
    plant.turn_on()
    for name in OBJECTS:
        plant.refresh(name)
    first_day = plant.with_clients(lambda clients: clients.today)
    assert used(plant)[first_day] > 0
    plant.set_clock(datetime(2026, 3, 11, 21, 30, tzinfo=UTC))
    for name, ids in made.items():
        for record_id in ids[:15]:
            plant.edit(name, record_id, **{title_of(name): "Chief"})
    plant.wait(seconds=20)
    runs = [
        *((run_of, "pull", name) for name in OBJECTS for run_of in ("tick-a", "tick-b")),
        *(("daily", "daily_pull", name) for name in OBJECTS),
        ("backfill", "redo", "Lead"),
    ]
    ready = threading.Barrier(len(runs))

    def do(number: int, job: str, name: str) -> None:
        with opened(plant, f"run-{number}") as clients:
            ready.wait(600)
            run_job(clients, job, name, first_day)

    with ThreadPoolExecutor(len(runs)) as pool:
        done = [pool.submit(do, n, job, name) for n, (_, job, name) in enumerate(runs)]
        for one in done:
            one.result(timeout=800)
    for name in OBJECTS:  # what a loser of the lease left to the next tick
        plant.refresh(name)

    second_day = plant.with_clients(lambda clients: clients.today)
    assert used(plant)[second_day] == limit
    assert twice(plant, second_day) == []
    assert plant.with_clients(lambda clients: clients.ledger.segments.unfinished()) == []


@pytest.mark.parametrize(
    "begin",
    [
        # Midnight before the clocks go forward.
        pytest.param(datetime(2026, 3, 28, 22, 59, 50, tzinfo=UTC), marks=pytest.mark.slow),
        datetime(2026, 3, 29, 0, 59, 50, tzinfo=UTC),  # 01:59:50, then 03:00
        # Midnight after a day of 23 hours.
        pytest.param(datetime(2026, 3, 29, 21, 59, 50, tzinfo=UTC), marks=pytest.mark.slow),
        # 02:59:50, then 02:00 once more.
        pytest.param(datetime(2026, 10, 25, 0, 59, 50, tzinfo=UTC), marks=pytest.mark.slow),
        datetime(2026, 10, 25, 22, 59, 50, tzinfo=UTC),  # midnight after a day of 25 hours
    ],
    ids=lambda moment: f"{moment:%m-%dT%H%M}",
)
def test_a_clock_that_passes_midnight_or_changes_in_mid_run_loses_nothing(
    shared_plant: Build, begin: datetime
) -> None:
    """R20: what is claimed is charged to the Berlin day of its claim, and no day is over its limit."""
    limit = 10
    plant = shared_plant(integration("Lead"), daily_record_limit=limit)
    plant.set_clock(begin - timedelta(days=1))
    plant.turn_on()
    plant.set_clock(begin - timedelta(minutes=5))
    leads = fill(plant, 12, objects=("Lead",))["Lead"]
    plant.set_clock(begin)
    with opened(plant, "over-midnight") as clients:
        seconds = itertools.count()
        clients.now = lambda: begin + timedelta(seconds=2 * next(seconds))
        run_job(clients, "pull", "Lead", begin.date())
        assert clients.now() > begin + timedelta(seconds=10)
    segments = plant.with_clients(lambda clients: clients.ledger.segments.all())
    for hours in (13, 26, 39):
        plant.set_clock(begin + timedelta(hours=hours))
        plant.refresh("Lead")

    assert segments
    for segment in plant.with_clients(lambda clients: clients.ledger.segments.all()):
        assert segment.day == segment.stamp.astimezone(BERLIN).date()
        assert segment.state == "settled"
    assert all(0 <= n <= limit for n in used(plant).values())
    assert plant.waiting("Lead") == 0
    assert all(plant.scored_at("Lead", lead) for lead in leads)


def fill(plant: Plant, count: int, objects: tuple[str, ...] = OBJECTS) -> dict[str, list[str]]:
    """Let people save records of each object; return their ids."""
    name_of = {"Account": "Name", "Contact": "LastName", "Lead": "LastName"}
    made = {}
    for name in objects:
        more = {"Company": "Acme"} if name == "Lead" else {}
        made[name] = plant.create(
            name, *({name_of[name]: f"{name} {n}", **more} for n in range(count))
        )
    return made


def title_of(name: str) -> str:
    """Return an input field of the object that is no company."""
    return "Site" if name == "Account" else "Title"


@contextmanager
def opened(plant: Plant, run_id: str) -> Iterator[Clients]:
    """Give clients that nobody else uses, as another process has them."""
    plant_resource = (plant.definitions.resources or {})["clients"]
    assert isinstance(plant_resource, ClientsResource)
    resource = plant_resource.model_copy()
    resource._open = {}
    clients = resource.get(run_id)
    try:
        yield clients
    finally:
        resource.close()


def run_job(clients: Clients, job: str, name: str, past: date) -> None:
    """Do what the job's assets do, one step after the other; a run without the lease does nothing."""
    if job == "redo":
        redo(clients, clients.run_id, name, past, clients.now())
        return
    lease = clients.lease(name)
    if lease is None:
        return
    try:
        (pull if job == "pull" else daily_pull)(clients, lease)
        score(clients, lease)
        push(clients, lease)
    except LeaseLost:
        return


def used(plant: Plant) -> dict[date, int]:
    """Return what each day's records used of its limit."""

    def days(clients: Clients) -> dict[date, int]:
        with clients.ledger.database.read() as connection:
            return {row.day: row.used for row in connection.execute(sa.select(t.days))}

    found: dict[date, int] = plant.with_clients(days)
    return found


def twice(plant: Plant, day: date) -> list[str]:
    """Return the records that were scored more than once on a day."""

    def ids(clients: Clients) -> list[str]:
        with clients.ledger.database.read() as connection:
            return list(
                connection.scalars(sa.select(t.scorings.c.record_id).where(t.scorings.c.day == day))
            )

    scored: list[str] = plant.with_clients(ids)
    return [record_id for record_id, n in Counter(scored).items() if n > 1]
