"""When pushes may begin, and how large their jobs are (R22)."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from pipeline.core.limit.job_size import JOB_ROWS_MIN, next_job_rows
from pipeline.core.limit.push_windows import PushWindow, is_open, opens_at

NIGHT, NOON = PushWindow.parse("22:00-06:00"), PushWindow.parse("12:00-13:30")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("at", "open_then"),
    [
        (time(22), True),
        (time(5, 59), True),
        (time(6), False),
        (time(12, 10), True),
        (time(21, 59), False),
    ],
)
def test_a_window_may_end_after_midnight_and_there_may_be_several(
    at: time, open_then: bool
) -> None:
    assert is_open([NIGHT, NOON], at) is open_then


def test_without_a_window_pushes_may_always_begin() -> None:
    assert is_open([], time(3))


def test_the_next_opening_is_told_in_local_time() -> None:
    now = datetime(2026, 3, 10, 14, 0, tzinfo=BERLIN)

    assert opens_at([NIGHT, NOON], now) == datetime(2026, 3, 10, 22, 0, tzinfo=BERLIN)


def test_a_window_within_the_skipped_hour_opens_on_the_next_day() -> None:
    """In Berlin the clocks go from 02:00 to 03:00 on 29 March 2026."""
    now = datetime(2026, 3, 29, 1, 0, tzinfo=BERLIN)
    opens = opens_at([PushWindow.parse("02:10-02:40")], now)

    assert opens is not None
    assert opens.astimezone(UTC) == datetime(2026, 3, 30, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize("text", ["22:00", "22-06", "24:00-06:00", "06:00-06:00", "22:00-06:00 "])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="window"):
        PushWindow.parse(text)


def test_jobs_are_halved_while_rows_are_locked_down_to_200_and_grow_back() -> None:
    """R22, R23: past five rows of a hundred."""
    bound, seen = None, []
    for locked_share in (0.2, 0.2, 0.2, 0.0, 0.0, 0.0, 0.0):
        rows = bound or 1_000
        bound = next_job_rows(bound, rows, int(rows * locked_share), most=1_000)
        seen.append(bound)

    assert seen == [500, 250, JOB_ROWS_MIN, 400, 800, None, None]


def test_a_small_job_without_locks_says_nothing_of_large_ones() -> None:
    assert next_job_rows(400, rows=10, locked=0, most=10_000) == 400
    assert next_job_rows(None, rows=100, locked=5, most=10_000) is None
