"""`insights mapping suggest`: what fits is proposed, marked, and never written over."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from demo.stage import make_fields
from local_org.launch import RunningOrg
from pipeline.core.configuration.integration import Integration
from pipeline.core.configuration.market import Market
from pipeline.core.org_fit.fields import Field, ObjectDescribe
from pipeline.core.org_fit.suggestions import new_field_name, suggest
from resources.configuration import read_configuration
from tests.steps.conftest import Desk

HAND_MADE = Path(__file__).parents[2] / "config" / "local"
ENTERPRISE = read_configuration(HAND_MADE).markets["enterprise_fit"]


def describe(name: str, *fields: Field) -> ObjectDescribe:
    """Describe an object that has these fields."""
    return ObjectDescribe(
        name,
        createable=True,
        updateable=True,
        queryable=True,
        fields={f.name: f for f in fields},
    )


def market_of(**inputs: dict[str, object]) -> Market:
    """Make a market with these inputs and a score."""
    return Market.model_validate(
        {
            "name": "m",
            "label": "M",
            "kind": "account_based",
            "version": "1",
            "model": "model.py:load",
            "inputs": {key: {"label": key, "type": "text", **more} for key, more in inputs.items()},
            "outputs": {"score": {"type": "score"}},
        }
    )


def custom(name: str, **more: object) -> Field:
    """Make a custom number field that can hold a score."""
    return Field(
        **{"name": name, "label": name, "type": "double", "precision": 3, "custom": True, **more}
    )  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_mappings_that_people_made_are_proposed(desk: Desk) -> None:
    """On the sample org every input and every output that is mapped by hand is found again."""
    make_fields(desk.org)
    desk.configure()
    for integration in read_configuration(HAND_MADE).integrations:
        said = desk.run("mapping", "suggest", integration.object, integration.market)

        assert said.code == 0, said.text
        proposed = yaml.safe_load(said.text)
        assert proposed["inputs"] == integration.inputs
        assert integration.outputs.items() <= proposed["outputs"].items()


def test_fields_of_the_parent_account_are_shown_with_account(plain_desk: Desk) -> None:
    """R11, and the asterisk of inputs that the model was built on."""
    plain_desk.configure()
    text = plain_desk.run("mapping", "suggest", "Contact", "enterprise_fit").text

    line = next(line for line in text.splitlines() if "company_name:" in line)
    assert line.split("#") == [
        "  company_name: Account.Name            ",
        " * Company name <- Account: Account Name",
    ]
    website = next(line for line in text.splitlines() if "website:" in line)
    assert "*" not in website


def test_without_a_fitting_field_an_output_gets_a_new_name_and_its_type(plain_desk: Desk) -> None:
    """R8."""
    plain_desk.configure()
    found = plain_desk.run("mapping", "suggest", "Lead", "enterprise_fit", "--json").json()

    outputs = {o["name"]: (o["field"], o["exists"], o["shown"]) for o in found["outputs"]}
    assert outputs["score"] == ("PI_Enterprise_Fit_Score__c", False, "Number(3, 0)")
    assert outputs["rank"] == ("PI_Enterprise_Fit_Rank__c", False, "Text(1)")
    assert outputs["free_mail"][2] == "Checkbox"
    assert "web_signal" not in outputs, "it is not enabled"


def test_written_it_is_switched_off_and_never_replaced(plain_desk: Desk) -> None:
    plain_desk.configure()
    first = plain_desk.run("mapping", "suggest", "Lead", "enterprise_fit", "--write")
    path = plain_desk.config / "integrations" / "lead.enterprise_fit.yaml"
    path.write_text(path.read_text() + "# mine\n")

    again = plain_desk.run("mapping", "suggest", "Lead", "enterprise_fit", "--write")

    assert (first.code, again.code) == (0, 2)
    assert "exists already" in again.text
    assert "# mine" in path.read_text()
    assert not read_configuration(plain_desk.config).integrations[0].enabled


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("Opportunity", "enterprise_fit"), "only Account, Contact, Lead are (R4)"),
        (("lead", "enterprise_fit"), "Write it Lead."),
        (("Account", "campaign_response"), "lead based and scores Contact and Lead only"),
        (("Lead", "enterprise"), "did you mean 'enterprise_fit'"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(
    plain_desk: Desk, arguments: tuple[str, str], why: str
) -> None:
    plain_desk.configure()
    said = plain_desk.run("mapping", "suggest", *arguments)

    assert said.code == 2
    assert why in said.text


def test_our_own_outputs_and_audit_fields_are_no_inputs() -> None:
    """R10: they would change with every push."""
    market = market_of(modified={"label": "Last Modified Date"}, score={"label": "PI Score"})
    found = suggest(
        "Lead",
        market,
        {
            "Lead": describe(
                "Lead",
                Field("LastModifiedDate", "Last Modified Date", "datetime"),
                custom("PI_Score__c", type="string", length=9),
            )
        },
    )

    assert found.input_mapping == {}


def test_a_company_s_own_field_is_never_proposed_as_an_output() -> None:
    """A push would overwrite their data: only fields named after us or the market are taken."""
    theirs, ours = custom("Score__c"), custom("PI_Score__c")

    assert suggest("Lead", market_of(), {"Lead": describe("Lead", theirs)}).output_mapping == {
        "score": "PI_M_Score__c"
    }
    assert suggest(
        "Lead", market_of(), {"Lead": describe("Lead", theirs, ours)}
    ).output_mapping == {"score": "PI_Score__c"}


def test_a_field_that_another_integration_writes_is_not_proposed() -> None:
    """R6."""
    other = Integration.model_validate(
        {"object": "Lead", "market": "other", "outputs": {"score": "PI_Score__c"}}
    )
    found = suggest("Lead", market_of(), {"Lead": describe("Lead", custom("PI_Score__c"))}, [other])

    assert found.output_mapping == {"score": "PI_M_Score__c"}


@pytest.mark.parametrize("unfit", [{"type": "boolean"}, {"precision": 2}, {"calculated": True}])
def test_a_field_that_cannot_hold_an_output_is_not_proposed(unfit: dict[str, object]) -> None:
    """R10."""
    fields = describe("Lead", custom("PI_Score__c", **unfit))

    assert suggest("Lead", market_of(), {"Lead": fields}).outputs[0].exists is False


def test_an_input_of_another_type_is_not_proposed() -> None:
    market = market_of(founded={"label": "Founded", "type": "date"})
    fields = describe("Lead", Field("Founded__c", "Founded", "string", custom=True))

    assert suggest("Lead", market, {"Lead": fields}).input_mapping == {}


def test_new_names_are_short_enough_and_free() -> None:
    """An API name has 40 characters before `__c`, and no two underscores in a row."""
    long = new_field_name(
        "a_market_with_a_very_long_name_indeed", "an_output_with_a_long_name_too", []
    )

    assert len(long.removesuffix("__c")) <= 40
    assert "__" not in long.removesuffix("__c")
    assert new_field_name("m", "score", ["pi_m_score__c"]) == "PI_M_Score_2__c"


def test_proposals_cost_one_describe_two_for_contact(
    plain_desk: Desk, plain_org: RunningOrg
) -> None:
    plain_desk.configure()
    plain_org.control("DELETE", "calls")
    plain_desk.run("mapping", "suggest", "Contact", "enterprise_fit")

    asked = [c["path"] for c in plain_org.calls()["log"] if "describe" in c["path"]]
    assert len(asked) == 2
