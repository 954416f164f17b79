"""The standard objects that describe the org itself: users, profiles, permissions."""

from __future__ import annotations

from .schema import Field, SObject
from .standard_fields import (
    READ_ONLY,
    audit_fields,
    build_object,
    checkbox,
    field,
    id_fields,
    lookup,
    picklist,
    text,
)


def user() -> SObject:
    """Make User."""
    return build_object(
        "User",
        "User",
        "Users",
        "005",
        [
            *id_fields(deleted=False),
            text("Username", "Username", 80, nillable=False, id_lookup=True, unique=True),
            text("LastName", "Last Name", 80, nillable=False),
            text("FirstName", "First Name", 40),
            text(
                "Name",
                "Full Name",
                121,
                nillable=False,
                name_field=True,
                sql="trim(coalesce({t}.FirstName || ' ', '') || coalesce({t}.LastName, ''))",
                **READ_ONLY,
            ),
            text("CompanyName", "Company Name", 80),
            text("Title", "Title", 80),
            field("Email", "Email", "email", 128, nillable=False),
            text("Alias", "Alias", 8, nillable=False),
            text("CommunityNickname", "Nickname", 40, nillable=False),
            checkbox("IsActive", "Active", default_value=True),
            text("TimeZoneSidKey", "Time Zone", 40, nillable=False),
            text("LocaleSidKey", "Locale", 40, nillable=False),
            text("EmailEncodingKey", "Email Encoding", 40, nillable=False),
            text("LanguageLocaleKey", "Language", 40, nillable=False),
            lookup("ProfileId", "Profile ID", "Profile"),
            picklist("UserType", "User Type", "Standard;Guest", restricted=True, length=40),
            text("FederationIdentifier", "SAML Federation ID", 512),
            *audit_fields(),
        ],
        setup=True,
        createable=False,
        deletable=False,
    )


def organization() -> SObject:
    """Make Organization."""
    return build_object(
        "Organization",
        "Organization",
        "Organizations",
        "00D",
        [
            *id_fields(deleted=False),
            text("Name", "Name", 80, nillable=False, name_field=True),
            text("Country", "Country", 80),
            text("PrimaryContact", "Primary Contact", 80),
            text("DefaultLocaleSidKey", "Locale", 40),
            text("TimeZoneSidKey", "Time Zone", 40),
            text("LanguageLocaleKey", "Language", 40),
            text("OrganizationType", "Edition", 40, **READ_ONLY),
            text("InstanceName", "Instance Name", 5, **READ_ONLY),
            text("NamespacePrefix", "Namespace Prefix", 15, **READ_ONLY),
            checkbox("IsSandbox", "Is Sandbox", **READ_ONLY),
            field("TrialExpirationDate", "Trial Expiration Date", "datetime", **READ_ONLY),
            *audit_fields(),
        ],
        setup=True,
        createable=False,
        deletable=False,
    )


def profile() -> SObject:
    """Make Profile."""
    return build_object(
        "Profile",
        "Profile",
        "Profiles",
        "00e",
        [
            *id_fields(deleted=False),
            text("Name", "Name", 255, nillable=False, name_field=True),
            text("Description", "Description", 255),
            *audit_fields(),
        ],
        setup=True,
        createable=False,
        updateable=False,
        deletable=False,
    )


def permission_objects() -> list[SObject]:
    """Make the permission set, its grants and its assignments."""
    return [_permission_set(), _object_permissions(), _field_permissions(), _assignment()]


def _permission_set() -> SObject:
    return build_object(
        "PermissionSet",
        "Permission Set",
        "Permission Sets",
        "0PS",
        [
            *id_fields(deleted=False),
            text("Name", "Permission Set Name", 80, nillable=False, name_field=True),
            text("Label", "Permission Set Label", 80, nillable=False),
            text("Description", "Description", 255),
            lookup("ProfileId", "Profile ID", "Profile", **READ_ONLY),
            checkbox("IsCustom", "Custom", default_value=True, **READ_ONLY),
            checkbox("IsOwnedByProfile", "Is Owned By Profile", **READ_ONLY),
            checkbox("PermissionsApiEnabled", "API Enabled"),
            checkbox("PermissionsCustomizeApplication", "Customize Application"),
            checkbox("PermissionsViewAllData", "View All Data"),
            checkbox("PermissionsModifyAllData", "Modify All Data"),
            *audit_fields(),
        ],
        setup=True,
    )


def _grant_fields() -> list[Field]:
    """Make what both kinds of grants begin with: whose it is, and on which object."""
    return [
        *id_fields(deleted=False),
        lookup("ParentId", "Parent ID", "PermissionSet", nillable=False, updateable=False),
        text("SobjectType", "SObject Type Name", 40, nillable=False, updateable=False),
    ]


def _object_permissions() -> SObject:
    kinds = ("Create", "Read", "Edit", "Delete", "ViewAllRecords", "ModifyAllRecords")

    return build_object(
        "ObjectPermissions",
        "Object Permissions",
        "Object Permissions",
        "110",
        [
            *_grant_fields(),
            *(checkbox(f"Permissions{kind}", f"{kind}") for kind in kinds),
            *audit_fields(),
        ],
        setup=True,
    )


def _field_permissions() -> SObject:
    return build_object(
        "FieldPermissions",
        "Field Permissions",
        "Field Permissions",
        "01k",
        [
            *_grant_fields(),
            text("Field", "Field Name", 255, nillable=False, updateable=False),
            checkbox("PermissionsEdit", "Edit Field"),
            checkbox("PermissionsRead", "Read Field"),
            *audit_fields(),
        ],
        setup=True,
    )


def _assignment() -> SObject:
    set_id = lookup(
        "PermissionSetId", "PermissionSet ID", "PermissionSet", nillable=False, updateable=False
    )

    return build_object(
        "PermissionSetAssignment",
        "Permission Set Assignment",
        "Permission Set Assignments",
        "0Pa",
        [
            *id_fields(deleted=False),
            set_id,
            lookup("AssigneeId", "Assignee ID", "User", nillable=False, updateable=False),
            *audit_fields(),
        ],
        setup=True,
    )
