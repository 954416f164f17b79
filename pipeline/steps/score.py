"""Claims what the day's limit allows, scores it with every market it is a candidate of, checks the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import DATETIME_FIELD, OBJECTS, Integration
from pipeline.core.configuration.market import Market
from pipeline.core.errors import ConfigurationError, ModelFailed, NotReady
from pipeline.core.limit.row_faults import SEGMENT_GAVE_UP
from pipeline.core.org_fit.fields import Field
from pipeline.core.scoring.due import LANES, Reason, RowStatus, any_of, due_after_pull, row_statuses
from pipeline.core.scoring.outputs import EXAMPLES_MAX, Validated, unusable, validated
from pipeline.core.scoring.results import (
    MarketResult,
    SegmentResult,
    held_problems,
    market_result,
    resting_problems,
    segment_result,
    without_broken_rows,
)
from pipeline.core.scoring.scope import ScoringScope
from pipeline.core.soql import AllOf, Compare, In, select
from pipeline.steps.clients import (
    CHANGED_RECORDS,
    PULL_RESERVE_CALLS,
    SCORED,
    STALE_RECORDS,
    Clients,
)
from pipeline.steps.preflight import scope_of
from pipeline.steps.pull import pulled_working_file
from resources.ledger.claims import Outcome, RowFailure, Segment, SegmentState
from resources.ledger.counts import RANK, SCORE, name_of
from resources.ledger.state import Lease

SEGMENT_ATTEMPTS_MAX: Final = 3
THE_ROW: Final = ""
"""Stands for a market where a rule is about the row itself: its id and its hash."""

TRIAL_RECORDS: Final = 50
"""How many records a market that failed as a whole is tried with (R23)."""


@dataclass
class ScoreSummary:
    """What one run claimed and scored of one object; counts are records.

    `broken` counts rows by market (`THE_ROW` for ids and hashes), output and rule; `examples` holds ids of some of
    them; `segments_refused` had too many broken rows to push any.
    Of the rows `set_aside`, `waits_for_markets` were not scored since their markets are held or rest.
    `resumed` are rows of segments that an earlier run had scored; `markets_failed` says why a market failed as a whole. Of the due records that this run's own pull read,
    `pulled_claimed` were claimed and `pulled_waiting` wait.
    """

    object: str
    claimed: int = 0
    resumed: int = 0
    pulled_claimed: int = 0
    pulled_waiting: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    set_aside: int = 0
    waits_for_markets: int = 0
    set_aside_by_code: Counter[str] = field(default_factory=Counter)
    gone: int = 0
    segments: list[str] = field(default_factory=list)
    broken: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    markets_failed: dict[str, str] = field(default_factory=dict)
    markets: dict[str, str] = field(default_factory=dict)
    scores: dict[str, Counter[str]] = field(default_factory=dict)
    ranks: dict[str, Counter[str]] = field(default_factory=dict)
    segments_refused: int = 0


def score(clients: Clients, lease: Lease, first: int | None = None) -> ScoreSummary:
    """Score what an earlier run left claimed, then claim and score segments until nothing more may be.

    With `first`, no more than so many records are claimed; the others wait (R31).
    Segments of days gone by that no job was recorded for are dissolved: their rows wait again (D3). A market that
    failed as a whole is tried with a few records first, and left out while it fails (R23).
    """
    _forget_leftovers(clients, lease.object)
    try:
        return _score(clients, lease, first)
    finally:
        clients.lake.delete_working_file(pulled_working_file(clients, lease.object))


def _score(clients: Clients, lease: Lease, first: int | None) -> ScoreSummary:
    scope = scope_of(clients, lease.object)
    summary = ScoreSummary(object=lease.object)
    summary.markets = {name: market.version for name, market in scope.markets.items()}
    for segment in clients.ledger.claims.unfinished(lease.object):
        _resume(clients, lease, scope, segment, summary)
    _remember_scored_files(clients)
    pulled = _pulled_ids(clients, lease.object)
    pulled_rows = len(pulled)
    for market in _markets_on_trial(clients, scope):
        trial = _claim(clients, lease, held_for=market)
        if trial is not None:
            _score_claimed(clients, lease, scope, trial, pulled, summary)
    running: ScoringScope | None = scope
    while running := _without_failed(clients, running, summary):
        claimed = _claim(clients, lease, most=None if first is None else first - summary.claimed)
        if claimed is None:
            break
        scored, for_markets = summary.scored, summary.waits_for_markets
        _score_claimed(clients, lease, running, claimed, pulled, summary)
        if summary.waits_for_markets > for_markets and summary.scored == scored and running.resting:
            # Nothing is charged for such rows: without an end here, one run might read all that wait for a market.
            break
    summary.pulled_waiting = pulled_rows - summary.pulled_claimed
    return summary


def _forget_leftovers(clients: Clients, name: str) -> None:
    """Delete the working files of runs that ended abnormally: they hold inputs and outputs (R24)."""
    unfinished = {segment.segment_id for segment in clients.ledger.claims.unfinished(name)}
    clients.lake.delete_working_files_of(
        name, but=unfinished | {pulled_working_file(clients, name)}
    )


def _pulled_ids(clients: Clients, name: str) -> pa.Array:
    """Return the due records that this run's own pull listed, each once; none where it did not pull."""
    parts = [pa.chunked_array([], pa.string())]
    for asset in (CHANGED_RECORDS, STALE_RECORDS):
        listed = clients.lake.read_file(asset, clients.today, name, clients.run_id, columns=["id"])
        if listed is not None:
            parts.append(listed.column("id"))
    return pc.unique(
        pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.string())
    )


