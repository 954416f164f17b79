"""What became of an ingest job's rows, read out of its result files. Pure functions over tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_ROW_ERROR: Final = (
    r"(?s)^(?P<error_code>[A-Za-z0-9_]+):(?P<error_message>.*):(?P<fields>[^:]*?)\s*--\s*$"
)
"""`CODE:message:Field1,Field2 --`, the message holding colons and line breaks at will."""


@dataclass(frozen=True, slots=True)
class IngestResults:
    """What became of a job's rows, in no order: match by id (API notes 3.2).

    `failed` has the columns id, error_code, error_message and fields (comma-separated), in
    Salesforce's own words. Of a row that is in none of the three, the job says nothing.
    """

    succeeded_ids: pa.Array
    failed: pa.Table
    unprocessed_ids: pa.Array


def ids_of(table: pa.Table) -> pa.Array:
    """Return each row's id: Salesforce's `sf__Id` where it gives one, else the uploaded `Id`."""
    nothing = pa.nulls(table.num_rows, pa.string())
    given = [_column(table, name) for name in ("sf__Id", "Id") if name in table.column_names]
    return pc.coalesce(*given, nothing)


def failed_rows(table: pa.Table) -> pa.Table:
    """Return id, code, message and fields of failed rows out of `sf__Error`.

    Text of another form than Salesforce documents is kept whole as the message, without a code.
    """
    errors = (
        _column(table, "sf__Error")
        if "sf__Error" in table.column_names
        else pa.nulls(table.num_rows, pa.string())
    )
    parts = pc.extract_regex(errors, _ROW_ERROR)
    is_documented = pc.is_valid(parts)
    whole = pc.fill_null(errors, "")

    return pa.table(
        {
            "id": ids_of(table),
            "error_code": pc.if_else(is_documented, pc.struct_field(parts, "error_code"), ""),
            "error_message": pc.if_else(
                is_documented, pc.struct_field(parts, "error_message"), whole
            ),
            "fields": pc.if_else(is_documented, pc.struct_field(parts, "fields"), ""),
        }
    )


def _column(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()
