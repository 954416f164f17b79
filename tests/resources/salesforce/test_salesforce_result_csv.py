"""Pages of bulk results become Arrow batches of the caller's types (API notes 3.1, 3.2)."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from typing import IO

import pyarrow as pa
import pytest

from resources.salesforce import result_csv
from resources.salesforce.errors import UnexpectedAnswer, is_passing
from resources.salesforce.ingest_results import failed_rows, ids_of
from resources.salesforce.result_csv import PageIncomplete, QueryResultReader, spool, text_columns

SCHEMA = pa.schema(
    [
        ("Id", pa.string()),
        ("Account.Name", pa.string()),
        ("Hot__c", pa.bool_()),
        ("Score__c", pa.float64()),
        ("Employees", pa.int64()),
        ("Stamp", pa.timestamp("ms", tz="UTC")),
        ("Day", pa.date32()),
    ]
)
HEADER = b'"Id","Account.Name","Hot__c","Score__c","Employees","Stamp","Day"\n'
FULL = (
    '"003A","Jos\u00e9 ""J"" \u2028\nSmith","true","87.0","87","2026-01-02T03:04:05.000Z",'
    '"2026-01-02"\n'
).encode()
EMPTY = b'"003B","","false","","","",""\n'


def page(*parts: bytes) -> IO[bytes]:
    """Return a downloaded page."""
    return spool(parts)


def rows(reader: QueryResultReader, file: IO[bytes], expected: int | None) -> list[object]:
    """Read a page whole."""
    batches = list(reader.batches(file, expected_rows=expected))
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


FULL_ROW = (
    "003A",
    'José "J" \u2028\nSmith',
    True,
    87.0,
    87,
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    date(2026, 1, 2),
)
EMPTY_ROW = ("003B", None, False, None, None, None, None)


def test_values_are_read_by_type_and_empty_cells_are_null() -> None:
    assert rows(QueryResultReader(SCHEMA), page(HEADER, FULL, EMPTY), 2) == [FULL_ROW, EMPTY_ROW]


def test_batches_are_exactly_of_the_schema_whatever_the_order_and_case_of_columns() -> None:
    schema = pa.schema([("score__c", pa.int64()), ("ID", pa.string())])
    batches = list(
        QueryResultReader(schema).batches(
            page(b'"Id","X","Score__c"\n"a","","87.0"\n'), expected_rows=1
        )
    )

    assert [batch.schema for batch in batches] == [schema]
    assert batches[0].to_pylist() == [{"score__c": 87, "ID": "a"}]


@pytest.mark.parametrize("repeated", [HEADER, b"", HEADER.replace(b"\n", b"\r\n")])
def test_later_pages_are_read_with_and_without_a_header(repeated: bytes) -> None:
    reader = QueryResultReader(SCHEMA)

    assert rows(reader, page(HEADER, FULL), 1) == [FULL_ROW]
    assert rows(reader, page(repeated, EMPTY), 1) == [EMPTY_ROW]


@pytest.mark.parametrize("body", [b"", HEADER, HEADER.rstrip(b"\n")])
def test_every_form_of_no_rows_gives_no_batches(body: bytes) -> None:
    assert rows(QueryResultReader(SCHEMA), page(body), 0) == []


def test_crlf_lines_and_a_missing_last_line_end_are_read() -> None:
    body = (HEADER + FULL + EMPTY).replace(b'"\n', b'"\r\n').rstrip(b"\r\n")

    assert rows(QueryResultReader(SCHEMA), page(body), 2) == [FULL_ROW, EMPTY_ROW]


def test_nul_bytes_are_dropped_in_whatever_chunk_they_come() -> None:
    body = (HEADER + EMPTY).replace(b"003B", b"\x00003\x00B")

    assert rows(QueryResultReader(SCHEMA), page(*(bytes([b]) for b in body)), 1) == [EMPTY_ROW]


@pytest.mark.parametrize("cut", [1, 10, len(EMPTY), len(EMPTY) + 20])
def test_a_page_cut_short_is_incomplete_and_gives_no_partial_row(cut: int) -> None:
    body = (HEADER + FULL + EMPTY)[:-cut]
    reader = QueryResultReader(SCHEMA)
    given: list[object] = []

    if cut == 1:  # only the last line end is gone
        assert rows(reader, page(body), 2) == [FULL_ROW, EMPTY_ROW]
        return
    with pytest.raises(PageIncomplete) as caught:
        given.extend(reader.batches(page(body), expected_rows=2))

    assert is_passing(caught.value)
    assert given == []


def test_rows_given_before_are_passed_over_when_a_page_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(result_csv, "_BLOCK_BYTES", 64)
    schema = pa.schema([("Id", pa.string())])
    lines = [f'"{number:05}"\n'.encode() for number in range(200)]
    reader = QueryResultReader(schema)
    given: list[str] = []
    with pytest.raises(PageIncomplete):
        for batch in reader.batches(page(b'"Id"\n', *lines[:120]), expected_rows=200):
            given.extend(batch["Id"].to_pylist())
    assert 0 < len(given) < 120

    for batch in reader.batches(page(b'"Id"\n', *lines), expected_rows=200, skip_rows=len(given)):
        given.extend(batch["Id"].to_pylist())

    assert given == [f"{number:05}" for number in range(200)]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UnexpectedAnswer, match=r"Hot__c"):
        rows(QueryResultReader(SCHEMA), page(HEADER.replace(b"Hot__c", b"Cold__c"), FULL), 1)


def test_a_value_of_another_type_is_named_by_column_and_never_quoted() -> None:
    with pytest.raises(UnexpectedAnswer, match=r"Score__c") as caught:
        rows(QueryResultReader(SCHEMA), page(HEADER, FULL.replace(b'"87.0"', b'"secret"')), 1)

    assert "secret" not in str(caught.value)


def test_only_the_wanted_columns_of_ingest_results_are_read() -> None:
    table = text_columns(
        io.BytesIO(b'"sf__Id","sf__Created",Id,Note__c\n"003A","false","003A","a\nb"\n'),
        ["sf__Id", "Id", "sf__Error"],
    )

    assert table.to_pydict() == {"sf__Id": ["003A"], "Id": ["003A"]}


@pytest.mark.parametrize("body", [b"", b'"sf__Id","Id"\n'])
def test_no_ingest_results_are_an_empty_table(body: bytes) -> None:
    assert text_columns(io.BytesIO(body), ["sf__Id", "Id"]).num_rows == 0


def test_the_id_of_a_row_is_the_orgs_else_the_uploaded_one() -> None:
    table = pa.table({"sf__Id": ["003A", None], "Id": ["003a", "003B"]})

    assert ids_of(table).to_pylist() == ["003A", "003B"]
    assert ids_of(pa.table({"Id": ["x"]})).to_pylist() == ["x"]


@pytest.mark.parametrize(
    ("error", "code", "message", "fields"),
    [
        (
            "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record: 001x,001y:--",
            "UNABLE_TO_LOCK_ROW",
            "unable to obtain exclusive access to this record: 001x,001y",
            "",
        ),
        (
            "NUMBER_OUTSIDE_VALID_RANGE:Score: value outside of range: 100.0:Score__c --",
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Score: value outside of range: 100.0",
            "Score__c",
        ),
        (
            "FIELD_CUSTOM_VALIDATION_EXCEPTION:two\nlines: of it:A__c,B__c --",
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "two\nlines: of it",
            "A__c,B__c",
        ),
        ("something else", "", "something else", ""),
        (None, "", "", ""),
    ],
)
def test_salesforces_own_words_about_a_row_are_kept(
    error: str | None, code: str, message: str, fields: str
) -> None:
    table = pa.table(
        {
            "sf__Id": pa.array([None], pa.string()),
            "Id": ["003A"],
            "sf__Error": pa.array([error], pa.string()),
        }
    )

    assert failed_rows(table).to_pylist() == [
        {"id": "003A", "error_code": code, "error_message": message, "fields": fields}
    ]
