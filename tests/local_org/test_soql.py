"""SOQL: what is understood, and how mistakes are worded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_org.errors import SalesforceError
from tests.local_org.data import FIELDS, Org


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Org]:
    made = Org(Path(tmp_path_factory.mktemp("soql")) / "org.sqlite3")
    made.add_fields("Lead", **FIELDS)
    made.insert(
        "Lead",
        {"LastName": "Ábel", "Company": "Öl AG", "Score__c": 10, "Tier__c": "Alpha"},
        {"LastName": "abel", "Company": "50% off", "Score__c": None, "Tier__c": "Zeta"},
        {"LastName": "Baker", "Company": "a_b", "Score__c": 90, "Topics__c": "a;b"},
        {"LastName": "cole", "Company": "axb", "Score__c": 10, "Hot__c": True, "Topics__c": "c"},
    )
    yield made
    made.store.close()


def failure(org: Org, soql: str) -> SalesforceError:
    with pytest.raises(SalesforceError) as error:
        org.query(soql)
    return error.value


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("LastName = 'ABEL'", {"abel"}),
        ("LastName = 'ábEL'", {"Ábel"}),
        ("LastName != 'abel'", {"Ábel", "Baker", "cole"}),
        ("Score__c != 10", {"abel", "Baker"}),
        ("Score__c < 50", {"Ábel", "cole"}),
        ("Score__c = null", {"abel"}),
        ("Score__c != null", {"Ábel", "Baker", "cole"}),
        ("Score__c = 10.0", {"Ábel", "cole"}),
        ("NOT Score__c = 10", {"abel", "Baker"}),
        ("Score__c IN (10, null)", {"Ábel", "abel", "cole"}),
        ("Score__c NOT IN (10)", {"abel", "Baker"}),
        ("LastName IN ('BAKER', 'ÁBEL')", {"Baker", "Ábel"}),
        ("Company LIKE '50\\% %'", {"abel"}),
        ("Company LIKE 'a\\_b'", {"Baker"}),
        ("Company LIKE 'a_b'", {"Baker", "cole"}),
        ("Company LIKE 'öl%'", {"Ábel"}),
        ("(NOT Company LIKE 'a%') AND Score__c = null", {"abel"}),
        ("Hot__c = TRUE", {"cole"}),
        ("Hot__c = false AND (Score__c > 50 OR LastName LIKE '%bel')", {"Ábel", "abel", "Baker"}),
        ("Topics__c INCLUDES ('a;b', 'c')", {"Baker", "cole"}),
        ("Topics__c EXCLUDES ('c')", {"Ábel", "abel", "Baker"}),
        ("CreatedDate = TODAY", {"Ábel", "abel", "Baker", "cole"}),
        ("CreatedDate < LAST_N_DAYS:3", set()),
        ("CreatedDate > 2020-01-02T03:04:05.123+02:00", {"Ábel", "abel", "Baker", "cole"}),
        ("Owner.Username = 'INTEGRATION@local.example' AND Score__c = 90", {"Baker"}),
        ("LastName >= 'b' AND LastName < 'C'", {"Baker"}),
        ("MobilePhone = ''", {"Ábel", "abel", "Baker", "cole"}),
    ],
)
def test_conditions_choose_as_salesforce_does(org: Org, condition: str, names: set[str]) -> None:
    assert set(org.column(f"SELECT Name FROM Lead WHERE {condition}")) == names


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("LastName", ["abel", "Baker", "cole", "Ábel"]),
        ("Score__c, LastName", ["abel", "cole", "Ábel", "Baker"]),
        ("Score__c DESC, LastName DESC", ["abel", "Baker", "Ábel", "cole"]),
        ("Score__c DESC NULLS LAST, LastName", ["Baker", "cole", "Ábel", "abel"]),
        ("Tier__c NULLS LAST, LastName", ["abel", "Ábel", "Baker", "cole"]),
    ],
)
def test_nulls_sort_first_and_case_does_not_count(org: Org, order: str, names: list[str]) -> None:
    assert org.column(f"SELECT Name FROM Lead ORDER BY {order}") == names


def test_names_are_read_whatever_the_case_and_answered_in_the_schemas(org: Org) -> None:
    (record,) = org.rows("select lastname, OWNER.username from LEAD where lead.score__C = 90")

    assert list(record) == ["attributes", "LastName", "Owner"]
    assert record["Owner"]["Username"] == "integration@local.example"


def test_an_alias_of_the_object_can_stand_before_fields(org: Org) -> None:
    assert org.column("SELECT l.Name FROM Lead l WHERE l.Score__c = 90") == ["Baker"]


def test_limit_and_offset_cut(org: Org) -> None:
    answer = org.query("SELECT Name FROM Lead ORDER BY LastName LIMIT 2 OFFSET 1")

    assert [record["Name"] for record in answer["records"]] == ["Baker", "cole"]
    assert answer["totalSize"] == 2


@pytest.mark.parametrize(
    ("soql", "code", "column", "text"),
    [
        ("SELECT Foo FROM Lead", "INVALID_FIELD", 8, "No such column 'Foo' on entity 'Lead'."),
        ("SELECT Owner.Foo FROM Lead", "INVALID_FIELD", 8, "No such column 'Foo' on entity 'User'"),
        ("SELECT Boss.Name FROM Lead", "INVALID_FIELD", 8, "Didn't understand relationship 'Boss'"),
        ("SELECT Id FROM Foo", "INVALID_TYPE", 16, "sObject type 'Foo' is not supported."),
        ("SELECT Id, FROM Lead", "MALFORMED_QUERY", 12, "unexpected token: 'FROM'"),
        ("SELECT Id FROM Lead WHERE", "MALFORMED_QUERY", 26, "unexpected token: '<EOF>'"),
        ("SELECT Id FROM Lead WHERE Name = foo", "MALFORMED_QUERY", 34, "unexpected token: 'foo'"),
        ("SELECT Id FROM Lead FOR VIEW", "MALFORMED_QUERY", 21, "unexpected token: 'FOR'"),
        (
            "SELECT Id FROM Lead WHERE Name = 'a' AND Name = 'b' OR Name = 'c'",
            "MALFORMED_QUERY",
            53,
            "unexpected token: 'OR'",
        ),
        (
            "SELECT Id FROM Lead WHERE CreatedDate > '2026-01-01T00:00:00Z'",
            "INVALID_FIELD",
            27,
            "for field 'CreatedDate' must be of type dateTime and should not be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01",
            "INVALID_FIELD",
            27,
            "must be of type dateTime",
        ),
        ("SELECT Id FROM Lead WHERE Name = 5", "INVALID_FIELD", 27, "must be of type string"),
        (
            "SELECT Id FROM Lead WHERE Hot__c = 'true'",
            "INVALID_FIELD",
            27,
            "must be of type boolean",
        ),
        ("SELECT Id FROM Lead WHERE Score__c = '5'", "INVALID_FIELD", 27, "must be of type double"),
        (
            "SELECT Id FROM Lead WHERE Description = 'x'",
            "INVALID_FIELD",
            27,
            "field 'Description' can not be filtered in a query call",
        ),
        (
            "SELECT Id FROM Lead ORDER BY Description",
            "INVALID_FIELD",
            30,
            "field 'Description' can not be sorted in a query call",
        ),
        (
            "SELECT Id FROM Lead WHERE Id = 'abc'",
            "INVALID_QUERY_FILTER_OPERATOR",
            27,
            "invalid ID field: abc",
        ),
        (
            "SELECT Id FROM Lead WHERE Id LIKE '00Q%'",
            "INVALID_QUERY_FILTER_OPERATOR",
            27,
            "invalid operator on id field",
        ),
        ("SELECT Id, Id FROM Lead", "INVALID_FIELD", 12, "duplicate field selected: Id"),
        ("SELECT COUNT(), Id FROM Lead", "MALFORMED_QUERY", 8, "COUNT() must be the only element"),
        (
            "SELECT MAX(Hot__c) FROM Lead",
            "MALFORMED_QUERY",
            8,
            "does not support aggregate operator",
        ),
        ("SELECT Name, MAX(CreatedDate) FROM Lead", "MALFORMED_QUERY", 8, "must be grouped"),
        (
            "SELECT Id, (SELECT Id FROM Leads) FROM Account",
            "MALFORMED_QUERY",
            None,
            "not supported",
        ),
        (
            "SELECT Id FROM Lead WHERE Id IN (SELECT Id FROM Lead)",
            "MALFORMED_QUERY",
            27,
            "Semi-joins",
        ),
        ("SELECT FORMAT(Name) FROM Lead", "MALFORMED_QUERY", 8, "not supported by the local org"),
    ],
)
def test_mistakes_are_worded_as_salesforce_does(
    org: Org, soql: str, code: str, column: int | None, text: str
) -> None:
    error = failure(org, soql)

    assert (error.status, error.code) == (400, code)
    assert text in error.message
    if column is not None:
        assert f"\nERROR at Row:1:Column:{column}\n" in error.message
        caret = error.message.split("\n")[2]
        assert caret == " " * (column - 1) + "^"


def test_a_statement_over_100000_characters_is_refused(org: Org) -> None:
    error = failure(org, "SELECT Id FROM Lead WHERE Name IN (" + "'x'," * 30_000 + "'x')")

    assert error.code == "MALFORMED_QUERY"
    assert "100000" in error.message


def test_a_string_over_4000_characters_is_refused(org: Org) -> None:
    assert (
        failure(org, f"SELECT Id FROM Lead WHERE Name = '{'x' * 4001}'").code == "MALFORMED_QUERY"
    )


def test_a_condition_of_thousands_of_parts_is_too_complicated(org: Org) -> None:
    parts = " OR ".join(["Score__c=1"] * 6000)

    assert failure(org, f"SELECT Id FROM Lead WHERE {parts}").code == "QUERY_TOO_COMPLICATED"


def test_a_list_of_5000_ids_is_not_too_complicated(org: Org) -> None:
    (one,) = org.column("SELECT Id FROM Lead WHERE Score__c = 90", "Id")
    listed = ",".join([f"'{one[:15]}'"] * 5000)

    assert org.column(f"SELECT Id FROM Lead WHERE Id IN ({listed})", "Id") == [one]


def test_offset_beyond_2000_is_refused(org: Org) -> None:
    error = failure(org, "SELECT Id FROM Lead LIMIT 1 OFFSET 2001")

    assert error.code == "NUMBER_OUTSIDE_VALID_RANGE"


def test_fields_all_needs_a_limit(org: Org) -> None:
    assert "LIMIT of at most 200" in failure(org, "SELECT FIELDS(ALL) FROM Lead").message
    assert "Score__c" in org.rows("SELECT FIELDS(ALL) FROM Lead LIMIT 1")[0]
    assert "Name" not in org.rows("SELECT FIELDS(CUSTOM) FROM Lead LIMIT 1")[0]


def test_the_caret_of_a_long_line_points_into_an_excerpt(org: Org) -> None:
    soql = "SELECT " + ", ".join(["Id"] + ["Name"] * 0 + [f"Owner.{n}" for n in ("Name", "Email")])
    soql += " FROM Lead WHERE " + " AND ".join(["Score__c > 1"] * 30) + " AND Foo = 1"
    lines = failure(org, soql).message.split("\n")

    assert lines[1][lines[2].index("^") :].startswith("Foo")
    assert len(lines[1]) <= 100
    assert lines[3] == f"ERROR at Row:1:Column:{soql.index('Foo') + 1}"


def test_rows_and_columns_count_over_lines(org: Org) -> None:
    assert "ERROR at Row:2:Column:6" in failure(org, "SELECT Id\nFROM Foo").message
