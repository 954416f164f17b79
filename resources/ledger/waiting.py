"""The waiting list: every record that is due and not yet pushed (D3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from pipeline.core.limit.pace import WaitingCount
from pipeline.core.scoring.due import LANES, Lane, Reason
from resources.ledger import tables as t
from resources.ledger.database import Database

PRIORITIES: Final[Mapping[str, int]] = {reason.value: index for index, reason in enumerate(Reason)}
FAILING: Final = "failing"
CHUNK: Final = 500
"""How many ids one statement names: below the number of parameters that every database takes."""


class ScoringRequest(NamedTuple):
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
class ScoringRequests:
    """Many requests as columns, one entry a record; `ScoringRequest` says what they mean."""

    record_ids: Sequence[str] = ()
    reasons: Sequence[str] = ()
    not_before: Sequence[datetime] = ()
    modstamps: Sequence[datetime | None] = ()
    hashes: Sequence[str | None] = ()
    order_at: Sequence[datetime | None] = ()

    @classmethod
    def of(cls, requests: Iterable[ScoringRequest]) -> ScoringRequests:
        """Return single requests as columns."""
        columns = list(zip(*requests, strict=True))
        return cls(*columns)

    def __len__(self) -> int:
        """Return how many records are asked for."""
        return len(self.record_ids)

    def part(self, start: int, stop: int) -> ScoringRequests:
        """Return the requests from `start` on and before `stop`."""
        return ScoringRequests(*(column[start:stop] for column in self._columns()))

    def once_each(self) -> ScoringRequests:
        """Return the last request for each record."""
        last = dict(zip(self.record_ids, range(len(self)), strict=True))
        if len(last) == len(self):
            return self

        return ScoringRequests(
            *([column[at] for at in last.values()] for column in self._columns())
        )

    def _columns(self) -> list[Sequence[Any]]:
        return [getattr(self, column.name) for column in fields(self)]


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


@dataclass(frozen=True, slots=True)
class SlowedRow:
    """A record that is slowed down, and until when."""

    object: str
    record_id: str
    until: datetime


def chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    """Cut `ids` into pieces that fit one statement."""
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


class Waiting:
    """Reads and writes of the waiting list."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def count(self, object_name: str) -> int:
        """Return how many records of the object wait, in flight or not."""
        with self._db.read() as connection:
            return _count(connection, t.waiting.c.object == object_name)

    def waiting_for(self, market: str, object_name: str) -> int:
        """Return how many records of the object wait until a held market works again."""
        row = t.waiting.c
        with self._db.read() as connection:
            return _count(connection, sa.and_(row.object == object_name, row.held_for == market))

    def waiting_by_market(self) -> dict[str, int]:
        """Return how many records wait for each market, over all objects."""
        row = t.waiting.c
        query = (
            sa.select(row.held_for, sa.func.count().label("records"))
            .where(row.held_for.is_not(None))
            .group_by(row.held_for)
        )
        with self._db.read() as connection:
            return {found.held_for: found.records for found in connection.execute(query)}

    def by_kind(self, object_name: str) -> dict[str, int]:
        """Return how many records of the object wait, by lane; failed ones as `failing`."""
        row = t.waiting.c
        failing = row.error_code.is_not(None).label("failing")
        query = (
            sa.select(row.reason, failing, sa.func.count().label("records"))
            .where(row.object == object_name)
            .group_by(row.reason, failing)
        )

        counts = {lane.value: 0 for lane in Lane} | {FAILING: 0}
        with self._db.read() as connection:
            for found in connection.execute(query):
                kind = FAILING if found.failing else LANES[Reason(found.reason)].value
                counts[kind] += found.records
        return counts

    def summary(self, now: datetime) -> list[WaitingCount]:
        """Return all waiting rows counted by object, reason and state."""
        row = t.waiting.c
        state = sa.case(
            (row.segment_id.is_not(None), "in_flight"),
            (row.not_before > now, "backing_off"),
            else_="ready",
        ).label("state")

        query = (
            sa.select(row.object, row.reason, state, sa.func.count().label("records"))
            .group_by(row.object, row.reason, state)
            .order_by(row.object, row.reason)
        )
        with self._db.read() as connection:
            return [WaitingCount(**found) for found in connection.execute(query).mappings()]

    def row(self, object_name: str, record_id: str) -> WaitingRow | None:
        """Return the record's row, or None where it does not wait."""
        row = t.waiting.c
        with self._db.read() as connection:
            rows = _rows(connection, sa.and_(row.object == object_name, row.record_id == record_id))
        return rows[0] if rows else None

    def of_segment(self, segment_id: str) -> list[WaitingRow]:
        """Return the rows that a segment has claimed."""
        with self._db.read() as connection:
            return _rows(connection, t.waiting.c.segment_id == segment_id)

    def requested_at(self, segment_id: str, ids: Collection[str]) -> dict[str, datetime]:
        """Return when those of `ids` that have not failed were asked for, of new and changed rows.

        They are rows of one segment.
        """
        row = t.waiting.c
        found: dict[str, datetime] = {}
        with self._db.read() as connection:
            for part in chunks(list(ids)):
                query = sa.select(row.record_id, row.requested_at).where(
                    row.segment_id == segment_id,
                    row.record_id.in_(part),
                    row.reason.in_([Reason.NEW.value, Reason.CHANGED.value]),
                    row.error_code.is_(None),
                )
                found |= {r.record_id: r.requested_at for r in connection.execute(query)}

        return found

    def reasons_of_segment(self, segment_id: str) -> dict[str, str]:
        """Return why each record of a segment was claimed, by id."""
        row = t.waiting.c
        with self._db.read() as connection:
            ids, reasons = self._db.column_lists(
                connection, row.record_id, row.claimed_reason, where=row.segment_id == segment_id
            )

        known = {reason.value: reason.value for reason in Reason}  # one text, not one a record
        return dict(sorted(zip(ids, map(known.__getitem__, reasons), strict=True)))

    def failing_at(self, market: str, segment_id: str) -> set[str]:
        """Return the records of a segment that the market could not score when last tried."""
        row = t.waiting.c
        query = sa.select(row.record_id).where(
            row.segment_id == segment_id, row.error_market == market
        )
        with self._db.read() as connection:
            return set(connection.scalars(query))

    def failing_reasons(self, object_name: str, ids: Sequence[str]) -> dict[str, str]:
        """Return of `ids` why each waits that failed and is not being tried now (R23)."""
        row = t.waiting.c
        query = sa.select(row.record_id, row.reason).where(
            row.object == object_name,
            self._db.one_of(row.record_id, ids),
            row.segment_id.is_(None),
            row.error_code.is_not(None),
            row.held_for.is_(None),
        )
        with self._db.read() as connection:
            return dict(connection.execute(query).all())

    def count_of_segment(self, segment_id: str) -> int:
        """Return how many records a segment still holds."""
        held = t.waiting.c.segment_id == segment_id
        with self._db.read() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).where(held)) or 0)

    def slowed_rows(self, now: datetime) -> list[SlowedRow]:
        """Return the records that keep becoming due and rest, those that rest longest first (R15).

        They wait for a later time though they have not failed since their last edit.
        """
        row = t.waiting.c

        query = (
            sa.select(row.object, row.record_id, row.not_before)
            .where(
                row.segment_id.is_(None),
                row.not_before > now,
                row.tries == 0,
                row.held_for.is_(None),
            )
            .order_by(row.not_before.desc(), row.object, row.record_id)
        )
        with self._db.read() as connection:
            return [SlowedRow(*found) for found in connection.execute(query)]

    # -- in the caller's transaction -----------------------------------------------------------

    def add(
        self,
        connection: sa.Connection,
        object_name: str,
        requests: ScoringRequests,
        now: datetime,
    ) -> None:
        """Put `requests` on the list.

        A record that waits already keeps the more urgent reason. A pull that saw a later stamp or
        other inputs makes it try anew at once (R23), and where it is being pushed at this moment,
        it will be released afterwards instead of leaving. A redo always counts as a new request.
        """
        # A record read twice (paging while it moved) is one row: PostgreSQL takes no two in one
        # statement.
        requests = requests.once_each()

        columns = {
            "object": [object_name] * len(requests),
            "record_id": requests.record_ids,
            "reason": requests.reasons,
            "priority": [PRIORITIES[reason] for reason in requests.reasons],
            "requested_at": [now] * len(requests),
            "waits_since": [now] * len(requests),
            "order_at": requests.order_at,
            "not_before": requests.not_before,
            "modstamp_seen": requests.modstamps,
            "hash_seen": requests.hashes,
        }
        self._db.upsert_columns(connection, t.waiting, columns, changes=_merge_values())

    def remove(
        self,
        connection: sa.Connection,
        object_name: str,
        segment_id: str,
        ids: Sequence[str] | None,
    ) -> None:
        """Take rows of a segment off the list; one that was asked for anew meanwhile waits again.

        None for `ids` means all rows that the segment still holds: then they need not be named.
        """
        row = t.waiting.c
        rows = sa.and_(row.object == object_name, row.segment_id == segment_id)
        if ids is not None:
            rows = sa.and_(rows, self._db.one_of(row.record_id, ids))

        # Every request raises `seq`: where it is that of the claim, nobody has asked since.
        connection.execute(t.waiting.delete().where(rows, row.seq == row.claimed_seq))
        # What is still there was asked for since. It begins anew, and is a new record no more.
        connection.execute(
            t.waiting.update()
            .where(rows)
            .values(
                segment_id=None,
                claimed_seq=None,
                tries=0,
                error_code=None,
                error_message=None,
                first_failed_at=None,
                last_failed_at=None,
                held_for=None,
                error_market=None,
                lasting=False,
                reason=sa.case(
                    (row.reason == Reason.NEW.value, Reason.CHANGED.value), else_=row.reason
                ),
            )
        )

    def release(self, connection: sa.Connection, segment_id: str) -> None:
        """Let all rows wait again that a segment still holds."""
        connection.execute(
            t.waiting.update()
            .where(t.waiting.c.segment_id == segment_id)
            .values(segment_id=None, claimed_seq=None)
        )


