"""The standard objects of a fresh org, with the fields and sizes that Salesforce gives them."""

from __future__ import annotations

from typing import Any

from .schema import Choice, Field, SObject

_READ_ONLY: dict[str, Any] = {"createable": False, "updateable": False}
_ON_PERSON: dict[str, Any] = {"when": "person_accounts"}

INDUSTRIES = (
    "Agriculture;Apparel;Banking;Biotechnology;Chemicals;Communications;Construction;Consulting;"
    "Education;Electronics;Energy;Engineering;Entertainment;Environmental;Finance;Food & Beverage;"
    "Government;Healthcare;Hospitality;Insurance;Machinery;Manufacturing;Media;Not For Profit;"
    "Recreation;Retail;Shipping;Technology;Telecommunications;Transportation;Utilities;Other"
)
_SOURCES = "Web;Phone Inquiry;Partner Referral;Purchased List;Other"
_RATINGS = "Hot;Warm;Cold"
_SALUTATIONS = "Mr.;Ms.;Mrs.;Dr.;Prof."
_CLEAN = "Matched;Different;Acknowledged;NotFound;Inactive;Pending;SelectMatch;Skipped"
_LEAD_STATUS = "Open - Not Contacted;Working - Contacted;Closed - Converted;Closed - Not Converted"
_ACCOUNT_TYPES = (
    "Prospect;Customer - Direct;Customer - Channel;Channel Partner / Reseller;"
    "Installation Partner;Technology Partner;Other"
)
_STAGES = (
    "Prospecting;Qualification;Needs Analysis;Value Proposition;Id. Decision Makers;"
    "Perception Analysis;Proposal/Price Quote;Negotiation/Review;Closed Won;Closed Lost"
)
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
    """Make a lookup; its relationship is the name without ``Id`` unless told."""
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


def _plain(name: str, label: str, kind: str, length: int = 0, **facts: Any) -> Field:
    return Field(name, label, kind, length=length, **facts)


def _system(name: str, label: str, kind: str, **facts: Any) -> Field:
    return Field(
        name,
        label,
        kind,
        permissionable=False,
        **({"nillable": False, "defaulted_on_create": True} | _READ_ONLY | facts),
    )


def _head(*, deleted: bool = True, master: str | None = None) -> list[Field]:
    made = [
        _system("Id", _ID_LABEL, "id", length=18, id_lookup=True),
    ]
    if deleted:
        made.append(_system("IsDeleted", "Deleted", "boolean", default_value=False))
    if master:
        made.append(
            lookup(
                "MasterRecordId",
                "Master Record ID",
                master,
                relationship_name="MasterRecord",
                permissionable=False,
                **_READ_ONLY,
            )
        )
    return made


_ID_LABEL = "Record ID"


def _audit(*, owner: bool = False) -> list[Field]:
    made = []
    if owner:
        made.append(
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
        *made,
        _system("CreatedDate", "Created Date", "datetime"),
        _system(
            "CreatedById",
            "Created By ID",
            "reference",
            length=18,
            reference_to=("User",),
            relationship_name="CreatedBy",
        ),
        _system("LastModifiedDate", "Last Modified Date", "datetime"),
        _system(
            "LastModifiedById",
            "Last Modified By ID",
            "reference",
            length=18,
            reference_to=("User",),
            relationship_name="LastModifiedBy",
        ),
        _system("SystemModstamp", "System Modstamp", "datetime"),
    ]


def _activity() -> list[Field]:
    return [
        _plain("LastActivityDate", "Last Activity", "date", **_READ_ONLY),
        _plain("LastViewedDate", "Last Viewed Date", "datetime", **_READ_ONLY),
        _plain("LastReferencedDate", "Last Referenced Date", "datetime", **_READ_ONLY),
    ]


def _person_name(**facts: Any) -> list[Field]:
    required = {"nillable": False} if not facts.get("when") else {}
    return [
        text("LastName", "Last Name", 80, compound="Name", **required, **facts),
        text("FirstName", "First Name", 40, compound="Name", **facts),
        picklist("Salutation", "Salutation", _SALUTATIONS, length=40, compound="Name", **facts),
    ]


def _full_name() -> Field:
    return text(
        "Name",
        "Full Name",
        121,
        nillable=False,
        name_field=True,
        permissionable=False,
        sql="trim(coalesce({t}.FirstName || ' ', '') || coalesce({t}.LastName, ''))",
        **_READ_ONLY,
    )


