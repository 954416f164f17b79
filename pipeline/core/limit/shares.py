"""How a day's record limit is divided: lanes, objects, the part kept for new records (R16, R20).

All pure arithmetic over counts; the ledger applies it inside the transaction that claims.
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

        Rounded up: however small the limit, a new record finds one while any is left (R16).
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

    `used` and `claimable` count records by object and lane; `claimable_new` new records by object;
    `lasting_used` rows of the day that had failed before; `claimable` leaves those rows out. `awaited` are
    objects whose daily pull is still to come today: their part of the refresh lane is kept for them.
    """

    local_time: time
    used: Counts = field(default_factory=dict)
    claimable: Counts = field(default_factory=dict)
    claimable_new: Mapping[str, int] = field(default_factory=dict)
    lasting_used: int = 0
    awaited: frozenset[str] = frozenset()

    @property
    def daily_pulls_done(self) -> bool:
        """Say whether every object's daily pull of the day is in."""
        return not self.awaited

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
    """Divide `budget` equally over those who want some; what one does not need passes to the others."""
    shares = dict.fromkeys(wanted, 0)
    hungry = sorted(
        (name for name, n in wanted.items() if n > 0), key=lambda name: (wanted[name], name)
    )
    left = budget
    for index, name in enumerate(hungry):
        shares[name] = min(wanted[name], left // (len(hungry) - index))
        left -= shares[name]
    return shares


def _lane_budgets(policy: DayPolicy, day: DaySoFar) -> dict[Lane, int]:
    """Return how many records each lane may have used by now, before it is divided over objects."""
    if day.local_time >= policy.kept_until:
        left = policy.limit - day.used_total
        # What is left goes to any lane, but to one that has not had its share first.
        shares = {Lane.CHANGES: policy.changes_share, Lane.REFRESH: policy.refresh_share}
        owed = {
            lane: min(day.lane_wanted(lane), max(0, shares[lane] - day.lane_used(lane)))
            for lane in Lane
        }
        return {
            lane: day.lane_used(lane) + left - min(left, sum(owed.values()) - owed[lane])
            for lane in Lane
        }
    changes = policy.changes_share
    if day.daily_pulls_done:
        needed = day.lane_used(Lane.REFRESH) + day.lane_wanted(Lane.REFRESH)
        # What is kept for new records comes off what changed ones take beyond their share, not off refresh.
        spare = policy.limit - policy.kept_for_new - min(policy.refresh_share, needed)
        changes = max(policy.changes_share, spare)
    return {Lane.CHANGES: changes, Lane.REFRESH: policy.refresh_share}


def _lane_allowance(policy: DayPolicy, day: DaySoFar, name: str, lane: Lane) -> int:
    """Return how many more rows of `lane` the object may claim by its equal share of the lane."""
    wanted = {
        of: day.used.get((of, lane), 0) + day.claimable.get((of, lane), 0)
        for of in {key[0] for key in (*day.used, *day.claimable)}
    }
    if lane is Lane.REFRESH and day.local_time < policy.kept_until:
        wanted |= dict.fromkeys(day.awaited, policy.limit)
    share = even_shares(_lane_budgets(policy, day)[lane], wanted).get(name, 0)
    in_lane = _lane_budgets(policy, day)[lane] - day.lane_used(lane)
    return max(0, min(share - day.used.get((name, lane), 0), in_lane))


def allowance(policy: DayPolicy, day: DaySoFar, name: str) -> Allowance:
    """Return what object `name` may claim now; the sum never exceeds what is left of the limit (R20).

    New records may take all that is left of the day, whatever waits beside them (R16); among objects it is divided
    equally. The rest shares lanes and objects, and leaves the day's last part to new records.
    """
    left = policy.limit - day.used_total
    late = day.local_time >= policy.kept_until
    new_wanted = day.claimable_new.get(name, 0)
    new_shares = even_shares(max(0, left), day.claimable_new)
    new = min(new_wanted, new_shares.get(name, 0))
    others_new = sum(day.claimable_new.values()) - new_wanted
    kept = 0 if late else policy.kept_for_new
    room = max(0, left - new - max(kept, others_new))
    lane_new = {Lane.CHANGES: new, Lane.REFRESH: 0}
    granted: dict[Lane, int] = {}
    for lane in Lane:
        by_share = _lane_allowance(policy, day, name, lane) - lane_new[lane]
        old_wanted = day.claimable.get((name, lane), 0) - (
            new_wanted if lane is Lane.CHANGES else 0
        )
        granted[lane] = max(0, min(by_share, old_wanted, room))
        room -= granted[lane]
    lasting = max(0, min(room, policy.lasting_share - day.lasting_used))
    return Allowance(
        new=new, changes=granted[Lane.CHANGES], refresh=granted[Lane.REFRESH], lasting=lasting
    )


def lane_of(reason: str) -> Lane:
    """Return the lane that a reason belongs to."""
    return LANES[Reason(reason)]
