"""Person accounts: an account and a hidden contact that are one person (API notes 8, item 23).

A save of either is carried over to the other, with its stamp. All of it runs as SQL over the rows
of a chunk, inside the chunk's transaction.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from . import ids
from .chunks import UNSET, Chunk
from .data_file import DataFile
from .database import quote
from .refusals import not_writable
from .schema import Field, SObject
from .standard import PERSON_FIELDS

# Ids travel as one JSON parameter: SQLite limits the number of parameters.
_AMONG: Final = "IN (SELECT value FROM json_each(?))"
_STAMPS: Final = "LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ?"


# --- before a save -------------------------------------------------------------------------------


def required_for(chunk: Chunk, required: list[Field]) -> list[Field]:
    """Give the fields that new accounts cannot be without; a person has a LastName for a Name."""
    names = {entry.name for entry in chunk.fields}
    if "LastName" in names and "Name" not in names:
        return [entry for entry in required if entry.name != "Name"]
    return required


def name_people(owner: SObject, chunk: Chunk) -> None:
    """Give new person accounts a Name for now: the column takes no null."""
    names = [entry.name for entry in chunk.fields]
    if "LastName" not in names or "Name" in names:
        return

    last_names = chunk.columns[names.index("LastName")]
    chunk.fields = [*chunk.fields, owner.required_field("Name")]
    chunk.columns = [*chunk.columns, list(last_names)]


def refuse_name_changes(connection: sqlite3.Connection, chunk: Chunk) -> None:
    """Refuse to set the Name of person accounts: it is their first and last name."""
    at = next((i for i, entry in enumerate(chunk.fields) if entry.name == "Name"), None)
    if at is None:
        return

    people = {
        account_id
        for (account_id,) in connection.execute(
            f"SELECT Id FROM Account WHERE IsPersonAccount = 1 AND Id {_AMONG}",  # noqa: S608
            (json.dumps(chunk.ids),),
        )
    }
    for place in chunk.live():
        if chunk.ids[place] in people and chunk.columns[at][place] is not UNSET:
            chunk.errors[place] = not_writable(chunk.fields[at])


# --- after a save --------------------------------------------------------------------------------


def mirror_save(
    data: DataFile,
    connection: sqlite3.Connection,
    owner: SObject,
    rids: list[int],
    stamp: str,
    user_id: str,
) -> None:
    """Carry a save of accounts or contacts over to the other half of each person."""
    if owner.name == "Account":
        new_people = [
            rid
            for (rid,) in connection.execute(
                "SELECT rid FROM Account WHERE PersonContactId IS NULL AND LastName IS NOT "  # noqa: S608
                f"NULL AND rid {_AMONG}",
                (json.dumps(rids),),
            )
        ]
        _make_contacts(data, connection, new_people, stamp, user_id)

    _mirror(data, connection, owner.name, rids, stamp, user_id)


def _make_contacts(
    data: DataFile, connection: sqlite3.Connection, rids: list[int], stamp: str, user_id: str
) -> None:
    """Give new person accounts their hidden contact, and their name."""
    rows = connection.execute(
        f"SELECT rid, Id, OwnerId FROM Account WHERE LastName IS NOT NULL AND rid {_AMONG}",  # noqa: S608
        (json.dumps(rids),),
    ).fetchall()
    if not rows:
        return

    contact = data.object("Contact")
    first = data.database.next_serial(contact.key_prefix, len(rows))
    for serial, (rid, account_id, owner_id) in enumerate(rows, first):
        contact_id = ids.make_id(contact.key_prefix, serial)
        # The dash stands in for the last name until the mirroring below sets the true one.
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

    _mirror(data, connection, "Account", rids, stamp, user_id)


def _mirror(
    data: DataFile,
    connection: sqlite3.Connection,
    saved: str,
    rids: list[int],
    stamp: str,
    user_id: str,
) -> None:
    among = json.dumps(rids)
    pairs = _field_pairs(data)

    if saved == "Account":
        sets = ", ".join(f"{quote(to)} = a.{quote(source)}" for source, to in pairs.items())
        connection.execute(
            f"UPDATE Contact SET {sets}, {_STAMPS} FROM Account AS a "  # noqa: S608
            f"WHERE Contact.Id = a.PersonContactId AND a.IsPersonAccount = 1 AND a.rid {_AMONG}",
            (stamp, user_id, stamp, among),
        )
    else:
        sets = ", ".join(f"{quote(to)} = c.{quote(source)}" for to, source in pairs.items())
        connection.execute(
            f"UPDATE Account SET {sets}, {_STAMPS} FROM Contact AS c "  # noqa: S608
            f"WHERE Account.PersonContactId = c.Id AND c.IsPersonAccount = 1 AND c.rid {_AMONG}",
            (stamp, user_id, stamp, among),
        )

    connection.execute(
        "UPDATE Account SET Name = trim(coalesce(FirstName || ' ', '') || LastName) "  # noqa: S608
        f"WHERE IsPersonAccount = 1 AND (rid {_AMONG} OR "
        f"PersonContactId IN (SELECT Id FROM Contact WHERE rid {_AMONG}))",
        (among if saved == "Account" else "[]", among if saved == "Contact" else "[]"),
    )


def _field_pairs(data: DataFile) -> dict[str, str]:
    """Give the account's fields and the contact's that mirror them, custom ones (``__pc``) too."""
    pairs = dict(PERSON_FIELDS)
    account = data.object("Account")

    for entry in data.object("Contact").fields.values():
        if entry.custom and not entry.calculated:
            mirror = entry.name.removesuffix("__c") + "__pc"
            if account.field(mirror) is not None:
                pairs[mirror] = entry.name
    return pairs
