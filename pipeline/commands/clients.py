"""Opens what a command works with, and closes it. Nothing here loads Dagster: asking is quick."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError
from resources.environment import (
    LAKE_FOLDER,
    MARKETS_FOLDER,
    config_folder,
    deployment_name,
    home_folder,
    keep_private,
    ledger_url,
    open_salesforce,
)

if TYPE_CHECKING:
    from pipeline.steps.clients import Clients
    from resources.ledger.ledger import Ledger
    from resources.salesforce.client import Salesforce


@contextmanager
def opened_clients() -> Iterator[Clients]:
    """Give a command the clients that a run has, with the environment's configuration and state."""
    from pipeline.steps.clients import open_clients
    from resources.configuration import read_configuration
    from resources.lake import Lake
    from resources.ledger.ledger import Ledger
    from resources.models import Models

    folder, home = config_folder(), home_folder()
    keep_private(home)
    configuration = read_configuration(folder)
    settings = configuration.settings
    clients = open_clients(
        configuration,
        Ledger(ledger_url()),
        Lake(home / LAKE_FOLDER),
        Models(folder / MARKETS_FOLDER, settings.market_timeout_seconds, settings.market_memory_mb),
        open_org=open_salesforce,
        now=_now,
        run_id=f"cli-{_now():%Y%m%d%H%M%S%f}",
        deployment=deployment_name(folder),
    )

    try:
        yield clients
    finally:
        clients.close()


@contextmanager
def opened_ledger() -> Iterator[Ledger]:
    """Give the ledger where there may be no configuration yet."""
    from resources.ledger.ledger import Ledger

    keep_private(home_folder())
    ledger = Ledger(ledger_url())
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def opened_org(ledger: Ledger, zone: tzinfo) -> Iterator[Salesforce]:
    """Give the one org where there may be no configuration yet.

    Calls count in the days of `zone` (R21).
    """
    org = open_salesforce(
        lambda call: ledger.calls.count(datetime.now(zone).date(), call.kind),
        lambda usage: ledger.calls.note_usage(usage.used, usage.allotted, _now()),
        ledger.org.check,
    )
    try:
        yield org
    finally:
        org.close()


@contextmanager
def opened_admin(clients: Clients) -> Iterator[Salesforce]:
    """Give the connection that sets the org up: the admin's where there is one."""
    from resources.salesforce.client import Salesforce
    from resources.salesforce.connection import admin_connection

    connection = admin_connection(os.environ)
    if connection is None:
        yield clients.org
        return

    admin = Salesforce(
        connection,
        on_call=lambda call: clients.ledger.calls.count(clients.today, call.kind),
        on_sign_in=clients.ledger.org.check,
    )
    try:
        yield admin
    finally:
        admin.close()


def counting_zone() -> tzinfo:
    """Return whose days API calls count in: the settings' zone, UTC while there are no settings."""
    from resources.configuration import read_configuration

    try:
        return read_configuration(config_folder()).settings.zone
    except ConfigurationError:
        return UTC


def _now() -> datetime:
    return datetime.now(UTC)
