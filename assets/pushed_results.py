"""pushed_results: bulk jobs, and every row's result."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.checks import limit_result, push_check_specs
from assets.clients_resource import ClientsResource
from assets.completeness import complete_result, report_changed
from assets.figures import materializations, push_figures, standing_figures
from assets.partitions import partition_key
from assets.step_asset import step_asset
from assets.step_runs import Done, run_step
from pipeline.core.configuration.integration import OBJECTS
from pipeline.steps.asking.complete import DayState
from pipeline.steps.clients import PUSHED, SCORED
from pipeline.steps.push import push
from pipeline.steps.push_summary import PushSummary


def pushed_results(
    partitions: dg.PartitionsDefinition[str],
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetsDefinition:
    """Return the asset of what was pushed."""
    key = dg.AssetKey(PUSHED)

    @step_asset(
        key,
        description=(
            "Scored records written to Salesforce, one bulk job a segment, with every row's result. Rows that "
            "fail are kept with Salesforce's own code and message and tried again later."
        ),
        kinds={"salesforce", "parquet"},
        partitions=partitions,
        deps=[dg.AssetKey(SCORED)],
        check_specs=push_check_specs(key, partitions),
        metadata=metadata,
    )
    def asset(context: dg.AssetExecutionContext, clients: ClientsResource) -> Iterator[object]:
        done = list(run_step(context, clients, push))
        if not done:
            return

        key = context.asset_key
        yield from materializations(key, done, push_figures)
        yield _limit(key, done[-1])
        for one in done:
            yield from _other_days(key, one)
        yield from _complete(context, key, done)

    return asset


def _limit(key: dg.AssetKey, done: Done[PushSummary]) -> dg.AssetCheckResult:
    clients, day = done.clients, done.day
    used = clients.ledger.days.use(day, clients.configuration.settings.daily_record_limit).used
    in_files = sum(clients.lake.count_by(SCORED, day, name, "reason").total() for name in OBJECTS)
    return limit_result(key, clients, used, in_files)


def _complete(
    context: dg.AssetExecutionContext, key: dg.AssetKey, done: Sequence[Done[PushSummary]]
) -> Iterator[dg.AssetCheckResult]:
    """Tell of all days whose figure has changed, and of the run's own, where it has one (R29)."""
    states = {
        name: report_changed(context.instance, key, clients, name, context.run.run_id)
        for name, clients in {one.object: one.clients for one in done}.items()
    }
    if len(done) == 1:
        day, name = done[0].day, done[0].object
        yield complete_result(key, states[name].get(day, DayState(day, name)))


def _other_days(key: dg.AssetKey, done: Done[PushSummary]) -> Iterator[dg.AssetMaterialization]:
    """Say so on the partition of a claim's own day, where midnight has passed since (D5)."""
    for day, records in (done.summary.by_day if done.summary else {}).items():
        if day != done.day.isoformat():
            yield dg.AssetMaterialization(
                asset_key=key,
                partition=partition_key(done.day.fromisoformat(day), done.object),
                metadata={
                    "pushed": records,
                    **standing_figures(done.clients, done.day.fromisoformat(day), done.object),
                },
            )
