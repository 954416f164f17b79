"""Values in SOQL: what a client's quoting writes is read back as the same value."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simple_salesforce.format import format_soql

from local_org.clock import parse_datetime
from local_org.errors import SalesforceError
from local_org.soql.ast import Comparison, Literal, Membership
from local_org.soql.literals import BadEscape, date_range, decode_string, like_pattern
from local_org.soql.parser import parse
from local_org.values import BLANKS
from tests.local_org.data import Org

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NOW = datetime(2026, 2, 18, 15, 30, tzinfo=UTC)  # a Wednesday


def literal(soql: str) -> Literal:
    where = parse(soql).where
    assert isinstance(where, Comparison)
    return where.value


@given(TEXT)
def test_any_text_that_format_soql_quotes_is_read_back_as_the_same_text(text: str) -> None:
    value = literal(format_soql("SELECT Id FROM Lead WHERE Name = {}", text))

    assert value.kind == "string"
    assert decode_string(value.text) == text


@given(st.lists(TEXT, min_size=1, max_size=10))
def test_a_list_that_format_soql_writes_is_read_back_in_order(texts: list[str]) -> None:
    where = parse(format_soql("SELECT Id FROM Lead WHERE Name IN {}", texts)).where

    assert isinstance(where, Membership)
    assert [decode_string(value.text) for value in where.values] == texts


@given(TEXT)
def test_text_quoted_for_like_has_no_wildcards_left(text: str) -> None:
    value = literal(format_soql("SELECT Id FROM Lead WHERE Name LIKE '{:like}'", text))

    pattern = like_pattern(value.text)

    plain = pattern.replace("\\\\", "").replace("\\%", "").replace("\\_", "")
    assert "%" not in plain
    assert "_" not in plain


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
    st.integers(-14, 14),
)
def test_a_moment_that_format_soql_writes_is_read_back_to_the_second(
    naive: datetime, hours: int
) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    value = literal(format_soql("SELECT Id FROM Lead WHERE CreatedDate > {}", moment))

    assert value.kind == "datetime"
    assert parse_datetime(value.text) == moment.replace(microsecond=0)


@given(st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_format_soql_writes_is_read_back(number: float) -> None:
    value = literal(format_soql("SELECT Id FROM Lead WHERE AnnualRevenue = {}", number))

    assert value.kind == "number"
    assert float(value.text) == number


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"It\'s", "It's"),
        (r"a\\b", "a\\b"),
        (r"\n\r\t\b\f\"", '\n\r\t\b\f"'),
        (r"é", "é"),
        (r"\uD83D\uDE00", "😀"),
        (r"50\%", "50%"),
    ],
)
def test_escapes_are_undone(raw: str, text: str) -> None:
    assert decode_string(raw) == text


def test_an_unknown_escape_is_an_error() -> None:
    with pytest.raises(BadEscape, match="Illegal character sequence"):
        decode_string(r"a\q")


def test_an_open_string_is_malformed() -> None:
    with pytest.raises(SalesforceError) as error:
        parse("SELECT Id FROM Lead WHERE Name = 'abc")

    assert error.value.code == "MALFORMED_QUERY"


@pytest.mark.parametrize(
    ("word", "first", "after"),
    [
        ("TODAY", date(2026, 2, 18), date(2026, 2, 19)),
        ("yesterday", date(2026, 2, 17), date(2026, 2, 18)),
        ("THIS_WEEK", date(2026, 2, 15), date(2026, 2, 22)),
        ("LAST_MONTH", date(2026, 1, 1), date(2026, 2, 1)),
        ("NEXT_QUARTER", date(2026, 4, 1), date(2026, 7, 1)),
        ("THIS_YEAR", date(2026, 1, 1), date(2027, 1, 1)),
        ("LAST_N_DAYS:30", date(2026, 1, 19), date(2026, 2, 19)),
        ("NEXT_N_DAYS:2", date(2026, 2, 19), date(2026, 2, 21)),
        ("LAST_N_MONTHS:2", date(2025, 12, 1), date(2026, 2, 1)),
        ("N_DAYS_AGO:1", date(2026, 2, 17), date(2026, 2, 18)),
    ],
)
def test_date_literals_are_ranges_of_days(word: str, first: date, after: date) -> None:
    assert date_range(word, NOW) == (first, after)


def test_a_word_that_is_no_date_literal_is_none() -> None:
    assert date_range("LAST_N_DAYS", NOW) is None
    assert date_range("SOMEDAY", NOW) is None


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Org]:
    made = Org(Path(tmp_path_factory.mktemp("literals")) / "org.sqlite3")
    yield made
    made.store.close()


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=80))
def test_a_record_is_found_by_its_quoted_text_and_by_its_quoted_prefix(org: Org, text: str) -> None:
    text = text.strip(BLANKS)
    assume(text)
    one = org.lead(LastName=text)
    equal = format_soql("SELECT Id, LastName FROM Lead WHERE LastName = {}", text)
    like = format_soql("SELECT Id FROM Lead WHERE LastName LIKE '{:like}%'", text)
    among = format_soql("SELECT Id FROM Lead WHERE LastName IN {}", [text, "another"])

    assert {row["Id"]: row["LastName"] for row in org.rows(equal)}[one] == text
    assert one in org.column(like, "Id")
    assert one in org.column(among, "Id")
