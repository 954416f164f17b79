"""Pushes the scored segments of an object, one after another (R22, R23)."""

from __future__ import annotations

from pipeline.core.errors import (
    InsightsError,
    WorkingFileMissing,
)
from pipeline.steps.clients import Clients
from pipeline.steps.push_segment import OF_NO_SEGMENT, RESULT_TRIES_MAX, SegmentPush
from pipeline.steps.push_summary import PushSummary
from resources.ledger.leases import Lease
from resources.ledger.push_jobs import AT_WORK
from resources.ledger.segments import SegmentState
from resources.salesforce.errors import (
    JobRefused,
    SalesforceError,
)


def push(clients: Clients, lease: Lease) -> PushSummary:
    """Push every scored segment of the object, and settle those that an earlier run began to push.

    Raises the first error that was one segment's alone, once all segments have had their turn.
    """
    summary = PushSummary(object=lease.object)
    first_error: Exception | None = None
    _abort_unrecorded_jobs(clients, lease.object)

    for segment in clients.ledger.segments.unfinished(lease.object):
        if segment.is_braked:
            summary.in_flight += segment.rows
            continue

        if segment.state != SegmentState.SCORED:
            continue

        if segment.is_put_off(clients.now()):
            summary.in_flight += segment.rows
            summary.unpushed[segment.segment_id] = segment.push_error or ""
            continue

        try:
            SegmentPush(clients, lease, segment, summary).run()
        except OF_NO_SEGMENT:
            raise
        except Exception as error:  # noqa: BLE001  raised below
            # What one segment meets must not hold up those behind it.
            why = str(error) if isinstance(error, InsightsError) else _unforeseen(error)
            is_lost = isinstance(error, WorkingFileMissing)
            clients.ledger.segments.note_unpushed(lease, segment, why, is_lost=is_lost)
            clients.renew(lease)
            first_error = first_error or error

    if first_error is not None:
        raise first_error
    return summary


def _unforeseen(error: Exception) -> str:
    """Name an error that is none of ours; its own words may quote a value."""
    return f"unforeseen {type(error).__name__}; the run's log in Dagster has the place"


def _abort_unrecorded_jobs(clients: Clients, object_name: str) -> None:
    """Abort the jobs that we once made and that the ledger does not know (D3).

    Such a ledger was restored from a backup. A job in progress is aborted too: it would overwrite
    what is pushed anew. The records themselves show what it wrote.

    Raises what the org answers of such a job, in so many runs: then it is left to itself, since a
    job that cannot be asked about must not stop the object for good.
    """
    noted = clients.lake.noted_jobs(object_name)
    known = clients.ledger.push_jobs.states(noted)

    for job_id in noted:
        if job_id not in known:
            try:
                if not clients.org.job(job_id).has_ended:
                    clients.org.abort_job(job_id)
            except JobRefused:
                pass  # the org has deleted it meanwhile
            except OF_NO_SEGMENT:
                raise
            except SalesforceError:
                if clients.lake.count_job_try(object_name, job_id) < RESULT_TRIES_MAX:
                    raise

        # A job that is open or closed still belongs to a segment, whose push settles it.
        if known.get(job_id) not in AT_WORK:
            clients.lake.forget_job(object_name, job_id)
