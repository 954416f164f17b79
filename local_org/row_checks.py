"""The checks that rows pass before they are written; a row that fails one keeps the first error.

Order and words are Salesforce's (API notes 2.5 and 3.2). Each check reads what it needs for the
whole chunk in one statement.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence

from . import ids, people
from .chunks import UNSET, Cell, Chunk, Operation, fold, is_value
from .database import quote
from .errors import RowError
from .parts import Parts
from .permissions import Access
from .refusals import CONVERTED, DELETED, NO_ID, UNKNOWN_ID, lock_error, no_access
from .schema import Field, SObject


class RowChecks:
    """The checks of one object's rows, for one user."""

    def __init__(self, parts: Parts, owner: SObject, access: Access) -> None:
        """Prepare for one object and user."""
        self._parts = parts
        self._data = parts.data
        self._options = parts.options
        self._owner = owner
        self._access = access
        self._table = quote(owner.name)
        self._required = [
            entry
            for entry in owner.fields.values()
            if entry.is_required and access.exists(entry) and entry.sql is None
        ]

    # --- values ----------------------------------------------------------------------------------

    def check_required(self, chunk: Chunk, *, inserting: bool) -> None:
        """Refuse rows without a value that is required; null checkboxes become false."""
        columns = {
            entry.name: column for entry, column in zip(chunk.fields, chunk.columns, strict=True)
        }
        never_null = [
            entry for entry in chunk.fields if not entry.nillable and entry.type != "boolean"
        ]
        required = self._required_for(chunk) if inserting else []

        for place in chunk.live():
            missing = [
                entry.name
                for entry in required
                if entry.name not in columns or not is_value(columns[entry.name][place])
            ]
            for entry in never_null:
                if columns[entry.name][place] is not None or entry.name in missing:
                    continue
                if self._ignores_null(entry, inserting=inserting):
                    columns[entry.name][place] = UNSET
                else:
                    missing.append(entry.name)
            if missing:
                chunk.errors[place] = RowError(
                    "REQUIRED_FIELD_MISSING",
                    f"Required fields are missing: [{', '.join(missing)}]",
                    tuple(missing),
                )

        self._check_null_checkboxes(chunk)

    def _required_for(self, chunk: Chunk) -> list[Field]:
        if self._owner.name == "Account" and self._options.person_accounts:
            return people.required_for(chunk, self._required)
        return self._required

    def _ignores_null(self, entry: Field, *, inserting: bool) -> bool:
        if inserting:
            return entry.defaulted_on_create
        return self._options.required_null == "ignore"

    def _check_null_checkboxes(self, chunk: Chunk) -> None:
        for entry, column in zip(chunk.fields, chunk.columns, strict=True):
            if entry.type != "boolean" or None not in column:
                continue

            for place, cell in enumerate(column):
                if cell is not None:
                    continue
                column[place] = 0
                if self._options.checkbox_null == "error" and chunk.errors[place] is None:
                    chunk.errors[place] = RowError(
                        "INVALID_TYPE_ON_FIELD_IN_RECORD",
                        f"{entry.label}: value not of required type: null",
                        (entry.name,),
                    )

    def check_references(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        """Refuse rows that point to a record that is not there, or to one of a wrong object."""
        for entry, column in zip(chunk.fields, chunk.columns, strict=True):
            if entry.type != "reference":
                continue
            wanted = {str(cell) for cell in column if is_value(cell)}
            if not wanted:
                continue

            known = self._existing(connection, entry, wanted)
            for place, cell in enumerate(column):
                if is_value(cell) and cell not in known and not chunk.errors[place]:
                    chunk.errors[place] = self._reference_error(entry, str(cell))

    def _reference_error(self, entry: Field, record_id: str) -> RowError:
        target = self._data.schema.by_prefix(record_id[:3])
        if target is not None and target.name in entry.reference_to:
            return UNKNOWN_ID
        return RowError(
            "FIELD_INTEGRITY_EXCEPTION",
            f"{entry.label}: id value of incorrect type: {record_id}",
            (entry.name,),
        )

    def _existing(self, connection: sqlite3.Connection, entry: Field, wanted: set[str]) -> set[str]:
        known: set[str] = set()
        for name in entry.reference_to:
            target = self._data.schema.find(name)
            if target is None:
                continue

            alive = " AND IsDeleted = 0" if target.has_deleted else ""
            known.update(
                record_id
                for (record_id,) in connection.execute(
                    f"SELECT Id FROM {quote(target.name)} "  # noqa: S608
                    f"WHERE Id IN (SELECT value FROM json_each(?)){alive}",
                    (json.dumps(list(wanted)),),
                )
            )
        return known

    def check_unique(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        """Refuse rows whose unique value another record has, or an earlier row of the chunk."""
        for entry, column in zip(chunk.fields, chunk.columns, strict=True):
            if not entry.unique:
                continue

            key_of: Callable[[object], str] = str if entry.case_sensitive else fold
            holders = self._holders(connection, entry, column, key_of)
            for place in chunk.live():
                cell = column[place]
                if not is_value(cell):
                    continue
                # A new row has no id yet: its place in the chunk stands for it.
                own = chunk.ids[place] or f"row {place}"
                holder = holders.setdefault(key_of(cell), own)
                if holder != own:
                    chunk.errors[place] = RowError(
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {entry.name} duplicates value on record with id: "
                        f"{holder[:15]}",
                    )

    def _holders(
        self,
        connection: sqlite3.Connection,
        entry: Field,
        column: Sequence[Cell],
        key_of: Callable[[object], str],
    ) -> dict[str, str]:
        name = quote(entry.name)
        collation = "" if entry.case_sensitive else " COLLATE NOCASE"
        rows = connection.execute(
            f"SELECT {name}, Id FROM {self._table} WHERE {name}{collation} "  # noqa: S608
            "IN (SELECT value FROM json_each(?))",
            (json.dumps([cell for cell in column if is_value(cell)]),),
        )
        return {key_of(value): record_id for value, record_id in rows}

    # --- records that are there ------------------------------------------------------------------

    def check_ids(self, chunk: Chunk) -> None:
        """Check the ids' form and object, and refuse those that come twice."""
        first_place: dict[str, int] = {}
        for place, text in enumerate(chunk.ids):
            error = chunk.errors[place]
            record_id = self._normal_id(text)
            if isinstance(record_id, RowError):
                chunk.errors[place] = error or record_id
                continue

            chunk.ids[place] = record_id
            before = first_place.setdefault(record_id, place)
            if before == place:
                continue
            repeated = RowError("DUPLICATE_VALUE", f"Duplicate id specified: {record_id}", ("Id",))
            chunk.errors[place] = error or repeated
            if self._options.duplicate_id_fails == "all":
                chunk.errors[before] = chunk.errors[before] or repeated

    def _normal_id(self, text: str) -> str | RowError:
        if not text:
            return RowError(NO_ID, "Id not specified in an update call")

        try:
            record_id = ids.normalise(text.strip())
        except ValueError:
            record_id = ""
        if record_id and record_id.startswith(self._owner.key_prefix):
            return record_id
        code = "INVALID_CROSS_REFERENCE_KEY" if record_id else "MALFORMED_ID"
        return RowError(
            code, f"{self._owner.label} ID: id value of incorrect type: {text}", ("Id",)
        )

    def _states(self, connection: sqlite3.Connection, chunk: Chunk) -> dict[str, tuple[bool, bool]]:
        """Say of the chunk's records that are there whether each is deleted and converted."""
        deleted = "IsDeleted" if self._owner.has_deleted else "0"
        converted = "IsConverted" if self._owner.field("IsConverted") else "0"
        wanted = [ids.serial_of(chunk.ids[place]) for place in chunk.live()]

        rows = connection.execute(
            f"SELECT Id, {deleted}, {converted} FROM {self._table} "  # noqa: S608
            "WHERE rid IN (SELECT value FROM json_each(?))",
            (json.dumps(wanted),),
        )
        return {
            record_id: (bool(is_deleted), bool(is_converted))
            for record_id, is_deleted, is_converted in rows
        }

    def check_updatable(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        """Refuse updates of records that are not there, deleted, converted, forbidden or locked."""
        states = self._states(connection, chunk)
        may_edit = self._access.object_rights(self._owner).edit
        obstacles = self._parts.obstacles.of(chunk.ids)

        for place in chunk.live():
            record_id = chunk.ids[place]
            state = states.get(record_id)
            if state is None:
                chunk.errors[place] = UNKNOWN_ID
            elif state[0]:
                chunk.errors[place] = DELETED
            elif state[1] and not self._options.edit_converted_leads:
                chunk.errors[place] = CONVERTED
            elif not may_edit:
                chunk.errors[place] = no_access()
            elif record_id in obstacles:
                chunk.errors[place] = obstacles[record_id]

        if self._options.lock_probability:
            self._lock_some(chunk)
        if self._options.lock_whole_chunk:
            _spread_locks(chunk)

    def _lock_some(self, chunk: Chunk) -> None:
        for place in chunk.live():
            if self._parts.chance.random() < self._options.lock_probability:
                chunk.errors[place] = lock_error(chunk.ids[place])

    def check_removable(
        self, connection: sqlite3.Connection, chunk: Chunk, operation: Operation
    ) -> None:
        """Refuse to delete or undelete records that are not there, forbidden or locked."""
        states = self._states(connection, chunk)
        may_delete = self._access.object_rights(self._owner).delete
        obstacles = self._parts.obstacles.of(chunk.ids)

        for place in chunk.live():
            record_id = chunk.ids[place]
            state = states.get(record_id)
            if state is None or (operation == "undelete" and not state[0]):
                chunk.errors[place] = UNKNOWN_ID
            elif state[0] and operation == "delete":
                chunk.errors[place] = DELETED
            elif not may_delete:
                chunk.errors[place] = no_access()
            elif record_id in obstacles:
                chunk.errors[place] = obstacles[record_id]


def _spread_locks(chunk: Chunk) -> None:
    """Let one locked row fail its whole chunk (option ``lock_whole_chunk``)."""
    locked = [error for error in chunk.errors if error and error.code == "UNABLE_TO_LOCK_ROW"]
    if locked:
        chunk.errors = [error or locked[0] for error in chunk.errors]
