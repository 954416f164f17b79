"""Which rows of the waiting list may be claimed now, and how many (R16, R20)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pipeline.core.configuration.running import running_objects
from pipeline.core.scoring.due import Reason
from resources.ledger import tables as t
from resources.ledger.holds import held_markets
from resources.ledger.integrations import integration_states


@dataclass(frozen=True, slots=True)
class ClaimableCount:
    """How many claimable rows are alike; `lasting` ones keep failing (R23)."""

    object: str
    reason: str
    lasting: bool
    records: int


def is_claimable(connection: sa.Connection, now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a row may be claimed now.

    Rows of an object that no integration scores now may not: nobody would, and they must not keep
    the others' shares (R20). Those that only clear old values may, since no model is asked (R19).
    """
    states = integration_states(connection)
    running = running_objects(states.values(), held_markets(connection), now)
    # An object that no integration was ever seen of is not held against anybody.
    resting = sorted({key.object for key in states} - running)

    row = t.waiting.c
    return sa.and_(
        row.segment_id.is_(None),
        row.not_before <= now,
        sa.or_(row.object.not_in(resting), row.reason == Reason.CLEANUP.value),
    )


def count_claimable(connection: sa.Connection, now: datetime) -> list[ClaimableCount]:
    """Count the claimable rows by object, reason and whether they keep failing."""
    row = t.waiting.c
    alike = (row.object, row.reason, row.lasting)
    query = (
        sa.select(*alike, sa.func.count().label("records"))
        .where(is_claimable(connection, now))
        .group_by(*alike)
    )
    return [ClaimableCount(**found) for found in connection.execute(query).mappings()]


def count_longest_overdue(connection: sa.Connection, now: datetime, most: int) -> dict[str, int]:
    """Count by object the `most` rows that keep failing and have waited longest for their turn."""
    first = (
        sa.select(t.waiting.c.object)
        .where(is_claimable(connection, now), t.waiting.c.lasting)
        .order_by(t.waiting.c.not_before, t.waiting.c.record_id)
        .limit(most)
        .subquery()
    )
    query = sa.select(first.c.object, sa.func.count().label("records")).group_by(first.c.object)
    return {row.object: row.records for row in connection.execute(query)}
