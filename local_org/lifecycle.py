"""What becomes of records beside plain saves: deletion, merge, conversion, person accounts.

Facts: API notes 4.4 (deleted, merged, converted) and 8, items 19 and 23 (person accounts).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from . import ids
from .database import quoted
from .errors import SalesforceError
from .schema import SObject
from .standard import PERSON_FIELDS
from .values import Json

if TYPE_CHECKING:
    from .store import Store

_AMONG: Final = "IN (SELECT value FROM json_each(?))"
_STAMPS: Final = "LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ?"
_LOSERS_MAX: Final = 2
_CONVERTED_STATUS: Final = "Closed - Converted"


# --- delete and undelete -------------------------------------------------------------------------


def remove_rows(
    store: Store,
    connection: sqlite3.Connection,
    owner: SObject,
    rids: list[int],
    operation: str,
    user_id: str,
) -> None:
    """Delete, delete for good, or bring back rows; an account takes its contacts along."""
    if not rids:
        return
    among = json.dumps(rids)
    table = quoted(owner.name)
    stamp = store.clock.stamp()
    if operation == "hardDelete" or not owner.has_deleted:
        connection.execute(f"DELETE FROM {table} WHERE rid {_AMONG}", (among,))  # noqa: S608
    else:
        connection.execute(
            f"UPDATE {table} SET IsDeleted = ?, {_STAMPS} WHERE rid {_AMONG}",  # noqa: S608
            (int(operation == "delete"), stamp, user_id, stamp, among),
        )
    if owner.name == "Account":
        _cascade(store, connection, among, operation, user_id)
    if owner.setup:
        store.forget_access()


def _cascade(
    store: Store, connection: sqlite3.Connection, among: str, operation: str, user_id: str
) -> None:
    stamp = store.clock.stamp()
    gone = int(operation != "undelete")
    connection.execute(
        f"UPDATE Contact SET IsDeleted = ?, {_STAMPS} WHERE IsDeleted = ? AND AccountId IN "  # noqa: S608
        f"(SELECT Id FROM Account WHERE rid {_AMONG})",
        (gone, stamp, user_id, stamp, 1 - gone, among),
    )


# --- merge ---------------------------------------------------------------------------------------


def merge(
    store: Store, object_name: str, master_id: str, loser_ids: Sequence[str], user_id: str
) -> None:
    """Merge up to two records into a third: losers are deleted, their children re-parented."""
    owner = store.object(object_name)
    if not owner.mergeable or not 1 <= len(loser_ids) <= _LOSERS_MAX:
        raise SalesforceError(400, "INVALID_OPERATION", f"cannot merge these into a {owner.name}")
    master = _alive(store, owner, master_id)
    losers = [_alive(store, owner, one) for one in loser_ids]
    stamp = store.clock.stamp()
    table = quoted(owner.name)
    with store.write() as connection:
        among = json.dumps(losers)
        connection.execute(
            f"UPDATE {table} SET IsDeleted = 1, MasterRecordId = ?, {_STAMPS} "  # noqa: S608
            f"WHERE Id {_AMONG}",
            (master, stamp, user_id, stamp, among),
        )
        connection.execute(
            f"UPDATE {table} SET {_STAMPS} WHERE Id = ?",  # noqa: S608
            (stamp, user_id, stamp, master),
        )
        for child, lookup, _ in owner.child_relationships:
            if lookup == "MasterRecordId" or lookup.startswith("Converted"):
                continue
            connection.execute(
                f"UPDATE {quoted(child)} SET {quoted(lookup)} = ?, {_STAMPS} "  # noqa: S608
                f"WHERE {quoted(lookup)} {_AMONG}",
                (master, stamp, user_id, stamp, among),
            )


def _alive(store: Store, owner: SObject, record_id: str) -> str:
    try:
        one = ids.normalise(record_id)
    except ValueError:
        raise SalesforceError(400, "MALFORMED_ID", f"malformed id {record_id}") from None
    deleted = "IsDeleted" if owner.has_deleted else "0"
    row = (
        store.read()
        .execute(f"SELECT {deleted} FROM {quoted(owner.name)} WHERE Id = ?", (one,))  # noqa: S608
        .fetchone()
    )
    if row is None:
        raise SalesforceError(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    if row[0]:
        raise SalesforceError(400, "ENTITY_IS_DELETED", "entity is deleted")
    return one


# --- lead conversion -----------------------------------------------------------------------------

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


def convert_lead(
    store: Store,
    lead_id: str,
    *,
    user_id: str,
    create_opportunity: bool,
    account_id: str | None,
    contact_id: str | None,
) -> dict[str, str | None]:
    """Convert a lead; custom fields are not mapped, so scores stay behind (API notes 6.2)."""
    lead = store.object("Lead")
    one = _alive(store, lead, lead_id)
    columns = sorted({*_TO_ACCOUNT.values(), *_TO_CONTACT.values(), "IsConverted"})
    with store.write() as connection:
        row = connection.execute(
            f"SELECT {', '.join(columns)} FROM Lead WHERE Id = ?",  # noqa: S608
            (one,),
        ).fetchone()
        values: dict[str, Json] = dict(zip(columns, row, strict=True))
        if values["IsConverted"]:
            raise SalesforceError(
                400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead"
            )
        account_id = account_id or _made(store, "Account", _mapped(values, _TO_ACCOUNT), user_id)
        contact_id = contact_id or _made(
            store, "Contact", _mapped(values, _TO_CONTACT) | {"AccountId": account_id}, user_id
        )
        opportunity_id = None
        if create_opportunity:
            opportunity: dict[str, Json] = {
                "Name": f"{values['Company']}-",
                "AccountId": account_id,
                "StageName": "Prospecting",
                "CloseDate": store.clock.stamp()[:10],
            }
            opportunity_id = _made(store, "Opportunity", opportunity, user_id)
        stamp = store.clock.stamp()
        connection.execute(
            "UPDATE Lead SET IsConverted = 1, Status = ?, ConvertedDate = ?, "  # noqa: S608
            "ConvertedAccountId = ?, ConvertedContactId = ?, ConvertedOpportunityId = ?, "
            f"{_STAMPS} WHERE Id = ?",
            (
                _CONVERTED_STATUS,
                stamp[:10],
                account_id,
                contact_id,
                opportunity_id,
                stamp,
                user_id,
                stamp,
                one,
            ),
        )
    return {
        "leadId": one,
        "accountId": account_id,
        "contactId": contact_id,
        "opportunityId": opportunity_id,
    }


def _mapped(values: Mapping[str, Json], mapping: Mapping[str, str]) -> dict[str, Json]:
    return {to: values[source] for to, source in mapping.items() if values[source] is not None}


def _made(store: Store, object_name: str, values: dict[str, Json], user_id: str) -> str:
    (result,) = store.save_records("insert", object_name, [values], user_id=user_id)
    if not result.success:
        error = result.errors[0]
        raise SalesforceError(400, error.code, error.message, error.fields)
    return result.id


# --- person accounts -----------------------------------------------------------------------------


def person_pairs(store: Store) -> dict[str, str]:
    """Give the account's fields and the contact's that mirror them, custom ones (``__pc``) too."""
    pairs = dict(PERSON_FIELDS)
    account = store.object("Account")
    for entry in store.object("Contact").fields.values():
        if entry.custom and not entry.calculated:
            mirror = entry.name.removesuffix("__c") + "__pc"
            if account.field(mirror) is not None:
                pairs[mirror] = entry.name
    return pairs


def make_contacts(
    store: Store, connection: sqlite3.Connection, rids: list[int], stamp: str, user_id: str
) -> None:
    """Give new accounts with a last name their hidden contact, and their name."""
    rows = connection.execute(
        f"SELECT rid, Id, OwnerId FROM Account WHERE LastName IS NOT NULL AND rid {_AMONG}",  # noqa: S608
        (json.dumps(rids),),
    ).fetchall()
    if not rows:
        return
    contact = store.object("Contact")
    first = store.database.next_serial(contact.key_prefix, len(rows))
    for serial, (rid, account_id, owner_id) in enumerate(rows, first):
        contact_id = ids.make_id(contact.key_prefix, serial)
        connection.execute(
            "INSERT INTO Contact (rid, Id, AccountId, IsPersonAccount, LastName, OwnerId, "
            "CreatedDate, CreatedById, LastModifiedDate, LastModifiedById, SystemModstamp) "
            "VALUES (?, ?, ?, 1, '-', ?, ?, ?, ?, ?, ?)",
            (serial, contact_id, account_id, owner_id, stamp, user_id, stamp, user_id, stamp),
        )
        connection.execute(
            "UPDATE Account SET IsPersonAccount = 1, PersonContactId = ? WHERE rid = ?",
            (contact_id, rid),
        )
    mirror_people(store, connection, "Account", rids, stamp, user_id)


def mirror_people(
    store: Store,
    connection: sqlite3.Connection,
    saved: str,
    rids: list[int],
    stamp: str,
    user_id: str,
) -> None:
    """Carry a save of a person account over to its contact, or the other way round."""
    among = json.dumps(rids)
    pairs = person_pairs(store)
    if saved == "Account":
        sets = ", ".join(f"{quoted(to)} = a.{quoted(source)}" for source, to in pairs.items())
        connection.execute(
            f"UPDATE Contact SET {sets}, {_STAMPS} FROM Account AS a "  # noqa: S608
            f"WHERE Contact.Id = a.PersonContactId AND a.IsPersonAccount = 1 AND a.rid {_AMONG}",
            (stamp, user_id, stamp, among),
        )
    else:
        sets = ", ".join(f"{quoted(to)} = c.{quoted(source)}" for to, source in pairs.items())
        connection.execute(
            f"UPDATE Account SET {sets}, {_STAMPS} FROM Contact AS c "  # noqa: S608
            f"WHERE Account.PersonContactId = c.Id AND c.IsPersonAccount = 1 AND c.rid {_AMONG}",
            (stamp, user_id, stamp, among),
        )
    connection.execute(
        "UPDATE Account SET Name = trim(coalesce(FirstName || ' ', '') || LastName) "
        "WHERE IsPersonAccount = 1 AND (rid IN (SELECT value FROM json_each(?)) OR "
        "PersonContactId IN (SELECT Id FROM Contact WHERE rid IN "
        "(SELECT value FROM json_each(?))))",
        (among if saved == "Account" else "[]", among if saved == "Contact" else "[]"),
    )
