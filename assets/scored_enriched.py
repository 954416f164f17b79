"""scored_enriched: claims, enriches, scores and checks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.checks import drift_result, output_results, score_check_specs
from assets.clients_resource import ClientsResource
from assets.figures import materializations, score_figures
from assets.options import ScoreOptions
from assets.sources import MARKET, first_scorings, market_key
from assets.step_asset import step_asset
from assets.step_runs import run_step
from pipeline.core.scoring.outputs import EXAMPLES_MAX
from pipeline.steps.clients import CHANGED_RECORDS, SCORED, STALE_RECORDS
from pipeline.steps.score import score
from pipeline.steps.score_summary import ScoreSummary


def scored_enriched(
    partitions: dg.PartitionsDefinition[str],
    markets: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetsDefinition:
    """Return the asset of what was scored; it depends on the models of `markets`."""
    key = dg.AssetKey(SCORED)

    @step_asset(
        key,
        description=(
            "Records claimed within the day's limit, scored with every market they are a candidate of, enriched "
            "and checked. A day's partition holds what was scored on that day and nothing else."
        ),
        kinds={"python", "parquet"},
        partitions=partitions,
        deps=[
            dg.AssetKey(CHANGED_RECORDS),
            dg.AssetKey(STALE_RECORDS),
            *(market_key(market) for market in markets),
        ],
        check_specs=score_check_specs(key, partitions),
        metadata=metadata,
    )
    def asset(
        context: dg.AssetExecutionContext, config: ScoreOptions, clients: ClientsResource
    ) -> Iterator[object]:
        first = config.first or None
        done = list(run_step(context, clients, lambda clients, lease: score(clients, lease, first)))
        if not done:
            return

        key = context.asset_key
        yield from materializations(key, done, score_figures)

        scored = [one.summary for one in done if one.summary]
        configured = {k: m for one in done for k, m in one.clients.configuration.markets.items()}
        together = _together(scored)
        yield from first_scorings(context.instance, _models(context), together.scores, configured)

        yield drift_result(key, done[-1].clients, done[-1].day, done[-1].object)
        yield from output_results(key, together, configured)

    return asset


def _models(context: dg.AssetExecutionContext) -> dict[str, dg.AssetKey]:
    """Return the keys of the models that the asset depends on, by market, as they are mounted."""
    deps = [dep.asset_key for spec in context.assets_def.specs for dep in spec.deps]
    return {key.path[-1]: key for key in deps if key.path[-2:-1] == [MARKET]}


def _together(summaries: Sequence[ScoreSummary]) -> ScoreSummary:
    """Return what the checks look at, over all partitions of the run."""
    total = ScoreSummary(object="")
    for summary in summaries:
        total.broken.update(summary.broken)
        total.markets_failed |= summary.markets_failed
        total.segments_refused += summary.segments_refused
        total.scores |= summary.scores
        for rule, ids in summary.examples.items():
            total.examples[rule] = [*total.examples.get(rule, []), *ids][:EXAMPLES_MAX]
    return total
