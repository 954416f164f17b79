"""The org's own clock: system time plus an offset that can be moved, or frozen.

Everything that the org stamps, expires or compares with "now" asks this clock and no other, so a
test can load data "last month" and come back.
"""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta

_DATETIME = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?"
    r"(Z|[+-]\d{2}:?\d{2})"
)


def format_csv(value: datetime) -> str:
    """Write a date-time as Bulk CSV does: ``2026-01-02T03:04:05.000Z``."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def format_json(value: datetime) -> str:
    """Write a date-time as REST JSON does: ``2026-01-02T03:04:05.000+0000``."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def parse_datetime(text: str) -> datetime:
    """Read any form the API takes: ``Z``, ``+0000`` or ``+00:00``, with or without a fraction.

    Raises:
        ValueError: the text is no date-time with a zone (there are no naive ones).
    """
    match = _DATETIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a date-time with a zone: {text!r}")

    year, month, day, hour, minute, second, fraction, zone = match.groups()
    # A fraction of any length: seven digits and more are cut.
    micros = int((fraction or "0").ljust(6, "0")[:6])
    value = datetime(
        int(year),
        int(month),
        int(day),
        int(hour),
        int(minute),
        int(second or 0),
        micros,
        tzinfo=UTC,
    )

    if zone == "Z":
        return value
    shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return value - shift if zone[0] == "+" else value + shift


class Clock:
    """System time plus an offset, in aware UTC; safe to use from any thread."""

    def __init__(self, offset_seconds: float = 0.0) -> None:
        """Start running, ``offset_seconds`` away from the system's time."""
        self._lock = threading.Lock()
        self._offset = offset_seconds
        self._frozen_at: float | None = None

    def _seconds(self) -> float:
        with self._lock:
            # A frozen clock ignores the system's time, not calls that set it.
            if self._frozen_at is not None:
                return self._frozen_at
            return time.time() + self._offset

    def now(self) -> datetime:
        """Give the org's time, with microseconds."""
        return datetime.fromtimestamp(self._seconds(), tz=UTC)

    def stamp(self) -> str:
        """Give the org's time at the one-second grain of its stamps (API notes 4.1)."""
        return format_csv(self.now())

    def set_offset(self, seconds: float) -> None:
        """Run ``seconds`` away from the system's time; a frozen clock is set and stays frozen."""
        with self._lock:
            self._offset = seconds
            if self._frozen_at is not None:
                self._frozen_at = time.time() + seconds

    def set_now(self, now: datetime) -> None:
        """Move the clock to ``now``; it goes on from there, unless it is frozen."""
        self.set_offset(now.timestamp() - time.time())

    def advance(self, seconds: float) -> None:
        """Move the clock by ``seconds`` (negative: back), frozen or not."""
        with self._lock:
            self._offset += seconds
            if self._frozen_at is not None:
                self._frozen_at += seconds

    def freeze(self, frozen: bool = True) -> None:
        """Stop the clock where it is, or let it go on from there."""
        with self._lock:
            if frozen and self._frozen_at is None:
                self._frozen_at = time.time() + self._offset
            elif not frozen and self._frozen_at is not None:
                self._offset = self._frozen_at - time.time()
                self._frozen_at = None

    def state(self) -> dict[str, object]:
        """Say where the clock is: ``now``, ``offset_seconds``, ``frozen``."""
        now = self.now()
        return {
            "now": now.isoformat(),
            "offset_seconds": round(now.timestamp() - time.time(), 3),
            "frozen": self._frozen_at is not None,
        }
