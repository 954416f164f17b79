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


CLOCKS_APART_MAX: Final = timedelta(minutes=5)
"""So far the org's clock and this machine's may differ before one of them is taken for wrong.

It is half the overlap: what a window passes over that ends so far ahead, the next one reads.
"""


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of SystemModstamp that one pull reads: from `start` on, before `end`."""

    start: datetime
    end: datetime


def trusted_org_now(org_now: datetime, now: datetime) -> datetime:
    """Return the org's time, or no more than is believed of it by this machine's clock.

    One answer with a wrong time must not move a watermark past changes that nobody has read.
    """
    return min(org_now, now + CLOCKS_APART_MAX)


def read_from(
    watermark: datetime, pulled_at: datetime | None, turned_on_at: datetime, now: datetime
) -> datetime:
    """Return where the next pull begins: an overlap behind the watermark.

    Nothing older than the turning on is read (R16). A watermark ahead of this machine's clock
    `now` came of a wrong clock: what changed since the pull that set it, at `pulled_at`, is read.
    """
    if watermark > now + CLOCKS_APART_MAX:
        watermark = min(pulled_at or turned_on_at, now)
    return max(watermark - OVERLAP, turned_on_at)


def pull_window(
    *,
    watermark: datetime,
    pulled_at: datetime | None = None,
    turned_on_at: datetime,
    org_now: datetime,
    now: datetime,
) -> Window:
    """Return what to read next: up to `org_now`, as far as `now` lets that be believed (D6, D23).

    It never ends behind the watermark, save where that is wrong itself (`read_from`).
    """
    start = read_from(watermark, pulled_at, turned_on_at, now)
    end = max(trusted_org_now(org_now, now) - LAG, start)
    return Window(start, end if watermark > now + CLOCKS_APART_MAX else max(end, watermark))


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
