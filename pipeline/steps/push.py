"""Pushes scored segments through bulk jobs and reads every row's result (R22, R23)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD
from pipeline.core.errors import LeaseLost
from pipeline.core.limit.row_faults import (
    FIELD_NOT_WRITABLE,
    JOB_FAILED,
    NO_RESULT,
    TRIED_AGAIN_AT_ONCE,
    UNPROCESSED,
    RowFault,
    fault_of,
)
from pipeline.core.org_fit.fields import DATETIME, ObjectDescribe
from pipeline.core.scoring.results import (
    PARENT_ID,
    PARTIAL_CODE,
    PARTIAL_HELD_FOR,
    PARTIAL_MESSAGE,
    UPDATE,
    rows_to_send,
)
from pipeline.core.soql import In, select
from pipeline.steps.clients import PUSHED, Clients
from resources.ledger.leases import Lease
from resources.ledger.push_jobs import JobState, PushJob
from resources.ledger.segments import Segment, SegmentState
from resources.ledger.settling import Outcome, RowFailure
from resources.salesforce.bulk import JobInfo
from resources.salesforce.errors import CallRefused, JobRefused, JobSpoiled
from resources.salesforce.update_csv import update_csv
from resources.salesforce.wording import without_values

JOB_DEADLINE_SECONDS: Final = 900
"""How long a run waits for one job."""

TRACKED: Final = pa.schema(
    [("Id", pa.string()), (DATETIME_FIELD, DATETIME), (HASH_FIELD, pa.string())]
)
EARLIER_JOB_SECONDS: Final = 10
"""How long a run looks at a job that an earlier one left at work: new rows must not wait for it."""

JOB_GIVEN_UP_AFTER: Final = timedelta(days=1)
"""When a job that never ends is aborted and its rows go into another: what it wrote, its results and the records tell."""

PUSH_CALLS: Final = 15
"""Calls that one segment's push may take: it is not begun with fewer left (R21)."""

ROUNDS_MAX: Final = 3
"""How many jobs a run makes of one segment: the first, and small ones for rows that failed in passing."""


@dataclass
class PushSummary:
    """What one run pushed of one object; counts are records, and `settled` = pushed + failed + gone.

    `in_flight` rows are in a job still at work; `released` ones wait again, since nothing could be learned of them.

    The counts are those of the segments that ended, rows set aside before the push included. `jobs` maps
    bulk job ids to their page in the org; `by_day` counts rows written by the day of their claim. `segments` are
    those that ended, each with its day; `newest_change_seconds` is how old the newest change was when its score had
    arrived, by the org's clock.
    """

    object: str
    settled: int = 0
    pushed: int = 0
    failed: int = 0
    gone: int = 0
    in_flight: int = 0
    released: int = 0
    failed_by_code: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, str] = field(default_factory=dict)
    by_day: Counter[str] = field(default_factory=Counter)
    segments: list[tuple[date, str]] = field(default_factory=list)
    newest_change: datetime | None = None
    newest_change_seconds: float | None = None


def push(clients: Clients, lease: Lease) -> PushSummary:
    """Push every scored segment of the object, and settle those that an earlier run began to push."""
    summary = PushSummary(object=lease.object)
    refused: CallRefused | None = None
    _abort_forgotten_jobs(clients, lease.object)
    for segment in clients.ledger.segments.unfinished(lease.object):
        if segment.state == SegmentState.SCORED:
            try:
                _SegmentPush(clients, lease, segment, summary).run()
            except CallRefused as error:  # the segments behind it are pushed all the same
                refused = refused or error
    if refused is not None:
        raise refused
    return summary


def _abort_forgotten_jobs(clients: Clients, name: str) -> None:
    """Abort the jobs that we once made and the ledger does not know: it was restored from a backup (D3).

    One that is at work as well: it would go on writing what is pushed anew. What it wrote, its records tell.
    """
    known = clients.ledger.push_jobs.states(clients.lake.noted_jobs(name))
    for job_id in clients.lake.noted_jobs(name):
        if job_id not in known:
            try:
                if not clients.org.job(job_id).has_ended:
                    clients.org.abort_job(job_id)
            except JobRefused:
                pass  # deleted meanwhile
        if known.get(job_id) not in ("open", "closed"):
            clients.lake.forget_job(name, job_id)


def not_writable(update: pa.Table, describe: ObjectDescribe) -> str:
    """Say which columns the user can no longer write: one of them fails the whole job. Empty where none does."""
    names = [n.removeprefix(UPDATE) for n in update.column_names if n.startswith(UPDATE)]
    fields = describe.fields
    hidden = [n for n in names if n not in fields or not fields[n].updateable]
    if not hidden:
        return ""
    return (
        f"{describe.name}: {', '.join(hidden)} cannot be written any more. Grant the integration user Edit on it, "
        "or take it out of the mapping; the records are tried again by themselves."
    )