def _resume(
    clients: Clients, lease: Lease, scope: ScoringScope, segment: Segment, summary: ScoreSummary
) -> None:
    claims = clients.ledger.claims
    if claims.jobs(segment.segment_id):
        summary.resumed += segment.rows
        return
    if segment.day < clients.today:
        claims.dissolve(lease, segment, clients.now())
        clients.lake.delete_working_file(segment.segment_id)
        return
    if (
        segment.state == SegmentState.SCORED
        and clients.lake.read_working_file(segment.segment_id) is not None
    ):
        summary.segments.append(segment.segment_id)
        summary.resumed += segment.rows
        return
    _score_segment(clients, lease, scope, segment, summary)


def _remember_scored_files(clients: Clients) -> None:
    """Raise the day's use to what its scored files hold, of all objects: the ledger may come from a backup (D3)."""
    by_lane: Counter[tuple[str, str]] = Counter()
    for name in OBJECTS:
        for reason, rows in clients.lake.count_by(SCORED, clients.today, name, "reason").items():
            by_lane[name, LANES[Reason(reason)].value] += rows
    if by_lane:
        limit = clients.configuration.settings.daily_record_limit
        clients.ledger.claims.raise_used(clients.today, by_lane, limit)


def _markets_on_trial(clients: Clients, scope: ScoringScope) -> list[str]:
    """Return the held markets whose trial is due; one that no record of the object waits for needs none."""
    return [
        market
        for market in sorted(set(clients.ledger.holds.all()) & set(scope.markets))
        if clients.ledger.waiting.waiting_for(market, scope.object)
    ]


def _without_failed(
    clients: Clients, scope: ScoringScope | None, summary: ScoreSummary
) -> ScoringScope | None:
    """Return the setup without the markets that have failed in this run; None where none is left."""
    if scope is None or not summary.markets_failed.keys() & scope.markets.keys():
        return scope
    try:
        return scope_of(clients, scope.object)
    except NotReady:
        return None


def _claim(
    clients: Clients, lease: Lease, held_for: str | None = None, most: int | None = None
) -> Segment | None:
    settings = clients.configuration.settings
    rows_max = settings.segment_records_max
    if held_for is not None:
        rows_max = min(rows_max, TRIAL_RECORDS)
    if most is not None:
        rows_max = min(rows_max, most)
    if rows_max <= 0 or clients.calls_remaining() < PULL_RESERVE_CALLS:
        return None
    awaited = clients.awaited_daily_pulls()
    return clients.ledger.claims.claim(
        lease,
        day=clients.today,
        now=clients.now(),
        now_local=clients.local_now,
        policy=settings.day_policy,
        daily_pulls_done=not awaited,
        awaited=awaited,
        rows_max=rows_max,
        run_id=clients.run_id,
        held_for=held_for,
    )


