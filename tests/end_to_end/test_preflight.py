"""Preflight against a real org: what is wrong in Setup is named before anything is written (R9, R10, R12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from local_org.launch import RunningOrg
from pipeline.core.errors import ConfigurationError
from pipeline.steps.asking.status import status
from pipeline.steps.pause import pause, resume
from pipeline.steps.preflight import check_and_roll_out
from tests.plant import FIELDS, Plant, integration

Build = Callable[..., Plant]
USER = "integration@local.example"
SPOILT = {
    "Mintigo_hash__c",
    "Mintigo_update_datetime__c",
    "Fit_Score__c",
    "Fit_Rank__c",
    "Fit_Note__c",
    "Fit_Good__c",
    "Wide_Note__c",
}
"""The fields that tests remove or remake."""

ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def spoilt(shared_plant: Build, shared_org: RunningOrg) -> Iterator[Build]:
    """Give what builds a plant whose Lead a test may spoil; afterwards its fields and rights are as they were."""
    yield shared_plant
    for name, metadata in FIELDS.items():
        if name in SPOILT:
            for spelling in (name, name.lower()):
                with suppress(ValueError):
                    shared_org.control("DELETE", f"fields/Lead.{spelling}")
            made = {"label": name.removesuffix("__c").replace("_", " "), **metadata}
            shared_org.control("POST", "fields", {"fields": {f"Lead.{name}": made}})
    of_fields = [{"field": name} for name in ("Title", *sorted(SPOILT))]
    for overridden in (*of_fields, {}):
        body = {"user": USER, "object": "Lead", "clear": True, **overridden}
        shared_org.control("POST", "permissions", body)


def field(name: str, **metadata: Any) -> Callable[[Plant], None]:
    """Return what makes the field anew with other metadata."""

    def remake(built: Plant) -> None:
        built.org.control("DELETE", f"fields/Lead.{name}")
        if metadata:
            made = {"label": name.removesuffix("__c"), **metadata}
            new = metadata.pop("new_name", name)
            made.pop("new_name", None)
            built.org.control("POST", "fields", {"fields": {f"Lead.{new}": made}})

    return remake


def rights(**body: Any) -> Callable[[Plant], None]:
    """Return what takes rights from the integration user."""
    return lambda built: built.org.control(
        "POST", "permissions", {"user": USER, "object": "Lead", **body}
    )


@pytest.mark.parametrize(
    ("spoil", "where", "words"),
    [
        (field("Mintigo_hash__c"), "Mintigo_hash__c", "does not exist"),
        (
            field("Mintigo_hash__c", type="TextArea", new_name="mintigo_hash__c"),
            "Mintigo_hash__c",
            "case counts",
        ),
        (field("Mintigo_hash__c", type="Text", length=80), "Mintigo_hash__c", "80 characters"),
        (
            field("Mintigo_hash__c", type="Checkbox", defaultValue="false"),
            "Mintigo_hash__c",
            "boolean",
        ),
        (
            field("Mintigo_update_datetime__c", type="Date"),
            "Mintigo_update_datetime__c",
            "type date",
        ),
        (field("Fit_Note__c", type="Checkbox", defaultValue="false"), "Fit_Note__c", "checkbox"),
        (
            field("Fit_Note__c", type="Text", length=20),
            "Fit_Note__c",
            "40 characters does not fit 20",
        ),
        (
            field("Fit_Score__c", type="Number", precision=2, scale=0),
            "Fit_Score__c",
            "100 does not fit",
        ),
        (field("Fit_Good__c", type="Text", length=5), "Fit_Good__c", "yes or no does not fit"),
        (
            field("Fit_Score__c", type="Number", precision=3, scale=0, formula="1"),
            "Fit_Score__c",
            "formula",
        ),
        (rights(field="Fit_Rank__c", read=True, edit=False), "Fit_Rank__c", "may not edit"),
        (rights(field="Fit_Rank__c", read=False, edit=False), "Fit_Rank__c", "may not see"),
        (rights(field="Title", read=False, edit=False), "Title", "can read"),
        (rights(create=False, read=True, edit=True), "Lead.fit", "no Create permission"),
        (rights(create=True, read=True, edit=False), "Lead.fit", "no Edit permission"),
    ],
)
def test_what_is_wrong_in_the_org_is_named_with_what_to_do(
    spoilt: Build, spoil: Callable[[Plant], None], where: str, words: str
) -> None:
    """R9, R10: the integration is held back, and nothing else is."""
    built = spoilt(integration("Lead"), integration("Account"))
    spoil(built)

    found = built.with_clients(check_and_roll_out)

    own = [p for p in found.errors if where in p.where and words in p.message]
    assert own, [str(problem) for problem in found.errors]
    assert own[0].remedy
    assert [i.name for i in found.ready] == ["Account.fit"]


def test_picklist_that_lacks_a_rank_is_refused(spoilt: Build) -> None:
    """R10: a restricted picklist takes its own values only."""
    built = spoilt(integration("Lead"))
    values = [{"fullName": v, "label": v, "default": False} for v in ("A", "B", "C")]
    picklist = {"restricted": True, "valueSetDefinition": {"sorted": False, "value": values}}
    field("Fit_Rank__c", type="Picklist", valueSet=picklist)(built)

    (error,) = built.with_clients(check_and_roll_out).errors

    assert "lacks D, F" in error.message


def test_input_field_that_vanishes_after_set_up_holds_its_integration_back(spoilt: Build) -> None:
    """R9: the run says so; the other market on the object goes on."""
    built = spoilt(
        integration("Lead", inputs={"company": "Company", "title": "Wide_Note__c"}),
        integration("Lead", "other", "Other"),
    )
    built.turn_on()
    built.org.control("DELETE", "fields/Lead.Wide_Note__c")
    (lead,) = built.create("Lead", ACME)

    assert built.pull("Lead")["pushed"] == 1

    record = built.record_of("Lead", lead, without=("Wide_Note__c",))
    assert (record["Fit_Score__c"], record["Other_Note__c"]) == (None, "Acme|CEO")


def test_preflight_costs_a_call_for_each_object_not_for_each_field(shared_plant: Build) -> None:
    """R9: three objects, the sign-in, and at first sight what kind of org it is."""
    built = shared_plant(*(integration(name) for name in ("Account", "Contact", "Lead")))
    before = len(built.org.calls()["log"])

    built.with_clients(check_and_roll_out)

    assert len(built.org.calls()["log"]) - before <= 5


@pytest.mark.slow
def test_paused_integration_rests_and_catches_up(shared_plant: Build) -> None:
    """R12: its digest stays on the record; what changed meanwhile is scored when it goes on."""
    built = shared_plant(integration("Lead"), integration("Lead", "other", "Other"))
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    built.pull("Lead")
    built.with_clients(lambda clients: pause(clients, "Lead.fit"))
    built.wait(hours=2)
    built.edit("Lead", lead, Company="Umbrella")
    assert built.pull("Lead")["pushed"] == 1
    meanwhile = built.record("Lead", lead)
    assert (meanwhile["Fit_Note__c"], meanwhile["Other_Note__c"]) == ("Acme|CEO", "Umbrella|CEO")
    built.wait(hours=2)

    built.with_clients(lambda clients: resume(clients, "Lead.fit"))

    assert built.pull("Lead")["pushed"] == 1
    assert built.record("Lead", lead)["Fit_Note__c"] == "Umbrella|CEO"
    assert built.pull("Lead")["claimed"] == 0


def test_paused_integration_is_visible_and_an_unknown_one_is_refused(shared_plant: Build) -> None:
    """R12: `status` says so; a wrong name gets the nearest right one."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.with_clients(lambda clients: pause(clients, "Lead.fit"))

    (row,) = built.with_clients(status).integrations
    requests, why_not = built.tick()

    assert row["state"] == "paused"
    assert (requests, "Lead.fit is paused" in why_not) == ([], True)
    with pytest.raises(ConfigurationError, match=r"did you mean 'Lead\.fit'"):
        built.with_clients(lambda clients: pause(clients, "Lead.fitt"))


def test_fields_of_the_plant_pass(shared_plant: Build) -> None:
    """The cases above start from a set-up without problems."""
    built = shared_plant(*(integration(name) for name in ("Account", "Contact", "Lead")))

    assert built.with_clients(check_and_roll_out).problems == ()
