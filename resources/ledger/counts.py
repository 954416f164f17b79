"""What happened on a day, by object: each count in the transaction of what it counts (R29)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database

READ: Final = "read"
NOT_DUE: Final = "not_due"
DUE: Final = "due"
CLAIMED: Final = "claimed"
SCORED: Final = "scored"
PUSHED: Final = "pushed"
GONE: Final = "gone"
FAILED: Final = "failed"
SCORE: Final = "score"
RANK: Final = "rank"
"""Names of counts.

`FAILED` is followed by a code, `SCORE` and `RANK` by a market and a value (`name_of`).
"""


def name_of(*parts: str) -> str:
    """Return the name of a count that has parts: `failed:UNABLE_TO_LOCK_ROW`, `score:fit:40`."""
    return ":".join(parts)


def parts_of(counts: Mapping[str, int], first: str) -> dict[str, int]:
    """Return those counts whose name begins with `first`, by the rest of their name."""
    begin = f"{first}:"
    return {n.removeprefix(begin): number for n, number in counts.items() if n.startswith(begin)}


class Counts:
    """Reads and writes of the counts."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def add(
        self, connection: sa.Connection, day: date, object_name: str, counts: Mapping[str, int]
    ) -> None:
        """Add `counts` to the object's day in the caller's transaction."""
        rows = [
            {"day": day, "object": object_name, "name": counted, "records": number}
            for counted, number in sorted(counts.items())
            if number
        ]
        more = t.day_counts.c.records + sa.literal_column("excluded.records", sa.Integer)
        self._db.upsert(connection, t.day_counts, rows, changes={"records": more})

    def of_day(self, day: date, object_name: str) -> Counter[str]:
        """Return the object's counts of a day."""
        row = t.day_counts.c
        query = sa.select(row.name, row.records).where(row.day == day, row.object == object_name)
        with self._db.read() as connection:
            return Counter(dict(connection.execute(query.order_by(row.name)).all()))

    def of_days(self, object_name: str, first: date, last: date) -> Counter[str]:
        """Return the object's counts of some days together, from `first` to `last`."""
        row = t.day_counts.c
        query = (
            sa.select(row.name, sa.func.sum(row.records).label("total"))
            .where(row.object == object_name, row.day >= first, row.day <= last)
            .group_by(row.name)
        )
        with self._db.read() as connection:
            return Counter({found.name: int(found.total) for found in connection.execute(query)})
