"""Describe, queries, limits and the budget against a running org, also when things go wrong."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from local_org.launch import CLIENT_SECRET, RunningOrg
from pipeline.core.errors import BudgetExhausted
from resources.salesforce.calls import ApiCall, ApiUsage, Timeouts
from resources.salesforce.client import Salesforce
from resources.salesforce.errors import (
    CallRefused,
    DailyRequestLimit,
    JobFailed,
    JobNotFinished,
    NoSuchObject,
    OrgUnavailable,
    QueriesRefused,
    QueryRefused,
    SessionLost,
)

MakeClient = Callable[..., Salesforce]

NASTY = 'José "J" O\u2019Neil, 😀 日本 \u2028 line\nbreak\ttab, שלום'
CONTACTS = pa.schema(
    [
        ("Id", pa.string()),
        ("LastName", pa.string()),
        ("Account.Name", pa.string()),
        ("Score__c", pa.float64()),
        ("Hot__c", pa.bool_()),
        ("Note__c", pa.string()),
        ("Scored__c", pa.timestamp("ms", tz="UTC")),
        ("Day__c", pa.date32()),
        ("SystemModstamp", pa.timestamp("ms", tz="UTC")),
    ]
)
LEADS = pa.schema([("Id", pa.string()), ("LastName", pa.string())])


def load_leads(org: RunningOrg, company: str, count: int) -> list[str]:
    """Load leads named after their number."""
    return org.load(
        "Lead",
        [{"LastName": f"Lead {n:05}", "Company": company, "Status": "Open"} for n in range(count)],
    )


def soql(company: str, columns: str = "Id, LastName") -> str:
    """Return the query for a test's leads."""
    return f"SELECT {columns} FROM Lead WHERE Company = '{company}'"


def contacts(org: RunningOrg, company: str) -> str:
    """Load two contacts, one with everything and one with nothing; return their query."""
    (account,) = org.load("Account", [{"Name": company}])
    org.load(
        "Contact",
        [
            {
                "LastName": "Full",
                "AccountId": account,
                "Title": company,
                "Score__c": "87",
                "Hot__c": "true",
                "Note__c": NASTY,
                "Scored__c": "2026-01-02T03:04:05.000Z",
                "Day__c": "2026-01-02",
            },
            {"LastName": "Empty", "Title": company},
        ],
    )
    return f"SELECT {', '.join(CONTACTS.names)} FROM Contact WHERE Title = '{company}'"


def table(batches: Any) -> pa.Table:
    """Return all batches as one table."""
    return pa.Table.from_batches(list(batches))


def names(batches: Any) -> list[str]:
    """Return the sorted last names of all batches."""
    return sorted(name for batch in batches for name in batch["LastName"].to_pylist())


def expected_names(count: int) -> list[str]:
    """Return the last names of `count` leads."""
    return [f"Lead {n:05}" for n in range(count)]


# --- describe, limits, clock, budget


def test_describe_tells_what_the_user_may_read_and_write(client: Salesforce) -> None:
    lead = client.describe("Lead")

    assert (lead.createable, lead.updateable, lead.queryable) == (True, True, True)
    score = lead.fields["Score__c"]
    assert (score.type, score.precision, score.scale, score.custom) == ("double", 3, 0, True)
    assert score.updateable
    assert not lead.fields["SystemModstamp"].updateable
    assert lead.fields["Rank__c"].length == 1


def test_a_hidden_field_is_absent_and_a_hidden_object_unknown(
    org: RunningOrg, client: Salesforce
) -> None:
    org.control("POST", "permissions", {"object": "Lead", "field": "Rank__c", "read": False})
    org.control("POST", "permissions", {"object": "Contact", "read": False})
    try:
        assert "Rank__c" not in client.describe("Lead").fields
        with pytest.raises(NoSuchObject):
            client.describe("Contact")
    finally:
        org.control("POST", "permissions", {"object": "Lead", "field": "Rank__c", "clear": True})
        org.control("POST", "permissions", {"object": "Contact", "clear": True})


@pytest.mark.parametrize("name", ["Nope__c", "../limits", "Lead/describe", ""])
def test_an_unknown_object_is_refused_by_name(client: Salesforce, name: str) -> None:
    with pytest.raises(NoSuchObject, match="Check the object's name"):
        client.describe(name)


def test_the_orgs_own_count_of_requests_is_read_from_each_answer(
    org: RunningOrg, client_for: MakeClient
) -> None:
    read: list[ApiUsage] = []
    client = client_for(on_usage=read.append)
    client.describe("Lead")
    client.describe("Lead")

    assert read == [ApiUsage(1, 15_000), ApiUsage(2, 15_000)]


