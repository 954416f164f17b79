"""A record that keeps becoming due is slowed down: how long a streak of scorings it has says for how long (R15).

A flow that rewrites an input at every save makes the pipeline's own push a change. What counts is how the scorings
follow one another, whatever the calendar says: a count that began anew at midnight would give the record another
day's worth each day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FREE_SCORINGS: Final = 3
"""How many scorings of a streak are not slowed down: people correct what they typed."""

FIRST_WAIT: Final = timedelta(minutes=15)
LONGEST_WAIT: Final = timedelta(hours=24)
"""So that a record whose flow is never mended takes one scoring a day, and an honest change waits a day at most."""

STREAK_ENDS_AFTER: Final = timedelta(hours=8)
"""A record that was not scored for so long (or twice its wait) has come to rest: a new streak begins."""

SCORINGS_KEPT_FOR: Final = 2 * LONGEST_WAIT
"""How far back scorings count: no rest within a streak is longer."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """When a record was scored, and how many scorings make its streak so far."""

    at: datetime
    streak: int


def wait_after(streak: int) -> timedelta:
    """Return how long a record rests after so many scorings of a streak; nothing for the first ones."""
    if streak < FREE_SCORINGS:
        return timedelta(0)
    doubled: timedelta = FIRST_WAIT * (1 << min(streak - FREE_SCORINGS, 20))
    return min(LONGEST_WAIT, doubled)


def scored_again(last: Scoring | None, at: datetime) -> Scoring:
    """Return the scoring at `at` that follows `last`, or begins a streak after a rest."""
    if last is None or at - last.at > max(STREAK_ENDS_AFTER, 2 * wait_after(last.streak)):
        return Scoring(at, 1)
    return Scoring(at, last.streak + 1)


def slowed_until(last: Scoring | None) -> datetime | None:
    """Return before when a record scored last at `last` is not scored again; None where it may be at once."""
    wait = wait_after(last.streak) if last else timedelta(0)
    return last.at + wait if last and wait else None
