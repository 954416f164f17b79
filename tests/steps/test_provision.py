"""`insights provision`: shows, creates and grants what is missing, and changes nothing that is there (R13)."""

from __future__ import annotations

from typing import Any

import pytest

from local_org.launch import RunningOrg
from pipeline.core.configuration.market import MarketOutput
from pipeline.core.org_fit.fields import Field
from pipeline.core.org_fit.provisioning import WantedField, output_metadata
from pipeline.steps.setting_up.provision import PERMISSION_SET
from tests.steps.conftest import Desk

INTEGRATION: dict[str, Any] = {
    "object": "Lead",
    "market": "enterprise_fit",
    "candidate_field": "PI_Candidate__c",
    "inputs": {"company_name": "Company", "industry": "Industry", "employees": "NumberOfEmployees"},
    "outputs": {
        "score": "PI_Score__c",
        "rank": "PI_Rank__c",
        "sector": "PI_Sector__c",
        "free_mail": "PI_Free_Mail__c",
        "sector_percentile": "PI_Percentile__c",
    },
}
CREATED = {
    "Lead.Mintigo_hash__c": "TextArea",
    "Lead.Mintigo_update_datetime__c": "DateTime",
    "Lead.PI_Candidate__c": "Checkbox",
    "Lead.PI_Score__c": "Number(3, 0)",
    "Lead.PI_Rank__c": "Text(1)",
    "Lead.PI_Sector__c": "Text(40)",
    "Lead.PI_Free_Mail__c": "Checkbox",
    "Lead.PI_Percentile__c": "Number(18, 2)",
}


def metadata_calls(org: RunningOrg) -> list[str]:
    """Return the calls that changed anything in the org."""
    return [
        c["path"]
        for c in org.calls()["log"]
        if "CustomField" in c["path"] or "sobjects/Perm" in c["path"]
    ]


def test_a_dry_run_shows_every_missing_field_and_creates_none(desk: Desk) -> None:
    """Tracking, candidate and output fields, of the types of R8."""
    desk.configure(INTEGRATION)
    desk.as_admin()

    shown = desk.run("provision", "--dry-run", "--json").json()

    assert {f["field"]: f["type"] for f in shown["create"]} == CREATED
    assert shown["done"] is None
    assert metadata_calls(desk.org) == []


def test_what_is_created_can_be_used_at_once(desk: Desk) -> None:
    """The integration user may write them, and preflight has nothing left to say (R9)."""
    desk.configure(INTEGRATION)
    desk.as_admin()

    said = desk.run("provision", "--yes")

    assert said.code == 0, said.text
    assert f"{len(CREATED)} created" in said.text
    found = desk.check()
    assert [i.name for i in found.ready] == ["Lead.enterprise_fit"]
    assert desk.run("provision", "--dry-run").text == "Nothing to create or grant.\n"


@pytest.mark.slow
def test_a_candidate_field_is_granted_for_reading_only(desk: Desk) -> None:
    desk.configure(INTEGRATION)
    desk.as_admin()
    desk.run("provision", "--yes")

    rows = desk.org.query("SELECT Field, PermissionsEdit FROM FieldPermissions")

    edits = {row["Field"]: row["PermissionsEdit"] for row in rows}
    assert edits["Lead.PI_Candidate__c"] is False
    assert edits["Lead.PI_Score__c"] is True


def test_provision_asks_before_it_creates(desk: Desk) -> None:
    """Where nobody can be asked it is a wrong usage."""
    desk.configure(INTEGRATION)
    desk.as_admin()

    said = desk.run("provision")

    assert said.code == 2
    assert "create  Lead.PI_Score__c" in said.text
    assert "--yes" in said.text
    assert metadata_calls(desk.org) == []


def test_without_the_permission_an_admin_is_told_which_ones_are_needed(desk: Desk) -> None:
    desk.configure(INTEGRATION)

    said = desk.run("provision", "--yes")

    assert said.code == 1
    for needed in (
        "Customize Application",
        "Manage Profiles and Permission Sets",
        "Assign Permission Sets",
    ):
        assert needed in said.text
    assert "INSUFFICIENT_ACCESS" in said.text
    assert "SALESFORCE_ADMIN_CLIENT_ID" in said.text


def test_a_field_of_the_wrong_type_is_reported_and_left_as_it_is(desk: Desk) -> None:
    """And the others are created all the same."""
    desk.org.add_fields(PI_Score__c={"type": "Text", "length": 3})
    desk.configure(INTEGRATION)
    desk.as_admin()

    said = desk.run("provision", "--yes")

    assert said.code == 1
    assert "wrong    Lead.PI_Score__c: a score needs a number field, this is string." in said.text
    assert f"{len(CREATED) - 1} created" in said.text
    assert "error    Lead.enterprise_fit: outputs: score" in said.text, "preflight says it as well"


