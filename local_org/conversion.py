"""Lead conversion and person accounts made from outside: control actions that save records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .errors import SalesforceError
from .lifecycle import STAMPS, require_alive
from .parts import Parts
from .saves import Saves
from .values import Json

_CONVERTED_STATUS: Final = "Closed - Converted"
_TO_ACCOUNT: Final = {
    "Name": "Company",
    "Phone": "Phone",
    "Website": "Website",
    "Industry": "Industry",
    "AnnualRevenue": "AnnualRevenue",
    "NumberOfEmployees": "NumberOfEmployees",
    "BillingStreet": "Street",
    "BillingCity": "City",
    "BillingState": "State",
    "BillingPostalCode": "PostalCode",
    "BillingCountry": "Country",
}
_TO_CONTACT: Final = {
    "FirstName": "FirstName",
    "LastName": "LastName",
    "Salutation": "Salutation",
    "Title": "Title",
    "Email": "Email",
    "Phone": "Phone",
    "MobilePhone": "MobilePhone",
    "LeadSource": "LeadSource",
    "MailingStreet": "Street",
    "MailingCity": "City",
    "MailingState": "State",
    "MailingPostalCode": "PostalCode",
    "MailingCountry": "Country",
}


class Conversion:
    """Makes records out of others."""

    def __init__(self, parts: Parts, saves: Saves) -> None:
        """Keep the data, and how records are saved."""
        self._data = parts.data
        self._saves = saves

    def convert_lead(
        self,
        lead_id: str,
        *,
        user_id: str,
        create_opportunity: bool = False,
        account_id: str | None = None,
        contact_id: str | None = None,
    ) -> dict[str, str | None]:
        """Convert a lead into an account, a contact and, if asked, an opportunity.

        Custom fields are not mapped, so scores stay behind (API notes 6.2).

        Raises:
            SalesforceError: the lead is not there or converted already, or a new record is refused.
        """
        lead_id = require_alive(self._data, self._data.object("Lead"), lead_id)

        with self._data.write():
            values = self._lead_values(lead_id)
            if values["IsConverted"]:
                raise SalesforceError(
                    400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead"
                )

            # In one transaction: a lead is converted with all its records, or not at all.
            account_id = account_id or self._create(
                "Account", _map_values(values, _TO_ACCOUNT), user_id
            )
            contact_id = contact_id or self._create(
                "Contact", _map_values(values, _TO_CONTACT) | {"AccountId": account_id}, user_id
            )
            opportunity_id = None
            if create_opportunity:
                opportunity = self._opportunity(values, account_id)
                opportunity_id = self._create("Opportunity", opportunity, user_id)

            self._mark_converted(lead_id, user_id, account_id, contact_id, opportunity_id)

        return {
            "leadId": lead_id,
            "accountId": account_id,
            "contactId": contact_id,
            "opportunityId": opportunity_id,
        }

    def _lead_values(self, lead_id: str) -> dict[str, Json]:
        columns = sorted({*_TO_ACCOUNT.values(), *_TO_CONTACT.values(), "IsConverted"})
        statement = f"SELECT {', '.join(columns)} FROM Lead WHERE Id = ?"  # noqa: S608
        row = self._data.database.read().execute(statement, (lead_id,)).fetchone()
        return dict(zip(columns, row, strict=True))

    def _opportunity(self, values: Mapping[str, Json], account_id: str) -> dict[str, Json]:
        return {
            "Name": f"{values['Company']}-",
            "AccountId": account_id,
            "StageName": "Prospecting",
            "CloseDate": self._data.clock.stamp()[:10],
        }

    def _mark_converted(
        self,
        lead_id: str,
        user_id: str,
        account_id: str,
        contact_id: str,
        opportunity_id: str | None,
    ) -> None:
        stamp = self._data.clock.stamp()
        made_ids = (account_id, contact_id, opportunity_id)

        with self._data.write() as connection:
            connection.execute(
                "UPDATE Lead SET IsConverted = 1, Status = ?, ConvertedDate = ?, "  # noqa: S608
                "ConvertedAccountId = ?, ConvertedContactId = ?, ConvertedOpportunityId = ?, "
                f"{STAMPS} WHERE Id = ?",
                (_CONVERTED_STATUS, stamp[:10], *made_ids, stamp, user_id, stamp, lead_id),
            )

    def create_person_account(self, values: Mapping[str, Json], *, user_id: str) -> tuple[str, str]:
        """Make a person account and its hidden contact; gives both ids.

        Raises:
            SalesforceError: person accounts are off, or the values are refused.
        """
        if not self._data.options.person_accounts:
            raise SalesforceError(
                400, "INVALID_FIELD", "person accounts are off: set the option person_accounts"
            )

        account_id = self._create("Account", values, user_id)
        row = (
            self._data.read()
            .execute("SELECT PersonContactId FROM Account WHERE Id = ?", (account_id,))
            .fetchone()
        )
        return account_id, row[0]

    def _create(self, object_name: str, values: Mapping[str, Json], user_id: str) -> str:
        (result,) = self._saves.save_records("insert", object_name, [values], user_id=user_id)
        if not result.success:
            error = result.errors[0]
            raise SalesforceError(400, error.code, error.message, error.fields)
        return result.id


def _map_values(values: Mapping[str, Json], mapping: Mapping[str, str]) -> dict[str, Json]:
    return {to: values[source] for to, source in mapping.items() if values[source] is not None}
