from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.limit.windows import (
    LAG,
    OVERLAP,
    Window,
    day_of,
    local_time_on,
    pull_window,
    stale_before,
    start_of_day,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = NOON - timedelta(days=30)
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/Los_Angeles",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "America/Havana",
    ]
).map(ZoneInfo)


def test_a_pull_reads_an_overlap_behind_the_watermark() -> None:
    """D6: a transaction of ten minutes may commit a stamp that old."""
    window = pull_window(
        watermark=NOON,
        turned_on_at=LONG_AGO,
        org_now=NOON + timedelta(minutes=5),
        now=NOON + timedelta(minutes=5),
    )

    assert window.start == NOON - OVERLAP
    assert OVERLAP.total_seconds() == 600


def test_a_pull_leaves_the_newest_seconds_to_the_next_one() -> None:
    """D6: more rows of the same second may follow."""
    later = NOON + timedelta(minutes=5)
    window = pull_window(watermark=NOON, turned_on_at=LONG_AGO, org_now=later, now=later)

    assert window.end == later - LAG
    assert timedelta(seconds=1) <= LAG <= timedelta(seconds=10)


def test_a_pull_reads_nothing_older_than_the_turning_on() -> None:
    """R16: what is older is the daily pull's."""
    window = pull_window(
        watermark=NOON,
        turned_on_at=NOON,
        org_now=NOON + timedelta(minutes=5),
        now=NOON + timedelta(minutes=5),
    )

    assert window.start == NOON


def test_a_pull_right_after_the_turning_on_reads_an_empty_window() -> None:
    """R16: it never ends before it begins."""
    window = pull_window(watermark=NOON, turned_on_at=NOON, org_now=NOON, now=NOON)

    assert window.start == window.end == NOON


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_consecutive_pulls_leave_no_gap(first: int, second: int) -> None:
    """D6: each window begins before the end of the one before it."""
    org_now = NOON + timedelta(seconds=first)
    one = pull_window(watermark=NOON, turned_on_at=NOON, org_now=org_now, now=org_now)
    later = org_now + timedelta(seconds=second)
    two = pull_window(watermark=one.end, turned_on_at=NOON, org_now=later, now=later)

    assert two.start <= one.end <= two.end


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6))
def test_a_wrong_time_in_one_answer_leaves_no_gap_either(wrong: int, later: int) -> None:
    """R14: whatever one answer says, the next window begins before what was not read."""
    wrong_time = NOON + timedelta(seconds=wrong)
    one = pull_window(watermark=NOON, turned_on_at=LONG_AGO, org_now=wrong_time, now=NOON)
    after = NOON + timedelta(seconds=later)
    two = pull_window(watermark=one.end, turned_on_at=LONG_AGO, org_now=after, now=after)

    assert one.end >= NOON
    assert two.start <= NOON
    assert two.start <= one.end <= max(two.end, one.end)


def test_a_watermark_ahead_of_now_goes_back_to_the_last_pull() -> None:
    """R14: a wrong clock moved it there; nobody has read what changed since."""
    pulled_at = NOON - timedelta(hours=2)
    window = pull_window(
        watermark=NOON + timedelta(hours=1),
        pulled_at=pulled_at,
        turned_on_at=LONG_AGO,
        org_now=NOON,
        now=NOON,
    )

    assert window == Window(pulled_at - OVERLAP, NOON - LAG)


def test_a_day_is_the_settings_time_zones() -> None:
    """R20: not the server's, not UTC's."""
    just_after_midnight = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)

    assert day_of(just_after_midnight, BERLIN) == date(2026, 3, 2)
    assert day_of(just_after_midnight, ZoneInfo("America/Los_Angeles")) == date(2026, 3, 1)


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
)
def test_a_day_of_the_time_change_has_the_hours_that_it_has(day: date, hours: int) -> None:
    """R20: 23 in spring, 25 in autumn."""
    start = start_of_day(day, BERLIN)
    end = start_of_day(day + timedelta(days=1), BERLIN)

    assert end - start == timedelta(hours=hours)


def test_a_time_in_the_spring_gap_is_taken_as_far_behind_its_end() -> None:
    """R17: the daily pull at 02:30 happens on that day as well."""
    at = local_time_on(date(2026, 3, 29), time(2, 30), BERLIN)

    assert at == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert at.astimezone(BERLIN).time() == time(3, 30)


def test_a_time_that_comes_twice_in_autumn_is_the_first_of_the_two() -> None:
    """R17: once a day."""
    at = local_time_on(date(2026, 10, 25), time(2, 30), BERLIN)

    assert at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_a_day_whose_midnight_does_not_exist_begins_at_the_gaps_end() -> None:
    """R20: Cairo goes from 00:00 to 01:00."""
    cairo = ZoneInfo("Africa/Cairo")
    start = start_of_day(date(2026, 4, 24), cairo)

    assert start.astimezone(cairo).time() == time(1)
    assert day_of(start, cairo) == date(2026, 4, 24)
    assert day_of(start - timedelta(seconds=1), cairo) == date(2026, 4, 23)


@given(st.integers(0, 10 * 365 * 86_400), ZONES)
def test_every_moment_lies_in_its_day(second: int, zone: ZoneInfo) -> None:
    """R20: days are without gaps and do not overlap."""
    now = LONG_AGO + timedelta(seconds=second)
    day = day_of(now, zone)

    assert start_of_day(day, zone) <= now < start_of_day(day + timedelta(days=1), zone)


def test_stale_is_what_is_older_than_the_refresh_period() -> None:
    """R17."""
    assert stale_before(NOON, 30) == LONG_AGO
