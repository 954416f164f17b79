"""The API calls of a day: counted before they leave, and kept for begun pushes (R2, R21)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from pipeline.core.configuration.settings import Settings
from pipeline.core.errors import BudgetExhausted, LeaseLost
from pipeline.core.limit.windows import day_of, start_of_day
from resources.ledger.calls import OrgUsage, Renewal
from resources.ledger.leases import Lease
from resources.ledger.ledger import Ledger
from resources.salesforce.calls import ApiCall

PULL_RESERVE_CALLS: Final = 60
"""Calls kept back for pushes: pulling stops, and no push is begun, before fewer remain (R21)."""

LEASE_LASTS: Final = timedelta(minutes=10)
"""How long an object stays taken after the last progress; every single wait is shorter."""

RENEWED_EVERY: Final = timedelta(seconds=10)
"""How often a run's calls renew its leases at most."""

RESERVED: Final = f"{PULL_RESERVE_CALLS} are kept for pushes that have begun"


class Budget:
    """What may still be asked of the org today, and the count of what was asked."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        now: Callable[[], datetime],
        leases: dict[str, Lease] | None = None,
    ) -> None:
        """Count in `ledger`, within what `settings` allow, on the days of their time zone.

        `leases` are those that the run holds now, by object: its calls renew them.
        """
        self._settings = settings
        self._ledger = ledger
        self._now = now
        self._leases = {} if leases is None else leases
        self._renewed_at: datetime | None = None
        self._is_pulling = False

    def remaining(self) -> int:
        """Return how many calls may still be made, by our day and by the org's (R2)."""
        own, of_org = self._remaining()
        return own if of_org is None else min(own, of_org)

    def why_exhausted(self) -> BudgetExhausted | None:
        """Return why nothing is pulled now and when it resumes; None where enough remain (R21)."""
        own, of_org = self._remaining()
        if own <= PULL_RESERVE_CALLS:
            return self._day_exhausted(own)

        usage = self._ledger.calls.org_usage(self._now())
        if usage is not None and of_org is not None and of_org <= PULL_RESERVE_CALLS:
            return self._org_exhausted(usage)

        return None

    def require(self) -> None:
        """Raise BudgetExhausted where too few calls remain for a pull (R21)."""
        exhausted = self.why_exhausted()
        if exhausted is not None:
            raise exhausted

    @contextmanager
    def pulling(self) -> Iterator[None]:
        """Let no call leave meanwhile that pushes may need: a pull can be made up for later (R21).

        Raises BudgetExhausted at once, or in the middle of paging.
        """
        self.require()
        self._is_pulling = True
        try:
            yield
        finally:
            self._is_pulling = False

    def count(self, call: ApiCall) -> None:
        """Count a call before it leaves, and renew the run's leases with it.

        Raises BudgetExhausted if the call must not leave (see `pulling`), LeaseLost where another
        run has taken over.
        """
        now = self._now()
        today = day_of(now, self._settings.zone)
        renewal = self._renewal(now)
        most = None
        if self._is_pulling:
            self.require()
            most = self._settings.daily_api_calls_limit - PULL_RESERVE_CALLS

        try:
            is_counted = self._ledger.calls.count(today, call.kind, most=most, renewal=renewal)
        except LeaseLost:
            # Said once: what is still to be called off may be called off.
            self._leases.clear()
            raise

        if not is_counted:
            # Between the look and the count another process took the last one.
            raise self._day_exhausted(PULL_RESERVE_CALLS)

        if renewal is not None:
            self._renewed_at = now

    def _renewal(self, now: datetime) -> Renewal | None:
        """Return what to renew; None shortly after the last time, and where nothing is held."""
        is_fresh = self._renewed_at is not None and now - self._renewed_at < RENEWED_EVERY
        if is_fresh or not self._leases:
            return None

        return Renewal(tuple(self._leases.values()), now + LEASE_LASTS)

    @property
    def org_refuses(self) -> bool:
        """Say whether the org refused a call for its own daily limit lately, or has none."""
        return self._ledger.calls.org_remaining(self._now()) == 0

    def note_org_limit(self) -> datetime:
        """Note that the org refused a call for its daily limit; return when it is asked again."""
        resumes = self._ledger.calls.note_limit_reached(self._now())
        return resumes.astimezone(self._settings.zone)

    def _remaining(self) -> tuple[int, int | None]:
        """Return what remains of our day, and our share of the org's calls if it said so lately."""
        today = day_of(self._now(), self._settings.zone)
        own = max(0, self._settings.daily_api_calls_limit - self._ledger.calls.total(today))
        usage = self._ledger.calls.org_usage(self._now())
        return own, None if usage is None else self._share_of(usage)

    def _share_of(self, usage: OrgUsage) -> int:
        return usage.remaining * self._settings.org_api_share_percent // 100

    def _day_exhausted(self, own: int) -> BudgetExhausted:
        settings = self._settings
        today = day_of(self._now(), settings.zone)
        resumes = start_of_day(today + timedelta(days=1), settings.zone)
        return BudgetExhausted(
            f"The daily API calls limit is nearly used up: {own} of "
            f"{settings.daily_api_calls_limit} left, and {RESERVED}. Pulling resumes at "
            f"{self._local(resumes)}; a higher daily_api_calls_limit in settings.yaml would let it resume now.",
            resumes_at=resumes,
        )

    def _org_exhausted(self, usage: OrgUsage) -> BudgetExhausted:
        return BudgetExhausted(
            "The org has nearly used up its own API requests of the last 24 hours: "
            f"{self._share_of(usage)} are left for us (org_api_share_percent: "
            f"{self._settings.org_api_share_percent}), and {RESERVED}. It is asked again at "
            f"{self._local(usage.holds_until)}.",
            resumes_at=usage.holds_until,
        )

    def _local(self, at: datetime) -> str:
        return f"{at.astimezone(self._settings.zone):%Y-%m-%d %H:%M %Z}"
