"""Who may do what: objects and fields, per user.

Rights come from permission sets (kept as records, so the API can read and write them), and from
overrides set over the control endpoint. Standard fields are visible to all; a custom field made
through the API is visible to nobody until it is granted (API notes 6.2).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from .schema import Field, Schema, SObject


@dataclass(frozen=True, slots=True)
class ObjectRights:
    """What a user may do with an object's records."""

    read: bool = False
    create: bool = False
    edit: bool = False
    delete: bool = False
    view_all: bool = False
    modify_all: bool = False

    def __or__(self, other: ObjectRights) -> ObjectRights:
        """Add the rights of another permission set."""
        return ObjectRights(
            self.read or other.read,
            self.create or other.create,
            self.edit or other.edit,
            self.delete or other.delete,
            self.view_all or other.view_all,
            self.modify_all or other.modify_all,
        )


NO_RIGHTS = ObjectRights()
READ_ONLY = ObjectRights(read=True)
FULL_RIGHTS = ObjectRights(True, True, True, True, True, True)


@dataclass(frozen=True)
class Access:
    """One user's rights, as they were when this was made; the store makes a new one on changes."""

    user_id: str
    is_admin: bool
    objects: dict[str, ObjectRights] = field(default_factory=dict)
    fields: dict[tuple[str, str], tuple[bool, bool]] = field(default_factory=dict)
    overrides: dict[tuple[str, str], tuple[bool, bool]] = field(default_factory=dict)
    person_accounts: bool = False
    multi_currency: bool = False

    def object_rights(self, entry: SObject) -> ObjectRights:
        """Give the rights on an object; setup objects are written by admins alone."""
        if entry.name in self.objects:
            return self.objects[entry.name]
        if entry.setup:
            return FULL_RIGHTS if self.is_admin else READ_ONLY
        return NO_RIGHTS

    def exists(self, entry: Field) -> bool:
        """Tell whether the field exists at all, given the features that are turned on."""
        if entry.when == "person_accounts":
            return self.person_accounts
        if entry.when == "multi_currency":
            return self.multi_currency
        return True

    def _rights(self, owner: SObject, entry: Field) -> tuple[bool, bool]:
        key = (owner.name, entry.name)
        # Field-level security does not know these fields; object rights alone count.
        if entry.is_system or owner.setup:
            return True, True
        if key in self.overrides:
            return self.overrides[key]
        if entry.custom:
            return self.fields.get(key, (False, False))
        return True, True

    def readable(self, owner: SObject, entry: Field) -> bool:
        """Tell whether the user sees the field (in describe, SOQL and Bulk alike)."""
        return self.exists(entry) and self._rights(owner, entry)[0]

    def createable(self, owner: SObject, entry: Field) -> bool:
        """Tell whether the user may give the field a value in a new record."""
        return entry.createable and self._editable(owner, entry, self.object_rights(owner).create)

    def updateable(self, owner: SObject, entry: Field) -> bool:
        """Tell whether the user may change the field of an existing record."""
        return entry.updateable and self._editable(owner, entry, self.object_rights(owner).edit)

    def _editable(self, owner: SObject, entry: Field, on_object: bool) -> bool:
        return on_object and self.exists(entry) and self._rights(owner, entry) == (True, True)

    def field_of(self, owner: SObject, name: str) -> Field | None:
        """Find a field by name, if the user can see it."""
        entry = owner.field(name)
        return entry if entry is not None and self.readable(owner, entry) else None


_OBJECT_COLUMNS = (
    "PermissionsRead, PermissionsCreate, PermissionsEdit, PermissionsDelete, "
    "PermissionsViewAllRecords, PermissionsModifyAllRecords"
)


def read_access(
    connection: sqlite3.Connection,
    schema: Schema,
    user_id: str,
    *,
    is_admin: bool,
    person_accounts: bool,
    multi_currency: bool,
) -> Access:
    """Work out a user's rights from the permission sets and overrides in the data file."""
    objects: dict[str, ObjectRights] = {}
    assigned = "SELECT PermissionSetId FROM PermissionSetAssignment WHERE AssigneeId = ?"

    for name, *rights in connection.execute(
        f"SELECT SobjectType, {_OBJECT_COLUMNS} FROM ObjectPermissions "  # noqa: S608
        f"WHERE ParentId IN ({assigned})",
        (user_id,),
    ):
        entry = schema.find(name)
        if entry is not None:
            granted = ObjectRights(*map(bool, rights))
            objects[entry.name] = objects.get(entry.name, NO_RIGHTS) | granted

    fields = _field_grants(connection, schema, assigned, user_id)
    overrides: dict[tuple[str, str], tuple[bool, bool]] = {}
    for name, target, read, edit, *rest in connection.execute(
        "SELECT object, field, read, edit, can_create, can_delete FROM _overrides WHERE user_id = ?",
        (user_id,),
    ):
        # An override without a field is one of the object: it replaces what the sets grant.
        if target:
            overrides[name, target] = (bool(read), bool(edit))
        else:
            objects[name] = ObjectRights(bool(read), bool(rest[0]), bool(edit), bool(rest[1]))

    return Access(user_id, is_admin, objects, fields, overrides, person_accounts, multi_currency)


def _field_grants(
    connection: sqlite3.Connection, schema: Schema, assigned: str, user_id: str
) -> dict[tuple[str, str], tuple[bool, bool]]:
    fields: dict[tuple[str, str], tuple[bool, bool]] = {}
    for full_name, read, edit in connection.execute(
        f"SELECT Field, PermissionsRead, PermissionsEdit FROM FieldPermissions "  # noqa: S608
        f"WHERE ParentId IN ({assigned})",
        (user_id,),
    ):
        name, _, target = full_name.partition(".")
        owner = schema.find(name)
        entry = owner.field(target) if owner else None
        if owner is None or entry is None:
            continue

        # Sets only add: one that grants a field wins over one that does not.
        before = fields.get((owner.name, entry.name), (False, False))
        fields[owner.name, entry.name] = (before[0] or bool(read), before[1] or bool(edit))
    return fields
