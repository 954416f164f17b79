"""The Dagster resources: shells around the plain clients, the only file here that knows Dagster.

Nothing is opened while definitions load. Secrets come from the environment when a run first needs them,
and never enter Dagster's configuration.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from pipeline.core.errors import ConfigurationError
from resources.lake import Lake
from resources.ledger.ledger import Ledger
from resources.models import Models

if TYPE_CHECKING:
    from resources.salesforce.calls import ApiCall, ApiUsage
    from resources.salesforce.client import Salesforce
    from resources.salesforce.sign_in import Grant


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
        """Return the models; each is loaded when it is first asked for, and bound by what the settings allow."""
        return Models(Path(self.folder), timeout_seconds, memory_mb)


def home_folder() -> Path:
    """Return where state lives: INSIGHTS_HOME, or .insights in the current folder.

    Raises ConfigurationError where a file stands there.
    """
    folder = Path(os.environ.get("INSIGHTS_HOME") or ".insights").resolve()
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ConfigurationError(
                [
                    f"INSIGHTS_HOME: {path} is a file, and state needs a folder. Name another one, or move the file."
                ]
            )
    return folder


def config_folder() -> Path:
    """Return where the configuration lives: INSIGHTS_CONFIG, or config/local below the project."""
    default = Path(__file__).parent.parent / "config" / "local"
    return Path(os.environ.get("INSIGHTS_CONFIG") or default).resolve()


def login_file() -> Path:
    """Return where `insights login` keeps its refresh token: in the home folder."""
    return home_folder() / "salesforce-login"


def ledger_url() -> str:
    """Return the ledger's database: INSIGHTS_LEDGER_URL, or a SQLite file in the home folder."""
    return os.environ.get("INSIGHTS_LEDGER_URL") or f"sqlite:///{home_folder() / 'ledger.db'}"


_SESSIONS: "dict[str, Grant]" = {}
"""What sensor ticks signed in to, while the process lives: a tick a minute must not be a sign-in a minute (R21)."""


class SalesforceResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The connection to the one org; SALESFORCE_… variables say which and how to sign in (R3)."""

    api_version: str = Field(default="62.0", description="Without the letter v.")

    def open(
        self,
        on_call: "Callable[[ApiCall], object]",
        on_usage: "Callable[[ApiUsage], None]",
        on_sign_in: "Callable[[str], None]" = lambda _: None,
        *,
        keep_session: bool = False,
        on_limit: "Callable[[], datetime | None]" = lambda: None,
    ) -> "Salesforce":
        """Return a client that signs in when it is first asked something.

        One that keeps its session is a tick's: it waits less for the org, and the next tick uses the session again.
        """
        from resources.salesforce.calls import (
            TICK_ATTEMPTS,
            TICK_LONGEST_WAIT_SECONDS,
            TICK_TIMEOUTS,
            RetryPolicy,
        )
        from resources.salesforce.client import Salesforce
        from resources.salesforce.connection import connection_from_environment

        return Salesforce(
            connection_from_environment(os.environ, login_file=login_file()),
            api_version=self.api_version,
            on_call=on_call,
            on_usage=on_usage,
            on_sign_in=on_sign_in,
            on_limit=on_limit,
            kept_sessions=_SESSIONS if keep_session else None,
            timeouts=TICK_TIMEOUTS if keep_session else None,
            retry=RetryPolicy(
                attempts=TICK_ATTEMPTS, longest_wait_seconds=TICK_LONGEST_WAIT_SECONDS
            )
            if keep_session
            else None,
        )
