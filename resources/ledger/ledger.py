"""The ledger as callers use it: its parts, and the transactions that span them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import sqlalchemy as sa

from pipeline.core.errors import ConfigurationError
from resources.ledger import tables as t
from resources.ledger.calls import Calls
from resources.ledger.claims import Claims
from resources.ledger.database import Database
from resources.ledger.holds import Holds
from resources.ledger.state import Lease, State, check_lease
from resources.ledger.waiting import Waiting, Wish


def make_safe(url: str) -> str:
    """Return a database's address without its password; only its scheme where it cannot be read."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return f"{url.partition(':')[0][:20]}:…"


class Ledger:
    """Org, integrations, objects and leases (`state`), the waiting list, claims and API calls."""

    def __init__(self, url: str) -> None:
        """Open the database at `url` and bring its tables up to date."""
        try:
            self.database = Database(url)
            self.database.migrate()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            where = make_safe(url)
            problem = f"The ledger at {where} cannot be opened ({type(error).__name__})."
            remedy = "Check INSIGHTS_LEDGER_URL or INSIGHTS_HOME, and that the database runs."
            raise ConfigurationError([f"{problem} {remedy}"]) from error
        self.state = State(self.database)
        self.waiting = Waiting(self.database)
        self.claims = Claims(self.database, self.waiting)
        self.calls = Calls(self.database)
        self.holds = Holds(self.database)

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
    ) -> None:
        """Move the watermark after a pull whose due rows are on the list, and keep what the window held.

        `seen` is the count and newest stamp of the window: the sensor compares (D7). Where the watermark is not
        the `expected` one any more (something moved it back meanwhile), it stays, and the rows are read again.
        """
        unmoved = sa.true() if expected is None else t.objects.c.watermark == expected
        with self.database.begin() as connection:
            check_lease(connection, lease)
            connection.execute(
                t.objects.update()
                .where(t.objects.c.object == lease.object, unmoved)
                .values(watermark=watermark, pulled_at=now, seen_count=seen[0], seen_newest=seen[1])
            )

    def add_wishes(self, lease: Lease, wishes: Sequence[Wish], now: datetime) -> None:
        """Put due records on the waiting list. Safe to repeat: it is done before the watermark moves."""
        with self.database.begin() as connection:
            check_lease(connection, lease)
            self.waiting.add(connection, lease.object, wishes, now)

    def record_daily_pull(
        self, lease: Lease, wishes: Sequence[Wish], *, day: date, now: datetime
    ) -> None:
        """Put a daily pull's records on the list and mark the day's daily pull as in, in one transaction."""
        with self.database.begin() as connection:
            check_lease(connection, lease)
            self.waiting.add(connection, lease.object, wishes, now)
            self.state.mark_daily_pull(connection, lease.object, day)

    def record_redo(
        self, request: str, name: str, day: date, wishes: Sequence[Wish], now: datetime
    ) -> int:
        """Ask for a partition's records again, once for each `request`; return how many were asked for."""
        with self.database.begin() as connection:
            key = {"request": request, "day": day, "object": name}
            known = connection.scalar(sa.select(t.redos.c.records).filter_by(**key))
            if known is not None:
                return int(known)
            self.waiting.add(connection, name, wishes, now)
            connection.execute(
                t.redos.insert().values(requested_at=now, records=len(wishes), **key)
            )
            return len(wishes)