def _score_claimed(
    clients: Clients,
    lease: Lease,
    scope: ScoringScope,
    segment: Segment,
    pulled: pa.Array,
    summary: ScoreSummary,
) -> None:
    rows = clients.ledger.waiting.reasons_of_segment(segment.segment_id)
    of_pull = pc.is_in(pa.array(list(rows), pa.string()), value_set=pulled)
    summary.pulled_claimed += pc.sum(of_pull).as_py() or 0
    _score_segment(clients, lease, scope, segment, summary, rows)


def _score_segment(
    clients: Clients,
    lease: Lease,
    scope: ScoringScope,
    segment: Segment,
    summary: ScoreSummary,
    rows: dict[str, str] | None = None,
) -> None:
    """Read the segment's current inputs, score and check them, keep what is to be pushed.

    `rows` are the segment's records, each with why it was claimed, where the caller knows them.
    """
    claims = clients.ledger.claims
    if rows is None:
        rows = clients.ledger.waiting.reasons_of_segment(segment.segment_id)
    summary.claimed += len(rows)
    summary.by_reason.update(rows.values())
    summary.segments.append(segment.segment_id)
    fingerprints = {i.market: i.fingerprint(scope.markets[i.market]) for i in scope.integrations}
    resting = {i.market for i in scope.resting}
    attempts = claims.begin_attempt(lease, segment, fingerprints, resting)
    if attempts > SEGMENT_ATTEMPTS_MAX:
        _give_up(clients, lease, segment, list(rows))
        summary.set_aside += len(rows)
        summary.set_aside_by_code[SEGMENT_GAVE_UP] += len(rows)
        return
    table, statuses = candidates(clients, scope, list(rows))
    done = _done_already(clients, scope, segment, table, statuses)
    if done:
        claims.withdraw(lease, segment, done)
        summary.claimed -= len(done)
        summary.by_reason.subtract(rows.pop(record_id) for record_id in done)
        table = table.filter(pc.invert(pc.is_in(table.column("Id"), pa.array(done))))
        statuses = row_statuses(scope, table)
    results: dict[str, MarketResult] = {}
    before = distribution(summary)
    for integration in scope.integrations:
        results[integration.market] = score_market(
            clients, scope, integration, table, statuses, summary
        )
        clients.renew(lease)  # each call ends within a lease; several slow ones together may not
    result = _checked(segment_result(scope, segment.stamp, table, statuses, results, rows), summary)
    gone = sorted(rows.keys() - set(table.column("Id").to_pylist()))
    failed = [
        RowFailure(i, p.code, p.message, held_for=p.held_for) for i, p in result.failed.items()
    ]
    claims.note_inputs(lease, segment, result.inputs)
    _settle_early(clients, lease, segment, Outcome(failed=failed, gone=gone))
    summary.set_aside += len(failed)
    summary.set_aside_by_code.update(failure.code for failure in failed)
    summary.waits_for_markets += sum(failure.held_for is not None for failure in failed)
    summary.gone += len(gone)
    summary.scored += result.update.num_rows
    if result.update.num_rows:
        clients.lake.write_working_file(segment.segment_id, result.update)
    else:
        clients.lake.delete_working_file(segment.segment_id)
    if result.update.num_rows or attempts > 1:
        clients.lake.write(SCORED, segment.day, segment.object, segment.segment_id, result.kept)
    counted = distribution(summary) - before
    counted["scored"] = result.update.num_rows
    claims.mark_scored(lease, segment, counted)
    _hold_or_release(clients, results, summary)
    clients.renew(lease)


def _done_already(
    clients: Clients, scope: ScoringScope, segment: Segment, table: pa.Table, statuses: RowStatus
) -> list[str]:
    """Return the new and changed rows that were scored since they were asked for: the ledger had forgotten it.

    It comes from a backup, or the scores were uploaded: the digests are those of the current inputs, and the record's
    stamp is later than the request and than every market's renewal (R17). A row of an earlier run of this segment, whose
    stamp it carries, is settled by the push (D3).
    """
    same = pc.is_null(due_after_pull(scope, table, statuses))
    if not pc.any(same).as_py():
        return []
    rows = table.filter(same)
    stamps = dict(
        zip(rows.column("Id").to_pylist(), rows.column(DATETIME_FIELD).to_pylist(), strict=True)
    )
    asked = clients.ledger.waiting.requested_at(segment.segment_id, stamps)
    renewed = max(scope.enabled_at[i.market] for i in scope.integrations)
    return [
        record_id
        for record_id, requested_at in asked.items()
        if (stamp := stamps[record_id]) is not None
        and stamp >= max(requested_at, renewed)
        and stamp != segment.stamp
    ]