def _address(prefix: str, label: str, **facts: Any) -> list[Field]:
    compound = f"{prefix}Address"
    lead = f"{label} " if label else ""
    part = {"compound": compound} | facts
    names = ("Street", "City", "State", "PostalCode", "Country", "Latitude", "Longitude")
    pairs = ", ".join(
        f"'{name[0].lower()}{name[1:]}', {{t}}.{prefix}{name}"
        for name in (*names, "GeocodeAccuracy")
    )
    empty = "coalesce(" + ", ".join(f"{{t}}.{prefix}{name}" for name in names) + ") IS NULL"
    return [
        _plain(f"{prefix}Street", f"{lead}Street", "textarea", 255, **part),
        text(f"{prefix}City", f"{lead}City", 40, **part),
        text(f"{prefix}State", f"{lead}State/Province", 80, **part),
        text(f"{prefix}PostalCode", f"{lead}Zip/Postal Code", 20, **part),
        text(f"{prefix}Country", f"{lead}Country", 80, **part),
        _plain(f"{prefix}Latitude", f"{lead}Latitude", "double", precision=18, scale=15, **part),
        _plain(f"{prefix}Longitude", f"{lead}Longitude", "double", precision=18, scale=15, **part),
        picklist(
            f"{prefix}GeocodeAccuracy",
            f"{lead}Geocode Accuracy",
            _GEOCODE,
            length=40,
            restricted=True,
            **part,
        ),
        _plain(
            compound,
            f"{lead}Address",
            "address",
            sortable=False,
            groupable=False,
            filterable=True,
            sql=f"CASE WHEN {empty} THEN NULL ELSE json_object({pairs}) END",
            **_READ_ONLY,
            **facts,
        ),
    ]


def _phone(name: str, label: str, **facts: Any) -> Field:
    return _plain(name, label, "phone", 40, **facts)


def _email(name: str, label: str, **facts: Any) -> Field:
    return _plain(name, label, "email", 80, **({"id_lookup": True} | facts))


def _url(name: str, label: str, **facts: Any) -> Field:
    return _plain(name, label, "url", 255, **facts)


def _bounces() -> list[Field]:
    return [
        text("EmailBouncedReason", "Email Bounced Reason", 255, **_READ_ONLY),
        _plain("EmailBouncedDate", "Email Bounced Date", "datetime", **_READ_ONLY),
    ]


def _clean(company: str, label: str) -> list[Field]:
    return [
        text("Jigsaw", "Data.com Key", 20),
        text(company, label, 20, **_READ_ONLY),
        picklist("CleanStatus", "Clean Status", _CLEAN, length=40, restricted=True),
    ]


def _currency() -> Field:
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


def _revenue(*, revenue: str = "Annual Revenue") -> list[Field]:
    return [
        _plain("AnnualRevenue", revenue, "currency", precision=18, scale=0),
        _plain("NumberOfEmployees", "Employees", "int", digits=8),
    ]


def _lead() -> SObject:
    kept = {"permissionable": False} | _READ_ONLY
    converted = [
        checkbox("IsConverted", "Converted", updateable=False, permissionable=False),
        _plain("ConvertedDate", "Converted Date", "date", **kept),
        lookup("ConvertedAccountId", "Converted Account ID", "Account", **kept),
        lookup("ConvertedContactId", "Converted Contact ID", "Contact", **kept),
        lookup("ConvertedOpportunityId", "Converted Opportunity ID", "Opportunity", **kept),
    ]
    status = picklist(
        "Status",
        "Status",
        _LEAD_STATUS,
        default="Open - Not Contacted",
        nillable=False,
        defaulted_on_create=True,
        default_value="Open - Not Contacted",
    )
    return _object(
        "Lead",
        "Lead",
        "Leads",
        "00Q",
        [
            *_head(master="Lead"),
            *_person_name(),
            _full_name(),
            text("Title", "Title", 128),
            text("Company", "Company", 255, nillable=False),
            *_address("", ""),
            _phone("Phone", "Phone"),
            _phone("MobilePhone", "Mobile Phone"),
            _phone("Fax", "Fax"),
            _email("Email", "Email"),
            _url("Website", "Website"),
            _url("PhotoUrl", "Photo URL", **_READ_ONLY),
            long_text("Description", "Description"),
            picklist("LeadSource", "Lead Source", _SOURCES),
            status,
            picklist("Industry", "Industry", INDUSTRIES),
            picklist("Rating", "Rating", _RATINGS),
            _currency(),
            *_revenue(),
            *_audit(owner=True),
            checkbox("HasOptedOutOfEmail", "Email Opt Out"),
            checkbox("DoNotCall", "Do Not Call"),
            checkbox("HasOptedOutOfFax", "Fax Opt Out"),
            *converted,
            checkbox("IsUnreadByOwner", "Unread By Owner", permissionable=False),
            *_activity(),
            _plain("LastTransferDate", "Last Transfer Date", "date", **_READ_ONLY),
            *_clean("JigsawContactId", "Jigsaw Contact ID"),
            text("CompanyDunsNumber", "Company D-U-N-S Number", 9),
            *_bounces(),
        ],
        mergeable=True,
    )


