"""One rule says what a row's code means (R23, R25)."""

from __future__ import annotations

import pytest

from pipeline.core.limit import row_faults
from pipeline.core.limit.row_faults import RowFault, alike, fault_of, integration_at_fault


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("UNABLE_TO_LOCK_ROW", RowFault.PASSING),
        ("REQUEST_RUNNING_TOO_LONG", RowFault.PASSING),
        (row_faults.UNPROCESSED, RowFault.PASSING),
        (row_faults.JOB_FAILED, RowFault.PASSING),
        (row_faults.RESULTS_UNREADABLE, RowFault.PASSING),
        (row_faults.FIELD_NOT_WRITABLE, RowFault.PASSING),
        (row_faults.ROW_TOO_LARGE, RowFault.LASTING),
        (row_faults.UNWRITABLE_VALUE, RowFault.LASTING),
        (row_faults.SEGMENT_GAVE_UP, RowFault.PASSING),
        (row_faults.MARKET_FAILED, RowFault.PASSING),
        (row_faults.MARKET_RESTS, RowFault.PASSING),
        (row_faults.INVALID_OUTPUT, RowFault.LASTING),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", RowFault.LASTING),
        ("STRING_TOO_LONG", RowFault.LASTING),
        ("INVALID_CROSS_REFERENCE_KEY", RowFault.LASTING),
        ("A_CODE_OF_NEXT_YEAR", RowFault.LASTING),
        ("", RowFault.LASTING),
        ("ENTITY_IS_DELETED", RowFault.GONE),
        ("CANNOT_UPDATE_CONVERTED_LEAD", RowFault.GONE),
    ],
)
def test_code_is_passing_lasting_or_gone(code: str, fault: RowFault) -> None:
    """A code that nobody foresaw is the row's own: it must not be tried over and over."""
    assert fault_of(code) is fault


def test_rows_that_wait_for_a_market_or_a_grant_are_not_tried_again_in_the_same_run() -> None:
    """Passing, but the same run would fail again."""
    for code in (row_faults.JOB_FAILED, row_faults.FIELD_NOT_WRITABLE, row_faults.MARKET_FAILED):
        assert code not in row_faults.TRIED_AGAIN_AT_ONCE


def test_what_a_job_failed_with_is_nobody_s_row_s() -> None:
    """R23: it never becomes permanent, and blames no record."""
    of_jobs = row_faults.JOB_FAULTS | {row_faults.RESULTS_UNREADABLE}
    assert of_jobs < row_faults.NOBODYS <= row_faults.PASSING


@pytest.mark.parametrize(
    ("code", "message", "held_for", "integration"),
    [
        ("INVALID_OUTPUT", "fit: rank is not one of A, B", None, "Lead.fit"),
        ("MARKET_FAILED", "other: the model raised ValueError", "other", "Lead.other"),
        ("STRING_TOO_LONG", "fit: data value too large", None, "Lead.*"),
        ("INVALID_OUTPUT", "", None, "Lead.*"),
    ],
)
def test_integration_at_fault_is_the_markets_or_the_whole_row(
    code: str, message: str, held_for: str | None, integration: str
) -> None:
    """R22: a row in the org carries the fields of all markets, so Salesforce's refusal names none."""
    assert integration_at_fault("Lead", code, message, held_for) == integration


def test_messages_that_differ_in_record_ids_are_alike() -> None:
    one = alike("record or 1 records: 0015e00000AbCdEAAV")
    other = alike("record or 1 records: 0015e00000AbCdF")

    assert one == other == "record or 1 records: …"
    assert alike("data value too large") == "data value too large"
    assert alike("charactersonlyxx is a word") == "charactersonlyxx is a word"
