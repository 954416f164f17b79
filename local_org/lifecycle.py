"""What becomes of records beside plain saves: deletion and merge (API notes 4.4).

Lead conversion makes new records, so it stands above saving, in ``conversion``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from . import ids
from .data_file import DataFile
from .database import quote
from .errors import SalesforceError
from .schema import SObject

_AMONG: Final = "IN (SELECT value FROM json_each(?))"
STAMPS: Final = "LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ?"
_LOSERS_MAX: Final = 2


# --- delete and undelete -------------------------------------------------------------------------


def remove_rows(
    data: DataFile,
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
    table = quote(owner.name)
    stamp = data.clock.stamp()
    if operation == "hardDelete" or not owner.has_deleted:
        connection.execute(f"DELETE FROM {table} WHERE rid {_AMONG}", (among,))  # noqa: S608
    else:
        connection.execute(
            f"UPDATE {table} SET IsDeleted = ?, {STAMPS} WHERE rid {_AMONG}",  # noqa: S608
            (int(operation == "delete"), stamp, user_id, stamp, among),
        )

    if owner.name == "Account":
        _cascade(data, connection, among, operation, user_id)


def _cascade(
    data: DataFile, connection: sqlite3.Connection, among: str, operation: str, user_id: str
) -> None:
    stamp = data.clock.stamp()
    deleted = int(operation != "undelete")
    connection.execute(
        f"UPDATE Contact SET IsDeleted = ?, {STAMPS} WHERE IsDeleted = ? AND AccountId IN "  # noqa: S608
        f"(SELECT Id FROM Account WHERE rid {_AMONG})",
        (deleted, stamp, user_id, stamp, 1 - deleted, among),
    )


# --- merge ---------------------------------------------------------------------------------------


def merge(
    data: DataFile, object_name: str, master_id: str, loser_ids: Sequence[str], *, user_id: str
) -> None:
    """Merge up to two records into a third: losers are deleted, their children re-parented."""
    owner = data.object(object_name)
    if not owner.mergeable or not 1 <= len(loser_ids) <= _LOSERS_MAX:
        raise SalesforceError(400, "INVALID_OPERATION", f"cannot merge these into a {owner.name}")
    master = require_alive(data, owner, master_id)
    losers = json.dumps([require_alive(data, owner, loser_id) for loser_id in loser_ids])

    stamp = data.clock.stamp()
    table = quote(owner.name)
    with data.write() as connection:
        connection.execute(
            f"UPDATE {table} SET IsDeleted = 1, MasterRecordId = ?, {STAMPS} "  # noqa: S608
            f"WHERE Id {_AMONG}",
            (master, stamp, user_id, stamp, losers),
        )
        connection.execute(
            f"UPDATE {table} SET {STAMPS} WHERE Id = ?",  # noqa: S608
            (stamp, user_id, stamp, master),
        )

        for child, reference, _ in owner.child_relationships:
            # These say what became of a record; a merge does not rewrite history.
            if reference == "MasterRecordId" or reference.startswith("Converted"):
                continue
            connection.execute(
                f"UPDATE {quote(child)} SET {quote(reference)} = ?, {STAMPS} "  # noqa: S608
                f"WHERE {quote(reference)} {_AMONG}",
                (master, stamp, user_id, stamp, losers),
            )


def require_alive(data: DataFile, owner: SObject, record_id: str) -> str:
    """Give the 18-character id of a record that is there and not deleted, or refuse it."""
    try:
        normal_id = ids.normalise(record_id)
    except ValueError:
        raise SalesforceError(400, "MALFORMED_ID", f"malformed id {record_id}") from None

    deleted = "IsDeleted" if owner.has_deleted else "0"
    statement = f"SELECT {deleted} FROM {quote(owner.name)} WHERE Id = ?"  # noqa: S608
    row = data.read().execute(statement, (normal_id,)).fetchone()
    if row is None:
        raise SalesforceError(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    if row[0]:
        raise SalesforceError(400, "ENTITY_IS_DELETED", "entity is deleted")
    return normal_id
