"""A ledger with a clock of its own, and what the tests ask of it again and again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from threading import Barrier
from time import sleep
from typing import Any

import sqlalchemy as sa

from pipeline.core.limit.shares import Allowance, DayFacts, DayPolicy
from resources.ledger import tables as t
from resources.ledger.leases import Lease
from resources.ledger.ledger import Ledger
from resources.ledger.segments import Segment
from resources.ledger.settling import Outcome, RowFailure
from resources.ledger.waiting import ScoringRequest

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
DAY = date(2026, 3, 2)
LASTS = timedelta(minutes=10)


@dataclass
class Book:
    """A ledger, the limit of its days, and what time it is."""

    ledger: Ledger
    now: datetime = NOW
    limit: int = 100
    awaited: frozenset[str] = frozenset()
    leases: dict[str, Lease] = field(default_factory=dict)

    def lease(self, name: str = "Lead") -> Lease:
        """The one lease that the test holds on an object."""
        if name not in self.leases:
            lease = self.ledger.leases.acquire(name, "me", now=self.now, lasts=LASTS)
            assert lease is not None
            self.leases[name] = lease
        return self.leases[name]

    def request(self, *ids: str, of: str = "Lead", reason: str = "changed", **more: Any) -> None:
        """Put records on the waiting list, claimable from now on unless it is said otherwise."""
        requests = [ScoringRequest(i, reason, **{"not_before": self.now, **more}) for i in ids]
        self.ledger.add_requests(self.lease(of), requests, self.now)

    def many(self, count: int, of: str = "Lead", reason: str = "changed") -> None:
        """Put `count` made-up records on the waiting list."""
        self.request(*(f"{of[0]}-{reason[:8]}-{n:04}" for n in range(count)), of=of, reason=reason)

    def claim(self, of: str = "Lead", rows_max: int = 10_000, day: date = DAY) -> Segment | None:
        """Claim on `day`, at the time it is."""
        return self.ledger.segments.claim(
            self.lease(of),
            self.facts(day),
            rows_max=rows_max,
            run_id="run",
        )

    def claimed(self, of: str = "Lead", rows_max: int = 10_000, day: date = DAY) -> Segment:
        """Claim, and expect something."""
        segment = self.claim(of, rows_max, day)
        assert segment is not None
        return segment

    def allowance(self, of: str = "Lead") -> Allowance:
        """What a claim would be granted."""
        return self.ledger.days.allowance(of, self.facts())

    def facts(self, day: date = DAY) -> DayFacts:
        """What a claim has to know of `day`, at the time it is."""
        return DayFacts(
            day=day,
            now=self.now,
            local_time=self.now.time(),
            policy=DayPolicy(limit=self.limit),
            awaited=self.awaited,
        )

    def end(
        self,
        segment: Segment,
        *,
        pushed: tuple[str, ...] = (),
        gone: tuple[str, ...] = (),
        failed: tuple[str, ...] = (),
        partial: tuple[str, ...] = (),
        passing: bool = False,
    ) -> Segment:
        """Settle rows of a segment, then the segment."""
        outcome = Outcome(
            pushed=pushed,
            gone=gone,
            failed=[failure(i, passing=passing) for i in failed],
            partial=[failure(i, passing=passing) for i in partial],
        )
        lease = self.lease(segment.object)
        ledger = self.ledger
        ledger.settling.settle_rows(lease, segment, outcome, now=self.now, org_now=self.now)
        return ledger.settling.settle(lease, segment, self.now)

    def ids(self, segment: Segment) -> set[str]:
        """The records that a segment holds."""
        return {row.record_id for row in self.ledger.waiting.of_segment(segment.segment_id)}

    def row(self, record_id: str, of: str = "Lead") -> dict[str, Any] | None:
        """One row of the waiting list, every column."""
        query = sa.select(t.waiting).filter_by(object=of, record_id=record_id)
        with self.ledger.database.read() as connection:
            found = connection.execute(query).mappings().one_or_none()
        return dict(found) if found else None

    def there(self, record_id: str, of: str = "Lead") -> dict[str, Any]:
        """One row of the waiting list that is expected to be there."""
        row = self.row(record_id, of)
        assert row is not None
        return row

    def used(self) -> dict[tuple[str, str], int]:
        """What is used of the day, by object and lane."""
        query = sa.select(t.day_usage).filter_by(day=DAY)
        with self.ledger.database.read() as connection:
            return {(row.object, row.lane): row.used for row in connection.execute(query)}

    def day(self) -> dict[str, Any]:
        """The day's row."""
        with self.ledger.database.read() as connection:
            return dict(connection.execute(sa.select(t.days).filter_by(day=DAY)).mappings().one())

    def wait(self, **span: float) -> None:
        """Let time pass."""
        self.now += timedelta(**span)


def failure(record_id: str, *, passing: bool = False) -> RowFailure:
    """A row that Salesforce did not take."""
    code = "UNABLE_TO_LOCK_ROW" if passing else "STRING_TOO_LONG"
    return RowFailure(record_id, code, "as Salesforce words it")


def open_at_once(number: int, ready: Barrier, url: str) -> None:
    """What each of several processes does: open the ledger at the same moment, and count one call."""
    ready.wait(60)
    ledger = Ledger(url)
    ledger.calls.count(DAY, f"process-{number}")
    ledger.close()


def work_at_once(number: int, ready: Barrier, url: str, limit: int) -> Counter[str]:
    """What each of several processes does: claim until the day is used up."""
    ledger = Ledger(url)
    ready.wait(60)
    name, owner = ("Account", "Contact", "Lead")[number % 3], f"process-{number}"
    claimed: Counter[str] = Counter()
    while True:
        lease = ledger.leases.acquire(name, owner, now=NOW, lasts=LASTS)
        if lease is None:
            sleep(0.002)
            continue
        segment = ledger.segments.claim(
            lease,
            DayFacts(day=DAY, now=NOW, local_time=time(22, 30), policy=DayPolicy(limit=limit)),
            rows_max=97,
            run_id=owner,
        )
        ledger.calls.count(DAY, "query")
        claimed["calls"] += 1
        ledger.leases.release(name, owner)
        if segment is None:
            break
        claimed["rows"] += segment.rows
    ledger.close()
    return claimed
