"""Markets that failed as a whole: held, and tried with a few records at growing intervals (R23)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from pipeline.core.configuration.running import Hold
from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.objects import move_watermark_back, read_until_by_object
from resources.ledger.waiting import reschedule_held

PAUSE_FIRST: Final = timedelta(minutes=5)
PAUSE_MAX: Final = timedelta(hours=6)
REASON_LENGTH_MAX: Final = 1_000


class Holds:
    """Reads and writes of the markets that are held."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def all(self) -> dict[str, Hold]:
        """Return the held markets by name."""
        with self._db.read() as connection:
            return held_markets(connection)

    def hold(
        self, market: str, reason: str, now: datetime, *, is_on_few_rows: bool = False
    ) -> Hold:
        """Hold the market, longer each time in a streak; what waits for it waits as long.

        A handful of rows (`is_on_few_rows`) may be at fault themselves: then the pause stays short,
        so that the next record is not kept waiting by them.
        """
        with self._db.begin() as connection:
            # A trial that failed: the hold goes on from where it began.
            known = held_markets(connection).get(market)
            tries = known.tries + 1 if known else 1
            # The shift is bounded, since a very long pause does not fit a timedelta.
            doublings = 0 if is_on_few_rows else min(tries - 1, 20)
            pause: timedelta = PAUSE_FIRST * (1 << doublings)
            hold = Hold(
                market=market,
                reason=reason[:REASON_LENGTH_MAX],
                tries=tries,
                held_at=known.held_at if known else now,
                read_from=known.read_from if known else _read_until(connection, market, now),
                retry_at=now + min(PAUSE_MAX, pause),
            )

            self._db.upsert(connection, t.market_holds, [asdict(hold)])
            reschedule_held(connection, market, hold.retry_at)
            return hold

    def release(self, market: str, object_names: Sequence[str], now: datetime) -> None:
        """End the hold: the market works again, and what waited for it may be claimed at once.

        Its objects are read anew from where it was held: changes since then were not compared with
        its digests.
        """
        with self._db.begin() as connection:
            known = held_markets(connection).get(market)
            if known is not None:
                for object_name in object_names:
                    move_watermark_back(connection, object_name, known.read_from)

            connection.execute(t.market_holds.delete().where(t.market_holds.c.market == market))
            reschedule_held(connection, market, now)


def held_markets(connection: sa.Connection) -> dict[str, Hold]:
    """Return the held markets by name, in the caller's transaction."""
    rows = connection.execute(sa.select(t.market_holds)).mappings()
    return {row["market"]: Hold(**row) for row in rows}


def _read_until(connection: sa.Connection, market: str, now: datetime) -> datetime:
    """Return up to when all objects that the market scores have been read."""
    object_names = connection.scalars(
        sa.select(t.integrations.c.object).where(t.integrations.c.market == market)
    )
    read = read_until_by_object(connection, now)
    return min((read.get(name, now) for name in object_names), default=now)
