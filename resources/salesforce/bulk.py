"""Bulk API 2.0 jobs, each step a call of its own, so that a job can be taken up again (D3).

The calls go through simple-salesforce's own call function on its session; its job classes are not
used, since they abort a job at one failed poll, lose its id and misread results (API notes 7.3).
"""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from resources.salesforce.calls import PollPolicy
from resources.salesforce.errors import (
    CallRefused,
    JobFailed,
    JobNotFinished,
    JobRefused,
    JobSpoiled,
    OrgUnavailable,
    QueryRefused,
    UnexpectedAnswer,
    understood,
)
from resources.salesforce.query import LOCATOR_EXPIRED, QUERY_STARTS_MAX, parse_datetime
from resources.salesforce.result_csv import (
    PageIncomplete,
    QueryResultReader,
    spool,
    text_columns,
)
from resources.salesforce.session import Session
from resources.salesforce.transport import blocks

if TYPE_CHECKING:
    import requests
    from simple_salesforce.api import Salesforce as Library

logger = logging.getLogger(__name__)

JobKind = Literal["ingest", "query"]

COMPLETE: Final = "JobComplete"
OPEN: Final = "Open"
TERMINAL_STATES: Final = frozenset({COMPLETE, "Failed", "Aborted"})
UPLOAD_BYTES_MAX: Final = 100_000_000
"""Salesforce allows 150 MB after its own encoding (API notes 3.4)."""

_CSV: Final = {"Content-Type": "text/csv; charset=UTF-8"}
_PAGE_READS_MAX: Final = 3
_JOB_LIST_PAGES_MAX: Final = 50
_INVALID_STATE: Final = frozenset({"INVALIDJOBSTATE", "INVALIDJOB"})
_CLOCK_GRAIN: Final = timedelta(seconds=2)

_ROW_ERROR: Final = (
    r"(?s)^(?P<error_code>[A-Za-z0-9_]+):(?P<error_message>.*):(?P<fields>[^:]*?)\s*--\s*$"
)
"""`CODE:message:Field1,Field2 --`, the message holding colons and line breaks at will."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A bulk job as the org reports it. `processed` counts the failed rows too."""

    id: str
    kind: JobKind
    state: str
    object: str
    processed: int | None
    failed: int
    error_message: str
    created_at: datetime | None
    created_by: str

    @property
    def has_ended(self) -> bool:
        """Whether the job is in one of its last states."""
        return self.state in TERMINAL_STATES

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], kind: JobKind) -> JobInfo:
        """Read a job answer; a query job tells its figures only once it runs.

        Raises UnexpectedAnswer where it is none.
        """
        with understood(f"read a bulk {kind} job"):
            processed = answer.get("numberRecordsProcessed")
            return cls(
                id=str(answer["id"]),
                kind=kind,
                state=str(answer["state"]),
                object=str(answer.get("object", "")),
                processed=None if processed is None else int(processed),
                failed=int(answer.get("numberRecordsFailed") or 0),
                error_message=str(answer.get("errorMessage") or ""),
                created_at=parse_datetime(answer.get("createdDate")),
                created_by=str(answer.get("createdById", "")),
            )


@dataclass(frozen=True, slots=True)
class IngestResults:
    """What became of a job's rows, in no order: match by id (API notes 3.2).

    `failed` has the columns id, error_code, error_message and fields (comma-separated), in
    Salesforce's own words. A row that is in none of the three was not heard of.
    """

    succeeded_ids: pa.Array
    failed: pa.Table
    unprocessed_ids: pa.Array


@dataclass(frozen=True, slots=True)
class _Page:
    """One downloaded page of results."""

    file: IO[bytes]
    rows: int | None
    next_locator: str | None


