"""What comes as tables: CSV of bulk results and updates, a model's outputs, files in the lake."""

# ruff: noqa: PT017 - what is asserted of a declared error; others are findings

from __future__ import annotations

import base64
import csv
import io
import tempfile
import zlib
from datetime import date
from pathlib import Path

import pyarrow as pa

from pipeline.core.errors import InsightsError
from pipeline.core.scoring.outputs import OutputsUnusable
from pipeline.core.scoring.schemas import validate_outputs
from resources.lake import Lake
from resources.salesforce.errors import SalesforceError
from resources.salesforce.ingest_results import failed_rows, ids_of
from resources.salesforce.result_csv import QueryResultReader, spool, text_columns
from resources.salesforce.update_csv import CLEAR, update_csv
from tests.core.support import field, market
from tests.fuzz.answers import CSV, RESULT_CSV, SCHEMA
from tests.fuzz.target import SECRET, Target, keeps_secret, text_of

CSV_WORDS = (
    b'"',
    b'""',
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b",",
    b"\xef\xbb\xbf",
    b"\xff",
    b"1e400",
    b"87.5",
    b"id",
)


def _query_csv(data: bytes) -> None:
    """A page of query results: the schema's rows or SalesforceError without a value."""
    for skip in (0, 1):
        try:
            batches = QueryResultReader(SCHEMA).batches(
                spool([data]), expected_rows=None, skip_rows=skip
            )
            for batch in batches:
                batch.validate(full=True)
                assert batch.schema.equals(SCHEMA)
                assert batch.num_rows
        except SalesforceError as error:
            if SECRET.encode() not in data.partition(b"\n")[0]:
                keeps_secret(error)


def _ingest_csv(data: bytes) -> None:
    """Ingest results: as many ids as rows, failures in four columns."""
    try:
        table = text_columns(spool([data]), ["sf__Id", "Id", "sf__Error"])
    except SalesforceError as error:
        keeps_secret(error)
        return
    table.validate(full=True)
    assert len(ids_of(table)) == table.num_rows
    failed = failed_rows(table)
    failed.validate(full=True)
    assert failed.column_names == ["id", "error_code", "error_message", "fields"]
    for said, row in zip(_column(table, "sf__Error"), failed.to_pylist(), strict=True):
        assert all(row[name] in (said or "") for name in ("error_code", "error_message", "fields"))


def _column(table: pa.Table, name: str) -> list[str | None]:
    if name not in table.column_names:
        return [None] * table.num_rows
    return list(table.column(name).to_pylist())


def _csv_round_trip(data: bytes) -> None:
    """Cells come out as they went in, whatever the quoting, the line ends and the page's size."""
    style, cells = data[:1], [cell.replace("\0", "") for cell in text_of(data[1:]).split("\x1e")]
    rows = [cells[n : n + 3] for n in range(0, len(cells) - len(cells) % 3, 3)]
    out = io.StringIO()
    end = "\r\n" if style > b"\x80" else "\n"
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["Id", "Name", "Title"])
    writer.writerows(rows)
    schema = pa.schema([(name, pa.string()) for name in ("Id", "Name", "Title")])
    page = spool([out.getvalue().encode()])
    batches = QueryResultReader(schema).batches(page, expected_rows=len(rows))
    found = [list(row.values()) for batch in batches for row in batch.to_pylist()]
    assert found == [[cell or None for cell in row] for row in rows]


def _update_csv(data: bytes) -> None:
    """What is pushed reads back as what was to be pushed: one row a record, null as the clearing mark."""
    cells = text_of(data).split("\x1e")
    ids = [f"00Q{n:015d}" for n in range(len(cells))]
    sent = update_csv(pa.table({"Id": ids, "Note__c": cells}))
    header, *rows = csv.reader(io.StringIO(sent.decode(), newline=""))
    assert header == ["Id", "Note__c"]
    assert [row[0] for row in rows] == ids
    for cell, row in zip(cells, rows, strict=True):
        expected = cell.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
        if not expected.strip(" \t\n\f\v"):
            expected = CLEAR
        elif expected == CLEAR:
            expected = f"{CLEAR} "
        assert row[1] == expected, (cell, row[1])


# --- outputs of a model

FIELDS = {
    "score": field("Score__c", "double"),
    "rank": field("Rank__c", "string", length=1),
    "note": field("Note__c", "string", length=40),
    "size": field("Size__c", "double", precision=5, scale=2),
    "hot": field("Hot__c", "boolean"),
}
KINDS = (
    pa.int64(),
    pa.string(),
    pa.float64(),
    pa.bool_(),
    pa.large_string(),
    pa.uint64(),
    pa.float16(),
    pa.decimal128(38, 2),
    pa.binary(),
    pa.date32(),
    pa.timestamp("ns"),
    pa.null(),
    pa.list_(pa.int64()),
    pa.struct([("a", pa.int64())]),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.float64()),
    pa.string_view(),
    pa.int8(),
    pa.float32(),
    pa.duration("s"),
)


