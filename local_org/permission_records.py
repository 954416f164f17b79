"""Checks on permission records that come over the API (API notes 6.2).

They are rows like any other, so they pass here on their way into the file. What follows from them
is worked out in ``permissions`` and kept in ``rights``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from .chunks import UNSET, Chunk
from .data_file import DataFile
from .errors import RowError
from .schema import SObject

PERMISSION_OBJECTS: Final = frozenset({"FieldPermissions", "ObjectPermissions"})
_NEED_READ: Final = ("Edit", "Create", "Delete", "ViewAllRecords", "ModifyAllRecords")


def check_permission_sets(connection: sqlite3.Connection, chunk: Chunk) -> None:
    """Refuse new permission sets whose name is in use, also earlier in the same chunk."""
    names = [entry.name for entry in chunk.fields]
    in_use = {name.casefold() for (name,) in connection.execute("SELECT Name FROM PermissionSet")}

    for place in chunk.live():
        name = str(chunk.columns[names.index("Name")][place]).casefold()
        if name in in_use:
            chunk.errors[place] = RowError(
                "DUPLICATE_DEVELOPER_NAME",
                "The permission set API name you entered is already in use. Enter a unique name.",
                ("Name",),
            )
        in_use.add(name)


def check_permissions(data: DataFile, owner: SObject, chunk: Chunk) -> None:
    """Refuse new field and object permissions that make no sense or are there already."""
    for place in chunk.live():
        row = {
            entry.name: column[place]
            for entry, column in zip(chunk.fields, chunk.columns, strict=True)
            if column[place] is not UNSET
        }
        chunk.errors[place] = _problem(data, owner, row)


def _problem(data: DataFile, owner: SObject, row: Mapping[str, Any]) -> RowError | None:
    target = data.schema.find(str(row.get("SobjectType")))
    if target is None or target.setup:
        return _bad_choice("SObject Type Name", row.get("SobjectType"), "SobjectType")

    subject = target.label
    if owner.name == "FieldPermissions":
        full_name = str(row.get("Field"))
        entry = target.field(full_name.partition(".")[2])
        if entry is None or entry.is_system or not full_name.startswith(f"{target.name}."):
            return _bad_choice("Field Name", full_name, "Field")
        subject = entry.label
        if row.get("PermissionsEdit") and entry.calculated:
            return RowError("FIELD_INTEGRITY_EXCEPTION", f"Field {full_name} cannot be edited")

    needs_read = any(row.get(f"Permissions{kind}") for kind in _NEED_READ)
    if needs_read and not row.get("PermissionsRead"):
        return RowError(
            "FIELD_INTEGRITY_EXCEPTION",
            f"Permission Edit {subject} depends on permission(s): Read {subject}",
        )
    return _duplicate(data, owner, row)


def _duplicate(data: DataFile, owner: SObject, row: Mapping[str, Any]) -> RowError | None:
    key = "Field" if owner.name == "FieldPermissions" else "SobjectType"
    same = (
        data.database.read()
        .execute(
            f"SELECT Id FROM {owner.name} WHERE ParentId = ? AND {key} = ?",  # noqa: S608
            (row.get("ParentId"), row.get(key)),
        )
        .fetchone()
    )

    if same is None:
        return None
    return RowError(
        "DUPLICATE_VALUE",
        f"duplicate value found: <unknown> duplicates value on record with id: {same[0]}",
    )


def _bad_choice(label: str, value: object, field: str) -> RowError:
    return RowError(
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        f"{label}: bad value for restricted picklist field: {value}",
        (field,),
    )
