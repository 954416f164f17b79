"""How far each object has been pulled (R14, R16, D7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest records of a window: how many, the newest stamp, and a digest of them all (D17).

    An empty window has neither stamp nor digest.
    """

    count: int
    newest: datetime | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One object's pulls: the watermark on the org's clock, what the last pull saw.

    Until `asked_alone_until` the sensor asks about it in a call of its own: its question took too
    long in one call with the others. `job_rows_max` bounds its next bulk jobs, in rows; None where
    the settings do.
    """

    object: str
    turned_on_at: datetime
    watermark: datetime
    pulled_at: datetime | None
    asked_at: datetime | None
    seen_count: int | None
    seen_newest: datetime | None
    seen_digest: str | None
    asked_alone_until: datetime | None
    daily_pulled_on: date | None
    job_rows_max: int | None = None


class Objects:
    """Reads and writes of the objects' pulls."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def all(self) -> dict[str, ObjectState]:
        """Return the objects that have been turned on, by name."""
        columns = [t.objects.c[name] for name in ObjectState.__dataclass_fields__]
        with self._db.read() as connection:
            rows = connection.execute(sa.select(*columns)).mappings()
            return {row["object"]: ObjectState(**row) for row in rows}

    def turn_on(self, object_names: Sequence[str], org_now: datetime) -> None:
        """Begin the pulls of objects that have none yet, from now on the org's clock (R16)."""
        rows = [
            {"object": name, "turned_on_at": org_now, "watermark": org_now} for name in object_names
        ]
        with self._db.begin() as connection:
            self._db.upsert(connection, t.objects, rows, changes={})

    def note_asked(self, object_names: Sequence[str], now: datetime) -> None:
        """Note that the org answered whether these objects have changed."""
        with self._db.begin() as connection:
            connection.execute(
                t.objects.update().where(t.objects.c.object.in_(object_names)).values(asked_at=now)
            )

    def ask_alone(self, object_names: Sequence[str], until: datetime) -> None:
        """Let each of these objects be asked about in a call of its own until then (D17)."""
        with self._db.begin() as connection:
            connection.execute(
                t.objects.update()
                .where(t.objects.c.object.in_(object_names))
                .values(asked_alone_until=until)
            )

    def bound_jobs(self, object_name: str, rows: int | None) -> None:
        """Let the object's next bulk jobs have no more than so many rows; None for no bound."""
        with self._db.begin() as connection:
            connection.execute(
                t.objects.update()
                .where(t.objects.c.object == object_name)
                .values(job_rows_max=rows)
            )

    def mark_daily_pull(
        self, connection: sa.Connection, object_name: str, day: date, now: datetime
    ) -> None:
        """Note, in the caller's transaction, that `day`'s daily pull of the object is in."""
        connection.execute(
            t.objects.update()
            .where(t.objects.c.object == object_name)
            .values(daily_pulled_on=day, daily_pulled_at=now)
        )


def move_watermark_back(connection: sa.Connection, object_name: str, since: datetime) -> None:
    """Move the object's watermark back to `since`, in the caller's transaction, where it is later.

    What the last pull saw counts no more: the sensor asks for a pull at its next tick.
    """
    connection.execute(
        t.objects.update()
        .where(t.objects.c.object == object_name, t.objects.c.watermark > since)
        .values(watermark=since, seen_count=-1, seen_newest=None, seen_digest=None)
    )


def make_up_daily_pull(connection: sa.Connection, object_name: str, since: datetime) -> None:
    """Let the object's daily pull come again if one ran after `since`, in the caller's transaction.

    It listed nothing for an integration that rested then (R17).
    """
    connection.execute(
        t.objects.update()
        .where(t.objects.c.object == object_name, t.objects.c.daily_pulled_at >= since)
        .values(daily_pulled_on=None)
    )


def read_until_by_object(connection: sa.Connection, now: datetime) -> dict[str, datetime]:
    """Return by object up to when pulls have read it, `now` at the latest.

    The watermark is on the org's clock, which may be ahead of ours.
    """
    rows = connection.execute(sa.select(t.objects.c.object, t.objects.c.watermark))
    return {object_name: min(now, watermark) for object_name, watermark in rows}
