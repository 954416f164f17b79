"""The kinds of fields that standard objects are made of, with Salesforce's sizes and properties.

Which object has which of them stands in ``standard`` and ``standard_setup``.
"""

from __future__ import annotations

from typing import Any

from .schema import Choice, Field, SObject

READ_ONLY: dict[str, Any] = {"createable": False, "updateable": False}
ID_LABEL = "Record ID"
_SALUTATIONS = "Mr.;Ms.;Mrs.;Dr.;Prof."
_CLEAN = "Matched;Different;Acknowledged;NotFound;Inactive;Pending;SelectMatch;Skipped"
_GEOCODE = "Address;NearAddress;Block;Street;ExtendedZip;Zip;Neighborhood;City;County;State;Unknown"


def _choices(text: str, default: str | None = None) -> tuple[Choice, ...]:
    return tuple(Choice(value, value, True, value == default) for value in text.split(";"))


def text(name: str, label: str, length: int, **facts: Any) -> Field:
    """Make a Text field."""
    return Field(name, label, "string", length=length, **facts)


def picklist(name: str, label: str, values: str, **facts: Any) -> Field:
    """Make a picklist; it is not restricted unless ``restricted`` says so."""
    default = facts.pop("default", None)
    length = facts.pop("length", 255)
    return Field(name, label, "picklist", length=length, choices=_choices(values, default), **facts)


def checkbox(name: str, label: str, **facts: Any) -> Field:
    """Make a checkbox: never null, false when not said."""
    return Field(
        name,
        label,
        "boolean",
        nillable=False,
        defaulted_on_create=True,
        **({"default_value": False} | facts),
    )


def lookup(name: str, label: str, *targets: str, **facts: Any) -> Field:
    """Make a lookup; its relationship is the name without ``Id`` by default."""
    return Field(
        name,
        label,
        "reference",
        length=18,
        reference_to=targets,
        **({"relationship_name": name.removesuffix("Id")} | facts),
    )


def long_text(name: str, label: str, length: int = 32000, **facts: Any) -> Field:
    """Make a long text area: not filterable, sortable or groupable."""
    return Field(
        name,
        label,
        "textarea",
        length=length,
        filterable=False,
        sortable=False,
        groupable=False,
        **facts,
    )


def field(name: str, label: str, kind: str, length: int = 0, **facts: Any) -> Field:
    """Make a field of any other type."""
    return Field(name, label, kind, length=length, **facts)


def system_field(name: str, label: str, kind: str, **facts: Any) -> Field:
    """Make a field that Salesforce fills and nobody is granted or refused."""
    return Field(
        name,
        label,
        kind,
        permissionable=False,
        **({"nillable": False, "defaulted_on_create": True} | READ_ONLY | facts),
    )


def id_fields(*, deleted: bool = True, master: str | None = None) -> list[Field]:
    """Make the fields that every object begins with."""
    fields = [
        system_field("Id", ID_LABEL, "id", length=18, id_lookup=True),
    ]

    if deleted:
        fields.append(system_field("IsDeleted", "Deleted", "boolean", default_value=False))
    if master:
        fields.append(
            lookup(
                "MasterRecordId",
                "Master Record ID",
                master,
                relationship_name="MasterRecord",
                permissionable=False,
                **READ_ONLY,
            )
        )

    return fields


def audit_fields(*, owner: bool = False) -> list[Field]:
    """Make the fields that say who changed a record and when, and who owns it."""
    fields = []
    if owner:
        fields.append(
            lookup(
                "OwnerId",
                "Owner ID",
                "Group",
                "User",
                nillable=False,
                defaulted_on_create=True,
                permissionable=False,
            )
        )

    return [
        *fields,
        system_field("CreatedDate", "Created Date", "datetime"),
        system_field(
            "CreatedById",
            "Created By ID",
            "reference",
            length=18,
            reference_to=("User",),
            relationship_name="CreatedBy",
        ),
        system_field("LastModifiedDate", "Last Modified Date", "datetime"),
        system_field(
            "LastModifiedById",
            "Last Modified By ID",
            "reference",
            length=18,
            reference_to=("User",),
            relationship_name="LastModifiedBy",
        ),
        system_field("SystemModstamp", "System Modstamp", "datetime"),
    ]


def activity_dates() -> list[Field]:
    """Make the dates that Salesforce moves when people look at a record or work on it."""
    return [
        field("LastActivityDate", "Last Activity", "date", **READ_ONLY),
        field("LastViewedDate", "Last Viewed Date", "datetime", **READ_ONLY),
        field("LastReferencedDate", "Last Referenced Date", "datetime", **READ_ONLY),
    ]


