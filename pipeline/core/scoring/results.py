"""One segment's results as tables: what is pushed, kept, and still waited for (R8, R23, R24)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD, Integration
from pipeline.core.limit.row_faults import INVALID_OUTPUT, MARKET_FAILED, MARKET_RESTS, MODEL_FAILED
from pipeline.core.org_fit.fields import DATETIME, ObjectDescribe
from pipeline.core.scoring.digest import VERSION as EMPTY_HASH
from pipeline.core.scoring.due import RowStatus, new_hashes
from pipeline.core.scoring.outputs import (
    BAD_ROWS_MIN,
    BAD_SHARE_MAX,
    Validated,
)
from pipeline.core.scoring.scope import ScoringScope

UPDATE: Final = "update."
IS_SET: Final = "written."
"""Prefixes of a working file's columns: a field's new value, and whether the row sets the field."""

PARTIAL_CODE: Final = "partial.code"
PARTIAL_MESSAGE: Final = "partial.message"
PARTIAL_HELD_FOR: Final = "partial.held_for"
"""Why a row that is pushed still waits for one of its markets; null where it does not."""

IS_HELD: Final = "the market is held since it failed as a whole"
RESTS: Final = "the integration is paused or not ready"

PARENT_ID: Final = "AccountId"


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a market did not score a row; with `held_for` the market is to blame, not the row."""

    code: str
    message: str
    held_for: str | None = None


@dataclass(frozen=True, slots=True)
class MarketResult:
    """One market's outputs over all rows of a segment.

    `scored` says which rows it scored. `problems` says by position why it did not score others that
    are its candidates.
    """

    outputs: pa.Table
    scored: pa.Array
    problems: Mapping[int, RowProblem]


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """The results of a segment's rows: the update to push, what the lake keeps, which rows failed.

    `inputs` holds for every row the hash of the inputs that it was scored from, whichever markets
    scored it. `broken` holds the ids of failed rows by output (id or hash) and the rule it broke.
    """

    update: pa.Table
    kept: pa.Table
    failed: Mapping[str, RowProblem]
    inputs: Mapping[str, str]
    broken: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)


def market_result(name: str, mask: pa.Array, result: Validated) -> MarketResult:
    """Return a market's results over all rows of a segment.

    `result` has one entry for each row where `mask` is true, in their order.
    """
    rows = pc.indices_nonzero(mask)
    total = len(mask)

    positions_of = rows.to_pylist()
    problems = {positions_of[row]: problem for row, problem in _row_problems(name, result)}

    if len(rows) == 0:
        nothing = {c.name: pa.nulls(total, c.type) for c in result.outputs.schema}
        return MarketResult(pa.table(nothing), _none(total), problems)

    # The position of each row of the segment among the candidates; null for those that are none.
    positions = pc.index_in(pa.array(range(total), rows.type), value_set=rows)
    scored = pc.fill_null(result.valid.take(positions), False)
    return MarketResult(result.outputs.take(positions), scored, problems)


def _row_problems(name: str, result: Validated) -> Iterator[tuple[int, RowProblem]]:
    """Yield by row of `result` why the market `name` did not score it."""
    if result.whole:
        whole = RowProblem(MARKET_FAILED, f"{name}: {result.whole}", held_for=name)
        not_scored = pc.indices_nonzero(pc.invert(result.valid)).to_pylist()
        yield from ((row, whole) for row in not_scored)
        return

    for broken in result.broken:
        problem = RowProblem(INVALID_OUTPUT, f"{name}: {broken.output} is not {broken.rule}")
        yield from ((row, problem) for row in broken.rows)

    for row, why in result.failed.items():
        yield row, RowProblem(MODEL_FAILED, f"{name}: {why}")

    among = f"{name}: one of {len(result.undecided)} records is why {result.why_undecided}"
    undecided = RowProblem(MARKET_FAILED, among, held_for=name)
    yield from ((row, undecided) for row in result.undecided)


def _none(rows: int) -> pa.Array:
    return pa.array([False] * rows, pa.bool_())


