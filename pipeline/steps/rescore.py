"""Asks for a whole object or market to be scored again, at the limit's pace (R28)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from pipeline.core.errors import ConfigurationError, NotReady
from pipeline.core.limit.pace import last_day
from pipeline.core.soql import select
from pipeline.steps.clients import Clients
from pipeline.steps.preflight import check, scope_of
from pipeline.steps.pull import stale_condition


@dataclass(frozen=True, slots=True)
class Rescore:
    """What was asked for: integrations, how many records are to be scored, and the day of the last of them."""

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
    """Make every candidate of the chosen integrations due again, and have today's daily pull begin with them.

    An integration is chosen by its object, its market, or both; with neither, nothing is and ConfigurationError is
    raised. It counts as newly turned on, as after a change of its mapping (R17, R19): daily pulls list its records
    over as many days as they take, with nobody coming back. Asked again, it begins anew.
    """
    chosen = [
        (i.object, i.market)
        for i in clients.configuration.integrations
        if i.enabled
        and (objects or markets)
        and (not objects or i.object in objects)
        and (not markets or i.market in markets)
    ]
    known = clients.ledger.integrations.all()
    ready = [key for key in chosen if key in known and known[key].enabled_at]
    if not ready:
        raise ConfigurationError([_nothing_chosen(clients, chosen)])
    clients.ledger.integrations.renew(ready, clients.now())
    names: list[str] = sorted({name for name, _ in ready})
    records = {name: _to_be_scored(clients, name) for name in names}
    limit = clients.configuration.settings.daily_record_limit
    left = clients.ledger.days.use(clients.today, limit).remaining
    return Rescore(
        integrations=[f"{name}.{market}" for name, market in ready],
        records=records,
        done_on=last_day(clients.today, sum(records.values()), left, limit),
    )


def _to_be_scored(clients: Clients, name: str) -> int:
    """Count the object's records that daily pulls will list; 0 while none of its integrations runs."""
    try:
        scope = scope_of(clients, name, check(clients, [name]))
    except NotReady:
        return 0
    settings = clients.configuration.settings
    where = stale_condition(scope, clients.now(), settings.refresh_period_days)
    return clients.org.count(select(["COUNT()"], name, where))


def _nothing_chosen(clients: Clients, chosen: Collection[tuple[str, str]]) -> str:
    if chosen:
        names = ", ".join(f"{name}.{market}" for name, market in chosen)
        return f"{names}: not checked or not ready yet; run `insights check` first."
    known = ", ".join(i.name for i in clients.configuration.integrations if i.enabled) or "none"
    return f"Name an object or a market that an integration is switched on for; there are {known}."
