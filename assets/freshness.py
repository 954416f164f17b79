"""How fresh each asset has to be: the UI turns red by itself when pulls stop.

Dagster counts materializations of the whole asset, so a pull that finds nothing new for hours would
look like one that stopped. The sensor therefore reports one where the org answered "nothing new"
and none was reported lately.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import dagster as dg

PULL_WINDOW_LEAST: Final = timedelta(hours=1)
PULL_INTERVALS: Final = 12
DAILY: Final = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=27), warn_window=timedelta(hours=25)
)
"""For what the daily pull brings: it runs once a day, an hour more on the day that has 25."""


def pull_window(interval_minutes: int) -> timedelta:
    """Return how long the pulls may be silent before the asset counts as not fresh."""
    return max(PULL_WINDOW_LEAST, PULL_INTERVALS * timedelta(minutes=interval_minutes))


def pulls(interval_minutes: int) -> dg.FreshnessPolicy:
    """Return the policy of the pull every few minutes."""
    window = pull_window(interval_minutes)
    return dg.FreshnessPolicy.time_window(fail_window=window, warn_window=window / 2)


def is_to_be_reported(last: float | None, now: float, interval_minutes: int) -> bool:
    """Say whether a tick that found nothing new reports it; times are seconds since the epoch."""
    return last is None or now - last >= pull_window(interval_minutes).total_seconds() / 4
