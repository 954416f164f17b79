"""Scores the candidates of one market: its inputs, its model, its valid outputs (D8)."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import Integration
from pipeline.core.configuration.market import Market
from pipeline.core.errors import ConfigurationError, ModelFailed
from pipeline.core.org_fit.fields import Field
from pipeline.core.scoring.due import RowStatus
from pipeline.core.scoring.outputs import Validated, unusable
from pipeline.core.scoring.results import MarketResult, market_result
from pipeline.core.scoring.scope import ScoringScope
from pipeline.steps.clients import Clients
from pipeline.steps.score_summary import ScoreSummary


def score_market(
    clients: Clients,
    scope: ScoringScope,
    integration: Integration,
    table: pa.Table,
    status: RowStatus,
    summary: ScoreSummary,
) -> MarketResult:
    """Score the candidate rows with one market; one that fails as a whole fails alone (R23)."""
    market = scope.markets[integration.market]
    mask = status.candidates[integration.market].combine_chunks()
    rows = pc.indices_nonzero(mask)
    described = scope.describes[integration.object].fields
    fields = {output: described[name] for output, name in integration.outputs.items()}

    inputs = model_inputs(integration, market, table.take(rows))
    result = _run_model(clients, market, fields, inputs, silent=not _all_persist(clients, scope))

    if result.whole:
        summary.markets_failed[market.name] = result.whole
    ids = table.column("Id").take(rows).to_pylist()
    for broken in result.broken:
        broken_ids = [ids[row] for row in broken.rows]
        summary.count_broken(market.name, broken.output, broken.rule, broken_ids)
    summary.count_distribution(market, result)

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


def _run_model(
    clients: Clients,
    market: Market,
    fields: Mapping[str, Field],
    inputs: pa.Table,
    *,
    silent: bool,
) -> Validated:
    """Let the model score in its own process; with `silent`, drop what it prints: values (R24)."""
    # pandas and pandera take longer to load than a run that scores nothing takes.
    from pipeline.core.scoring.schemas import validated

    if inputs.num_rows == 0:
        return unusable(market, fields, 0, None)

    try:
        scored = clients.models.get(market).score(inputs, silent=silent)
    except (ModelFailed, ConfigurationError) as failed:
        return unusable(market, fields, inputs.num_rows, str(failed))

    return validated(market, fields, scored, inputs.num_rows)
