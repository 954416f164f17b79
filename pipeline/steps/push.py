"""Pushes scored segments through bulk jobs and reads every row's result (R22, R23)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.setup import ObjectSetup
from pipeline.steps.preflight import setup_of
from pipeline.steps.score import PARTIAL, TOUCHED, UPDATE
from pipeline.steps.work import PUSHED, Work
from resources.ledger.claims import Outcome, PushJob, RowFailure, Segment, SegmentState
from resources.ledger.state import Lease
from resources.salesforce.bulk import JobInfo
from resources.salesforce.errors import PASSING_ROW_CODES, JobSpoiled
from resources.salesforce.update_csv import update_csv

JOB_DEADLINE_SECONDS: Final = 900
ROUNDS_MAX: Final = 3
"""How many jobs a run makes of one segment: the first, and small ones for rows that failed in passing."""

UNPROCESSED: Final = "UNPROCESSED"
NO_RESULT: Final = "NO_RESULT"
JOB_FAILED: Final = "JOB_FAILED"
"""Our own codes beside Salesforce's: what a job that did not work off all its rows leaves behind."""

PASSING: Final = PASSING_ROW_CODES | {UNPROCESSED, NO_RESULT}

GONE: Final = frozenset(
    {"ENTITY_IS_DELETED", "CANNOT_UPDATE_CONVERTED_LEAD", "INVALID_CROSS_REFERENCE_KEY"}
)
"""Codes of records that are left alone from now on (R25; API notes 4.4)."""


@dataclass
class PushSummary:
    """What one run pushed of one object; counts are records, and `settled` = pushed + failed + gone.

    The counts are those of the segments that ended, rows set aside before the push included. `jobs` maps
    bulk job ids to their page in the org; `by_day` counts rows written by the day of their claim.
    """

    object: str
    settled: int = 0
    pushed: int = 0
    failed: int = 0
    gone: int = 0
    failed_by_code: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, str] = field(default_factory=dict)
    in_flight: int = 0
    by_day: Counter[str] = field(default_factory=Counter)


def push(work: Work, lease: Lease) -> PushSummary:
    """Push every scored segment of the object, and settle those that an earlier run began to push."""
    summary = PushSummary(object=lease.object)
    segments = work.ledger.claims.unfinished(lease.object)
    if not segments:
        return summary
    setup = setup_of(work, lease.object)
    for segment in segments:
        if segment.state == SegmentState.SCORED:
            _push_segment(work, lease, setup, segment, summary)
    return summary


@dataclass
class _Tally:
    """How a segment's rows ended, by id: status, code, message, job."""

    rows: dict[str, tuple[str, str, str, str]] = field(default_factory=dict)

    def outcome(self) -> Outcome:
        """Return the rows as the ledger takes them."""
        by_status: dict[str, list[str]] = {}
        for record_id, (status, *_) in self.rows.items():
            by_status.setdefault(status, []).append(record_id)

        def failures(status: str) -> list[RowFailure]:
            return [
                RowFailure(i, self.rows[i][1], self.rows[i][2], passing=self.rows[i][1] in PASSING)
                for i in by_status.get(status, [])
            ]

        return Outcome(
            pushed=by_status.get("pushed", []),
            gone=by_status.get("gone", []),
            failed=failures("failed"),
            partial=failures("partial"),
        )


def _push_segment(
    work: Work, lease: Lease, setup: ObjectSetup, segment: Segment, summary: PushSummary
) -> None:
    """Settle the jobs that exist, push what is left in up to ROUNDS_MAX jobs, settle the segment."""
    update = work.lake.read_work(segment.segment_id)
    partial = _partial(update)
    tally = _Tally()
    if not _settle_earlier_jobs(work, segment, partial, tally, summary):
        summary.in_flight += segment.rows
        return
    if update is not None:
        if "AccountId" in update.column_names:
            update = update.sort_by([("AccountId", "ascending"), ("Id", "ascending")])
        for _ in range(ROUNDS_MAX):
            rest = _unsettled(update, tally)
            if rest.num_rows == 0:
                break
            if not _push_once(work, lease, segment, rest, partial, tally, summary):
                summary.in_flight += segment.rows
                return
    _settle(work, lease, setup, segment, tally, summary)


def _partial(update: pa.Table | None) -> dict[str, str]:
    """Return the rows that one of their markets could not score, with why."""
    if update is None:
        return {}
    rows = update.select(["Id", PARTIAL]).filter(pc.is_valid(update.column(PARTIAL)))
    return dict(zip(rows.column("Id").to_pylist(), rows.column(PARTIAL).to_pylist(), strict=True))


def _unsettled(update: pa.Table, tally: _Tally) -> pa.Table:
    """Return the rows still to be pushed: those without a result, and those that failed in passing."""
    done = [
        record_id
        for record_id, (status, code, *_) in tally.rows.items()
        if not (status == "failed" and code in PASSING)
    ]
    inside = pc.is_in(update.column("Id"), value_set=pa.array(done, pa.string()))
    return update.filter(pc.invert(inside))