def person_name(**facts: Any) -> list[Field]:
    """Make the parts of a person's name."""
    # Null on Account: a business account has no last name.
    required = {"nillable": False} if not facts.get("when") else {}
    return [
        text("LastName", "Last Name", 80, compound="Name", **required, **facts),
        text("FirstName", "First Name", 40, compound="Name", **facts),
        picklist("Salutation", "Salutation", _SALUTATIONS, length=40, compound="Name", **facts),
    ]


def full_name() -> Field:
    """Make the name that is put together from its parts when read."""
    return text(
        "Name",
        "Full Name",
        121,
        nillable=False,
        name_field=True,
        permissionable=False,
        sql="trim(coalesce({t}.FirstName || ' ', '') || coalesce({t}.LastName, ''))",
        **READ_ONLY,
    )


def address(prefix: str, label: str, **facts: Any) -> list[Field]:
    """Make the parts of an address, and the compound field that reads them as one."""
    compound = f"{prefix}Address"
    lead = f"{label} " if label else ""
    part = {"compound": compound} | facts

    # The compound field is null when every part is, and a JSON object of the parts otherwise.
    names = ("Street", "City", "State", "PostalCode", "Country", "Latitude", "Longitude")
    pairs = ", ".join(
        f"'{name[0].lower()}{name[1:]}', {{t}}.{prefix}{name}"
        for name in (*names, "GeocodeAccuracy")
    )
    empty = "coalesce(" + ", ".join(f"{{t}}.{prefix}{name}" for name in names) + ") IS NULL"

    return [
        field(f"{prefix}Street", f"{lead}Street", "textarea", 255, **part),
        text(f"{prefix}City", f"{lead}City", 40, **part),
        text(f"{prefix}State", f"{lead}State/Province", 80, **part),
        text(f"{prefix}PostalCode", f"{lead}Zip/Postal Code", 20, **part),
        text(f"{prefix}Country", f"{lead}Country", 80, **part),
        field(f"{prefix}Latitude", f"{lead}Latitude", "double", precision=18, scale=15, **part),
        field(f"{prefix}Longitude", f"{lead}Longitude", "double", precision=18, scale=15, **part),
        picklist(
            f"{prefix}GeocodeAccuracy",
            f"{lead}Geocode Accuracy",
            _GEOCODE,
            length=40,
            restricted=True,
            **part,
        ),
        field(
            compound,
            f"{lead}Address",
            "address",
            sortable=False,
            groupable=False,
            filterable=True,
            sql=f"CASE WHEN {empty} THEN NULL ELSE json_object({pairs}) END",
            **READ_ONLY,
            **facts,
        ),
    ]


def phone(name: str, label: str, **facts: Any) -> Field:
    """Make a phone field."""
    return field(name, label, "phone", 40, **facts)


def email(name: str, label: str, **facts: Any) -> Field:
    """Make an email field."""
    return field(name, label, "email", 80, **({"id_lookup": True} | facts))


def url(name: str, label: str, **facts: Any) -> Field:
    """Make a URL field."""
    return field(name, label, "url", 255, **facts)


def bounces() -> list[Field]:
    """Make the fields about mail that came back."""
    return [
        text("EmailBouncedReason", "Email Bounced Reason", 255, **READ_ONLY),
        field("EmailBouncedDate", "Email Bounced Date", "datetime", **READ_ONLY),
    ]


def data_com_fields(company: str, label: str) -> list[Field]:
    """Make the fields of Data.com."""
    return [
        text("Jigsaw", "Data.com Key", 20),
        text(company, label, 20, **READ_ONLY),
        picklist("CleanStatus", "Clean Status", _CLEAN, length=40, restricted=True),
    ]


def currency() -> Field:
    """Make the currency of a record, which is there in orgs with several."""
    return picklist(
        "CurrencyIsoCode",
        "Currency ISO Code",
        "USD;EUR;GBP;JPY",
        default="USD",
        length=3,
        restricted=True,
        nillable=False,
        defaulted_on_create=True,
        default_value="USD",
        when="multi_currency",
    )


def revenue() -> list[Field]:
    """Make the fields about a company's size."""
    return [
        field("AnnualRevenue", "Annual Revenue", "currency", precision=18, scale=0),
        field("NumberOfEmployees", "Employees", "int", digits=8),
    ]


def build_object(
    name: str, label: str, plural: str, prefix: str, entries: list[Field], **facts: Any
) -> SObject:
    """Put an object together from its fields; its Id is labelled after it."""
    owner = SObject(name, label, plural, prefix, **facts)
    for entry in entries:
        owner.add(entry)
    own_id = owner.required_field("Id")
    owner.add(Field(**{**_facts(own_id), "label": f"{label} ID"}))
    return owner


def _facts(entry: Field) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Field.__dataclass_fields__}
