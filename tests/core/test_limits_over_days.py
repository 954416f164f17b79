"""The division of the limit over several days: nobody starves, nothing is lost (R16, R20)."""

from __future__ import annotations

from collections import Counter
from datetime import time

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.limit.shares import DayPolicy, DaySoFar, allowance
from pipeline.core.scoring.due import Lane

OBJECTS = ("Account", "Contact", "Lead")
KINDS = ("new", "changed", "refresh")
HOURS = (time(2, 30), time(9), time(16), time(21), time(22, 30))
LAST_MINUTES = tuple(time(23, minute) for minute in (0, 15, 30, 45))
"""Equal shares of a record or two round down to none for all but one: it takes some ticks to give them out."""
LANES = (Lane.CHANGES, Lane.REFRESH)
DAYS = 4
ARRIVALS = st.lists(
    st.dictionaries(
        st.tuples(st.sampled_from(OBJECTS), st.sampled_from(KINDS)), st.integers(0, 900), max_size=9
    ),
    min_size=DAYS,
    max_size=DAYS,
)


def _so_far(at: time, used: Counter[tuple[str, Lane]], waits: Counter[tuple[str, str]]) -> DaySoFar:
    claimable: Counter[tuple[str, Lane]] = Counter()
    for (name, kind), n in waits.items():
        claimable[name, Lane.REFRESH if kind == "refresh" else Lane.CHANGES] += n
    return DaySoFar(
        local_time=at,
        used=dict(used),
        claimable=dict(claimable),
        claimable_new={name: waits[name, "new"] for name in OBJECTS if waits[name, "new"]},
    )


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(30, 1_000), ARRIVALS, st.permutations(OBJECTS))
def test_over_days_a_lane_that_waits_has_had_its_share_and_nothing_is_lost(
    limit: int, arrivals: list[dict[tuple[str, str], int]], order: list[str]
) -> None:
    """R20: each day, whoever claims first; new records may take more than the share of their lane (R16)."""
    policy = DayPolicy(limit=limit)
    waits: Counter[tuple[str, str]] = Counter()
    arrived = scored = 0
    for of_the_day in arrivals:
        waits.update(of_the_day)
        arrived += sum(of_the_day.values())
        used: Counter[tuple[str, Lane]] = Counter()
        of_kind: Counter[tuple[str, str]] = Counter()
        for at in (*HOURS, *LAST_MINUTES):
            for name in order:
                allowed = allowance(policy, _so_far(at, used, waits), name)
                for kind, n in (
                    ("new", allowed.new),
                    ("changed", allowed.changes),
                    ("refresh", allowed.refresh),
                ):
                    assert 0 <= n <= waits[name, kind]
                    waits[name, kind] -= n
                    of_kind[name, kind] += n
                    used[name, Lane.REFRESH if kind == "refresh" else Lane.CHANGES] += n
        today = sum(used.values())
        scored += today

        assert today <= limit
        assert today == limit or sum(waits.values()) == 0
        new = sum(of_kind[name, "new"] for name in OBJECTS)
        changes, refresh = (sum(used[name, lane] for name in OBJECTS) for lane in LANES)
        if any(waits[name, kind] for name in OBJECTS for kind in ("new", "changed")):
            assert changes >= policy.changes_share
        if new == 0 and any(waits[name, "refresh"] for name in OBJECTS):
            assert refresh >= policy.refresh_share
    assert scored + sum(waits.values()) == arrived
