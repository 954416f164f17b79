"""The API budget: every HTTP call to the org, counted by day and kind across processes (R21)."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database

ORG_USAGE_LASTS: Final = timedelta(hours=1)


class Calls:
    """Reads and writes of the API call counts."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def count(self, day: date, kind: str, calls: int = 1) -> None:
        """Add `calls` of one kind to the day."""
        with self._db.begin() as connection:
            row = {"day": day, "kind": kind, "calls": calls}
            changes = {"calls": t.api_calls.c.calls + calls}
            self._db.upsert(connection, t.api_calls, [row], changes=changes)

    def by_kind(self, day: date) -> dict[str, int]:
        """Return the day's calls by kind."""
        query = sa.select(t.api_calls.c.kind, t.api_calls.c.calls).where(t.api_calls.c.day == day)
        with self._db.read() as connection:
            return {
                row.kind: row.calls
                for row in connection.execute(query.order_by(t.api_calls.c.kind))
            }

    def total(self, day: date) -> int:
        """Return all calls of the day."""
        return sum(self.by_kind(day).values())

    def note_usage(self, used: int, allotted: int, now: datetime) -> None:
        """Keep what the org itself says of its usage (advisory: it lags)."""
        with self._db.begin() as connection:
            row = {"id": 1, "used": used, "allotted": allotted, "seen_at": now}
            self._db.upsert(connection, t.api_usage, [row])

    def org_left(self, now: datetime) -> int | None:
        """Return the calls that the org has left, None where it has not told within ORG_USAGE_LASTS.

        What it told long ago says nothing: its allocation is a rolling day (API notes 2.4).
        """
        with self._db.read() as connection:
            row = connection.execute(sa.select(t.api_usage)).one_or_none()
        if row is None or row.seen_at < now - ORG_USAGE_LASTS:
            return None
        left: int = row.allotted - row.used
        return max(0, left)
