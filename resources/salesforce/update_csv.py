"""Arrow columns to the CSV that a bulk job takes (API notes 3.2 and 5).

Whole columns at a time. What is written:

- UTF-8 without a byte order mark, LF after each row and inside cells, header as the columns' names;
- null as `#N/A`, which clears the field: an empty cell would leave it as it is. Text that
  Salesforce would store as null (empty, or blanks only) is written the same way;
- a null in a boolean column as `false`: a checkbox has no null, and `#N/A` on it is undocumented;
- text that reads `#N/A` by itself with a blank behind it, which Salesforce trims when it saves:
  bare it would clear the field. NUL characters are dropped;
- moments as `2026-01-02T03:04:05.000Z` (Salesforce keeps whole seconds), numbers without exponent.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from resources.salesforce.errors import UnwritableValue

CLEAR: Final = "#N/A"
_ROWS_AT_ONCE: Final = 16_384
_AROUND_A_CELL: Final = 3
"""Bytes beside a cell's text: two quotes and what separates it from the next."""

Column: TypeAlias = pa.Array | pa.ChunkedArray


def update_csv(table: pa.Table, written: Mapping[str, Column] | None = None) -> bytes:
    """Return `table` as the CSV of a bulk ingest job; see `update_cells`."""
    return csv_of(update_cells(table, written))


