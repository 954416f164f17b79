"""The Dagster resource `clients`: what a run or a tick works with, opened once."""

from pathlib import Path
from typing import Final

import dagster as dg
from pydantic import PrivateAttr

from pipeline.steps.clients import Clients, open_clients
from resources.configurable import (
    ClockResource,
    LakeResource,
    LedgerResource,
    ModelsResource,
    SalesforceResource,
)
from resources.configuration import read_configuration
from resources.environment import deployment_name, keep_private

TICK: Final = "tick"
"""Begins the run id under which a sensor's tick opens its clients."""


class ClientsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens clients for a run or a tick, and gives back leases and connections at the end."""

    config_folder: str
    clock: dg.ResourceDependency[ClockResource]
    salesforce: dg.ResourceDependency[SalesforceResource]
    ledger: dg.ResourceDependency[LedgerResource]
    lake: dg.ResourceDependency[LakeResource]
    models: dg.ResourceDependency[ModelsResource]
    _open: dict[str, Clients] = PrivateAttr(default_factory=dict)

    @property
    def home(self) -> Path:
        """The home folder: the lake stands in it."""
        return Path(self.lake.folder).parent

    def get(self, run_id: str) -> Clients:
        """Return the clients of one run; the same ones while the process works on it."""
        if run_id not in self._open:
            self._open[run_id] = self._open_clients(run_id)
        return self._open[run_id]

    def _open_clients(self, run_id: str) -> Clients:
        keep_private(self.home)
        configuration = read_configuration(Path(self.config_folder))
        settings = configuration.settings
        return open_clients(
            configuration,
            self.ledger.open(),
            self.lake.open(),
            self.models.open(settings.market_timeout_seconds, settings.market_memory_mb),
            open_org=self.salesforce.open,
            now=self.clock.now,
            run_id=run_id,
            is_tick=run_id.startswith(TICK),
            deployment=deployment_name(Path(self.config_folder)),
        )

    def teardown_after_execution(
        self,
        context: dg.InitResourceContext,  # noqa: ARG002  asked for by name
    ) -> None:
        """Release leases and close connections, whether the run went well or not."""
        self.close()

    def close(self) -> None:
        """Close the clients of every run: leases are released with them."""
        while self._open:
            self._open.popitem()[1].close()
