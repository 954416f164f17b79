"""What in the configuration differs from what is in force, and whether it stood long enough (R17).

A rollout makes all records of an integration due. A deploy that copies files one after the other
must not roll out twice: what changed is rolled out once it stood unchanged for two looks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from pipeline.core.configuration.running import IntegrationKey, IntegrationState
from pipeline.core.errors import ConfigurationError
from pipeline.steps.clients import Clients

STANDS_AFTER: Final = timedelta(seconds=30)
"""How long after the first look the second one counts."""

OTHERS_ROLLOUT_HOLDS: Final = timedelta(hours=1)
"""How long the rollout of one deployment is kept from another one."""

MISSING: Final = "missing"
"""What is seen of an integration that was rolled out and whose file is not there."""


def why_it_waits(clients: Clients, object_name: str) -> str | None:
    """Look at the object's files and return why nothing of it runs yet; None where all stands.

    What was changed is noted, so that a later look can tell that it stood. Half the new
    configuration and half the old one score nothing meanwhile: the files of before are gone.

    Raises:
        ConfigurationError: Another deployment rolled out what this one would change.
    """
    known = clients.ledger.integrations.all()
    seen = {key: s for key, s in changes(clients, known).items() if key.object == object_name}
    refuse_anothers_rollout(clients, known, seen)

    moving = {key: look for key, look in seen.items() if not has_stood(known[key], look, clients)}
    if not moving:
        return None

    clients.ledger.integrations.note_seen(moving, clients.now())
    names = ", ".join(f"{key.object}.{key.market}" for key in moving)
    return (
        f"{names}: the mapping or the market's files were changed; rolled out once they stood unchanged for "
        f"{STANDS_AFTER.total_seconds():.0f} seconds and are looked at again, or at once by `insights check`"
    )


def changes(
    clients: Clients, known: Mapping[IntegrationKey, IntegrationState]
) -> dict[IntegrationKey, str]:
    """Return what is seen of each integration that differs from its rollout in force.

    One that is switched off in its file is off at once. One whose file is missing may be on its
    way.
    """
    configuration = clients.configuration
    in_force = {key: state for key, state in known.items() if state.enabled_at}
    seen: dict[IntegrationKey, str] = {}
    for integration in configuration.integrations:
        state = in_force.get(integration.key)
        market = configuration.markets[integration.market]
        fingerprint = integration.fingerprint(market)
        if integration.enabled and state and state.fingerprint != fingerprint:
            files = clients.models.files_digest(market.name)
            both = f"{fingerprint} {files}".encode()
            seen[integration.key] = hashlib.sha256(both).hexdigest()

    # A broken file that names no integration may be any of the missing.
    if all(broken.key for broken in configuration.broken):
        configured = {i.key for i in configuration.integrations} | configuration.broken_keys
        seen |= dict.fromkeys(in_force.keys() - configured, MISSING)
    return seen


def has_stood(state: IntegrationState, look: str, clients: Clients) -> bool:
    """Say whether the same was seen some time ago."""
    return (
        state.fingerprint_seen == look
        and state.fingerprint_seen_at is not None
        and clients.now() - state.fingerprint_seen_at >= STANDS_AFTER
    )


def refuse_anothers_rollout(
    clients: Clients,
    known: Mapping[IntegrationKey, IntegrationState],
    seen: Mapping[IntegrationKey, str],
) -> None:
    """Raise ConfigurationError where another deployment rolled out lately what is to be changed.

    Two deployments of different configurations on one ledger would renew each other's rollout, and
    all records would be scored again each time.
    """
    theirs = rolled_out_by_another(clients, known, seen)
    last = clients.ledger.integrations.last_deployment()
    if not theirs or last is None:
        return

    names = ", ".join(f"{key.object}.{key.market}" for key in theirs)
    free_at = last.rolled_out_at + OTHERS_ROLLOUT_HOLDS
    raise ConfigurationError(
        [
            f"{names}: the deployment {last.name} rolled it out at {last.rolled_out_at:%Y-%m-%d %H:%M} UTC, and this "
            f"one, {clients.deployment}, has another mapping or market. Both work on one ledger, so each would "
            "have all records scored again. Stop one of them, or give both the same configuration. "
            f"If the other one is gone, this one goes on at {free_at:%H:%M} UTC; processes of one deployment on "
            "several hosts share the name that INSIGHTS_DEPLOYMENT gives."
        ]
    )


def rolled_out_by_another(
    clients: Clients,
    known: Mapping[IntegrationKey, IntegrationState],
    seen: Mapping[IntegrationKey, str],
) -> list[IntegrationKey]:
    """Return which of those `seen` another deployment rolled out within the last hour."""
    last = clients.ledger.integrations.last_deployment() if seen else None
    since = clients.now() - OTHERS_ROLLOUT_HOLDS
    if last is None or last.name == clients.deployment or last.rolled_out_at <= since:
        return []

    return [key for key in seen if _is_after(known[key].enabled_at, since)]


def _is_after(moment: datetime | None, since: datetime) -> bool:
    return moment is not None and moment > since
