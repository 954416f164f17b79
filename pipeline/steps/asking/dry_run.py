"""Scores and returns what would be pushed, beside the org's values; writes nothing (R31)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from pipeline.core.configuration.integration import DATETIME_FIELD
from pipeline.core.limit.windows import pull_window
from pipeline.core.scoring.due import due_after_pull, row_statuses
from pipeline.core.scoring.results import IS_SET, UPDATE, SegmentResult, segment_result
from pipeline.core.scoring.scope import ScoringScope
from pipeline.core.soql import AllOf, In, select
from pipeline.steps.clients import Clients
from pipeline.steps.inputs import read_inputs
from pipeline.steps.preflight import check, scope_of
from pipeline.steps.pull import read_changed, stale_rows
from pipeline.steps.score_market import score_markets
from pipeline.steps.score_summary import ScoreSummary

RECORDS_MAX: Final = 100
"""How many records a dry run scores by default."""

Kind = Literal["pull", "daily_pull"]


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would do.

    `due` counts records by reason. `rows` shows the first of them: each has `id`, `reason`, and by
    Salesforce field its current value (`stands`) and the new one (`would_be`). `failed` says by
    record id why a record would be set aside.
    """

    object: str
    read: int
    due: dict[str, int]
    rows: list[dict[str, Any]]
    failed: dict[str, str]
    broken: dict[str, int]


def dry_run(clients: Clients, object_name: str, kind: Kind, first: int = RECORDS_MAX) -> DryRun:
    """Do what a pull or a daily pull of the object would do for its `first` due records.

    Nothing is written: the watermark, the waiting list, the limit and the org stay as they are.
    """
    # The calls count as a pull's: no dry run may take those kept for pushes (R21).
    clients.budget.require()
    scope = scope_of(clients, object_name, check(clients, [object_name]))
    read, reasons = _read_due(clients, scope, kind)
    chosen = dict(list(reasons.items())[:first])

    summary = ScoreSummary(object=object_name)
    table = read_inputs(clients, scope, list(chosen))
    status = row_statuses(scope, table)
    results = score_markets(clients, scope, table, status, summary)
    # Whole seconds, as a claim's stamp: Salesforce keeps no more of a datetime.
    stamp = clients.now().replace(microsecond=0)
    result = segment_result(scope, stamp, table, status, results, chosen)

    return DryRun(
        object=object_name,
        read=read,
        due=dict(Counter(reasons.values())),
        rows=_rows(scope, result, _current_values(clients, scope, result), chosen),
        failed={i: f"{p.code}: {p.message}" for i, p in result.failed.items()},
        broken={f"{m}: {o} is not {rule}": n for (m, o, rule), n in summary.broken.items()},
    )


def _read_due(clients: Clients, scope: ScoringScope, kind: Kind) -> tuple[int, dict[str, str]]:
    """Return how many records would be read, and by id why each due one is due."""
    if kind == "daily_pull":
        reasons = _stale_reasons(clients, scope)
        return len(reasons), reasons

    state = clients.ledger.objects.all().get(scope.object)
    window = pull_window(
        watermark=state.watermark if state else scope.turned_on_at,
        pulled_at=state.pulled_at if state else None,
        turned_on_at=scope.turned_on_at,
        org_now=clients.org.org_now(),
        now=clients.now(),
    )

    read = 0
    reasons = {}
    for table in read_changed(clients, scope, window)[0]:
        read += table.num_rows
        found = due_after_pull(scope, table, row_statuses(scope, table)).to_pylist()
        ids = table.column("Id").to_pylist()
        reasons |= {i: reason for i, reason in zip(ids, found, strict=True) if reason}
    return read, reasons


def _stale_reasons(clients: Clients, scope: ScoringScope) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for table in stale_rows(clients, scope):
        ids, why = table.column("id").to_pylist(), table.column("reason").to_pylist()
        reasons |= dict(zip(ids, why, strict=True))
    return reasons


def _current_values(
    clients: Clients, scope: ScoringScope, result: SegmentResult
) -> dict[str, dict[str, Any]]:
    """Return the org's current values of the fields that may be set, by record id."""
    ids = result.update.column("Id").to_pylist()
    if not ids:
        return {}

    names = ("Id", DATETIME_FIELD, *scope.output_fields)
    fields = [(name, result.update.column(UPDATE + name).type) for name in names[1:]]
    schema = pa.schema([("Id", pa.string()), *((n, _readable(t)) for n, t in fields)])

    found: dict[str, dict[str, Any]] = {}
    batches = clients.org.read_by_ids(
        lambda part: select(names, scope.object, AllOf([In("Id", list(part))])), ids, schema
    )
    for batch in batches:
        found |= {row["Id"]: row for row in batch.to_pylist()}
    return found


def _readable(kind: pa.DataType) -> pa.DataType:
    """Return the type of a field's values as the org sends them.

    Whole numbers come as doubles (API notes 8).
    """
    return pa.float64() if pa.types.is_integer(kind) else kind


def _rows(
    scope: ScoringScope,
    result: SegmentResult,
    current: dict[str, dict[str, Any]],
    reasons: dict[str, str],
) -> list[dict[str, Any]]:
    """Return by record the fields that would be set, with current and new values."""
    rows = []

    for row in result.update.to_pylist():
        record_id = row["Id"]
        set_fields = [n for n in scope.output_fields if row[IS_SET + n]]
        rows.append(
            {
                "id": record_id,
                "reason": reasons[record_id],
                "fields": {
                    name: {
                        "stands": current.get(record_id, {}).get(name),
                        "would_be": row[UPDATE + name],
                    }
                    for name in set_fields
                },
            }
        )

    return rows
