"""Pauses an integration and resumes it (R12, R29)."""

from __future__ import annotations

from datetime import datetime

from pipeline.core.configuration.integration import Integration
from pipeline.core.configuration.mistakes import near_or_all
from pipeline.core.errors import ConfigurationError
from pipeline.steps.clients import Clients


def pause(clients: Clients, name: str) -> None:
    """Pause the integration `name` (`Object.market`) from now on.

    Its digests stay on the records. Other markets still run.

    Raises ConfigurationError for an integration that does not exist, is switched off or was never
    checked.
    """
    integration = _switched_on(clients, name)
    clients.ledger.integrations.pause(integration.key, clients.now())


def resume(clients: Clients, name: str) -> datetime:
    """Resume the integration and return since when changes are read again; safe to repeat.

    Raises ConfigurationError as `pause` does.
    """
    integration = _switched_on(clients, name)
    return clients.ledger.integrations.resume(integration.key, clients.now())


def _switched_on(clients: Clients, name: str) -> Integration:
    known = {i.name: i for i in clients.configuration.integrations if i.enabled}
    if name not in known:
        hint = near_or_all(name, list(known))
        raise ConfigurationError([f"There is no integration {name!r} that is switched on; {hint}"])

    integration = known[name]
    if integration.key not in clients.ledger.integrations.all():
        raise ConfigurationError([f"{name} has not been checked yet: run `insights check` first."])

    return integration
