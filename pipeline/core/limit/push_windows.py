"""At which hours of the day the org may be written to: an optional list of windows (R22)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final

PATTERN: Final = r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d"
"""Two times on the clock of the settings' time zone, as in 22:00-06:00."""

_MINUTES_AHEAD: Final = 2 * 24 * 60
"""How far ahead the next opening is looked for: a change of the clocks may skip a day's."""


@dataclass(frozen=True, slots=True)
class PushWindow:
    """The hours from `begins` on and before `ends`; past midnight where it ends earlier."""

    begins: time
    ends: time

    @classmethod
    def parse(cls, text: str) -> PushWindow:
        """Read "22:00-06:00"; raise ValueError for anything else, and for a window without length.

        >>> PushWindow.parse("22:00-06:00").has(time(23, 30))
        True
        """
        if not re.fullmatch(PATTERN, text, re.ASCII):
            raise ValueError(f'{text!r} is no window; write it as in "22:00-06:00"')

        begins, ends = (time.fromisoformat(part) for part in text.split("-"))
        if begins == ends:
            raise ValueError(f"{text!r} begins when it ends; leave push_windows out to push always")
        return cls(begins, ends)

    def has(self, at: time) -> bool:
        """Say whether `at`, on the clock of the settings' time zone, lies in the window."""
        if self.begins < self.ends:
            return self.begins <= at < self.ends
        return at >= self.begins or at < self.ends


def is_open(windows: Sequence[PushWindow], at: time) -> bool:
    """Say whether pushes may begin at `at`; always where there is no window."""
    return not windows or any(window.has(at) for window in windows)


def opens_at(windows: Sequence[PushWindow], now: datetime) -> datetime | None:
    """Return when the next window opens after `now`, an aware local time; None where none does."""
    minute = now.replace(second=0, microsecond=0)
    zone = now.tzinfo
    for ahead in range(1, _MINUTES_AHEAD):
        # By the instant, not by the wall clock: an hour that the clocks skip opens nothing.
        later = minute.timestamp() + 60 * ahead
        at = datetime.fromtimestamp(later, zone)
        if is_open(windows, at.time()):
            return at
    return None
