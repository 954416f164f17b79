"""A record that keeps becoming due is slowed down (R15)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from pipeline.core.limit.repeats import (
    FREE_SCORINGS,
    LONGEST_WAIT,
    SCORINGS_KEPT_FOR,
    Scoring,
    scored_again,
    slowed_until,
    wait_after,
)

START = datetime(2026, 3, 10, 22, 0, tzinfo=UTC)
TICK = timedelta(minutes=5)


def scored_at(due_every: timedelta, days: int) -> list[datetime]:
    """Play the pulls every five minutes of a record that becomes due again so long after each scoring."""
    scored: list[Scoring] = []
    now, due = START, START
    while now < START + timedelta(days=days):
        last = scored[-1] if scored and scored[-1].at > now - SCORINGS_KEPT_FOR else None
        if now >= due and now >= (slowed_until(last) or now):
            scored.append(scored_again(last, now))
            due = now + due_every
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
    days = by_day(scored_at(due_every=TICK, days=60))

    assert days[0] <= 2 * FREE_SCORINGS  # two hours
    assert days[1] <= 4
    assert all(n <= 1 for n in days[3:])
    assert sum(days[30:]) >= 25


def test_midnight_gives_nothing_back() -> None:
    """In the first 24 hours, whatever calendar days they lie on."""
    day = [m for m in scored_at(due_every=TICK, days=3) if m < START + timedelta(days=1)]

    assert len(day) <= 9


def test_record_that_people_edit_twice_a_day_is_never_slowed_down() -> None:
    scored = scored_at(due_every=timedelta(hours=12), days=30)

    assert len(scored) == 60


def test_record_that_rested_begins_anew() -> None:
    """A flow that was fixed: its record is as free as any other."""
    busy = Scoring(START, 4)
    later = scored_again(busy, START + timedelta(hours=9))

    assert slowed_until(busy) == START + timedelta(minutes=30)
    assert scored_again(busy, START + timedelta(hours=7)).streak == 5
    assert later.streak == 1
    assert slowed_until(later) is None


def test_record_never_scored_does_not_rest() -> None:
    assert slowed_until(None) is None
