"""A record that our own writes make due again is slowed down; people are not (R15).

A flow that rewrites an input at every save makes the pipeline's own push a change. So does one that
runs some minutes later, as another user. Such scorings follow one another in a streak, and each
makes the record wait longer. A change that comes later was made by somebody who did not wait for
us: it is scored at once, however often that happens, up to a bound for 24 hours. The calendar plays
no part: a count that began anew at midnight would give the record another day's worth each day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

CLOSE_TO_WRITE: Final = timedelta(minutes=10)
"""A change so soon after our write is taken for its consequence, whoever saved it."""

FREE_SCORINGS: Final = 3
"""How many scorings of a streak are not slowed down: people correct what they typed."""

FIRST_WAIT: Final = timedelta(minutes=15)
LONGEST_WAIT: Final = timedelta(hours=24)
"""A record whose flow is never fixed takes one scoring a day. No change waits longer."""

SCORINGS_MAX: Final = 24
SCORINGS_MAX_WITHIN: Final = timedelta(hours=24)
"""So often a record is scored within these hours, whoever changes it."""

SCORINGS_KEPT_FOR: Final = 2 * LONGEST_WAIT
"""How far back scorings count: no gap within a streak is longer."""

_DOUBLINGS_MAX: Final = 20
"""Far past the longest wait; it keeps the power of two small whatever the streak."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """When a record was scored, and how many scorings its streak has with this one.

    `written_at` is when its push was known to have ended, on the org's clock. It is None where
    nothing was written.
    """

    at: datetime
    streak: int
    written_at: datetime | None = None


def wait_after(streak: int) -> timedelta:
    """Return how long a record waits after a streak of so many scorings; a short one is free."""
    if streak < FREE_SCORINGS:
        return timedelta(0)

    doubled: timedelta = FIRST_WAIT * (1 << min(streak - FREE_SCORINGS, _DOUBLINGS_MAX))
    return min(LONGEST_WAIT, doubled)


def streak_with(last: Scoring | None, changed_at: datetime | None) -> int:
    """Return the streak of a scoring that follows `last` and that a change made due.

    `changed_at` is the change's SystemModstamp. It is None where no change did: the scores were
    old, or were asked for.
    """
    if last is None or not comes_of_our_write(last, changed_at):
        return 1
    return last.streak + 1


def slowed_until(scorings: Sequence[Scoring], changed_at: datetime | None) -> datetime | None:
    """Return until when a record that changed waits; None where it need not wait.

    `scorings` are those of the last `SCORINGS_KEPT_FOR`, oldest first.
    """
    if not scorings:
        return None

    last = scorings[-1]
    wait = wait_after(last.streak) if comes_of_our_write(last, changed_at) else timedelta(0)
    return max(
        filter(None, (last.at + wait if wait else None, _full_until(scorings))), default=None
    )


def comes_of_our_write(last: Scoring, changed_at: datetime | None) -> bool:
    """Say whether the change came with our write or soon after it, whoever saved it."""
    if last.written_at is None or changed_at is None:
        return False
    return changed_at <= last.written_at + CLOSE_TO_WRITE


def _full_until(scorings: Sequence[Scoring]) -> datetime | None:
    """Return when the oldest of the last 24 scorings no longer counts; None for fewer."""
    if len(scorings) < SCORINGS_MAX:
        return None
    return scorings[-SCORINGS_MAX].at + SCORINGS_MAX_WITHIN