class BulkJobs:
    """Bulk jobs of one session."""

    def __init__(
        self, session: Session, *, poll: PollPolicy, sleep: Callable[[float], None]
    ) -> None:
        """Wait between two looks at a job by `poll`, with `sleep`."""
        self._session = session
        self._poll = poll
        self._sleep = sleep
        self.stray_jobs: list[JobInfo] = []

    # --- ingest jobs

    def create_ingest_job(
        self, object_name: str, operation: str, external_id: str | None = None
    ) -> str:
        """Create an empty job and return its id.

        If the answer to the first try is lost, a job without data may be left open: what may be it
        is logged, kept in `stray_jobs` and never touched, and the call is made once more.
        """
        asked_at = self._session.clock.now()
        try:
            return self._create_ingest_job(object_name, operation, external_id)
        except OrgUnavailable as error:
            if not error.may_have_happened:
                raise
        self._report_strays(object_name, asked_at)
        return self._create_ingest_job(object_name, operation, external_id)

    def _create_ingest_job(self, object_name: str, operation: str, external_id: str | None) -> str:
        body = {
            "object": object_name,
            "operation": operation,
            "contentType": "CSV",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        }
        if external_id is not None:
            body["externalIdFieldName"] = external_id
        what = f"create a bulk {operation} job on {object_name}"
        answer = self._json("POST", "ingest", what, json=body, repeatable=False)
        return JobInfo.from_answer(answer, "ingest").id

    def _report_strays(self, object_name: str, asked_at: datetime | None) -> None:
        """Say which open jobs may be the one whose creation was not answered."""
        strays = [
            job
            for job in self.jobs_open(object_name)
            if asked_at is None
            or job.created_at is None
            or job.created_at >= asked_at - _CLOCK_GRAIN
        ]
        self.stray_jobs.extend(strays)
        for job in strays:
            logger.warning(
                "Bulk job %s on %s may be a stray one: it is open and without data, because the "
                "answer to its creation was lost. It does no harm; abort it in Setup if you like.",
                job.id,
                object_name,
            )

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
            # A file sends block by block, each with its own time-out; bytes would have to leave
            # within one.
            _call(
                library,
                "PUT",
                f"ingest/{job_id}/batches",
                data=io.BytesIO(data),
                headers=_CSV,
            )

        self._session.call(put, f"upload to bulk job {job_id}", refusal=JobRefused)

    def close_job(self, job_id: str) -> JobInfo:
        """Declare the upload complete: the org begins to work.

        Raises JobSpoiled where the data arrived twice, after an upload whose answer was lost.
        """
        try:
            return self._set_state("ingest", job_id, "UploadComplete")
        except JobRefused as refused:
            if refused.code not in _INVALID_STATE:
                raise
            job = self.job(job_id)
            if job.state == OPEN:
                raise JobSpoiled(
                    f"Bulk job {job_id} cannot be closed.",
                    code=refused.code,
                    text=refused.text,
                    status=refused.status,
                ) from refused
            if job.state == "Aborted":
                raise
            return job  # closed by the try before, whose answer was lost

    def abort_job(self, job_id: str, kind: JobKind = "ingest") -> JobInfo:
        """Stop a job, unless it has ended already. Rows already saved stay saved."""
        try:
            return self._set_state(kind, job_id, "Aborted")
        except JobRefused as refused:
            if refused.code not in _INVALID_STATE:
                raise
            job = self.job(job_id, kind)
            if not job.has_ended:
                raise
            return job

    def delete_job(self, job_id: str, kind: JobKind = "ingest") -> None:
        """Remove a job with its results, also from the Setup page. One gone already is fine."""
        what = f"delete bulk job {job_id}"
        try:
            self._session.call(
                lambda library: _call(library, "DELETE", f"{kind}/{job_id}").close(),
                what,
                refusal=JobRefused,
            )
        except JobRefused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise

    def _set_state(self, kind: JobKind, job_id: str, state: str) -> JobInfo:
        what = f"set bulk job {job_id} to {state}"
        answer = self._json("PATCH", f"{kind}/{job_id}", what, json={"state": state})
        return JobInfo.from_answer(answer, kind)

    def job(self, job_id: str, kind: JobKind = "ingest") -> JobInfo:
        """Return how the job stands. Failed is an answer here, not an error."""
        answer = self._json("GET", f"{kind}/{job_id}", f"look at bulk job {job_id}")
        return JobInfo.from_answer(answer, kind)

    def wait_for_job(
        self,
        job_id: str,
        deadline_seconds: float,
        kind: JobKind = "ingest",
        on_poll: Callable[[], None] = lambda: None,
        rows: int = 0,
    ) -> JobInfo:
        """Return the job once it has ended, or as it stands after `deadline_seconds`; call `on_look` at each look.

        Failed and Aborted are answers too: look at `state` and `has_ended`. `rows` is how many the job was sent.
        """
        began_seconds = time.monotonic()
        slept_seconds = 0.0
        wait_seconds = self._poll.first_seconds
        while True:
            gone_seconds = max(time.monotonic() - began_seconds, slept_seconds)
            pause_seconds = min(wait_seconds, deadline_seconds - gone_seconds)
            if pause_seconds > 0:
                self._sleep(pause_seconds)
                slept_seconds += pause_seconds
            job = self.job(job_id, kind)
            on_poll()
            if job.has_ended or gone_seconds + max(pause_seconds, 0) >= deadline_seconds:
                return job
            wait_seconds = self._poll.next_wait(wait_seconds, rows)

    def jobs_open(self, object_name: str) -> list[JobInfo]:
        """Return the ingest jobs on the object that still wait for data, whoever made them."""
        jobs: list[JobInfo] = []
        path: str | None = "ingest?jobType=V2Ingest"
        for _ in range(_JOB_LIST_PAGES_MAX):
            if path is None:
                break
            answer = self._json("GET", path, "list bulk jobs")
            with understood("list bulk jobs"):
                jobs.extend(JobInfo.from_answer(entry, "ingest") for entry in answer["records"])
                following = answer.get("nextRecordsUrl")
                path = following.partition("/jobs/")[2] if following else None
        return [job for job in jobs if job.state == OPEN and job.object == object_name]

    # --- results of ingest jobs

    def results(self, job: JobInfo, *, sent: int | None = None) -> IngestResults:
        """Return what became of the rows of a job that has ended.

        What the figures show to be empty is not asked for: failures where none failed, unprocessed
        rows where a complete job worked off all `sent`.
        """
        processed = job.processed if job.state == COMPLETE else None
        succeeded = None if processed is None else processed - job.failed
        failed = job.failed if job.state == COMPLETE else None
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
        for reading in range(1, _PAGE_READS_MAX + 1):
            last = reading == _PAGE_READS_MAX
            page = self._download(f"ingest/{job_id}/{results}/", f"read {results} of {job_id}")
            try:
                with closing(page.file):
                    table = text_columns(page.file, columns)
            except PageIncomplete:
                if last:
                    raise
                continue
            if expected in {None, table.num_rows}:
                break
            if last:
                logger.warning(
                    "Bulk job %s counts %s rows in its %s, which hold %s.",
                    job_id,
                    expected,
                    results,
                    table.num_rows,
                )
        return table

    # --- query jobs

    def create_query_job(self, soql: str) -> str:
        """Create a query job and return its id. Raises QueryRefused."""
        body = {
            "operation": "query",
            "query": soql,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        }
        answer = self._json(
            "POST", "query", "create a bulk query job", json=body, refusal=QueryRefused
        )
        return JobInfo.from_answer(answer, "query").id

    def finished_query_job(
        self, job_id: str, deadline_seconds: float, on_poll: Callable[[], None]
    ) -> JobInfo:
        """Return the query job once complete.

        Raises JobFailed, or JobNotFinished after the deadline, having aborted the job: nobody
        would read its results.
        """
        job = self.wait_for_job(job_id, deadline_seconds, "query", on_poll)
        if not job.has_ended:
            self.abort_job(job_id, "query")
            raise JobNotFinished(job, deadline_seconds)
        if job.state != COMPLETE:
            raise JobFailed(job)
        return job

    def query_results(
        self, job: JobInfo, schema: pa.Schema, *, rows_per_page: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield a complete query job's rows, page after page, downloading none too early.

        Where a locator is no longer known, the pages are read again from the first one: a job's results do not
        change, so the rows that were given already are passed over.
        """
        given = 0
        for start in range(1, QUERY_STARTS_MAX + 1):
            passed = 0
            try:
                for batch in self._pages(job, schema, rows_per_page):
                    fresh = batch.slice(min(max(0, given - passed), batch.num_rows))
                    passed += batch.num_rows
                    if fresh.num_rows:
                        given += fresh.num_rows
                        yield fresh
                return
            except JobRefused as refused:
                if refused.code != LOCATOR_EXPIRED or start == QUERY_STARTS_MAX:
                    raise

    def _pages(
        self, job: JobInfo, schema: pa.Schema, rows_per_page: int
    ) -> Iterator[pa.RecordBatch]:
        if job.processed == 0:
            return
        reader = QueryResultReader(schema)
        locator: str | None = ""
        while locator is not None:
            before = locator
            locator = yield from self._query_page(job.id, reader, locator, rows_per_page)
            if locator == before:
                raise UnexpectedAnswer(f"A page of bulk job {job.id} names itself as the next.")

    def _query_page(
        self, job_id: str, reader: QueryResultReader, locator: str, rows_per_page: int
    ) -> Generator[pa.RecordBatch, None, str | None]:
        """Yield one page's batches and return the next locator, None after the last page.

        A page that turns out incomplete is read again; a job's results do not change, so rows that
        were given already are passed over.
        """
        parameters: dict[str, str] = {"maxRecords": str(rows_per_page)}
        if locator:
            parameters["locator"] = locator
        given = 0
        for reading in range(1, _PAGE_READS_MAX + 1):
            page = self._download(
                f"query/{job_id}/results",
                f"read results of bulk job {job_id}",
                parameters,
            )
            try:
                with closing(page.file):
                    for batch in reader.batches(
                        page.file, expected_rows=page.rows, skip_rows=given
                    ):
                        given += batch.num_rows
                        yield batch
                return page.next_locator
            except PageIncomplete:
                if reading == _PAGE_READS_MAX:
                    raise
        return None  # pragma: no cover - the loop returns or raises

    # --- calls

    def _download(self, path: str, what: str, parameters: Mapping[str, str] | None = None) -> _Page:
        """Fetch a page of results whole; a connection that breaks on the way is a new try."""

        def fetch(library: Library) -> _Page:
            response = _call(
                library,
                "GET",
                path,
                params=parameters,
                stream=True,
                headers={"Accept": "text/csv"},
            )
            with closing(response):
                return _Page(
                    file=spool(blocks(response)),
                    rows=_row_count(response.headers.get("Sforce-NumberOfRecords")),
                    next_locator=_next_locator(response.headers.get("Sforce-Locator")),
                )

        return self._session.call(fetch, what, refusal=JobRefused)

    def _json(
        self,
        method: str,
        path: str,
        what: str,
        *,
        json: Mapping[str, Any] | None = None,
        repeatable: bool = True,
        refusal: type[CallRefused] = JobRefused,
    ) -> dict[str, Any]:
        """Make a job call and return its parsed answer."""

        def request(library: Library) -> dict[str, Any]:
            answer: dict[str, Any] = _call(library, method, path, json=json).json()
            return answer

        return self._session.call(request, what, repeatable=repeatable, refusal=refusal)


def _call(
    library: Library,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> requests.Response:
    """Call `path` below the jobs resource by simple-salesforce's own call function."""
    from simple_salesforce.util import call_salesforce

    return call_salesforce(
        url=library.bulk2_url + path,
        method=method,
        session=library.session,
        headers={**library.headers, **(headers or {})},
        **options,
    )


def _row_count(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,15}", text) else None


def _next_locator(text: str | None) -> str | None:
    """After the last page the locator is the word `null`, or missing."""
    return text if text and text != "null" else None


def ids_of(table: pa.Table) -> pa.Array:
    """Return each row's id: Salesforce's `sf__Id` where it gives one, else the uploaded `Id`."""
    nothing = pa.nulls(table.num_rows, pa.string())
    given = [_column(table, name) for name in ("sf__Id", "Id") if name in table.column_names]
    return pc.coalesce(*given, nothing)


def failed_rows(table: pa.Table) -> pa.Table:
    """Return id, code, message and fields of failed rows out of `sf__Error`.

    Text of another form than Salesforce documents is kept whole as the message, without a code.
    """
    errors = (
        _column(table, "sf__Error")
        if "sf__Error" in table.column_names
        else pa.nulls(table.num_rows, pa.string())
    )
    parts = pc.extract_regex(errors, _ROW_ERROR)
    worded = pc.is_valid(parts)
    whole = pc.fill_null(errors, "")
    return pa.table(
        {
            "id": ids_of(table),
            "error_code": pc.if_else(worded, pc.struct_field(parts, "error_code"), ""),
            "error_message": pc.if_else(worded, pc.struct_field(parts, "error_message"), whole),
            "fields": pc.if_else(worded, pc.struct_field(parts, "fields"), ""),
        }
    )


def _column(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()
