"""Why a row or a whole ingest job is refused, in Salesforce's words (API notes 2.5 and 3.2)."""

from __future__ import annotations

from typing import Final

from .errors import RowError, SalesforceError
from .schema import Field

NO_ID: Final = "MISSING_ARGUMENT"
DELETED: Final = RowError("ENTITY_IS_DELETED", "entity is deleted")
UNKNOWN_ID: Final = RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
CONVERTED: Final = RowError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
ROLLED_BACK: Final = RowError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone "
    "header",
)


def not_writable(entry: Field) -> RowError:
    """Build the error for a field that the user cannot write."""
    return RowError(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        f"Unable to create/update fields: {entry.name}. Please check the security settings of "
        "this field and verify that it is read/write for your profile or permission set.",
        (entry.name,),
    )


def no_access() -> RowError:
    """Build the error for a record that the user may not change."""
    return RowError("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")


def lock_error(record_id: str) -> RowError:
    """Build the error for a row that another transaction has locked."""
    return RowError(
        "UNABLE_TO_LOCK_ROW",
        f"unable to obtain exclusive access to this record or 1 records: {record_id}",
    )


def invalid_batch(message: str) -> SalesforceError:
    """Build the error that fails a whole ingest job."""
    return SalesforceError(400, "InvalidBatch", f"InvalidBatch : {message}")
