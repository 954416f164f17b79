"""How long the org is waited for, and cursors that expire: nothing hangs, nothing is lost or given twice (R3, R21)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg
from resources.salesforce.calls import ApiCall, RetryPolicy, Timeouts
from resources.salesforce.client import Salesforce
from resources.salesforce.connection import ClientCredentials
from resources.salesforce.errors import (
    AnswerShort,
    ConnectionBroken,
    DailyRequestLimit,
    JobRefused,
    OrgUnavailable,
    QueryRefused,
)
from resources.salesforce.update_csv import update_csv
from tests.resources.salesforce.silence import silent_server

MakeClient = Callable[..., Salesforce]
LEADS = pa.schema([("Id", pa.string()), ("LastName", pa.string())])
SOON = Timeouts(connect_seconds=1.0, read_seconds=0.4, total_seconds=20.0)
RESUMES = datetime(2026, 3, 10, 13, 30, tzinfo=UTC)


def load_leads(org: RunningOrg, company: str, count: int) -> list[str]:
    """Load leads named after their number."""
    rows = [
        {"LastName": f"Lead {n:05}", "Company": company, "Status": "Open"} for n in range(count)
    ]
    return org.load("Lead", rows)


def of(company: str) -> str:
    """Return the query for a test's leads."""
    return f"SELECT Id, LastName FROM Lead WHERE Company = '{company}'"


def by_ids(ids: Sequence[str]) -> str:
    """Return the query for some ids."""
    listed = ", ".join(f"'{one}'" for one in ids)
    return f"SELECT Id, LastName FROM Lead WHERE Id IN ({listed})"


def ids_of(batches: Any) -> list[str]:
    """Return the sorted ids of all batches."""
    return sorted(one for batch in batches for one in batch["Id"].to_pylist())


# --- cursors that expire


@pytest.mark.parametrize("skip", [0, 1])
def test_query_whose_cursor_expires_is_begun_again_and_gives_each_record_once(
    org: RunningOrg, client: Salesforce, company: str, skip: int
) -> None:
    ids = load_leads(org, company, 700)
    org.set_options(query_page_rows=200)
    org.arm("expire_locator", path="/query/01g", skip=skip)

    assert ids_of(client.query(of(company), LEADS)) == sorted(ids)
    assert org.fault_count() == 1


