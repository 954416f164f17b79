from __future__ import annotations

from collections import Counter
from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.limit.shares import (
    Allowance,
    DayPolicy,
    DaySoFar,
    allowance,
    even_shares,
    lane_of,
)
from pipeline.core.scoring.due import Lane

CHANGES, REFRESH = Lane.CHANGES, Lane.REFRESH
OBJECTS = ("Account", "Contact", "Lead")
POLICY = DayPolicy(limit=1_000)
MORNING, LATE = time(8), time(22)
COUNT = st.integers(0, 1_500)


def day(
    *,
    at: time = MORNING,
    used: dict[tuple[str, Lane], int] | None = None,
    new: dict[str, int] | None = None,
    changed: dict[str, int] | None = None,
    refresh: dict[str, int] | None = None,
    pulls_done: bool = True,
    **more: Any,
) -> DaySoFar:
    """A day with rows waiting by object; new records are among the claimable of their lane."""
    new, changed, refresh = new or {}, changed or {}, refresh or {}
    changes = Counter(new) + Counter(changed)
    claimable = {(name, CHANGES): n for name, n in changes.items()}
    claimable |= {(name, REFRESH): n for name, n in refresh.items()}
    return DaySoFar(
        local_time=at,
        awaited=frozenset() if pulls_done else frozenset(OBJECTS),
        used=used or {},
        claimable=claimable,
        claimable_new=new,
        **more,
    )


def granted(so_far: DaySoFar, name: str = "Lead", policy: DayPolicy = POLICY) -> Allowance:
    return allowance(policy, so_far, name)


def test_changed_records_have_the_share_of_thirty_percent() -> None:
    """R20: before the daily pulls are in, the rest is kept for refresh."""
    assert granted(day(changed={"Lead": 5_000}, pulls_done=False)).changes == 300


def test_refresh_has_the_share_of_seventy_percent() -> None:
    """R20: new and changed keep theirs though nothing of it waits."""
    assert granted(day(refresh={"Lead": 5_000})).refresh == 700


def test_the_share_of_new_and_changed_is_a_setting() -> None:
    """R20."""
    policy = DayPolicy(limit=1_000, changes_share_percent=50)

    assert granted(day(changed={"Lead": 5_000}, pulls_done=False), policy=policy).changes == 500
    assert granted(day(refresh={"Lead": 5_000}), policy=policy).refresh == 500


def test_changed_records_take_what_refresh_does_not_need_once_the_daily_pulls_are_in() -> None:
    """R20."""
    so_far = day(changed={"Lead": 5_000}, refresh={"Lead": 100}, pulls_done=True)

    assert granted(so_far) == Allowance(new=0, changes=800, refresh=100, lasting=0)


def test_changed_records_do_not_take_what_refresh_used_already() -> None:
    """R20: the lane's need counts what it had."""
    so_far = day(changed={"Lead": 5_000}, used={("Lead", REFRESH): 600}, pulls_done=True)

    assert granted(so_far).changes == 300


@pytest.mark.parametrize("lane", ["changed", "refresh"])
def test_the_last_tenth_of_the_day_is_kept_for_new_records(lane: str) -> None:
    """R20: no other row takes it before 22:00."""
    used = {("Lead", CHANGES): 300, ("Lead", REFRESH): 600}
    waiting: dict[str, Any] = {lane: {"Lead": 500}, "pulls_done": True}

    assert granted(day(used=used, **waiting)).total == 0
    assert granted(day(used=used, new={"Lead": 500}, **waiting)).new == 100


@pytest.mark.parametrize("lane", ["changed", "refresh"])
def test_from_ten_in_the_evening_any_lane_takes_what_is_left(lane: str) -> None:
    """R20."""
    used = {("Lead", CHANGES): 300, ("Lead", REFRESH): 600}
    waiting: dict[str, Any] = {lane: {"Lead": 500}}

    assert granted(day(at=LATE, used=used, **waiting)).total == 100
    assert granted(day(at=time(21, 59, 59), used=used, **waiting)).total == 0


