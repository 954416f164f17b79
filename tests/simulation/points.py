"""Every effect that a run has, by a stable name, and the places before, during and after it where it may be killed."""

from __future__ import annotations

from random import Random
from typing import Final

ORG: Final = (
    "org POST sign-in",
    "org GET describe",
    "org POST query",
    "org GET query",
    "org POST job",
    "org PUT upload",
    "org PATCH job",
    "org GET poll",
    "org GET results",
)
"""Calls to the org, by method and kind (`resources.salesforce.calls`); a composite call is a `POST query`."""

LEDGER: Final = tuple(
    f"ledger {transaction}"
    for transaction in (
        "Org.connect",
        "Integrations.roll_out",
        "Objects.turn_on",
        "Leases.acquire",
        "Leases.renew",
        "Leases.release",
        "Calls.count",
        "Calls.note_usage",
        "Calls.note_limit_reached",
        "Ledger.add_requests",
        "Ledger.record_pull",
        "Ledger.record_daily_pull",
        "Ledger.record_redo",
        "Days.raise_used",
        "Segments.claim",
        "Segments.begin_attempt",
        "Segments.note_inputs",
        "Segments.mark_scored",
        "Segments.withdraw",
        "Segments.dissolve",
        "Objects.note_asked",
        "Holds.hold",
        "Holds.release",
        "PushJobs.record",
        "PushJobs.set_state",
        "PushJobs.count_result_try",
        "Segments.note_unpushed",
        "Settling.settle_rows",
        "Settling.settle",
        "Integrations.pause",
        "Integrations.resume",
        "Integrations.note_seen",
        "Objects.bound_jobs",
    )
)
"""Transactions that write, by the method that opens them."""

LAKE_WRITES: Final = (
    "lake write salesforce_changed_records",
    "lake write stale_records",
    "lake write scored_enriched",
    "lake write pushed_results",
    "lake write_working_file pulled",
    "lake write_working_file segment",
)
LAKE: Final = (
    *LAKE_WRITES,
    "lake delete_working_file pulled",
    "lake delete_working_file segment",
    "lake delete_working_files_of",
    "lake note_job",
    "lake forget_job",
)
EFFECTS: Final = (*ORG, *LEDGER, *LAKE)
POINTS: Final = (
    *(f"{phase} {effect}" for effect in EFFECTS for phase in ("before", "after")),
    *(f"during {effect}" for effect in LAKE_WRITES),
)
"""Where a process may be killed: before an effect, or after it and before the process learns of it; a file half-written."""
FIRST: Final = tuple(
    f"{phase} ledger {transaction}"
    for transaction in ("Org.connect", "Integrations.roll_out", "Objects.turn_on")
    for phase in ("before", "after")
)
"""Points of the first check of all."""

RARE: Final = tuple(
    f"{phase} ledger {transaction}"
    for transaction in (
        "Calls.note_limit_reached",
        "PushJobs.count_result_try",
        "Segments.note_unpushed",
        "Segments.withdraw",
        "Holds.hold",
        "Holds.release",
        "Integrations.pause",
        "Integrations.resume",
        "Integrations.note_seen",
        "Objects.bound_jobs",
    )
    for phase in ("before", "after")
)
"""Points that few schedules come past."""

LATE: Final = tuple(
    point
    for point in POINTS
    if point.split(" ", 1)[1] in (*ORG[4:], *LEDGER[12:-4], *LAKE) and point not in RARE
)
"""Points from the claim on: few runs get that far."""

_WEIGHTED: Final = [*POINTS, *LATE, *LATE, *RARE, *RARE, *RARE, *RARE]
TARGETS: Final = Random(1).sample(_WEIGHTED, len(_WEIGHTED))
"""The order in which schedules lie in wait for somebody at the points, at some more often than at others."""


class Killed(BaseException):
    """The process was killed here: from now on each further effect of it raises this as well."""