def test_every_request_is_counted_before_it_leaves_retries_and_sign_in_included(
    org: RunningOrg, client_for: MakeClient
) -> None:
    calls: list[ApiCall] = []
    org.arm("http_503", path="/describe", count=2)
    client_for(on_call=calls.append).describe("Lead")

    assert [call.kind for call in calls] == ["sign-in", "describe", "describe", "describe"]
    assert len(org.calls()["log"]) == len(calls)


def test_a_budget_stops_the_request_from_leaving(org: RunningOrg, client_for: MakeClient) -> None:
    def refuse_describe(call: ApiCall) -> None:
        if call.kind == "describe":
            raise BudgetExhausted("used up")

    with pytest.raises(BudgetExhausted):
        client_for(on_call=refuse_describe).describe("Lead")

    assert [call["kind"] for call in org.calls()["log"]] == ["sign-in"]


def test_the_orgs_clock_is_followed_not_ours(org: RunningOrg, client: Salesforce) -> None:
    org.control("POST", "clock", {"offset_seconds": 86_400})
    ahead = client.org_now() - datetime.now(UTC)

    assert timedelta(hours=23, minutes=59) < ahead <= timedelta(days=1)
    assert [call["kind"] for call in org.calls()["log"]] == ["sign-in"]


def test_the_daily_limit_of_the_org_stops_at_once(org: RunningOrg, client: Salesforce) -> None:
    client.describe("Lead")
    org.set_options(api_calls_max=1)

    with pytest.raises(DailyRequestLimit) as caught:
        client.describe("Lead")

    assert caught.value.code == "REQUEST_LIMIT_EXCEEDED"
    assert caught.value.exit_code == 3
    assert [call["status"] for call in org.calls()["log"]] == [200, 200, 403]


def test_too_many_concurrent_requests_are_waited_out(org: RunningOrg, client: Salesforce) -> None:
    org.arm("http_403_limit", limit="concurrent", path="/describe", count=3)

    assert client.describe("Lead").name == "Lead"
    assert org.fault_count() == 3


@pytest.mark.parametrize("kind", ["http_503", "http_500", "drop_before", "drop_after", "truncate"])
def test_a_passing_fault_is_tried_again(org: RunningOrg, client: Salesforce, kind: str) -> None:
    org.arm(kind, path="/describe", count=2)

    assert client.describe("Lead").name == "Lead"
    assert org.fault_count() == 2


def test_a_fault_that_does_not_pass_is_given_up_after_six_tries(
    org: RunningOrg, client: Salesforce
) -> None:
    org.arm("http_503", path="/describe", count=None)

    with pytest.raises(OrgUnavailable, match="describe Lead: HTTP 503"):
        client.describe("Lead")

    assert org.fault_count() == 6


def test_an_answer_that_takes_too_long_is_asked_for_again(
    org: RunningOrg, client_for: MakeClient
) -> None:
    org.arm("slow", path="/describe", seconds=1.0)
    client = client_for(timeouts=Timeouts(read_seconds=0.3))

    assert client.describe("Lead").name == "Lead"
    assert org.fault_count() == 1


