from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.soql import AllOf, AnyOf, Compare, In, condition, literal, name, select

_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\"}


def decoded(text: str) -> str:
    """Read a SOQL string literal as Salesforce does: quotes at the ends, backslash escapes inside."""
    assert len(text) >= 2
    assert text[0] == text[-1] == "'"
    found, rest = [], iter(text[1:-1])
    for sign in rest:
        assert sign not in "'\n\r"
        found.append(_UNESCAPED[next(rest)] if sign == "\\" else sign)
    return "".join(found)


@given(st.text() | st.text(st.sampled_from("'\"\\\n\r\t\b\fn ")))
def test_any_text_comes_back_from_its_literal(text: str) -> None:
    """API notes 2.3: nothing a person may type ends the literal or is lost."""
    assert decoded(literal(text)) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("O'Brien \\ Co", r"'O\'Brien \\ Co'"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (-2.5, "-2.5"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (datetime.fromisoformat("2026-01-02T03:04:05+02:00"), "2026-01-02T01:04:05.000Z"),
    ],
)
def test_each_kind_of_value_is_written_as_soql_wants_it(
    value: str | float | bool | date | None, expected: str
) -> None:
    """API notes 2.3: text quoted, the rest bare, times in UTC."""
    assert literal(value) == expected


def test_a_naive_datetime_is_refused() -> None:
    """API notes 2.3: nobody knows which instant it is."""
    with pytest.raises(ValueError, match="naive"):
        literal(datetime.now(UTC).replace(tzinfo=None))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_soql_cannot_say_is_refused(value: float) -> None:
    """API notes 2.3."""
    with pytest.raises(ValueError, match="no number"):
        literal(value)


@pytest.mark.parametrize(
    "good",
    [
        "Id",
        "Mintigo_hash__c",
        "Account.Name",
        "Account.A__c",
        "COUNT()",
        "COUNT(Id) n",
        "MAX(SystemModstamp) newest",
    ],
)
def test_field_names_and_the_aggregates_in_use_are_let_through(good: str) -> None:
    """API notes 2.3."""
    assert name(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        " Id",
        "Id ",
        "Id\n",
        "1Id",
        "Id,Name",
        "a.b.c",
        "a.",
        ".a",
        "Id)",
        "Id FROM Lead",
        "COUNT(Id)n",
        "MIN(Id) n",
        "SUM(a)",
        "a--",
        "a'b",
        "_a",
    ],
)
def test_anything_else_is_refused_as_a_name(bad: str) -> None:
    """API notes 2.3: a name is never pasted unseen."""
    with pytest.raises(ValueError, match=re.escape(repr(bad))):
        name(bad)


@pytest.mark.parametrize("part", ["fields", "object", "where", "order"])
def test_a_bad_name_is_refused_wherever_it_stands(part: str) -> None:
    """API notes 2.3."""
    bad = "Id FROM Lead --"
    with pytest.raises(ValueError, match="no name"):
        select(
            [bad if part == "fields" else "Id"],
            bad if part == "object" else "Lead",
            Compare(bad if part == "where" else "Id", "=", 1),
            order_by=[bad if part == "order" else "Id"],
        )


def test_groups_stand_in_parentheses() -> None:
    """API notes 2.3: AND and OR never stand side by side."""
    where = AllOf([Compare("A", "=", 1), AnyOf([Compare("B", "=", None), Compare("C", "!=", "x")])])

    assert condition(where) == "(A = 1 AND (B = null OR C != 'x'))"


def test_a_group_of_one_is_its_condition() -> None:
    """API notes 2.3."""
    assert condition(AnyOf([AllOf([Compare("A", ">=", 1)])])) == "A >= 1"


@pytest.mark.parametrize("empty", [AllOf([]), AnyOf([]), In("Id", [])])
def test_an_empty_group_or_list_is_refused(empty: AllOf | AnyOf | In) -> None:
    """API notes 2.3: Salesforce would answer MALFORMED_QUERY, or worse, everything."""
    with pytest.raises(ValueError, match="no "):
        condition(empty)


def test_a_list_quotes_each_value() -> None:
    """API notes 2.3."""
    assert condition(In("Name", ["a", "b'c"])) == r"Name IN ('a', 'b\'c')"


def test_a_whole_query_reads_as_expected() -> None:
    """API notes 2.3: oldest first, never scored before them."""
    text = select(
        ["Id", "Account.Name"],
        "Contact",
        Compare("A__c", "<", 5),
        order_by=["B__c", "Id"],
        limit=10,
    )

    assert text == (
        "SELECT Id, Account.Name FROM Contact WHERE A__c < 5 "
        "ORDER BY B__c ASC NULLS FIRST, Id ASC NULLS FIRST LIMIT 10"
    )
