"""Who works on which object: one run at a time, until it says so or stays silent too long (D3)."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.fencing import Lease, check_lease

__all__ = ["Lease", "Leases", "prolong"]


class Leases:
    """Reads and writes of the leases."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def acquire(
        self, object_name: str, owner: str, *, now: datetime, lasts: timedelta
    ) -> Lease | None:
        """Take the object, or None while another owner's lease runs; each time the token rises.

        The same owner may take it anew: a step of the same run, or the run started again after its
        process died.
        """
        with self._db.begin() as connection:
            self._db.upsert(connection, t.leases, [{"object": object_name, "token": 0}], changes={})
            query = sa.select(t.leases).where(t.leases.c.object == object_name).with_for_update()
            known = connection.execute(query).mappings().one()

            is_held = known["owner"] is not None and known["expires_at"] > now
            if is_held and known["owner"] != owner:
                return None

            token = known["token"] + 1
            connection.execute(
                t.leases.update()
                .where(t.leases.c.object == object_name)
                .values(owner=owner, token=token, expires_at=now + lasts)
            )
            return Lease(object=object_name, owner=owner, token=token)

    def renew(self, lease: Lease, *, now: datetime, lasts: timedelta) -> None:
        """Prolong the lease after progress; raise LeaseLost when another run has it."""
        with self._db.begin() as connection:
            prolong(connection, lease, now + lasts)

    def release(self, object_name: str, owner: str) -> None:
        """Give the object free if `owner` holds it."""
        with self._db.begin() as connection:
            # The row stays: a run of before must find a higher token, not none.
            connection.execute(
                t.leases.update()
                .where(t.leases.c.object == object_name, t.leases.c.owner == owner)
                .values(owner=None, expires_at=None)
            )

    def holder(self, object_name: str, now: datetime) -> str | None:
        """Return who works on the object now."""
        query = sa.select(t.leases.c.owner, t.leases.c.expires_at)
        with self._db.read() as connection:
            row = connection.execute(query.where(t.leases.c.object == object_name)).one_or_none()

        return row.owner if row and row.owner and row.expires_at > now else None


def prolong(connection: sa.Connection, lease: Lease, until: datetime) -> None:
    """Prolong the lease in the caller's transaction; raise LeaseLost when another run has it."""
    check_lease(connection, lease)
    connection.execute(
        t.leases.update().where(t.leases.c.object == lease.object).values(expires_at=until)
    )