def _contact() -> SObject:
    return _object(
        "Contact",
        "Contact",
        "Contacts",
        "003",
        [
            *_head(master="Contact"),
            lookup("AccountId", "Account ID", "Account"),
            checkbox(
                "IsPersonAccount",
                "Is Person Account",
                permissionable=False,
                **_READ_ONLY,
                **_ON_PERSON,
            ),
            *_person_name(),
            _full_name(),
            *_address("Other", "Other"),
            *_address("Mailing", "Mailing"),
            _phone("Phone", "Business Phone"),
            _phone("Fax", "Business Fax"),
            _phone("MobilePhone", "Mobile Phone"),
            _phone("HomePhone", "Home Phone"),
            _phone("OtherPhone", "Other Phone"),
            _phone("AssistantPhone", "Asst. Phone"),
            lookup("ReportsToId", "Reports To ID", "Contact"),
            _email("Email", "Email"),
            text("Title", "Title", 128),
            text("Department", "Department", 80),
            text("AssistantName", "Assistant's Name", 40),
            picklist("LeadSource", "Lead Source", _SOURCES),
            _plain("Birthdate", "Birthdate", "date"),
            long_text("Description", "Contact Description"),
            _currency(),
            *_audit(owner=True),
            checkbox("HasOptedOutOfEmail", "Email Opt Out"),
            checkbox("HasOptedOutOfFax", "Fax Opt Out"),
            checkbox("DoNotCall", "Do Not Call"),
            *_activity(),
            _plain(
                "LastCURequestDate", "Last Stay-in-Touch Request Date", "datetime", **_READ_ONLY
            ),
            _plain("LastCUUpdateDate", "Last Stay-in-Touch Save Date", "datetime", **_READ_ONLY),
            *_bounces(),
            checkbox("IsEmailBounced", "Is Email Bounced", **_READ_ONLY),
            _url("PhotoUrl", "Photo URL", **_READ_ONLY),
            *_clean("JigsawContactId", "Jigsaw Contact ID"),
        ],
        mergeable=True,
    )


PERSON_FIELDS: dict[str, str] = {
    "LastName": "LastName",
    "FirstName": "FirstName",
    "Salutation": "Salutation",
    "PersonEmail": "Email",
    "PersonTitle": "Title",
    "PersonDepartment": "Department",
    "PersonMobilePhone": "MobilePhone",
    "PersonHomePhone": "HomePhone",
    "PersonBirthdate": "Birthdate",
    "PersonLeadSource": "LeadSource",
    "PersonHasOptedOutOfEmail": "HasOptedOutOfEmail",
    "PersonDoNotCall": "DoNotCall",
    "PersonMailingStreet": "MailingStreet",
    "PersonMailingCity": "MailingCity",
    "PersonMailingState": "MailingState",
    "PersonMailingPostalCode": "MailingPostalCode",
    "PersonMailingCountry": "MailingCountry",
    "Phone": "Phone",
    "Fax": "Fax",
}
"""Fields of a person account, and the fields of its hidden contact that they are the same as."""


