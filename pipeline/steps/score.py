"""Claims what the day's limit allows, scores it with every market it is a candidate of, checks the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.due import LANES, Reason, Standing, new_hashes, standing
from pipeline.core.fields import Field
from pipeline.core.integration import DATETIME_FIELD, HASH_FIELD, Integration
from pipeline.core.market import Market
from pipeline.core.schemas import EXAMPLES_MAX, Validated, validated
from pipeline.core.setup import ObjectSetup
from pipeline.core.soql import AllOf, Compare, In, select
from pipeline.steps.preflight import setup_of
from pipeline.steps.pull import pulled_work_file
from pipeline.steps.work import CHANGED_RECORDS, SCORED, STALE_RECORDS, Work
from resources.ledger.claims import Outcome, RowFailure, Segment, SegmentState
from resources.ledger.state import Lease

SEGMENT_ATTEMPTS_MAX: Final = 3
UPDATE: Final = "update."
TOUCHED: Final = "touched."
PARTIAL: Final = "partial"
"""Prefixes and names of columns in a segment's working file."""


@dataclass
class ScoreSummary:
    """What one run claimed and scored of one object; counts are records.

    `broken` counts rows by market, output and rule; `examples` holds ids of some of them;
    `markets_failed` says why a market failed as a whole. Of the due records that this run's own pull read,
    `pulled_claimed` were claimed and `pulled_waiting` wait.
    """

    object: str
    claimed: int = 0
    pulled_claimed: int = 0
    pulled_waiting: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    set_aside: int = 0
    gone: int = 0
    segments: list[str] = field(default_factory=list)
    broken: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    markets_failed: dict[str, str] = field(default_factory=dict)
    markets: dict[str, str] = field(default_factory=dict)
    scores: dict[str, Counter[str]] = field(default_factory=dict)
    ranks: dict[str, Counter[str]] = field(default_factory=dict)


def score(work: Work, lease: Lease) -> ScoreSummary:
    """Score what an earlier run left claimed, then claim and score segments until nothing more may be.

    Segments of days gone by that no job was recorded for are dissolved: their rows wait again (D3).
    """
    setup = setup_of(work, lease.object)
    summary = ScoreSummary(object=lease.object)
    summary.markets = {name: market.version for name, market in setup.markets.items()}
    for segment in work.ledger.claims.unfinished(lease.object):
        _resume(work, lease, setup, segment, summary)
    _remember_scored_files(work, lease.object)
    pulled = _pulled_ids(work, lease.object)
    while claimed := _claim(work, lease):
        rows = work.ledger.waiting.of_segment(claimed.segment_id)
        summary.pulled_claimed += sum(row.record_id in pulled for row in rows)
        _score_segment(work, lease, setup, claimed, summary)
    summary.pulled_waiting = len(pulled) - summary.pulled_claimed
    work.lake.delete_work(pulled_work_file(work, lease.object))
    return summary


def _pulled_ids(work: Work, name: str) -> frozenset[str]:
    """Return the due records that this run's own pull listed; none where it did not pull."""
    ids: set[str] = set()
    for asset in (CHANGED_RECORDS, STALE_RECORDS):
        listed = work.lake.read_file(asset, work.today, name, work.run_id)
        if listed is not None:
            ids.update(listed.column("id").to_pylist())
    return frozenset(ids)


def _resume(
    work: Work, lease: Lease, setup: ObjectSetup, segment: Segment, summary: ScoreSummary
) -> None:
    claims = work.ledger.claims
    if claims.jobs(segment.segment_id):
        return
    if segment.day < work.today:
        claims.dissolve(lease, segment, work.now())
        work.lake.delete_work(segment.segment_id)
        return
    if segment.state == SegmentState.SCORED and work.lake.read_work(segment.segment_id) is not None:
        summary.segments.append(segment.segment_id)
        return
    _score_segment(work, lease, setup, segment, summary)


def _remember_scored_files(work: Work, name: str) -> None:
    """Raise the day's use to what its scored files hold: the ledger may come from a backup (D3)."""
    counted = work.lake.counted(SCORED, work.today, name, "reason")
    by_lane: Counter[tuple[str, str]] = Counter()
    for reason, rows in counted.items():
        by_lane[name, LANES[Reason(reason)].value] += rows
    if by_lane:
        limit = work.configuration.settings.daily_record_limit
        work.ledger.claims.raise_used(work.today, by_lane, limit)


def _claim(work: Work, lease: Lease) -> Segment | None:
    settings = work.configuration.settings
    return work.ledger.claims.claim(
        lease,
        day=work.today,
        now=work.now(),
        now_local=work.local_now,
        policy=settings.day_policy,
        daily_pulls_done=work.daily_pulls_done(),
        rows_max=settings.segment_records_max,
        run_id=work.run_id,
    )


