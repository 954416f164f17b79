"""A record that keeps becoming due is slowed down: how often it was scored in a row says for how long (R15).

A flow that rewrites an input at every save makes the pipeline's own push a change. What counts is how the scorings
follow one another, whatever the calendar says: a count that began anew at midnight would give the record another
day's worth each day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FREE_SCORINGS: Final = 3
"""How many scorings in a row are not slowed down: people correct what they typed."""

FIRST_WAIT: Final = timedelta(minutes=15)
LONGEST_WAIT: Final = timedelta(hours=24)
"""So that a record whose flow is never mended takes one scoring a day, and an honest change waits a day at most."""

QUIET: Final = timedelta(hours=8)
"""A record that was not scored for so long (or twice its wait) has come to rest: the row begins anew."""

SCORINGS_KEPT_FOR: Final = 2 * LONGEST_WAIT
"""How far back scorings count: no rest within a row is longer."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """When a record was scored, and how many scorings in a row that made."""

    at: datetime
    in_a_row: int


def wait_after(in_a_row: int) -> timedelta:
    """Return how long a record rests after so many scorings in a row; nothing for the first ones."""
    if in_a_row < FREE_SCORINGS:
        return timedelta(0)
    doubled: timedelta = FIRST_WAIT * (1 << min(in_a_row - FREE_SCORINGS, 20))
    return min(LONGEST_WAIT, doubled)


def scored_again(last: Scoring | None, at: datetime) -> Scoring:
    """Return the scoring at `at` that follows `last`, or begins a row after a rest."""
    if last is None or at - last.at > max(QUIET, 2 * wait_after(last.in_a_row)):
        return Scoring(at, 1)
    return Scoring(at, last.in_a_row + 1)


def slowed_until(last: Scoring | None) -> datetime | None:
    """Return before when a record scored last at `last` is not scored again; None where it may be at once."""
    wait = wait_after(last.in_a_row) if last else timedelta(0)
    return last.at + wait if last and wait else None