def _outputs(data: bytes) -> None:
    """Five columns of any type and value: typed outputs and a verdict for each row, and nothing raised."""
    rows = 3
    lead, texts = data[: len(FIELDS)].ljust(len(FIELDS), b"\0"), text_of(data[len(FIELDS) :])
    cells = texts.split("\x1e")
    columns: dict[str, pa.Array] = {}
    for n, name in enumerate(FIELDS):
        kind = KINDS[lead[n] % len(KINDS)]
        given = (cells[n * rows : (n + 1) * rows] + [None] * rows)[:rows]
        columns[name] = _array(given, kind)
    try:
        result = validate_outputs(market(), FIELDS, {0: pa.table(columns)}, rows)
    except OutputsUnusable:
        return
    assert len(result.valid) == rows
    assert result.outputs.num_rows == rows
    for name in FIELDS:
        assert result.outputs.column(name).type == market().outputs[name].arrow_type
    good = result.outputs.filter(result.valid).to_pylist()
    for row in good:
        assert row["score"] is None or 0 <= row["score"] <= 100
        assert row["rank"] in (None, "A", "B", "C", "D")
        assert (row["score"] is None) == (row["rank"] is None)
        assert row["note"] is None or len(row["note"]) <= 5
        assert row["size"] is None or abs(row["size"]) < 1000


def _array(given: list[str | None], kind: pa.DataType) -> pa.Array:
    """Return `given` read as `kind`; nulls where that cannot be."""
    try:
        return pa.array(given, pa.string()).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(given), kind)


# --- files in the lake

DAY = date(2026, 3, 2)


PARQUET = zlib.decompress(
    base64.b85decode(
        "c-n1Hu?oUK3{6it9J(fW(xFQahgMY3se^)x;86U7qaN77wqDgP{-Hl*T0|Ti@<?9ZOG2{kae;t@6r<oo"
        "q6`2)bm4i7hRF#|{&WY7rEPJj(iMzllb`Ly;1JM{#8?!k2o9aNFQv1lsmc#ULIo<;5TLIj393^gvy@V*"
        "NBe*`0SZW2CzbBk{fIxadc%e`diP_HUjsc!=n*|(8rH^L@Aj7Db)6XJsy2LB*A!J5F4wd9Y@uR4s=MpO"
        "k?}*`gx@D#"
    )
)
"""A table of one row with id and reason. Not written here: that would start threads, and a fork loses them."""


def _lake(data: bytes) -> None:
    """A file that is not ours, or broken: named in an InsightsError; as a working file it counts as gone."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        lake = Lake(Path(folder))
        path = lake.write("scored_enriched", DAY, "Lead", "s", pa.table({"id": ["a"]}))
        path.write_bytes(data)
        for read in (
            lambda: lake.count_by("scored_enriched", DAY, "Lead", "reason"),
            lambda: lake.read_file("scored_enriched", DAY, "Lead", "s"),
            lambda: list(lake.read("scored_enriched", DAY, "Lead")),
        ):
            try:
                read()
            except InsightsError as error:
                assert str(path) in str(error)
        lake.write_working_file("w", pa.table({"id": ["a"]}))
        lake._working_path("w").write_bytes(data)
        found = lake.read_working_file("w")
        assert found is None or isinstance(found, pa.Table)


TARGETS = (
    Target("query_csv", _query_csv, (CSV.encode(), CSV.replace('"', "").encode(), b""), CSV_WORDS),
    Target("ingest_csv", _ingest_csv, (RESULT_CSV, b"sf__Id,Id\n00QA,00QA\n", b"Id\n"), CSV_WORDS),
    Target(
        "csv_round_trip",
        _csv_round_trip,
        (
            b"\x00a\x1eb\x1ec\x1e\x1e\n\x1e,",
            b'\xffa\x1e\r\n\x1e"\x1ed\x1e\xe2\x80\xa8\x1e ',
        ),
        (b"\x1e", *CSV_WORDS),
    ),
    Target(
        "update_csv",
        _update_csv,
        (b'a\x1e#N/A\x1e \n\x1e=1+1\x1e"q"', b""),
        (b"\x1e", b"#N/A", "\u2028".encode(), *CSV_WORDS),
    ),
    Target(
        "outputs",
        _outputs,
        (
            b"\x00\x01\x01\x02\x03"
            + b"\x1e".join(b"50 60 70 A B C note x y 1.5 nan -inf true false 1".split()),
            b"\x02\x0e\x04\x07\x03"
            + b"\x1e".join(b"50.5 1e300 7 A E C sixsix x y 1.5 99999 2 true 0 1".split()),
        ),
        (b"\x1e", b"nan", b"inf", b"-0.0", b"1e308", b"101", b"E"),
    ),
    Target(
        "lake_file", _lake, (PARQUET, PARQUET[:40], b"", b"PAR1", b"PAR1\0\0\0\0PAR1"), (b"PAR1",)
    ),
)