def update_cells(table: pa.Table, written: Mapping[str, Column] | None = None) -> pa.Table:
    """Return `table` as the cells of a CSV; column names are exact API names.

    `written` says for some columns on which rows the value is written (true); on the others the
    field is left as it is in the org, by an empty cell.

    Raises UnwritableValue, naming the column, for NaN or infinity, for moments without a time zone,
    for types that no field has, and for a name in `written` that is no column.
    """
    marks = written or {}
    unknown = sorted(marks.keys() - set(table.column_names))
    if unknown:
        raise UnwritableValue(f"There is no column {', '.join(unknown)} to leave rows of alone.")

    columns = [
        _cells(name, column, marks.get(name))
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.table(columns, names=table.column_names)


def csv_of(cells: pa.Table) -> bytes:
    """Return cells as CSV, with a header."""
    buffer = io.BytesIO()
    options = csv.WriteOptions(null_string="", batch_size=_ROWS_AT_ONCE)
    csv.write_csv(cells, buffer, options)
    return buffer.getvalue()


def too_large_rows(cells: pa.Table, bytes_max: int) -> list[int]:
    """Return the positions of rows that alone, with the header, are more than `bytes_max`."""
    if _surely_fits(cells, bytes_max):
        return []

    too_large = pc.greater(_row_bytes(cells), bytes_max - _header_bytes(cells))
    rows: list[int] = pc.indices_nonzero(too_large).to_pylist()
    return rows


def cut(cells: pa.Table, bytes_max: int, rows_max: int) -> Iterator[tuple[int, int]]:
    """Yield first row and count of each part whose CSV, with a header, has `bytes_max` at most.

    No part has more than `rows_max` rows. One that is too large by itself is a part of its own.
    """
    rows = cells.num_rows
    if rows <= rows_max and _surely_fits(cells, bytes_max):
        if rows:
            yield 0, rows
        return

    room = bytes_max - _header_bytes(cells)
    ends = pc.cumulative_sum(_row_bytes(cells))
    first = 0
    while first < rows:
        before = ends[first - 1].as_py() if first else 0
        fitting = pc.sum(pc.less_equal(ends, before + room)).as_py() - first
        count = max(1, min(fitting, rows_max))
        yield first, count
        first += count


def _surely_fits(cells: pa.Table, bytes_max: int) -> bool:
    """Say whether even the longest text that the cells could have fits; costs nothing to know."""
    # Eight bytes of a number are 20 digits at most, and each byte of a text may be a quote.
    texts = 3 * cells.nbytes + _AROUND_A_CELL * cells.num_rows * cells.num_columns
    return bool(texts + _header_bytes(cells) <= bytes_max)


def _header_bytes(cells: pa.Table) -> int:
    return sum(len(name.encode()) + _AROUND_A_CELL for name in cells.column_names)


def _row_bytes(cells: pa.Table) -> pa.ChunkedArray:
    """Return how many bytes each row has in CSV, or a few more."""
    total = pa.chunked_array([pa.repeat(pa.scalar(0, pa.int64()), cells.num_rows)])
    for column in cells.columns:
        text = column.cast(pa.string())
        quotes = pc.count_substring(text, '"')
        size = pc.add(pc.binary_length(text).cast(pa.int64()), quotes.cast(pa.int64()))
        total = pc.add(total, pc.add(pc.fill_null(size, 0), _AROUND_A_CELL))
    return total


def _cells(name: str, column: pa.ChunkedArray, written: Column | None) -> pa.ChunkedArray:
    """Write nulls as the clearing mark, and nothing on the rows that are left alone."""
    try:
        text = _as_text(name, column)
    except pa.ArrowException as error:
        # Its words may quote a value.
        raise UnwritableValue(
            f"Column {name} holds a value that is no text ({type(error).__name__})."
        ) from None

    if text.null_count or written is not None:
        text = pc.fill_null(text.cast(pa.string()), CLEAR)
    return text if written is None else pc.if_else(written, text, None)


def _as_text(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return `column` ready for the writer: its own text, or numbers that write themselves."""
    kind = column.type
    text = column

    if pa.types.is_dictionary(kind):
        text = _as_text(name, column.cast(kind.value_type))
    elif pa.types.is_boolean(kind):
        text = pc.fill_null(column, False).cast(pa.string())
    elif pa.types.is_floating(kind):
        text = _number_text(name, column)
    elif pa.types.is_timestamp(kind):
        text = _datetime_text(name, column, kind)
    elif _is_text(kind):
        text = _clean_text(column.cast(pa.string()))
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
        text = column.cast(pa.string())
    elif not (pa.types.is_integer(kind) or pa.types.is_date32(kind)):
        raise UnwritableValue(f"Column {name} is of type {kind}, which no Salesforce field takes.")
    return text


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _number_text(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write numbers in plain decimals: Arrow turns to exponents from 1e15 and below 1e-6."""
    finite = pc.fill_null(pc.is_finite(column), True)
    if pc.all(finite).as_py() is False:
        rows = pc.indices_nonzero(pc.invert(finite)).to_pylist()
        raise UnwritableValue(f"Column {name} holds NaN or infinity.", rows=rows)

    text = column.cast(pa.float64()).cast(pa.string())
    with_exponent = pc.match_substring(text, "e")
    if not pc.any(with_exponent).as_py():
        return text

    plain = [format(Decimal(value), "f") for value in text.filter(with_exponent).to_pylist()]
    flat = text.combine_chunks()
    return pa.chunked_array(
        [
            pc.replace_with_mask(
                flat, with_exponent.combine_chunks().fill_null(False), pa.array(plain)
            )
        ]
    )


def _datetime_text(name: str, column: pa.ChunkedArray, kind: pa.TimestampType) -> pa.ChunkedArray:
    """Write datetimes in UTC, whole seconds."""
    if kind.tz is None:
        raise UnwritableValue(f"Column {name} holds moments without a time zone.")
    # Without the zone, which is UTC: with it Arrow looks the zone up for each value.
    moments = column.cast(pa.timestamp(kind.unit))
    seconds = pc.floor_temporal(moments, unit="second").cast(pa.timestamp("s"))
    text = pc.replace_substring(seconds.cast(pa.string()), " ", "T", max_replacements=1)
    return pc.binary_join_element_wise(text, ".000Z", "")


def _clean_text(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Drop and change the few things that a cell cannot hold; most columns hold none of them."""
    if _any(pc.match_substring(text, "\0")):
        text = pc.replace_substring(text, "\0", "")
    if _any(pc.match_substring(text, "\r")):
        text = pc.replace_substring(text, "\r\n", "\n")
        text = pc.replace_substring(text, "\r", "\n")

    # Salesforce trims what it saves: text of blanks alone would be stored as null all the same.
    blank = pc.match_substring_regex(text, r"\A[ \t\n\f\v]*\z")
    if _any(blank):
        text = pc.if_else(blank, None, text)
    bare_marker = pc.equal(text, CLEAR)
    if _any(bare_marker):
        text = pc.if_else(bare_marker, f"{CLEAR} ", text)
    return text


def _any(found: pa.ChunkedArray) -> bool:
    return bool(pc.any(found).as_py())