def _give_up(clients: Clients, lease: Lease, segment: Segment, ids: Sequence[str]) -> None:
    message = (
        f"Scoring the segment {segment.segment_id} ended abnormally {SEGMENT_ATTEMPTS_MAX} times; its records "
        "are tried again later, in other segments."
    )
    failures = [RowFailure(i, SEGMENT_GAVE_UP, message) for i in ids]
    _settle_early(clients, lease, segment, Outcome(failed=failures))
    clients.lake.delete_working_file(segment.segment_id)
    clients.ledger.claims.mark_scored(lease, segment)


def _settle_early(clients: Clients, lease: Lease, segment: Segment, outcome: Outcome) -> None:
    if outcome.failed or outcome.gone:
        now = clients.now()
        clients.ledger.claims.settle_rows(lease, segment, outcome, now=now, org_now=now)


def candidates(
    clients: Clients, scope: ScoringScope, ids: Sequence[str]
) -> tuple[pa.Table, RowStatus]:
    """Return the records that a market scores now, or would were it not held; the others are left alone."""
    table = _inputs(clients, scope, ids)
    statuses = row_statuses(scope, table)
    masks = [*statuses.candidates.values(), *statuses.leaves.values()]
    waits = {**resting_problems(scope, table), **held_problems(scope, table)}
    if waits:
        every = pa.array(range(table.num_rows), pa.int64())
        among = pc.is_in(every, value_set=pa.array(list(waits), pa.int64()))
        masks.append(pa.chunked_array([among]))
    wanted = any_of(masks, table.num_rows)
    if pc.all(wanted).as_py():
        return table, statuses
    table = table.filter(wanted)
    return table, row_statuses(scope, table)


def _inputs(clients: Clients, scope: ScoringScope, ids: Sequence[str]) -> pa.Table:
    """Return the records' current inputs: from this run's pull where it read them, else read by id."""
    wanted = pa.array(ids, pa.string())
    file = pulled_working_file(clients, scope.object)
    own = _last_of_each(clients.lake.working_file_rows(file, scope.schema, "Id", wanted))
    parts = [own]
    if own.num_rows < len(wanted):
        known = pc.is_in(wanted, value_set=own.column("Id").combine_chunks())
        wanted = wanted.filter(pc.invert(known))
        batches = clients.org.read_by_ids(by_ids(scope), wanted.to_pylist(), scope.schema)
        parts += [pa.Table.from_batches([batch]) for batch in batches]
    return pa.concat_tables([scope.schema.empty_table(), *parts]).combine_chunks()


def _last_of_each(table: pa.Table) -> pa.Table:
    """Return the row that was read last of each record: paging may read one twice while it moves."""
    if pc.count_distinct(table.column("Id")).as_py() == table.num_rows:
        return table
    last = dict(zip(table.column("Id").to_pylist(), range(table.num_rows), strict=True))
    return table.take(pa.array(sorted(last.values()), pa.int64()))


def by_ids(scope: ScoringScope) -> Callable[[Sequence[str]], str]:
    """Return what builds the query for the records with given ids, those left alone excepted (R25)."""

    def build(ids: Sequence[str]) -> str:
        others = [Compare(name, "=", value) for name, value in scope.filters.items()]
        return select(scope.columns, scope.object, AllOf([In("Id", list(ids)), *others]))

    return build


def score_market(
    clients: Clients,
    scope: ScoringScope,
    integration: Integration,
    table: pa.Table,
    statuses: RowStatus,
    summary: ScoreSummary,
) -> MarketResult:
    """Score the candidate rows with one market; a market that fails as a whole fails alone (R23)."""
    market = scope.markets[integration.market]
    mask = statuses.candidates[integration.market].combine_chunks()
    rows = pc.indices_nonzero(mask)
    described = scope.describes[integration.object].fields
    fields = {output: described[name] for output, name in integration.outputs.items()}
    inputs = model_inputs(integration, market, table.take(rows))
    result = _run_model(clients, market, fields, inputs, silent=not _all_persist(clients, scope))
    if result.whole:
        summary.markets_failed[market.name] = result.whole
    ids = table.column("Id").take(rows).to_pylist()
    for broken in result.broken:
        key = (market.name, broken.output, broken.rule)
        summary.broken[key] += len(broken.rows)
        examples = summary.examples.setdefault(key, [])
        examples += [ids[row] for row in broken.rows[: EXAMPLES_MAX - len(examples)]]
    _count_distribution(summary, market, result)
    return market_result(market.name, mask, result)


