"""A record that keeps becoming due is slowed down: a longer streak, a longer wait (R15).

A flow that rewrites an input at every save makes the pipeline's own push a change. Such scorings
follow one another in a streak. The calendar plays no part: a count that began anew at midnight
would give the record another day's worth each day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FREE_SCORINGS: Final = 3
"""How many scorings of a streak are not slowed down: people correct what they typed."""

FIRST_WAIT: Final = timedelta(minutes=15)
LONGEST_WAIT: Final = timedelta(hours=24)
"""A record whose flow is never fixed takes one scoring a day. No change waits longer."""

STREAK_ENDS_AFTER: Final = timedelta(hours=8)
"""A record that was not scored for so long (or twice its wait) is free again."""

SCORINGS_KEPT_FOR: Final = 2 * LONGEST_WAIT
"""How far back scorings count: no gap within a streak is longer."""

_DOUBLINGS_MAX: Final = 20
"""Far past the longest wait; it keeps the power of two small whatever the streak."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """When a record was scored, and how many scorings its streak has with this one."""

    at: datetime
    streak: int


def wait_after(streak: int) -> timedelta:
    """Return how long a record waits after a streak of so many scorings; a short one is free."""
    if streak < FREE_SCORINGS:
        return timedelta(0)

    doubled: timedelta = FIRST_WAIT * (1 << min(streak - FREE_SCORINGS, _DOUBLINGS_MAX))
    return min(LONGEST_WAIT, doubled)


def scored_again(last: Scoring | None, at: datetime) -> Scoring:
    """Return the scoring at `at`, which continues the streak of `last` or begins a new one."""
    if last is None:
        return Scoring(at, streak=1)

    # Twice the wait: a record that is slowed down must not end its streak by having waited.
    ends_after = max(STREAK_ENDS_AFTER, 2 * wait_after(last.streak))
    is_new = at - last.at > ends_after
    return Scoring(at, streak=1 if is_new else last.streak + 1)


def slowed_until(last: Scoring | None) -> datetime | None:
    """Return until when a record with this last scoring waits; None where it need not wait."""
    wait = wait_after(last.streak) if last else timedelta(0)
    return last.at + wait if last and wait else None
