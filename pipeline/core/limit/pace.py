"""How long things take at the limit's pace (R27)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True, slots=True)
class WaitingCount:
    """How many rows of the waiting list are alike.

    `state` is `ready`, `backing_off` (its time has not come) or `in_flight` (a segment holds it).
    """

    object: str
    reason: str
    state: str
    records: int


def days_needed(records: int, limit: int) -> int:
    """Return how many whole days of `limit` records a day `records` take."""
    return -(-records // limit)


def last_day(
    today: date, waiting: int, left_today: int, limit: int, in_flight: int = 0
) -> date | None:
    """Return the day on which the last of `waiting` records is scored; None where none waits.

    It supposes that none is added. `in_flight` of them are charged to a day already.
    """
    if waiting == 0:
        return None

    after_today = max(0, waiting - in_flight - left_today)
    return today + timedelta(days=days_needed(after_today, limit))


def in_flight_of(waiting: Iterable[WaitingCount]) -> int:
    """Return how many records of the waiting list's summary are claimed."""
    return sum(count.records for count in waiting if count.state == "in_flight")


def pace_warning(records: int, limit: int, refresh_period_days: int) -> str | None:
    """Return a warning where the limit cannot keep `records` fresh within the refresh period."""
    possible = limit * refresh_period_days
    if records <= possible:
        return None

    return (
        f"{records:,} records are to be kept fresh, but {limit:,} a day for {refresh_period_days} days are "
        f"{possible:,}: scores will be up to {days_needed(records, limit)} days old. Raise daily_record_limit or "
        "refresh_period_days in settings.yaml, or score the rest by file."
    )