def model_inputs(integration: Integration, market: Market, table: pa.Table) -> pa.Table:
    """Return the table that the model is given: every declared input, null where it is not mapped."""
    columns = []
    for wanted in market.input_schema:
        path = integration.inputs.get(wanted.name)
        if path is None:
            columns.append(pa.nulls(table.num_rows, wanted.type))
        else:
            columns.append(_as_input(table.column(path), wanted.type))
    return pa.table(columns, schema=market.input_schema)


def _as_input(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Cast a field's values to a market's input; text that is no number reads as missing."""
    if pa.types.is_string(column.type) and pa.types.is_floating(wanted):
        number = pc.match_substring_regex(column, r"^\s*[-+]?\d+(\.\d+)?\s*$")
        column = pc.if_else(number, pc.utf8_trim_whitespace(column), pa.scalar(None, pa.string()))
    return pc.cast(column, wanted)


def _all_persist(clients: Clients, scope: ScoringScope) -> bool:
    return all(i.persist for i in clients.configuration.of_object(scope.object))


def _run_model(
    clients: Clients, market: Market, fields: Mapping[str, Field], inputs: pa.Table, *, silent: bool
) -> Validated:
    """Let the model score, elsewhere; with `silent` what it prints is dropped, for it may be values (R24)."""
    if inputs.num_rows == 0:
        return unusable(market, fields, 0, None)
    try:
        scored = clients.models.get(market).score(inputs, silent=silent)
    except (ModelFailed, ConfigurationError) as failed:
        return unusable(market, fields, inputs.num_rows, str(failed))
    return validated(market, fields, scored, inputs.num_rows)


def _hold_or_release(
    clients: Clients, results: Mapping[str, MarketResult], summary: ScoreSummary
) -> None:
    """Hold the markets that have failed as a whole; release those that were held and work again (R23)."""
    held = clients.ledger.holds.all()
    for market, result in results.items():
        if market in summary.markets_failed:
            clients.ledger.holds.hold(market, summary.markets_failed[market], clients.now())
        elif market in held and pc.any(result.scored).as_py():
            objects = [i.object for i in clients.configuration.integrations if i.market == market]
            clients.ledger.holds.release(market, objects, clients.now())


def distribution(summary: ScoreSummary) -> Counter[str]:
    """Return the scores and ranks that have come out, by the names under which a day counts them."""
    kinds = ((SCORE, summary.scores), (RANK, summary.ranks))
    return Counter(
        {
            name_of(kind, market, value): records
            for kind, markets in kinds
            for market, counts in markets.items()
            for value, records in counts.items()
        }
    )


def _checked(result: SegmentResult, summary: ScoreSummary) -> SegmentResult:
    """Set rows aside whose id or hash is of the wrong form; past a share of them, all (D8)."""
    checked, broken = without_broken_rows(result)
    ids = result.kept.column("id").to_pylist()
    for one in broken:
        key = (THE_ROW, one.output, one.rule)
        summary.broken[key] += len(one.rows)
        examples = summary.examples.setdefault(key, [])
        examples += [ids[row] for row in one.rows[: EXAMPLES_MAX - len(examples)]]
    if broken and not checked.update.num_rows:
        summary.segments_refused += 1
    return checked


def _count_distribution(summary: ScoreSummary, market: Market, result: Validated) -> None:
    for name in result.outputs.column_names:
        kind = market.outputs[name].kind
        if kind not in ("score", "rank"):
            continue
        column = result.outputs.column(name).filter(result.valid)
        if kind == "score":
            tens = pc.multiply(pc.min_element_wise(pc.divide(column, 10), 9), 10)
            column = pc.cast(tens, pa.string())
        into = summary.scores if kind == "score" else summary.ranks
        counts = into.setdefault(market.name, Counter())
        counts.update(
            {str(e["values"] or "none"): e["counts"] for e in column.value_counts().to_pylist()}
        )
