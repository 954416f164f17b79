"""scored_enriched: claims, enriches, scores and checks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.checks import drift_result, output_results, score_check_specs
from assets.clients import ClientsResource, run_step
from assets.figures import materializations, score_figures
from assets.options import ScoreOptions
from assets.sources import first_scorings
from assets.step_asset import step_asset
from pipeline.core.scoring.outputs import EXAMPLES_MAX
from pipeline.steps.clients import CHANGED_RECORDS, SCORED, STALE_RECORDS
from pipeline.steps.score import score
from pipeline.steps.score_summary import ScoreSummary


def scored_enriched(
    prefix: list[str],
    partitions: dg.PartitionsDefinition[str],
    markets: Sequence[dg.AssetKey],
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetsDefinition:
    """Return the asset of what was scored; `markets` are the models that it depends on."""
    key = dg.AssetKey([*prefix, SCORED])

    @step_asset(
        key,
        description=(
            "Records claimed within the day's limit, scored with every market they are a candidate of, enriched "
            "and checked. A day's partition holds what was scored on that day and nothing else."
        ),
        kinds={"python", "parquet"},
        partitions=partitions,
        deps=[
            dg.AssetKey([*prefix, CHANGED_RECORDS]),
            dg.AssetKey([*prefix, STALE_RECORDS]),
            *markets,
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
        yield from materializations(key, done, score_figures)
        scored = [one.summary for one in done if one.summary]
        configured = {k: m for one in done for k, m in one.clients.configuration.markets.items()}
        together = _together(scored)
        yield from first_scorings(context.instance, prefix, together.scores, configured)
        yield drift_result(key, done[-1].clients, done[-1].day, done[-1].object)
        yield from output_results(key, together, configured)

    return asset


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