def test_query_whose_cursor_expires_every_time_is_refused_in_salesforces_words(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    load_leads(org, company, 300)
    org.set_options(query_page_rows=200)
    org.arm("expire_locator", path="/query/01g", count=None)

    with pytest.raises(QueryRefused) as caught:
        list(client.query(of(company), LEADS))

    assert caught.value.code == "INVALID_QUERY_LOCATOR"
    assert org.fault_count() == 3


def test_records_read_by_id_are_asked_for_again_when_a_cursor_expires(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 450)
    org.set_options(query_page_rows=200)
    org.arm("expire_locator", path="/query/01g", skip=1)

    assert ids_of(client.read_by_ids(by_ids, ids, LEADS)) == sorted(ids)
    assert org.fault_count() == 1


@pytest.mark.parametrize("skip", [0, 1])
def test_results_of_a_bulk_query_are_read_from_the_start_when_a_locator_expires(
    org: RunningOrg, client_for: MakeClient, company: str, skip: int
) -> None:
    ids = load_leads(org, company, 700)
    client = client_for(rows_per_page=200)
    org.arm("expire_locator", path="/results", skip=skip)

    assert ids_of(client.bulk_query(of(company), LEADS, deadline_seconds=30)) == sorted(ids)
    assert org.fault_count() == 1


def test_results_whose_locators_expire_every_time_are_refused(
    org: RunningOrg, client_for: MakeClient, company: str
) -> None:
    load_leads(org, company, 300)
    org.arm("expire_locator", path="/results", count=None)

    with pytest.raises(JobRefused) as caught:
        list(client_for(rows_per_page=200).bulk_query(of(company), LEADS, deadline_seconds=30))

    assert caught.value.code == "INVALID_QUERY_LOCATOR"


# --- answers that are shorter than promised


@pytest.mark.parametrize("skip", [0, 1, 3])
def test_query_that_gives_fewer_rows_than_promised_is_read_again(
    org: RunningOrg, client: Salesforce, company: str, skip: int
) -> None:
    """The first page, one between, and the last one: each record comes once."""
    ids = load_leads(org, company, 700)
    org.set_options(query_page_rows=200)
    org.arm("short_result", path="/query", skip=skip)

    assert ids_of(client.query(of(company), LEADS)) == sorted(ids)
    assert org.fault_count() == 1


def test_query_that_stays_short_says_so_after_the_rows_that_it_gave(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    load_leads(org, company, 300)
    org.arm("short_result", path="/query", count=None)

    given = []
    with pytest.raises(AnswerShort, match="promised 300 rows of a query and gave 299"):
        given.extend(client.query(of(company), LEADS))

    assert len(ids_of(given)) == 299
    assert org.fault_count() == 3


def test_records_read_by_id_are_asked_for_again_when_some_are_missing(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    """A record that an answer left out is not taken for a deleted one."""
    ids = load_leads(org, company, 30)
    org.arm("short_result", path="/query")

    assert ids_of(client.read_by_ids(by_ids, ids, LEADS)) == sorted(ids)
    assert org.fault_count() == 1


@pytest.mark.parametrize("skip", [0, 1, 3])
def test_results_of_a_bulk_query_are_read_again_where_the_job_processed_more(
    org: RunningOrg, client_for: MakeClient, company: str, skip: int
) -> None:
    ids = load_leads(org, company, 700)
    org.arm("short_result", path="/results", skip=skip)

    batches = client_for(rows_per_page=200).bulk_query(of(company), LEADS, deadline_seconds=30)

    assert ids_of(batches) == sorted(ids)
    assert org.fault_count() == 1


@pytest.mark.parametrize("count", [3, None])
def test_results_that_stay_short_are_those_of_a_second_job(
    org: RunningOrg, client_for: MakeClient, company: str, count: int | None
) -> None:
    ids = load_leads(org, company, 300)
    org.arm("short_result", path="/results", count=count)
    given = []
    stays_short: Any = pytest.raises(AnswerShort) if count is None else nullcontext()

    with stays_short:
        given.extend(client_for().bulk_query(of(company), LEADS, deadline_seconds=30))

    assert len(ids_of(given)) == len(ids) - (count is None)
    assert org.fault_count() == (6 if count is None else 3)


# --- waiting


def test_org_that_never_answers_is_given_up_after_the_time_for_a_call() -> None:
    """All tries together: the sign-in that hangs, the waits, and the tries after it."""
    timeouts = Timeouts(connect_seconds=1.0, read_seconds=0.6, total_seconds=1.5)
    with silent_server() as address:
        client = Salesforce(
            ClientCredentials(address, CLIENT_ID, CLIENT_SECRET),
            timeouts=timeouts,
            retry=RetryPolicy(first_wait_seconds=0.1, jitter_seconds=0.1),
        )
        began = time.monotonic()
        with client, pytest.raises(ConnectionBroken, match="Nothing is lost"):
            client.describe("Lead")

    assert time.monotonic() - began > 1.0


@pytest.mark.parametrize("what", ["describe", "ask", "query", "results"])
def test_answer_that_trickles_in_is_given_up_after_the_time_for_a_call(
    org: RunningOrg, client_for: MakeClient, company: str, what: str
) -> None:
    """Each byte comes in time, the whole would take hours."""
    load_leads(org, company, 50)
    client = client_for(timeouts=Timeouts(read_seconds=5.0, total_seconds=1.5))
    doing: dict[str, Callable[[], object]] = {
        "describe": lambda: client.describe("Lead"),
        "ask": lambda: client.ask({"a": of(company)}),
        "query": lambda: list(client.query(of(company), LEADS)),
        "results": lambda: list(client.bulk_query(of(company), LEADS, deadline_seconds=30)),
    }
    path = {
        "describe": "/describe",
        "ask": "/composite",
        "query": r"/query/?\?",
        "results": "/results",
    }
    _ = client.org_id
    org.arm("slow", path=path[what], count=None, chunk_bytes=1, chunk_seconds=0.05)
    with pytest.raises(OrgUnavailable) as caught:
        doing[what]()

    assert caught.value.exit_code == 3
    org.clear_faults()
    assert client.describe("Lead").name == "Lead"


def test_slow_answers_of_reading_calls_are_asked_for_again(
    org: RunningOrg, client_for: MakeClient, company: str
) -> None:
    ids = load_leads(org, company, 300)
    org.set_options(query_page_rows=200)
    client = client_for(timeouts=SOON, rows_per_page=200)
    for path in ("/oauth2/token", "/composite", r"/query/?\?", "/query/01g", r"/jobs/query/\w+$"):
        org.arm("slow", path=path, seconds=0.8)
    org.arm("slow", path=r"/results\?maxRecords=200&locator", seconds=0.8)

    assert len(client.ask({"all": of(company)})["all"]) == 300
    assert ids_of(client.query(of(company), LEADS)) == sorted(ids)
    assert ids_of(client.bulk_query(of(company), LEADS, deadline_seconds=30)) == sorted(ids)
    assert org.fault_count() == 6


def test_slow_answers_of_a_push_lose_nothing(
    org: RunningOrg, client_for: MakeClient, company: str
) -> None:
    ids = load_leads(org, company, 3)
    client = client_for(timeouts=SOON)
    for method, path in (
        ("PATCH", "/jobs/ingest"),
        ("GET", r"/jobs/ingest/\w+$"),
        ("GET", "/successfulResults"),
    ):
        org.arm("slow", method=method, path=path, seconds=0.8)
    job_id = client.create_ingest_job("Lead")
    client.upload(job_id, update_csv(pa.table({"Id": ids, "Score__c": [1, 2, 3]})))
    client.close_job(job_id)
    results = client.results(client.wait_for_job(job_id, 30), sent=3)

    assert sorted(results.succeeded_ids.to_pylist()) == sorted(ids)
    assert org.fault_count() == 3


def test_waits_between_tries_grow_and_have_jitter(org: RunningOrg, client_for: MakeClient) -> None:
    waits: list[float] = []
    before = get_on_retry_hooks()
    set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    org.arm("http_503", path="/describe", count=12)
    try:
        for _ in range(2):
            with pytest.raises(OrgUnavailable):
                client_for(retry=RetryPolicy(6, 0.02, 0.1, 0.01)).describe("Lead")
    finally:
        set_on_retry_hooks(before)

    first, second = waits[:5], waits[5:]
    assert len(first) == len(second) == 5
    pairs = zip(first, (0.02, 0.04, 0.08, 0.1, 0.1), strict=True)
    assert all(least - 0.001 <= wait <= least + 0.011 for wait, least in pairs)
    assert first != second


# --- limits of requests


def test_daily_limit_says_when_the_org_is_asked_again(
    org: RunningOrg, client_for: MakeClient, company: str
) -> None:
    client = client_for(on_limit=lambda: RESUMES)
    for path, doing in (
        ("/describe", lambda: client.describe("Lead")),
        ("/composite", lambda: client.ask({"a": of(company)})),
        ("/jobs/ingest", lambda: client.create_ingest_job("Lead")),
    ):
        org.arm("http_403_limit", path=path)
        with pytest.raises(DailyRequestLimit, match="TotalRequests Limit exceeded") as caught:
            doing()
        assert "asked again at 2026-03-10 13:30 UTC" in str(caught.value)
    assert org.fault_count() == 3


def test_too_many_requests_at_once_are_waited_out_at_every_step_of_a_push(
    org: RunningOrg, client_for: MakeClient, company: str
) -> None:
    ids = load_leads(org, company, 2)
    calls: list[ApiCall] = []
    client = client_for(on_call=calls.append)
    for method, path in (
        ("POST", "/jobs/ingest$"),
        ("PUT", "/batches"),
        ("PATCH", "/jobs/ingest"),
        ("GET", r"/jobs/ingest/\w+$"),
        ("GET", "/successfulResults"),
    ):
        org.arm("http_403_limit", method=method, path=path, limit="concurrent", count=2)
    job_id = client.create_ingest_job("Lead")
    client.upload(job_id, update_csv(pa.table({"Id": ids, "Score__c": [1, 2]})))
    client.close_job(job_id)
    results = client.results(client.wait_for_job(job_id, 30), sent=2)

    assert sorted(results.succeeded_ids.to_pylist()) == sorted(ids)
    assert org.fault_count() == 10
    assert len(calls) == len(org.calls()["log"])
