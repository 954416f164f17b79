"""salesforce_changed_records and stale_records: the two pulls."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from assets.figures import pull_figures
from assets.work import Done, WorkResource, run_step
from pipeline.steps.pull import PullSummary, daily_pull, pull
from pipeline.steps.work import CHANGED_RECORDS, STALE_RECORDS, Work
from resources.ledger.state import Lease

GROUP = "salesforce"
KINDS = {"salesforce", "parquet"}


def salesforce_changed_records(
    prefix: list[str], partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """Return the asset of the pull every few minutes."""
    return _pull_asset(
        CHANGED_RECORDS,
        "Records modified since the last pull, and which of them are due: an important field differs from what "
        "was scored last, or was never scored. Runs every few minutes, asked for by the sensor.",
        pull,
        prefix,
        partitions,
    )


def stale_records(
    prefix: list[str], partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """Return the asset of the daily pull."""
    return _pull_asset(
        STALE_RECORDS,
        "Candidates never scored, then those scored longer ago than the refresh period or before a market was "
        "turned on or replaced, oldest first. Runs once a day.",
        daily_pull,
        prefix,
        partitions,
    )


def _pull_asset(
    name: str,
    description: str,
    step: Callable[[Work, Lease], PullSummary],
    prefix: list[str],
    partitions: dg.PartitionsDefinition[str],
) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        key_prefix=prefix,
        description=description,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        kinds=KINDS,
        output_required=False,
    )
    def pull_asset(
        context: dg.AssetExecutionContext, work: WorkResource
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        done = list(run_step(context, work, step))
        if done:
            yield dg.MaterializeResult(metadata=_figures(done))

    return pull_asset


def _figures(done: list[Done[PullSummary]]) -> dict[str, Any]:
    """Return the figures of one partition, or of several, each under its object's name."""
    figures: dict[str, Any] = {}
    for one in done:
        before = f"{one.object}: " if len(done) > 1 else ""
        own = (
            pull_figures(one.summary, one.work) if one.summary else {"asked_again": one.asked_again}
        )
        figures |= {before + key: value for key, value in own.items()}
    return figures
