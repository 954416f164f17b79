"""The ledger as callers use it: its parts, and the transactions that span them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.calls import Calls
from resources.ledger.completeness import Completeness
from resources.ledger.counts import DUE, NOT_DUE, READ, Counts
from resources.ledger.database import Database
from resources.ledger.days import Days
from resources.ledger.failures import Failures
from resources.ledger.holds import Holds
from resources.ledger.integrations import Integrations, resting_markets
from resources.ledger.leases import Lease, Leases
from resources.ledger.market_batches import MarketBatches
from resources.ledger.objects import Objects, Seen
from resources.ledger.org import Org
from resources.ledger.push_jobs import PushJobs
from resources.ledger.scorings import Scorings
from resources.ledger.segments import Segments
from resources.ledger.settling import Settling
from resources.ledger.stops import Stops
from resources.ledger.waiting import ScoringRequest, ScoringRequests, Waiting

REQUESTS_AT_ONCE: Final = 20_000
"""The most records that one transaction adds to the list: others wait for it seconds at most."""


class Ledger:
    """One attribute for each noun of the ledger, and the writes that touch several at once."""

    def __init__(self, url: str) -> None:
        """Open the database at `url` and bring its tables up to date.

        Raises ConfigurationError for an address that cannot be right, LedgerAway where the database
        does not answer.
        """
        self.database = Database(url)
        self.database.migrate()

        self.org = Org(self.database)
        self.objects = Objects(self.database)
        self.leases = Leases(self.database)
        self.holds = Holds(self.database)
        self.market_batches = MarketBatches(self.database)
        self.counts = Counts(self.database)
        self.calls = Calls(self.database)
        self.stops = Stops(self.database)

        self.waiting = Waiting(self.database)
        self.integrations = Integrations(self.database, self.waiting)
        self.failures = Failures(self.database)
        self.completeness = Completeness(self.database)

        self.days = Days(self.database)
        self.segments = Segments(self.database, self.days, self.waiting, self.counts)
        self.push_jobs = PushJobs(self.database)
        self.scorings = Scorings(self.database)
        self.settling = Settling(
            self.database, self.waiting, self.segments, self.scorings, self.counts
        )

    def close(self) -> None:
        """Let the connections go."""
        self.database.engine.dispose()

    def record_pull(
        self,
        lease: Lease,
        *,
        watermark: datetime,
        seen: Seen,
        now: datetime,
        expected: datetime | None = None,
        resting: Collection[str] = (),
        day: date | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Move the watermark after a pull whose due rows are listed; keep what the window held.

        `seen` is what the sensor will compare its next answer with (D17). What was read and decided
        (`counts`) is counted for `day`.

        Where the watermark is not the `expected` one any more (something moved it back meanwhile),
        it stays, and the rows are read again. So it does where one of the `resting` markets,
        without which the rows were decided on, has gone on meanwhile.
        """
        unmoved = sa.true() if expected is None else t.objects.c.watermark == expected
        with self.database.begin(lease) as connection:
            # A market that goes on meanwhile was not asked about these rows: they are read again.
            if set(resting) <= resting_markets(connection, lease.object):
                connection.execute(
                    t.objects.update()
                    .where(t.objects.c.object == lease.object, unmoved)
                    .values(
                        watermark=watermark,
                        pulled_at=now,
                        seen_count=seen.count,
                        seen_newest=seen.newest,
                        seen_digest=seen.digest,
                    )
                )

            if day is not None and counts:
                self.counts.add(connection, day, lease.object, counts)

    def add_requests(
        self, lease: Lease, requests: Sequence[ScoringRequest] | ScoringRequests, now: datetime
    ) -> None:
        """Put due records on the waiting list; safe to repeat, as the watermark moves later.

        Many are added in several transactions, so that others may write in between.
        """
        requests = _columns(requests)
        # At least once, though there be none: the lease is checked all the same.
        for start in range(0, max(1, len(requests)), REQUESTS_AT_ONCE):
            with self.database.begin(lease) as connection:
                part = requests.part(start, start + REQUESTS_AT_ONCE)
                self.waiting.add(connection, lease.object, part, now)

    def record_daily_pull(
        self,
        lease: Lease,
        requests: Sequence[ScoringRequest] | ScoringRequests,
        *,
        day: date,
        now: datetime,
        today: date | None = None,
    ) -> None:
        """Put a daily pull's records on the list; with the last ones the day's daily pull is in.

        They are counted as read and due `today`. The default is `day`, which may be yesterday where
        its daily pull was missed.
        """
        requests = _columns(requests)
        last = max(0, len(requests) - REQUESTS_AT_ONCE)
        if last:
            self.add_requests(lease, requests.part(0, last), now)

        with self.database.begin(lease) as connection:
            self.waiting.add(connection, lease.object, requests.part(last, len(requests)), now)
            # In one transaction with the last rows: a crash before leaves the day's pull to come.
            self.objects.mark_daily_pull(connection, lease.object, day, now)

            counts = {READ: len(requests), NOT_DUE: 0, DUE: len(requests)}
            self.counts.add(connection, today or day, lease.object, counts)

    def record_redo(
        self,
        request: str,
        object_name: str,
        day: date,
        requests: Sequence[ScoringRequest] | ScoringRequests,
        now: datetime,
    ) -> int:
        """Ask for a partition's records again, once for each `request`; return how many."""
        with self.database.begin() as connection:
            key = {"request": request, "day": day, "object": object_name}
            # A run that is started again has the same request: it asks for nothing twice.
            known = connection.scalar(sa.select(t.redos.c.records).filter_by(**key))
            if known is not None:
                return int(known)

            self.waiting.add(connection, object_name, _columns(requests), now)
            self.completeness.forget_reported(connection, object_name, day)
            connection.execute(
                t.redos.insert().values(requested_at=now, records=len(requests), **key)
            )
            return len(requests)


def _columns(requests: Sequence[ScoringRequest] | ScoringRequests) -> ScoringRequests:
    return requests if isinstance(requests, ScoringRequests) else ScoringRequests.of(requests)
