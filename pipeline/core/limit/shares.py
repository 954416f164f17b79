"""How a day's record limit is divided: lanes, objects, the part kept for new records (R16, R20).

All pure arithmetic over counts. The ledger applies it inside the transaction that claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import ClassVar, Final

from pipeline.core.scoring.due import LANES, Lane, Reason

CHANGES_SHARE_PERCENT: Final = 30
KEPT_FOR_NEW_PERCENT: Final = 10
KEPT_UNTIL: Final = time(22, 0)
LASTING_SHARE_PERCENT: Final = 5

Counts = Mapping[tuple[str, Lane], int]


@dataclass(frozen=True, slots=True)
class DayPolicy:
    """The figures by which a day's limit is shared; all percentages of `limit` (records)."""

    limit: int
    changes_share_percent: int = CHANGES_SHARE_PERCENT
    kept_until: ClassVar[time] = KEPT_UNTIL

    @property
    def changes_share(self) -> int:
        """Return the records a day guaranteed to new and changed."""
        return self.limit * self.changes_share_percent // 100

    @property
    def refresh_share(self) -> int:
        """Return the records a day that refresh and rescoring have."""
        return self.limit - self.changes_share

    @property
    def kept_for_new(self) -> int:
        """Return the last records of a day, which new records alone may take until `kept_until`.

        Rounded up: however small the limit, a new record finds room while any remains (R16).
        """
        return -(-self.limit * KEPT_FOR_NEW_PERCENT // 100)

    @property
    def lasting_share(self) -> int:
        """Return the records a day that rows which keep failing may take, at least one."""
        return max(1, self.limit * LASTING_SHARE_PERCENT // 100)


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What a claim has to know of the day on which it is made.

    `day` and `local_time` are those of the settings' time zone, `now` is aware UTC. `awaited` are
    the objects that run and whose daily pull of the day is not in yet (R20).
    """

    day: date
    now: datetime
    local_time: time
    policy: DayPolicy
    awaited: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DaySoFar:
    """What has been used of a day, and what could be claimed now.

    `used` and `claimable` count records by object and lane. `claimable_new` counts new records by
    object. `lasting_used` counts the day's rows that had failed before, which `claimable` leaves
    out. `awaited` are objects whose daily pull is still to come today: their part of the refresh
    lane is kept for them.
    """

    local_time: time
    used: Counts = field(default_factory=dict)
    claimable: Counts = field(default_factory=dict)
    claimable_new: Mapping[str, int] = field(default_factory=dict)
    lasting_used: int = 0
    awaited: frozenset[str] = frozenset()

    @property
    def used_total(self) -> int:
        """Return the records scored or being scored today, over all objects."""
        return sum(self.used.values())

    def lane_used(self, lane: Lane) -> int:
        """Return the records used by `lane` over all objects."""
        return sum(n for (_, of), n in self.used.items() if of is lane)

    def lane_wanted(self, lane: Lane) -> int:
        """Return the records claimable now in `lane` over all objects."""
        return sum(n for (_, of), n in self.claimable.items() if of is lane)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one object may claim now: new records, other rows by lane, rows that failed before."""

    new: int
    changes: int
    refresh: int
    lasting: int

    @property
    def total(self) -> int:
        """Return all that may be claimed, were there rows enough."""
        return self.new + self.changes + self.refresh + self.lasting


def even_shares(budget: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Divide `budget` equally over the objects that want some of it.

    What one does not need passes to the others.
    """
    shares = dict.fromkeys(wanted, 0)

    # The smallest wish first: what it leaves of its equal share is divided among those behind it.
    by_size = sorted(
        (object_name for object_name, n in wanted.items() if n > 0),
        key=lambda object_name: (wanted[object_name], object_name),
    )

    remaining = budget
    for index, object_name in enumerate(by_size):
        shares[object_name] = min(wanted[object_name], remaining // (len(by_size) - index))
        remaining -= shares[object_name]
    return shares


def _lane_budgets(policy: DayPolicy, day: DaySoFar) -> dict[Lane, int]:
    """Return how many records each lane may have used by now, before it is divided over objects."""
    if day.local_time >= policy.kept_until:
        return _late_lane_budgets(policy, day)

    changes = policy.changes_share
    if not day.awaited:
        # Refresh is all known now, so changed records may have what it does not need. What is kept
        # for new records comes off that, never off refresh.
        needed = day.lane_used(Lane.REFRESH) + day.lane_wanted(Lane.REFRESH)
        spare = policy.limit - policy.kept_for_new - min(policy.refresh_share, needed)
        changes = max(policy.changes_share, spare)

    return {Lane.CHANGES: changes, Lane.REFRESH: policy.refresh_share}


def _late_lane_budgets(policy: DayPolicy, day: DaySoFar) -> dict[Lane, int]:
    """Return the budgets late in the day: any lane may take what remains.

    What the other lane may still claim of its own share is kept for it.
    """
    remaining = policy.limit - day.used_total
    shares = {Lane.CHANGES: policy.changes_share, Lane.REFRESH: policy.refresh_share}
    owed = {
        lane: min(day.lane_wanted(lane), max(0, shares[lane] - day.lane_used(lane)))
        for lane in Lane
    }
    owed_to_all = sum(owed.values())

    return {
        lane: day.lane_used(lane) + remaining - min(remaining, owed_to_all - owed[lane])
        for lane in Lane
    }


def _lane_allowance(policy: DayPolicy, day: DaySoFar, object_name: str, lane: Lane) -> int:
    """Return how many more rows of `lane` the object may claim by its equal share of the lane."""
    wanted = {
        of: day.used.get((of, lane), 0) + day.claimable.get((of, lane), 0)
        for of in {key[0] for key in (*day.used, *day.claimable)}
    }
    # Nobody knows yet what an awaited daily pull will list: it counts as wanting everything.
    if lane is Lane.REFRESH and day.local_time < policy.kept_until:
        wanted |= dict.fromkeys(day.awaited, policy.limit)

    budget = _lane_budgets(policy, day)[lane]
    share = even_shares(budget, wanted).get(object_name, 0)
    room_in_lane = budget - day.lane_used(lane)
    return max(0, min(share - day.used.get((object_name, lane), 0), room_in_lane))


def allowance(policy: DayPolicy, day: DaySoFar, object_name: str) -> Allowance:
    """Return what the object may claim now; the sum never exceeds what remains of the limit (R20).

    New records may take all that remains of the day, whatever waits beside them (R16). Among
    objects it is divided equally. All other rows share lanes and objects, and leave the day's last
    part to new records.
    """
    remaining = policy.limit - day.used_total
    new_wanted = day.claimable_new.get(object_name, 0)
    new_shares = even_shares(max(0, remaining), day.claimable_new)
    new = min(new_wanted, new_shares.get(object_name, 0))

    # Other rows may take neither what new records of the other objects want, nor the last part.
    others_new = sum(day.claimable_new.values()) - new_wanted
    kept = 0 if day.local_time >= policy.kept_until else policy.kept_for_new
    room = max(0, remaining - new - max(kept, others_new))

    # New records are of the lane of changes: what they take counts there, and is not claimed twice.
    granted_new = {Lane.CHANGES: new, Lane.REFRESH: 0}
    wanted_new = {Lane.CHANGES: new_wanted, Lane.REFRESH: 0}
    granted: dict[Lane, int] = {}
    for lane in Lane:
        by_share = _lane_allowance(policy, day, object_name, lane) - granted_new[lane]
        others_wanted = day.claimable.get((object_name, lane), 0) - wanted_new[lane]
        granted[lane] = max(0, min(by_share, others_wanted, room))
        room -= granted[lane]

    lasting = max(0, min(room, policy.lasting_share - day.lasting_used))
    return Allowance(
        new=new, changes=granted[Lane.CHANGES], refresh=granted[Lane.REFRESH], lasting=lasting
    )


def lane_of(reason: str) -> Lane:
    """Return the lane that a reason belongs to."""
    return LANES[Reason(reason)]
