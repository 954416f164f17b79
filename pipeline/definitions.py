"""The composition root for Dagster: everything is put together here, and only here (D15)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from assets.clients import ClientsResource
from assets.lineage import Lineage
from assets.partitions import day_by_object
from assets.pulls import salesforce_changed_records, stale_records
from assets.pushed_results import pushed_results
from assets.reports import report_assets
from assets.scored_enriched import scored_enriched
from assets.sources import market_assets, market_key
from pipeline.alerts import alerts_sensor
from pipeline.jobs import jobs
from pipeline.operator_jobs import operator_jobs
from pipeline.schedules import daily_pull_schedule
from pipeline.sensors import salesforce_changes_sensor
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED, STALE_RECORDS
from resources.configurable import (
    ClockResource,
    LakeResource,
    LedgerResource,
    ModelsResource,
    SalesforceResource,
    config_folder,
    home_folder,
    ledger_url,
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
    key_prefix: Sequence[str] = (),
) -> dg.Definitions:
    """Return the definitions made from the configuration in the folder `config`.

    Touches no network and no database. What is not given comes from the environment: INSIGHTS_CONFIG,
    INSIGHTS_HOME, INSIGHTS_LEDGER_URL. `running` switches sensor and schedule on from the start (otherwise
    INSIGHTS_RUNNING=1 does). `key_prefix` mounts the assets below a key in a deployment that has others.

    Raises ConfigurationError with every problem of the configuration.
    """
    folder = config or config_folder()
    where = home or home_folder()
    configuration = read_configuration(folder)
    prefix = list(key_prefix)
    settings = configuration.settings
    partitions = day_by_object(settings.partitions_start, settings.time_zone)
    markets = {i.market for i in configuration.integrations}
    switched_on = [i for i in configuration.integrations if i.enabled]
    lineage = Lineage(prefix, switched_on, configuration.markets, folder / "markets")
    sources = [
        s
        for name in sorted(markets)
        for s in market_assets(prefix, configuration.markets[name], lineage)
    ]
    on = running if running is not None else os.environ.get("INSIGHTS_RUNNING") == "1"
    clients = ClientsResource(
        config_folder=str(folder),
        clock=clock or ClockResource(),
        salesforce=salesforce or SalesforceResource(),
        ledger=LedgerResource(
            url=ledger or (ledger_url() if home is None else f"sqlite:///{where / 'ledger.db'}")
        ),
        lake=LakeResource(folder=str(where / "lake")),
        models=ModelsResource(folder=str(folder / "markets")),
    )
    launched = jobs(prefix)
    return dg.Definitions(
        assets=[
            *sources,
            salesforce_changed_records(
                prefix,
                partitions,
                switched_on,
                settings.pull_interval_minutes,
                lineage.of(CHANGED_RECORDS),
            ),
            stale_records(prefix, partitions, lineage.of(STALE_RECORDS)),
            scored_enriched(
                prefix,
                partitions,
                [market_key(prefix, m) for m in sorted(markets)],
                lineage.of(SCORED),
            ),
            pushed_results(prefix, partitions, lineage.of(PUSHED)),
            *report_assets(prefix),
        ],
        jobs=[*launched, *operator_jobs(prefix, configuration)],
        sensors=[
            salesforce_changes_sensor(configuration, launched, running=on, prefix=prefix),
            alerts_sensor(),
        ],
        schedules=[daily_pull_schedule(configuration, running=on)],
        resources={"clients": clients},
        executor=executor,
    )


# Two features that this rests on may still change between Dagster's versions: backfills as one run, and checks
# by partition. The lock file pins the version; people need not read of it at every start.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
defs = build_definitions()
