"""Row faults as the errors that Salesforce would give for them."""

from __future__ import annotations

from local_org.errors import RowError
from local_org.faults import Faults
from local_org.ids import normalise
from local_org.refusals import lock_error


def row_error(faults: Faults, object_name: str, record_id: str) -> RowError | None:
    """Give the error that an armed fault causes for this save of the record, or None."""
    try:
        normal_id = normalise(record_id)
    except ValueError:
        return None  # the store words this error
    # Taken by the 18-character form, so that both forms of an id count as one record.
    fault = faults.on_row(object_name, normal_id)
    if fault is None:
        return None
    if fault.kind == "lock_rows":
        blocker = fault.params["blocker"] or normal_id
        return lock_error(str(blocker))
    params = fault.params
    return RowError(str(params["code"]), str(params["message"]), tuple(params["fields"]))
