from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.core.configuration.integration import (
    AUDIT_FIELDS,
    TRACKING_FIELDS,
    Integration,
    conflicts,
    integration_mistakes,
    object_mistakes,
)
from pipeline.core.configuration.market import Market
from tests.core.support import integration, market


def the_problem(of: Integration, by: Market | None = None) -> str:
    """The one problem that there is, in full."""
    found = integration_mistakes(of, by or market())
    assert len(found) == 1, found
    return str(found[0])


def clash(**second: Any) -> list[str]:
    """What is wrong between two integrations of one object that write one field."""
    first = integration(outputs={"score": "Score__c"}, candidate_field="Fit__c")
    other: dict[str, Any] = {"outputs": {"score": "Score__c"}, "candidate_field": "Smb__c"}
    both = [first, integration(market_name="smb", **{**other, **second})]
    return [str(problem) for problem in object_mistakes(both)]


def test_a_well_mapped_integration_has_no_problems() -> None:
    """R4 to R8."""
    for name in ("Lead", "Account", "Contact"):
        assert integration_mistakes(integration(name), market()) == []


@pytest.mark.parametrize("name", ["Opportunity", "Thing__c", "lead", ""])
def test_any_other_object_is_refused(name: str) -> None:
    """R4."""
    with pytest.raises(ValidationError, match="object"):
        integration(name)


def test_a_lead_based_market_does_not_score_accounts() -> None:
    """R5."""
    lead_based = market(kind="lead_based")

    assert "(R5)" in the_problem(integration("Account"), lead_based)
    assert integration_mistakes(integration("Contact"), lead_based) == []
    assert integration_mistakes(integration("Lead"), lead_based) == []


def test_an_input_that_the_market_does_not_have_is_named() -> None:
    """R8: with those that it has."""
    text = the_problem(integration(inputs={"company": "Company", "phone": "Phone"}))

    assert "no input 'phone'" in text
    assert "company, email" in text


@pytest.mark.parametrize("name", ["secret", "unheard_of"])
def test_an_output_that_is_not_enabled_cannot_be_mapped(name: str) -> None:
    """R8: whether it is switched off or was never there."""
    text = the_problem(integration(outputs={name: "Hot__c"}))

    assert f"no enabled output {name!r}" in text
    assert "secret" not in text.split("; it has")[1]


@pytest.mark.parametrize("path", sorted({*AUDIT_FIELDS, *TRACKING_FIELDS}))
def test_an_input_that_changes_with_every_push_is_refused(path: str) -> None:
    """R10: every record would be due for ever."""
    assert "(R10)" in the_problem(integration(inputs={"company": path}))


def test_an_audit_field_of_the_account_is_refused_as_well() -> None:
    """R10, R11."""
    assert "(R10)" in the_problem(
        integration("Contact", inputs={"company": "Account.SystemModstamp"})
    )


def test_an_input_cannot_be_an_output_of_its_own_integration() -> None:
    """R10: whatever the case it is written in."""
    both = integration(inputs={"company": "score__C"}, outputs={"score": "Score__c"})

    assert "both an input and an output (R10)" in the_problem(both)


def test_an_input_cannot_be_an_output_of_another_market_on_the_object() -> None:
    """R10: the two would make each other due for ever."""
    writes = integration(market_name="smb", outputs={"score": "Smb_Score__c"})
    reads = integration(inputs={"company": "Smb_Score__c"})

    assert any(
        "written by a market on Lead (R10)" in str(text)
        for text in object_mistakes([writes, reads])
    )


@pytest.mark.parametrize("name", ["Lead", "Account"])
def test_only_contacts_have_a_parent_account(name: str) -> None:
    """R11."""
    assert "(R11)" in the_problem(integration(name, inputs={"company": "Account.Name"}))
    assert (
        integration_mistakes(integration("Contact", inputs={"company": "Account.Name"}), market())
        == []
    )


@pytest.mark.parametrize("name", TRACKING_FIELDS)
def test_an_output_cannot_go_to_a_tracking_field(name: str) -> None:
    """R10."""
    assert "written by the pipeline itself" in the_problem(integration(outputs={"score": name}))


def test_two_outputs_cannot_share_a_field() -> None:
    """R10."""
    assert "two outputs" in the_problem(integration(outputs={"score": "A__c", "size": "a__c"}))


