"""Asks for a whole object or market to be scored again, at the limit's pace (R28)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from pipeline.core.errors import ConfigurationError
from pipeline.core.limit.pace import last_day
from pipeline.steps.clients import Clients
from pipeline.steps.pull import count_stale


@dataclass(frozen=True, slots=True)
class Rescore:
    """What was asked for: integrations, records to be scored by object, and the day of the last."""

    integrations: list[str]
    records: dict[str, int]
    done_on: date | None

    @property
    def total(self) -> int:
        """Return the records over all objects."""
        return sum(self.records.values())


def rescore(
    clients: Clients, objects: Collection[str] = (), markets: Collection[str] = ()
) -> Rescore:
    """Make every candidate of the chosen integrations due again, from today's daily pull on.

    An integration is chosen by its object, its market, or both. It counts as newly turned on, as
    after a change of its mapping (R17, R19). Daily pulls then list its records over as many days as
    they take, without further requests. A second request begins anew.

    Raises ConfigurationError where no integration is chosen, or none of those chosen is ready.
    """
    chosen = [
        i.key
        for i in clients.configuration.integrations
        if i.enabled
        and (objects or markets)
        and (not objects or i.object in objects)
        and (not markets or i.market in markets)
    ]
    known = clients.ledger.integrations.all()
    ready = [key for key in chosen if key in known and known[key].enabled_at]
    if not ready:
        raise ConfigurationError([_why_none_ready(clients, chosen)])

    clients.ledger.integrations.renew(ready, clients.now())

    # Counted after the renewal: now they are all too old.
    object_names: list[str] = sorted({object_name for object_name, _ in ready})
    records = {object_name: count_stale(clients, object_name) for object_name in object_names}
    limit = clients.configuration.settings.daily_record_limit
    remaining = clients.ledger.days.use(clients.today, limit).remaining

    return Rescore(
        integrations=[f"{object_name}.{market}" for object_name, market in ready],
        records=records,
        done_on=last_day(clients.today, sum(records.values()), remaining, limit),
    )


def _why_none_ready(clients: Clients, chosen: Collection[tuple[str, str]]) -> str:
    if chosen:
        names = ", ".join(f"{object_name}.{market}" for object_name, market in chosen)
        return f"{names}: not checked or not ready yet; run `insights check` first."

    known = ", ".join(i.name for i in clients.configuration.integrations if i.enabled) or "none"
    return f"Name an object or a market that an integration is switched on for; there are {known}."
