"""Scores the candidates of one market: its inputs, its model, its valid outputs (D8, D21)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import Integration
from pipeline.core.configuration.market import Market
from pipeline.core.errors import ConfigurationError, MarketUnavailable, ModelFailed
from pipeline.core.org_fit.fields import Field
from pipeline.core.scoring.bisection import (
    Batch,
    BatchFailed,
    Bisected,
    bisect,
    next_batch_rows,
)
from pipeline.core.scoring.due import RowStatus
from pipeline.core.scoring.outputs import OutputsUnusable, Validated, unusable
from pipeline.core.scoring.results import MarketResult, market_result
from pipeline.core.scoring.scope import ScoringScope
from pipeline.steps.clients import Clients
from pipeline.steps.score_summary import ScoreSummary
from resources.ledger.leases import Lease
from resources.models import RemoteModel


@dataclass(frozen=True, slots=True)
class Claimed:
    """The segment whose rows are scored, and the lease under which; a dry run has neither."""

    segment_id: str
    lease: Lease


def score_markets(
    clients: Clients,
    scope: ScoringScope,
    table: pa.Table,
    status: RowStatus,
    summary: ScoreSummary,
    claimed: Claimed | None = None,
) -> dict[str, MarketResult]:
    """Score each market's candidate rows; return the results by market (R23).

    `claimed` is the segment that the rows are of, None in a dry run.
    """
    return {
        i.market: _score_market(clients, scope, i, table, status, summary, claimed)
        for i in scope.integrations
    }


def _score_market(
    clients: Clients,
    scope: ScoringScope,
    integration: Integration,
    table: pa.Table,
    status: RowStatus,
    summary: ScoreSummary,
    claimed: Claimed | None,
) -> MarketResult:
    """Score the candidate rows with one market; one that fails as a whole fails alone (R23)."""
    market = scope.markets[integration.market]
    mask = status.candidates[integration.market].combine_chunks()
    rows = pc.indices_nonzero(mask)
    described = scope.describes[integration.object].fields
    fields = {output: described[name] for output, name in integration.outputs.items()}

    candidates = table.take(rows)
    inputs = model_inputs(integration, market, candidates)
    ids = candidates.column("Id").to_pylist()
    run = _ModelRun(clients, market, inputs, ids, claimed, silent=not _all_persist(clients, scope))
    result = run.result(fields)

    summary.count_market(market, ids, result)
    return market_result(market.name, mask, result)


def model_inputs(integration: Integration, market: Market, table: pa.Table) -> pa.Table:
    """Return the model's table: every declared input, null where it is not mapped."""
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


@dataclass
class _ModelRun:
    """One market's calls for the rows of one segment.

    `ids` are the records of `inputs`, in their order. With `silent` what the model prints is
    dropped (R24). `has_failed` says whether one of its calls failed.
    """

    clients: Clients
    market: Market
    inputs: pa.Table
    ids: Sequence[str]
    claimed: Claimed | None
    silent: bool
    has_failed: bool = False

    def result(self, fields: Mapping[str, Field]) -> Validated:
        """Let the model score in its own process, and find the rows that it fails on (D21)."""
        rows, why = self.inputs.num_rows, None
        try:
            if rows:
                return self._score(fields)
        except (MarketUnavailable, ConfigurationError, OutputsUnusable) as failed:
            why = str(failed)
        return unusable(self.market, fields, rows, why)

    def _score(self, fields: Mapping[str, Field]) -> Validated:
        # pandas and pandera take longer to load than a run that scores nothing takes.
        from pipeline.core.scoring.schemas import validate_outputs

        found = self._search()
        parts = {batch.start: table for batch, table in found.scored.items()}
        result = validate_outputs(self.market, fields, parts, self.inputs.num_rows)
        if not found.first_failure:
            return result

        if found.is_model_at_fault(self._known_to_fail()):
            few = not found.undecided
            return replace(result, whole=found.first_failure, is_on_few_rows=few)

        return replace(
            result,
            failed=found.failed,
            undecided=found.undecided_rows,
            why_undecided=found.first_failure,
        )

    def _search(self) -> Bisected[pa.Table]:
        """Score in batches; one that fails is halved until the rows that it fails on are found."""
        model = self.clients.models.get(self.market)
        most = self.clients.configuration.settings.segment_records_max
        noted = self.clients.ledger.market_batches.rows(self.market.name)
        batch_rows = min(noted or most, most)

        def call(batch: Batch, seconds: float) -> pa.Table:
            return self._call(model, self.inputs.slice(batch.start, batch.rows), seconds)

        rows = self.inputs.num_rows
        found = bisect(
            rows, call, batch_rows=batch_rows, seconds=model.seconds, clock=time.monotonic
        )

        wanted = next_batch_rows(found, batch_rows, rows, most)
        if self.claimed is not None and wanted != batch_rows:
            self.clients.ledger.market_batches.note(
                self.market.name, wanted if wanted < most else None, self.clients.now()
            )
        return found

    def _call(self, model: RemoteModel, part: pa.Table, seconds: float) -> pa.Table:
        # A call ends within a lease; several may not.
        if self.claimed is not None:
            self.clients.renew(self.claimed.lease)

        try:
            return model.score(part, silent=self.silent, seconds=seconds, in_search=self.has_failed)
        except ModelFailed as failed:
            self.has_failed = True
            raise BatchFailed(str(failed), is_slow=failed.is_slow) from failed

    def _known_to_fail(self) -> set[int]:
        """Return the rows that failed at this market before, and do not accuse it again."""
        if self.claimed is None:
            return set()

        known = self.clients.ledger.waiting.failing_at(self.market.name, self.claimed.segment_id)
        return {row for row, record_id in enumerate(self.ids) if record_id in known}
