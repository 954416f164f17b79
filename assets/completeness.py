"""The `complete` check, reported of every day whose figure has changed (R28, R29).

The run of a partition tells of its own day. Of the others it is told without a run, by push runs
and by the sensor's ticks: what a command asked for shows at once, and a day that becomes complete
is told at once.
"""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any, Final

import dagster as dg

from assets.partitions import partition_key
from pipeline.steps.asking.complete import DayState, changed_since_reported, day_states
from pipeline.steps.clients import Clients

COMPLETE: Final = "complete"
REPORTER: Final = "complete_check"
"""Stands as the job of evaluations that no job made."""

WORDS: Final = "Nothing of this day waits: no record that was asked for on it, was claimed on it, or that a redo of it asked for."


def report_changed(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    clients: Clients,
    object_name: str,
    run_id: str | None = None,
) -> dict[date, DayState]:
    """Report the object's days whose figure has changed; return the days that are not complete.

    They are reported as events of run `run_id`, or of a tick.

    The ledger keeps what was told after it was told, so that nothing is left untold when a process
    dies.
    """
    states = day_states(clients, object_name)
    changed = changed_since_reported(clients, object_name, states)
    for state in changed:
        _report(instance, key, state, run_id or f"tick-{uuid.uuid4().hex}")
    if changed:
        clients.ledger.completeness.note_reported(
            object_name, {state.day: state.waiting for state in changed}
        )
    return states


def _report(instance: dg.DagsterInstance, key: dg.AssetKey, state: DayState, run_id: str) -> None:
    """Store one evaluation, as an event of a run.

    Of events without a run Dagster keeps only one for each check and partition.
    """
    evaluation = dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=COMPLETE,
        partition=partition_key(state.day, state.object),
        **_evaluation(state),
    )

    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        event_specific_data=evaluation,
        job_name=REPORTER,
    )
    instance.report_dagster_event(event, run_id=run_id)


def complete_result(key: dg.AssetKey, state: DayState) -> dg.AssetCheckResult:
    """Return the check of a run's own partition."""
    return dg.AssetCheckResult(asset_key=key, check_name=COMPLETE, **_evaluation(state))


def _evaluation(state: DayState) -> dict[str, Any]:
    """Return what an evaluation and a result of the check have in common."""
    metadata: dict[str, Any] = {
        "waiting": state.waiting,
        "failing": state.failing,
        "in_flight": state.in_flight,
    }
    if state.done_on:
        metadata["waiting_done_on"] = state.done_on.isoformat()

    return {
        "passed": state.is_complete,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": _advice(state),
        "metadata": metadata,
    }


def _advice(state: DayState) -> str:
    if state.is_complete:
        return "Nothing of this day waits."

    words = (
        f"{state.waiting} records of this day wait. They are scored by themselves at the limit's pace, the last on "
        f"{state.done_on}; nothing is to be done."
    )
    if state.failing:
        words += (
            f" {state.failing} of them failed before and are tried at growing intervals: look at `insights failures`, "
            "mend the cause, then launch the job retry_failures."
        )
    return words
