from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD
from pipeline.core.org_fit.fields import DATETIME, TEXT_TYPES
from pipeline.core.soql import Compare
from tests.core.support import describe, field, integration, scope


def test_each_field_is_read_once_however_many_markets_use_it() -> None:
    """R14: Id first, then what decides, then what is scored."""
    of = scope(
        integration(inputs={"company": "Company", "email": "Email"}),
        integration(
            market_name="smb", inputs={"email": "Email"}, candidate_field="Smb_Candidate__c"
        ),
    )

    assert of.columns == (
        "Id",
        "SystemModstamp",
        "CreatedDate",
        HASH_FIELD,
        DATETIME_FIELD,
        "Company",
        "Email",
        "Smb_Candidate__c",
    )


def test_fields_of_the_account_are_read_with_the_contact() -> None:
    """R11, R18: and the account itself, since a contact may be moved to another."""
    of = scope(integration("Contact", inputs={"company": "Account.NumberOfEmployees"}))

    assert of.schema.field("Account.NumberOfEmployees").type == pa.int64()
    assert of.schema.field("AccountId").type == pa.string()


def test_converted_leads_are_left_alone() -> None:
    """R25."""
    assert scope(integration("Lead")).scorable == (Compare("IsConverted", "=", False),)
    assert scope(integration("Account")).scorable == ()


def test_the_contact_half_of_person_accounts_is_left_alone_where_the_org_has_them() -> None:
    """R25: elsewhere the field does not exist and must not be asked for."""
    of = scope(integration("Contact"))
    person = describe("Contact", field("IsPersonAccount", "boolean"))

    with_person_accounts = replace(of, describes={**of.describes, "Contact": person})

    assert of.scorable == ()
    assert with_person_accounts.scorable == (Compare("IsPersonAccount", "=", False),)


def test_a_field_that_two_markets_write_is_named_once() -> None:
    """R22: one row a record."""
    first = integration(
        outputs={"score": "Score__c", "rank": "Rank__c"}, candidate_field="Fit_Candidate__c"
    )
    second = integration(
        market_name="smb", outputs={"score": "Score__c"}, candidate_field="Smb_Candidate__c"
    )
    of = scope(first, second, integration(market_name="other"))

    assert of.output_fields == ("Score__c", "Rank__c", "other_Score__c")
    assert of.conflicting(first) == (second,)
    assert of.conflicting(second) == (first,)
    assert of.conflicting(of.integrations[2]) == ()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("double", pa.float64()),
        ("currency", pa.float64()),
        ("percent", pa.float64()),
        ("int", pa.int64()),
        ("boolean", pa.bool_()),
        ("date", pa.date32()),
        ("datetime", DATETIME),
        *((kind, pa.string()) for kind in sorted(TEXT_TYPES)),
    ],
)
def test_each_salesforce_type_has_one_arrow_type(kind: str, expected: pa.DataType) -> None:
    """D1: typed values agree however they were written."""
    assert field("f", kind).arrow_type == expected
