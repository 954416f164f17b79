"""What keeps a run that was overtaken from writing: the token of its lease (D3).

Here is only what a transaction asks. Who takes and gives back a lease stands in `leases`.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from pipeline.core.errors import LeaseLost
from resources.ledger import tables as t


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one object; every acquisition raises the token (D3)."""

    object: str
    owner: str
    token: int


def check_lease(connection: sa.Connection, lease: Lease) -> None:
    """Raise LeaseLost unless `lease` is still the newest on its object.

    Time plays no part: a run whose lease has expired may go on until another one takes over.
    """
    token = connection.scalar(sa.select(t.leases.c.token).where(t.leases.c.object == lease.object))
    if token != lease.token:
        raise LeaseLost(
            f"{lease.object}: another run has taken over (this run holds token {lease.token}, "
            f"the ledger says {token}). This run stops; the other one finishes the work."
        )