@dataclass
class _Tally:
    """How a segment's rows ended, each in one of the two, by id: `pushed` holds the job.

    `others` were not written, or not by all their markets: status, failure and job.
    """

    pushed: dict[str, str] = field(default_factory=dict)
    others: dict[str, tuple[str, RowFailure, str]] = field(default_factory=dict)

    def __contains__(self, record_id: str) -> bool:
        """Say whether it is known how the row ended."""
        return record_id in self.pushed or record_id in self.others

    def failed(self, record_id: str, code: str, message: str, job_id: str) -> None:
        """Note a row that was not written."""
        status = "gone" if fault_of(code) is RowFault.GONE else "failed"
        self._other(status, RowFailure(record_id, code, message), job_id)

    def written(self, ids: Sequence[str], partial: Mapping[str, RowFailure], job_id: str) -> None:
        """Note rows that were written, those of `partial` not by all their markets."""
        self.pushed.update(dict.fromkeys(ids, job_id))
        for record_id in self.others.keys() & ids if self.others else ():
            del self.others[record_id]
        for record_id in partial.keys() & ids if partial else ():
            self._other("partial", partial[record_id], job_id)

    def _other(self, status: str, failure: RowFailure, job_id: str) -> None:
        self.pushed.pop(failure.record_id, None)
        self.others[failure.record_id] = (status, failure, job_id)

    def outcome(self) -> Outcome:
        """Return the rows as the ledger takes them."""

        def failures(status: str) -> list[RowFailure]:
            return [failure for of, failure, _ in self.others.values() if of == status]

        return Outcome(
            pushed=list(self.pushed),
            gone=[failure.record_id for failure in failures("gone")],
            failed=failures("failed"),
            partial=failures("partial"),
        )

    def done(self) -> list[str]:
        """Return the rows that need no further job: all but those that failed in passing."""
        return [
            *self.pushed,
            *(
                record_id
                for record_id, (status, failure, _) in self.others.items()
                if not (status == "failed" and failure.code in TRIED_AGAIN_AT_ONCE)
            ),
        ]

    def table(self) -> pa.Table:
        """Return the rows as the lake keeps them: ids, results, codes and messages (R24)."""
        others = list(self.others.values())
        pushed = len(self.pushed)
        columns = {
            "id": [*self.pushed, *self.others],
            "status": ["pushed"] * pushed + [status for status, _, _ in others],
            "code": [""] * pushed + [failure.code for _, failure, _ in others],
            "message": [""] * pushed + [failure.message for _, failure, _ in others],
            "job_id": [*self.pushed.values(), *(job_id for _, _, job_id in others)],
        }
        return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