def _score_segment(
    work: Work, lease: Lease, setup: ObjectSetup, segment: Segment, summary: ScoreSummary
) -> None:
    """Read the segment's current inputs, score and check them, keep what is to be pushed."""
    rows = {row.record_id: row.reason for row in work.ledger.waiting.of_segment(segment.segment_id)}
    summary.claimed += len(rows)
    summary.by_reason.update(rows.values())
    summary.segments.append(segment.segment_id)
    attempts = work.ledger.claims.begin_attempt(lease, segment)
    if attempts > SEGMENT_ATTEMPTS_MAX:
        _give_up(work, lease, segment, list(rows))
        summary.set_aside += len(rows)
        return
    table = _inputs(work, setup, list(rows))
    stand = standing(setup, table)
    candidate = _any(list(stand.candidates.values()), table.num_rows)
    table = table.filter(candidate)
    stand = standing(setup, table)
    found = set(table.column("Id").to_pylist())
    gone = [record_id for record_id in rows if record_id not in found]
    results = {
        i.market: _score_market(work, setup, i, table, stand, summary) for i in setup.integrations
    }
    outcome, update, kept = _assemble(setup, segment, table, stand, results, rows)
    _settle_early(work, lease, segment, Outcome(failed=outcome.failed, gone=gone))
    summary.set_aside += len(outcome.failed)
    summary.gone += len(gone)
    summary.scored += update.num_rows
    work.lake.write_work(segment.segment_id, update)
    work.lake.write(SCORED, segment.day, segment.object, segment.segment_id, kept)
    hashes = dict(
        zip(
            update.column("Id").to_pylist(),
            update.column(UPDATE + HASH_FIELD).to_pylist(),
            strict=True,
        )
    )
    work.ledger.claims.mark_scored(lease, segment, hashes)
    work.renew(lease)


def _give_up(work: Work, lease: Lease, segment: Segment, ids: Sequence[str]) -> None:
    message = (
        f"Scoring the segment {segment.segment_id} ended abnormally {SEGMENT_ATTEMPTS_MAX} times; its records "
        "are tried again later, in other segments."
    )
    failures = [RowFailure(i, "SEGMENT_GAVE_UP", message, passing=True) for i in ids]
    _settle_early(work, lease, segment, Outcome(failed=failures))
    work.ledger.claims.mark_scored(lease, segment, {})


def _settle_early(work: Work, lease: Lease, segment: Segment, outcome: Outcome) -> None:
    if outcome.failed or outcome.gone:
        now = work.now()
        work.ledger.claims.settle_rows(lease, segment, outcome, now=now, org_now=now)


def _any(masks: Sequence[pa.ChunkedArray], rows: int) -> pa.ChunkedArray:
    result = pa.chunked_array([pa.array([False] * rows, pa.bool_())])
    for mask in masks:
        result = pc.or_(result, mask)
    return result


def _inputs(work: Work, setup: ObjectSetup, ids: Sequence[str]) -> pa.Table:
    """Return the records' current inputs: from this run's pull where it read them, else read by id."""
    parts: list[pa.Table] = []
    wanted = pa.array(ids, pa.string())
    pulled = work.lake.read_work(pulled_work_file(work, setup.object))
    if pulled is not None and pulled.schema.equals(setup.schema):
        own = pulled.filter(pc.is_in(pulled.column("Id"), value_set=wanted))
        last = dict(zip(own.column("Id").to_pylist(), range(own.num_rows), strict=True))
        parts.append(own.take(pa.array(sorted(last.values()), pa.int64())))
        wanted = wanted.filter(
            pc.invert(pc.is_in(wanted, value_set=pa.array(list(last), pa.string())))
        )
    if len(wanted):
        batches = work.org.read_by_ids(by_ids(setup), wanted.to_pylist(), setup.schema)
        parts += [pa.Table.from_batches([batch]) for batch in batches]
    return pa.concat_tables([setup.schema.empty_table(), *parts]).combine_chunks()


def by_ids(setup: ObjectSetup) -> Callable[[Sequence[str]], str]:
    """Return what builds the query for the records with given ids, those left alone excepted (R25)."""

    def build(ids: Sequence[str]) -> str:
        others = [Compare(name, "=", value) for name, value in setup.filters.items()]
        return select(setup.columns, setup.object, AllOf([In("Id", list(ids)), *others]))

    return build


