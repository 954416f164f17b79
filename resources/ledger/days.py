"""The days' limits: what is used of each, and what a claim is granted now (R16, R20).

The arithmetic is that of `pipeline.core.limit.shares`; here it meets the counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import sqlalchemy as sa

from pipeline.core.limit.shares import Allowance, DayFacts, DaySoFar, allowance, lane_of
from pipeline.core.scoring.due import Lane, Reason
from resources.ledger import tables as t
from resources.ledger.claimable import count_claimable, count_longest_overdue
from resources.ledger.database import Database


@dataclass(frozen=True, slots=True)
class DayUse:
    """What has been used of one day's limit (records)."""

    day: date
    cap: int
    used: int

    @property
    def remaining(self) -> int:
        """Return how many records may still be scored that day."""
        return max(0, self.cap - self.used)


class Days:
    """Reads and writes of the days' use."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def use(self, day: date, cap: int) -> DayUse:
        """Return what is used of `day`, held against `cap`: today's setting of the limit."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(t.days).where(t.days.c.day == day)).one_or_none()

        return DayUse(day=day, cap=cap, used=row.used if row else 0)

    def raise_used(self, day: date, scored: Mapping[tuple[str, str], int], cap: int) -> None:
        """Raise the day's use to what its scored files hold, where that is more.

        `scored` counts records by object and lane. A ledger restored from a backup must not forget
        what was scored since (D3).
        """
        row = t.day_usage.c
        with self._db.begin() as connection:
            # These were scored, whatever the limit says: the cap gives way.
            self.lock(connection, day, cap)
            for (object_name, lane), records in scored.items():
                query = sa.select(row.used).where(
                    row.day == day, row.object == object_name, row.lane == lane
                )
                missing = records - (connection.scalar(query) or 0)
                if missing > 0:
                    self.charge(connection, day, object_name, Lane(lane), missing, beyond_cap=True)

    def allowance(self, object_name: str, facts: DayFacts) -> Allowance:
        """Return what a claim on the object would be granted now, without claiming."""
        with self._db.read() as connection:
            return self.grant(connection, object_name, facts)

    # -- in the caller's transaction -----------------------------------------------------------

    def grant(self, connection: sa.Connection, object_name: str, facts: DayFacts) -> Allowance:
        """Return what the object is granted, cut to the rows there are."""
        so_far, failed = _so_far(connection, facts)
        granted = allowance(facts.policy, so_far, object_name)
        return replace(granted, lasting=min(granted.lasting, failed.get(object_name, 0)))

    def lock(self, connection: sa.Connection, day: date, cap: int) -> None:
        """Lock the day's row; its cap is `cap`, or what is used where that is more."""
        row = {"day": day, "cap": cap, "used": 0}
        self._db.upsert(connection, t.days, [row], changes={})

        query = sa.select(t.days.c.used).where(t.days.c.day == day).with_for_update()
        # A limit lowered during the day must not make what is used illegal.
        used = int(connection.scalar(query) or 0)
        connection.execute(t.days.update().where(t.days.c.day == day).values(cap=max(cap, used)))

    def charge(
        self,
        connection: sa.Connection,
        day: date,
        object_name: str,
        lane: Lane,
        records: int,
        *,
        beyond_cap: bool = False,
    ) -> None:
        """Add `records` to the use of a day; a negative number gives some back.

        The table itself refuses to pass the cap, unless it is raised with `beyond_cap`.
        """
        more = t.days.c.used + records
        values: dict[str, Any] = {"used": more}
        if beyond_cap:
            values["cap"] = sa.case((more > t.days.c.cap, more), else_=t.days.c.cap)
        connection.execute(t.days.update().where(t.days.c.day == day).values(**values))

        row = {"day": day, "object": object_name, "lane": lane.value, "used": records}
        changes = {"used": t.day_usage.c.used + records}
        self._db.upsert(connection, t.day_usage, [row], changes=changes)

    def charge_lasting(self, connection: sa.Connection, day: date, records: int) -> None:
        """Count `records` of the day's use as rows that keep failing; less than none gives back."""
        connection.execute(
            t.days.update()
            .where(t.days.c.day == day)
            .values(lasting_used=t.days.c.lasting_used + records)
        )


def _so_far(connection: sa.Connection, facts: DayFacts) -> tuple[DaySoFar, Mapping[str, int]]:
    """Return how the day stands, and by object how many rows that keep failing may be tried."""
    claimable: Counter[tuple[str, Lane]] = Counter()
    new: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for count in count_claimable(connection, facts.now):
        if count.lasting:
            failed[count.object] += count.records
            continue

        claimable[count.object, lane_of(count.reason)] += count.records
        if count.reason == Reason.NEW.value:
            new[count.object] += count.records

    usage = connection.execute(sa.select(t.day_usage).where(t.day_usage.c.day == facts.day))
    query = sa.select(t.days.c.lasting_used).where(t.days.c.day == facts.day)
    so_far = DaySoFar(
        local_time=facts.local_time,
        awaited=facts.awaited,
        used={(row.object, Lane(row.lane)): row.used for row in usage},
        claimable=claimable,
        claimable_new=new,
        lasting_used=int(connection.scalar(query) or 0),
    )
    return so_far, _in_turn(connection, facts, so_far, failed)


def _in_turn(
    connection: sa.Connection, facts: DayFacts, so_far: DaySoFar, failed: Mapping[str, int]
) -> Mapping[str, int]:
    """Return by object how many rows that keep failing come next, where not all may.

    Each in its turn, whosever it is: else the object that comes first would take it all, every day.
    """
    room = max(0, facts.policy.lasting_share - so_far.lasting_used)
    # One object alone needs no turns.
    is_scarce = len(failed) > 1 and sum(failed.values()) > room
    if is_scarce and so_far.local_time < facts.policy.kept_until:
        return count_longest_overdue(connection, facts.now, room)

    return failed