def segment_result(
    scope: ScoringScope,
    stamp: datetime,
    table: pa.Table,
    status: RowStatus,
    results: Mapping[str, MarketResult],
    reasons: Mapping[str, str],
) -> SegmentResult:
    """Put the markets' results together.

    A row is pushed when at least one of its markets scored it. A market that did not keeps its old
    outputs and digest, and the row still waits for it. `reasons` says by record id why it was
    claimed.
    """
    ids = table.column("Id").to_pylist()
    scored = {market: result.scored for market, result in results.items()}
    pushes = [*scored.values(), *(mask.combine_chunks() for mask in status.cleared.values())]
    is_pushed = reduce(pc.or_, pushes, _none(table.num_rows))
    inputs = dict(zip(ids, new_hashes(scope, status).to_pylist(), strict=True))
    hashes = new_hashes(scope, status, scored, table.column(DATETIME_FIELD))

    # A row that is pushed waits for its held and failed markets alone (R23). One that no market
    # scored waits for the resting ones as well.
    problems = _waiting_for(scope.held, status, MARKET_FAILED, IS_HELD)
    for result in results.values():
        problems |= result.problems
    waits = _waiting_for(scope.resting, status, MARKET_RESTS, RESTS) | problems
    set_aside = pc.indices_nonzero(pc.invert(is_pushed)).to_pylist() if waits else ()
    failed = {ids[at]: waits[at] for at in set_aside if at in waits}

    cleared = _cleared_fields(scope, table, status)
    update = _update(scope, stamp, table, results, cleared, hashes)
    for name, values in _partial(problems, table.num_rows).items():
        update = update.append_column(name, values)
    kept = _history(scope, stamp, table, results, hashes, reasons)

    if pc.all(is_pushed).as_py():
        return SegmentResult(update, kept, failed, inputs)
    return SegmentResult(update.filter(is_pushed), kept.filter(is_pushed), failed, inputs)


def _waiting_for(
    integrations: Sequence[Integration], status: RowStatus, code: str, why: str
) -> dict[int, RowProblem]:
    """Return by position the rows that resting integrations would score: they wait for them."""
    problems: dict[int, RowProblem] = {}
    for integration in integrations:
        # Where it cannot be read whom it would score, nobody waits for it.
        rows = status.resting_candidates.get(integration.market)
        if rows is not None:
            problem = RowProblem(code, f"{integration.market}: {why}", held_for=integration.market)
            problems |= dict.fromkeys(pc.indices_nonzero(rows).to_pylist(), problem)
    return problems


def without_broken_rows(result: SegmentResult) -> SegmentResult:
    """Return the result without rows whose id or hash has a wrong form; they failed (D8).

    Past a share of them something is wrong with all: none is pushed.
    """
    from pipeline.core.scoring.schemas import broken_rows

    ids = result.kept.column("id")
    broken = broken_rows(ids, result.update.column(UPDATE + HASH_FIELD))
    if not broken:
        return result

    problems = {
        row: RowProblem(INVALID_OUTPUT, f"{one.output} is not {one.rule}")
        for one in broken
        for row in one.rows
    }

    if len(problems) >= BAD_ROWS_MIN and len(problems) > result.kept.num_rows * BAD_SHARE_MAX:
        message = (
            f"{len(problems)} of {result.kept.num_rows} rows have an id or a hash of a wrong form"
        )
        whole = RowProblem(INVALID_OUTPUT, f"{message}; none was pushed")
        problems = {row: problems.get(row, whole) for row in range(result.kept.num_rows)}

    good = pa.array([row not in problems for row in range(result.kept.num_rows)], pa.bool_())
    failed = {**result.failed, **{ids[row].as_py(): p for row, p in problems.items()}}
    return SegmentResult(
        result.update.filter(good),
        result.kept.filter(good),
        failed,
        result.inputs,
        broken={(one.output, one.rule): [ids[row].as_py() for row in one.rows] for one in broken},
    )


def _partial(problems: Mapping[int, RowProblem], rows: int) -> dict[str, pa.Array]:
    if not problems:
        names = (PARTIAL_CODE, PARTIAL_MESSAGE, PARTIAL_HELD_FOR)
        return {name: pa.nulls(rows, pa.string()) for name in names}

    listed = [problems.get(at) for at in range(rows)]
    return {
        column: pa.array([getattr(p, attribute) if p else None for p in listed], pa.string())
        for column, attribute in (
            (PARTIAL_CODE, "code"),
            (PARTIAL_MESSAGE, "message"),
            (PARTIAL_HELD_FOR, "held_for"),
        )
    }


def _update(
    scope: ScoringScope,
    stamp: datetime,
    table: pa.Table,
    results: Mapping[str, MarketResult],
    cleared: Mapping[str, pa.Array],
    hashes: pa.Array,
) -> pa.Table:
    columns: dict[str, Any] = {"Id": table.column("Id")}
    if PARENT_ID in table.column_names:
        columns[PARENT_ID] = table.column(PARENT_ID)

    # A hash without an entry is sent as null: no market scores the record any more.
    columns[UPDATE + HASH_FIELD] = pc.if_else(
        pc.equal(hashes, EMPTY_HASH), pa.scalar(None, pa.string()), hashes
    )
    columns[UPDATE + DATETIME_FIELD] = pa.repeat(pa.scalar(stamp, DATETIME), table.num_rows)

    for name in scope.output_fields:
        columns[UPDATE + name], columns[IS_SET + name] = _field_update(
            scope, name, results, cleared.get(name)
        )

    return pa.table(columns)