@dataclass(frozen=True)
class _MarketResult:
    """One market's outputs over all rows of a segment; `scored` says which rows it scored well."""

    outputs: pa.Table
    scored: pa.Array
    failures: Mapping[int, tuple[str, str]]


def _score_market(
    work: Work,
    setup: ObjectSetup,
    integration: Integration,
    table: pa.Table,
    stand: Standing,
    summary: ScoreSummary,
) -> _MarketResult:
    """Score the candidate rows with one market; a market that fails as a whole fails alone (R23)."""
    market = setup.markets[integration.market]
    mask = stand.candidates[integration.market].combine_chunks()
    rows = pc.indices_nonzero(mask)
    fields = {
        n: setup.describes[integration.object].fields[f] for n, f in integration.outputs.items()
    }
    result = _run_model(
        work, market, fields, model_inputs(integration, market, table.take(rows)), len(rows)
    )
    if result.whole and len(rows):
        summary.markets_failed[market.name] = result.whole
    ids = table.column("Id")
    failures: dict[int, tuple[str, str]] = {}
    if result.whole:
        failures = {
            int(row): ("MARKET_FAILED", f"{market.name}: {result.whole}")
            for row in rows.to_pylist()
        }
    for broken in result.broken:
        key = (market.name, broken.output, broken.rule)
        summary.broken[key] += len(broken.rows)
        positions = [int(rows[row].as_py()) for row in broken.rows]
        failures |= dict.fromkeys(
            positions, ("INVALID_OUTPUT", f"{market.name}: {broken.output} is not {broken.rule}")
        )
        examples = summary.examples.setdefault(key, [])
        examples += [ids[at].as_py() for at in positions[: EXAMPLES_MAX - len(examples)]]
    _count_distribution(summary, market, result)
    return _spread(result, rows, table.num_rows, failures)


def model_inputs(integration: Integration, market: Market, table: pa.Table) -> pa.Table:
    """Return the table that the model is given: every declared input, null where it is not mapped."""
    columns = []
    for schema_field in market.input_schema:
        path = integration.inputs.get(schema_field.name)
        if path is None:
            columns.append(pa.nulls(table.num_rows, schema_field.type))
        else:
            columns.append(_as_input(table.column(path), schema_field.type))
    return pa.table(columns, schema=market.input_schema)


