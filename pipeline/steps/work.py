"""What every step is given: configuration, clients and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Final

from pipeline.core.config import Configuration
from pipeline.core.errors import BudgetExhausted
from pipeline.core.fields import ObjectDescribe
from pipeline.core.windows import day_of, start_of_day
from resources.lake import Lake
from resources.ledger.calls import ORG_USAGE_LASTS
from resources.ledger.ledger import Ledger
from resources.ledger.state import Lease
from resources.models import Models
from resources.salesforce.client import Salesforce

LEASE_LASTS: Final = timedelta(minutes=10)
"""How long an object stays taken after the last progress; every single wait is shorter."""

PULL_RESERVE_CALLS: Final = 60
"""Calls kept back for pushes: a pull is not begun with fewer left (R21)."""

CHANGED_RECORDS: Final = "salesforce_changed_records"
STALE_RECORDS: Final = "stale_records"
SCORED: Final = "scored_enriched"
PUSHED: Final = "pushed_results"


@dataclass
class Work:
    """The clients, the configuration and the clock of one run (or one sensor tick, or one command)."""

    configuration: Configuration
    open_org: Callable[[], Salesforce]
    ledger: Ledger
    lake: Lake
    models: Models
    now: Callable[[], datetime]
    run_id: str
    describes: dict[str, ObjectDescribe] = field(default_factory=dict)

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

    def daily_pulls_awaited(self) -> frozenset[str]:
        """Return the objects that run and whose daily pull of today is not in yet (R20)."""
        states = self.ledger.state.objects()
        held = {m for m, hold in self.ledger.holds.all().items() if hold.retry_at > self.now()}
        running = {
            state.object
            for state in self.ledger.state.integrations().values()
            if state.enabled_at
            and not state.paused_at
            and not state.not_ready
            and state.market not in held
        }
        return frozenset(
            name
            for name in running & set(self.configuration.objects)
            if name not in states or states[name].daily_pulled_on != self.today
        )

    def calls_left(self) -> int:
        """Return how many API calls may still be made: of today's budget, and of what the org itself has left (R2)."""
        own, of_org = self._calls_left()
        return own if of_org is None else min(own, of_org)

    def _calls_left(self) -> tuple[int, int | None]:
        """Return what is left of today's budget, and our share of what the org has left, where it told lately."""
        settings = self.configuration.settings
        own = max(0, settings.daily_api_calls_limit - self.ledger.calls.total(self.today))
        org_left = self.ledger.calls.org_left(self.now())
        return own, None if org_left is None else org_left * settings.org_api_share_percent // 100

    def require_budget(self) -> None:
        """Raise BudgetExhausted where too little is left to begin a pull (R21)."""
        own, of_org = self._calls_left()
        settings = self.configuration.settings
        kept = f"{PULL_RESERVE_CALLS} are kept for pushes that have begun"
        if own < PULL_RESERVE_CALLS:
            resumes = start_of_day(self.today + timedelta(days=1), settings.zone)
            raise BudgetExhausted(
                f"The daily API calls limit is nearly used up: {own} of {settings.daily_api_calls_limit} left, and "
                f"{kept}. Pulling resumes at {resumes.astimezone(settings.zone):%Y-%m-%d %H:%M %Z}; a higher "
                "daily_api_calls_limit in settings.yaml would let it go on now.",
                resumes_at=resumes,
            )
        if of_org is not None and of_org < PULL_RESERVE_CALLS:
            resumes = self.now() + ORG_USAGE_LASTS
            raise BudgetExhausted(
                f"The org has nearly used up its own API requests of the last 24 hours: {of_org} are left for us "
                f"(org_api_share_percent: {settings.org_api_share_percent}), and {kept}. It is asked again at "
                f"{resumes.astimezone(settings.zone):%Y-%m-%d %H:%M %Z}.",
                resumes_at=resumes,
            )
