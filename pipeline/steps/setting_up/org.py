"""Says which org the state belongs to, and switches to another (R1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pipeline.core.configuration.integration import OBJECTS
from pipeline.core.errors import CannotProceedNow, ConfigurationError
from pipeline.core.soql import select
from pipeline.steps.clients import Clients
from resources.ledger.leases import Lease
from resources.ledger.switch import Forgotten, switch_org, would_be_forgotten
from resources.salesforce.client import Salesforce
from resources.salesforce.errors import QueriesRefused

SWITCH_LASTS: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Connected:
    """The org that answers. `environment` and `name` are None where the user may not read them."""

    org_id: str
    user_id: str
    instance_url: str
    name: str | None
    environment: str | None


@dataclass(frozen=True, slots=True)
class OrgView:
    """The org that the state belongs to, and the one that answers.

    What is `remembered_…` is None before the first org.
    """

    remembered_id: str | None
    remembered_environment: str | None
    remembered_since: datetime | None
    connected: Connected

    @property
    def is_same(self) -> bool:
        """Say whether it is the remembered org that answers."""
        return self.remembered_id in (None, self.connected.org_id)


def connected_org(org: Salesforce) -> Connected:
    """Ask the org for its name and kind: one call and the sign-in."""
    row: dict[str, Any] = {}
    try:
        query = select(["Name", "IsSandbox"], "Organization", limit=1)
        rows = org.ask({"org": query})["org"]
        row = rows[0] if rows else {}
    except QueriesRefused:
        pass  # The user may not read it. Then name and kind are unknown, and nothing depends on them.

    return Connected(
        org_id=org.org_id,
        user_id=org.user_id,
        instance_url=org.instance_url,
        name=row.get("Name"),
        environment=_environment(org, row.get("IsSandbox")),
    )


def _environment(org: Salesforce, is_sandbox: bool | None) -> str | None:
    if org.is_local:
        return "local"

    if is_sandbox is None:
        return None

    return "sandbox" if is_sandbox else "production"


def check_environment(wanted: str, connected: Connected) -> None:
    """Raise ConfigurationError if the org that answers is of another kind than the settings say."""
    actual = connected.environment
    if actual is not None and actual != wanted:
        raise ConfigurationError(
            [
                f"environment: {wanted} is chosen, but the org that answers ({connected.org_id}, "
                f"{connected.instance_url}) is {actual}. Choose {actual}, or correct SALESFORCE_LOGIN_URL."
            ]
        )


def view(clients: Clients) -> OrgView:
    """Return which org is remembered and which one answers, whether or not they agree."""
    clients.org.accept_any_org()
    known = clients.ledger.org.get() or {}

    return OrgView(
        remembered_id=known.get("org_id"),
        remembered_environment=known.get("environment"),
        remembered_since=known.get("connected_at"),
        connected=connected_org(clients.org),
    )


def would_be_left(clients: Clients) -> Forgotten:
    """Return what a switch would forget."""
    return would_be_forgotten(clients.ledger.database)


def switch(clients: Clients, seen: OrgView) -> Forgotten:
    """Let the state belong to the org that answers, and return what was forgotten.

    The old org's history is set aside. What the limits count stays, for they are per day. After a
    crash, a second call continues where the first one stopped.

    Raises:
        ConfigurationError: the settings name another kind of org.
        CannotProceedNow: a run works on an object; nothing was changed.
    """
    settings = clients.configuration.settings
    check_environment(settings.environment, seen.connected)
    leases = _all_leases(clients)

    # History first: were it last, a crash in between would mix the two orgs' history.
    if seen.remembered_id:
        clients.lake.set_aside(seen.remembered_id)

    new = seen.connected.org_id
    forgotten = switch_org(
        clients.ledger.database, new, settings.environment, clients.now(), leases
    )

    clients.lake.delete_working_files()
    clients.lake.take_back(new)
    return forgotten


def _all_leases(clients: Clients) -> list[Lease]:
    """Take the leases of all objects, or none of them: no run may work while everything changes."""
    taken: list[Lease] = []
    for object_name in OBJECTS:
        lease = clients.ledger.leases.acquire(
            object_name, clients.run_id, now=clients.now(), lasts=SWITCH_LASTS
        )
        if lease is None:
            _give_back(clients, taken)
            holder = clients.ledger.leases.holder(object_name, clients.now()) or "another run"
            raise CannotProceedNow(
                f"Run {holder[:8]} works on {object_name}: nothing was changed. Stop the sensor and the "
                "schedule, let the run end (a dead one is let go of after ten minutes), and try again."
            )
        taken.append(lease)

    return taken


def _give_back(clients: Clients, leases: Sequence[Lease]) -> None:
    for lease in leases:
        clients.ledger.leases.release(lease.object, lease.owner)
