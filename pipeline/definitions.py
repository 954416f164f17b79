"""The composition root for Dagster: everything is put together here, and only here (D15)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from assets.clients_resource import ClientsResource
from assets.lineage import Lineage
from assets.partitions import day_by_object
from assets.pulls import salesforce_changed_records, stale_records
from assets.pushed_results import pushed_results
from assets.reports import report_assets
from assets.scored_enriched import scored_enriched
from assets.sources import market_assets
from pipeline.alerts import alerts_sensor
from pipeline.core.configuration.configuration import Configuration
from pipeline.jobs import jobs
from pipeline.mounting import Asset, mount
from pipeline.operator_jobs import operator_jobs
from pipeline.schedules import daily_pull_schedule
from pipeline.sensors import salesforce_changes_sensor
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED, STALE_RECORDS
from resources import environment
from resources.configurable import (
    ClockResource,
    LakeResource,
    LedgerResource,
    ModelsResource,
    SalesforceResource,
)
from resources.configuration import read_configuration


def build_definitions(
    *,
    config: Path | None = None,
    home: Path | None = None,
    ledger: str | None = None,
    clock: ClockResource | None = None,
    salesforce: SalesforceResource | None = None,
    executor: dg.ExecutorDefinition = dg.in_process_executor,
    running: bool | None = None,
    key_prefix: Sequence[str] | None = None,
) -> dg.Definitions:
    """Return the definitions made from the configuration in the folder `config`.

    Touches no network and no database. An integration or a market whose file is wrong does not keep
    the others from loading: its check says what is wrong. What is not given comes from the
    environment: INSIGHTS_CONFIG, INSIGHTS_HOME, INSIGHTS_LEDGER_URL, INSIGHTS_KEY_PREFIX.
    `running` switches sensor and schedule on from the start (otherwise INSIGHTS_RUNNING=1 does).
    `key_prefix` mounts the assets below a key in a deployment that has others.

    Raises:
        ConfigurationError: The settings have problems; it names every one.
    """
    folder = config or environment.config_folder()
    configuration = read_configuration(folder)
    prefix = environment.key_prefix() if key_prefix is None else key_prefix
    on = environment.starts_switched_on() if running is None else running

    assets = mount(_assets(configuration, folder), prefix)
    keys = {
        asset.key.path[-1]: asset.key for asset in assets if isinstance(asset, dg.AssetsDefinition)
    }
    launched = jobs(keys)

    return dg.Definitions(
        assets=assets,
        jobs=[*launched, *operator_jobs(keys, configuration)],
        sensors=[
            salesforce_changes_sensor(configuration, launched, running=on, keys=keys),
            alerts_sensor(),
        ],
        schedules=[daily_pull_schedule(configuration, running=on)],
        resources={"clients": _clients(folder, home, ledger, clock or ClockResource(), salesforce)},
        executor=executor,
    )


def _assets(configuration: Configuration, folder: Path) -> list[Asset]:
    """Return all assets: what the scores come from, the four steps and the two reports."""
    settings = configuration.settings
    partitions = day_by_object(settings.partitions_start, settings.time_zone)
    markets = sorted({integration.market for integration in configuration.integrations})
    switched_on = [integration for integration in configuration.integrations if integration.enabled]
    unread = [b.readable for b in configuration.broken if b.readable and b.readable.enabled]
    lineage = Lineage(switched_on, configuration.markets, folder / environment.MARKETS_FOLDER)

    sources = [
        source for name in markets for source in market_assets(configuration.markets[name], lineage)
    ]
    return [
        *sources,
        salesforce_changed_records(
            partitions,
            [*switched_on, *unread],
            settings.pull_interval_minutes,
            lineage.of(CHANGED_RECORDS),
        ),
        stale_records(partitions, lineage.of(STALE_RECORDS)),
        scored_enriched(partitions, markets, lineage.of(SCORED)),
        pushed_results(partitions, lineage.of(PUSHED)),
        *report_assets(),
    ]


def _clients(
    config: Path,
    home: Path | None,
    ledger: str | None,
    clock: ClockResource,
    salesforce: SalesforceResource | None,
) -> ClientsResource:
    """Return the resource that opens clients; nothing is opened yet."""
    state = home or environment.home_folder()
    return ClientsResource(
        config_folder=str(config),
        clock=clock,
        salesforce=salesforce or SalesforceResource(home=str(home or "")),
        ledger=LedgerResource(url=ledger or environment.ledger_url(home)),
        lake=LakeResource(folder=str(state / environment.LAKE_FOLDER)),
        models=ModelsResource(folder=str(config / environment.MARKETS_FOLDER)),
    )


# Two features that this rests on may still change between Dagster's versions: backfills as one
# run, and checks by partition. The lock file pins the version; people need not read of it at
# every start.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
defs = build_definitions()
