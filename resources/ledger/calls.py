"""The API budget: every HTTP call to the org, counted by day and kind across processes (R21)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.leases import Lease, prolong

ORG_USAGE_LASTS: Final = timedelta(hours=1)
"""How long what the org reported of its usage counts; after a refusal it is asked again as late."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """Leases to prolong, and until when."""

    leases: Sequence[Lease]
    until: datetime


@dataclass(frozen=True, slots=True)
class OrgUsage:
    """The org's own count of API requests in the last 24 hours, and until when it is believed."""

    used: int
    allotted: int
    holds_until: datetime

    @property
    def remaining(self) -> int:
        """The calls that the org has left."""
        return max(0, self.allotted - self.used)


class Calls:
    """Reads and writes of the API call counts."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def count(
        self,
        day: date,
        kind: str,
        calls: int = 1,
        *,
        most: int | None = None,
        renewal: Renewal | None = None,
    ) -> bool:
        """Add `calls` of one kind to the day; with `most`, only while its total stays within it.

        Say whether they were added. However many processes count at once, they never pass `most`
        together.

        With `renewal` leases are prolonged with it: a call is progress, and its answer may take
        minutes (D3). Raises LeaseLost, and counts nothing, where another run has one of them.
        """
        total = sa.select(sa.func.coalesce(sa.func.sum(t.api_calls.c.calls), 0))
        with self._db.begin() as connection:
            if renewal is not None:
                for lease in renewal.leases:
                    prolong(connection, lease, renewal.until)

            # Under the write lock: no other process counts between this read and the write.
            if most is not None:
                so_far = connection.scalar(total.where(t.api_calls.c.day == day)) or 0
                if so_far + calls > most:
                    return False

            row = {"day": day, "kind": kind, "calls": calls}
            changes = {"calls": t.api_calls.c.calls + calls}
            self._db.upsert(connection, t.api_calls, [row], changes=changes)
        return True

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

    def note_limit_reached(self, now: datetime) -> datetime:
        """Keep that the org refused a call for its daily limit; return when to ask again.

        Whatever it reported before, nothing is left.
        """
        with self._db.begin() as connection:
            row = connection.execute(sa.select(t.api_usage)).one_or_none()
            allotted = row.allotted if row else 0
            # Nothing is left, whatever the org allots: both figures are then the same.
            spent = {"id": 1, "used": allotted, "allotted": allotted, "seen_at": now}
            self._db.upsert(connection, t.api_usage, [spent])
        return now + ORG_USAGE_LASTS

    def org_usage(self, now: datetime) -> OrgUsage | None:
        """Return what the org reported of its usage, None where it has not within ORG_USAGE_LASTS.

        What it reported long ago says nothing: its allocation is a rolling day (API notes 2.4).
        """
        with self._db.read() as connection:
            row = connection.execute(sa.select(t.api_usage)).one_or_none()
        if row is None or row.seen_at < now - ORG_USAGE_LASTS:
            return None
        return OrgUsage(row.used, row.allotted, row.seen_at + ORG_USAGE_LASTS)

    def org_remaining(self, now: datetime) -> int | None:
        """Return the calls that the org has left, None where it has not reported lately."""
        usage = self.org_usage(now)
        return None if usage is None else usage.remaining