def test_neither_log_nor_error_shows_a_token_or_a_secret(
    org: RunningOrg, client: Salesforce, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    org.arm("http_503", path="/describe", count=2)
    org.arm("expire_session", path="/describe", count=2)
    with pytest.raises(SessionLost) as caught:
        client.describe("Lead")
    shown = caplog.text + "".join(traceback.format_exception(caught.value))

    assert "503" in shown
    assert CLIENT_SECRET not in shown
    assert f"{org.org_id[:15]}!" not in shown


# --- REST queries


def test_rest_and_bulk_give_the_same_columns(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    query = contacts(org, company)
    by_rest = table(client.query(query, CONTACTS)).sort_by("LastName")
    by_bulk = table(client.bulk_query(query, CONTACTS, deadline_seconds=30)).sort_by("LastName")

    assert by_rest.schema == CONTACTS
    assert by_bulk.schema == CONTACTS
    assert by_rest.equals(by_bulk)
    empty, full = by_rest.to_pylist()
    assert full["Account.Name"] == company
    assert full["Score__c"] == 87.0
    assert full["Hot__c"] is True
    assert full["Note__c"] == NASTY
    assert full["Scored__c"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert [empty[name] for name in ("Account.Name", "Score__c", "Note__c", "Scored__c")] == [
        None
    ] * 4
    assert empty["Hot__c"] is False


@pytest.mark.parametrize("form", ["decimal", "integer"])
def test_either_form_of_whole_numbers_is_read(
    org: RunningOrg, client: Salesforce, company: str, form: str
) -> None:
    org.set_options(csv_double_form=form, json_double_form=form, csv_boolean_query="TRUE")
    query = contacts(org, company)

    for batches in (
        client.query(query, CONTACTS),
        client.bulk_query(query, CONTACTS, deadline_seconds=30),
    ):
        read = table(batches).sort_by("LastName").to_pylist()
        assert [row["Score__c"] for row in read] == [None, 87.0]
        assert [row["Hot__c"] for row in read] == [False, True]


def test_types_from_describe_fit_both_ways_of_reading(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    load_leads(org, company, 2)
    usable = [
        field
        for field in client.describe("Lead").fields.values()
        if field.type not in {"address", "location"}
    ]
    schema = pa.schema([(field.name, field.arrow_type) for field in usable])
    query = soql(company, ", ".join(schema.names))
    by_rest = table(client.query(query, schema)).sort_by("Id")
    by_bulk = table(client.bulk_query(query, schema, deadline_seconds=30)).sort_by("Id")

    assert by_rest.num_rows == 2
    assert by_rest.equals(by_bulk)


def test_pages_are_asked_for_one_at_a_time(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    load_leads(org, company, 500)
    org.set_options(query_page_rows=200)
    batches = client.query(soql(company), LEADS)
    first = next(batches)
    asked = org.calls()["by_kind"]["query"]
    rest = list(batches)

    assert (first.num_rows, asked) == (200, 1)
    assert names([first, *rest]) == expected_names(500)
    assert org.calls()["by_kind"]["query"] == 3


@pytest.mark.parametrize(
    "kind", ["expire_session", "http_503", "drop_before", "drop_after", "truncate"]
)
def test_a_fault_between_two_pages_loses_and_repeats_nothing(
    org: RunningOrg, client: Salesforce, company: str, kind: str
) -> None:
    load_leads(org, company, 700)
    org.set_options(query_page_rows=200)
    org.arm(kind, path=r"/query/01g", skip=1)

    assert names(client.query(soql(company), LEADS)) == expected_names(700)
    assert org.fault_count() == 1


def test_no_rows_are_no_batches(client: Salesforce, company: str) -> None:
    assert list(client.query(soql(company), LEADS)) == []


def test_a_wrong_query_is_refused_in_salesforces_words(client: Salesforce) -> None:
    with pytest.raises(QueryRefused) as caught:
        list(client.query("SELECT Nope__c FROM Lead", LEADS))

    assert caught.value.code == "INVALID_FIELD"
    assert "No such column 'Nope__c' on entity 'Lead'" in caught.value.text


def test_records_are_counted(org: RunningOrg, client: Salesforce, company: str) -> None:
    load_leads(org, company, 7)

    assert client.count(f"SELECT COUNT() FROM Lead WHERE Company = '{company}'") == 7


def test_a_query_too_long_for_an_address_is_asked_all_the_same(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    load_leads(org, company, 450)
    org.set_options(query_page_rows=200)
    alternatives = " OR ".join(f"LastName = 'Nobody {n:04}'" for n in range(700))
    query = f"{soql(company)} AND (LastName LIKE 'Lead%' OR {alternatives})"

    assert names(client.query(query, LEADS)) == expected_names(450)
    assert client.count(query.replace("Id, LastName", "COUNT()")) == 450
    with pytest.raises(QueryRefused):
        list(client.query(query.replace("Id, LastName", "Nope"), LEADS))


def test_five_questions_are_one_call(org: RunningOrg, client: Salesforce, company: str) -> None:
    load_leads(org, company, 3)
    newest = f"SELECT COUNT(Id) n, MAX(SystemModstamp) newest FROM Lead WHERE Company = '{company}'"
    answers = client.ask(
        {"lead": newest, "a b": soql(company), "c": newest, "d": newest, "e": newest}
    )

    assert answers["lead"][0]["n"] == 3
    assert answers["lead"][0]["newest"].startswith("20")
    assert names(
        [pa.table({"LastName": [row["LastName"] for row in answers["a b"]]})]
    ) == expected_names(3)
    assert org.calls()["used_24h"] == 1
    with pytest.raises(ValueError, match="6 queries"):
        client.ask(dict.fromkeys("abcdef", newest))


def test_one_refused_question_leaves_the_others_answered(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    load_leads(org, company, 3)
    with pytest.raises(QueriesRefused, match="wrong: INVALID_FIELD") as caught:
        client.ask({"right": soql(company), "wrong": "SELECT Nope FROM Lead"})

    assert list(caught.value.errors) == ["wrong"]
    assert "No such column 'Nope'" in caught.value.errors["wrong"].text
    assert len(caught.value.answers["right"]) == 3


@pytest.mark.parametrize("kind", ["expire_session", "http_503", "drop_after", "truncate"])
def test_questions_are_asked_again_after_a_fault(
    org: RunningOrg, client: Salesforce, company: str, kind: str
) -> None:
    load_leads(org, company, 3)
    org.arm(kind, method="POST", path="/composite")

    assert len(client.ask({"all": soql(company)})["all"]) == 3
    assert org.fault_count() == 1


def test_records_are_read_by_id_2500_to_a_call_and_missing_ones_left_out(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 1_201)

    def select(some: Sequence[str]) -> str:
        listed = ", ".join(f"'{one}'" for one in some)
        return f"SELECT Id, LastName FROM Lead WHERE Id IN ({listed})"

    org.set_options(query_page_rows=300)
    batches = client.read_by_ids(select, [*ids, "00Q000000000000AAA"], LEADS)

    assert names(batches) == expected_names(1_201)
    calls = [call["path"] for call in org.calls()["log"] if "composite" in call["path"]]
    assert len(calls) == 1


# --- bulk queries


def test_a_bulk_query_is_read_page_by_page(
    org: RunningOrg, client_for: MakeClient, company: str
) -> None:
    load_leads(org, company, 1_000)
    calls: list[ApiCall] = []
    client = client_for(rows_per_page=300, on_call=calls.append)

    assert names(client.bulk_query(soql(company), LEADS, deadline_seconds=30)) == expected_names(
        1_000
    )
    assert [call.kind for call in calls].count("results") == 4


@pytest.mark.parametrize(
    "options",
    [
        {"bulk_header_every_page": False},
        {"csv_charset": False},
        {"gzip": False},
    ],
)
def test_every_form_that_results_may_have_is_read(
    org: RunningOrg, client_for: MakeClient, company: str, options: dict[str, Any]
) -> None:
    org.set_options(**options)
    load_leads(org, company, 500)
    client = client_for(rows_per_page=200)

    assert names(client.bulk_query(soql(company), LEADS, deadline_seconds=30)) == expected_names(
        500
    )


@pytest.mark.parametrize("form", ["header", "empty", "no_content"])
def test_a_bulk_query_without_rows_gives_none(
    org: RunningOrg, client: Salesforce, company: str, form: str
) -> None:
    org.set_options(bulk_zero_rows=form)

    assert list(client.bulk_query(soql(company), LEADS, deadline_seconds=30)) == []


@pytest.mark.parametrize(
    "path", ["jobs/query$", r"jobs/query/\w+$", r"/results\?maxRecords.*locator"]
)
@pytest.mark.parametrize("kind", ["expire_session", "http_503", "drop_before", "drop_after"])
def test_a_fault_at_any_step_of_a_bulk_query_loses_nothing(
    org: RunningOrg, client_for: MakeClient, company: str, kind: str, path: str
) -> None:
    load_leads(org, company, 500)
    org.arm(kind, path=path)
    client = client_for(rows_per_page=200)

    assert names(client.bulk_query(soql(company), LEADS, deadline_seconds=30)) == expected_names(
        500
    )
    assert org.fault_count() == 1


@pytest.mark.parametrize("cut", [0, 20, 1_500])
def test_a_page_of_results_that_breaks_off_is_read_again(
    org: RunningOrg, client_for: MakeClient, company: str, cut: int
) -> None:
    load_leads(org, company, 500)
    org.arm("truncate", path="/results", skip=1, count=2, bytes=cut)
    client = client_for(rows_per_page=200)

    assert names(client.bulk_query(soql(company), LEADS, deadline_seconds=30)) == expected_names(
        500
    )
    assert org.fault_count() == 2


def test_a_bulk_query_is_refused_in_salesforces_words(client: Salesforce) -> None:
    with pytest.raises(QueryRefused) as caught:
        list(client.bulk_query("SELECT Nope FROM Lead", LEADS, deadline_seconds=30))

    assert caught.value.code


def test_a_bulk_query_that_fails_says_so(org: RunningOrg, client: Salesforce, company: str) -> None:
    org.arm("job_fail", operation="query", message="InternalServerError : of theirs")

    with pytest.raises(JobFailed, match=r"ended as Failed.*InternalServerError : of theirs"):
        list(client.bulk_query(soql(company), LEADS, deadline_seconds=30))


def test_a_bulk_query_that_does_not_end_is_aborted_at_its_deadline(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    org.arm("job_stuck", operation="query")

    with pytest.raises(JobNotFinished) as caught:
        list(client.bulk_query(soql(company), LEADS, deadline_seconds=0.3))

    org.clear_faults()
    states = {job["id"]: job["state"] for job in org.control("GET", "jobs")}
    assert states[caught.value.job_id] == "Aborted"


# --- setting up


def test_a_record_is_created_once_or_refused(org: RunningOrg, client: Salesforce) -> None:
    made = client.create_record("Account", {"Name": "Made by hand"})

    assert org.query(f"SELECT Name FROM Account WHERE Id = '{made}'")[0]["Name"] == "Made by hand"
    with pytest.raises(CallRefused) as caught:
        client.create_record("Lead", {"Company": "without a name"})
    assert caught.value.code == "REQUIRED_FIELD_MISSING"