def _person_fields() -> list[Field]:
    on = _ON_PERSON
    return [
        lookup(
            "PersonContactId", "Contact ID", "Contact", permissionable=False, **_READ_ONLY, **on
        ),
        checkbox("IsPersonAccount", "Is Person Account", permissionable=False, **_READ_ONLY, **on),
        _email("PersonEmail", "Email", **on),
        text("PersonTitle", "Title", 80, **on),
        text("PersonDepartment", "Department", 80, **on),
        _phone("PersonMobilePhone", "Mobile", **on),
        _phone("PersonHomePhone", "Home Phone", **on),
        _plain("PersonBirthdate", "Birthdate", "date", **on),
        picklist("PersonLeadSource", "Lead Source", _SOURCES, **on),
        checkbox("PersonHasOptedOutOfEmail", "Email Opt Out", **on),
        checkbox("PersonDoNotCall", "Do Not Call", **on),
        *_address("PersonMailing", "Mailing", **on),
    ]


def _account() -> SObject:
    return _object(
        "Account",
        "Account",
        "Accounts",
        "001",
        [
            *_head(master="Account"),
            text("Name", "Account Name", 255, nillable=False, name_field=True),
            *_person_name(**_ON_PERSON),
            picklist("Type", "Account Type", _ACCOUNT_TYPES),
            lookup("ParentId", "Parent Account ID", "Account"),
            *_address("Billing", "Billing"),
            *_address("Shipping", "Shipping"),
            _phone("Phone", "Account Phone"),
            _phone("Fax", "Account Fax"),
            text("AccountNumber", "Account Number", 40),
            _url("Website", "Website"),
            _url("PhotoUrl", "Photo URL", **_READ_ONLY),
            text("Sic", "SIC Code", 20),
            picklist("Industry", "Industry", INDUSTRIES),
            _currency(),
            *_revenue(),
            picklist("Ownership", "Ownership", "Public;Private;Subsidiary;Other"),
            text("TickerSymbol", "Ticker Symbol", 20),
            long_text("Description", "Account Description"),
            picklist("Rating", "Account Rating", _RATINGS),
            text("Site", "Account Site", 80),
            *_audit(owner=True),
            *_activity(),
            *_person_fields(),
            *_clean("JigsawCompanyId", "Data.com Company ID"),
            picklist("AccountSource", "Account Source", _SOURCES),
            text("DunsNumber", "D-U-N-S Number", 9),
            text("Tradestyle", "Tradestyle", 255),
            text("NaicsCode", "NAICS Code", 8),
            text("NaicsDesc", "NAICS Description", 120),
            text("YearStarted", "Year Started", 4),
            text("SicDesc", "SIC Description", 80),
        ],
        mergeable=True,
    )


def _opportunity() -> SObject:
    computed: dict[str, Any] = {"nillable": False, "defaulted_on_create": True} | _READ_ONLY
    return _object(
        "Opportunity",
        "Opportunity",
        "Opportunities",
        "006",
        [
            *_head(),
            lookup("AccountId", "Account ID", "Account"),
            checkbox("IsPrivate", "Private"),
            text("Name", "Name", 120, nillable=False, name_field=True),
            long_text("Description", "Description"),
            picklist("StageName", "Stage", _STAGES, nillable=False),
            _currency(),
            _plain("Amount", "Amount", "currency", precision=18, scale=2),
            _plain("Probability", "Probability (%)", "percent", precision=3, scale=0),
            _plain("CloseDate", "Close Date", "date", nillable=False),
            picklist("Type", "Opportunity Type", "Existing Business;New Business"),
            text("NextStep", "Next Step", 255),
            picklist("LeadSource", "Lead Source", _SOURCES),
            _plain("IsClosed", "Closed", "boolean", default_value=False, **computed),
            _plain("IsWon", "Won", "boolean", default_value=False, **computed),
            *_audit(owner=True),
            *_activity(),
        ],
    )


def _user() -> SObject:
    return _object(
        "User",
        "User",
        "Users",
        "005",
        [
            *_head(deleted=False),
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
                **_READ_ONLY,
            ),
            text("CompanyName", "Company Name", 80),
            text("Title", "Title", 80),
            _plain("Email", "Email", "email", 128, nillable=False),
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
            *_audit(),
        ],
        setup=True,
        createable=False,
        deletable=False,
    )


