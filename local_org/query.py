"""Running queries: pages of JSON for REST, a spooled CSV file for Bulk.

A REST cursor keeps the ids of its records, in order; the values are read when a page is asked for.
A bulk result is written once to a file, with an index, and then served in pages of any size.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from . import ids
from .errors import SalesforceError
from .rendering import JsonRows
from .schema import NUMBER_TYPES
from .soql.ast import Aggregate, AllFields, Query, Unsupported
from .soql.compiler import Column, Compiled, Compiler
from .soql.parser import parse
from .store import Store

_WINDOW_ROWS: Final = 500
"""Rows written, shuffled and indexed together."""
_BLOCK_BYTES: Final = 1 << 18
# Below Salesforce's own least page size, which is an option (query_page_rows_min).
_PAGE_MIN: Final = 1
_TOO_COMPLICATED: Final = ("Expression tree", "too many SQL variables", "parser stack overflow")
"""What SQLite says of a statement beyond its limits."""
_UNSUPPORTED_CODE: Final = "FUNCTIONALITY_NOT_ENABLED"


@dataclass(frozen=True)
class BulkQuery:
    """A query that Bulk accepts: its object and the names of its columns."""

    soql: str
    object_name: str
    header: list[str]


class QueryService:
    """Answers SOQL for the users of an org."""

    def __init__(self, store: Store) -> None:
        """Answer from this store."""
        self._store = store

    def _compile(self, query: Query, user_id: str, *, include_deleted: bool) -> Compiled:
        store = self._store
        access = store.access(user_id)
        compiler = Compiler(store.schema, store.options, store.clock.now(), access)
        compiled = compiler.compile(query, include_deleted=include_deleted)
        return compiled if access.is_admin else _without_hidden(compiled)

    # --- REST ------------------------------------------------------------------------------------

    def query(
        self,
        soql: str,
        *,
        user_id: str,
        version: str,
        include_deleted: bool = False,
        batch_size: int = 2000,
    ) -> dict[str, Any]:
        """Run a query; gives the first page as the REST resource answers it.

        Raises:
            SalesforceError: 400, in Salesforce's words.
        """
        compiled = self._compile(parse(soql), user_id, include_deleted=include_deleted)
        if compiled.is_count:
            return {"totalSize": self._count(compiled), "done": True, "records": []}

        rows = JsonRows(compiled, self._store.options, version)
        if compiled.is_aggregate:
            return self._aggregates(compiled, rows)

        page = self._page_size(batch_size)
        ordered = self._ids(compiled)
        head = ordered[:page]
        answer: dict[str, Any] = {"totalSize": len(ordered), "done": len(ordered) <= page}
        if not answer["done"]:
            cursor = self._keep_cursor(soql, user_id, ordered, include_deleted=include_deleted)
            answer["nextRecordsUrl"] = f"/services/data/v{version}/query/{cursor}-{page}"
        answer["records"] = self._records(compiled, rows, head)
        return answer

    def query_more(
        self, locator: str, *, user_id: str, version: str, batch_size: int = 2000
    ) -> dict[str, Any]:
        """Give a later page of a query.

        Raises:
            SalesforceError: 400 INVALID_QUERY_LOCATOR: unknown, expired, or another user's.
        """
        cursor, _, place = locator.partition("-")
        row = (
            self._store.read()
            .execute(
                "SELECT soql, include_deleted, made_at, rids FROM _cursors "
                "WHERE id = ? AND user_id = ?",
                (cursor, user_id),
            )
            .fetchone()
        )

        expired = row is not None and (
            self._store.clock.now().timestamp() - row[2] > self._store.options.cursor_life_seconds
        )
        if row is None or expired or not place.isdigit():
            raise SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")

        soql, include_deleted, _, blob = row
        # Eight bytes a record: a cursor of a million rows is 8 MB, written at once.
        ordered = array("q")
        ordered.frombytes(blob)
        start, page = int(place), self._page_size(batch_size)
        if start >= len(ordered):
            raise SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")

        compiled = self._compile(parse(soql), user_id, include_deleted=bool(include_deleted))
        end = start + page
        answer: dict[str, Any] = {"totalSize": len(ordered), "done": end >= len(ordered)}
        if not answer["done"]:
            answer["nextRecordsUrl"] = f"/services/data/v{version}/query/{cursor}-{end}"

        rows = JsonRows(compiled, self._store.options, version)
        answer["records"] = self._records(compiled, rows, ordered[start:end])
        return answer

    def _page_size(self, batch_size: int) -> int:
        options = self._store.options
        least = min(options.query_page_rows_min, options.query_page_rows)
        return max(_PAGE_MIN, min(max(batch_size, least), options.query_page_rows))

    def _run(self, statement: str, compiled: Compiled) -> sqlite3.Cursor:
        try:
            return self._store.read().execute(statement, compiled.params)
        except sqlite3.OperationalError as error:
            # Anything else is a fault of this program and must be seen as one.
            if not any(text in str(error) for text in _TOO_COMPLICATED):
                raise
            raise SalesforceError(
                400,
                "QUERY_TOO_COMPLICATED",
                "Query is either selecting too many fields or the "
                "filter conditions are too complicated.",
            ) from None

    def _count(self, compiled: Compiled) -> int:
        if compiled.limit is None and compiled.offset is None:
            statement = compiled.select(["COUNT(*)"])
        else:
            statement = f"SELECT COUNT(*) FROM ({compiled.select(['1'])})"  # noqa: S608
        return int(self._run(statement, compiled).fetchone()[0])

    def _aggregates(self, compiled: Compiled, rows: JsonRows) -> dict[str, Any]:
        statement = compiled.select([column.sql for column in compiled.columns])
        rows_found = self._run(statement, compiled)
        records = [rows.aggregate(row) for row in rows_found]
        return {"totalSize": len(records), "done": True, "records": records}

    def _ids(self, compiled: Compiled) -> array[int]:
        cursor = self._run(compiled.select(["t0.rid"]), compiled)
        ordered = array("q", (row[0] for row in cursor))
        if not compiled.order and self._store.options.shuffle_ties:
            self._shuffle(ordered)
        return ordered

    def _shuffle(self, ordered: array[int]) -> None:
        # Shuffled within windows, so that an export need not keep all rows in memory.
        chance = random.Random(self._store.options.random_seed)  # noqa: S311
        for start in range(0, len(ordered), _WINDOW_ROWS):
            window = ordered[start : start + _WINDOW_ROWS]
            chance.shuffle(window)
            ordered[start : start + _WINDOW_ROWS] = window

    def _records(
        self, compiled: Compiled, rows: JsonRows, wanted: Sequence[int]
    ) -> list[dict[str, Any]]:
        if not len(wanted):
            return []
        # Read anew by id: a record deleted since the query is left out of a later page.
        alive = 't0."IsDeleted" = 0 AND ' if 't0."IsDeleted" = 0' in compiled.where else ""
        expressions = ", ".join(["t0.rid", *rows.expressions()])
        cursor = self._store.read().execute(
            f"SELECT {expressions} FROM {compiled.source} WHERE {alive}"  # noqa: S608
            "t0.rid IN (SELECT value FROM json_each(?))",
            (json.dumps(list(wanted)),),
        )

        records = {row[0]: rows.record(row[1:]) for row in cursor}
        return [records[rid] for rid in wanted if rid in records]

    def _keep_cursor(
        self, soql: str, user_id: str, ordered: array[int], *, include_deleted: bool
    ) -> str:
        store = self._store
        cursor = ids.make_id("01g", store.next_serial("01g"))
        now = store.clock.now().timestamp()

        with store.write() as connection:
            connection.execute(
                "DELETE FROM _cursors WHERE made_at < ?",
                (now - store.options.cursor_life_seconds,),
            )
            connection.execute(
                "INSERT INTO _cursors VALUES (?, ?, ?, ?, ?, ?, ?)",
                (cursor, user_id, soql, include_deleted, now, len(ordered), ordered.tobytes()),
            )
        return cursor

    # --- Bulk ------------------------------------------------------------------------------------

    def prepare_bulk(self, soql: str, *, user_id: str, include_deleted: bool) -> BulkQuery:
        """Check a query as the creation of a bulk job does.

        Raises:
            SalesforceError: 400: the query is wrong, or of a kind that Bulk does not run.
        """
        compiled = self._compile_bulk(soql, user_id, include_deleted=include_deleted)
        return BulkQuery(soql, compiled.owner.name, _header(compiled))

    def _compile_bulk(self, soql: str, user_id: str, *, include_deleted: bool) -> Compiled:
        query = parse(soql)
        if refusal := self._refusal(query):
            raise SalesforceError(400, _UNSUPPORTED_CODE, f"{refusal} in Bulk Query")
        compiled = self._compile(query, user_id, include_deleted=include_deleted)
        if compiled.has_compound:
            raise SalesforceError(
                400, _UNSUPPORTED_CODE, "Selecting compound data not supported in Bulk Query"
            )
        return compiled

    def _refusal(self, query: Query) -> str | None:
        for item in query.select:
            if isinstance(item, Aggregate):
                return "Aggregate functions not supported"
            if isinstance(item, Unsupported):
                what = "TYPEOF" if item.what == "typeof" else "Aggregate Relationships"
                return f"{what} not supported"
            if isinstance(item, AllFields) and item.kind != "CUSTOM":
                return "FIELDS(ALL) and FIELDS(STANDARD) not supported"

        if query.group_by:
            return "GROUP BY not supported"
        if query.offset is not None:
            return "OFFSET not supported"
        ordered = query.order_by or query.limit is not None
        if ordered and not self._store.options.bulk_supports_order_by:
            return "ORDER BY and LIMIT not supported"

        return None

    def export(
        self,
        soql: str,
        *,
        user_id: str,
        include_deleted: bool,
        target: Path,
        delimiter: str = ",",
        line_ending: str = "\n",
        progress: Callable[[int], None] | None = None,
    ) -> ResultSpool:
        """Run a bulk query into a file, in bounded memory.

        Args:
            soql: the query.
            user_id: whose rights count.
            include_deleted: as queryAll does.
            target: the file; an index is kept beside it (``.idx``).
            delimiter: one character.
            line_ending: ends of rows; those inside cells stay as they are kept.
            progress: called now and then with the number of rows written.

        Raises:
            SalesforceError: as ``prepare_bulk``; also whatever ``progress`` raises, to stop.
        """
        compiled = self._compile_bulk(soql, user_id, include_deleted=include_deleted)
        options = self._store.options
        expressions = [_csv_sql(column, self._store) for column in compiled.columns]
        shuffled = not compiled.order and options.shuffle_ties
        chance = random.Random(options.random_seed) if shuffled else None  # noqa: S311
        cursor = self._run(compiled.select(expressions), compiled)
        return _write_spool(
            cursor, _header(compiled), target, delimiter, line_ending, chance, progress
        )


def _header(compiled: Compiled) -> list[str]:
    return [".".join(column.names) for column in compiled.columns]


def _csv_sql(column: Column, store: Store) -> str:
    """Give the SQL of a column's CSV text; null becomes an empty cell by the writer."""
    options = store.options
    sql = column.sql

    if column.kind == "boolean":
        true = options.csv_boolean_query
        return f"CASE {sql} WHEN 1 THEN '{true}' WHEN 0 THEN '{_FALSE[true]}' END"
    if column.kind in NUMBER_TYPES:
        if options.csv_double_form == "integer":
            return f"CASE WHEN {sql} = CAST({sql} AS INTEGER) THEN CAST({sql} AS INTEGER) ELSE {sql} END"
        if options.csv_double_exponent:
            # Plain REAL values are written by repr, which is Java's form between 1e-3 and 1e7.
            return (
                f"CASE WHEN abs({sql}) >= 1e7 OR (abs({sql}) < 1e-3 AND {sql} <> 0) "
                f"THEN java_double({sql}) ELSE {sql} END"
            )

    return sql


