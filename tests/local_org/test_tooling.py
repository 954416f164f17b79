"""Creating custom fields, and granting them (API notes, 6)."""

from __future__ import annotations

from itertools import count

import pytest

from local_org import launch
from tests.local_org.support import Api, error

pytestmark = pytest.mark.slow

SERIAL = count(1)


def field_names(api: Api, object_name: str = "Lead") -> dict[str, dict[str, object]]:
    """Give the fields that this user sees, by name."""
    body = api.get(f"sobjects/{object_name}/describe").json()
    return {field["name"]: field for field in body["fields"]}


def make_field(admin: Api, **metadata: object) -> str:
    """Create a custom field on Lead under a new name and give the name."""
    name = f"Made{next(SERIAL)}__c"
    answer = admin.post(
        "tooling/sobjects/CustomField",
        {"FullName": f"Lead.{name}", "Metadata": {"label": name, **metadata}},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["id"].startswith("00N")
    assert answer.json()["success"] is True
    return name


def test_a_new_field_is_visible_to_nobody_until_granted(
    org: launch.RunningOrg, api: Api, admin: Api
) -> None:
    name = make_field(admin, type="Number", precision=3, scale=0)
    assert name not in field_names(api)
    assert name not in field_names(admin)
    integration = org.query(f"SELECT Id FROM User WHERE Username = '{launch.USERNAME}'")[0]["Id"]

    permission_set = admin.create("PermissionSet", Name=f"Set{next(SERIAL)}", Label="Scoring")
    admin.create(
        "FieldPermissions",
        ParentId=permission_set,
        SobjectType="Lead",
        Field=f"Lead.{name}",
        PermissionsRead=True,
        PermissionsEdit=True,
    )
    assert name not in field_names(api)
    admin.create("PermissionSetAssignment", AssigneeId=integration, PermissionSetId=permission_set)

    seen = field_names(api)[name]
    assert (seen["type"], seen["precision"], seen["updateable"]) == ("double", 3, True)
    assert name not in field_names(admin)


def test_a_new_checkbox_is_hidden_too_and_can_be_granted(
    org: launch.RunningOrg, api: Api, admin: Api
) -> None:
    """It is never null, but that does not make it a required field, which all may see."""
    name = make_field(admin, type="Checkbox", defaultValue="false")
    assert name not in field_names(api)
    integration = org.query(f"SELECT Id FROM User WHERE Username = '{launch.USERNAME}'")[0]["Id"]
    permission_set = admin.create("PermissionSet", Name=f"Set{next(SERIAL)}", Label="Scoring")
    admin.create(
        "FieldPermissions",
        ParentId=permission_set,
        SobjectType="Lead",
        Field=f"Lead.{name}",
        PermissionsRead=True,
        PermissionsEdit=False,
    )
    admin.create("PermissionSetAssignment", AssigneeId=integration, PermissionSetId=permission_set)

    assert field_names(api)[name]["updateable"] is False


def test_object_permissions_are_granted_the_same_way(org: launch.RunningOrg, admin: Api) -> None:
    user = org.control("POST", "users", {"username": "plain@local.example"})
    org.control(
        "POST",
        "apps",
        {"client_id": "plain", "client_secret": "s", "run_as": "plain@local.example"},
    )
    plain = Api(org, "plain", "s")
    org.control(
        "POST",
        "permissions",
        {
            "user": "plain@local.example",
            "object": "Lead",
            "read": False,
            "edit": False,
            "create": False,
        },
    )
    assert plain.get("sobjects/Lead/describe").status_code == 404
    org.control(
        "POST", "permissions", {"user": "plain@local.example", "object": "Lead", "clear": True}
    )

    permission_set = admin.create("PermissionSet", Name=f"Set{next(SERIAL)}", Label="Leads")
    admin.create(
        "ObjectPermissions",
        ParentId=permission_set,
        SobjectType="Lead",
        PermissionsRead=True,
        PermissionsEdit=True,
        PermissionsCreate=False,
        PermissionsDelete=False,
        PermissionsViewAllRecords=False,
        PermissionsModifyAllRecords=False,
    )
    admin.create("PermissionSetAssignment", AssigneeId=user["id"], PermissionSetId=permission_set)

    body = plain.get("sobjects/Lead/describe").json()
    assert (body["queryable"], body["updateable"]) == (True, True)


def test_edit_without_read_is_refused(admin: Api) -> None:
    name = make_field(admin, type="Checkbox", defaultValue="false")
    permission_set = admin.create("PermissionSet", Name=f"Set{next(SERIAL)}", Label="Odd")

    answer = admin.post(
        "sobjects/FieldPermissions",
        {
            "ParentId": permission_set,
            "SobjectType": "Lead",
            "Field": f"Lead.{name}",
            "PermissionsRead": False,
            "PermissionsEdit": True,
        },
    )

    assert answer.status_code == 400


def test_permissions_can_be_granted_by_collections_in_one_call(admin: Api) -> None:
    names = [make_field(admin, type="Text", length=1) for _ in range(3)]
    permission_set = admin.create("PermissionSet", Name=f"Set{next(SERIAL)}", Label="Many")
    records = [
        {
            "attributes": {"type": "FieldPermissions"},
            "ParentId": permission_set,
            "SobjectType": "Lead",
            "Field": f"Lead.{name}",
            "PermissionsRead": True,
            "PermissionsEdit": True,
        }
        for name in names
    ]

    body = admin.post("composite/sobjects", {"allOrNone": False, "records": records}).json()

    assert [row["success"] for row in body] == [True, True, True]


def test_a_taken_name_is_refused(admin: Api) -> None:
    name = make_field(admin, type="TextArea")

    answer = admin.post(
        "tooling/sobjects/CustomField",
        {"FullName": f"Lead.{name}", "Metadata": {"label": "again", "type": "TextArea"}},
    )

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == "DUPLICATE_DEVELOPER_NAME"


def test_creating_fields_needs_customize_application(api: Api) -> None:
    answer = api.post(
        "tooling/sobjects/CustomField",
        {"FullName": "Lead.No__c", "Metadata": {"label": "No", "type": "Date"}},
    )

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"FullName": "Lead.Odd__c", "Metadata": {"label": "Odd", "type": "Hologram"}},
        {"FullName": "Nope__c.Odd__c", "Metadata": {"label": "Odd", "type": "Date"}},
        {"FullName": "Lead.Odd", "Metadata": {"label": "Odd", "type": "Date"}},
        {"FullName": "Lead.Odd__c"},
        {"FullName": "Lead.Odd__c", "Metadata": {"label": "Odd", "type": "Date"}, "Extra": 1},
    ],
)
def test_a_field_that_makes_no_sense_is_refused(admin: Api, body: dict[str, object]) -> None:
    answer = admin.post("tooling/sobjects/CustomField", body)

    assert 400 <= answer.status_code < 500
    assert error(answer)["errorCode"]


def test_the_rest_of_the_tooling_api_is_not_there(admin: Api) -> None:
    assert error(admin.get("tooling/sobjects/ApexClass"))["errorCode"] == "NOT_FOUND"
