"""scored_enriched: claims, enriches, scores and checks."""

from collections.abc import Iterator, Sequence

import dagster as dg

from assets.checks import output_results, score_check_specs
from assets.figures import run_figures, score_figures
from assets.options import ScoreOptions
from assets.step_asset import step_asset
from assets.work import WorkResource, run_step
from pipeline.core.schemas import EXAMPLES_MAX
from pipeline.steps.score import ScoreSummary, score
from pipeline.steps.work import CHANGED_RECORDS, SCORED, STALE_RECORDS


def scored_enriched(
    prefix: list[str],
    partitions: dg.PartitionsDefinition[str],
    markets: Sequence[dg.AssetKey],
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
    )
    def asset(
        context: dg.AssetExecutionContext, config: ScoreOptions, work: WorkResource
    ) -> Iterator[object]:
        first = config.first or None
        done = list(run_step(context, work, lambda work, lease: score(work, lease, first)))
        if not done:
            return
        yield dg.MaterializeResult(asset_key=key, metadata=run_figures(done, score_figures))
        scored = [one.summary for one in done if one.summary]
        configured = {k: m for one in done for k, m in one.work.configuration.markets.items()}
        yield from output_results(key, _together(scored), configured)

    return asset


def _together(summaries: Sequence[ScoreSummary]) -> ScoreSummary:
    """Return what the checks look at, over all partitions of the run."""
    total = ScoreSummary(object="")
    for summary in summaries:
        total.broken.update(summary.broken)
        total.markets_failed |= summary.markets_failed
        for rule, ids in summary.examples.items():
            total.examples[rule] = [*total.examples.get(rule, []), *ids][:EXAMPLES_MAX]
    return total