def reschedule_held(connection: sa.Connection, market: str, not_before: datetime) -> None:
    """Let what waits for a market be claimed from `not_before` on, in the caller's transaction."""
    row = t.waiting.c
    connection.execute(
        t.waiting.update()
        .where(row.held_for == market, row.segment_id.is_(None))
        .values(not_before=not_before)
    )


def retry_failing_at(
    connection: sa.Connection, object_name: str, market: str, now: datetime
) -> None:
    """Let the rows that a market could not score be claimed at once, as after an edit of each.

    Another version or mapping of it may score them (R17, R23). In the caller's transaction.
    """
    row = t.waiting.c
    connection.execute(
        t.waiting.update()
        .where(row.object == object_name, row.error_market == market)
        .values(not_before=now, tries=0, lasting=False, error_market=None)
    )


def _count(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(t.waiting).where(condition)
    return int(connection.scalar(query) or 0)


def _rows(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[WaitingRow]:
    columns = [t.waiting.c[name] for name in WaitingRow.__dataclass_fields__]
    query = (
        sa.select(*columns)
        .where(condition)
        .order_by(t.waiting.c.object, t.waiting.c.requested_at.desc(), t.waiting.c.record_id)
    )
    return [WaitingRow(*row) for row in connection.execute(query)]


def _merge_values() -> dict[str, Any]:
    """Return how a request changes a row that stands already (`add` says it in words).

    Without a bound value: only so does SQLAlchemy send PostgreSQL many rows in one statement.
    """
    old = t.waiting.c
    none, one = sa.literal_column("0", sa.Integer), sa.literal_column("1", sa.Integer)

    def offered_value(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        return sa.literal_column(f"excluded.{column.name}", column.type)

    # A listing by age knows ids alone. NULL stands for a stamp and inputs that nobody saw.
    later = sa.and_(
        offered_value(old.modstamp_seen).is_not(None),
        sa.or_(old.modstamp_seen.is_(None), offered_value(old.modstamp_seen) > old.modstamp_seen),
    )
    other = sa.and_(
        offered_value(old.hash_seen).is_not(None),
        sa.or_(old.hash_seen.is_(None), offered_value(old.hash_seen) != old.hash_seen),
    )

    redo = offered_value(old.priority) == sa.literal_column(str(PRIORITIES[Reason.REDO.value]))
    anew = sa.or_(later, other, redo)
    urgent = offered_value(old.priority) < old.priority

    return {
        "reason": sa.case((urgent, offered_value(old.reason)), else_=old.reason),
        "priority": sa.case((urgent, offered_value(old.priority)), else_=old.priority),
        "order_at": sa.case((urgent, offered_value(old.order_at)), else_=old.order_at),
        # A redo counts from now on: what was scored before does not meet it.
        "requested_at": sa.case((redo, offered_value(old.requested_at)), else_=old.requested_at),
        # A push that is on its way compares this number: the row then stays (see `remove`).
        "seq": old.seq + sa.case((sa.or_(other, redo), one), else_=none),
        "not_before": sa.case((anew, offered_value(old.not_before)), else_=old.not_before),
        "tries": sa.case((anew, none), else_=old.tries),
        # Other inputs: whatever kept failing may be corrected now.
        "lasting": sa.case((anew, sa.false()), else_=old.lasting),
        # What a listing by age does not know stays as a pull saw it.
        "modstamp_seen": sa.func.coalesce(offered_value(old.modstamp_seen), old.modstamp_seen),
        "hash_seen": sa.func.coalesce(offered_value(old.hash_seen), old.hash_seen),
    }
