"""Row faults as the errors that Salesforce would give for them."""

from __future__ import annotations

from local_org.errors import RowError
from local_org.faults import Faults
from local_org.ids import normalise


def row_error(faults: Faults, object_name: str, record_id: str) -> RowError | None:
    """Give the error that an armed fault causes for this save of the record, or None."""
    try:
        known_as = normalise(record_id)
    except ValueError:
        return None  # the store words this error
    fault = faults.on_row(object_name, known_as)
    if fault is None:
        return None
    if fault.kind == "lock_rows":
        blocker = fault.params["blocker"] or known_as
        return RowError(
            "UNABLE_TO_LOCK_ROW",
            f"unable to obtain exclusive access to this record or 1 records: {blocker}",
        )
    params = fault.params
    return RowError(str(params["code"]), str(params["message"]), tuple(params["fields"]))
