"""Small value objects about HTTP calls to the org: what is counted, and how long we wait."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

_USAGE: Final = re.compile(r"(?:^|[;,\s])api-usage=([0-9]{1,15})/([0-9]{1,15})(?![0-9])")
_KINDS: Final = (
    (re.compile(r"/services/oauth2/token$|/services/Soap/u/"), "sign-in"),
    (re.compile(r"/services/oauth2/userinfo$"), "identity"),
    (re.compile(r"/services/data/?$"), "versions"),
    (re.compile(r"/jobs/(?:ingest|query)/?$"), "job"),
    (re.compile(r"/jobs/ingest/[^/]+/batches/?$"), "upload"),
    (re.compile(r"/jobs/[^/]+/[^/]+/[A-Za-z]+/?$"), "results"),
    (re.compile(r"/jobs/(?:ingest|query)/[^/]+/?$"), "job"),
    (re.compile(r"/describe/?$"), "describe"),
    (re.compile(r"/composite/?$"), "query"),
    (re.compile(r"/query(?:All)?(?:/[^/]*)?$"), "query"),
)


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One HTTP request to the org, as it is counted (R21)."""

    method: str
    kind: str
    """sign-in, identity, versions, describe, query, job, poll, upload, results or other."""
    path: str

    @classmethod
    def of(cls, *, method: str, path: str) -> ApiCall:
        """Return the call with its kind, which the path decides."""
        kind = next((kind for pattern, kind in _KINDS if pattern.search(path)), "other")
        if kind == "job" and method == "GET":
            kind = "poll"
        return cls(method=method, kind=kind, path=path)


@dataclass(frozen=True, slots=True)
class ApiUsage:
    """The org's own count of API requests in the last 24 hours. It lags: advisory only."""

    used: int
    allotted: int


def usage_from_header(text: str) -> ApiUsage | None:
    """Return what a `Sforce-Limit-Info` header says of the whole org, None where nothing."""
    found = _USAGE.search(text)
    return ApiUsage(used=int(found[1]), allotted=int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until a connection must stand, and until the next bytes of an answer must come.

    After `total_seconds` a call is given up with all its tries, sign-ins, waits and slow answers:
    half the time for which a run holds its object without progress (D3).
    """

    connect_seconds: float = 10.0
    read_seconds: float = 120.0
    total_seconds: float = 300.0

    def as_pair(self) -> tuple[float, float]:
        """Return them in the order in which requests takes them."""
        return self.connect_seconds, self.read_seconds


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is tried when the org is unavailable, and how long is waited between.

    The wait doubles from the first to the longest, with a random share of up to `jitter_seconds`.
    """

    attempts: int = 6
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    jitter_seconds: float = 1.0

    def without_waiting(self) -> RetryPolicy:
        """Return the policy with the same tries and no waits, for tests."""
        return replace(self, first_wait_seconds=0.0, longest_wait_seconds=0.0, jitter_seconds=0.0)


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How the wait between two polls of a bulk job grows: every poll is an API call.

    `rows_per_second` is more than orgs write: after the first poll, a job is given the time that it
    needs at least.
    """

    first_seconds: float = 0.1
    growth: float = 2.0
    longest_seconds: float = 30.0
    rows_per_second: int = 20_000

    def next_wait(self, wait_seconds: float, rows: int = 0) -> float:
        """Return the wait after one of `wait_seconds`, for a job of `rows` rows (0: not known)."""
        wanted = max(wait_seconds * self.growth, rows / self.rows_per_second)
        return min(wanted, self.longest_seconds)


TICK_TIMEOUTS: Final = Timeouts(connect_seconds=5.0, read_seconds=15.0, total_seconds=25.0)
TICK_ATTEMPTS: Final = 3
TICK_LONGEST_WAIT_SECONDS: Final = 2.0
"""For a sensor's tick, which makes one call: Dagster gives it 60 s; the next tick asks again."""
