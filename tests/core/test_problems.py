from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD, Integration
from pipeline.core.configuration.market import MarketOutput
from pipeline.core.org_fit.fields import Field, ObjectDescribe
from pipeline.core.org_fit.preflight import Problem, misfit, org_problems
from tests.core.support import describe, field, integration, market, market_content

SCORE = field("fit_Score__c", "double")
LEAD = describe("Lead", SCORE)


def found(of: Integration, *describes: ObjectDescribe, **market_changes: Any) -> list[Problem]:
    return org_problems(of, market(**market_changes), {d.name: d for d in describes})


def the_error(of: Integration, *describes: ObjectDescribe, **market_changes: Any) -> str:
    """The one error that there is, in full."""
    errors = [p for p in found(of, *describes, **market_changes) if p.severity == "error"]
    assert len(errors) == 1, errors
    return str(errors[0])


def without(name: str) -> ObjectDescribe:
    return ObjectDescribe(
        "Lead",
        createable=True,
        updateable=True,
        queryable=True,
        fields={n: f for n, f in LEAD.fields.items() if n != name},
    )


def output(kind: str, **more: Any) -> MarketOutput:
    content = (
        {"type": kind}
        if kind in ("score", "rank", "reasons")
        else {"type": "insight", "value": kind, "category": "fit"}
    )
    return MarketOutput.model_validate({**content, **more})


def test_an_org_that_has_everything_has_no_problems() -> None:
    """R9."""
    assert found(integration(), LEAD) == []


@pytest.mark.parametrize(
    ("right", "named"), [("createable", "Create"), ("queryable", "Read"), ("updateable", "Edit")]
)
def test_each_right_on_the_object_is_asked_for(right: str, named: str) -> None:
    """R9."""
    text = the_error(integration(), describe("Lead", SCORE, **{right: False}))

    assert f"no {named} permission on Lead" in text


@pytest.mark.parametrize("name", [HASH_FIELD, DATETIME_FIELD])
def test_a_missing_tracking_field_is_named_with_its_type(name: str) -> None:
    """R9."""
    text = the_error(integration(), without(name))

    assert f"Lead.{name}: the field does not exist, or the user may not see it." in text
    assert ("TextArea(255)" if name == HASH_FIELD else "Date/Time") in text


def test_the_case_of_tracking_fields_counts() -> None:
    """R9."""
    lower = without(HASH_FIELD)
    wrong = ObjectDescribe(
        "Lead",
        createable=True,
        updateable=True,
        queryable=True,
        fields={**lower.fields, "mintigo_Hash__c": field("mintigo_Hash__c", "textarea")},
    )

    assert "written mintigo_Hash__c; case counts" in the_error(integration(), wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (field(HASH_FIELD, "double"), "of type double"),
        (field(HASH_FIELD, "textarea", length=254), "holds 254 characters"),
        (field(DATETIME_FIELD, "date"), "of type date"),
        (field(HASH_FIELD, "textarea", updateable=False), "may not edit"),
        (field(DATETIME_FIELD, "datetime", calculated=True), "formula"),
    ],
)
def test_a_tracking_field_of_the_wrong_kind_is_an_error(wrong: Field, says: str) -> None:
    """R9: type, length and the right to write."""
    assert says in the_error(integration(), describe("Lead", SCORE, wrong))


@pytest.mark.parametrize("path", ["Compny", "Account.Nam"])
def test_an_input_that_cannot_be_read_is_an_error(path: str) -> None:
    """R9: on the object and on the parent account."""
    of = integration("Contact", inputs={"company": path})
    text = the_error(of, describe("Contact", SCORE), describe("Account"))

    assert f"inputs: company: {path}" in text
    assert "grant Read" in text


def test_an_input_in_the_wrong_case_is_told_how_it_is_written() -> None:
    """R9."""
    assert "Write it Company." in the_error(integration(inputs={"company": "company"}), LEAD)


@pytest.mark.parametrize("kind", ["address", "location", "base64"])
def test_a_compound_field_is_no_input(kind: str) -> None:
    """R10."""
    of = integration(inputs={"company": "Whole__c"})

    assert kind in the_error(of, describe("Lead", SCORE, field("Whole__c", kind)))


@pytest.mark.parametrize(
    ("wanted", "kind", "fits"),
    [
        ("text", "double", True),
        ("text", "datetime", True),
        ("number", "string", True),
        ("number", "date", False),
        ("number", "boolean", True),
        ("boolean", "string", False),
        ("boolean", "boolean", True),
        ("boolean", "int", True),
        ("date", "string", False),
        ("date", "datetime", True),
        ("date", "double", False),
        ("datetime", "date", True),
        ("datetime", "boolean", False),
    ],
)
def test_an_input_is_mapped_only_to_a_field_that_the_model_can_be_given(
    wanted: str, kind: str, fits: bool
) -> None:
    """R9: found before it runs, not by a run that stops."""
    inputs = {"company": {"label": "C", "type": wanted}}
    of = integration(inputs={"company": "Own__c"})
    problems = found(of, describe("Lead", SCORE, field("Own__c", kind)), inputs=inputs)

    assert (problems == []) is fits


