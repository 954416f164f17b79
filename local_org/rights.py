"""Users' rights as the data file has them: read, granted, and overridden from outside.

What a set of rights means is in ``permissions``; the checks on permission records that come over
the API are in ``permission_records``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from .data_file import DataFile
from .errors import SalesforceError, not_found
from .permissions import Access, read_access
from .schema import Field, SObject

_OWN_SET: Final = "Local_Org_Fields"


class Rights:
    """Who may do what, kept until something changes."""

    def __init__(self, data: DataFile) -> None:
        """Start with nothing worked out."""
        self._data = data
        self._known: dict[tuple[str, bool, bool], Access] = {}

    def access(self, user_id: str) -> Access:
        """Give a user's rights as they are now.

        Raises:
            KeyError: there is no such user.
        """
        options = self._data.options
        # Both options decide which fields exist, and may be switched while the org runs.
        key = (user_id, options.person_accounts, options.multi_currency)
        known = self._known.get(key)
        if known is not None:
            return known

        connection = self._data.read()
        access = read_access(
            connection,
            self._data.schema,
            user_id,
            is_admin=_is_admin(connection, user_id),
            person_accounts=options.person_accounts,
            multi_currency=options.multi_currency,
        )
        self._known[key] = access
        return access

    def forget(self) -> None:
        """Work rights out anew when they are next asked for."""
        self._known.clear()

    def visible(self, object_name: str, user_id: str) -> tuple[SObject, Access]:
        """Find an object that the user may read, or raise 404 NOT_FOUND."""
        owner = self._data.object(object_name)
        access = self.access(user_id)
        if not access.object_rights(owner).read:
            raise not_found()
        return owner, access

    def set_object_permission(
        self,
        user_id: str,
        object_name: str,
        *,
        read: bool = True,
        create: bool = True,
        edit: bool = True,
        delete: bool = False,
        clear: bool = False,
    ) -> None:
        """Override what the permission sets allow a user on an object; ``clear`` ends it."""
        name = self._data.object(object_name).name

        with self._data.write() as connection:
            connection.execute(
                "DELETE FROM _overrides WHERE user_id = ? AND object = ? AND field = ''",
                (user_id, name),
            )
            if not clear:
                connection.execute(
                    "INSERT INTO _overrides VALUES (?, ?, '', ?, ?, ?, ?)",
                    (user_id, name, int(read), int(edit), int(create), int(delete)),
                )

        self.forget()

    def set_field_permission(
        self,
        user_id: str,
        object_name: str,
        field_name: str,
        *,
        read: bool,
        edit: bool,
        clear: bool = False,
    ) -> None:
        """Override what the permission sets allow a user on a field; ``clear`` ends it."""
        owner, entry = self._data.field(object_name, field_name)

        with self._data.write() as connection:
            connection.execute(
                "DELETE FROM _overrides WHERE user_id = ? AND object = ? AND field = ?",
                (user_id, owner.name, entry.name),
            )
            if not clear:
                connection.execute(
                    "INSERT INTO _overrides (user_id, object, field, read, edit) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (user_id, owner.name, entry.name, int(read), int(edit and read)),
                )

        self.forget()

    def grant_fields(
        self, object_name: str, names: Sequence[str], user_ids: Sequence[str], *, edit: bool = True
    ) -> None:
        """Let users see and write fields, through a permission set of the org's own."""
        owner = self._data.object(object_name)

        with self._data.write() as connection:
            parent = self._own_set(connection)
            self._assign(connection, parent, user_ids)
            for name in names:
                entry = owner.required_field(name)
                if not entry.is_system:
                    self._grant(parent, owner, entry, edit=edit)

        self.forget()

    def _own_set(self, connection: sqlite3.Connection) -> str:
        row = connection.execute(
            "SELECT Id FROM PermissionSet WHERE Name = ?", (_OWN_SET,)
        ).fetchone()
        if row:
            return str(row[0])
        return self._data.insert(
            "PermissionSet", {"Name": _OWN_SET, "Label": "Local org fields", "IsCustom": 1}
        )

    def _assign(self, connection: sqlite3.Connection, parent: str, user_ids: Sequence[str]) -> None:
        assigned = {
            user_id
            for (user_id,) in connection.execute(
                "SELECT AssigneeId FROM PermissionSetAssignment WHERE PermissionSetId = ?",
                (parent,),
            )
        }

        for user_id in user_ids:
            if user_id not in assigned:
                self._data.insert(
                    "PermissionSetAssignment", {"PermissionSetId": parent, "AssigneeId": user_id}
                )

    def _grant(self, parent: str, owner: SObject, entry: Field, *, edit: bool) -> None:
        self._data.insert(
            "FieldPermissions",
            {
                "ParentId": parent,
                "SobjectType": owner.name,
                "Field": f"{owner.name}.{entry.name}",
                "PermissionsRead": 1,
                "PermissionsEdit": int(edit and not entry.calculated),
            },
        )


def find_external_id(owner: SObject, access: Access, name: str | None) -> Field | None:
    """Find the field that an upsert or a read by external id names; None where none is named.

    Raises:
        SalesforceError: 400 INVALID_FIELD, for a field that is no external id.
    """
    if name is None:
        return None

    entry = access.field_of(owner, name)
    if entry is None or not (entry.external_id or entry.name == "Id"):
        raise SalesforceError(
            400,
            "INVALID_FIELD",
            f"Field name provided, {name} is not an External ID or indexed field",
        )
    return entry


def _is_admin(connection: sqlite3.Connection, user_id: str) -> bool:
    row = connection.execute(
        "SELECT is_admin FROM _logins WHERE user_id = ?", (user_id,)
    ).fetchone()
    if row is None:
        raise KeyError(user_id)
    return bool(row[0])
