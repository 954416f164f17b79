"""A record that our own writes make due again is slowed down, and people are not (R15)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from pipeline.core.limit.repeats import (
    CLOSE_TO_WRITE,
    FREE_SCORINGS,
    LONGEST_WAIT,
    SCORINGS_KEPT_FOR,
    SCORINGS_MAX,
    Scoring,
    slowed_until,
    streak_with,
    wait_after,
)

START = datetime(2026, 3, 10, 22, 0, tzinfo=UTC)
TICK = timedelta(minutes=5)
SECOND = timedelta(seconds=1)


def scored_at(changes_after: timedelta, days: int) -> list[datetime]:
    """Play the pulls of a record that changes so long after each of our writes."""
    scored: list[Scoring] = []
    now, changed = START, START

    while now < START + timedelta(days=days):
        known = [one for one in scored if one.at > now - SCORINGS_KEPT_FOR]
        if now >= changed and now >= (slowed_until(known, changed) or now):
            scored.append(Scoring(now, streak_with(known[-1] if known else None, changed), now))
            changed = now + changes_after
        now += TICK
    return [scoring.at for scoring in scored]


def by_day(scored: list[datetime]) -> list[int]:
    """Count them by calendar day."""
    days = Counter(at.date() for at in scored)
    return [
        days[START.date() + timedelta(days=n)]
        for n in range(max(days).toordinal() - START.toordinal() + 1)
    ]


def test_first_three_scorings_are_free_and_the_wait_doubles_from_there() -> None:
    minutes = [wait_after(n) / timedelta(minutes=1) for n in range(8)]

    assert minutes == [0, 0, 0, 15, 30, 60, 120, 240]
    assert wait_after(10**6) == LONGEST_WAIT


def test_record_that_every_push_makes_due_again_takes_one_scoring_a_day_in_the_end() -> None:
    """Neither midnight nor the end of what is remembered lets it begin anew."""
    for after in (timedelta(0), CLOSE_TO_WRITE):
        days = by_day(scored_at(changes_after=after, days=30))

        assert days[0] <= 2 * FREE_SCORINGS  # two hours
        assert days[1] <= 4
        assert all(n <= 1 for n in days[3:])
        assert sum(days[10:]) >= 15


def test_midnight_gives_nothing_back() -> None:
    """In the first 24 hours, whatever calendar days they lie on."""
    day = [m for m in scored_at(timedelta(0), days=3) if m < START + timedelta(days=1)]

    assert len(day) <= 9


def test_record_that_people_edit_every_hour_is_never_slowed_down() -> None:
    """However often: what came later than ten minutes after our write is nobody's echo."""
    for minutes in (60, 65, 120):
        scored = scored_at(changes_after=timedelta(minutes=minutes), days=2)

        assert {b - a for a, b in pairwise(scored)} == {timedelta(minutes=minutes)}


def test_record_is_scored_24_times_in_24_hours_at_the_most() -> None:
    """Whoever changes it: a job that rewrites it every quarter of an hour too."""
    scored = scored_at(changes_after=timedelta(minutes=15), days=3)

    for first in scored:
        assert sum(first <= at < first + timedelta(hours=24) for at in scored) <= SCORINGS_MAX
    assert len(scored) >= 2 * SCORINGS_MAX


def test_a_change_ten_minutes_after_our_write_is_close_and_a_later_one_is_not() -> None:
    last = Scoring(START, 3, written_at=START + timedelta(minutes=2))
    close = START + timedelta(minutes=12)

    assert slowed_until([last], close) == START + timedelta(minutes=15)
    assert streak_with(last, close) == 4
    assert slowed_until([last], close + SECOND) is None
    assert streak_with(last, close + SECOND) == 1


def test_change_in_the_second_of_our_write_is_close() -> None:
    """Its stamp is our write's: a flow that saves with us shows no other."""
    last = Scoring(START, 1, written_at=START + timedelta(seconds=8))

    assert streak_with(last, START + timedelta(seconds=3)) == 2


def test_what_was_asked_for_or_refused_follows_no_write() -> None:
    """A refresh has no change, and a refused row was not written."""
    assert streak_with(Scoring(START, 5, written_at=START), None) == 1
    assert streak_with(Scoring(START, 5, written_at=None), START) == 1
    assert slowed_until([Scoring(START, 5, written_at=None)], START) is None


def test_record_never_scored_does_not_wait() -> None:
    assert slowed_until([], START) is None
    assert streak_with(None, START) == 1
