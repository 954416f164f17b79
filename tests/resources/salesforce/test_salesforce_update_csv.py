"""What a bulk job is given: CSV that Salesforce reads as the columns say (API notes 3.2, 5)."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv

from resources.salesforce.errors import UnwritableValue
from resources.salesforce.update_csv import (
    csv_of,
    cut,
    too_large_rows,
    update_cells,
    update_csv,
)

UTC_MS = pa.timestamp("ms", tz="UTC")


def cells(column: pa.Array) -> list[str]:
    """Return what stands in the cells of one column."""
    rows = list(
        csv.reader(io.StringIO(update_csv(pa.table({"X__c": column})).decode(), newline=""))
    )
    assert rows[0] == ["X__c"]
    return [row[0] for row in rows[1:]]


def test_a_null_is_written_as_the_mark_that_clears_a_field() -> None:
    for kind in (pa.string(), pa.int64(), pa.float64(), pa.date32(), UTC_MS, pa.null()):
        assert cells(pa.array([None], kind)) == ["#N/A"]


def test_text_that_salesforce_would_store_as_null_clears_the_field() -> None:
    assert cells(pa.array(["", "  ", "\n", "a"])) == ["#N/A", "#N/A", "#N/A", "a"]


def test_text_that_is_only_the_clearing_mark_does_not_clear() -> None:
    assert cells(pa.array(["#N/A", "#N/A x"])) == ["#N/A ", "#N/A x"]


def test_rows_that_are_not_written_leave_their_field_alone() -> None:
    marks = {"X__c": pa.array([True, False, True, None])}
    for column, cell in (
        (pa.array([1, 2, None, 4]), "1"),
        (pa.array([True, True, None, True]), "true"),
        (pa.array(["a", "b", None, "d"]), "a"),
    ):
        rows = csv.reader(io.StringIO(update_csv(pa.table({"X__c": column}), marks).decode()))
        cleared = "false" if pa.types.is_boolean(column.type) else "#N/A"

        assert [row[0] if row else "" for row in rows] == ["X__c", cell, "", cleared, ""]


def test_a_mark_for_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnwritableValue, match="Y__c"):
        update_csv(pa.table({"X__c": ["a"]}), {"Y__c": pa.array([True])})


def test_a_checkbox_is_true_or_false_and_null_is_false() -> None:
    assert cells(pa.array([True, False, None])) == ["true", "false", "false"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (87.0, "87"),
        (87.5, "87.5"),
        (-0.25, "-0.25"),
        (1.6147805824397e13, "16147805824397"),
        (1e15, "1000000000000000"),
        (1e-7, "0.0000001"),
    ],
)
def test_numbers_are_written_without_exponent(number: float, text: str) -> None:
    assert cells(pa.array([number, None])) == [text, "#N/A"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_no_number_field_holds_is_refused_by_column(number: float) -> None:
    with pytest.raises(UnwritableValue, match="X__c"):
        cells(pa.array([number]))


def test_decimals_and_whole_numbers_keep_their_digits() -> None:
    assert cells(pa.array([Decimal("12.30")])) == ["12.30"]
    assert cells(pa.array([100, -5])) == ["100", "-5"]


def test_moments_are_utc_and_whole_seconds() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)

    assert cells(pa.array([moment], UTC_MS)) == ["2026-01-02T03:04:05.000Z"]
    assert cells(pa.array([moment], pa.timestamp("us", tz="Europe/Paris"))) == [
        "2026-01-02T03:04:05.000Z"
    ]
    assert cells(pa.array([date(2026, 1, 2)])) == ["2026-01-02"]


def test_moments_without_a_zone_are_refused_by_column() -> None:
    with pytest.raises(UnwritableValue, match="X__c"):
        cells(pa.array([0], pa.timestamp("ms")))


def test_types_that_no_field_has_are_refused_by_column() -> None:
    with pytest.raises(UnwritableValue, match="X__c"):
        cells(pa.array([["a"]]))


def test_line_ends_in_cells_become_lf_and_nul_is_dropped() -> None:
    assert cells(pa.array(["a\r\nb\rc\nd", "x\0y"])) == ["a\nb\nc\nd", "xy"]


def test_dictionary_and_large_text_columns_are_text_too() -> None:
    assert cells(pa.array(["A", None, "A"]).dictionary_encode()) == ["A", "#N/A", "A"]
    assert cells(pa.array(["é"], pa.large_string())) == ["é"]


def test_bytes_are_utf8_without_a_byte_order_mark_and_end_lines_with_lf() -> None:
    written = update_csv(pa.table({"Id": ["003"], "Name__c": ['José 😀 "q", \u2028']}))

    assert written == '"Id","Name__c"\n"003","José 😀 ""q"", \u2028"\n'.encode()


def test_no_rows_give_the_header_alone() -> None:
    assert update_csv(pa.table({"Id": pa.array([], pa.string())})) == b'"Id"\n'


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=40)
storable = texts.filter(lambda text: text.strip(" \t\n\f\v") != "" and text != "#N/A")
moments = st.integers(-(2**33), 2**36).map(lambda second: datetime.fromtimestamp(second, UTC))
tables = st.lists(
    st.tuples(
        st.none() | storable,
        st.booleans(),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | moments,
        st.none() | st.dates(date(1700, 1, 1), date(4000, 12, 31)),
        st.none() | st.integers(-(2**53), 2**53),
    ),
    min_size=1,
    max_size=20,
)
SCHEMA = pa.schema(
    [
        ("Text__c", pa.string()),
        ("Flag__c", pa.bool_()),
        ("Number__c", pa.float64()),
        ("Moment__c", UTC_MS),
        ("Day__c", pa.date32()),
        ("Whole__c", pa.int64()),
    ]
)


@given(tables)
def test_what_is_written_is_read_back_the_same_by_the_csv_module_and_by_arrow(
    rows: list[tuple[object, ...]],
) -> None:
    table = pa.table(
        [
            pa.array(column, field.type)
            for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)
        ],
        schema=SCHEMA,
    )
    written = update_csv(table)

    by_module = list(csv.reader(io.StringIO(written.decode(), newline="")))
    by_arrow = arrow_csv.read_csv(
        io.BytesIO(written),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=SCHEMA,
            null_values=["#N/A"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )

    assert by_arrow.equals(table)
    assert by_module[0] == SCHEMA.names
    assert [tuple(map(_value, row, SCHEMA.names)) for row in by_module[1:]] == rows


def _value(cell: str, name: str) -> object:
    """Read one cell by hand."""
    if cell == "#N/A":
        return None
    if name == "Moment__c":
        assert cell.endswith(".000Z")
        return datetime.fromisoformat(cell)
    if name == "Text__c":
        return cell
    if name == "Flag__c":
        return {"true": True, "false": False}[cell]
    assert "e" not in cell.lower()
    if name == "Day__c":
        return date.fromisoformat(cell)
    return float(cell) if name == "Number__c" else int(cell)


def test_moments_before_1970_round_down_to_their_second() -> None:
    moment = datetime(1969, 12, 31, 23, 59, 58, tzinfo=UTC) + timedelta(milliseconds=700)

    assert cells(pa.array([moment], UTC_MS)) == ["1969-12-31T23:59:58.000Z"]


def test_rows_are_cut_where_their_csv_would_be_too_large() -> None:
    """API notes 3.4: quotes count twice; no part is over the limit, and every row is in one."""
    texts = ['a"b' * n for n in (1, 40, 2, 3, 0, 7, 20)]
    cells = update_cells(pa.table({"Id": [f"id{n}" for n in range(7)], "Note__c": texts}))
    size = len(csv_of(cells))

    for limit in range(30, size + 40, 7):
        parts = list(cut(cells, limit, 100))
        too_large = too_large_rows(cells, limit)
        ends = [first + count for first, count in parts]
        assert [first for first, _ in parts] == [0, *ends[:-1]]
        assert ends[-1] == 7
        for first, count in parts:
            fits = len(csv_of(cells.slice(first, count))) <= limit
            assert fits or (count == 1 and first in too_large)
    assert list(cut(cells, size + 40, 100)) == [(0, 7)]
    assert list(cut(cells, size * 10, 3)) == [(0, 3), (3, 3), (6, 1)]
    assert list(cut(cells.slice(0, 0), 10, 3)) == []


def test_value_that_is_no_number_names_its_rows() -> None:
    with pytest.raises(UnwritableValue, match="Score__c") as raised:
        update_cells(pa.table({"Score__c": [1.0, float("nan"), None, float("inf")]}))

    assert raised.value.rows == [1, 3]