def test_all_problems_are_told_at_once() -> None:
    """R8: nobody wants to mend a file line by line."""
    broken = integration(
        "Account",
        inputs={"phone": "Account.Name", "company": "CreatedDate"},
        outputs={"secret": "A__c", "score": "A__c"},
    )

    assert len(integration_mistakes(broken, market(kind="lead_based"))) == 6


def test_an_integration_without_a_mapping_may_be_saved() -> None:
    """R12: it is not ready, which preflight says."""
    empty = integration(inputs={}, outputs={})

    assert integration_mistakes(empty, market()) == []
    assert not empty.is_mapped


def test_a_required_input_that_is_not_mapped_does_not_stop_the_others() -> None:
    """R12: an error for that integration alone, so that it is preflight's."""
    inputs = {
        "company": {"label": "C", "type": "text"},
        "site": {"label": "S", "type": "text", "required": True},
    }

    assert integration_mistakes(integration(), market(inputs=inputs)) == []


def test_two_integrations_that_write_one_field_are_refused() -> None:
    """R6: case does not matter to Salesforce."""
    for candidate in (
        {"candidate_field": None},
        {"candidate_field": None, "outputs": {"score": "SCORE__C"}},
    ):
        (text,) = clash(**candidate)

        assert "Lead.fit and Lead.smb both write Score__c" in text


def test_candidate_fields_that_route_each_record_allow_it() -> None:
    """R6."""
    assert clash() == []


def test_one_candidate_field_for_both_routes_nothing() -> None:
    """R6: every record would be claimed twice and scored by neither."""
    assert "(R6)" in clash(candidate_field="fit__C")[0]


def test_fields_of_their_own_need_no_candidate_fields() -> None:
    """R6: use-case 2B, score with all."""
    assert object_mistakes([integration(), integration(market_name="smb")]) == []


def test_integrations_of_different_objects_never_conflict() -> None:
    """R6."""
    assert conflicts([integration("Lead"), integration("Contact")]) == []


def test_more_markets_than_the_hash_field_holds_are_refused() -> None:
    """D1: ten in 255 characters."""
    of = [integration(market_name=f"m{n}") for n in range(11)]

    assert object_mistakes(of[:10]) == []
    assert "11 integrations" in str(object_mistakes(of)[0])


def test_two_markets_of_one_tag_are_refused() -> None:
    """D1: the hash field could not tell them apart."""
    seen: dict[str, Integration] = {}
    for n in range(50_000):
        one = integration(market_name=f"m{n}")
        if one.tag in seen:
            (problem,) = object_mistakes([seen[one.tag], one])
            assert "share the tag" in str(problem)
            return
        seen[one.tag] = one
    pytest.fail("no two names of one tag found")


@pytest.mark.parametrize(
    ("change", "renews"),
    [
        ({"inputs": {"company": "Name"}}, True),
        ({"outputs": {"score": "Other__c"}}, True),
        ({"candidate_field": "A__c"}, True),
        ({"account_changes": True}, True),
        ({"persist": False}, False),
    ],
)
def test_a_change_of_mapping_is_rolled_out_and_one_of_keeping_is_not(
    change: dict[str, Any], renews: bool
) -> None:
    """R17, R19."""
    same = integration().fingerprint(market()) == integration(**change).fingerprint(market())

    assert same is not renews


def test_another_version_of_the_model_is_rolled_out() -> None:
    """R17."""
    assert integration().fingerprint(market()) != integration().fingerprint(market(version="2"))


def test_a_fingerprint_does_not_depend_on_the_order_of_the_file() -> None:
    """R19: reordering lines rolls out nothing."""
    one = integration(inputs={"company": "Company", "email": "Email"})
    other = integration(inputs={"email": "Email", "company": "Company"})

    assert one.fingerprint(market()) == other.fingerprint(market())


@pytest.mark.parametrize(
    "bad", ["", "A B", "Owner.Name", "Account.", "Account.Owner.Name", "A'", "1A", "A\n"]
)
def test_what_is_no_field_name_is_refused(bad: str) -> None:
    """R10: fields of the object, and of the parent account."""
    with pytest.raises(ValidationError):
        integration(inputs={"company": bad})


def test_outputs_and_candidate_fields_stand_on_the_object_itself() -> None:
    """R7, R11: nothing is written to, or routed by, the parent."""
    with pytest.raises(ValidationError):
        integration("Contact", outputs={"score": "Account.Score__c"})
    with pytest.raises(ValidationError):
        integration("Contact", candidate_field="Account.A__c")
