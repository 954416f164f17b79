"""The Dagster resources: shells around the plain clients, the only file here that knows Dagster.

Nothing is opened while definitions load. Secrets come from the environment when a run first needs
them, and never enter Dagster's configuration.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from resources.environment import API_VERSION, open_salesforce
from resources.lake import Lake
from resources.ledger.ledger import Ledger
from resources.models import Models

if TYPE_CHECKING:
    from resources.salesforce.calls import ApiCall, ApiUsage
    from resources.salesforce.client import Salesforce


class ClockResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The time, aware UTC. Tests give another."""

    def now(self) -> datetime:
        """Return the current time."""
        return datetime.now(UTC)


class LedgerResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The ledger's database."""

    url: str = Field(description="SQLite or PostgreSQL; without it, a file in the home folder.")

    def open(self) -> Ledger:
        """Open it and bring its tables up to date."""
        return Ledger(self.url)


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The folder that keeps what happened, as Parquet."""

    folder: str = Field(description="A local folder.")

    def open(self) -> Lake:
        """Return the lake; nothing is made before something is written."""
        return Lake(Path(self.folder))


class ModelsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The markets' models."""

    folder: str = Field(description="The folder with one folder a market.")

    def open(self, timeout_seconds: int, memory_mb: int) -> Models:
        """Return the models; each is loaded at first use, within what the settings allow."""
        return Models(Path(self.folder), timeout_seconds, memory_mb)


class SalesforceResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The connection to the one org; SALESFORCE_… variables say which and how to sign in (R3)."""

    api_version: str = Field(default=API_VERSION, description="Without the letter v.")
    home: str = Field(default="", description="Keeps the session; else INSIGHTS_HOME says where.")

    def open(
        self,
        on_call: "Callable[[ApiCall], object]",
        on_usage: "Callable[[ApiUsage], None]",
        on_sign_in: "Callable[[str], None]" = lambda _: None,
        *,
        is_tick: bool = False,
        on_limit: "Callable[[], datetime | None]" = lambda: None,
    ) -> "Salesforce":
        """Return a client that signs in when it is first asked something."""
        return open_salesforce(
            on_call,
            on_usage,
            on_sign_in,
            api_version=self.api_version,
            is_tick=is_tick,
            on_limit=on_limit,
            home=Path(self.home) if self.home else None,
        )
