"""The records that failed last time: listed, counted, and asked for again (R23, R29)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.holds import held_markets
from resources.ledger.waiting import chunks, reschedule_held

PAGE: Final = 5_000
"""How many rows one statement of a long listing reads."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which failures are meant; an empty part means all.

    `failed_since`: failed last at that moment or later. `failing_before`: failed first before it
    and ever since.
    """

    objects: Sequence[str] = ()
    codes: Sequence[str] = ()
    ids: Sequence[str] = ()
    failed_since: datetime | None = None
    failing_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A record that was not written, or not by all its markets, when it was tried last."""

    object: str
    record_id: str
    reason: str
    error_code: str
    error_message: str
    held_for: str | None
    lasting: bool
    tries: int
    first_failed_at: datetime
    last_failed_at: datetime
    not_before: datetime
    segment_id: str | None


@dataclass(frozen=True, slots=True)
class FailedCount:
    """How many records failed alike; `error_message` is "" where messages were not set apart."""

    object: str
    error_code: str
    error_message: str
    held_for: str | None
    lasting: bool
    records: int
    first_failed_at: datetime
    last_failed_at: datetime
    next_try_at: datetime


@dataclass(frozen=True, slots=True)
class Retried:
    """What is tried again now: `records` that failed, or that wait for one of `markets`.

    `resting` records wait for an integration that is paused or not ready, and stay; `in_flight`
    ones are being tried at this moment.
    """

    records: int
    markets: tuple[str, ...]
    resting: int
    in_flight: int


class Failures:
    """Reads of the failed rows of the waiting list, and the one write that a person may ask for."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def count(self, chosen: Chosen | None = None) -> int:
        """Return how many records are failing."""
        with self._db.read() as connection:
            return _count(connection, sa.and_(*_conditions(chosen or Chosen())))

    def rows(self, chosen: Chosen | None = None, limit: int | None = None) -> list[FailedRow]:
        """Return the failing records, those that failed last first."""
        query = (
            _rows(chosen or Chosen())
            .order_by(t.waiting.c.last_failed_at.desc(), t.waiting.c.object, t.waiting.c.record_id)
            .limit(limit)
        )
        with self._db.read() as connection:
            return [FailedRow(**row) for row in connection.execute(query).mappings()]

    def pages(self, chosen: Chosen) -> Iterator[list[FailedRow]]:
        """Read all of them a page at a time, by object and id, however many there are."""
        key = sa.tuple_(t.waiting.c.object, t.waiting.c.record_id)
        query = _rows(chosen).order_by(t.waiting.c.object, t.waiting.c.record_id).limit(PAGE)

        # Each page in a read of its own, from the last key on: no transaction stays open meanwhile.
        after: tuple[str, str] | None = None
        while True:
            with self._db.read() as connection:
                found = connection.execute(query.where(key > after) if after else query).mappings()
                page = [FailedRow(**row) for row in found]
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = (page[-1].object, page[-1].record_id)

    def counts(
        self, chosen: Chosen | None = None, *, by_message: bool = False
    ) -> list[FailedCount]:
        """Return how many failed alike: by object, code and market, and if asked for by message."""
        row = t.waiting.c
        message = row.error_message if by_message else sa.literal("")
        alike = [
            row.object,
            row.error_code,
            message.label("error_message"),
            row.held_for,
            row.lasting,
        ]

        query = (
            sa.select(
                *alike,
                sa.func.count().label("records"),
                sa.func.min(row.first_failed_at).label("first_failed_at"),
                sa.func.max(row.last_failed_at).label("last_failed_at"),
                sa.func.min(row.not_before).label("next_try_at"),
            )
            .where(*_conditions(chosen or Chosen()))
            .group_by(row.object, row.error_code, row.held_for, row.lasting)
        )
        if by_message:
            # Otherwise one constant text: to group by that is an error in PostgreSQL.
            query = query.group_by(row.error_message)

        with self._db.read() as connection:
            return [FailedCount(**found) for found in connection.execute(query).mappings()]

    def retry(self, chosen: Chosen, now: datetime) -> Retried:
        """Let failing records be claimed at once, as a later edit of each of them would (R23).

        Their tries begin anew, so that they are neither claimed last nor bound to a twentieth of
        the day; the day's limit binds them like all others. A held market that some of them wait
        for is tried at once, with a few records first.
        """
        row = t.waiting.c
        conditions = sa.and_(*_conditions(chosen))
        here = sa.and_(conditions, row.segment_id.is_(None))
        with self._db.begin() as connection:
            in_flight = _count(connection, sa.and_(conditions, row.segment_id.is_not(None)))
            waiting_for = _count_by_market(connection, here)

            # Those that wait for a market are left out: the market is tried first, below.
            asked = connection.execute(
                t.waiting.update()
                .where(here, row.held_for.is_(None))
                .values(not_before=now, tries=0, lasting=False)
            )
            # The others wait for an integration that rests: only its resumption lets them go.
            markets = tuple(sorted(held_markets(connection).keys() & waiting_for.keys()))
            for market in markets:
                _try_market_at(connection, market, now)

        return Retried(
            records=asked.rowcount + sum(waiting_for[market] for market in markets),
            markets=markets,
            resting=sum(n for market, n in waiting_for.items() if market not in markets),
            in_flight=in_flight,
        )


def _try_market_at(connection: sa.Connection, market: str, now: datetime) -> None:
    """Let a held market be tried from `now` on, with the records that wait for it."""
    row = t.market_holds.c
    connection.execute(t.market_holds.update().where(row.market == market).values(retry_at=now))
    reschedule_held(connection, market, now)


def _count(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(t.waiting).where(condition)
    return int(connection.scalar(query) or 0)


def _count_by_market(
    connection: sa.Connection, condition: sa.ColumnElement[bool]
) -> dict[str, int]:
    """Count the rows that wait for a market, by market."""
    row = t.waiting.c
    query = (
        sa.select(row.held_for, sa.func.count().label("records"))
        .where(condition, row.held_for.is_not(None))
        .group_by(row.held_for)
    )
    return {found.held_for: int(found.records) for found in connection.execute(query)}


def _rows(chosen: Chosen) -> sa.Select[tuple[object, ...]]:
    columns = [t.waiting.c[name] for name in FailedRow.__dataclass_fields__]
    return sa.select(*columns).where(*_conditions(chosen))


def _conditions(chosen: Chosen) -> list[sa.ColumnElement[bool]]:
    row = t.waiting.c
    # A row that waits for its first try, or for one after an edit, has no code.
    conditions: list[sa.ColumnElement[bool]] = [row.error_code.is_not(None)]
    if chosen.objects:
        conditions.append(row.object.in_(chosen.objects))
    if chosen.codes:
        conditions.append(row.error_code.in_(chosen.codes))
    if chosen.ids:
        conditions.append(sa.or_(*(row.record_id.in_(part) for part in chunks(chosen.ids))))

    if chosen.failed_since is not None:
        conditions.append(row.last_failed_at >= chosen.failed_since)
    if chosen.failing_before is not None:
        conditions.append(row.first_failed_at < chosen.failing_before)

    return conditions
