"""How many rows a call of a market may have, where it has taken too long (D21)."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database


class MarketBatches:
    """Reads and writes of the markets' batches."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def rows(self, market: str) -> int | None:
        """Return how many rows a call of the market may have, None where nothing bounds it."""
        row = t.market_batches.c
        with self._db.read() as connection:
            found: int | None = connection.scalar(sa.select(row.rows).where(row.market == market))
        return found

    def note(self, market: str, rows: int | None, now: datetime) -> None:
        """Note how many rows a call may have from now on; None ends the bound."""
        row = t.market_batches.c
        with self._db.begin() as connection:
            if rows is None:
                connection.execute(t.market_batches.delete().where(row.market == market))
            else:
                noted = {"market": market, "rows": rows, "noted_at": now}
                self._db.upsert(connection, t.market_batches, [noted])