def _as_input(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Cast a field's values to a market's input; text that is no number reads as missing."""
    if pa.types.is_string(column.type) and pa.types.is_floating(wanted):
        number = pc.match_substring_regex(column, r"^\s*[-+]?\d+(\.\d+)?\s*$")
        column = pc.if_else(number, pc.utf8_trim_whitespace(column), pa.scalar(None, pa.string()))
    return pc.cast(column, wanted)


def _run_model(
    work: Work, market: Market, fields: Mapping[str, Field], inputs: pa.Table, rows: int
) -> Validated:
    if rows == 0:
        empty = pa.table({n: pa.nulls(0, market.outputs[n].arrow_type) for n in fields})
        return Validated(empty, pa.array([], pa.bool_()))
    try:
        scored = work.models.get(market).score(inputs)
    except Exception as error:  # noqa: BLE001 - a model is foreign code: whatever it raises stops that market alone
        nothing = pa.table({n: pa.nulls(rows, market.outputs[n].arrow_type) for n in fields})
        message = f"the model raised {type(error).__name__}"
        return Validated(nothing, pa.array([False] * rows, pa.bool_()), whole=message)
    return validated(market, fields, scored, rows)


def _spread(
    result: Validated, rows: pa.Array, total: int, failures: Mapping[int, tuple[str, str]]
) -> _MarketResult:
    """Bring results of the candidate rows back to the positions of all rows."""
    position = pc.index_in(
        pa.array(range(total), pa.uint64()), value_set=pc.cast(rows, pa.uint64())
    )
    outputs = (
        result.outputs.take(position)
        if len(rows)
        else pa.table(
            {
                n: pa.nulls(total, c.type)
                for n, c in zip(result.outputs.column_names, result.outputs.columns, strict=True)
            }
        )
    )
    valid = result.valid.take(position) if len(rows) else pa.array([False] * total, pa.bool_())
    return _MarketResult(outputs, pc.fill_null(valid, False), failures)


def _count_distribution(summary: ScoreSummary, market: Market, result: Validated) -> None:
    for name in result.outputs.column_names:
        kind = market.outputs[name].kind
        if kind not in ("score", "rank"):
            continue
        column = result.outputs.column(name).filter(result.valid)
        if kind == "score":
            column = pc.cast(
                pc.multiply(pc.min_element_wise(pc.divide(column, 10), 9), 10), pa.string()
            )
        into = summary.scores if kind == "score" else summary.ranks
        counts = into.setdefault(market.name, Counter())
        counts.update({str(e["values"]): e["counts"] for e in column.value_counts().to_pylist()})


def _assemble(
    setup: ObjectSetup,
    segment: Segment,
    table: pa.Table,
    stand: Standing,
    results: Mapping[str, _MarketResult],
    reasons: Mapping[str, str],
) -> tuple[Outcome, pa.Table, pa.Table]:
    """Return the rows that fail here, the update to push, and what the lake keeps of it.

    A row is pushed when at least one of its markets scored it; a market that did not keeps its old outputs and
    digest, and the row goes on waiting for it.
    """
    scored = {market: result.scored for market, result in results.items()}
    some = _any([pa.chunked_array([mask]) for mask in scored.values()], table.num_rows)
    ids = table.column("Id").to_pylist()
    problems = _row_problems(setup, results)
    failed = [
        RowFailure(ids[at], *problems[at])
        for at, good in enumerate(some.to_pylist())
        if not good and at in problems
    ]
    partial = pa.array(
        [": ".join(problems[at]) if at in problems else None for at in range(len(ids))], pa.string()
    )
    columns: dict[str, Any] = {"Id": table.column("Id"), PARTIAL: partial}
    if "AccountId" in table.column_names:
        columns["AccountId"] = table.column("AccountId")
    stamp = pa.scalar(segment.stamp, pa.timestamp("ms", tz="UTC"))
    columns[UPDATE + HASH_FIELD] = new_hashes(setup, stand, scored)
    columns[UPDATE + DATETIME_FIELD] = pa.repeat(stamp, table.num_rows)
    for name in setup.output_fields:
        value, touched = _field_update(setup, name, results)
        columns[UPDATE + name] = value
        columns[TOUCHED + name] = touched
    update = pa.table(columns).filter(some)
    kept = _kept(setup, segment, table, stand, results, reasons).filter(some)
    return Outcome(failed=failed), update, kept


def _row_problems(
    setup: ObjectSetup, results: Mapping[str, _MarketResult]
) -> dict[int, tuple[str, str]]:
    """Return the first problem of each row that a market of its own could not score."""
    problems: dict[int, tuple[str, str]] = {}
    for integration in setup.integrations:
        for at, problem in results[integration.market].failures.items():
            problems.setdefault(at, problem)
    return problems


def _field_update(
    setup: ObjectSetup, name: str, results: Mapping[str, _MarketResult]
) -> tuple[pa.ChunkedArray | pa.Array, pa.Array]:
    """Return a Salesforce field's new values and which rows it is written on: each row by the market that scored it."""
    value: Any = None
    touched: Any = None
    for integration in setup.integrations:
        for output, field_name in integration.outputs.items():
            if field_name != name:
                continue
            result = results[integration.market]
            column = result.outputs.column(output).combine_chunks()
            writes = result.scored
            if pa.types.is_boolean(column.type):
                column = pc.fill_null(column, False)
            if integration.null_outputs == "keep":
                writes = pc.and_(writes, pc.is_valid(column))
            value = (
                column if value is None else pc.if_else(writes, column, pc.cast(value, column.type))
            )
            touched = writes if touched is None else pc.or_(touched, writes)
    return value, touched


def _kept(
    setup: ObjectSetup,
    segment: Segment,
    table: pa.Table,
    stand: Standing,
    results: Mapping[str, _MarketResult],
    reasons: Mapping[str, str],
) -> pa.Table:
    """Return what the lake keeps: ids, hash and versions always, inputs and outputs where persist is on (R24)."""
    ids = table.column("Id").to_pylist()
    columns: dict[str, Any] = {
        "id": table.column("Id"),
        "reason": pa.array([reasons[i] for i in ids], pa.string()),
        "scored_at": pa.repeat(pa.scalar(segment.stamp, pa.timestamp("ms", tz="UTC")), len(ids)),
        "hash": new_hashes(setup, stand, {m: r.scored for m, r in results.items()}),
        "previous_hash": table.column(HASH_FIELD),
    }
    for integration in setup.integrations:
        market = integration.market
        version = pa.scalar(setup.markets[market].version)
        result = results[market]
        columns[f"{market}.version"] = pc.if_else(
            result.scored, version, pa.scalar(None, pa.string())
        )
        if integration.persist:
            for name, path in integration.inputs.items():
                columns[f"{market}.input.{name}"] = table.column(path)
            for name in integration.outputs:
                columns[f"{market}.output.{name}"] = result.outputs.column(name)
    return pa.table(columns)
