"""Ingest jobs, which update many records. Each step is a call: so a job can be resumed (D3)."""

from __future__ import annotations

import io
import logging
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from resources.salesforce.errors import JobRefused, JobSpoiled, OrgUnavailable, understood
from resources.salesforce.ingest_results import IngestResults, failed_rows, ids_of
from resources.salesforce.jobs import (
    ABORTED,
    COMPLETE,
    INVALID_STATE,
    OPEN,
    PAGE_READS_MAX,
    JobCalls,
    JobInfo,
    call_jobs,
)
from resources.salesforce.result_csv import PageIncomplete, text_columns

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce as Library

logger = logging.getLogger(__name__)

UPLOAD_BYTES_MAX: Final = 100_000_000
"""Salesforce allows 150 MB after its own encoding (API notes 3.4)."""

_CSV: Final = {"Content-Type": "text/csv; charset=UTF-8"}
_JOB_LIST_PAGES_MAX: Final = 50
_CLOCK_GRAIN: Final = timedelta(seconds=2)
"""How far two stamps of the org may be apart that belong to one moment: it tells whole seconds."""


class IngestJobs:
    """The ingest jobs of one session: each updates records of one object."""

    def __init__(self, calls: JobCalls) -> None:
        """Make all calls by `calls`."""
        self._calls = calls

    def create(self, object_name: str) -> str:
        """Create an empty job and return its id.

        If the answer to the first try is lost, a job without data may be left open. What may be it
        is logged and never touched, and the call is made once more.
        """
        asked_at = self._calls.session.clock.now()
        try:
            return self._create_once(object_name)
        except OrgUnavailable as error:
            if not error.may_have_happened:
                raise

        self._log_strays(object_name, asked_at)
        return self._create_once(object_name)

    def _create_once(self, object_name: str) -> str:
        body = {
            "object": object_name,
            "operation": "update",
            "contentType": "CSV",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        }
        what = f"create a bulk update job on {object_name}"
        answer = self._calls.call_json("POST", "ingest", what, json=body, repeatable=False)
        return JobInfo.from_answer(answer, "ingest").id

    def _log_strays(self, object_name: str, asked_at: datetime | None) -> None:
        """Say which open jobs may be the one whose creation was not answered."""
        strays = [
            job
            for job in self.open_jobs(object_name)
            if asked_at is None
            or job.created_at is None
            or job.created_at >= asked_at - _CLOCK_GRAIN
        ]

        for job in strays:
            logger.warning(
                "Bulk job %s on %s may be a stray one: it is open and without data, because the "
                "answer to its creation was lost. It does no harm; abort it in Setup if you like.",
                job.id,
                object_name,
            )

    def open_jobs(self, object_name: str) -> list[JobInfo]:
        """Return the jobs on the object that still wait for data, whoever made them."""
        jobs: list[JobInfo] = []
        path: str | None = "ingest?jobType=V2Ingest"
        for _ in range(_JOB_LIST_PAGES_MAX):
            if path is None:
                break

            answer = self._calls.call_json("GET", path, "list bulk jobs")
            with understood("list bulk jobs"):
                jobs.extend(JobInfo.from_answer(entry, "ingest") for entry in answer["records"])
                following = answer.get("nextRecordsUrl")
                path = following.partition("/jobs/")[2] if following else None

        return [job for job in jobs if job.state == OPEN and job.object == object_name]

    def upload(self, job_id: str, data: bytes) -> None:
        """Give the open job its rows. Once for a job, and at most `UPLOAD_BYTES_MAX` bytes.

        Raises JobRefused where `data` is too much, or the job is not open.
        """
        if len(data) > UPLOAD_BYTES_MAX:
            raise JobRefused(
                f"{len(data):,} bytes are too many for one bulk job, which takes "
                f"{UPLOAD_BYTES_MAX:,}: push fewer records at once."
            )

        def put(library: Library) -> None:
            # A file is sent block by block, each with its own time-out. Bytes would have to be
            # sent within one.
            call_jobs(
                library,
                "PUT",
                f"ingest/{job_id}/batches",
                data=io.BytesIO(data),
                headers=_CSV,
            )

        self._calls.session.call(put, f"upload to bulk job {job_id}", refusal=JobRefused)

    def close(self, job_id: str) -> JobInfo:
        """Declare the upload complete: the org begins to work.

        Raises JobSpoiled where the data arrived twice, after an upload whose answer was lost.
        """
        try:
            return self._calls.set_state("ingest", job_id, "UploadComplete")
        except JobRefused as refused:
            if refused.code not in INVALID_STATE:
                raise

            job = self._calls.job("ingest", job_id)
            if job.state == OPEN:
                raise JobSpoiled(
                    f"Bulk job {job_id} cannot be closed.",
                    code=refused.code,
                    text=refused.text,
                    status=refused.status,
                ) from refused
            if job.state == ABORTED:
                raise
            return job  # closed by the try before, whose answer was lost

    def results(self, job: JobInfo, *, sent: int | None = None) -> IngestResults:
        """Return what became of the rows of a job that has ended.

        What the figures show to be empty is not asked for: failures where none failed, unprocessed
        rows where a complete job worked off all `sent`.
        """
        # Of a job that did not complete, all three lists are asked for.
        processed = job.processed if job.state == COMPLETE else None
        failed = job.failed if job.state == COMPLETE else None
        succeeded = None if processed is None else processed - job.failed
        unprocessed = None if processed is None or sent is None else max(0, sent - processed)

        return IngestResults(
            succeeded_ids=self._ids(job.id, "successfulResults", ["sf__Id", "Id"], succeeded),
            failed=self._failed_rows(job.id, failed),
            unprocessed_ids=self._ids(job.id, "unprocessedrecords", ["Id"], unprocessed),
        )

    def _failed_rows(self, job_id: str, expected: int | None) -> pa.Table:
        table = self._columns(job_id, "failedResults", ["sf__Id", "Id", "sf__Error"], expected)
        return failed_rows(table)

    def _ids(self, job_id: str, results: str, columns: list[str], expected: int | None) -> pa.Array:
        return ids_of(self._columns(job_id, results, columns, expected))

    def _columns(
        self, job_id: str, results: str, columns: list[str], expected: int | None
    ) -> pa.Table:
        """Return the columns of one kind of results, of as many rows as the job counts.

        A page that keeps another number of rows is taken as it is, with a warning: rows that are
        missing from all results show up at the caller, who knows what was sent.
        """
        if expected == 0:
            return pa.table({name: pa.array([], pa.string()) for name in columns})

        for reading in range(1, PAGE_READS_MAX + 1):
            is_last = reading == PAGE_READS_MAX
            page = self._calls.download(
                f"ingest/{job_id}/{results}/", f"read {results} of {job_id}"
            )
            try:
                with closing(page.file):
                    table = text_columns(page.file, columns)
            except PageIncomplete:
                if is_last:
                    raise
                continue

            if expected in {None, table.num_rows}:
                break
            if is_last:
                logger.warning(
                    "Bulk job %s counts %s rows in its %s, which hold %s.",
                    job_id,
                    expected,
                    results,
                    table.num_rows,
                )
        return table
