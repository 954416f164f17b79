"""The client's rules that need no org: errors, calls, ids, REST rows, describe."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.errors import CannotProceedNow, InsightsError
from resources.salesforce.calls import ApiCall, ApiUsage, PollPolicy, usage_from_header
from resources.salesforce.describe import object_from_describe
from resources.salesforce.errors import (
    CallRefused,
    DailyRequestLimit,
    OrgUnavailable,
    QueryRefused,
    SalesforceError,
    SessionLost,
    TooManyConcurrentRequests,
    UnexpectedAnswer,
    error_from_answer,
    is_passing,
    salesforce_words,
)
from resources.salesforce.ids import id18
from resources.salesforce.query_answers import batch_from_records, plain_rows, queries_by_ids


def body(code: str, text: str = "words") -> list[dict[str, str]]:
    """Return an error body as REST answers it."""
    return [{"errorCode": code, "message": text}]


@pytest.mark.parametrize(
    ("status", "answer", "kind", "passing"),
    [
        (503, "<html>maintenance</html>", OrgUnavailable, True),
        (503, body("SERVER_UNAVAILABLE"), OrgUnavailable, True),
        (500, body("UNKNOWN_EXCEPTION"), OrgUnavailable, True),
        (502, "", OrgUnavailable, True),
        (429, "", OrgUnavailable, True),
        (
            403,
            body(
                "REQUEST_LIMIT_EXCEEDED",
                "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
            ),
            TooManyConcurrentRequests,
            True,
        ),
        (
            403,
            body("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
            DailyRequestLimit,
            False,
        ),
        (400, body("EXCEEDEDQUOTA"), DailyRequestLimit, False),
        (401, body("INVALID_SESSION_ID"), SessionLost, False),
        (400, body("INVALID_FIELD"), QueryRefused, False),
        (403, body("API_DISABLED_FOR_ORG"), QueryRefused, False),
        (404, "<html>nothing here</html>", UnexpectedAnswer, False),
    ],
)
def test_passing_or_lasting_is_told_from_the_answer(
    status: int, answer: object, kind: type[SalesforceError], passing: bool
) -> None:
    error = error_from_answer(status, answer, "query", QueryRefused)

    assert type(error) is kind
    assert is_passing(error) is passing
    assert isinstance(error, InsightsError)
    assert error.exit_code == (3 if isinstance(error, CannotProceedNow) else 1)


def test_only_a_refusal_at_the_door_surely_did_nothing() -> None:
    at_the_door = error_from_answer(503, "", "x")
    behind_it = error_from_answer(504, "", "x")

    assert isinstance(at_the_door, OrgUnavailable)
    assert isinstance(behind_it, OrgUnavailable)
    assert (at_the_door.may_have_happened, behind_it.may_have_happened) == (False, True)


def test_salesforces_words_stay_verbatim_and_apart() -> None:
    text = "\nSELECT Foo FROM Lead\n       ^\nERROR at Row:1:Column:8\nNo such column 'Foo'"
    error = error_from_answer(400, body("INVALID_FIELD", text), "query")

    assert (error.code, error.text, error.status) == ("INVALID_FIELD", text, 400)
    assert text in str(error)


def test_a_page_of_markup_is_never_quoted() -> None:
    assert salesforce_words("<html>" + "x" * 9_999) == ("", "")
    assert len(salesforce_words("x" * 9_999)[1]) == 500


def test_words_are_found_in_each_form_of_error_body() -> None:
    assert salesforce_words({"error": "invalid_grant", "error_description": "d"}) == (
        "invalid_grant",
        "d",
    )
    assert salesforce_words([{"statusCode": "STRING_TOO_LONG", "message": "m"}]) == (
        "STRING_TOO_LONG",
        "m",
    )
    assert salesforce_words([]) == ("", "")


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/services/oauth2/token", "sign-in"),
        ("POST", "/services/Soap/u/62.0", "sign-in"),
        ("GET", "/services/oauth2/userinfo", "identity"),
        ("GET", "/services/data/v62.0/sobjects/Lead/describe", "describe"),
        ("GET", "/services/data/v62.0/query/", "query"),
        ("GET", "/services/data/v62.0/query/01g000000000001-2000", "query"),
        ("POST", "/services/data/v62.0/composite", "query"),
        ("POST", "/services/data/v62.0/jobs/query", "job"),
        ("GET", "/services/data/v62.0/jobs/query/750x", "poll"),
        ("GET", "/services/data/v62.0/jobs/query/750x/results", "results"),
        ("PUT", "/services/data/v62.0/jobs/ingest/750x/batches", "upload"),
        ("PATCH", "/services/data/v62.0/jobs/ingest/750x", "job"),
        ("GET", "/services/data/v62.0/jobs/ingest/750x/failedResults/", "results"),
        ("POST", "/services/data/v62.0/tooling/sobjects/CustomField", "other"),
    ],
)
def test_a_call_is_counted_by_what_it_is_for(method: str, path: str, kind: str) -> None:
    assert ApiCall.of(method=method, path=path).kind == kind


def test_usage_is_read_as_used_of_allotted() -> None:
    assert usage_from_header("api-usage=18/5000") == ApiUsage(used=18, allotted=5000)
    assert usage_from_header("per-app-api-usage=17/250(appName=x); api-usage=25/5000") == ApiUsage(
        used=25, allotted=5000
    )
    assert usage_from_header("per-app-api-usage=17/250(appName=x)") is None
    assert usage_from_header("") is None


def test_polling_starts_soon_and_grows_to_a_bound() -> None:
    policy = PollPolicy()
    waits = [policy.first_seconds]
    for _ in range(20):
        waits.append(policy.next_wait(waits[-1]))

    assert waits[0] <= 0.1
    assert waits == sorted(waits)
    assert waits[-1] == policy.longest_seconds


def test_a_large_job_is_given_the_time_that_it_needs_at_least() -> None:
    """R21: looks that can only find it at work would be calls for nothing."""
    policy = PollPolicy()

    assert policy.next_wait(0.1, rows=100) == policy.next_wait(0.1)
    assert policy.next_wait(0.1, rows=100_000) == 5
    assert policy.next_wait(5, rows=100_000) == 10
    assert policy.next_wait(0.1, rows=100_000_000) == policy.longest_seconds


def test_short_ids_get_the_suffix_that_salesforce_gives_them() -> None:
    assert id18("01gD0000002HU6K") == "01gD0000002HU6KIAW"
    assert id18("750R0000000zlh9") == "750R0000000zlh9IAA"
    assert id18("750R0000000zlh9IAA") == "750R0000000zlh9IAA"


RECORDS: list[dict[str, Any]] = [
    {
        "attributes": {"type": "Contact"},
        "Id": "003A",
        "Account": {"attributes": {"type": "Account"}, "Name": "Acme\0 & Söhne"},
        "Score__c": 87,
        "Employees": 87.0,
        "Hot__c": True,
        "Stamp": "2026-01-02T03:04:05.000+0000",
        "Day": "2026-01-02",
    },
    {
        "attributes": {"type": "Contact"},
        "Id": "003B",
        "Account": None,
        "Score__c": 87.5,
        "Employees": None,
        "Hot__c": False,
        "Stamp": None,
        "Day": None,
    },
]
SCHEMA = pa.schema(
    [
        ("Id", pa.string()),
        ("account.NAME", pa.string()),
        ("Score__c", pa.float64()),
        ("Employees", pa.int64()),
        ("Hot__c", pa.bool_()),
        ("Stamp", pa.timestamp("ms", tz="UTC")),
        ("Day", pa.date32()),
    ]
)


def test_rest_records_become_columns_with_parents_flattened() -> None:
    batch = batch_from_records(RECORDS, SCHEMA)

    assert batch.schema == SCHEMA
    assert [tuple(row.values()) for row in batch.to_pylist()] == [
        (
            "003A",
            "Acme & Söhne",
            87.0,
            87,
            True,
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            date(2026, 1, 2),
        ),
        ("003B", None, 87.5, None, False, None, None),
    ]


def test_a_parent_that_no_record_has_is_a_column_of_nulls() -> None:
    assert batch_from_records(RECORDS[1:], SCHEMA)["account.NAME"].to_pylist() == [None]


def test_half_of_a_character_in_one_record_does_not_stop_the_others() -> None:
    """A text cut through an emoji: JSON can carry the half, UTF-8 and with it Bulk cannot, and say "?"."""
    records = [{"Note": "cut \ud83d"}, {"Note": "whole \U0001f600"}, {"Note": None}]

    batch = batch_from_records(records, pa.schema([("Note", pa.string())]))

    assert batch["Note"].to_pylist() == ["cut ?", "whole \U0001f600", None]


def test_a_missing_column_and_a_wrong_type_are_named_without_the_value() -> None:
    with pytest.raises(UnexpectedAnswer, match="Nope"):
        batch_from_records(RECORDS, pa.schema([("Nope", pa.string())]))
    with pytest.raises(UnexpectedAnswer, match="Id") as caught:
        batch_from_records(RECORDS, pa.schema([("Id", pa.float64())]))
    assert "003A" not in str(caught.value)


def test_rows_lose_their_attributes() -> None:
    assert plain_rows({"records": [{"attributes": {}, "n": 3}]}) == [{"n": 3}]


def test_ids_are_read_in_queries_of_500_and_calls_of_5() -> None:
    groups = queries_by_ids(lambda ids: str(len(ids)), [str(n) for n in range(2_700)])

    assert groups == [["500"] * 5, ["200"]]


def test_describe_keeps_active_picklist_values_and_what_is_absent_stays_absent() -> None:
    answer = {
        "name": "Lead",
        "label": "Lead",
        "createable": True,
        "updateable": True,
        "queryable": True,
        "fields": [
            {
                "name": "Status",
                "label": "Lead Status",
                "type": "picklist",
                "length": 255,
                "updateable": True,
                "restrictedPicklist": True,
                "picklistValues": [
                    {"value": "Open", "active": True},
                    {"value": "Old", "active": False},
                ],
            }
        ],
    }
    lead = object_from_describe(answer)

    assert lead.fields["Status"].picklist_values == ("Open",)
    assert lead.fields["Status"].restricted_picklist
    assert "Company" not in lead.fields


def test_importing_the_package_does_not_import_simple_salesforce() -> None:
    code = (
        "import sys, resources.salesforce.client, resources.salesforce.update_csv\n"
        "assert 'simple_salesforce' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_refusal_is_of_the_kind_that_the_caller_names() -> None:
    assert type(error_from_answer(400, body("X"), "x")) is CallRefused
    assert type(error_from_answer(400, body("X"), "x", QueryRefused)) is QueryRefused
