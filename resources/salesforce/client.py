"""The one client of the connected org: everything that the product asks of Salesforce.

It knows calls and answers, and no rule of the product. Each method says how many API calls it makes
where that is not one.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import pyarrow as pa

from pipeline.core.org_fit.fields import ObjectDescribe
from resources.salesforce.bulk_query import BulkQueries
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
    SalesforceError,
    UnexpectedAnswer,
    understood,
)
from resources.salesforce.hosts import is_plain_http
from resources.salesforce.ids import id18
from resources.salesforce.ingest import IngestJobs
from resources.salesforce.ingest_results import IngestResults
from resources.salesforce.jobs import ABORTED, JobCalls, JobInfo
from resources.salesforce.kept_sign_ins import SignIns
from resources.salesforce.queries import Queries
from resources.salesforce.records import Records, SaveResult
from resources.salesforce.session import Session

API_VERSION: Final = "62.0"
ROWS_PER_PAGE: Final = 100_000
"""Rows of bulk query results asked for at once; a page waits on disk where it is large."""

_OBJECT_NAME: Final = re.compile(r"^[A-Za-z]\w*$", re.ASCII)


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
        sign_ins: SignIns | None = None,
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
            on_usage: called with the org's own count of requests whenever an answer holds it.
            on_sign_in: called with the org's id after each sign-in, renewals included; what it
                raises stops the call that needed the session (R1).
            on_limit: called when the org refuses a call since its own daily limit is used up;
                returns when it is asked again, for the message of DailyRequestLimit.
            sign_ins: sessions that clients share, so that each need not sign in anew, and refusals
                that none of them repeats.
            timeouts: for connections and answers.
            retry: how often passing faults are tried again; `RetryPolicy().without_waiting()` is
                for tests.
            poll: how the wait between two polls of a job grows.
            sleep: waits between two polls of a job.
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
            sign_ins=sign_ins,
            on_limit=on_limit,
        )

        self._queries = Queries(self._session)
        self._job_calls = JobCalls(self._session, poll=poll or PollPolicy(), sleep=sleep)
        self._bulk_queries = BulkQueries(self._job_calls, rows_per_page=rows_per_page)
        self._ingest_jobs = IngestJobs(self._job_calls)
        self._records = Records(self._session)
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
        """Do not check at sign-in whether the org is the right one: for switching orgs (R1).

        It signs in anew: a session that is kept may be one of the org before.
        """
        self._session.on_sign_in = _nothing
        self._session.forget_session()

    def try_refused_again(self) -> None:
        """Let credentials that were refused be sent once more: a person asks for it."""
        self._session.forget_refusal()

    def org_now(self) -> datetime:
        """Return the time on the org's clock (aware UTC): a few seconds behind, never ahead.

        It is the last answer's, carried on by this machine. Without an answer yet, it makes a call.
        """
        if self._session.clock.now() is None:
            _ = self._session.grant
        if self._session.clock.now() is None:
            self._ask_identities()
        now = self._session.clock.now()
        if now is None:
            raise UnexpectedAnswer("The org's answers do not tell its time.")
        return now

    def job_url(self, job_id: str) -> str:
        """Return the address of the job on the org's Bulk Data Load Jobs page."""
        address = quote(f"/{job_id}", safe="")
        return f"{self.instance_url}/lightning/setup/AsyncApiJobStatus/page?address={address}"

    # --- describe

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

    # --- queries

    def ask(self, queries: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of at most five small queries by name, for one API call.

        For counts and newest stamps: give aggregates an alias (`COUNT(Id) n`).

        Raises QueriesRefused, with each refused query's error and the others' rows.
        """
        return self._queries.ask(queries)

    def ask_each(
        self, queries: Mapping[str, str], *, within_seconds: float = math.inf
    ) -> tuple[dict[str, list[dict[str, Any]]], dict[str, SalesforceError]]:
        """Return rows by name, and by name why a query has none, as `ask` for one API call.

        One query's refusal, time-out or error costs the others nothing. Raises what concerns the
        call as a whole; so does an answer that takes longer than `within_seconds`.
        """
        return self._queries.ask_each(queries, within_seconds=within_seconds)

    def count(self, soql: str) -> int:
        """Return the number that a `SELECT COUNT() ...` gives."""
        return self._queries.count(soql)

    def query(self, soql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows to `schema`, a batch a page of up to 2,000: one API call each.

        Parents' fields are columns such as `Account.Name`. A page is asked for when the one before
        has been taken.
        """
        return self._queries.query(soql, schema)

    def begin_query(self, soql: str, schema: pa.Schema) -> tuple[int, Iterator[pa.RecordBatch]]:
        """Return how many rows the query has, by its first page, and the batches of `query`."""
        return self._queries.begin(soql, schema)

    def known_ids(self, object_name: str, ids: Sequence[str]) -> set[str]:
        """Return which of `ids` the org has, deleted ones included, as far as the user sees them.

        One API call for 2,500 ids. What is in neither a query nor here is hidden from the user, or
        gone for good.
        """
        return self._queries.known_ids(object_name, ids)

    def read_by_ids(
        self,
        select: Callable[[Sequence[str]], str],
        ids: Sequence[str],
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the records of `ids` to `schema`: one API call for 2,500 ids, in no set order.

        Records that are gone or hidden are left out. `select` writes the SOQL for some ids.
        """
        return self._queries.read_by_ids(select, ids, schema)

    def bulk_query(
        self,
        soql: str,
        schema: pa.Schema,
        *,
        deadline_seconds: float,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows to `schema` by a bulk job: create, a few polls, one call a page.

        Raises:
            QueryRefused: the SOQL.
            JobFailed: the job ended without results.
            JobNotFinished: it did not end within `deadline_seconds`; it is aborted then.
        """
        return self._bulk_queries.run(soql, schema, deadline_seconds)

    # --- pushing rows by an ingest job, a call each

    def create_ingest_job(self, object_name: str) -> str:
        """Create an empty job and return its id, to be recorded before `upload` (D3)."""
        return self._ingest_jobs.create(object_name)

    def upload(self, job_id: str, csv: bytes) -> None:
        """Give the job its rows (`update_csv`), once. Raises JobRefused past 100 MB."""
        self._ingest_jobs.upload(job_id, csv)

    def close_job(self, job_id: str) -> JobInfo:
        """Let the org begin. Raises JobSpoiled where the job must be aborted and made anew."""
        return self._ingest_jobs.close(job_id)

    def job(self, job_id: str) -> JobInfo:
        """Return how the job stands."""
        return self._job_calls.job("ingest", job_id)

    def wait_for_job(
        self,
        job_id: str,
        deadline_seconds: float,
        on_poll: Callable[[], None] = lambda: None,
        rows: int = 0,
    ) -> JobInfo:
        """Return the job once it has ended, or as it stands when the deadline has passed.

        `on_poll` is called after each poll; `rows` is how many the job was sent, if known.
        """
        return self._job_calls.wait("ingest", job_id, deadline_seconds, on_poll, rows)

    def results(self, job: JobInfo, *, sent: int | None = None) -> IngestResults:
        """Return what became of the rows of a job that has ended: one to three API calls.

        With the number of rows `sent`, a complete job's empty list of unprocessed rows is not
        asked for.
        """
        return self._ingest_jobs.results(job, sent=sent)

    def abort_job(self, job_id: str) -> JobInfo:
        """Stop a job unless it has ended already, and return how it stands when it stands still.

        Rows already saved stay saved. Three API calls or more.
        """
        job = self._job_calls.abort("ingest", job_id)
        return self._job_calls.until_still(job) if job.state == ABORTED else job

    # --- single records, for setting up an org

    def create_record(
        self, object_name: str, values: Mapping[str, Any], *, tooling: bool = False
    ) -> str:
        """Create one record and return its id; `tooling` for metadata such as CustomField (R13).

        Not repeated where it may have been carried out. Raises CallRefused.
        """
        return self._records.create(object_name, values, tooling=tooling)

    def create_records(
        self, object_name: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[SaveResult]:
        """Create up to 200 records in one call, each on its own, and say what became of each."""
        return self._records.save("POST", object_name, rows)

    def update_records(
        self, object_name: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[SaveResult]:
        """Update up to 200 records (`id` among each row's keys) in one call, each on its own."""
        return self._records.save("PATCH", object_name, rows)
