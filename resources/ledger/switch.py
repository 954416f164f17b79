"""Switching to another org: what belonged to the old one is forgotten, in one transaction (R1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.fencing import Lease, check_lease
from resources.ledger.segments import UNFINISHED

FORGOTTEN_TABLES: Final = (
    t.deployments,
    t.objects,
    t.waiting,
    t.segments,
    t.push_jobs,
    t.scorings,
    t.redos,
    t.day_counts,
    t.day_reports,
    t.market_holds,
    t.api_usage,
)
"""Tables of nothing but the old org's records, jobs and counts."""

CHANGED_TABLES: Final = (t.org, t.integrations, t.leases)
KEPT_TABLES: Final = (t.days, t.day_usage, t.api_calls, t.stops, t.market_batches)
"""The limits are per calendar day, whatever org it was used on (R20, R21). A stop stays, and a
market is as slow as it was."""

NOT_CHECKED: Final = "Another org is connected since: run `insights check`."


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a switch forgets: records that wait, segments unfinished, jobs not settled."""

    waiting: int
    segments: int
    job_ids: tuple[str, ...]


def would_be_forgotten(database: Database) -> Forgotten:
    """Return what a switch would forget."""
    with database.read() as connection:
        return _count_forgotten(connection)


def switch_org(
    database: Database,
    org_id: str,
    environment: str,
    now: datetime,
    leases: Sequence[Lease],
) -> Forgotten:
    """Let the state belong to `org_id`; forget what was the old org's, and return what that was.

    Which fields the integrations wrote is of the old org, too: in the new one nothing of it is
    cleared (R19). Every integration is off until it has passed preflight again; a pause stays. The
    caller holds `leases` on all objects, so that nothing works meanwhile. Their tokens rise: a run
    of before cannot write any more.

    Raises LeaseLost where another run has taken an object over.
    """
    with database.begin() as connection:
        for lease in leases:
            check_lease(connection, lease)

        forgotten = _count_forgotten(connection)
        for table in FORGOTTEN_TABLES:
            connection.execute(table.delete())

        connection.execute(
            t.integrations.update().values(
                enabled_at=None,
                resting_since=None,
                not_ready=NOT_CHECKED,
                not_ready_since=None,
                looks=0,
                next_look_at=None,
                fingerprint_seen=None,
                fingerprint_seen_at=None,
                outputs=(),
                dropped_fields=(),
            )
        )
        connection.execute(
            t.leases.update().values(owner=None, expires_at=None, token=t.leases.c.token + 1)
        )

        new = {"id": 1, "org_id": org_id, "environment": environment, "connected_at": now}
        new["instance_url"] = None  # preflight notes it
        database.upsert(connection, t.org, [new])
        return forgotten


def _count_forgotten(connection: sa.Connection) -> Forgotten:
    waiting = connection.scalar(sa.select(sa.func.count()).select_from(t.waiting))
    segments = connection.scalar(
        sa.select(sa.func.count()).select_from(t.segments).where(t.segments.c.state.in_(UNFINISHED))
    )
    jobs = connection.scalars(
        sa.select(t.push_jobs.c.job_id)
        .where(t.push_jobs.c.settled_at.is_(None))
        .order_by(t.push_jobs.c.created_at)
    )

    return Forgotten(int(waiting or 0), int(segments or 0), tuple(jobs))
