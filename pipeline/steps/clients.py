"""What every step is given: configuration, clients and the clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.core.configuration.configuration import Configuration
from pipeline.core.errors import BudgetExhausted
from pipeline.core.limit.windows import day_of, start_of_day
from pipeline.core.org_fit.fields import ObjectDescribe
from resources.lake import Lake
from resources.ledger.calls import OrgUsage
from resources.ledger.ledger import Ledger
from resources.ledger.state import Lease
from resources.models import Models

if TYPE_CHECKING:
    from resources.salesforce.calls import ApiCall, ApiUsage
    from resources.salesforce.client import Salesforce

LEASE_LASTS: Final = timedelta(minutes=10)
"""How long an object stays taken after the last progress; every single wait is shorter."""

PULL_RESERVE_CALLS: Final = 60
"""Calls kept back for pushes: pulling stops before fewer are left, and no push is begun then (R21)."""

RESERVED: Final = f"{PULL_RESERVE_CALLS} are kept for pushes that have begun"

CHANGED_RECORDS: Final = "salesforce_changed_records"
STALE_RECORDS: Final = "stale_records"
SCORED: Final = "scored_enriched"
PUSHED: Final = "pushed_results"


@dataclass
class Clients:
    """The clients, the configuration and the clock of one run (or one sensor tick, or one command)."""

    configuration: Configuration
    open_org: Callable[[], Salesforce]
    ledger: Ledger
    lake: Lake
    models: Models
    now: Callable[[], datetime]
    run_id: str
    describes: dict[str, ObjectDescribe] = field(default_factory=dict)
    opened_as: str = field(default_factory=lambda: os.urandom(4).hex())
    """Tells this process from an earlier one of the same run, which may have died long ago."""

    _is_pulling: bool = False

    @cached_property
    def org(self) -> Salesforce:
        """Return the client of the org; it is opened when first asked for, since some steps ask the org nothing."""
        return self.open_org()

    def close(self) -> None:
        """Close the connections that were opened."""
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

    def describe(self, name: str) -> ObjectDescribe:
        """Return an object's describe, asked for once a run."""
        if name not in self.describes:
            self.describes[name] = self.org.describe(name)
        return self.describes[name]

    def lease(self, name: str) -> Lease | None:
        """Take the object for this run, or None while another run works on it."""
        return self.ledger.state.acquire_lease(name, self.run_id, now=self.now(), lasts=LEASE_LASTS)

    def renew(self, lease: Lease) -> None:
        """Prolong the lease after progress."""
        self.ledger.state.renew_lease(lease, now=self.now(), lasts=LEASE_LASTS)

    def awaited_daily_pulls(self) -> frozenset[str]:
        """Return the objects that run and whose daily pull of today is not in yet (R20)."""
        states = self.ledger.state.objects()
        return frozenset(
            name
            for name in self.running_objects()
            if name not in states or states[name].daily_pulled_on != self.today
        )

    def running_objects(self) -> frozenset[str]:
        """Return the objects that have an integration which is ready, not paused and not held."""
        held = {m for m, hold in self.ledger.holds.all().items() if hold.retry_at > self.now()}
        running = {
            state.object
            for state in self.ledger.state.integrations().values()
            if state.enabled_at
            and not state.paused_at
            and not state.not_ready
            and state.market not in held
        }
        return frozenset(running & set(self.configuration.objects))

    def calls_remaining(self) -> int:
        """Return how many API calls may still be made: of today's budget, and of what the org itself has left (R2)."""
        own, of_org = self._calls_remaining()
        return own if of_org is None else min(own, of_org)

    def _calls_remaining(self) -> tuple[int, int | None]:
        """Return what is left of today's budget, and our share of what the org has left, where it told lately."""
        own = max(0, self._calls_limit - self.ledger.calls.total(self.today))
        usage = self.ledger.calls.org_usage(self.now())
        return own, None if usage is None else self._share_of(usage)

    @property
    def _calls_limit(self) -> int:
        return self.configuration.settings.daily_api_calls_limit

    def _share_of(self, usage: OrgUsage) -> int:
        return usage.left * self.configuration.settings.org_api_share_percent // 100

    def require_budget(self) -> None:
        """Raise BudgetExhausted where too little is left for a pull (R21)."""
        exhausted = self.budget_exhausted()
        if exhausted is not None:
            raise exhausted

    def budget_exhausted(self) -> BudgetExhausted | None:
        """Return why nothing is pulled now and when it resumes; None where enough is left (R21)."""
        own, of_org = self._calls_remaining()
        if own <= PULL_RESERVE_CALLS:
            return self._day_exhausted(own)
        usage = self.ledger.calls.org_usage(self.now())
        if usage is not None and of_org is not None and of_org <= PULL_RESERVE_CALLS:
            return self._org_exhausted(usage)
        return None

    def _day_exhausted(self, own: int) -> BudgetExhausted:
        settings = self.configuration.settings
        resumes = start_of_day(self.today + timedelta(days=1), settings.zone)
        return BudgetExhausted(
            f"The daily API calls limit is nearly used up: {own} of {settings.daily_api_calls_limit} left, and "
            f"{RESERVED}. Pulling resumes at {self._told(resumes)}; a higher daily_api_calls_limit in settings.yaml "
            "would let it go on now.",
            resumes_at=resumes,
        )

    def _org_exhausted(self, usage: OrgUsage) -> BudgetExhausted:
        settings = self.configuration.settings
        return BudgetExhausted(
            f"The org has nearly used up its own API requests of the last 24 hours: {self._share_of(usage)} are left "
            f"for us (org_api_share_percent: {settings.org_api_share_percent}), and {RESERVED}. It is asked again at "
            f"{self._told(usage.holds_until)}.",
            resumes_at=usage.holds_until,
        )

    def _told(self, moment: datetime) -> str:
        return f"{moment.astimezone(self.configuration.settings.zone):%Y-%m-%d %H:%M %Z}"

    @property
    def org_refuses(self) -> bool:
        """Say whether the org lately refused a call for its own daily limit, or told that nothing is left."""
        return self.ledger.calls.org_remaining(self.now()) == 0

    @contextmanager
    def pulling(self) -> Iterator[None]:
        """Let no call leave meanwhile that pushes may need: what is not pulled now can be pulled later (R21).

        Raises BudgetExhausted at once, or in the middle of paging.
        """
        self.require_budget()
        self._is_pulling = True
        try:
            yield
        finally:
            self._is_pulling = False

    def count(self, call: ApiCall) -> None:
        """Count a call before it leaves. Raises BudgetExhausted where it must not leave (see `pulling`)."""
        if not self._is_pulling:
            self.ledger.calls.count(self.today, call.kind)
            return
        self.require_budget()
        most = self._calls_limit - PULL_RESERVE_CALLS
        if not self.ledger.calls.count(self.today, call.kind, most=most):
            raise self._day_exhausted(PULL_RESERVE_CALLS)  # another process was first

    def note_org_limit(self) -> datetime:
        """Remember that the org refused a call for its own daily limit; return when it is asked again."""
        resumes = self.ledger.calls.note_limit_reached(self.now())
        return resumes.astimezone(self.configuration.settings.zone)


class OpenOrg(Protocol):
    """Opens a client of the org, as `resources.environment.open_salesforce` does."""

    def __call__(
        self,
        on_call: Callable[[ApiCall], object],
        on_usage: Callable[[ApiUsage], None],
        on_sign_in: Callable[[str], None],
        *,
        keep_session: bool,
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
    keep_session: bool = False,
) -> Clients:
    """Return the clients of one run, whose calls to the org are counted in its ledger (R21).

    The org is opened when it is first asked for. A sensor's tick keeps its session for the next one.
    """

    def note_usage(usage: ApiUsage) -> None:
        ledger.calls.note_usage(usage.used, usage.allotted, now())

    def open_counted_org() -> Salesforce:
        return open_org(
            clients.count,
            note_usage,
            ledger.state.check_org,
            keep_session=keep_session,
            on_limit=clients.note_org_limit,
        )

    clients = Clients(
        configuration=configuration,
        open_org=open_counted_org,
        ledger=ledger,
        lake=lake,
        models=models,
        now=now,
        run_id=run_id,
    )
    return clients