def _organization() -> SObject:
    return _object(
        "Organization",
        "Organization",
        "Organizations",
        "00D",
        [
            *_head(deleted=False),
            text("Name", "Name", 80, nillable=False, name_field=True),
            text("Country", "Country", 80),
            text("PrimaryContact", "Primary Contact", 80),
            text("DefaultLocaleSidKey", "Locale", 40),
            text("TimeZoneSidKey", "Time Zone", 40),
            text("LanguageLocaleKey", "Language", 40),
            text("OrganizationType", "Edition", 40, **_READ_ONLY),
            text("InstanceName", "Instance Name", 5, **_READ_ONLY),
            text("NamespacePrefix", "Namespace Prefix", 15, **_READ_ONLY),
            checkbox("IsSandbox", "Is Sandbox", **_READ_ONLY),
            _plain("TrialExpirationDate", "Trial Expiration Date", "datetime", **_READ_ONLY),
            *_audit(),
        ],
        setup=True,
        createable=False,
        deletable=False,
    )


def _profile() -> SObject:
    return _object(
        "Profile",
        "Profile",
        "Profiles",
        "00e",
        [
            *_head(deleted=False),
            text("Name", "Name", 255, nillable=False, name_field=True),
            text("Description", "Description", 255),
            *_audit(),
        ],
        setup=True,
        createable=False,
        updateable=False,
        deletable=False,
    )


def _permission_objects() -> list[SObject]:
    kinds = ("Create", "Read", "Edit", "Delete", "ViewAllRecords", "ModifyAllRecords")
    parent = lookup("ParentId", "Parent ID", "PermissionSet", nillable=False, updateable=False)
    subject = text("SobjectType", "SObject Type Name", 40, nillable=False, updateable=False)
    return [
        _object(
            "PermissionSet",
            "Permission Set",
            "Permission Sets",
            "0PS",
            [
                *_head(deleted=False),
                text("Name", "Permission Set Name", 80, nillable=False, name_field=True),
                text("Label", "Permission Set Label", 80, nillable=False),
                text("Description", "Description", 255),
                lookup("ProfileId", "Profile ID", "Profile", **_READ_ONLY),
                checkbox("IsCustom", "Custom", default_value=True, **_READ_ONLY),
                checkbox("IsOwnedByProfile", "Is Owned By Profile", **_READ_ONLY),
                checkbox("PermissionsApiEnabled", "API Enabled"),
                checkbox("PermissionsCustomizeApplication", "Customize Application"),
                checkbox("PermissionsViewAllData", "View All Data"),
                checkbox("PermissionsModifyAllData", "Modify All Data"),
                *_audit(),
            ],
            setup=True,
        ),
        _object(
            "ObjectPermissions",
            "Object Permissions",
            "Object Permissions",
            "110",
            [
                *_head(deleted=False),
                parent,
                subject,
                *(checkbox(f"Permissions{kind}", f"{kind}") for kind in kinds),
                *_audit(),
            ],
            setup=True,
        ),
        _object(
            "FieldPermissions",
            "Field Permissions",
            "Field Permissions",
            "01k",
            [
                *_head(deleted=False),
                parent,
                subject,
                text("Field", "Field Name", 255, nillable=False, updateable=False),
                checkbox("PermissionsEdit", "Edit Field"),
                checkbox("PermissionsRead", "Read Field"),
                *_audit(),
            ],
            setup=True,
        ),
        _object(
            "PermissionSetAssignment",
            "Permission Set Assignment",
            "Permission Set Assignments",
            "0Pa",
            [
                *_head(deleted=False),
                lookup(
                    "PermissionSetId",
                    "PermissionSet ID",
                    "PermissionSet",
                    nillable=False,
                    updateable=False,
                ),
                lookup("AssigneeId", "Assignee ID", "User", nillable=False, updateable=False),
                *_audit(),
            ],
            setup=True,
        ),
    ]


def _object(
    name: str, label: str, plural: str, prefix: str, entries: list[Field], **facts: Any
) -> SObject:
    made = SObject(name, label, plural, prefix, **facts)
    for entry in entries:
        made.add(entry)
    own_id = made.required_field("Id")
    made.add(Field(**{**_facts(own_id), "label": f"{label} ID"}))
    return made


def _facts(entry: Field) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Field.__dataclass_fields__}


def standard_objects() -> list[SObject]:
    """Make the objects of a fresh org."""
    return [
        _account(),
        _contact(),
        _lead(),
        _opportunity(),
        _user(),
        _profile(),
        _organization(),
        *_permission_objects(),
    ]
