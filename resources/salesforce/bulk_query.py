"""Bulk queries: a job that runs one query, and its results page by page."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Final

import pyarrow as pa

from resources.salesforce.errors import (
    AnswerShort,
    JobFailed,
    JobNotFinished,
    JobRefused,
    QueryRefused,
    UnexpectedAnswer,
)
from resources.salesforce.jobs import COMPLETE, PAGE_READS_MAX, JobCalls, JobInfo
from resources.salesforce.query_answers import (
    LOCATOR_EXPIRED,
    QUERY_STARTS_MAX,
    is_short,
    rows_beyond,
)
from resources.salesforce.result_csv import PageIncomplete, QueryResultReader

JOBS_MAX: Final = 2
"""How many jobs one query may take: the second where the first one's results stay short."""


class BulkQueries:
    """The query jobs of one session."""

    def __init__(self, calls: JobCalls, *, rows_per_page: int) -> None:
        """Make all calls by `calls`, and ask for `rows_per_page` rows at once."""
        self._calls = calls
        self._rows_per_page = rows_per_page

    def run(
        self, soql: str, schema: pa.Schema, deadline_seconds: float
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `soql` to `schema`; raise as `Salesforce.bulk_query` says.

        Where a job's results stay shorter than it says, a new job decides. Records that were given
        already are passed over: what changed in them since is in a later window.
        """
        given: list[pa.Array] = []
        for start in range(1, JOBS_MAX + 1):
            job = self._wait_until_complete(self._create(soql), deadline_seconds)
            try:
                for batch in self.results(job, schema):
                    fresh = rows_beyond(batch, given) if start > 1 else batch
                    given.append(fresh["Id"])
                    yield fresh
                return
            except AnswerShort:
                if start == JOBS_MAX:
                    raise

    def _create(self, soql: str) -> str:
        body = {
            "operation": "query",
            "query": soql,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        }
        answer = self._calls.call_json(
            "POST", "query", "create a bulk query job", json=body, refusal=QueryRefused
        )
        return JobInfo.from_answer(answer, "query").id

    def _wait_until_complete(self, job_id: str, deadline_seconds: float) -> JobInfo:
        """Return the job once complete. After the deadline it is aborted: nobody would read it."""
        job = self._calls.wait("query", job_id, deadline_seconds)
        if not job.has_ended:
            self._calls.abort("query", job_id)
            raise JobNotFinished(job.kind, job.id, job.state, deadline_seconds)
        if job.state != COMPLETE:
            raise JobFailed(job.kind, job.id, job.object, job.state, job.error_message)
        return job

    def results(self, job: JobInfo, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield a complete job's rows, page after page, downloading none too early.

        Where a locator is no longer known, or the pages are fewer than the job says, they are read
        again from the first one, and records that were given already are passed over. Raises
        AnswerShort where they stay fewer.
        """
        given: list[pa.Array] = []
        for start in range(1, QUERY_STARTS_MAX + 1):
            read = 0
            try:
                for batch in self._pages(job, schema):
                    read += batch.num_rows
                    fresh = rows_beyond(batch, given) if start > 1 else batch
                    given.append(fresh["Id"])
                    if fresh.num_rows:
                        yield fresh
            except JobRefused as refused:
                if refused.code != LOCATOR_EXPIRED or start == QUERY_STARTS_MAX:
                    raise
                continue

            # The job's own figure, never an earlier COUNT: meanwhile the org has changed.
            if not is_short(read, job.processed):
                return

        raise AnswerShort(f"bulk query job {job.id}", read, job.processed or 0)

    def _pages(self, job: JobInfo, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        if job.processed == 0:
            return
        reader = QueryResultReader(schema)
        locator: str | None = ""

        while locator is not None:
            before = locator
            locator = yield from self._page(job.id, reader, locator)
            if locator == before:
                raise UnexpectedAnswer(f"A page of bulk job {job.id} names itself as the next.")

    def _page(
        self, job_id: str, reader: QueryResultReader, locator: str
    ) -> Generator[pa.RecordBatch, None, str | None]:
        """Yield one page's batches and return the next locator, None after the last page.

        A page that turns out incomplete is read again; a job's results do not change, so rows that
        were given already are passed over.
        """
        parameters: dict[str, str] = {"maxRecords": str(self._rows_per_page)}
        if locator:
            parameters["locator"] = locator

        given = 0
        for reading in range(1, PAGE_READS_MAX + 1):
            page = self._calls.download(
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
                if reading == PAGE_READS_MAX:
                    raise
        return None  # pragma: no cover - the loop returns or raises
