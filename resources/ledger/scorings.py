"""Which record was scored when: for redos, and for records that keep becoming due (R15, R28)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from pipeline.core.limit.repeats import SCORINGS_KEPT_FOR, Scoring, streak_with
from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.segments import Segment


class Scorings:
    """Reads and writes of the scorings."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def scored_on(self, object_name: str, day: date, *, before: datetime) -> list[str]:
        """Return the records of the object that were scored on `day` and not again since `before`.

        What has been claimed since is as good as scored: should that fail, the record goes on
        waiting anyway.
        """
        this = t.scorings.alias()

        query = (
            sa.select(this.c.record_id)
            .distinct()
            .where(
                this.c.day == day,
                this.c.object == object_name,
                # A redo that is started again asks only for the rest.
                ~_scored_since(this.c.record_id, object_name, before),
                ~_claimed_since(this.c.record_id, object_name, before),
            )
            .order_by(this.c.record_id)
        )
        with self._db.read() as connection:
            return list(connection.scalars(query))

    def scored_since(
        self, connection: sa.Connection, object_name: str, ids: Sequence[str], since: datetime
    ) -> dict[str, list[Scoring]]:
        """Return for each of `ids` that was scored after `since` when, oldest first (R15)."""
        row = t.scorings.c
        query = (
            sa.select(row.record_id, row.scored_at, row.in_a_row, row.written_at)
            .where(
                row.object == object_name,
                self._db.one_of(row.record_id, ids),
                row.scored_at > since,
            )
            .order_by(row.scored_at)
        )

        found: dict[str, list[Scoring]] = {}
        for record_id, *scoring in connection.execute(query):
            found.setdefault(record_id, []).append(Scoring(*scoring))
        return found

    def record(
        self,
        connection: sa.Connection,
        segment: Segment,
        scored: Sequence[str],
        held: Collection[str],
        written_at: datetime | None,
    ) -> None:
        """Note, in the caller's transaction, that `scored` were scored when they were claimed.

        They are all among the rows that the segment still holds: `held`. They were written by
        `written_at`, on the org's clock; None where they were refused.
        """
        if not scored:
            return

        lately = self.scored_since(
            connection, segment.object, scored, segment.stamp - SCORINGS_KEPT_FOR
        )
        changed = self._changed_at(connection, segment, list(lately)) if lately else {}
        rows = [
            {
                "object": segment.object,
                "record_id": record_id,
                "segment_id": segment.segment_id,
                "day": segment.day,
                "scored_at": segment.stamp,
                "in_a_row": streak_with(scorings[-1], changed.get(record_id)),
                "written_at": written_at,
            }
            for record_id, scorings in lately.items()
        ]
        self._db.upsert(connection, t.scorings, rows, changes={})

        # All others begin a streak. The database copies them itself: they may be many thousands,
        # and those written above are passed over.
        first = _first_of_streak(segment, written_at)
        others = sa.select(*first.values()).where(
            t.waiting.c.segment_id == segment.segment_id,
            self._db.among(t.waiting.c.record_id, scored, held),
        )
        connection.execute(self._db.insert_into(t.scorings).from_select(list(first), others))

    def _changed_at(
        self, connection: sa.Connection, segment: Segment, ids: Sequence[str]
    ) -> dict[str, datetime]:
        """Return the stamps of the changes that made rows of the segment due.

        A row that is tried again of our own accord is left out: our own write is no change.
        """
        row, written = t.waiting.c, t.scorings.alias()
        is_own_write = sa.exists().where(
            written.c.object == row.object,
            written.c.record_id == row.record_id,
            written.c.written_at == row.modstamp_seen,
            row.error_code.is_not(None),
        )
        query = sa.select(row.record_id, row.modstamp_seen).where(
            row.object == segment.object,
            self._db.one_of(row.record_id, ids),
            row.modstamp_seen.is_not(None),
            ~is_own_write,
        )
        return {found.record_id: found.modstamp_seen for found in connection.execute(query)}


def _first_of_streak(
    segment: Segment, written_at: datetime | None
) -> dict[str, sa.ColumnElement[Any]]:
    """Return the columns of a scoring that begins a streak, from a row of the waiting list."""
    row = t.waiting.c
    return {
        "object": row.object,
        "record_id": row.record_id,
        "segment_id": row.segment_id,
        "day": sa.literal(segment.day, sa.Date),
        "scored_at": sa.literal(segment.stamp, t.UtcDateTime),
        "in_a_row": sa.literal(streak_with(None, None), sa.Integer),
        "written_at": sa.literal(written_at, t.UtcDateTime),
    }


def _scored_since(
    record_id: sa.ColumnElement[str], object_name: str, since: datetime
) -> sa.ColumnElement[bool]:
    later = t.scorings.alias()
    return sa.exists().where(
        later.c.object == object_name,
        later.c.record_id == record_id,
        later.c.scored_at > since,
    )


def _claimed_since(
    record_id: sa.ColumnElement[str], object_name: str, since: datetime
) -> sa.ColumnElement[bool]:
    row, segment = t.waiting.c, t.segments.c
    return (
        sa.select(row.record_id)
        .join(t.segments, segment.segment_id == row.segment_id)
        .where(row.object == object_name, row.record_id == record_id, segment.stamp > since)
        .exists()
    )
