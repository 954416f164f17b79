"""The org that all of the state belongs to (R1)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline.core.errors import WrongOrg
from resources.ledger import tables as t
from resources.ledger.database import Database


class Org:
    """Reads and writes of the remembered org."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def connect(
        self, org_id: str, environment: str, now: datetime, instance_url: str | None = None
    ) -> None:
        """Remember the org at first sight; raise WrongOrg when another one answers later (R1).

        Its address is kept for links to records, and follows the org where that moves.
        """
        with self._db.begin() as connection:
            known = _stored_org(connection)
            if known is None:
                row = {
                    "id": 1,
                    "org_id": org_id,
                    "environment": environment,
                    "connected_at": now,
                    "instance_url": instance_url,
                }
                connection.execute(t.org.insert().values(row))
                return

            _require_same(org_id, known)
            if instance_url and known["instance_url"] != instance_url:
                connection.execute(t.org.update().values(instance_url=instance_url))

    def check(self, org_id: str) -> None:
        """Raise WrongOrg where `org_id` is not the remembered org; at first any will do (R1)."""
        known = self.get()
        if known is not None:
            _require_same(org_id, known)

    def get(self) -> Mapping[str, Any] | None:
        """Return the remembered org: `org_id`, `environment`, `connected_at` and `instance_url`."""
        with self._db.read() as connection:
            return _stored_org(connection)

    def id(self) -> str | None:
        """Return the id of the org that the state belongs to."""
        with self._db.read() as connection:
            org_id: str | None = connection.scalar(sa.select(t.org.c.org_id))
            return org_id


def _stored_org(connection: sa.Connection) -> dict[str, Any] | None:
    row = connection.execute(sa.select(t.org)).mappings().one_or_none()
    return dict(row) if row else None


def _require_same(org_id: str, known: Mapping[str, Any]) -> None:
    if known["org_id"] == org_id:
        return

    raise WrongOrg(
        f"The connected org is {org_id}, but the ledger belongs to org {known['org_id']} "
        f"(connected {known['connected_at']:%Y-%m-%d %H:%M} UTC). Nothing was read or written. "
        "Correct SALESFORCE_LOGIN_URL; or, if the new org is meant (a refreshed sandbox is one), run "
        "`insights org switch`, or keep both apart by another INSIGHTS_HOME."
    )
