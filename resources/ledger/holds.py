"""Markets that failed as a whole: held, and tried with a few records at growing intervals (R23)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.state import let_go_on, read_again_from, read_until_of

PAUSE_FIRST: Final = timedelta(minutes=5)
PAUSE_MAX: Final = timedelta(hours=6)
REASON_LENGTH_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Hold:
    """One held market: why, how often it failed in a row, and when it is tried next.

    `read_from` is up to when pulls had read its objects when it was held: all later changes are read without it.
    """

    market: str
    reason: str
    tries: int
    held_at: datetime
    read_from: datetime
    retry_at: datetime


class Holds:
    """Reads and writes of the markets that are held."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def all(self) -> dict[str, Hold]:
        """Return the held markets by name."""
        with self._db.read() as connection:
            rows = connection.execute(sa.select(t.market_holds)).mappings()
            return {row["market"]: Hold(**row) for row in rows}

    def hold(self, market: str, reason: str, now: datetime) -> Hold:
        """Hold the market, longer each time in a row; the records that wait for it wait as long."""
        with self._db.begin() as connection:
            known = connection.execute(
                sa.select(t.market_holds).where(t.market_holds.c.market == market)
            ).one_or_none()
            tries = known.tries + 1 if known else 1
            pause: timedelta = PAUSE_FIRST * (1 << min(tries - 1, 20))
            hold = Hold(
                market=market,
                reason=reason[:REASON_LENGTH_MAX],
                tries=tries,
                held_at=known.held_at if known else now,
                read_from=known.read_from if known else _read_until(connection, market, now),
                retry_at=now + min(PAUSE_MAX, pause),
            )
            row = {name: getattr(hold, name) for name in Hold.__dataclass_fields__}
            self._db.upsert(connection, t.market_holds, [row])
            let_go_on(connection, market, hold.retry_at)
            return hold

    def release(self, market: str, objects: Sequence[str], now: datetime) -> None:
        """End the hold: the market works again, and what waited for it may be claimed at once.

        Its `objects` are read anew from where it was held, since changes were not held against its digests.
        """
        with self._db.begin() as connection:
            read_from = connection.scalar(
                sa.select(t.market_holds.c.read_from).where(t.market_holds.c.market == market)
            )
            if read_from is not None:
                for name in objects:
                    read_again_from(connection, name, read_from)
            connection.execute(t.market_holds.delete().where(t.market_holds.c.market == market))
            let_go_on(connection, market, now)


def _read_until(connection: sa.Connection, market: str, now: datetime) -> datetime:
    """Return up to when all objects that the market scores have been read."""
    names = connection.scalars(
        sa.select(t.integrations.c.object).where(t.integrations.c.market == market)
    )
    read = read_until_of(connection, now)
    return min((read.get(name, now) for name in names), default=now)
