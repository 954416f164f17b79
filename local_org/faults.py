"""Faults that a test asks for: what can be armed, when each one fires, and how often it has.

A fault is armed over ``POST /_control/faults``, fires on the requests, rows or jobs that it
matches, and counts every firing, so that a test can prove that its fault really happened.
Carrying a fault out belongs to the modules that own the place where it happens: ``server`` for
whole requests, ``rest`` for single queries, ``row_faults`` for single records, ``bulk_worker`` for
jobs. Nothing here does I/O.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

REQUEST_KINDS = frozenset(
    {
        "http_503",
        "http_500",
        "http_403_limit",
        "drop_before",
        "drop_after",
        "truncate",
        "slow",
        "expire_session",
        "expire_locator",
        "short_result",
        "wrong_date",
    }
)
QUERY_KINDS = frozenset({"query_slow", "query_error"})
ROW_KINDS = frozenset({"lock_rows", "row_error"})
JOB_KINDS = frozenset({"job_fail", "job_stuck", "unprocessed_rows"})
KINDS = REQUEST_KINDS | QUERY_KINDS | ROW_KINDS | JOB_KINDS

# Each kind's own parameters with their defaults; None stands for "must be given".
_PARAMETERS: dict[str, dict[str, Any]] = {
    "http_503": {"html": True},
    "http_500": {},
    "http_403_limit": {"limit": "daily"},
    "drop_before": {},
    "drop_after": {},
    "truncate": {"bytes": 0},
    "slow": {"seconds": 0.0, "chunk_bytes": 0, "chunk_seconds": 0.0},
    "expire_session": {},
    "expire_locator": {},
    "short_result": {},
    "wrong_date": {"seconds": 3600.0},
    "query_slow": {"seconds": 0.0},
    "query_error": {"status": 400, "code": "INVALID_FIELD", "message": "No such column"},
    "lock_rows": {"ids": (), "share": 0.0, "seed": 0, "blocker": ""},
    "row_error": {"ids": None, "code": None, "message": None, "fields": ()},
    "job_fail": {"message": "InternalServerError : server error", "after_rows": 0},
    "job_stuck": {"after_rows": 0},
    "unprocessed_rows": {"after_rows": 0, "state": "Failed", "message": ""},
}
_MATCHERS: dict[str, frozenset[str]] = {
    **dict.fromkeys(REQUEST_KINDS, frozenset({"method", "path"})),
    **dict.fromkeys(QUERY_KINDS | ROW_KINDS, frozenset({"object"})),
    **dict.fromkeys(JOB_KINDS, frozenset({"object", "operation"})),
}


class FaultSpecError(ValueError):
    """A fault was asked for in words that this org does not know."""


@dataclass
class Fault:
    """One armed fault.

    ``skip`` matching occasions pass untouched, then ``count`` of them fire (None: every one). For
    the row kinds both are counted for each record on its own: 2 fails the same row twice.
    """

    id: int
    kind: str
    params: Mapping[str, Any]
    method: str | None = None
    path: re.Pattern[str] | None = None
    object: str | None = None
    operation: str | None = None
    skip: int = 0
    count: int | None = 1
    seen: int = 0
    fired: int = 0
    per_row: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the fault as the control endpoint lists it, counters included."""
        return {
            "id": self.id,
            "kind": self.kind,
            "method": self.method,
            "path": self.path.pattern if self.path else None,
            "object": self.object,
            "operation": self.operation,
            "skip": self.skip,
            "count": self.count,
            "seen": self.seen,
            "fired": self.fired,
            "exhausted": self.exhausted,
            **{
                k: list(v) if isinstance(v, tuple | frozenset) else v
                for k, v in self.params.items()
            },
        }

    @property
    def exhausted(self) -> bool:
        """Whether the fault has fired as often as was asked (never true for the row kinds)."""
        if self.kind in ROW_KINDS or self.count is None:
            return False
        return self.fired >= self.count

    def take(self) -> bool:
        """Count one occasion and say whether the fault fires on it."""
        if self.exhausted:
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        self.fired += 1
        return True

    def take_row(self, record_id: str) -> bool:
        """Count one save of the record and say whether the fault fails it."""
        seen = self.per_row.get(record_id, 0) + 1
        self.per_row[record_id] = seen
        if seen <= self.skip or (self.count is not None and seen > self.skip + self.count):
            return False
        self.fired += 1
        return True

    def covers(self, record_id: str) -> bool:
        """Say whether a row fault is meant for this record, by its id or by its share."""
        if record_id in self.params["ids"]:
            return True
        share = float(self.params.get("share", 0.0))
        if share <= 0:
            return False
        # A hash, not a random draw: the same records are locked whatever the order of the rows.
        drawn = zlib.crc32(f"{self.params['seed']}:{record_id}".encode()) / 2**32
        return drawn < share


