"""Salesforce's messages without the values that they quote (R24)."""

from __future__ import annotations

import pytest

from resources.salesforce.wording import CUT, EXPLANATION, without_values

NAMES = {"Company", "Email", "LastName", "Fit_Rank__c"}


@pytest.mark.parametrize(
    "message",
    [
        "",
        "entity is deleted",
        "Required fields are missing: [LastName, Company]",
        "unable to obtain exclusive access to this record: 00Q5e000000000BEAQ",
        "duplicate value found: Email duplicates value on record with id: 00Q5e000000000BEAQ",
    ],
)
def test_message_without_values_stays_as_it_is(message: str) -> None:
    assert without_values(message, NAMES) == message


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("data value too large: Umbrella (max length=80)", "data value too large: … (max length=80)"),
        ("bad value for restricted picklist field: Gold & Co", "bad value for restricted picklist field: …"),
        ("Email: invalid: ito@acme.example", "Email: …"),
        ("Company 'the record' is locked", "Company … is locked"),
        ("Company “the record” is locked", "Company … is locked"),
        ("Okafor is on the list: ask the owner", "… is on the list: …"),
        ("the record has 73,918 in Company", "the record has … in Company"),
        ("Söhne\nGmbH", "…"),
        ("record 00Q5e000000000BEAX", "record …"),
        ("record Internationalists", "record …"),
    ],
)  # fmt: skip
def test_words_that_may_be_a_value_are_cut_out(message: str, kept: str) -> None:
    """Quoted, behind a colon, or simply no word of Salesforce's own; a wrong checksum is no id."""
    assert without_values(message, NAMES) == kept + EXPLANATION


def test_job_that_names_an_unknown_field_goes_on_naming_it() -> None:
    """Blanks before marks are all that goes."""
    message = "InvalidBatch : Field name not found : Fit_Rank__c"

    assert without_values(message, NAMES) == "InvalidBatch: Field name not found: Fit_Rank__c"


def test_cut_is_stable() -> None:
    """What was cut once is not cut further, but for its explanation."""
    once = without_values("Okafor is on hold", NAMES).removesuffix(EXPLANATION)

    assert CUT in once
    assert without_values(once, NAMES).removesuffix(EXPLANATION) == once