def _cleared_fields(scope: ScoringScope, table: pa.Table, status: RowStatus) -> dict[str, pa.Array]:
    """Return by field the rows whose value no market renews any more (R7, R19).

    A field that was taken out of a mapping is cleared once, on rows last scored before the change.
    """
    cleared: dict[str, pa.Array] = {}
    for integration in scope.clearing:
        mask = status.cleared[integration.market].combine_chunks()
        for name in integration.outputs.values():
            cleared[name] = pc.or_(cleared[name], mask) if name in cleared else mask

    scored_at = table.column(DATETIME_FIELD)
    for market, names in scope.dropped_fields.items():
        before = pc.less(scored_at, pa.scalar(scope.enabled_at[market], scored_at.type))
        mask = pc.fill_null(before, False).combine_chunks()
        for name in names:
            cleared[name] = pc.or_(cleared[name], mask) if name in cleared else mask

    return cleared


def _field_update(
    scope: ScoringScope,
    name: str,
    results: Mapping[str, MarketResult],
    clears: pa.Array | None,
) -> tuple[Any, pa.Array]:
    """Return a field's new values and the rows it is set on, each by the market that scored it.

    It is emptied on the rows in `clears`, where no market scores it.
    """
    value: Any = None
    is_set: Any = None

    if clears is not None:
        # An empty checkbox is false, not null.
        kind = scope.describes[scope.object].fields[name].arrow_type
        is_checkbox = pa.types.is_boolean(kind)
        value = pa.repeat(pa.scalar(False if is_checkbox else None, kind), len(clears))
        is_set = clears

    for integration, output in _writers(scope.integrations, name):
        result = results[integration.market]
        column = result.outputs.column(output).combine_chunks()
        writes = result.scored
        if pa.types.is_boolean(column.type):
            column = pc.fill_null(column, False)
        if integration.null_outputs == "keep":
            writes = pc.and_(writes, pc.is_valid(column))

        if value is None:
            value, is_set = column, writes
        else:
            value = pc.if_else(writes, column, pc.cast(value, column.type))
            is_set = pc.or_(is_set, writes)

    return value, is_set


def _writers(integrations: Sequence[Integration], name: str) -> list[tuple[Integration, str]]:
    return [
        (integration, output)
        for integration in integrations
        for output, field in integration.outputs.items()
        if field == name
    ]


def _history(
    scope: ScoringScope,
    stamp: datetime,
    table: pa.Table,
    results: Mapping[str, MarketResult],
    hashes: pa.Array,
    reasons: Mapping[str, str],
) -> pa.Table:
    """Return what the lake keeps: inputs and outputs only where persist is on (R24)."""
    ids = table.column("Id").to_pylist()
    columns: dict[str, Any] = {
        "id": table.column("Id"),
        "reason": pa.array(list(map(reasons.__getitem__, ids)), pa.string()),
        "scored_at": pa.repeat(pa.scalar(stamp, DATETIME), len(ids)),
        "hash": hashes,
        "previous_hash": table.column(HASH_FIELD),
    }

    for integration in scope.integrations:
        market = integration.market
        result = results[market]
        version = pa.scalar(scope.markets[market].version)
        columns[f"{market}.version"] = pc.if_else(
            result.scored, version, pa.scalar(None, pa.string())
        )
        if integration.persist:
            for name, path in integration.inputs.items():
                columns[f"{market}.input.{name}"] = table.column(path)
            for name in integration.outputs:
                columns[f"{market}.output.{name}"] = result.outputs.column(name)

    return pa.table(columns)


def rows_to_send(update: pa.Table) -> tuple[pa.Table, dict[str, pa.ChunkedArray]]:
    """Return the table to send, with API names, and for each output field the rows it is set on."""
    names = update.column_names
    sent = {n.removeprefix(UPDATE): update.column(n) for n in names if n.startswith(UPDATE)}
    is_set = {n.removeprefix(IS_SET): update.column(n) for n in names if n.startswith(IS_SET)}
    return pa.table({"Id": update.column("Id"), **sent}), is_set


def not_writable(update: pa.Table, describe: ObjectDescribe) -> str:
    """Return which columns the user can no longer write, with advice; "" where there are none.

    One of them fails the whole job.
    """
    names = [n.removeprefix(UPDATE) for n in update.column_names if n.startswith(UPDATE)]
    fields = describe.fields
    hidden = [n for n in names if n not in fields or not fields[n].updateable]
    if not hidden:
        return ""

    return (
        f"{describe.name}: {', '.join(hidden)} cannot be written any more. Grant the integration user Edit on it, "
        "or take it out of the mapping; the records are tried again by themselves."
    )
