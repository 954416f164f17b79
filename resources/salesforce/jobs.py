"""Bulk API 2.0 jobs, whatever they do: how one stands, and the calls that every kind of job has.

The calls go through simple-salesforce's own call function on its session. Its job classes are not
used: they abort a job at one failed poll, lose its id and misread results (API notes 7.3).
What only one kind of job can do is in `ingest` and `bulk_query`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from resources.salesforce.calls import PollPolicy
from resources.salesforce.errors import CallRefused, JobRefused, understood
from resources.salesforce.query_answers import parse_datetime
from resources.salesforce.result_csv import spool
from resources.salesforce.session import Session
from resources.salesforce.transport import blocks

if TYPE_CHECKING:
    import requests
    from simple_salesforce.api import Salesforce as Library

JobKind = Literal["ingest", "query"]

COMPLETE: Final = "JobComplete"
OPEN: Final = "Open"
ABORTED: Final = "Aborted"
TERMINAL_STATES: Final = frozenset({COMPLETE, "Failed", ABORTED})
PAGE_READS_MAX: Final = 3
"""How often a page of results is read that comes incomplete."""

LOOKS_AFTER_ABORT_MAX: Final = 10
"""How often an aborted job is looked at until its figures stand still."""

INVALID_STATE: Final = frozenset({"INVALIDJOBSTATE", "INVALIDJOB"})
"""Codes of a job that is not in the state which a step needs."""


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

    @property
    def has_ended(self) -> bool:
        """Whether the job is in one of its last states."""
        return self.state in TERMINAL_STATES

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], kind: JobKind) -> JobInfo:
        """Read the answer of a job call; a query job has figures only once it runs.

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
            )


@dataclass(frozen=True, slots=True)
class ResultPage:
    """One downloaded page of results; `rows` is what the org says of it, None where it does not."""

    file: IO[bytes]
    rows: int | None
    next_locator: str | None


class JobCalls:
    """The calls that every kind of job has, on one session."""

    def __init__(
        self, session: Session, *, poll: PollPolicy, sleep: Callable[[float], None]
    ) -> None:
        """Wait between two polls of a job by `poll`, with `sleep`."""
        self.session = session
        self._poll = poll
        self._sleep = sleep

    def job(self, kind: JobKind, job_id: str) -> JobInfo:
        """Return how the job stands. Failed is an answer here, not an error."""
        answer = self.call_json("GET", f"{kind}/{job_id}", f"look at bulk job {job_id}")
        return JobInfo.from_answer(answer, kind)

    def set_state(self, kind: JobKind, job_id: str, state: str) -> JobInfo:
        """Ask the org to take the job to `state`, and return how it stands then."""
        what = f"set bulk job {job_id} to {state}"
        answer = self.call_json("PATCH", f"{kind}/{job_id}", what, json={"state": state})
        return JobInfo.from_answer(answer, kind)

    def abort(self, kind: JobKind, job_id: str) -> JobInfo:
        """Stop a job, unless it has ended already. Rows already saved stay saved."""
        try:
            return self.set_state(kind, job_id, ABORTED)
        except JobRefused as refused:
            if refused.code not in INVALID_STATE:
                raise

            job = self.job(kind, job_id)
            if not job.has_ended:
                raise
            return job

    def until_still(self, job: JobInfo) -> JobInfo:
        """Return an aborted job once two looks agree on how many rows it has worked off.

        The chunk that was being saved when the job was stopped ends all the same.
        """
        for _ in range(LOOKS_AFTER_ABORT_MAX):
            self._sleep(self._poll.first_seconds)
            again = self.job(job.kind, job.id)
            if again.processed == job.processed:
                return again
            job = again
        return job

    def wait(
        self,
        kind: JobKind,
        job_id: str,
        deadline_seconds: float,
        on_poll: Callable[[], None] = lambda: None,
        rows: int = 0,
    ) -> JobInfo:
        """Return the job once it has ended, or as it stands after `deadline_seconds`.

        Failed and Aborted are answers too: look at `state` and `has_ended`. `on_poll` is called
        after each poll; `rows` is how many the job was sent (0: not known).
        """
        began_seconds = time.monotonic()
        slept_seconds = 0.0
        wait_seconds = self._poll.first_seconds

        while True:
            # The greater of the two: a clock that stands still must not make the wait endless.
            gone_seconds = max(time.monotonic() - began_seconds, slept_seconds)
            pause_seconds = min(wait_seconds, deadline_seconds - gone_seconds)
            if pause_seconds > 0:
                self._sleep(pause_seconds)
                slept_seconds += pause_seconds

            job = self.job(kind, job_id)
            on_poll()

            if job.has_ended or gone_seconds + max(pause_seconds, 0) >= deadline_seconds:
                return job
            wait_seconds = self._poll.next_wait(wait_seconds, rows)

    def download(
        self, path: str, what: str, parameters: Mapping[str, str] | None = None
    ) -> ResultPage:
        """Fetch a page of results whole; a connection that breaks on the way is a new try."""

        def fetch(library: Library) -> ResultPage:
            response = call_jobs(
                library,
                "GET",
                path,
                params=parameters,
                stream=True,
                headers={"Accept": "text/csv"},
            )

            with closing(response):
                return ResultPage(
                    file=spool(blocks(response)),
                    rows=_row_count(response.headers.get("Sforce-NumberOfRecords")),
                    next_locator=_next_locator(response.headers.get("Sforce-Locator")),
                )

        return self.session.call(fetch, what, refusal=JobRefused)

    def call_json(
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
            answer: dict[str, Any] = call_jobs(library, method, path, json=json).json()
            return answer

        return self.session.call(request, what, repeatable=repeatable, refusal=refusal)


def call_jobs(
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
