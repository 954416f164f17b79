"""Which days have records that still wait, and what was last reported of them (R28, R29)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database

TO_BE_REPORTED: Final = -1
"""Stands for what was reported of a day whose records were asked for again: it is reported anew."""


@dataclass(frozen=True, slots=True)
class WaitingGroup:
    """Records of one object that wait alike; counts are records.

    `since` is when they were first asked for, `segment_day` the day of the segment that has claimed
    them, and `redone_day` the past day whose redo asked for them, where one did.
    """

    since: datetime
    segment_day: date | None
    redone_day: date | None
    waiting: int
    failing: int
    in_flight: int


class Completeness:
    """Reads of what waits by day, and of what was reported of each day."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def groups(self, object_name: str) -> list[WaitingGroup]:
        """Return what waits of the object.

        A record that a redo asked for is in a further group, for that day.
        Days of which it was reported that a redo is done are passed over, so that this stays small.
        """
        with self._db.read() as connection:
            own = connection.execute(_waiting(object_name)).all()
            redone = connection.execute(_redone(object_name)).all()

        return [
            WaitingGroup(
                since=row[0],
                segment_day=row[1],
                redone_day=row[2],
                waiting=row[3],
                failing=row[4],
                in_flight=row[5],
            )
            for row in (*own, *redone)
        ]

    def waiting_by_day(self, object_name: str) -> dict[date, int]:
        """Return how many records were last reported to wait, by day."""
        row = t.day_reports.c
        with self._db.read() as connection:
            query = sa.select(row.day, row.waiting).where(row.object == object_name)
            return dict(connection.execute(query).all())

    def note_reported(self, object_name: str, waiting: Mapping[date, int]) -> None:
        """Keep what was reported, after it was reported: twice is no harm."""
        rows = [{"day": day, "object": object_name, "waiting": n} for day, n in waiting.items()]
        with self._db.begin() as connection:
            self._db.upsert(connection, t.day_reports, rows)

    def forget_reported(self, connection: sa.Connection, object_name: str, day: date) -> None:
        """Have the day reported anew, in the caller's transaction."""
        row = {"day": day, "object": object_name, "waiting": TO_BE_REPORTED}
        self._db.upsert(connection, t.day_reports, [row])


def _figures() -> tuple[sa.ColumnElement[int], ...]:
    failing = sa.case((t.waiting.c.error_code.is_not(None), 1), else_=0)
    in_flight = sa.case((t.waiting.c.segment_id.is_not(None), 1), else_=0)
    return sa.func.count(), sa.func.sum(failing), sa.func.sum(in_flight)


def _waiting(object_name: str) -> sa.Select[Any]:
    segment = t.segments.c
    claimed = t.waiting.outerjoin(t.segments, segment.segment_id == t.waiting.c.segment_id)
    none = sa.null().label("redone_day")
    return (
        sa.select(t.waiting.c.waits_since, segment.day, none, *_figures())
        .select_from(claimed)
        .where(t.waiting.c.object == object_name)
        .group_by(t.waiting.c.waits_since, segment.day)
    )


def _redone(object_name: str) -> sa.Select[Any]:
    """Return the query for what waits of redone days: scored on one, and not since the redo."""
    row, again, this, later = t.waiting.c, t.redos.c, t.scorings.alias(), t.scorings.alias()
    # A record that was scored since then has met the redo.
    since = sa.exists().where(
        later.c.object == object_name,
        later.c.record_id == row.record_id,
        later.c.scored_at > again.requested_at,
    )

    # A record may have been scored several times on the day, and the day redone several times.
    asked = (
        sa.select(again.day.label("redone_day"), row.record_id)
        .distinct()
        .select_from(t.redos)
        .join(this, sa.and_(this.c.object == again.object, this.c.day == again.day))
        .join(t.waiting, sa.and_(row.object == this.c.object, row.record_id == this.c.record_id))
        .outerjoin(
            t.day_reports,
            sa.and_(t.day_reports.c.day == again.day, t.day_reports.c.object == again.object),
        )
        .where(
            again.object == object_name,
            sa.func.coalesce(t.day_reports.c.waiting, TO_BE_REPORTED) != 0,
            ~since,
        )
        .subquery()
    )

    segment = t.segments.c
    return (
        sa.select(row.waits_since, segment.day, asked.c.redone_day, *_figures())
        .select_from(asked)
        .join(t.waiting, sa.and_(row.object == object_name, row.record_id == asked.c.record_id))
        .outerjoin(t.segments, segment.segment_id == row.segment_id)
        .group_by(row.waits_since, segment.day, asked.c.redone_day)
    )
