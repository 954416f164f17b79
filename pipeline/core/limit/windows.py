"""Days, windows and horizons.

Days are those of the settings' time zone. Windows are on the org's clock (D2, D6).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

OVERLAP: Final = timedelta(minutes=10)
"""A transaction lasts ten minutes at most: a late stamp may be that old (API notes 4.2)."""

LAG: Final = timedelta(seconds=2)
"""The newest seconds wait for the next pull: more rows of the same second may follow."""


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of SystemModstamp that one pull reads: from `start` on, before `end`."""

    start: datetime
    end: datetime


def pull_window(*, watermark: datetime, turned_on_at: datetime, org_now: datetime) -> Window:
    """Return what to read next, from an overlap behind the watermark on.

    Nothing older than the turning on is read (R16).
    """
    start = max(watermark - OVERLAP, turned_on_at)
    end = max(org_now - LAG, start)
    return Window(start, end)


def day_of(now: datetime, zone: ZoneInfo) -> date:
    """Return the calendar day that `now` falls on in the settings' time zone."""
    return now.astimezone(zone).date()


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return when `day` begins in the settings' time zone, as UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def local_time_on(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return the instant of a wall-clock time as UTC.

    A time that the clock skips in spring is as far behind the gap's end as it is behind its start.
    """
    return datetime.combine(day, at, zone).astimezone(UTC)


def newest_daily_pull(now: datetime, at: time, zone: ZoneInfo) -> date:
    """Return the day whose daily pull is the newest that should have begun by `now` (R17)."""
    today = day_of(now, zone)
    return today if now >= local_time_on(today, at, zone) else today - timedelta(days=1)


def stale_before(now: datetime, refresh_period_days: int) -> datetime:
    """Return the instant before which a scoring is too old (R17)."""
    return now - timedelta(days=refresh_period_days)