def test_a_new_record_is_scored_whatever_the_backlog() -> None:
    """R16: with every row of the org waiting in front of it."""
    backlog = dict.fromkeys(OBJECTS, 10**6)
    so_far = day(new={"Lead": 1}, changed=backlog, refresh=backlog, pulls_done=True)

    assert granted(so_far).new == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9, 10, 19, 100])
def test_a_new_record_is_scored_while_one_of_the_limit_is_left(limit: int) -> None:
    """R16: however small the limit and whatever is used of it."""
    policy = DayPolicy(limit=limit)
    for used in range(limit):
        so_far = day(
            used={("Lead", CHANGES): used}, new={"Lead": 1}, refresh=dict.fromkeys(OBJECTS, 10**6)
        )

        assert granted(so_far, policy=policy).new == 1


def test_a_flood_of_new_records_comes_before_a_backlog() -> None:
    """R16: whatever waits beside them, while any of the limit is left."""
    so_far = day(new={"Lead": 5_000}, refresh={"Account": 200})

    assert granted(so_far).new == 1_000


def test_new_records_come_before_changed_ones() -> None:
    """R16: within the lane."""
    so_far = day(new={"Lead": 250}, changed={"Lead": 5_000}, refresh={"Lead": 5_000})

    assert granted(so_far) == Allowance(new=250, changes=50, refresh=600, lasting=0)


def test_a_lane_is_shared_equally_over_objects() -> None:
    """R20."""
    so_far = day(refresh=dict.fromkeys(OBJECTS, 5_000))

    assert [granted(so_far, name).refresh for name in OBJECTS] == [233, 233, 234]


def test_what_an_object_does_not_need_passes_to_the_others() -> None:
    """R20."""
    so_far = day(refresh={"Account": 10, "Contact": 5_000, "Lead": 5_000})

    assert [granted(so_far, name).refresh for name in OBJECTS] == [10, 345, 345]


def test_an_object_that_had_its_share_waits_for_the_others() -> None:
    """R20: what was used counts as well as what is wanted."""
    so_far = day(used={("Lead", REFRESH): 350}, refresh={"Contact": 5_000, "Lead": 5_000})

    assert granted(so_far, "Lead").refresh == 0
    assert granted(so_far, "Contact").refresh == 350


def test_rows_that_keep_failing_take_five_percent_of_a_day() -> None:
    """R23."""
    assert granted(day()).lasting == 50
    assert granted(day(lasting_used=40)).lasting == 10
    assert granted(day(lasting_used=60)).lasting == 0


def test_rows_that_keep_failing_come_last() -> None:
    """R23: only what others leave."""
    so_far = day(used={("Lead", REFRESH): 595}, changed={"Lead": 300}, refresh={"Lead": 100})

    assert granted(so_far) == Allowance(new=0, changes=300, refresh=5, lasting=0)


def test_a_small_limit_still_lets_one_failing_row_try() -> None:
    """R23: five percent of ten would be none."""
    assert granted(day(), policy=DayPolicy(limit=10)).lasting == 1


def test_a_day_that_is_over_its_limit_grants_nothing() -> None:
    """R20: the limit was lowered, or the ledger learnt of more scorings."""
    so_far = day(
        at=LATE,
        used={("Lead", REFRESH): 1_200},
        new={"Lead": 5},
        changed={"Lead": 5},
        refresh={"Lead": 5},
    )

    assert granted(so_far).total == 0


def test_an_object_without_rows_is_granted_none() -> None:
    """R20: but for the few that failed before, which are counted apart."""
    so_far = day(new={"Lead": 5}, refresh={"Lead": 5})

    assert granted(so_far, "Account") == Allowance(new=0, changes=0, refresh=0, lasting=50)


def test_each_reason_belongs_to_a_lane_and_no_other_word_does() -> None:
    """R20."""
    assert lane_of("new") is CHANGES
    assert lane_of("redo") is REFRESH
    with pytest.raises(ValueError, match="later"):
        lane_of("later")