@pytest.mark.slow
def test_a_field_written_with_another_case_is_reported(desk: Desk) -> None:
    """R9: case counts, and Salesforce takes both for one name."""
    desk.org.add_fields(Mintigo_Hash__c={"type": "TextArea"})
    desk.configure(INTEGRATION)
    desk.as_admin()

    shown = desk.run("provision", "--dry-run", "--json").json()

    assert [line for line in shown["wrong"] if "written Mintigo_Hash__c, and case counts" in line]
    assert "Lead.Mintigo_hash__c" not in {f["field"] for f in shown["create"]}


def test_a_field_that_is_there_but_hidden_is_granted(desk: Desk) -> None:
    """A first try may have been cut off between creating and granting."""
    desk.org.control(
        "POST",
        "fields",
        {
            "fields": {
                "Lead.PI_Score__c": {"label": "S", "type": "Number", "precision": 3, "scale": 0}
            },
            "grant": [],
        },
    )
    desk.configure(INTEGRATION)
    desk.as_admin()

    done = desk.run("provision", "--yes", "--json").json()["done"]

    assert done["already_there"] == ["Lead.PI_Score__c"]
    assert "Lead.PI_Score__c" in done["granted"]
    assert done["problems"] == []


@pytest.mark.slow
def test_a_field_that_may_be_read_only_is_granted_for_writing(desk: Desk) -> None:
    desk.configure(INTEGRATION)
    desk.as_admin()
    desk.run("provision", "--yes")
    row = desk.org.query("SELECT Id FROM FieldPermissions WHERE Field = 'Lead.PI_Score__c'")[0]
    body = {
        "object": "FieldPermissions",
        "operation": "update",
        "records": [{"Id": row["Id"], "PermissionsEdit": False}],
    }
    assert desk.org.control("POST", "save", body)[0]["success"]

    done = desk.run("provision", "--yes", "--json").json()

    assert [f["field"] for f in done["grant"]] == ["Lead.PI_Score__c"]
    assert done["done"]["problems"] == []


def test_a_field_that_salesforce_refuses_does_not_stop_the_others(desk: Desk) -> None:
    outputs = {**INTEGRATION["outputs"], "size_band": "PI__Size__c"}
    desk.configure({**INTEGRATION, "outputs": outputs})
    desk.as_admin()

    done = desk.run("provision", "--yes", "--json")

    assert done.code == 1
    assert list(done.json()["done"]["refused"]) == ["Lead.PI__Size__c"]
    assert len(done.json()["done"]["created"]) == len(CREATED)


@pytest.mark.slow
def test_further_users_see_the_fields_too(desk: Desk) -> None:
    desk.configure(INTEGRATION)
    desk.as_admin()

    assert desk.run("provision", "--yes", "--user", "nobody@local.example").code == 2
    assert metadata_calls(desk.org) == [], "a wrong user stops it before anything is created"
    assert desk.run("provision", "--yes", "--user", "admin@local.example").code == 0
    assigned = desk.org.query(
        f"SELECT AssigneeId FROM PermissionSetAssignment WHERE PermissionSet.Name = '{PERMISSION_SET}'"
    )
    assert len(assigned) == 2


def test_every_call_counts(desk: Desk) -> None:
    """R21: the admin's too."""
    desk.configure(INTEGRATION)
    desk.as_admin()
    desk.run("provision", "--yes")
    from pipeline.commands.clients import opened_clients

    with opened_clients() as clients:
        counted = clients.ledger.calls.total(clients.today)

    assert counted == len(desk.org.calls()["log"])


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"type": "score"}, {"type": "Number", "precision": 3, "scale": 0}),
        ({"type": "rank"}, {"type": "Text", "length": 1}),
        ({"type": "reasons", "length": 255}, {"type": "Text", "length": 255}),
        (
            {"type": "reasons", "length": 256},
            {"type": "LongTextArea", "length": 256, "visibleLines": 3},
        ),
        (
            {"type": "insight", "value": "number", "category": "fit"},
            {"type": "Number", "precision": 18, "scale": 2},
        ),
        (
            {"type": "insight", "value": "boolean", "category": "fit"},
            {"type": "Checkbox", "defaultValue": "false"},
        ),
    ],
)
def test_new_fields_have_the_types_of_r8(output: dict[str, Any], words: dict[str, Any]) -> None:
    assert output_metadata(MarketOutput.model_validate(output)) == words


def test_a_short_hash_field_is_wrong() -> None:
    """R9: 255 characters."""
    wanted = WantedField("Lead", "Mintigo_hash__c", "Hash", {"type": "TextArea"})

    assert wanted.mismatch(Field("Mintigo_hash__c", "Hash", "string", length=80))
    assert wanted.mismatch(Field("Mintigo_hash__c", "Hash", "textarea", length=255)) is None