def _integer(name: str, value: Any, *, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise FaultSpecError(f"{name} must be a whole number >= {minimum}, not {value!r}")
    return value


def _params(kind: str, spec: Mapping[str, Any], to_18: Callable[[str], str]) -> dict[str, Any]:
    """Read the kind's own parameters out of a request, with defaults for those not given."""
    params: dict[str, Any] = {}
    for name, default in _PARAMETERS[kind].items():
        if name in spec:
            params[name] = spec[name]
        elif default is None:
            raise FaultSpecError(f"{kind} needs {name!r}")
        else:
            params[name] = default

    if "ids" in params:
        params["ids"] = frozenset(to_18(str(record_id)) for record_id in params["ids"])
    for name in ("after_rows", "bytes", "chunk_bytes"):
        if name in params:
            _integer(name, params[name], minimum=0)

    if params.get("limit", "daily") not in ("daily", "concurrent"):
        raise FaultSpecError(f"limit must be 'daily' or 'concurrent', not {params['limit']!r}")
    if params.get("state", "Failed") not in ("Failed", "Aborted"):
        raise FaultSpecError(f"state must be 'Failed' or 'Aborted', not {params['state']!r}")
    return params


class Faults:
    """All armed faults. Safe to ask from the event loop and from the worker's thread alike."""

    def __init__(self, to_18: Callable[[str], str] = lambda record_id: record_id) -> None:
        """Start with nothing armed; ``to_18`` gives an id's 18-character form."""
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._next_id = 1
        self._to_18 = to_18

    def arm(self, spec: Mapping[str, Any]) -> Fault:
        """Arm one fault as described by ``spec``.

        Raises:
            FaultSpecError: an unknown kind, an unknown key, or a value that makes no sense.
        """
        kind = spec.get("kind")
        if kind not in KINDS:
            raise FaultSpecError(
                f"unknown fault kind {kind!r}. Use one of: {', '.join(sorted(KINDS))}"
            )

        allowed = {"kind", "skip", "count"} | _MATCHERS[kind] | set(_PARAMETERS[kind])
        unknown = sorted(set(spec) - allowed)
        if unknown:
            raise FaultSpecError(
                f"{kind} does not take {', '.join(unknown)}; it takes {', '.join(sorted(allowed))}"
            )

        count = spec.get("count", 1)
        try:
            path = re.compile(spec["path"]) if spec.get("path") else None
        except re.error as error:
            raise FaultSpecError(f"path is not a regular expression: {error}") from error

        with self._lock:
            fault = Fault(
                id=self._next_id,
                kind=kind,
                params=_params(kind, spec, self._to_18),
                method=str(spec["method"]).upper() if spec.get("method") else None,
                path=path,
                object=spec.get("object"),
                operation=spec.get("operation"),
                skip=_integer("skip", spec.get("skip", 0), minimum=0),
                count=None if count is None else _integer("count", count, minimum=1),
            )
            self._next_id += 1
            self._faults.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Take one fault, or all, away and give how many went; stuck jobs go on."""
        with self._lock:
            kept = [] if fault_id is None else [f for f in self._faults if f.id != fault_id]
            cleared = len(self._faults) - len(kept)
            self._faults = kept
        return cleared

    def as_json(self) -> list[dict[str, Any]]:
        """Give every armed fault with its counters, in the order of arming."""
        with self._lock:
            return [fault.to_json() for fault in self._faults]

    def is_armed(self, fault: Fault) -> bool:
        """Say whether the fault is still there; a stuck job waits until it is not."""
        with self._lock:
            return fault in self._faults

    def on_request(
        self, method: str, path: str, kinds: frozenset[str] | None = None
    ) -> Fault | None:
        """Give the first request fault that fires on this request, and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.kind not in (kinds or REQUEST_KINDS) or fault.exhausted:
                    continue
                if fault.method is not None and fault.method != method:
                    continue
                if fault.path is not None and not fault.path.search(path):
                    continue
                if fault.take():
                    return fault
        return None

    @property
    def has_query_faults(self) -> bool:
        """Whether any query fault is armed, so that a query need not be read twice."""
        with self._lock:
            return any(fault.kind in QUERY_KINDS for fault in self._faults)

    def on_query(self, object_name: str) -> Fault | None:
        """Give the first query fault that fires on a query of this object, and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.kind not in QUERY_KINDS or not _same(fault.object, object_name):
                    continue
                if fault.take():
                    return fault
        return None

    def on_job(self, object_name: str, operation: str, kinds: frozenset[str]) -> Fault | None:
        """Give the first job fault that fires on a job of this object and operation."""
        with self._lock:
            for fault in self._faults:
                if fault.kind not in kinds or fault.exhausted:
                    continue
                if not _same(fault.object, object_name) or not _same(fault.operation, operation):
                    continue
                if fault.take():
                    return fault
        return None

    @property
    def has_row_faults(self) -> bool:
        """Whether any row fault is armed, so that a bulk load need not ask for every row."""
        with self._lock:
            return any(fault.kind in ROW_KINDS for fault in self._faults)

    def on_row(self, object_name: str, record_id: str) -> Fault | None:
        """Give the first row fault that fails this save of the record (18-character id)."""
        with self._lock:
            for fault in self._faults:
                if fault.kind not in ROW_KINDS or not _same(fault.object, object_name):
                    continue
                if fault.covers(record_id) and fault.take_row(record_id):
                    return fault
        return None


def _same(wanted: str | None, actual: str) -> bool:
    return wanted is None or wanted.lower() == actual.lower()