@dataclass
class _SegmentPush:
    """One segment on its way: its jobs so far, and how its rows have ended."""

    clients: Clients
    lease: Lease
    segment: Segment
    summary: PushSummary
    tally: _Tally = field(default_factory=_Tally)
    is_unsure: bool = False
    """Whether rows without a result may have been written by a job that tells no more."""

    outdated: set[str] = field(default_factory=set)
    """Rows that carry this segment's stamp with earlier values: they wait again, for a scoring of their own."""

    @cached_property
    def update(self) -> pa.Table | None:
        """The rows to push, as scoring left them; None where the working file is gone or was never needed.

        Sorted by parent: contacts of one account lock it for one another (API notes 3.3).
        """
        update = self.clients.lake.read_work(self.segment.segment_id)
        if update is not None and PARENT_ID in update.column_names:
            update = update.sort_by([(PARENT_ID, "ascending"), ("Id", "ascending")])
        return update

    @cached_property
    def partial(self) -> dict[str, RowFailure]:
        """The rows that one of their markets could not score, with why: pushed, they go on waiting."""
        if self.update is None:
            return {}
        columns = ["Id", PARTIAL_CODE, PARTIAL_MESSAGE, PARTIAL_HELD_FOR]
        rows = self.update.select(columns).filter(pc.is_valid(self.update.column(PARTIAL_CODE)))
        return {
            row["Id"]: RowFailure(
                row["Id"], row[PARTIAL_CODE], row[PARTIAL_MESSAGE], held_for=row[PARTIAL_HELD_FOR]
            )
            for row in rows.to_pylist()
        }

    @cached_property
    def keeps_values(self) -> bool:
        """Whether the object's integrations all persist; a message may quote a value of any of them (R24)."""
        return all(i.persist for i in self.clients.configuration.of_object(self.segment.object))

    def run(self) -> None:
        """Settle the jobs that exist, push what is left, settle the segment; a job at work is left to a later run."""
        if self._settle_earlier_jobs() and self._push_rest():
            self._settle()
        else:
            self.summary.in_flight += self.segment.rows

    def _settle_earlier_jobs(self) -> bool:
        """Abort recorded jobs that are still open and take the others' results; False while one is at work.

        Another run's segment may come from a ledger that was restored, and have had jobs that it does not know.
        """
        ledger, org = self.clients.ledger, self.clients.org
        self.is_unsure = self.segment.run_id != self.clients.run_id
        for job in ledger.push_jobs.of_segment(self.segment.segment_id):
            if job.state is JobState.ABORTED:
                continue
            if job.state is JobState.LOST:
                self.is_unsure = True
                continue
            self.summary.jobs[job.job_id] = org.job_url(job.job_id)
            try:
                if not self._settle_earlier_job(job):
                    return False
            except JobRefused:
                # Deleted in Setup, or older than the org keeps jobs: the records themselves tell (D3).
                ledger.push_jobs.set_state(job.job_id, JobState.LOST, self.clients.now())
                self.is_unsure = True
        return True

    def _settle_earlier_job(self, job: PushJob) -> bool:
        """Abort the job if it is open, or has not ended for a day; else take its results; False while it works."""
        if self.clients.org.job(job.job_id).state == "Open":
            self._abort(job.job_id)
            return True
        info = self._ended(job.job_id, EARLIER_JOB_SECONDS)
        if not info.has_ended and self.clients.now() - job.created_at > JOB_GIVEN_UP_AFTER:
            info = self.clients.org.abort_job(job.job_id)
            self.is_unsure = True
        if info.has_ended and self._take_results(info) < job.rows:
            self.is_unsure = True
        return info.has_ended

    def _push_rest(self) -> bool:
        """Push what has no result yet, in a first job and small ones; False where a job is still at work."""
        if self._rest().num_rows == 0:
            return True
        if self.clients.budget.remaining() < PUSH_CALLS:
            return False  # not begun: the next day dissolves or pushes it (R21)
        if self.is_unsure:
            self._take_written(self._rest().column("Id").to_pylist())
        if self._cannot_be_written():
            return True
        for _ in range(ROUNDS_MAX):
            rest = self._rest()
            if rest.num_rows == 0:
                return True
            if not self._push_once(rest):
                return False
        return True

    def _rest(self) -> pa.Table:
        """Return the rows still to be pushed: those without a result, and those that failed in passing."""
        if self.update is None:
            return pa.table({"Id": pa.array([], pa.string())})
        done = pa.array([*self.tally.done(), *self.outdated], pa.string())
        if len(done) == 0:
            return self.update
        return self.update.filter(pc.invert(pc.is_in(self.update.column("Id"), value_set=done)))

    def _cannot_be_written(self) -> bool:
        """Look once more whether every column can be written; if not, the rows fail without a job."""
        rest = self._rest()
        hidden = not_writable(rest, self.clients.org.describe(self.segment.object))
        for record_id in rest.column("Id").to_pylist() if hidden else ():
            self.tally.failed(record_id, FIELD_NOT_WRITABLE, hidden, "")
        return bool(hidden)

    def _push_once(self, rest: pa.Table) -> bool:
        """Make one job of `rest` and take its results; False where it is not done by the deadline.

        The id is recorded before any data are sent, so that a successor knows of every job that may hold data (D3);
        beside the lake's working files as well, since a ledger that is restored from a backup has forgotten it.
        """
        org, ledger, segment = self.clients.org, self.clients.ledger, self.segment
        csv = update_csv(*rows_to_send(rest))
        job_id = org.create_ingest_job(segment.object)
        now = self.clients.now()
        job = PushJob(job_id, segment.segment_id, segment.object, rest.num_rows, JobState.OPEN, now)
        self.clients.lake.note_job(segment.object, job_id)
        try:
            ledger.push_jobs.record(self.lease, job)
        except LeaseLost:
            org.abort_job(job_id)
            raise
        self.summary.jobs[job_id] = org.job_url(job_id)
        org.upload(job_id, csv)
        try:
            org.close_job(job_id)
        except JobSpoiled:
            # An upload whose answer was lost had arrived after all: the rows go into another job.
            self._abort(job_id)
            return True
        ledger.push_jobs.set_state(job_id, JobState.CLOSED)
        info = self._ended(job_id, JOB_DEADLINE_SECONDS, rest.num_rows)
        if info.has_ended:
            self._take_results(info, sent=rest.column("Id").to_pylist())
        return info.has_ended

    def _abort(self, job_id: str) -> None:
        """Stop a job; should it have begun after all, the records tell what it wrote."""
        if self.clients.org.abort_job(job_id).processed:
            self.is_unsure = True
        self.clients.ledger.push_jobs.set_state(job_id, JobState.ABORTED, self.clients.now())

    def _ended(self, job_id: str, deadline_seconds: int, rows: int = 0) -> JobInfo:
        """Return the job once it has ended, or as it stands at the deadline; the lease is renewed at each look (D3)."""
        return self.clients.org.wait_for_job(
            job_id, deadline_seconds, on_poll=lambda: self.clients.renew(self.lease), rows=rows
        )

    def _take_results(self, info: JobInfo, sent: Sequence[str] = ()) -> int:
        """Write each row's result into the tally and return how many rows were heard of.

        What a job says nothing of may have been written all the same: the records tell. The others failed with it.
        """
        results = self.clients.org.results(info, sent=len(sent) or None)
        tally = self.tally
        succeeded = results.succeeded_ids.to_pylist()
        tally.written(succeeded, self.partial, info.id)
        for row in results.failed.to_pylist():
            tally.failed(row["id"], row["error_code"], self._worded(row["error_message"]), info.id)
        job_message = self._worded(info.error_message)
        for record_id in results.unprocessed_ids.to_pylist():
            if record_id not in tally:
                tally.failed(record_id, UNPROCESSED, job_message, info.id)
        others = (results.failed.column("id"), results.unprocessed_ids)
        known = set(succeeded).union(*(ids.to_pylist() for ids in others))
        code = NO_RESULT if info.state == "JobComplete" else JOB_FAILED
        for record_id in self._take_written([i for i in sent if i not in known]):
            tally.failed(record_id, code, f"{info.state}: {job_message}", info.id)
        self.clients.ledger.push_jobs.set_state(info.id, JobState.SETTLED, self.clients.now())
        return len(known)

    def _take_written(self, ids: Sequence[str]) -> list[str]:
        """Tally those of `ids` that carry this segment's stamp and their hash in the org; return the others (D3).

        With the stamp and another hash, a row was written and has been edited and scored anew since, on a ledger that
        has forgotten the push: it is not pushed twice for one scoring, and waits again.
        """
        if not ids or self.update is None:
            return list(ids)
        new = self.update.select(["Id", UPDATE + HASH_FIELD])
        hashes = dict(zip(*(column.to_pylist() for column in new.columns), strict=True))
        written: set[str] = set()
        for batch in self.clients.org.read_by_ids(self._tracked, list(ids), TRACKED):
            rows = zip(*(batch.column(n).to_pylist() for n in TRACKED.names), strict=True)
            for record_id, stamp, digest in rows:
                if stamp == self.segment.stamp:
                    same = (digest or None) == hashes[record_id]
                    (written if same else self.outdated).add(record_id)
        self.tally.written(sorted(written), self.partial, "")
        return [i for i in ids if i not in written and i not in self.outdated]

    def _tracked(self, ids: Sequence[str]) -> str:
        return select(TRACKED.names, self.segment.object, In("Id", list(ids)))

    def _worded(self, message: str | None) -> str:
        """Return Salesforce's message as it may be kept: without values where persist is off."""
        if not message or self.keeps_values:
            return message or ""
        return without_values(message, self.clients.describe(self.segment.object).fields)

    def _settle(self) -> None:
        """End the segment in the ledger, keep its results in the lake, forget its working file."""
        clients, summary, outcome = self.clients, self.summary, self.tally.outcome()
        now, org_now = clients.now(), clients.org.org_now()
        self._keep()
        changed = clients.ledger.settling.settle_rows(
            self.lease, self.segment, outcome, now=now, org_now=org_now
        )
        if changed and outcome.pushed:
            summary.newest_change = max(filter(None, (summary.newest_change, changed)))
            summary.newest_change_seconds = (org_now - summary.newest_change).total_seconds()
        ended = clients.ledger.settling.settle(self.lease, self.segment, now)
        clients.lake.delete_work(self.segment.segment_id)
        for job in clients.ledger.push_jobs.of_segment(self.segment.segment_id):
            clients.lake.forget_job(self.segment.object, job.job_id)
        clients.renew(self.lease)
        summary.settled += ended.pushed + ended.failed + ended.gone
        summary.pushed += ended.pushed
        summary.failed += ended.failed
        summary.gone += ended.gone
        summary.released += self.segment.rows - ended.pushed - ended.failed - ended.gone
        summary.segments.append((self.segment.day, self.segment.segment_id))
        written = len(outcome.pushed) + len(outcome.partial)
        summary.by_day[self.segment.day.isoformat()] += written
        summary.failed_by_code.update(f.code for f in (*outcome.failed, *outcome.partial))

    def _keep(self) -> None:
        """Keep ids, results, codes and messages (R24)."""
        table, segment = self.tally.table(), self.segment
        if table.num_rows:
            self.clients.lake.write(PUSHED, segment.day, segment.object, segment.segment_id, table)