@given(st.integers(0, 10_000), st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5_000)))
def test_shares_are_equal_and_nothing_needed_is_left_over(
    budget: int, wanted: dict[str, int]
) -> None:
    """R20: equally hungry objects differ by one at the most; unneeded shares are passed on."""
    shares = even_shares(budget, wanted)
    unfed = [shares[name] for name, n in wanted.items() if shares[name] < n]

    assert sum(shares.values()) == min(budget, sum(wanted.values()))
    assert all(0 <= shares[name] <= n for name, n in wanted.items())
    assert max(unfed, default=0) - min(unfed, default=0) <= 1
    assert all(share <= min(unfed, default=budget) + 1 for share in shares.values())


@given(st.integers(1, 2_000), COUNT, COUNT, st.booleans())
def test_new_records_get_all_that_is_left_of_the_day(
    limit: int, wanted: int, refresh: int, pulls_done: bool
) -> None:
    """R16: whatever backlog there is."""
    policy = DayPolicy(limit=limit)
    so_far = day(new={"Lead": wanted}, refresh={"Contact": refresh}, pulls_done=pulls_done)

    assert granted(so_far, policy=policy).new == min(wanted, limit)


@st.composite
def waiting_lists(draw: st.DrawFn) -> dict[str, dict[str, int]]:
    """Rows that wait, by kind and object."""
    return {
        kind: {name: draw(COUNT) for name in draw(st.sets(st.sampled_from(OBJECTS)))}
        for kind in ("new", "changed", "refresh")
    }


@given(
    st.integers(1, 1_500),
    waiting_lists(),
    st.lists(
        st.tuples(st.sampled_from(OBJECTS), st.integers(1, 700), st.booleans(), st.booleans()),
        max_size=12,
    ),
)
def test_no_sequence_of_claims_exceeds_the_limit(
    limit: int, waiting: dict[str, dict[str, int]], claims: list[tuple[str, int, bool, bool]]
) -> None:
    """R20: whoever claims, in whatever order and size; other rows leave the kept part to new ones."""
    policy = DayPolicy(limit=limit)
    used: Counter[tuple[str, Lane]] = Counter()
    lasting_used = 0
    for name, rows_max, late, pulls_done in claims:
        at = LATE if late else MORNING
        so_far = day(
            at=at, used=dict(used), lasting_used=lasting_used, pulls_done=pulls_done, **waiting
        )
        allowed = allowance(policy, so_far, name)
        assert allowed.total <= limit - so_far.used_total
        assert min(allowed.new, allowed.changes, allowed.refresh, allowed.lasting) >= 0
        if not late:
            others = allowed.total - allowed.new
            assert others <= max(0, limit - so_far.used_total - policy.kept_for_new)
        room = rows_max
        for kind, most, lane in (
            ("new", allowed.new, CHANGES),
            ("changed", allowed.changes, CHANGES),
            ("refresh", allowed.refresh, REFRESH),
            ("lasting", allowed.lasting, REFRESH),
        ):
            take = min(most, room)
            room -= take
            used[name, lane] += take
            if kind == "lasting":
                lasting_used += take
            else:
                assert take <= waiting[kind].get(name, 0)
                waiting[kind] = {**waiting[kind], name: waiting[kind].get(name, 0) - take}

    assert sum(used.values()) <= limit
    assert lasting_used <= policy.lasting_share


@given(st.integers(10, 3_000), waiting_lists(), st.booleans())
def test_a_day_of_claims_wastes_nothing_that_somebody_may_take(
    limit: int, waiting: dict[str, dict[str, int]], pulls_done: bool
) -> None:
    """R20: from 22:00, claims go on until the limit is used or nothing waits."""
    policy = DayPolicy(limit=limit)
    used: Counter[tuple[str, Lane]] = Counter()
    for _ in range(20):
        for name in OBJECTS:
            so_far = day(at=LATE, used=dict(used), pulls_done=pulls_done, **waiting)
            allowed = allowance(policy, so_far, name)
            for kind, take in (
                ("new", allowed.new),
                ("changed", allowed.changes),
                ("refresh", allowed.refresh),
            ):
                lane = REFRESH if kind == "refresh" else CHANGES
                used[name, lane] += take
                waiting[kind] = {**waiting[kind], name: waiting[kind].get(name, 0) - take}
    left = sum(n for kind in waiting.values() for n in kind.values())

    assert left == 0 or sum(used.values()) == limit
