"""The waiting list: every record that is due and not yet pushed (D3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa

from pipeline.core.due import Reason
from resources.ledger import tables as t
from resources.ledger.database import Database

PRIORITIES: Final[Mapping[str, int]] = {reason.value: index for index, reason in enumerate(Reason)}
CHUNK: Final = 500
"""How many ids one statement names: below the number of parameters that every database takes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A record that is to be scored, and why.

    `modstamp` and `hash` are what a pull saw (None where the ids alone are known); `order_at` sorts
    rows of one reason, oldest first; before `not_before` the row is not claimed.
    """

    record_id: str
    reason: str
    not_before: datetime
    modstamp: datetime | None = None
    hash: str | None = None
    order_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """One row of the waiting list, as people are shown it."""

    object: str
    record_id: str
    reason: str
    requested_at: datetime
    not_before: datetime
    tries: int
    error_code: str | None
    error_message: str | None
    segment_id: str | None


def chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    """Cut `ids` into pieces that fit one statement."""
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


class Waiting:
    """Reads and writes of the waiting list."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def add(
        self, connection: sa.Connection, name: str, wishes: Sequence[Wish], now: datetime
    ) -> None:
        """Put `wishes` on the list in the caller's transaction.

        A record that waits already keeps the more urgent reason. A pull that saw a later stamp or other
        inputs makes it try anew at once (R23), and where it is being pushed at this moment, it will be
        released afterwards instead of leaving. A redo always counts as a new wish.
        """
        rows = [
            {
                "object": name,
                "record_id": wish.record_id,
                "reason": wish.reason,
                "priority": PRIORITIES[wish.reason],
                "requested_at": now,
                "order_at": wish.order_at,
                "not_before": wish.not_before,
                "modstamp_seen": wish.modstamp,
                "hash_seen": wish.hash,
            }
            # A record read twice (paging while it moved) is one row: PostgreSQL takes no two in one statement.
            for wish in {wish.record_id: wish for wish in wishes}.values()
        ]
        self._db.upsert(connection, t.waiting, rows, changes=_merged())

    def ids_waiting(self, name: str) -> int:
        """Return how many records of the object wait, in flight or not."""
        with self._db.read() as connection:
            count = connection.scalar(sa.select(sa.func.count()).where(t.waiting.c.object == name))
            return int(count or 0)

    def waiting_for(self, market: str, name: str) -> int:
        """Return how many records of the object wait until a held market works again."""
        with self._db.read() as connection:
            count = connection.scalar(
                sa.select(sa.func.count()).where(
                    t.waiting.c.object == name, t.waiting.c.held_for == market
                )
            )
            return int(count or 0)

    def counts(self, connection: sa.Connection, now: datetime) -> list[Mapping[str, Any]]:
        """Return counts of claimable rows by object, reason and whether they are lasting failures.

        Rows of an object whose integrations are all off or paused are not claimable: nobody may claim them, and
        they must not hold back the others' shares (R20). Those that are to be cleared after it are (R19).
        """
        known = sa.exists().where(t.integrations.c.object == t.waiting.c.object)
        running = known.where(
            t.integrations.c.enabled_at.is_not(None), t.integrations.c.paused_at.is_(None)
        )
        failed = sa.case((t.waiting.c.lasting, 1), else_=0).label("failed")
        query = (
            sa.select(
                t.waiting.c.object, t.waiting.c.reason, failed, sa.func.count().label("records")
            )
            .where(
                t.waiting.c.segment_id.is_(None),
                t.waiting.c.not_before <= now,
                sa.or_(~known, running, t.waiting.c.reason == Reason.LEFT.value),
            )
            .group_by(t.waiting.c.object, t.waiting.c.reason, failed)
        )
        return [dict(row) for row in connection.execute(query).mappings()]

    def summary(self, now: datetime) -> list[Mapping[str, Any]]:
        """Return all waiting rows counted by object, reason, state (ready, backing off, in flight)."""
        state = sa.case(
            (t.waiting.c.segment_id.is_not(None), "in_flight"),
            (t.waiting.c.not_before > now, "backing_off"),
            else_="ready",
        ).label("state")
        query = (
            sa.select(
                t.waiting.c.object, t.waiting.c.reason, state, sa.func.count().label("records")
            )
            .group_by(t.waiting.c.object, t.waiting.c.reason, state)
            .order_by(t.waiting.c.object, t.waiting.c.reason)
        )
        with self._db.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def failures(self) -> list[WaitingRow]:
        """Return the rows that failed last time, newest request first."""
        with self._db.read() as connection:
            return _rows(connection, t.waiting.c.error_code.is_not(None))

    def of_segment(self, segment_id: str) -> list[WaitingRow]:
        """Return the rows that a segment has claimed."""
        with self._db.read() as connection:
            return _rows(connection, t.waiting.c.segment_id == segment_id)

    def scored_times(
        self, connection: sa.Connection, name: str, ids: Sequence[str], day: date
    ) -> dict[str, tuple[int, datetime]]:
        """Return for each of `ids` scored on `day` how often and when last (R15)."""
        found: dict[str, tuple[int, datetime]] = {}
        for part in chunks(ids):
            query = sa.select(
                t.scorings.c.record_id, t.scorings.c.times, t.scorings.c.last_at
            ).where(
                t.scorings.c.day == day,
                t.scorings.c.object == name,
                t.scorings.c.record_id.in_(part),
            )
            found |= {row.record_id: (row.times, row.last_at) for row in connection.execute(query)}
        return found


def _rows(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[WaitingRow]:
    columns = [t.waiting.c[name] for name in WaitingRow.__dataclass_fields__]
    query = (
        sa.select(*columns)
        .where(condition)
        .order_by(t.waiting.c.object, t.waiting.c.requested_at.desc(), t.waiting.c.record_id)
    )
    return [WaitingRow(**row) for row in connection.execute(query).mappings()]


def _merged() -> dict[str, Any]:
    """Return how a wish changes a row that stands already (`add` says it in words)."""
    old = t.waiting.c

    def offered(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        return sa.literal_column(f"excluded.{column.name}", column.type)

    later = sa.and_(
        offered(old.modstamp_seen).is_not(None),
        sa.or_(old.modstamp_seen.is_(None), offered(old.modstamp_seen) > old.modstamp_seen),
    )
    other = sa.and_(
        offered(old.hash_seen).is_not(None),
        sa.or_(old.hash_seen.is_(None), offered(old.hash_seen) != old.hash_seen),
    )
    redo = offered(old.reason) == Reason.REDO.value
    anew = sa.or_(later, other, redo)
    urgent = offered(old.priority) < old.priority
    return {
        "reason": sa.case((urgent, offered(old.reason)), else_=old.reason),
        "priority": sa.case((urgent, offered(old.priority)), else_=old.priority),
        "order_at": sa.case((urgent, offered(old.order_at)), else_=old.order_at),
        "seq": old.seq + sa.case((sa.or_(other, redo), 1), else_=0),
        "not_before": sa.case((anew, offered(old.not_before)), else_=old.not_before),
        "tries": sa.case((anew, 0), else_=old.tries),
        "lasting": sa.case((anew, sa.false()), else_=old.lasting),
        "modstamp_seen": sa.func.coalesce(offered(old.modstamp_seen), old.modstamp_seen),
        "hash_seen": sa.func.coalesce(offered(old.hash_seen), old.hash_seen),
    }