def _settle_earlier_jobs(
    work: Work, segment: Segment, partial: Mapping[str, str], tally: _Tally, summary: PushSummary
) -> bool:
    """Abort recorded jobs that are still open and take the others' results; False while one is at work."""
    for job in work.ledger.claims.jobs(segment.segment_id):
        if job.state == "aborted":
            continue
        info = work.org.job(job.job_id)
        if info.state == "Open":
            work.org.abort_job(job.job_id)
            work.ledger.claims.set_job_state(job.job_id, "aborted", work.now())
            continue
        summary.jobs[job.job_id] = work.org.job_url(job.job_id)
        info = work.org.wait_for_job(job.job_id, deadline_seconds=JOB_DEADLINE_SECONDS)
        if not info.has_ended:
            return False
        _take_results(work, info, partial, tally)
        work.ledger.claims.set_job_state(job.job_id, "settled", work.now())
    return True


def _push_once(
    work: Work,
    lease: Lease,
    segment: Segment,
    rest: pa.Table,
    partial: Mapping[str, str],
    tally: _Tally,
    summary: PushSummary,
) -> bool:
    """Make one job of `rest` and take its results; False where it is not done by the deadline.

    The id is recorded before any data are sent, so that a successor knows of every job that may hold data (D3).
    """
    csv = update_csv(*update_of(rest))
    job_id = work.org.create_ingest_job(segment.object)
    work.ledger.claims.record_job(
        lease,
        PushJob(job_id, segment.segment_id, segment.object, rest.num_rows, "open", work.now()),
    )
    summary.jobs[job_id] = work.org.job_url(job_id)
    work.org.upload(job_id, csv)
    try:
        work.org.close_job(job_id)
    except (
        JobSpoiled
    ):  # an upload whose answer was lost had arrived: the rows go into a job of their own
        work.org.abort_job(job_id)
        work.ledger.claims.set_job_state(job_id, "aborted", work.now())
        return True
    work.ledger.claims.set_job_state(job_id, "closed")
    info = work.org.wait_for_job(job_id, deadline_seconds=JOB_DEADLINE_SECONDS)
    work.renew(lease)
    if not info.has_ended:
        return False
    _take_results(work, info, partial, tally, sent=rest.column("Id").to_pylist())
    work.ledger.claims.set_job_state(job_id, "settled", work.now())
    return True


def update_of(rows: pa.Table) -> tuple[pa.Table, dict[str, pa.ChunkedArray]]:
    """Return the table to send, with API names, and for each output field which rows it is written on."""
    table = pa.table(
        {
            "Id": rows.column("Id"),
            **{
                name.removeprefix(UPDATE): rows.column(name)
                for name in rows.column_names
                if name.startswith(UPDATE)
            },
        }
    )
    touched = {
        name.removeprefix(TOUCHED): rows.column(name)
        for name in rows.column_names
        if name.startswith(TOUCHED)
    }
    return table, touched


def _take_results(
    work: Work,
    info: JobInfo,
    partial: Mapping[str, str],
    tally: _Tally,
    sent: Sequence[str] = (),
) -> None:
    """Write each row's result into the tally; rows that a failed job says nothing of failed with it."""
    results = work.org.results(info, sent=len(sent) or None)
    for record_id in results.succeeded_ids.to_pylist():
        if record_id in partial:
            code, message = partial[record_id].split(": ", 1)
            tally.rows[record_id] = ("partial", code, message, info.id)
        else:
            tally.rows[record_id] = ("pushed", "", "", info.id)
    for row in results.failed.to_pylist():
        status = "gone" if row["error_code"] in GONE else "failed"
        tally.rows[row["id"]] = (status, row["error_code"], row["error_message"], info.id)
    for record_id in results.unprocessed_ids.to_pylist():
        tally.rows.setdefault(record_id, ("failed", UNPROCESSED, info.error_message or "", info.id))
    reason = f"{info.state}: {info.error_message}"
    for record_id in sent:
        if record_id not in tally.rows:
            code = NO_RESULT if info.state == "JobComplete" else JOB_FAILED
            tally.rows[record_id] = ("failed", code, reason, info.id)


def _settle(
    work: Work,
    lease: Lease,
    setup: ObjectSetup,
    segment: Segment,
    tally: _Tally,
    summary: PushSummary,
) -> None:
    outcome = tally.outcome()
    work.ledger.claims.settle_rows(
        lease, segment, outcome, now=work.now(), org_now=work.org.org_now()
    )
    ended = work.ledger.claims.settle(lease, segment, work.now())
    _keep(work, setup, segment, tally)
    work.lake.delete_work(segment.segment_id)
    work.renew(lease)
    summary.settled += ended.pushed + ended.failed + ended.gone
    summary.pushed += ended.pushed
    summary.failed += ended.failed
    summary.gone += ended.gone
    summary.by_day[segment.day.isoformat()] += len(outcome.pushed) + len(outcome.partial)
    summary.failed_by_code.update(f.code for f in (*outcome.failed, *outcome.partial))


def _keep(work: Work, setup: ObjectSetup, segment: Segment, tally: _Tally) -> None:
    """Keep ids, results and codes; Salesforce's message may quote a value, so it needs persist (R24)."""
    if not tally.rows:
        return
    persist = all(integration.persist for integration in setup.integrations)
    rows = [
        {
            "id": i,
            "status": status,
            "code": code,
            "message": message if persist else "",
            "job_id": job,
        }
        for i, (status, code, message, job) in tally.rows.items()
    ]
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "status", "code", "message", "job_id")]
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    work.lake.write(PUSHED, segment.day, segment.object, segment.segment_id, table)
