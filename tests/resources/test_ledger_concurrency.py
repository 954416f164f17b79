"""Many processes on one ledger at once (R20): real ones, on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import resources.ledger.integrations
from pipeline.core.configuration.running import IntegrationKey
from resources.ledger import tables as t
from resources.ledger.fencing import check_lease
from resources.ledger.ledger import Ledger
from tests.postgres import Postgres
from tests.resources.ledger_support import DAY, LASTS, NOW, Book, open_at_once, work_at_once

pytestmark = pytest.mark.both_ledgers
PROCESSES = 8
FIRST_TIMES = {"sqlite": 12, "postgres": 1}
"""How often they start at once: preparing a SQLite file is the step that is told to come back later."""
LIMIT = 10_000
WANTED = {"Account": 6_400, "Contact": 6_500, "Lead": 6_500}


@dataclass
class Crowd:
    """Processes that stand ready, and what lets them begin at the same moment."""

    pool: ProcessPoolExecutor
    manager: SyncManager

    def do(self, clients: Any, *arguments: Any) -> list[Future[Any]]:
        """Let every process do `work(number, barrier, *arguments)`."""
        barrier = self.manager.Barrier(PROCESSES)
        return [self.pool.submit(clients, n, barrier, *arguments) for n in range(PROCESSES)]


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """Start the processes once: each imports for a second."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(PROCESSES, context) as pool:
        yield Crowd(pool, manager)


@contextmanager
def empty_database(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a database without any tables."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'ledger.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database("template1") as url:
        yield url


@pytest.mark.slow
def test_processes_that_start_at_once_on_an_empty_database_make_its_tables_once(
    crowd: Crowd, ledger_kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """D3: none fails, and all of them count; a new SQLite file is prepared by one after the other."""
    for again in range(FIRST_TIMES[ledger_kind]):
        with empty_database(ledger_kind, tmp_path / str(again), request) as url:
            for one in crowd.do(open_at_once, url):
                one.result(timeout=120)
            ledger = Ledger(url)

            assert ledger.calls.total(DAY) == PROCESSES
            ledger.close()


def test_processes_that_claim_at_once_are_granted_exactly_the_limit(
    crowd: Crowd, new_ledger: str
) -> None:
    """R20: 19,400 wanted, 10,000 granted; no record twice, leases changing hands."""
    ledger = Ledger(new_ledger)
    book = Book(ledger)
    for name, count in WANTED.items():
        book.many(count, of=name)
        ledger.leases.release(name, "me")
    done: list[Counter[str]] = [
        one.result(timeout=200) for one in crowd.do(work_at_once, new_ledger, LIMIT)
    ]
    segments = ledger.segments.all(day=DAY)
    ids = [i for segment in segments for i in sorted(book.ids(segment))]

    assert sum(WANTED.values()) == 19_400
    assert sum(count["rows"] for count in done) == LIMIT == book.day()["used"]
    assert sum(segment.rows for segment in segments) == LIMIT == len(ids) == len(set(ids))
    assert sum(book.used().values()) == LIMIT
    assert len({segment.run_id for segment in segments}) >= 3
    assert ledger.calls.total(DAY) == sum(count["calls"] for count in done)
    ledger.close()


def test_a_pause_during_a_preflight_is_not_forgotten(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: what was read before somebody else wrote decides nothing."""
    ledger = book.ledger
    key = IntegrationKey("Lead", "fit")
    ledger.integrations.roll_out({key: ("a", None)}, NOW)
    other = Ledger(str(book.ledger.database.url))
    read = resources.ledger.integrations.integration_states

    def read_then_paused(connection: sa.Connection) -> Any:
        found = read(connection)
        monkeypatch.setattr(resources.ledger.integrations, "integration_states", read)
        other.integrations.pause(key, NOW)
        return found

    monkeypatch.setattr(resources.ledger.integrations, "integration_states", read_then_paused)
    ledger.integrations.roll_out({key: ("b", None)}, NOW + LASTS)
    found = ledger.integrations.all()[key]

    assert (found.paused_at, found.resting_since) == (NOW, NOW)
    other.close()


def test_one_new_lead_is_claimed_before_a_backlog_of_many_days(book: Book) -> None:
    """R16: at the next claim, whatever waits, while any of the day is left."""
    book.limit = 1_000
    with book.ledger.database.begin() as connection:
        connection.execute(backlog(60_000))
    first = book.claimed(rows_max=10_000)
    book.request("new-lead", reason="new")
    segment = book.claimed()

    assert 0 < first.rows < book.limit
    assert book.ids(segment) == {"new-lead"}


def backlog(rows: int) -> sa.Insert:
    """Return what fills the list with changed leads, in one statement on either database."""
    numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < rows))
    columns = {
        "object": sa.literal("Lead"),
        "record_id": sa.literal("L-").concat(sa.cast(numbers.c.n, sa.String)),
        "reason": sa.literal("changed"),
        "priority": sa.literal(1),
        "requested_at": sa.literal(NOW, t.UtcDateTime),
        "waits_since": sa.literal(NOW, t.UtcDateTime),
        "not_before": sa.literal(NOW, t.UtcDateTime),
    }
    chosen = sa.select(*(value.label(name) for name, value in columns.items()))
    return t.waiting.insert().from_select(list(columns), chosen.select_from(numbers))


def test_writers_wait_for_one_another(book: Book) -> None:
    """D3: a token that was right when a transaction began is right until it ends."""
    lease = book.lease()
    other = Ledger(str(book.ledger.database.url))
    with ThreadPoolExecutor(1) as pool:
        with book.ledger.database.begin(lease) as connection:
            take_over = partial(
                other.leases.acquire, "Lead", "b", now=NOW + LASTS, lasts=timedelta(minutes=1)
            )
            taking = pool.submit(take_over)
            with pytest.raises(TimeoutError):
                taking.result(timeout=0.5)
            check_lease(connection, lease)
        taken = taking.result(timeout=60)

    assert taken is not None
    assert taken.token > lease.token
    other.close()
