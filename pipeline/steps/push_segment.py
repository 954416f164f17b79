"""Pushes one scored segment through bulk jobs and reads every row's result (R22, R23)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import HASH_FIELD
from pipeline.core.errors import (
    BudgetExhausted,
    FolderNotWritable,
    LeaseLost,
    WorkingFileMissing,
    WrongOrg,
)
from pipeline.core.limit.job_size import LOCKED, next_job_rows
from pipeline.core.limit.row_faults import (
    FIELD_NOT_WRITABLE,
    JOB_FAILED,
    NO_RESULT,
    RESULTS_UNREADABLE,
    ROW_TOO_LARGE,
    UNPROCESSED,
    UNWRITABLE_VALUE,
)
from pipeline.core.scoring.results import (
    PARENT_ID,
    PARTIAL_CODE,
    PARTIAL_HELD_FOR,
    PARTIAL_MESSAGE,
    UPDATE,
    not_writable,
    rows_to_send,
)
from pipeline.steps.clients import Clients
from pipeline.steps.inputs import tracked
from pipeline.steps.push_summary import PushSummary
from pipeline.steps.row_results import RowResults
from pipeline.steps.stop import why_no_push
from resources.ledger.database import LedgerAway
from resources.ledger.leases import Lease
from resources.ledger.push_jobs import JobState, PushJob
from resources.ledger.segments import Segment
from resources.ledger.settling import RowFailure, backoff
from resources.salesforce.errors import (
    DailyRequestLimit,
    JobRefused,
    JobSpoiled,
    SalesforceError,
    SignInRefused,
    UnwritableValue,
)
from resources.salesforce.ingest import UPLOAD_BYTES_MAX
from resources.salesforce.ingest_results import IngestResults
from resources.salesforce.jobs import JobInfo
from resources.salesforce.update_csv import csv_of, cut, too_large_rows, update_cells
from resources.salesforce.wording import without_values

JOB_DEADLINE_SECONDS: Final = 900
"""How long a run waits for one job."""

EARLIER_JOB_SECONDS: Final = 10
"""How long a run waits for a job of an earlier run: new rows must not wait for it."""

JOB_GIVEN_UP_AFTER: Final = timedelta(days=1)
"""When a job that never ends is aborted and its rows go into another.

Its results and the records themselves show what it wrote.
"""

PUSH_CALLS: Final = 15
"""Calls that one job may take: it is not begun with fewer remaining (R21)."""

ROUNDS_MAX: Final = 3
"""How often a run makes jobs of one segment: the first, and small ones for temporary failures."""

RESULT_TRIES_MAX: Final = 5
"""How many runs ask for the results of a job before the records themselves decide."""

PARTS_AFTER_FAULTS: Final = 4
"""In how many jobs, at most, a segment is pushed whose jobs failed: where one row is what fails
them, the others get through."""

OF_NO_SEGMENT: Final = (
    BudgetExhausted,
    DailyRequestLimit,
    FolderNotWritable,
    LeaseLost,
    LedgerAway,
    SignInRefused,
    WrongOrg,
)
"""Errors that the next segment would meet as well. Every other is one segment's alone."""


