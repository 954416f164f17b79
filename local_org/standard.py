"""The standard objects of a fresh org, with the fields and sizes that Salesforce gives them."""

from __future__ import annotations

from typing import Any

from .schema import Field, SObject
from .standard_fields import (
    READ_ONLY,
    activity_dates,
    address,
    audit_fields,
    bounces,
    build_object,
    checkbox,
    currency,
    data_com_fields,
    email,
    field,
    full_name,
    id_fields,
    long_text,
    lookup,
    person_name,
    phone,
    picklist,
    revenue,
    text,
    url,
)
from .standard_setup import organization, permission_objects, profile, user

_ON_PERSON: dict[str, Any] = {"when": "person_accounts"}

INDUSTRIES = (
    "Agriculture;Apparel;Banking;Biotechnology;Chemicals;Communications;Construction;Consulting;"
    "Education;Electronics;Energy;Engineering;Entertainment;Environmental;Finance;Food & Beverage;"
    "Government;Healthcare;Hospitality;Insurance;Machinery;Manufacturing;Media;Not For Profit;"
    "Recreation;Retail;Shipping;Technology;Telecommunications;Transportation;Utilities;Other"
)
_SOURCES = "Web;Phone Inquiry;Partner Referral;Purchased List;Other"
_RATINGS = "Hot;Warm;Cold"
_LEAD_STATUS = "Open - Not Contacted;Working - Contacted;Closed - Converted;Closed - Not Converted"
_ACCOUNT_TYPES = (
    "Prospect;Customer - Direct;Customer - Channel;Channel Partner / Reseller;"
    "Installation Partner;Technology Partner;Other"
)
_STAGES = (
    "Prospecting;Qualification;Needs Analysis;Value Proposition;Id. Decision Makers;"
    "Perception Analysis;Proposal/Price Quote;Negotiation/Review;Closed Won;Closed Lost"
)


