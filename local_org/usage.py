"""Counting of API calls: the log that tests read, the rolling 24 hours, and the daily limit.

Every request below ``/services/data`` counts one, the list of versions excepted; a composite counts
one, each part of a batch counts one (Salesforce API notes, 2.4, 2.6 and 3.7). Whether requests for
tokens count is not known of a real org, so it is an option.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

WINDOW_SECONDS = 24 * 3600
# Older calls leave the log; the counts keep them.
LOG_ENTRIES_MAX = 200_000


@dataclass(frozen=True)
class Call:
    """One HTTP request that reached the org, as the control endpoint shows it."""

    at: str
    method: str
    path: str
    status: int
    counted: int
    kind: str
    client: str
    milliseconds: float


class Usage:
    """What has been called, and how much of the day's allocation that has used."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """Start empty; ``now`` is the org's own clock."""
        self._now = now
        self._lock = threading.Lock()
        # One entry a second, not one a call: a day of calls stays small.
        self._seconds: deque[list[int]] = deque()
        self._log: deque[Call] = deque(maxlen=LOG_ENTRIES_MAX)
        self.by_kind: Counter[str] = Counter()
        self.total = 0

    def charge(self, calls: int) -> None:
        """Count calls against the rolling day."""
        if calls <= 0:
            return
        second = int(self._now().timestamp())
        with self._lock:
            self.total += calls
            if self._seconds and self._seconds[-1][0] == second:
                self._seconds[-1][1] += calls
            else:
                self._seconds.append([second, calls])

    def record(self, call: Call) -> None:
        """Put one finished request into the log."""
        with self._lock:
            self.by_kind[call.kind] += 1
            self._log.append(call)

    def used(self) -> int:
        """Give the calls of the last 24 hours."""
        oldest = self._now().timestamp() - WINDOW_SECONDS
        with self._lock:
            # What has left the window never comes back, unless the clock is set back.
            while self._seconds and self._seconds[0][0] <= oldest:
                self._seconds.popleft()
            return sum(calls for _, calls in self._seconds)

    def log(self, last: int | None = None) -> list[dict[str, Any]]:
        """Give the newest ``last`` calls (all that are kept, if None), oldest first."""
        with self._lock:
            calls = list(self._log)
        return [asdict(call) for call in (calls if last is None else calls[-last:])]

    def reset(self) -> None:
        """Forget the log and every count."""
        with self._lock:
            self._seconds.clear()
            self._log.clear()
            self.by_kind.clear()
            self.total = 0

    def dump(self) -> dict[str, Any]:
        """Give what must outlive a restart."""
        with self._lock:
            return {
                "seconds": [list(entry) for entry in self._seconds],
                "total": self.total,
                "by_kind": dict(self.by_kind),
            }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue the counts of an earlier process."""
        self._seconds = deque(saved["seconds"])
        self.total = saved["total"]
        self.by_kind = Counter(saved["by_kind"])