@dataclass
class SegmentPush:
    """One segment on its way: its jobs so far, and how its rows have ended.

    `is_unsure` says whether rows without a result may have been written by a job whose results are
    not to be had, and `unreadable` why those could not be read again and again. `was_begun` says
    whether there was a job before this run. `outdated` rows carry this segment's stamp with earlier
    values: they wait again, for a scoring of their own. `read_jobs` are the jobs whose results this
    run has asked for.
    """

    clients: Clients
    lease: Lease
    segment: Segment
    summary: PushSummary
    row_results: RowResults = field(default_factory=RowResults)
    is_unsure: bool = False
    was_begun: bool = False
    unreadable: str = ""
    outdated: set[str] = field(default_factory=set)
    read_jobs: list[str] = field(default_factory=list)

    @cached_property
    def update(self) -> pa.Table | None:
        """The rows to push, as scoring left them; None where there is no working file.

        Those that an earlier run has settled are not among them: they may have been scored anew.
        Sorted by parent: contacts of one account lock it for one another (API notes 3.3).
        """
        update = self.clients.lake.read_working_file(self.segment.segment_id)
        if update is not None and self.was_begun:
            held = self.clients.ledger.waiting.reasons_of_segment(self.segment.segment_id)
            in_segment = pc.is_in(update.column("Id"), value_set=pa.array(list(held), pa.string()))
            update = update.filter(in_segment)

        if update is not None and PARENT_ID in update.column_names:
            update = update.sort_by([(PARENT_ID, "ascending"), ("Id", "ascending")])
        return update

    @cached_property
    def partial(self) -> dict[str, RowFailure]:
        """The rows that one of their markets could not score, with why.

        They are pushed, and still wait for that market.
        """
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
        """Whether the object's integrations all persist.

        A message may quote a value of any of them (R24).
        """
        return all(i.persist for i in self.clients.configuration.of_object(self.segment.object))

    def run(self) -> None:
        """Settle the jobs that exist, push the remaining rows, settle the segment.

        A segment with a job that has not ended, or that failed as a job, is left to a later run.
        """
        has_ended = self._settle_earlier_jobs()
        if not self.was_begun:
            self._require_working_file()

        if not (has_ended and self._push_remaining()):
            self.summary.in_flight += self.segment.rows
            return

        left = self.row_results.left_by_jobs()
        # Without the working file there is nothing to push again: the rows are scored anew.
        if left and self.update is not None:
            self._put_off(left)
        else:
            self._settle()

    def _require_working_file(self) -> None:
        """Raise WorkingFileMissing where what was scored is not on this machine."""
        waiting, segment = self.clients.ledger.waiting, self.segment
        if self.update is None and waiting.count_of_segment(segment.segment_id):
            raise WorkingFileMissing(
                f"What was scored of {segment.object} (segment {segment.segment_id}, run {segment.run_id}) is not in "
                f"{self.clients.lake.root}. Nothing is lost: the next run scores it again. If several machines work "
                "for one org, all of them need one shared INSIGHTS_HOME."
            )

    def _settle_earlier_jobs(self) -> bool:
        """Take the results of the segment's recorded jobs; return False while one has not ended."""
        ledger, org = self.clients.ledger, self.clients.org

        # The ledger may have been restored from a backup: then another run's segment may have had
        # jobs that it does not know.
        self.is_unsure = self.segment.run_id != self.clients.run_id

        jobs = ledger.push_jobs.of_segment(self.segment.segment_id)
        self.was_begun = bool(jobs)

        for job in jobs:
            if job.state in {JobState.ABORTED, JobState.SETTLED, JobState.LOST}:
                self.is_unsure = True
                continue

            self.summary.jobs[job.job_id] = org.job_url(job.job_id)
            try:
                if not self._settle_earlier_job(job):
                    return False
            except JobRefused:
                # Deleted in Setup, or older than the org keeps jobs: only the records show it (D3).
                self._lose(job)
            except OF_NO_SEGMENT:
                raise
            except SalesforceError as error:
                if not self._is_given_up(job):
                    raise
                self._lose(job)
                self.unreadable = str(error)

        return True

    def _lose(self, job: PushJob) -> None:
        """Give up a job's results: the records themselves show what it wrote (D3)."""
        self.clients.ledger.push_jobs.set_state(job.job_id, JobState.LOST, self.clients.now())
        self.is_unsure = True

    def _is_given_up(self, job: PushJob) -> bool:
        """Say whether this was the last try for the job's results.

        A job that may still be at work is given a day.
        """
        if job.job_id not in self.read_jobs:
            if self.clients.now() - job.created_at <= JOB_GIVEN_UP_AFTER:
                return False
            self.clients.ledger.push_jobs.count_result_try(job.job_id)

        return job.result_tries + 1 >= RESULT_TRIES_MAX

    def _settle_earlier_job(self, job: PushJob) -> bool:
        """Abort the job or take its results; return False while it has not ended.

        A job is aborted if it is still open, or if it has not ended for a day.
        """
        if self.clients.org.job(job.job_id).state == "Open":
            self._abort(job.job_id)
            return True

        info = self._wait_for(job.job_id, EARLIER_JOB_SECONDS)
        if not info.has_ended and self.clients.now() - job.created_at > JOB_GIVEN_UP_AFTER:
            info = self.clients.org.abort_job(job.job_id)
            self.is_unsure = True

        if info.has_ended and self._take_results(info) < job.rows:
            self.is_unsure = True
        return info.has_ended

    def _push_remaining(self) -> bool:
        """Push the rows without a result, in first jobs and small ones.

        Returns False where a job has not ended, or where the push is not begun for want of calls.
        """
        if self._remaining().num_rows == 0:
            return True

        # Not begun: the next day dissolves or pushes it (R21).
        if self.clients.budget.remaining() < PUSH_CALLS:
            return False

        if self.is_unsure:
            self._note_written_in_org(self._remaining().column("Id").to_pylist())

        if self._fail_if_unreadable() or self._fail_if_not_writable():
            return True

        for again in range(ROUNDS_MAX):
            remaining = self._remaining()
            if remaining.num_rows == 0:
                return True
            if why_no_push(self.clients):
                return self._end_what_has_begun(remaining)
            # What has begun finishes, however few calls are left (R21).
            if not self._push_once(remaining, calls_min=0 if again else PUSH_CALLS):
                return False

        # What failed in every round has its failure noted, and waits for a later run.
        return True

    def _end_what_has_begun(self, remaining: pa.Table) -> bool:
        """Settle the rows that have ended; return False where others are left to a later run.

        Those keep their claim, stamp and values, and no day is charged again (R20).
        """
        if all(record_id in self.row_results for record_id in remaining.column("Id").to_pylist()):
            return True

        if self.read_jobs:
            self._settle_rows(self.row_results.without(self.row_results.left_by_jobs().keys()))
        return False

    def _remaining(self) -> pa.Table:
        """Return the rows still to be pushed: without a result, or worth another try at once."""
        if self.update is None:
            return pa.table({"Id": pa.array([], pa.string())})

        done = pa.array([*self.row_results.ended_ids(), *self.outdated], pa.string())
        if len(done) == 0:
            return self.update
        return self.update.filter(pc.invert(pc.is_in(self.update.column("Id"), value_set=done)))

    def _fail_if_unreadable(self) -> bool:
        """Fail the remaining rows if the results of their job could not be read again and again.

        The records show that it did not write them, and nobody knows why.
        """
        if not self.unreadable:
            return False

        for record_id in self._remaining().column("Id").to_pylist():
            self.row_results.note_failed(record_id, RESULTS_UNREADABLE, self.unreadable, "")
        return True

    def _fail_if_not_writable(self) -> bool:
        """Fail the remaining rows without a job if one of their columns cannot be written now."""
        remaining = self._remaining()
        # Asked anew: the rights may have changed since the run's preflight.
        hidden = not_writable(remaining, self.clients.org.describe(self.segment.object))

        for record_id in remaining.column("Id").to_pylist() if hidden else ():
            self.row_results.note_failed(record_id, FIELD_NOT_WRITABLE, hidden, "")
        return bool(hidden)

    def _push_once(self, rows: pa.Table, calls_min: int) -> bool:
        """Make jobs of `rows` and take their results; return False if one misses the deadline.

        Most often it is one job. What is too much for one upload is cut before any job is made. No
        job is begun with fewer than `calls_min` calls left (R21).
        """
        rows, cells = self._sendable(rows)
        parts = list(cut(cells, UPLOAD_BYTES_MAX, self._rows_max(rows.num_rows)))

        sent: dict[str, list[str]] = {}
        for first, count in parts:
            # The jobs that are made are looked at by a later run as well (R21, R22).
            if self.clients.budget.remaining() < calls_min or why_no_push(self.clients):
                return False

            job_id = self._send(cells.slice(first, count))
            if job_id is not None:
                sent[job_id] = rows.column("Id").slice(first, count).to_pylist()

        # All are at work by now: one that does not end holds up no other.
        ended = [self._take_once_ended(job_id, ids) for job_id, ids in sent.items()]
        return all(ended)

    def _rows_max(self, rows: int) -> int:
        """Return how many rows go into one job: fewer where the segment's jobs have failed."""
        if self.segment.next_push_at is None:
            return rows

        parts = min(PARTS_AFTER_FAULTS, 1 << self.segment.push_tries)
        return max(1, math.ceil(rows / parts))

    def _sendable(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Return `rows` and their cells, without those that cannot be sent, which fail.

        A value that no field takes is found column by column.
        """
        while rows.num_rows:
            try:
                cells = update_cells(*rows_to_send(rows))
            except UnwritableValue as error:
                which = range(rows.num_rows) if error.rows is None else error.rows
                rows = self._failing(rows, which, UNWRITABLE_VALUE, str(error))
                continue

            too_large = too_large_rows(cells, UPLOAD_BYTES_MAX)
            if not too_large:
                return rows, cells
            message = f"The row alone is larger than the {UPLOAD_BYTES_MAX:,} bytes of one upload."
            rows = self._failing(rows, too_large, ROW_TOO_LARGE, message)

        return rows, rows

    def _failing(self, rows: pa.Table, which: Sequence[int], code: str, message: str) -> pa.Table:
        """Note that those of `rows` fail, and return the others."""
        ids = rows.column("Id").take(pa.array(which, pa.int64()))
        for record_id in ids.to_pylist():
            self.row_results.note_failed(record_id, code, message, "")
        return rows.filter(pc.invert(pc.is_in(rows.column("Id"), value_set=ids)))

    def _send(self, cells: pa.Table) -> str | None:
        """Make a job of the rows in `cells`; return its id, None where it was spoiled."""
        org, ledger = self.clients.org, self.clients.ledger

        job_id = self._create_recorded_job(cells.num_rows)
        self.summary.jobs[job_id] = org.job_url(job_id)
        org.upload(job_id, csv_of(cells))
        try:
            org.close_job(job_id)
        except JobSpoiled:
            # The data arrived twice: an upload whose answer was lost had arrived after all. The
            # rows go into another job.
            self._abort(job_id)
            return None

        ledger.push_jobs.set_state(job_id, JobState.CLOSED)
        self.clients.renew(self.lease)
        return job_id

    def _take_once_ended(self, job_id: str, ids: Sequence[str]) -> bool:
        """Wait for a job and take its results; return False if it misses the deadline."""
        info = self._wait_for(job_id, JOB_DEADLINE_SECONDS, len(ids))
        if info.has_ended:
            self._take_results(info, sent=ids)
        return info.has_ended

    def _create_recorded_job(self, rows: int) -> str:
        """Create a job for `rows` rows and record its id before any data are sent.

        So a successor knows of every job that may hold data (D3). The id is noted in the lake as
        well: a ledger that is restored from a backup has forgotten it.
        """
        org, segment = self.clients.org, self.segment
        job_id = org.create_ingest_job(segment.object)
        now = self.clients.now()
        job = PushJob(job_id, segment.segment_id, segment.object, rows, JobState.OPEN, now)

        self.clients.lake.note_job(segment.object, job_id)
        try:
            self.clients.ledger.push_jobs.record(self.lease, job)
        except LeaseLost:
            self.clients.leases.pop(segment.object, None)  # its calls renew it no more
            org.abort_job(job_id)
            raise
        return job_id

    def _abort(self, job_id: str) -> None:
        """Stop a job. The records are asked what it wrote (D3).

        It may have begun though it was open a moment ago: what closes it was on its way.
        """
        self.clients.org.abort_job(job_id)
        self.is_unsure = True
        self.clients.ledger.push_jobs.set_state(job_id, JobState.ABORTED, self.clients.now())

    def _wait_for(self, job_id: str, deadline_seconds: int, rows: int = 0) -> JobInfo:
        """Return the job once it has ended, or as it is at the deadline.

        The lease is renewed at each poll (D3).
        """
        return self.clients.org.wait_for_job(
            job_id, deadline_seconds, on_poll=lambda: self.clients.renew(self.lease), rows=rows
        )

    def _take_results(self, info: JobInfo, sent: Sequence[str] = ()) -> int:
        """Note the result of each row; return how many rows the job has a result for.

        Rows that were sent and have none may have been written all the same: the records show it.
        The others failed with the job.
        """
        results, notes = self._results(info, sent), self.row_results

        succeeded = results.succeeded_ids.to_pylist()
        notes.note_written(succeeded, self.partial, info.id)

        for row in results.failed.to_pylist():
            message = self._without_values(row["error_message"])
            notes.note_failed(row["id"], row["error_code"], message, info.id)

        codes = results.failed.column("error_code").to_pylist()
        self._bound_jobs(len(succeeded) + len(codes), codes.count(LOCKED))

        # A row that has a result already, of this job or an earlier one, keeps it.
        job_message = self._without_values(info.error_message)
        for record_id in results.unprocessed_ids.to_pylist():
            if record_id not in notes:
                notes.note_failed(record_id, UNPROCESSED, job_message, info.id)

        # Some rows may be in none of the lists, most often those of a failed or aborted job.
        others = (results.failed.column("id"), results.unprocessed_ids)
        known = set(succeeded).union(*(ids.to_pylist() for ids in others))
        code = NO_RESULT if info.state == "JobComplete" else JOB_FAILED
        for record_id in self._note_written_in_org([i for i in sent if i not in known]):
            notes.note_failed(record_id, code, f"{info.state}: {job_message}", info.id)

        return len(known)

    def _results(self, info: JobInfo, sent: Sequence[str]) -> IngestResults:
        """Return the results of a job that has ended; count the try where they cannot be had."""
        self.read_jobs.append(info.id)
        try:
            return self.clients.org.results(info, sent=len(sent) or None)
        except (*OF_NO_SEGMENT, JobRefused):
            raise
        except SalesforceError:
            self.clients.ledger.push_jobs.count_result_try(info.id)
            raise

    def _bound_jobs(self, rows: int, locked: int) -> None:
        """Let the object's next jobs be smaller where others held many rows, and grow back."""
        objects, name = self.clients.ledger.objects, self.segment.object
        most = self.clients.configuration.settings.segment_records_max
        state = objects.all().get(name)
        bound = state.job_rows_max if state else None
        if state and (changed := next_job_rows(bound, rows, locked, most)) != bound:
            objects.bound_jobs(name, changed)

    def _note_written_in_org(self, ids: Sequence[str]) -> list[str]:
        """Note those of `ids` that carry this segment's stamp and hash in the org (D3).

        Returns the others. A row with the stamp and another hash was written, then edited and
        scored anew, on a ledger that has forgotten the push. It is not pushed twice for one
        scoring, but waits again.
        """
        if not ids or self.update is None:
            return list(ids)

        new = self.update.select(["Id", UPDATE + HASH_FIELD])
        hashes = dict(zip(*(column.to_pylist() for column in new.columns), strict=True))

        written: set[str] = set()
        for record_id, stamp, digest in tracked(self.clients, self.segment.object, ids):
            if stamp == self.segment.stamp:
                same = (digest or None) == hashes[record_id]
                (written if same else self.outdated).add(record_id)

        self.row_results.note_written(sorted(written), self.partial, "")
        return [i for i in ids if i not in written and i not in self.outdated]

    def _without_values(self, message: str | None) -> str:
        """Return Salesforce's message as it may be kept: without values where persist is off."""
        if not message or self.keeps_values:
            return message or ""
        return without_values(message, self.clients.describe(self.segment.object).fields)

    def _put_off(self, left: Mapping[str, tuple[RowFailure, str]]) -> None:
        """Settle the rows that have ended, and let a later run push the others as they are.

        What a job failed with is nobody's row's: they keep their claim, stamp and values, and no
        day is charged again (R20, R23).
        """
        self._settle_rows(self.row_results.without(left.keys()))

        failure, job_id = next(iter(left.values()))
        why = f"Bulk job {job_id} did not work off {len(left)} of its records."
        if failure.message:
            why += f" Salesforce says: {failure.message}"
        next_push_at = self.clients.now() + backoff(self.segment.push_tries + 1, passing=True)
        self.clients.ledger.segments.note_unpushed(self.lease, self.segment, why, next_push_at)

        self.summary.in_flight += self.segment.rows
        self.summary.unpushed[self.segment.segment_id] = why

    def _settle(self) -> None:
        """End the segment in the ledger, keep its results in the lake, forget its working file."""
        clients, ledger = self.clients, self.clients.ledger
        self._settle_rows(self.row_results)
        ended = ledger.settling.settle(self.lease, self.segment, clients.now())

        clients.lake.delete_working_file(self.segment.segment_id)
        for job in ledger.push_jobs.of_segment(self.segment.segment_id):
            clients.lake.forget_job(self.segment.object, job.job_id)
        clients.renew(self.lease)

        self.summary.count_segment(ended)

    def _settle_rows(self, results: RowResults) -> None:
        """End the rows of `results`, and with them the jobs that were read."""
        ledger, outcome = self.clients.ledger, results.outcome()
        now, org_now = self.clients.now(), self.clients.org_now()

        # The lake comes first: a run that dies in between settles again and writes the same file.
        results.keep(self.clients.lake, self.segment)
        changed = ledger.settling.settle_rows(
            self.lease, self.segment, outcome, now=now, org_now=org_now
        )
        for job_id in self.read_jobs:
            ledger.push_jobs.set_state(job_id, JobState.SETTLED, now)

        written = len(outcome.pushed) + len(outcome.partial)
        self.summary.by_day[self.segment.day.isoformat()] += written
        failures = (*outcome.failed, *outcome.partial)
        self.summary.failed_by_code.update(failure.code for failure in failures)
        if changed and outcome.pushed:
            self.summary.count_newest_change(changed, org_now)
