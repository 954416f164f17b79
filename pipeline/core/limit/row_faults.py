"""What a row's code means: a temporary failure, a permanent one, or a gone record (R23, R25).

The codes are Salesforce's and our own. Nothing else in the pipeline decides by a row's code.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

UNPROCESSED: Final = "UNPROCESSED"
NO_RESULT: Final = "NO_RESULT"
JOB_FAILED: Final = "JOB_FAILED"
"""The codes of rows whose job ended without writing or refusing them."""

RESULTS_UNREADABLE: Final = "RESULTS_UNREADABLE"
"""The job ended, its results could not be read again and again, and the record was not written."""

FIELD_NOT_WRITABLE: Final = "FIELD_NOT_WRITABLE"
"""No job was made: the user can no longer write one of the columns."""

UNWRITABLE_VALUE: Final = "UNWRITABLE_VALUE"
ROW_TOO_LARGE: Final = "ROW_TOO_LARGE"
"""The row was in no job: it has a value that no field takes, or is too large to be sent."""

SEGMENT_GAVE_UP: Final = "SEGMENT_GAVE_UP"
"""Scoring the row's segment ended abnormally too often; it is not known which row was to blame."""

NOT_VISIBLE: Final = "NOT_VISIBLE"
"""The org shows the record neither among its records nor among the deleted ones."""

MARKET_FAILED: Final = "MARKET_FAILED"
MARKET_RESTS: Final = "MARKET_RESTS"
"""The row waits for a market that is held, or for an integration that is paused or not ready."""

INVALID_OUTPUT: Final = "INVALID_OUTPUT"
"""A market gave this row a value that its rule or field does not take."""

MODEL_FAILED: Final = "MODEL_FAILED"
"""A market's model raised, ended its process or took too long on this row alone (D21)."""

OF_A_MARKET: Final = frozenset({INVALID_OUTPUT, MODEL_FAILED})
"""Codes of rows that one market could not score; another version of it may (R23)."""


class RowFault(StrEnum):
    """What can be expected of a row that was not written.

    `PASSING` is a temporary failure, `LASTING` a permanent one.
    """

    PASSING = "passing"
    LASTING = "lasting"
    GONE = "gone"


TRIED_AGAIN_AT_ONCE: Final = frozenset(
    {
        "UNABLE_TO_LOCK_ROW",
        "SERVER_UNAVAILABLE",
        "QUERY_TIMEOUT",
        "REQUEST_RUNNING_TOO_LONG",
        UNPROCESSED,
        NO_RESULT,
    }
)
"""Temporary, and worth a small job in the same run: an update may be repeated (API notes 3.3)."""

JOB_FAULTS: Final = frozenset({UNPROCESSED, NO_RESULT, JOB_FAILED})
"""The job is to blame, and none of its rows: they are pushed again as they were scored."""

NOBODYS: Final = JOB_FAULTS | {RESULTS_UNREADABLE, FIELD_NOT_WRITABLE}
"""However often it comes, the failure of such a row never becomes permanent."""

PASSING: Final = TRIED_AGAIN_AT_ONCE | {
    JOB_FAILED,
    RESULTS_UNREADABLE,
    FIELD_NOT_WRITABLE,
    SEGMENT_GAVE_UP,
    NOT_VISIBLE,
    MARKET_FAILED,
    MARKET_RESTS,
}
"""Codes that do not blame the row.

The last seven would fail again at once: they wait for a later run, or for a person.
"""

GONE: Final = frozenset({"ENTITY_IS_DELETED", "CANNOT_UPDATE_CONVERTED_LEAD"})
"""Deleted, merged (the losers are deleted) and converted records: left alone (R25; API notes 4.4).

INVALID_CROSS_REFERENCE_KEY is not among them. It is what a purged record gives, but also one whose
trigger or flow refers to another record's id in vain, and that one must not be forgotten. It counts
as permanent. The next try reads the record first, and one that the org no longer has leaves the
list then.
"""

_MARKET: Final = re.compile(r"([a-z][a-z0-9_]*): ")
_RECORD_ID: Final = re.compile(
    r"\b(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?\b", re.ASCII
)


def fault_of(code: str) -> RowFault:
    """Return what can be expected of a row that failed with `code`.

    A code that is not listed here is the row's own fault, and permanent.

    >>> fault_of("UNABLE_TO_LOCK_ROW")
    <RowFault.PASSING: 'passing'>
    """
    if code in GONE:
        return RowFault.GONE

    return RowFault.PASSING if code in PASSING else RowFault.LASTING


def integration_at_fault(object_name: str, code: str, message: str, held_for: str | None) -> str:
    """Return the integration that a failure is about, as `Object.market`.

    `Object.*` where it is about the row as a whole: one row has the fields of all markets (R22).
    """
    market = held_for or market_at_fault(code, message)
    return f"{object_name}.{market or '*'}"


def market_at_fault(code: str, message: str) -> str | None:
    """Return the market that could not score a row, None where the failure is about no market.

    >>> market_at_fault("MODEL_FAILED", "fit: the model raised ValueError at model.py:12")
    'fit'
    """
    # `core.scoring.results` begins such a message with the market.
    found = _MARKET.match(message) if code in OF_A_MARKET else None
    return found[1] if found else None


def alike(message: str) -> str:
    """Return the message without record ids, which distinguish messages that are otherwise equal.

    >>> alike("unable to obtain exclusive access to this record or 1 records: 0015e00000AbCdEAAV")
    'unable to obtain exclusive access to this record or 1 records: …'
    """
    return _RECORD_ID.sub("…", message)