def _lead() -> SObject:
    kept = {"permissionable": False} | READ_ONLY
    converted = [
        checkbox("IsConverted", "Converted", updateable=False, permissionable=False),
        field("ConvertedDate", "Converted Date", "date", **kept),
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

    return build_object(
        "Lead",
        "Lead",
        "Leads",
        "00Q",
        [
            *id_fields(master="Lead"),
            *person_name(),
            full_name(),
            text("Title", "Title", 128),
            text("Company", "Company", 255, nillable=False),
            *address("", ""),
            phone("Phone", "Phone"),
            phone("MobilePhone", "Mobile Phone"),
            phone("Fax", "Fax"),
            email("Email", "Email"),
            url("Website", "Website"),
            url("PhotoUrl", "Photo URL", **READ_ONLY),
            long_text("Description", "Description"),
            picklist("LeadSource", "Lead Source", _SOURCES),
            status,
            picklist("Industry", "Industry", INDUSTRIES),
            picklist("Rating", "Rating", _RATINGS),
            currency(),
            *revenue(),
            *audit_fields(owner=True),
            checkbox("HasOptedOutOfEmail", "Email Opt Out"),
            checkbox("DoNotCall", "Do Not Call"),
            checkbox("HasOptedOutOfFax", "Fax Opt Out"),
            *converted,
            checkbox("IsUnreadByOwner", "Unread By Owner", permissionable=False),
            *activity_dates(),
            field("LastTransferDate", "Last Transfer Date", "date", **READ_ONLY),
            *data_com_fields("JigsawContactId", "Jigsaw Contact ID"),
            text("CompanyDunsNumber", "Company D-U-N-S Number", 9),
            *bounces(),
        ],
        mergeable=True,
    )


def _contact() -> SObject:
    return build_object(
        "Contact",
        "Contact",
        "Contacts",
        "003",
        [
            *id_fields(master="Contact"),
            lookup("AccountId", "Account ID", "Account"),
            checkbox(
                "IsPersonAccount",
                "Is Person Account",
                permissionable=False,
                **READ_ONLY,
                **_ON_PERSON,
            ),
            *person_name(),
            full_name(),
            *address("Other", "Other"),
            *address("Mailing", "Mailing"),
            phone("Phone", "Business Phone"),
            phone("Fax", "Business Fax"),
            phone("MobilePhone", "Mobile Phone"),
            phone("HomePhone", "Home Phone"),
            phone("OtherPhone", "Other Phone"),
            phone("AssistantPhone", "Asst. Phone"),
            lookup("ReportsToId", "Reports To ID", "Contact"),
            email("Email", "Email"),
            text("Title", "Title", 128),
            text("Department", "Department", 80),
            text("AssistantName", "Assistant's Name", 40),
            picklist("LeadSource", "Lead Source", _SOURCES),
            field("Birthdate", "Birthdate", "date"),
            long_text("Description", "Contact Description"),
            currency(),
            *audit_fields(owner=True),
            checkbox("HasOptedOutOfEmail", "Email Opt Out"),
            checkbox("HasOptedOutOfFax", "Fax Opt Out"),
            checkbox("DoNotCall", "Do Not Call"),
            *activity_dates(),
            field("LastCURequestDate", "Last Stay-in-Touch Request Date", "datetime", **READ_ONLY),
            field("LastCUUpdateDate", "Last Stay-in-Touch Save Date", "datetime", **READ_ONLY),
            *bounces(),
            checkbox("IsEmailBounced", "Is Email Bounced", **READ_ONLY),
            url("PhotoUrl", "Photo URL", **READ_ONLY),
            *data_com_fields("JigsawContactId", "Jigsaw Contact ID"),
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
        lookup("PersonContactId", "Contact ID", "Contact", permissionable=False, **READ_ONLY, **on),
        checkbox("IsPersonAccount", "Is Person Account", permissionable=False, **READ_ONLY, **on),
        email("PersonEmail", "Email", **on),
        text("PersonTitle", "Title", 80, **on),
        text("PersonDepartment", "Department", 80, **on),
        phone("PersonMobilePhone", "Mobile", **on),
        phone("PersonHomePhone", "Home Phone", **on),
        field("PersonBirthdate", "Birthdate", "date", **on),
        picklist("PersonLeadSource", "Lead Source", _SOURCES, **on),
        checkbox("PersonHasOptedOutOfEmail", "Email Opt Out", **on),
        checkbox("PersonDoNotCall", "Do Not Call", **on),
        *address("PersonMailing", "Mailing", **on),
    ]


def _account() -> SObject:
    return build_object(
        "Account",
        "Account",
        "Accounts",
        "001",
        [
            *id_fields(master="Account"),
            text("Name", "Account Name", 255, nillable=False, name_field=True),
            *person_name(**_ON_PERSON),
            picklist("Type", "Account Type", _ACCOUNT_TYPES),
            lookup("ParentId", "Parent Account ID", "Account"),
            *address("Billing", "Billing"),
            *address("Shipping", "Shipping"),
            phone("Phone", "Account Phone"),
            phone("Fax", "Account Fax"),
            text("AccountNumber", "Account Number", 40),
            url("Website", "Website"),
            url("PhotoUrl", "Photo URL", **READ_ONLY),
            text("Sic", "SIC Code", 20),
            picklist("Industry", "Industry", INDUSTRIES),
            currency(),
            *revenue(),
            picklist("Ownership", "Ownership", "Public;Private;Subsidiary;Other"),
            text("TickerSymbol", "Ticker Symbol", 20),
            long_text("Description", "Account Description"),
            picklist("Rating", "Account Rating", _RATINGS),
            text("Site", "Account Site", 80),
            *audit_fields(owner=True),
            *activity_dates(),
            *_person_fields(),
            *data_com_fields("JigsawCompanyId", "Data.com Company ID"),
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
    computed: dict[str, Any] = {"nillable": False, "defaulted_on_create": True} | READ_ONLY

    return build_object(
        "Opportunity",
        "Opportunity",
        "Opportunities",
        "006",
        [
            *id_fields(),
            lookup("AccountId", "Account ID", "Account"),
            checkbox("IsPrivate", "Private"),
            text("Name", "Name", 120, nillable=False, name_field=True),
            long_text("Description", "Description"),
            picklist("StageName", "Stage", _STAGES, nillable=False),
            currency(),
            field("Amount", "Amount", "currency", precision=18, scale=2),
            field("Probability", "Probability (%)", "percent", precision=3, scale=0),
            field("CloseDate", "Close Date", "date", nillable=False),
            picklist("Type", "Opportunity Type", "Existing Business;New Business"),
            text("NextStep", "Next Step", 255),
            picklist("LeadSource", "Lead Source", _SOURCES),
            field("IsClosed", "Closed", "boolean", default_value=False, **computed),
            field("IsWon", "Won", "boolean", default_value=False, **computed),
            *audit_fields(owner=True),
            *activity_dates(),
        ],
    )


def standard_objects() -> list[SObject]:
    """Make the objects of a fresh org."""
    return [
        _account(),
        _contact(),
        _lead(),
        _opportunity(),
        user(),
        profile(),
        organization(),
        *permission_objects(),
    ]
