"""Opens what a command works with, and closes it: the clients of a run, or an org without a configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pipeline.steps.clients import Clients
    from resources.ledger.ledger import Ledger
    from resources.salesforce.client import Salesforce


@contextmanager
def opened_clients() -> Iterator[Clients]:
    """Give the clients of a command, made as for a run from the configuration in INSIGHTS_CONFIG."""
    from assets.clients import ClientsResource
    from pipeline.definitions import build_definitions

    resource = (build_definitions().resources or {})["clients"]
    if not isinstance(resource, ClientsResource):
        raise TypeError("the definitions' resource `work` is of another kind")
    try:
        yield resource.get(f"cli-{datetime.now(UTC):%Y%m%d%H%M%S%f}")
    finally:
        resource.close()


@contextmanager
def opened_ledger() -> Iterator[Ledger]:
    """Give the ledger where there may be no configuration yet."""
    from resources.configurable import LedgerResource, ledger_url

    ledger = LedgerResource(url=ledger_url()).open()
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def opened_org(ledger: Ledger, zone: tzinfo) -> Iterator[Salesforce]:
    """Give the one org where there may be no configuration yet; calls count in the days of `zone` (R21)."""
    from resources.configurable import SalesforceResource

    org = SalesforceResource().open(
        lambda call: ledger.calls.count(datetime.now(zone).date(), call.kind),
        lambda usage: ledger.calls.note_usage(usage.used, usage.allotted, datetime.now(UTC)),
        ledger.org.check,
    )
    try:
        yield org
    finally:
        org.close()


@contextmanager
def opened_admin(clients: Clients) -> Iterator[Salesforce]:
    """Give the connection that sets the org up: the admin's where one is described, else the same one."""
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
    from resources.configurable import config_folder
    from resources.configuration import read_configuration

    try:
        return read_configuration(config_folder()).settings.zone
    except ConfigurationError:
        return UTC
