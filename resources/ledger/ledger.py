"""The ledger as callers use it: its parts, and the transactions that span them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.calls import Calls
from resources.ledger.claims import Claims
from resources.ledger.completeness import Completeness
from resources.ledger.counts import DUE, NOT_DUE, READ, Counts
from resources.ledger.database import Database
from resources.ledger.failures import Failures
from resources.ledger.holds import Holds
from resources.ledger.state import Lease, State, check_lease, resting_markets
from resources.ledger.waiting import ScoringRequest, ScoringRequests, Waiting

REQUESTS_AT_ONCE: Final = 20_000
"""The most records that one transaction puts on the waiting list: others wait for it no longer than seconds."""


class Ledger:
    """Org, integrations, objects and leases (`state`), the waiting list, claims and API calls."""

    def __init__(self, url: str) -> None:
        """Open the database at `url` and bring its tables up to date.

        Raises ConfigurationError for an address that cannot be right, LedgerAway where the database does not answer.
        """
        self.database = Database(url)
        self.database.migrate()
        self.waiting = Waiting(self.database)
        self.state = State(self.database, self.waiting)
        self.counts = Counts(self.database)
        self.claims = Claims(self.database, self.waiting, self.counts)
        self.completeness = Completeness(self.database)
        self.calls = Calls(self.database)
        self.holds = Holds(self.database)
        self.failures = Failures(self.database)

    def close(self) -> None:
        """Let the connections go."""
        self.database.engine.dispose()

    def record_pull(
        self,
        lease: Lease,
        *,
        watermark: datetime,
        seen: tuple[int, datetime | None],
        now: datetime,
        expected: datetime | None = None,
        resting: Collection[str] = (),
        day: date | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Move the watermark after a pull whose due rows are on the list, and keep what the window held.

        `seen` is the count and newest stamp of the window: the sensor compares (D7). Where the watermark is not
        the `expected` one any more (something moved it back meanwhile), it stays, and the rows are read again; so it
        does where one of the `resting` markets, without which the rows were decided on, has gone on meanwhile.
        What was read and decided (`counts`) is counted for `day`.
        """
        unmoved = sa.true() if expected is None else t.objects.c.watermark == expected
        with self.database.begin() as connection:
            check_lease(connection, lease)
            if set(resting) <= resting_markets(connection, lease.object):
                connection.execute(
                    t.objects.update()
                    .where(t.objects.c.object == lease.object, unmoved)
                    .values(
                        watermark=watermark, pulled_at=now, seen_count=seen[0], seen_newest=seen[1]
                    )
                )
            if day is not None and counts:
                self.counts.add(connection, day, lease.object, counts)

    def add_requests(
        self, lease: Lease, requests: Sequence[ScoringRequest] | ScoringRequests, now: datetime
    ) -> None:
        """Put due records on the waiting list. Safe to repeat: it is done before the watermark moves.

        Many are added in several transactions, so that others may write in between.
        """
        requests = _columns(requests)
        for start in range(0, max(1, len(requests)), REQUESTS_AT_ONCE):
            with self.database.begin() as connection:
                check_lease(connection, lease)
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
        """Put a daily pull's records on the list, and mark the day's daily pull as in together with the last ones.

        They are counted as read and due `today` (the default is `day`, which may be yesterday's made up).
        """
        requests = _columns(requests)
        last = max(0, len(requests) - REQUESTS_AT_ONCE)
        if last:
            self.add_requests(lease, requests.part(0, last), now)
        with self.database.begin() as connection:
            check_lease(connection, lease)
            self.waiting.add(connection, lease.object, requests.part(last, len(requests)), now)
            self.state.mark_daily_pull(connection, lease.object, day)
            counts = {READ: len(requests), NOT_DUE: 0, DUE: len(requests)}
            self.counts.add(connection, today or day, lease.object, counts)

    def record_redo(
        self,
        request: str,
        name: str,
        day: date,
        requests: Sequence[ScoringRequest] | ScoringRequests,
        now: datetime,
    ) -> int:
        """Ask for a partition's records again, once for each `request`; return how many were asked for."""
        with self.database.begin() as connection:
            key = {"request": request, "day": day, "object": name}
            known = connection.scalar(sa.select(t.redos.c.records).filter_by(**key))
            if known is not None:
                return int(known)
            self.waiting.add(connection, name, _columns(requests), now)
            self.completeness.forget_told(connection, name, day)
            connection.execute(
                t.redos.insert().values(requested_at=now, records=len(requests), **key)
            )
            return len(requests)


def _columns(requests: Sequence[ScoringRequest] | ScoringRequests) -> ScoringRequests:
    return requests if isinstance(requests, ScoringRequests) else ScoringRequests.of(requests)
