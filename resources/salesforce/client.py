"""The one client of the connected org: everything that the product asks of Salesforce.

It knows calls and answers, and no rule of the product. Each method says how many API calls it makes
where that is not one.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.org_fit.fields import ObjectDescribe
from resources.salesforce.bulk import BulkJobs, IngestResults, JobInfo, JobKind
from resources.salesforce.calls import (
    ApiCall,
    ApiUsage,
    PollPolicy,
    RetryPolicy,
    Timeouts,
)
from resources.salesforce.connection import Connection
from resources.salesforce.describe import object_from_describe
from resources.salesforce.errors import (
    NoSuchObject,
    OrgUnavailable,
    QueriesRefused,
    QueryRefused,
    SessionLost,
    UnexpectedAnswer,
    error_from_answer,
    understood,
)
from resources.salesforce.hosts import is_plain_http
from resources.salesforce.ids import id18
from resources.salesforce.query import (
    LOCATOR_EXPIRED,
    QUERIES_PER_CALL,
    QUERY_STARTS_MAX,
    URL_CHARACTERS_MAX,
    Record,
    batch_from_records,
    plain_rows,
    queries_by_ids,
)
from resources.salesforce.session import Session
from resources.salesforce.sign_in import Grant

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce as Library

logger = logging.getLogger(__name__)

API_VERSION: Final = "62.0"
ROWS_PER_PAGE: Final = 100_000
"""Rows of bulk query results asked for at once; a page waits on disk where it is large."""

RECORDS_PER_CALL: Final = 200
"""Records that one call of the collections takes (API notes 2.6)."""

_OBJECT_NAME: Final = re.compile(r"^[A-Za-z]\w*$", re.ASCII)
_SAFE_IN_QUERY: Final = "',()*=<>!:"
"""Legal in an address as they are; encoded, they would make lists of ids half as long again."""


def _nothing(_: object) -> None:
    """Listen to nothing."""


class Salesforce:
    """One signed-in user's view of one org.

    Nothing is sent before the first method that needs it. Not for use by several threads at once;
    several clients may share a user. Usable as a context manager.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        api_version: str = API_VERSION,
        on_call: Callable[[ApiCall], object] = _nothing,
        on_usage: Callable[[ApiUsage], None] = _nothing,
        on_sign_in: Callable[[str], None] = _nothing,
        on_limit: Callable[[], datetime | None] = lambda: None,
        kept_sessions: MutableMapping[str, Grant] | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        poll: PollPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        rows_per_page: int = ROWS_PER_PAGE,
    ) -> None:
        """Prepare the client.

        Args:
            connection: where the org is and how to sign in.
            api_version: without the letter v, such as "62.0".
            on_call: called before each HTTP request, retries and sign-in included; what it raises
                stops the request from leaving and comes out of the method that made it (R21).
            on_usage: called with the org's own count of requests whenever an answer tells it.
            on_limit: called when the org refuses a call since its own daily limit is used up; says when it is
                asked again, for the message of DailyRequestLimit.
            kept_sessions: sessions that clients of one process share, so that each need not sign in anew.
            on_sign_in: called with the org's id after each sign-in, renewals included; what it raises
                stops the call that needed the session (R1).
            timeouts: for connections and answers.
            retry: how often passing faults are tried again; `RetryPolicy().without_waiting()` is
                for tests.
            poll: how the wait between two looks at a job grows.
            sleep: waits between two looks at a job.
            rows_per_page: rows of a bulk query asked for at once.
        """
        self.connection = connection
        self._session = Session(
            connection,
            api_version=api_version,
            on_call=on_call,
            on_usage=on_usage,
            timeouts=timeouts or Timeouts(),
            retry=retry or RetryPolicy(),
            on_sign_in=on_sign_in,
            kept=kept_sessions,
            on_limit=on_limit,
        )
        self._jobs = BulkJobs(self._session, poll=poll or PollPolicy(), sleep=sleep)
        self._rows_per_page = rows_per_page
        self._identity: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections. The session in the org is left alone: others may share it."""
        self._session.close()

    # --- who and where

    @property
    def instance_url(self) -> str:
        """The org's own address, as it names it at sign-in."""
        return self._session.grant.instance_url

    @property
    def is_local(self) -> bool:
        """Whether it is a stand-in on this machine."""
        return is_plain_http(self.connection.login_url)

    @property
    def org_id(self) -> str:
        """The 18-character id of the org (R1)."""
        return self._identities()[0]

    @property
    def user_id(self) -> str:
        """The 18-character id of the signed-in user."""
        return self._identities()[1]

    def _identities(self) -> tuple[str, str]:
        """Return org and user out of the sign-in, or by one call where it does not tell."""
        if self._identity is None:
            grant = self._session.grant
            org_id, user_id = grant.org_id, grant.user_id
            if not org_id or not user_id:
                org_id, user_id = self._ask_identities()
            self._identity = (id18(org_id), id18(user_id))
        return self._identity

    def _ask_identities(self) -> tuple[str, str]:
        answer = self._session.call(lambda sf: sf.oauth2("userinfo"), "ask who is signed in")
        if not isinstance(answer, dict) or not {"organization_id", "user_id"} <= answer.keys():
            raise UnexpectedAnswer("The org does not say who is signed in.")
        return str(answer["organization_id"]), str(answer["user_id"])

    def accept_any_org(self) -> None:
        """Ask nobody at sign-in whether the org is the right one: for going over to another (R1)."""
        self._session.on_sign_in = _nothing

    def org_now(self) -> datetime:
        """Return the time on the org's clock (aware UTC): a few seconds behind, never ahead.

        It is the last answer's, carried on by this machine; signs in if there was none yet.
        """
        if self._session.clock.now() is None:
            self._session.forget_session()
            _ = self._session.grant
        now = self._session.clock.now()
        if now is None:
            raise UnexpectedAnswer("The org's answers do not tell its time.")
        return now

    def job_url(self, job_id: str) -> str:
        """Return the address of the job on the org's Bulk Data Load Jobs page."""
        address = quote(f"/{job_id}", safe="")
        return f"{self.instance_url}/lightning/setup/AsyncApiJobStatus/page?address={address}"

    # --- describe and limits

    def describe(self, object_name: str) -> ObjectDescribe:
        """Return the object as the signed-in user sees it.

        Raises NoSuchObject where the org has none of that name, or hides it from this user.
        """
        what = f"describe {object_name}"
        if not _OBJECT_NAME.match(object_name):
            raise NoSuchObject(f"{object_name!r} cannot be the name of an object.")
        answer = self._session.call(
            lambda sf: sf.restful(f"sobjects/{object_name}/describe"),
            what,
            refusal=NoSuchObject,
        )
        with understood(what):
            return object_from_describe(answer or {})

    def usage(self) -> ApiUsage:
        """Return what the org has counted of its daily API requests, right within five minutes."""
        limits = self._session.call(lambda sf: sf.limits(), "ask the org's limits")
        with understood("ask the org's limits"):
            daily = limits["DailyApiRequests"]
            allotted, remaining = int(daily["Max"]), int(daily["Remaining"])
        return ApiUsage(used=allotted - remaining, allotted=allotted)

    # --- queries

    def ask(self, queries: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of at most five small queries by name, for one API call.

        For counts and newest stamps: give aggregates an alias (`COUNT(Id) n`).

        Raises QueriesRefused, with each refused query's error and the others' rows.
        """
        errors, rows = self._answers(queries)
        if errors:
            raise QueriesRefused(errors, rows)
        return rows

    def _answers(
        self, queries: Mapping[str, str]
    ) -> tuple[dict[str, QueryRefused], dict[str, list[dict[str, Any]]]]:
        """Return errors and rows by name; asked again where a cursor expires before its last page."""
        for start in range(1, QUERY_STARTS_MAX + 1):
            answers = self._composite(queries)
            errors = {name: a for name, a in answers.items() if isinstance(a, QueryRefused)}
            try:
                return errors, {
                    name: self._all_rows(answer)
                    for name, answer in answers.items()
                    if not isinstance(answer, QueryRefused)
                }
            except QueryRefused as refused:
                if refused.code != LOCATOR_EXPIRED or start == QUERY_STARTS_MAX:
                    raise
        raise AssertionError("the loop returns or raises")  # pragma: no cover

    def count(self, soql: str) -> int:
        """Return the number that a `SELECT COUNT() ...` gives."""
        answer = self._first_page(soql)
        with understood("count"):
            return int(answer["totalSize"])

    def query(self, soql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows to `schema`, a batch a page of up to 2,000: one API call each.

        Parents' fields are columns such as `Account.Name`. A page is asked for when the one before
        has been taken. Where the cursor expires between two pages, the query is begun again and
        records that were given already are passed over.
        """
        given: list[pa.Array] = []
        for start in range(1, QUERY_STARTS_MAX + 1):
            try:
                for records in self._pages(self._first_page(soql)):
                    batch = batch_from_records(records, schema)
                    if start > 1:
                        known = pc.is_in(batch["Id"], value_set=pa.concat_arrays(given))
                        batch = batch.filter(pc.invert(known))
                    given.append(batch["Id"])
                    yield batch
                return
            except QueryRefused as refused:
                if refused.code != LOCATOR_EXPIRED or start == QUERY_STARTS_MAX:
                    raise

    def read_by_ids(
        self,
        select: Callable[[Sequence[str]], str],
        ids: Sequence[str],
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the records of `ids` to `schema`: one API call for 2,500 ids, in no set order.

        Records that are gone or hidden are left out. `select` writes the SOQL for some ids.
        """
        for group in queries_by_ids(select, ids):
            yield from self._batches_of(group, schema)

    def _batches_of(self, group: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        queries = {f"ids_{number}": soql for number, soql in enumerate(group)}
        for rows in self.ask(queries).values():
            if rows:
                yield batch_from_records(rows, schema)

    def _first_page(self, soql: str) -> Record:
        """Return the first page; a query too long for an address goes in the body of a call."""
        if len(quote_plus(soql)) > URL_CHARACTERS_MAX:
            part = self._composite({"query": soql})["query"]
            if isinstance(part, QueryRefused):
                raise part
            return part
        answer: Record = self._session.call(
            lambda sf: sf.query(soql), "query", refusal=QueryRefused
        )
        return answer

    def _pages(self, answer: Record) -> Iterator[Sequence[Record]]:
        """Yield the records of `answer` and of the pages after it."""
        before = None
        while True:
            with understood("query"):
                records, following = answer["records"], answer.get("nextRecordsUrl")
                is_last = answer["done"] or not following
            if records:
                yield records
            if is_last:
                return
            if following == before:
                raise UnexpectedAnswer("A page of a query names itself as the next.")
            before = following
            answer = self._next_page(following)

    def _next_page(self, url: Any) -> Record:
        # Put behind the org's own address as it is: anything else may lead the token elsewhere.
        if not isinstance(url, str) or not url.startswith("/services/data/"):
            raise UnexpectedAnswer("A page of a query names no page of the org as the next.")
        answer: Record = self._session.call(
            lambda sf: sf.query_more(url, identifier_is_url=True),
            "read the next page of a query",
            refusal=QueryRefused,
        )
        return answer

    def _composite(self, queries: Mapping[str, str]) -> dict[str, Record | QueryRefused]:
        """Ask several queries in one call and return each one's first page."""
        if not 0 < len(queries) <= QUERIES_PER_CALL:
            raise ValueError(f"{len(queries)} queries: one call takes 1 to {QUERIES_PER_CALL}")
        names = list(queries)
        base = f"/services/data/v{self._session.api_version}/query/?q="
        body = {
            "allOrNone": False,
            "compositeRequest": [
                {
                    "method": "GET",
                    "url": base + quote_plus(soql, safe=_SAFE_IN_QUERY),
                    "referenceId": f"q{number}",
                }
                for number, soql in enumerate(queries.values())
            ],
        }

        def request(sf: Library) -> list[Record | QueryRefused]:
            answer = sf.restful("composite", method="POST", json=body) or {}
            parts = {part["referenceId"]: part for part in answer.get("compositeResponse", ())}
            return [_part(parts, f"q{number}", name) for number, name in enumerate(names)]

        answers = self._session.call(request, "ask several queries", refusal=QueryRefused)
        return dict(zip(names, answers, strict=True))

    def _all_rows(self, answer: Record) -> list[dict[str, Any]]:
        """Return the rows of `answer` and of the pages after it, a call each."""
        with understood("query"):
            rows = plain_rows(answer)
            following = answer.get("nextRecordsUrl")
            is_last = answer["done"] or not following
        if not is_last:
            for records in self._pages(self._next_page(following)):
                with understood("query"):
                    rows.extend(plain_rows({"records": records}))
        return rows

    # --- bulk queries

    def bulk_query(
        self,
        soql: str,
        schema: pa.Schema,
        *,
        deadline_seconds: float,
        on_progress: Callable[[], None] = lambda: None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows to `schema` by a bulk job: create, a few looks, one call a page.

        `on_progress` is called after each look at the job: a long job is no hanging one.

        Raises:
            QueryRefused: the SOQL.
            JobFailed: the job ended without results.
            JobNotFinished: it did not end within `deadline_seconds`; it is aborted then.
        """
        job_id = self._jobs.create_query_job(soql)
        job = self._jobs.finished_query_job(job_id, deadline_seconds, on_progress)
        yield from self._jobs.query_results(job, schema, rows_per_page=self._rows_per_page)

    # --- bulk ingest, a call each

    def create_ingest_job(
        self,
        object_name: str,
        operation: str = "update",
        external_id: str | None = None,
    ) -> str:
        """Create an empty job and return its id, to be recorded before `upload` (D3)."""
        return self._jobs.create_ingest_job(object_name, operation, external_id)

    def upload(self, job_id: str, csv: bytes) -> None:
        """Give the job its rows (`update_csv`), once. Raises JobRefused past 100 MB."""
        self._jobs.upload(job_id, csv)

    def close_job(self, job_id: str) -> JobInfo:
        """Let the org begin. Raises JobSpoiled where the job must be aborted and made anew."""
        return self._jobs.close_job(job_id)

    def job(self, job_id: str, kind: JobKind = "ingest") -> JobInfo:
        """Return how the job stands."""
        return self._jobs.job(job_id, kind)

    def wait_for_job(
        self,
        job_id: str,
        deadline_seconds: float,
        kind: JobKind = "ingest",
        on_poll: Callable[[], None] = lambda: None,
        rows: int = 0,
    ) -> JobInfo:
        """Return the job once it has ended, or as it stands when the deadline has passed.

        `on_look` is called at each look; `rows` is how many the job was sent, where that is known.
        """
        return self._jobs.wait_for_job(job_id, deadline_seconds, kind, on_poll, rows)

    def results(self, job: JobInfo | str, *, sent: int | None = None) -> IngestResults:
        """Return what became of the rows of a job that has ended: one to three API calls.

        Given the id instead of the job, one more. With the number of rows `sent`, a complete job's
        empty list of unprocessed rows is not asked for.
        """
        known = self._jobs.job(job) if isinstance(job, str) else job
        return self._jobs.results(known, sent=sent)

    def abort_job(self, job_id: str, kind: JobKind = "ingest") -> JobInfo:
        """Stop a job unless it has ended already. Rows already saved stay saved."""
        return self._jobs.abort_job(job_id, kind)

    def delete_job(self, job_id: str, kind: JobKind = "ingest") -> None:
        """Remove a job and its results from the org. Finished jobs are better kept: admins look."""
        self._jobs.delete_job(job_id, kind)

    def jobs_open(self, object_name: str) -> list[JobInfo]:
        """Return the ingest jobs on the object that wait for data, whoever made them."""
        return self._jobs.jobs_open(object_name)

    @property
    def stray_jobs(self) -> tuple[JobInfo, ...]:
        """Open jobs that may be of a creation whose answer was lost: reported, never touched."""
        return tuple(self._jobs.stray_jobs)

    # --- single records, for setting up an org

    def create_record(
        self, object_name: str, values: Mapping[str, Any], *, tooling: bool = False
    ) -> str:
        """Create one record and return its id; `tooling` for metadata such as CustomField (R13).

        Not repeated where it may have been carried out. Raises CallRefused.
        """
        path = f"{'tooling/' if tooling else ''}sobjects/{object_name}"
        answer = self._session.call(
            lambda sf: sf.restful(path, method="POST", json=dict(values)),
            f"create a {object_name}",
            repeatable=False,
        )
        with understood(f"create a {object_name}"):
            return str((answer or {}).get("id", ""))

    def create_records(
        self, object_name: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[SaveResult]:
        """Create up to 200 records in one call, each on its own, and say what became of each."""
        return self._save_records("POST", object_name, rows)

    def update_records(
        self, object_name: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[SaveResult]:
        """Update up to 200 records (`id` among each row's keys) in one call, each on its own."""
        return self._save_records("PATCH", object_name, rows)

    def _save_records(
        self, method: str, object_name: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[SaveResult]:
        if not 0 < len(rows) <= RECORDS_PER_CALL:
            raise ValueError(f"{len(rows)} records: one call takes 1 to {RECORDS_PER_CALL}")
        records = [{"attributes": {"type": object_name}, **row} for row in rows]
        body = {"allOrNone": False, "records": records}
        answer = self._session.call(
            lambda sf: sf.restful("composite/sobjects", method=method, json=body),
            f"save {len(rows)} of {object_name}",
            repeatable=method == "PATCH",
        )
        if not isinstance(answer, list) or len(answer) != len(rows):
            raise UnexpectedAnswer(f"The org does not say what became of {len(rows)} records.")
        with understood(f"save {len(rows)} of {object_name}"):
            return [_save_result(entry) for entry in answer]


@dataclass(frozen=True, slots=True)
class SaveResult:
    """What became of one record: its id, or Salesforce's own code and message."""

    record_id: str | None
    code: str = ""
    message: str = ""


def _save_result(entry: Mapping[str, Any]) -> SaveResult:
    if entry.get("success"):
        return SaveResult(str(entry["id"]))
    first = (entry.get("errors") or [{}])[0]
    return SaveResult(None, str(first.get("statusCode", "")), str(first.get("message", "")))


def _part(parts: Mapping[str, Any], reference: str, name: str) -> Record | QueryRefused:
    """Return one query's answer out of a composite answer, or why it was refused.

    Raises what concerns the call as a whole: a lost session, a limit, an org that is unavailable.
    """
    part = parts.get(reference)
    if part is None:
        raise OrgUnavailable(f"The org left out the answer to the query {name}.")
    if part["httpStatusCode"] == HTTPStatus.OK:
        body: Record = part["body"]
        return body
    error = error_from_answer(
        part["httpStatusCode"], part["body"], f"query {name}", refusal=QueryRefused
    )
    if isinstance(error, QueryRefused):
        return error
    if isinstance(error, SessionLost):
        logger.info("The session was lost inside a composite call.")
    raise error
