"""The bulk jobs that push segments: their ids, and how far they have come (D3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.fencing import Lease
from resources.ledger.waiting import chunks


class JobState(StrEnum):
    """How far a push job has come, as the ledger knows it."""

    OPEN = "open"
    """It was made; data may be missing."""

    CLOSED = "closed"
    """All data are sent, and the org works on them."""

    SETTLED = "settled"
    """Its results were taken, and its rows have ended."""

    ABORTED = "aborted"
    """It was stopped before its data were worked on."""

    LOST = "lost"
    """Its results are not to be had: the records themselves tell what it wrote."""


AT_WORK: Final = frozenset({JobState.OPEN, JobState.CLOSED})
"""States of a job whose results are still to be taken."""


@dataclass(frozen=True, slots=True)
class PushJob:
    """One bulk job of a segment; `rows` counts the records that it was made for.

    `result_tries` counts how often its results could not be had.
    """

    job_id: str
    segment_id: str
    object: str
    rows: int
    state: JobState
    created_at: datetime
    result_tries: int = 0


class PushJobs:
    """Reads and writes of the push jobs."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def record(self, lease: Lease, job: PushJob) -> None:
        """Keep a job's id before data are sent; raise LeaseLost where another run took over."""
        with self._db.begin(lease) as connection:
            connection.execute(t.push_jobs.insert().values(**asdict(job)))

    def set_state(self, job_id: str, state: JobState, now: datetime | None = None) -> None:
        """Note how far a job has come; with `now` it has ended.

        No lease is asked for: what has become of a job is so, whoever says it.
        """
        with self._db.begin() as connection:
            connection.execute(
                t.push_jobs.update()
                .where(t.push_jobs.c.job_id == job_id)
                .values(state=state, settled_at=now)
            )

    def count_result_try(self, job_id: str) -> None:
        """Count one more time that a job's results could not be had."""
        row = t.push_jobs.c
        with self._db.begin() as connection:
            connection.execute(
                t.push_jobs.update()
                .where(row.job_id == job_id)
                .values(result_tries=row.result_tries + 1)
            )

    def states(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """Return the states of those of `job_ids` that are known."""
        row = t.push_jobs.c
        states: dict[str, JobState] = {}
        with self._db.read() as connection:
            for part in chunks(job_ids):
                query = sa.select(row.job_id, row.state).where(row.job_id.in_(part))
                states |= {job_id: JobState(state) for job_id, state in connection.execute(query)}

        return states

    def of_segment(self, segment_id: str) -> list[PushJob]:
        """Return the jobs of a segment, oldest first."""
        query = sa.select(t.push_jobs).where(t.push_jobs.c.segment_id == segment_id)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(t.push_jobs.c.created_at)).mappings()
            return [_job(row) for row in rows]


def _job(row: Mapping[Any, Any]) -> PushJob:
    known = {field.name: row[field.name] for field in fields(PushJob)}
    return PushJob(**known | {"state": JobState(row["state"])})
