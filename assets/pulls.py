"""salesforce_changed_records and stale_records: the two pulls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg

from assets.checks import ready_check_specs, ready_results
from assets.clients_resource import ClientsResource
from assets.figures import dry_run_figures, materializations, pull_figures
from assets.freshness import DAILY, pulls
from assets.options import PullOptions
from assets.step_asset import step_asset
from assets.step_runs import partitions_of, run_step, stopping_for_people
from pipeline.core.configuration.integration import Integration
from pipeline.core.org_fit.preflight import Preflight
from pipeline.steps.asking.dry_run import RECORDS_MAX, Kind, dry_run
from pipeline.steps.clients import CHANGED_RECORDS, STALE_RECORDS, Clients
from pipeline.steps.preflight import check, check_once
from pipeline.steps.pull import PullSummary, daily_pull, pull
from resources.ledger.leases import Lease

KINDS = {"salesforce", "parquet"}


def salesforce_changed_records(
    partitions: dg.PartitionsDefinition[str],
    integrations: Sequence[Integration],
    interval_minutes: int,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetsDefinition:
    """Return the asset of the frequent pull; it checks whether `integrations` are ready."""
    return _pull_asset(
        dg.AssetKey(CHANGED_RECORDS),
        "Records modified since the last pull, and which of them are due: an important field differs from what "
        "was scored last, or was never scored. Runs every few minutes, asked for by the sensor.",
        pull,
        "pull",
        partitions,
        integrations,
        pulls(interval_minutes),
        metadata,
    )


def stale_records(
    partitions: dg.PartitionsDefinition[str],
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetsDefinition:
    """Return the asset of the daily pull."""
    return _pull_asset(
        dg.AssetKey(STALE_RECORDS),
        "Candidates never scored, then those scored longer ago than the refresh period or before a market was "
        "turned on or replaced, oldest first. Runs once a day.",
        daily_pull,
        "daily_pull",
        partitions,
        (),
        DAILY,
        metadata,
    )


def _pull_asset(
    key: dg.AssetKey,
    description: str,
    step: Callable[[Clients, Lease], PullSummary],
    kind: Kind,
    partitions: dg.PartitionsDefinition[str],
    checked: Sequence[Integration],
    freshness: dg.FreshnessPolicy,
    metadata: Mapping[str, Any] | None,
) -> dg.AssetsDefinition:
    @step_asset(
        key,
        description=description,
        kinds=KINDS,
        partitions=partitions,
        freshness=freshness,
        metadata=metadata,
        check_specs=ready_check_specs(key, checked),
    )
    def pull_asset(
        context: dg.AssetExecutionContext, config: PullOptions, clients: ClientsResource
    ) -> Iterator[object]:
        key = context.asset_key
        for opened, name, partition in partitions_of(context, clients):
            if checked:
                yield from ready_results(
                    key,
                    name,
                    checked,
                    stopping_for_people(partial(_preflight, opened, name, config.dry_run)),
                )

            if config.dry_run:
                yield _dry_run(key, opened, name, partition, kind, config.first or RECORDS_MAX)
        if config.dry_run:
            return

        done = list(run_step(context, clients, step))
        if done:
            yield from materializations(key, done, pull_figures)

    return pull_asset


def _preflight(clients: Clients, object_name: str, dry_run: bool) -> Preflight:
    """Check the object; a dry run rolls nothing out."""
    if dry_run:
        return check(clients, [object_name])
    return check_once(clients, object_name)


def _dry_run(
    key: dg.AssetKey, clients: Clients, object_name: str, partition: str, kind: Kind, first: int
) -> dg.AssetObservation:
    """Observe what a run would do; nothing is materialized, so that no partition looks done."""
    found = stopping_for_people(partial(dry_run, clients, object_name, kind, first))
    persist = all(i.persist for i in clients.configuration.of_object(object_name))
    figures = dry_run_figures(found, persist=persist)
    return dg.AssetObservation(asset_key=key, partition=partition, metadata=figures)
