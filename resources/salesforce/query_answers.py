"""REST answers to queries, turned into Arrow columns (API notes 2.2).

Pure functions over parsed JSON: the calls are the client's. A parent's fields are nested in the
answer and become the flat column that Bulk has (`Account.Name`); null and empty text are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from resources.salesforce.errors import UnexpectedAnswer

Record = Mapping[str, Any]

IDS_PER_QUERY: Final = 500
"""About 11,000 of the 16,000 characters that a query in an address may have."""
QUERY_STARTS_MAX: Final = 3
"""How often a query is begun: its cursor may expire, or its pages be fewer than promised."""
LOCATOR_EXPIRED: Final = "INVALID_QUERY_LOCATOR"
QUERIES_PER_CALL: Final = 5
"""Of the parts of one composite call, this many may be queries (API notes 2.6)."""
URL_CHARACTERS_MAX: Final = 14_000
"""A longer query goes into the body of a composite call instead of an address."""


def batch_from_records(records: Sequence[Record], schema: pa.Schema) -> pa.RecordBatch:
    """Return `records` as one batch of exactly `schema`.

    Raises UnexpectedAnswer where a column is missing or a value is not of its type.
    """
    columns = [_column(records, field) for field in schema]
    return pa.record_batch(columns, schema=schema)


def _column(records: Sequence[Record], field: pa.Field) -> pa.Array:
    values = _values(records, field.name)

    try:
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            return pa.array(values, pa.string()).cast(field.type)
        if pa.types.is_string(field.type):
            return _text(_as_strings(values))
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        # Not chained: Arrow's text quotes the record's value.
        raise UnexpectedAnswer(
            f"The answer holds a value in {field.name} that is not a {field.type}."
        ) from None


def _as_strings(values: list[Any]) -> pa.Array:
    """Return `values` as text.

    Half of a character, as a cut through an emoji leaves it, becomes "?" as in Bulk.
    """
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        whole = (v.encode(errors="replace").decode() if isinstance(v, str) else v for v in values)
        return pa.array(list(whole), pa.string())


def _text(column: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring(column, "\0")).as_py():
        column = pc.replace_substring(column, "\0", "")
    empty = pc.equal(column, "")
    return pc.if_else(empty, None, column) if pc.any(empty).as_py() else column


def _values(records: Sequence[Record], path: str) -> list[Any]:
    """Return the values at `path` (`Email`, `Account.Name`), None where a parent is missing."""
    *parents, name = path.split(".")
    level: Sequence[Record | None] = records
    for parent in parents:
        key = _key(level, parent)
        level = [record[key] if record else None for record in level]
    key = _key(level, name)
    return [record[key] if record else None for record in level]


def _key(records: Sequence[Record | None], name: str) -> str:
    """Return the key as the org writes it: its own case, whatever the query's."""
    sample = next((record for record in records if record), None)
    if sample is None or name in sample:
        return name
    key = next((key for key in sample if key.lower() == name.lower()), None)
    if key is None:
        raise UnexpectedAnswer(f"The answer lacks the column {name}.")
    return key


def is_short(given: int, promised: int | None) -> bool:
    """Say whether there are fewer rows than the org promised in the same answer."""
    return promised is not None and given < promised


def rows_beyond(batch: pa.RecordBatch, given: Sequence[pa.Array]) -> pa.RecordBatch:
    """Return the rows of `batch` whose ids are in none of the arrays `given`."""
    if not given:
        return batch
    return batch.filter(pc.invert(pc.is_in(batch["Id"], value_set=pa.concat_arrays(given))))


def plain_rows(answer: Record) -> list[dict[str, Any]]:
    """Return an answer's records without their `attributes`."""
    return [
        {key: value for key, value in row.items() if key != "attributes"}
        for row in answer["records"]
    ]


def queries_by_ids(
    select: Any, ids: Sequence[str], *, ids_per_query: int = IDS_PER_QUERY
) -> list[list[str]]:
    """Return the queries that read `ids`, grouped as they fit into one composite call each."""
    queries = [select(list(some)) for some in chunks(ids, ids_per_query)]
    return list(chunks(queries, QUERIES_PER_CALL))


def chunks(items: Sequence[str], size: int) -> list[list[str]]:
    """Return `items` in order, cut into lists of at most `size`."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def parse_datetime(text: str | None) -> datetime | None:
    """Return a datetime of the API's JSON (`2026-01-02T03:04:05.000+0000`), aware, or None."""
    return datetime.fromisoformat(text) if text else None
