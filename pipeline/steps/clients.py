"""What every step is given: the configuration, the clients and the clock of one run."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.core.configuration.configuration import Configuration
from pipeline.core.configuration.running import running_objects
from pipeline.core.limit.shares import DayFacts
from pipeline.core.limit.windows import CLOCKS_APART_MAX, day_of, trusted_org_now
from pipeline.core.org_fit.fields import ObjectDescribe
from pipeline.core.org_fit.preflight import Preflight
from pipeline.steps.budget import LEASE_LASTS, Budget
from resources.lake import Lake
from resources.ledger.database import LedgerAway
from resources.ledger.leases import Lease
from resources.ledger.ledger import Ledger
from resources.models import Models

if TYPE_CHECKING:
    from resources.salesforce.calls import ApiCall, ApiUsage
    from resources.salesforce.client import Salesforce

CHANGED_RECORDS: Final = "salesforce_changed_records"
STALE_RECORDS: Final = "stale_records"
SCORED: Final = "scored_enriched"
PUSHED: Final = "pushed_results"


@dataclass
class Clients:
    """The clients, the configuration and the clock of one run, one sensor tick, or one command.

    `budget` counts the calls to the org. `leases` are those that this run holds, by object: each
    call renews them. `checked` holds by object what this run's preflight found: the org is held
    against the configuration once a run. `deployment` names the host and the folder that the
    configuration is of, or what stands for both. `opened_as` tells this process from an
    earlier one of the same run, which may have died long ago.
    """

    configuration: Configuration
    open_org: Callable[[], Salesforce]
    ledger: Ledger
    lake: Lake
    models: Models
    now: Callable[[], datetime]
    run_id: str
    describes: dict[str, ObjectDescribe] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    checked: dict[str, Preflight] = field(default_factory=dict)
    deployment: str = ""
    opened_as: str = field(default_factory=lambda: os.urandom(4).hex())

    @cached_property
    def org(self) -> Salesforce:
        """The client of the org, opened when first asked for: some steps ask the org nothing."""
        return self.open_org()

    @cached_property
    def budget(self) -> Budget:
        """The API calls of the day."""
        return Budget(self.configuration.settings, self.ledger, self.now, self.leases)

    def close(self) -> None:
        """Release this run's leases and close the connections that were opened.

        Where the ledger is away, a lease ends by itself.
        """
        with suppress(LedgerAway):
            for object_name in self.configuration.objects:
                self.ledger.leases.release(object_name, self.run_id)

        if "org" in self.__dict__:
            self.org.close()
        self.ledger.close()

    @property
    def today(self) -> date:
        """Return the current day in the settings' time zone."""
        return day_of(self.now(), self.configuration.settings.zone)

    @property
    def local_now(self) -> datetime:
        """Return the current time in the settings' time zone."""
        return self.now().astimezone(self.configuration.settings.zone)

    def org_now(self) -> datetime:
        """Return the org's time, as far as this machine's clock lets it be believed (D23)."""
        return trusted_org_now(self.org.org_now(), self.now())

    def clock_difference(self) -> str | None:
        """Return in words how far the org's clock is from this machine's; None where it is near."""
        apart = self.org.org_now() - self.now()
        if abs(apart) <= CLOCKS_APART_MAX:
            return None
        minutes, side = (
            abs(apart) // timedelta(minutes=1),
            "ahead of" if apart > timedelta(0) else "behind",
        )
        return (
            f"the org's clock is {minutes} minutes {side} this machine's: set this machine's clock. "
            "Until then changes may be scored late"
        )

    def day_facts(self) -> DayFacts:
        """Return what a claim has to know of the current day."""
        settings = self.configuration.settings
        return DayFacts(
            day=self.today,
            now=self.now(),
            local_time=self.local_now.time(),
            policy=settings.day_policy,
            awaited=self.awaited_daily_pulls(),
        )

    def awaited_daily_pulls(self) -> frozenset[str]:
        """Return the objects that run and whose daily pull of today is not in yet (R20)."""
        states = self.ledger.objects.all()
        return frozenset(
            object_name
            for object_name in self.running_objects()
            if object_name not in states or states[object_name].daily_pulled_on != self.today
        )

    def running_objects(self) -> frozenset[str]:
        """Return the configured objects that have an integration which runs now (D16)."""
        broken = self.configuration.broken_keys
        known = [s for s in self.ledger.integrations.all().values() if s.key not in broken]
        running = running_objects(known, self.ledger.holds.all(), self.now())
        return running & set(self.configuration.objects)

    def describe(self, object_name: str) -> ObjectDescribe:
        """Return an object's describe, asked for once a run."""
        if object_name not in self.describes:
            self.describes[object_name] = self.org.describe(object_name)
        return self.describes[object_name]

    def lease(self, object_name: str) -> Lease | None:
        """Take the object for this run, or None while another run works on it."""
        self.leases.pop(object_name, None)
        lease = self.ledger.leases.acquire(
            object_name, self.run_id, now=self.now(), lasts=LEASE_LASTS
        )
        if lease is not None:
            self.leases[object_name] = lease
        return lease

    def renew(self, lease: Lease) -> None:
        """Prolong the lease after progress."""
        self.ledger.leases.renew(lease, now=self.now(), lasts=LEASE_LASTS)


class OpenOrg(Protocol):
    """Opens a client of the org, as `resources.environment.open_salesforce` does."""

    def __call__(
        self,
        on_call: Callable[[ApiCall], object],
        on_usage: Callable[[ApiUsage], None],
        on_sign_in: Callable[[str], None],
        *,
        is_tick: bool,
        on_limit: Callable[[], datetime | None],
    ) -> Salesforce:
        """Return the client; its calls, usage and sign-ins are told to the callbacks."""
        ...


def open_clients(
    configuration: Configuration,
    ledger: Ledger,
    lake: Lake,
    models: Models,
    *,
    open_org: OpenOrg,
    now: Callable[[], datetime],
    run_id: str,
    is_tick: bool = False,
    deployment: str = "",
) -> Clients:
    """Return the clients of one run, whose calls to the org are counted in its ledger (R21).

    The org is opened when it is first asked for. A sensor's tick waits less for it.
    """

    def note_usage(usage: ApiUsage) -> None:
        ledger.calls.note_usage(usage.used, usage.allotted, now())

    def open_counted_org() -> Salesforce:
        return open_org(
            clients.budget.count,
            note_usage,
            ledger.org.check,
            is_tick=is_tick,
            on_limit=clients.budget.note_org_limit,
        )

    clients = Clients(
        configuration=configuration,
        open_org=open_counted_org,
        ledger=ledger,
        lake=lake,
        models=models,
        now=now,
        run_id=run_id,
        deployment=deployment,
    )
    return clients
