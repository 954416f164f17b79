"""What a field takes, in JSON and in CSV, and how a value that it does not take is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_org.errors import SalesforceError
from local_org.values import java_double
from tests.local_org.data import FIELDS, Org

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Org]:
    made = Org(Path(tmp_path_factory.mktemp("validation")) / "org.sqlite3")
    made.add_fields("Lead", **FIELDS)
    yield made
    made.store.close()


@pytest.fixture
def org(shared: Org) -> Iterator[Org]:
    before = shared.options.as_dict()
    yield shared
    for name, value in before.items():
        shared.options.set(name, value)


CASES = [
    # field, CSV text, stored value as REST gives it
    ("LastName", "  padded\t", "padded"),
    ("LastName", "\u00a0nbsp\u00a0", "\u00a0nbsp\u00a0"),
    ("Rank__c", "é", "é"),
    ("Score__c", "100", 100.0),
    ("Score__c", "-999", -999.0),
    ("Score__c", "86.5", 87.0),
    ("Score__c", "86.49", 86.0),
    ("Score__c", "8.7e1", 87.0),
    ("Ratio__c", "1.005", 1.01),
    ("Ratio__c", "999.99", 999.99),
    ("NumberOfEmployees", "87", 87),
    ("NumberOfEmployees", "87.0", 87),
    ("Hot__c", "true", True),
    ("Hot__c", "FALSE", False),
    ("Hot__c", "1", True),
    ("Scored_at__c", "2026-01-02T03:04:05.999Z", "2026-01-02T03:04:05.000+0000"),
    ("Scored_at__c", "2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05.000+0000"),
    ("Scored_at__c", "2026-01-02T03:04:05-0130", "2026-01-02T04:34:05.000+0000"),
    ("Email", "josé@example.com".replace("é", "e"), "jose@example.com"),
    ("Tier__c", "Zeta", "Zeta"),
    ("Topics__c", "a;c", "a;c"),
    ("Industry", "Not in the list", "Not in the list"),
    ("Website", "no url at all", "no url at all"),
    ("Hash__c", "line\nbreak", "line\nbreak"),
]


@pytest.mark.parametrize(("field", "text", "stored"), CASES)
def test_csv_text_is_stored_as_the_fields_type(
    org: Org, field: str, text: str, stored: object
) -> None:
    one = org.lead()
    (result,) = org.table("update", "Lead", ["Id", field], [one, text])

    assert result.success, result.errors
    assert org.one("Lead", one, field) == stored


@pytest.mark.parametrize(("field", "text", "stored"), CASES)
def test_json_text_is_stored_as_csv_text_is(
    org: Org, field: str, text: str, stored: object
) -> None:
    one = org.lead()
    (result,) = org.save("update", "Lead", {"Id": one, field: text})

    assert result.success, result.errors
    assert org.one("Lead", one, field) == stored


ERRORS = [
    (
        "LastName",
        "x" * 81,
        f"STRING_TOO_LONG:Last Name: data value too large: {'x' * 81} (max length=80):LastName --",
    ),
    ("Rank__c", "AB", "STRING_TOO_LONG:Rank: data value too large: AB (max length=1):Rank__c --"),
    ("Hash__c", "x" * 256, "STRING_TOO_LONG"),
    (
        "Score__c",
        "1000",
        "NUMBER_OUTSIDE_VALID_RANGE:Score: value outside of valid range on numeric field: 1000.0:Score__c --",
    ),
    ("Score__c", "999.5", "NUMBER_OUTSIDE_VALID_RANGE"),
    ("Score__c", "1e300", "NUMBER_OUTSIDE_VALID_RANGE"),
    ("NumberOfEmployees", "100000000", "NUMBER_OUTSIDE_VALID_RANGE"),
    (
        "Tier__c",
        "Nope",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:Tier: bad value for restricted picklist field: Nope:Tier__c --",
    ),
    ("Tier__c", "Old", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    ("Topics__c", "a;z", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    ("Email", "123", "INVALID_EMAIL_ADDRESS:Email: invalid email address: 123:Email --"),
    ("OwnerId", "xyz", "MALFORMED_ID:Owner ID: id value of incorrect type: xyz:OwnerId --"),
    ("OwnerId", "0055e00000zzzzz", "INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--"),
    ("OwnerId", "0015e0000000001", "FIELD_INTEGRITY_EXCEPTION"),
]


@pytest.mark.parametrize(("field", "text", "error"), ERRORS)
def test_a_value_that_does_not_fit_fails_its_row_alone(
    org: Org, field: str, text: str, error: str
) -> None:
    first, second = org.lead(), org.lead()
    bad, good = org.table(
        "update", "Lead", ["Id", field, "City"], [first, text, "Rome"], [second, "", "Oslo"]
    )

    assert not bad.success
    assert bad.errors[0].as_csv().startswith(error)
    assert bad.id == first
    assert org.one("Lead", first, "City") is None
    assert good.success
    assert org.one("Lead", second, "City") == "Oslo"


WRONG_TYPES = [
    ("Score__c", "ten", "double"),
    ("Score__c", "1,000", "double"),
    ("Score__c", "NaN", "double"),
    ("Score__c", "1_0", "double"),
    ("NumberOfEmployees", "87.5", "int"),
    ("Hot__c", "yes", "boolean"),
    ("Scored_at__c", "2026-01-02", "dateTime"),
    ("Scored_at__c", "2026-01-02T03:04:05", "dateTime"),
    ("Scored_at__c", "2026-13-02T03:04:05Z", "dateTime"),
]


@pytest.mark.parametrize(("field", "text", "kind"), WRONG_TYPES)
def test_csv_of_the_wrong_type_cannot_be_deserialized(
    org: Org, field: str, text: str, kind: str
) -> None:
    (result,) = org.table("update", "Lead", ["Id", field], [org.lead(), text])

    assert result.errors[0].as_csv() == (
        f"INVALID_FIELD:Failed to deserialize field at col 2. Due to, '{text}' is not a valid "
        f"value for the type xsd:{kind}:{field} --"
    )


@pytest.mark.parametrize(("field", "text", "kind"), WRONG_TYPES)
def test_json_of_the_wrong_type_fails_the_request(
    org: Org, field: str, text: str, kind: str
) -> None:
    with pytest.raises(SalesforceError) as error:
        org.save("update", "Lead", {"Id": org.lead(), field: text})

    assert error.value.code == "JSON_PARSER_ERROR"
    assert f"Cannot deserialize instance of {kind.lower()} from VALUE_STRING" in error.value.message


def test_json_of_the_wrong_type_can_fail_its_row_alone(org: Org) -> None:
    org.options.set("json_wrong_type", "row")

    assert org.error("update", "Lead", {"Id": org.lead(), "Score__c": "ten"}) == (
        "INVALID_TYPE_ON_FIELD_IN_RECORD",
        "Score: value not of required type: ten",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("City", 5), ("Hot__c", 1), ("Score__c", True), ("City", ["a"]), ("Scored_at__c", 1.5)],
)
def test_json_types_are_not_mixed(org: Org, field: str, value: Any) -> None:
    with pytest.raises(SalesforceError, match="JSON_PARSER_ERROR"):
        org.save("update", "Lead", {"Id": org.lead(), field: value})


def test_an_empty_cell_leaves_a_field_alone_and_na_clears_it(org: Org) -> None:
    one = org.lead(City="Rome", Phone="1", Score__c=5)
    (result,) = org.table(
        "update", "Lead", ["Id", "City", "Phone", "Score__c"], [one, "", "#N/A", "#N/A"]
    )

    assert result.success
    assert [org.one("Lead", one, name) for name in ("City", "Phone", "Score__c")] == [
        "Rome",
        None,
        None,
    ]


def test_json_null_and_blank_text_clear_a_field(org: Org) -> None:
    one = org.lead(City="Rome", Phone="1")
    org.save("update", "Lead", {"Id": one, "City": None, "Phone": "  "})

    assert org.one("Lead", one, "City") is None
    assert org.one("Lead", one, "Phone") is None


def test_na_on_a_checkbox_is_false_or_refused(org: Org) -> None:
    one = org.lead(Hot__c=True)
    assert org.table("update", "Lead", ["Id", "Hot__c"], [one, "#N/A"])[0].success
    assert org.one("Lead", one, "Hot__c") is False

    org.options.set("checkbox_null", "error")
    (refused,) = org.table("update", "Lead", ["Id", "Hot__c"], [one, "#N/A"])
    assert refused.errors[0].code == "INVALID_TYPE_ON_FIELD_IN_RECORD"


def test_strict_booleans_refuse_1_and_capitals(org: Org) -> None:
    org.options.set("csv_booleans", "strict")
    results = org.table(
        "update",
        "Lead",
        ["Id", "Hot__c"],
        [org.lead(), "1"],
        [org.lead(), "TRUE"],
        [org.lead(), "true"],
    )

    assert [result.success for result in results] == [False, False, True]


def test_more_decimals_than_the_scale_can_be_refused(org: Org) -> None:
    org.options.set("number_rounding", "error")

    assert org.error("update", "Lead", {"Id": org.lead(), "Ratio__c": 1.234})[0] == (
        "NUMBER_OUTSIDE_VALID_RANGE"
    )


def test_required_fields_are_named_together(org: Org) -> None:
    assert org.error("insert", "Lead", {"FirstName": "x"}) == (
        "REQUIRED_FIELD_MISSING",
        "Required fields are missing: [LastName, Company]",
    )


def test_a_required_field_cannot_be_cleared_unless_that_is_ignored(org: Org) -> None:
    one = org.lead()
    (refused,) = org.table("update", "Lead", ["Id", "Company"], [one, "#N/A"])
    assert refused.errors[0].as_csv() == (
        "REQUIRED_FIELD_MISSING:Required fields are missing: [Company]:Company --"
    )

    org.options.set("required_null", "ignore")
    assert org.table("update", "Lead", ["Id", "Company"], [one, "#N/A"])[0].success
    assert org.one("Lead", one, "Company") == "Firm"


def test_text_areas_can_be_given_crlf(org: Org) -> None:
    org.options.set("textarea_line_ending", "crlf")
    one = org.lead(Hash__c="a\nb\r\nc")

    assert org.one("Lead", one, "Hash__c") == "a\r\nb\r\nc"


@pytest.mark.parametrize("field", ["Name", "CreatedDate", "SystemModstamp", "ConvertedDate"])
def test_a_field_that_is_not_writable_is_refused(org: Org, field: str) -> None:
    code, message = org.error("update", "Lead", {"Id": org.lead(), field: "x"})

    assert code == "INVALID_FIELD_FOR_INSERT_UPDATE"
    assert message.startswith(f"Unable to create/update fields: {field}. Please check the security")


def test_an_unknown_field_fails_the_request_or_the_job(org: Org) -> None:
    with pytest.raises(SalesforceError) as request:
        org.save("update", "Lead", {"Id": org.lead(), "Nope__c": 1})
    with pytest.raises(SalesforceError) as job:
        org.table("update", "Lead", ["Id", "Nope__c"], [org.lead(), "1"])

    assert (request.value.code, request.value.message) == (
        "INVALID_FIELD",
        "No such column 'Nope__c' on sobject of type Lead",
    )
    assert job.value.message == "InvalidBatch : Field name not found : Nope__c"


def test_csv_headers_are_exact_unless_told(org: Org) -> None:
    one = org.lead()
    with pytest.raises(SalesforceError, match="Field name not found : score__c"):
        org.table("update", "Lead", ["Id", "score__c"], [one, "1"])

    org.options.set("csv_header_case", "ignore")
    assert org.table("update", "Lead", ["Id", "score__c"], [one, "1"])[0].success


def test_a_hidden_field_is_missing_everywhere(org: Org) -> None:
    one = org.lead()
    org.store.set_field_permission(org.user, "Lead", "Rank__c", read=False, edit=False)
    try:
        names = {field["name"] for field in org.store.describe("Lead", org.user, "62.0")["fields"]}
        assert "Rank__c" not in names
        with pytest.raises(SalesforceError, match="No such column 'Rank__c' on entity 'Lead'"):
            org.query("SELECT Rank__c FROM Lead")
        with pytest.raises(SalesforceError, match="Field name not found : Rank__c"):
            org.table("update", "Lead", ["Id", "Rank__c"], [one, "A"])
        assert "Rank__c" not in org.store.get_record("Lead", one, org.user, "62.0")
    finally:
        org.store.set_field_permission(
            org.user, "Lead", "Rank__c", read=True, edit=True, clear=True
        )


def test_a_read_only_field_is_described_so_and_refused(org: Org) -> None:
    one = org.lead()
    org.store.set_field_permission(org.user, "Lead", "Rank__c", read=True, edit=False)
    try:
        fields = {f["name"]: f for f in org.store.describe("Lead", org.user, "62.0")["fields"]}
        assert (fields["Rank__c"]["createable"], fields["Rank__c"]["updateable"]) == (False, False)
        (result,) = org.table("update", "Lead", ["Id", "Rank__c"], [one, "A"])
        assert result.errors[0].code == "INVALID_FIELD_FOR_INSERT_UPDATE"
    finally:
        org.store.set_field_permission(
            org.user, "Lead", "Rank__c", read=True, edit=True, clear=True
        )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (87.0, "87.0"),
        (0.0, "0.0"),
        (0.001, "0.001"),
        (1e-4, "1.0E-4"),
        (9999999.5, "9999999.5"),
        (1e7, "1.0E7"),
        (1.6147805824397e13, "1.6147805824397E13"),
        (-12345678.0, "-1.2345678E7"),
    ],
)
def test_doubles_are_written_as_java_does(value: float, text: str) -> None:
    assert java_double(value) == text