_FALSE: Final = {"true": "false", "TRUE": "FALSE"}


def _write_spool(
    cursor: sqlite3.Cursor,
    header: list[str],
    target: Path,
    delimiter: str,
    line_ending: str,
    chance: random.Random | None,
    progress: Callable[[int], None] | None,
) -> ResultSpool:
    offsets = array("Q")
    count = 0

    with target.open("wb") as raw:
        head = _csv_text([header], delimiter, line_ending).encode()
        raw.write(head)
        at = len(head)
        # A window at a time: the rows are never all in memory, and shuffling keeps to its window.
        while window := cursor.fetchmany(_WINDOW_ROWS):
            if chance is not None:
                chance.shuffle(window)
            block = _csv_text(window, delimiter, line_ending).encode()
            offsets.append(at)
            raw.write(block)
            at += len(block)
            count += len(window)
            if progress is not None:
                progress(count)

    # The index goes last: a file that has one is whole.
    facts = {"rows": count, "window": _WINDOW_ROWS, "header": len(head), "size": at}
    index = _index_path(target)
    index.write_bytes(json.dumps(facts).encode() + b"\n" + offsets.tobytes())
    return ResultSpool(target)


def _csv_text(rows: Sequence[Sequence[Any]], delimiter: str, line_ending: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(
        text, delimiter=delimiter, lineterminator=line_ending, quoting=csv.QUOTE_ALL
    ).writerows(rows)
    return text.getvalue()


def _index_path(target: Path) -> Path:
    return target.with_name(target.name + ".idx")


class ResultSpool:
    """The rows of a bulk query in a file, served in pages; can be opened again after a restart."""

    def __init__(self, path: Path) -> None:
        """Open what ``QueryService.export`` wrote."""
        self.path = path
        first, _, rest = _index_path(path).read_bytes().partition(b"\n")
        facts = json.loads(first)
        self.row_count: int = facts["rows"]
        self._window: int = facts["window"]
        self._size: int = facts["size"]
        self._offsets = array("Q")
        self._offsets.frombytes(rest)
        with path.open("rb") as raw:
            self.header: bytes = raw.read(facts["header"])

    def page(self, start: int, max_rows: int) -> tuple[int, Iterator[bytes]]:
        """Give the rows from ``start`` on, at most ``max_rows``: their number, and their bytes."""
        count = max(0, min(max_rows, self.row_count - start))
        if count == 0:
            return 0, iter(())
        first, last = self._byte_of(start), self._byte_of(start + count)
        return count, self._blocks(first, last)

    def _byte_of(self, row: int) -> int:
        if row >= self.row_count:
            return self._size
        # Offsets are kept for whole windows only: inside one, its rows are counted.
        window, extra = divmod(row, self._window)
        at = self._offsets[window]
        if extra == 0:
            return at
        end = self._offsets[window + 1] if window + 1 < len(self._offsets) else self._size
        with self.path.open("rb") as raw:
            raw.seek(at)
            return at + _skip_rows(raw.read(end - at), extra)

    def _blocks(self, first: int, last: int) -> Iterator[bytes]:
        with self.path.open("rb") as raw:
            raw.seek(first)
            remaining = last - first
            while remaining > 0:
                block = raw.read(min(_BLOCK_BYTES, remaining))
                if not block:
                    return
                remaining -= len(block)
                yield block

    def open(self) -> IO[bytes]:
        """Open the whole file, header line first."""
        return self.path.open("rb")

    def delete(self) -> None:
        """Remove the file and its index."""
        for path in (self.path, _index_path(self.path)):
            path.unlink(missing_ok=True)


def _skip_rows(block: bytes, rows: int) -> int:
    """Give the place after so many rows; a newline inside quotes ends no row."""
    at = 0
    quotes = 0
    while rows:
        end = block.find(b"\n", at)
        if end < 0:
            return len(block)
        # Every quote counts: a doubled one inside a cell adds two and changes nothing.
        quotes += block.count(b'"', at, end)
        at = end + 1
        if quotes % 2 == 0:
            rows -= 1
    return at


def _without_hidden(compiled: Compiled) -> Compiled:
    """Leave out the records that sharing hides from the user."""
    visible = 't0."Id" NOT IN (SELECT id FROM _hidden)'
    where = f"({compiled.where}) AND {visible}" if compiled.where else visible
    return replace(compiled, where=where)