def test_a_candidate_field_is_a_checkbox_that_exists() -> None:
    """R7."""
    of = integration(candidate_field="Go__c")

    assert "does not exist" in the_error(of, LEAD)
    assert "of type string" in the_error(of, describe("Lead", SCORE, field("Go__c", "string")))
    assert found(of, describe("Lead", SCORE, field("Go__c", "boolean"))) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (field("fit_Score__c", "double", calculated=True), "formula or auto number"),
        (field("fit_Score__c", "double", auto_number=True), "formula or auto number"),
        (field("fit_Score__c", "double", updateable=False), "may not edit"),
        (field("fit_Score__c", "double", precision=2), "does not fit 2 digits"),
        (field("FIT_score__c", "double"), "Write it FIT_score__c."),
    ],
)
def test_an_output_goes_only_where_it_can_be_written(wrong: Field, says: str) -> None:
    """R9, R10."""
    assert says in the_error(integration(), describe("Lead", wrong))


def test_an_output_field_that_does_not_exist_is_an_error() -> None:
    """R9."""
    assert "Create it" in the_error(integration(), describe("Lead"))


@pytest.mark.parametrize("half", [{"inputs": {}}, {"outputs": {}}])
def test_an_integration_without_inputs_or_outputs_is_reminded_of_both(half: dict[str, Any]) -> None:
    """R12: and says it once, not for each input that it lacks."""
    inputs = {"company": {"label": "Company", "type": "text", "required": True}}
    text = the_error(integration(**half), LEAD, inputs=inputs)

    assert "both input and output fields" in text


def test_an_unmapped_input_with_an_asterisk_is_a_warning() -> None:
    """R12: it holds nothing back."""
    (problem,) = found(integration(inputs={"email": "Email"}), LEAD)

    assert problem.severity == "warning"
    assert "built on Company" in str(problem)


def test_an_unmapped_required_input_is_an_error_of_its_integration() -> None:
    """R12: reported once, not as a warning besides."""
    content = market_content()
    content["inputs"]["company"]["required"] = True
    (problem,) = found(integration(inputs={"email": "Email"}), LEAD, inputs=content["inputs"])

    assert problem.severity == "error"
    assert "requires Company" in str(problem)


def test_all_problems_are_told_at_once_each_with_where_and_what_to_do() -> None:
    """R9, R10."""
    of = integration(
        inputs={"company": "Nope"}, outputs={"score": "A__c", "hot": "B__c"}, candidate_field="C__c"
    )
    problems = found(of, describe("Lead", createable=False, updateable=False))

    assert len(problems) == 6
    assert all(p.where.startswith("Lead.fit") and p.remedy.endswith((".", ").")) for p in problems)


TEXT_5 = output("text", length=5)


@pytest.mark.parametrize(
    ("given", "goes_to", "fits"),
    [
        (output("score"), field("f", "double"), True),
        (output("score"), field("f", "double", precision=18, scale=2), True),
        (output("score"), field("f", "double", precision=4, scale=2), False),
        (output("score"), field("f", "int", digits=3), True),
        (output("score"), field("f", "int", digits=2), False),
        (output("score"), field("f", "percent", precision=3), True),
        (output("score"), field("f", "string"), False),
        (output("score"), field("f", "boolean"), False),
        (output("score"), field("f", "date"), False),
        (output("rank"), field("f", "string", length=1), True),
        (output("rank"), field("f", "double"), False),
        (output("rank"), field("f", "boolean"), False),
        (output("boolean"), field("f", "boolean"), True),
        (output("boolean"), field("f", "double"), False),
        (output("boolean"), field("f", "string"), False),
        (output("number"), field("f", "currency", precision=18, scale=2), True),
        (output("number"), field("f", "int"), True),
        (output("number"), field("f", "string"), False),
        (output("number"), field("f", "boolean"), False),
        (TEXT_5, field("f", "string", length=5), True),
        (TEXT_5, field("f", "string", length=4), False),
        (TEXT_5, field("f", "textarea"), True),
        (TEXT_5, field("f", "url", length=255), True),
        (TEXT_5, field("f", "boolean"), False),
        (TEXT_5, field("f", "double"), False),
        (TEXT_5, field("f", "date"), False),
        (TEXT_5, field("f", "datetime"), False),
        (TEXT_5, field("f", "email", length=80), False),
        (TEXT_5, field("f", "reference", length=18), False),
        (TEXT_5, field("f", "time"), False),
        (TEXT_5, field("f", "picklist", length=255), True),
        (TEXT_5, field("f", "picklist", length=255, restricted_picklist=True), False),
        (output("reasons"), field("f", "string", length=255), True),
        (output("reasons"), field("f", "string", length=254), False),
    ],
)
def test_an_output_is_mapped_only_to_a_field_that_can_hold_it(
    given: MarketOutput, goes_to: Field, fits: bool
) -> None:
    """R8, R10."""
    assert (misfit(given, goes_to) is None) is fits


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        (output("rank", values=["A", "B", "F"]), "F"),
        (output("text", values=["A", "Z", "Y"], length=5), "Z, Y"),
        (output("rank", values=["A", "B"]), None),
        (output("text", values=["B"], length=5), None),
    ],
)
def test_a_restricted_picklist_has_every_value_that_may_come(
    given: MarketOutput, lacks: str | None
) -> None:
    """R10."""
    picklist = field(
        "f", "picklist", length=255, restricted_picklist=True, picklist_values=("A", "B")
    )

    assert misfit(given, picklist) == (f"the restricted picklist lacks {lacks}." if lacks else None)
