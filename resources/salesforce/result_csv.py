"""The CSV of bulk results to Arrow, page by page, in bounded memory (API notes 3.1, 3.2).

Cells are read by the caller's types, not guessed. Null and empty text are the same. Cells may hold
line breaks, so nothing here splits on lines except for the header, whose names hold none.
"""

from __future__ import annotations

import csv as standard_csv
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

import pyarrow as pa
from pyarrow import csv

from resources.salesforce.errors import ConnectionBroken, UnexpectedAnswer

_BLOCK_BYTES: Final = 4 * 1024 * 1024
"""More than the longest row: Salesforce allows 400,000 characters a record."""
_MEMORY_BYTES_MAX: Final = 32 * 1024 * 1024
"""A longer page waits on disk, in a file without a name, until it is read."""

PARSE: Final = csv.ParseOptions(newlines_in_values=True)


class PageIncomplete(ConnectionBroken):
    """A page has fewer or more rows than it says, or ends inside one: it must be read again."""


def spool(chunks: Iterable[bytes]) -> IO[bytes]:
    """Keep a download until it is read, without its NUL bytes, in memory or on disk."""
    file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES_MAX)  # noqa: SIM115 - handed over
    for chunk in chunks:
        file.write(chunk.replace(b"\0", b"") if b"\0" in chunk else chunk)
    file.seek(0)
    return file


@dataclass(slots=True)
class QueryResultReader:
    """Reads the pages of one query job, in order, to `schema`.

    The first page must begin with the header. Whether later pages repeat it is not documented, so
    the first line of each is compared with it.
    """

    schema: pa.Schema
    _header: bytes | None = None

    def batches(
        self, file: IO[bytes], *, expected_rows: int | None, skip_rows: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a page but for the first `skip_rows`.

        The last batch is held back until the page is known to be whole.

        Raises:
            PageIncomplete: not `expected_rows` rows, or a broken last row.
            UnexpectedAnswer: a column is missing, or a value is not of the schema's type.
        """
        seen = 0
        held: pa.RecordBatch | None = None
        for batch in self._parse(file):
            fresh = batch.slice(min(max(0, skip_rows - seen), batch.num_rows))
            seen += batch.num_rows
            if held is not None and held.num_rows:
                yield held
            held = fresh

        if expected_rows is not None and seen != expected_rows:
            raise PageIncomplete(f"A page of results has {seen} of its {expected_rows} rows.")
        if held is not None and held.num_rows:
            yield held

    def _parse(self, file: IO[bytes]) -> Iterator[pa.RecordBatch]:
        """Yield all rows of the page, to the schema."""
        names = self._column_names(file)
        if names is None or not _has_more(file):
            return

        wanted = _headings_of(self.schema.names, names)
        convert = csv.ConvertOptions(
            column_types={wanted[field.name]: _read_type(field.type) for field in self.schema},
            include_columns=[wanted[field.name] for field in self.schema],
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            true_values=["true", "TRUE"],
            false_values=["false", "FALSE"],
        )
        read = csv.ReadOptions(column_names=names, block_size=_BLOCK_BYTES)

        try:
            with csv.open_csv(
                file, read_options=read, parse_options=PARSE, convert_options=convert
            ) as reader:
                for batch in reader:
                    yield self._cast(batch)
        except pa.ArrowInvalid as error:
            raise _error_from_arrow(
                error, names
            ) from None  # Arrow's text quotes the record's value

    def _cast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return `batch` exactly of the schema."""
        columns = [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(batch.columns, self.schema, strict=True)
        ]
        return pa.record_batch(columns, schema=self.schema)

    def _column_names(self, file: IO[bytes]) -> list[str] | None:
        """Take the header off the page, if it has one; None where there is nothing at all."""
        first_line = file.readline()
        line = first_line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
        if self._header is None:
            if not line:
                return None
            names = header_names(line)
            self._header = line
            return names
        if line != self._header:
            file.seek(0)
        return header_names(self._header)


def header_names(line: bytes) -> list[str]:
    """Return the column names of a header line, quoted or not.

    Raises PageIncomplete where it is none.
    """
    try:
        return next(standard_csv.reader([line.decode("utf-8")]))
    except (UnicodeDecodeError, standard_csv.Error):
        raise PageIncomplete("A page of results begins with a broken header.") from None


def _has_more(file: IO[bytes]) -> bool:
    here = file.tell()
    more = bool(file.read(1))
    file.seek(here)
    return more


def _headings_of(wanted: Sequence[str], found: Sequence[str]) -> dict[str, str]:
    """Return the heading of each wanted column: Salesforce may write another case than asked."""
    by_lower = {name.lower(): name for name in found}
    missing = [name for name in wanted if name.lower() not in by_lower]
    if missing:
        raise UnexpectedAnswer(f"The results lack the column {', '.join(missing)}.")
    return {name: by_lower[name.lower()] for name in wanted}


def _read_type(kind: pa.DataType) -> pa.DataType:
    """Whole numbers are read as numbers first: `87.0` is one too."""
    return pa.float64() if pa.types.is_integer(kind) else kind


def _error_from_arrow(error: pa.ArrowInvalid, names: Sequence[str]) -> Exception:
    """Name the column of a value that is not of its type; anything else is a broken page."""
    found = re.search(r"CSV column #(\d+): CSV conversion error to (.+?): invalid", str(error))
    if found is None:
        return PageIncomplete("A page of results ends or breaks inside a row.")
    position = int(found[1])
    name = names[position] if position < len(names) else found[1]
    return UnexpectedAnswer(f"The results hold a value in {name} that is not a {found[2]}.")


def text_columns(file: IO[bytes], wanted: Sequence[str]) -> pa.Table:
    """Return those of the `wanted` columns that are there, as text, nulls for empty cells.

    For ingest results, which repeat every uploaded column: only the wanted ones are converted.
    """
    line = file.readline().removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    names = header_names(line) if line else []
    included = [name for name in wanted if name in names]
    schema = pa.schema([(name, pa.string()) for name in included])
    if not included or not _has_more(file):
        return schema.empty_table()

    convert = csv.ConvertOptions(
        column_types=schema,
        include_columns=included,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    read = csv.ReadOptions(column_names=names, block_size=_BLOCK_BYTES)

    try:
        return csv.read_csv(file, read_options=read, parse_options=PARSE, convert_options=convert)
    except pa.ArrowInvalid:
        raise PageIncomplete("A page of results ends or breaks inside a row.") from None
