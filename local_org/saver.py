"""Writing chunks: insert, update, upsert, delete, with what hangs on a save.

A chunk is written by columns, for speed. Every chunk has one stamp and one transaction (API
notes 3.3, 4.1). What may be written is decided in ``row_checks``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from . import ids, lifecycle, people, permission_records
from .chunks import UNSET, Cell, Chunk, Operation, RowResult, Unset, fold, is_value
from .database import quote
from .errors import RowError
from .parts import Parts
from .permissions import Access
from .refusals import invalid_batch
from .row_checks import RowChecks
from .schema import Field, SObject
from .values import Stored

RowWriter: TypeAlias = Callable[[sqlite3.Connection, Chunk, list[int], str], list[int]]
"""Writes the rows at some places of a chunk under a stamp; gives their rids."""


class Saver:
    """Writes the chunks of one call or one job."""

    def __init__(self, parts: Parts, owner: SObject, access: Access) -> None:
        """Prepare for one object and user."""
        self._parts = parts
        self._data = parts.data
        self._options = parts.options
        self._owner = owner
        self._access = access
        self._table = quote(owner.name)
        self._checks = RowChecks(parts, owner, access)

    def save(
        self, operation: Operation, chunk: Chunk, external: Field | None = None
    ) -> list[RowResult]:
        """Write a chunk in one transaction under one stamp; gives the results in row order."""
        if message := self._parts.obstacles.take_failure(self._owner.name):
            failure = RowError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)
            chunk.errors = [error or failure for error in chunk.errors]
            return chunk.results()

        self._data.late.settle()
        with self._data.write() as connection:
            if operation == "insert":
                self._insert(connection, chunk)
            elif operation == "upsert":
                return self._upsert(connection, chunk, external)
            elif operation == "update":
                self._update(connection, chunk)
            else:
                self._remove(connection, chunk, operation)
        return chunk.results()

    # --- insert ----------------------------------------------------------------------------------

    def _insert(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        self._checks.check_required(chunk, inserting=True)
        self._checks.check_references(connection, chunk)
        self._checks.check_unique(connection, chunk)
        self._before_insert(connection, chunk)

        places = chunk.live()
        # Said of the failed rows too; results() asks it of the successful ones alone.
        chunk.created = [True] * chunk.size
        if places:
            self._write(connection, chunk, places, self._insert_rows)

    def _before_insert(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        name = self._owner.name
        if name in permission_records.PERMISSION_OBJECTS:
            permission_records.check_permissions(self._data, self._owner, chunk)
        elif name == "PermissionSet":
            permission_records.check_permission_sets(connection, chunk)
        elif name == "Account" and self._options.person_accounts:
            people.name_people(self._owner, chunk)

    def _insert_rows(
        self, connection: sqlite3.Connection, chunk: Chunk, places: list[int], stamp: str
    ) -> list[int]:
        first = self._data.database.next_serial(self._owner.key_prefix, len(places))
        new_ids = ids.IdMaker(self._owner.key_prefix).ids(first, len(places))
        rids = list(range(first, first + len(places)))

        columns: dict[str, list[Stored]] = {}
        for entry, column in zip(chunk.fields, chunk.columns, strict=True):
            default = self._default(entry)
            columns[entry.name] = [_value_or(column[place], default) for place in places]
        constants = self._constants(set(columns), stamp)

        names = ["rid", "Id", *columns, *constants]
        tail = tuple(constants.values())
        rows = zip(rids, new_ids, *columns.values(), strict=True)
        connection.executemany(
            f"INSERT INTO {self._table} ({', '.join(map(quote, names))}) "  # noqa: S608
            f"VALUES ({', '.join('?' * len(names))})",
            (row + tail for row in rows),
        )

        for place, record_id in zip(places, new_ids, strict=True):
            chunk.ids[place] = record_id
        return rids

    def _constants(self, given: set[str], stamp: str) -> dict[str, Stored]:
        """Give the values that are the same in all new rows: defaults, stamps, the user."""
        constants = {
            entry.name: self._default(entry)
            for entry in self._owner.fields.values()
            if entry.is_stored and entry.name not in given and entry.defaulted_on_create
        }
        constants |= {"CreatedDate": stamp, "LastModifiedDate": stamp, "SystemModstamp": stamp}
        user_id = self._access.user_id
        constants |= {"CreatedById": user_id, "LastModifiedById": user_id}

        return {
            name: value
            for name, value in constants.items()
            if self._owner.field(name) and value is not None and name != "Id"
        }

    def _default(self, entry: Field) -> Stored:
        if entry.name == "OwnerId":
            return self._access.user_id
        if entry.type == "boolean":
            return int(bool(entry.default_value))
        value = entry.default_value
        return value if isinstance(value, str | int | float) else None

    # --- update ----------------------------------------------------------------------------------

    def _update(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        self._checks.check_ids(chunk)
        self._checks.check_updatable(connection, chunk)
        self._checks.check_required(chunk, inserting=False)
        self._checks.check_references(connection, chunk)
        self._checks.check_unique(connection, chunk)
        if self._owner.name == "Account" and self._options.person_accounts:
            people.refuse_name_changes(connection, chunk)

        places = chunk.live()
        if not self._options.no_change_update_moves_stamp:
            places = self._places_that_change(connection, chunk, places)
        if places:
            self._write(connection, chunk, places, self._update_rows)

    def _places_that_change(
        self, connection: sqlite3.Connection, chunk: Chunk, places: list[int]
    ) -> list[int]:
        names = ", ".join(quote(entry.name) for entry in chunk.fields) or "NULL"
        place_of = {ids.serial_of(chunk.ids[place]): place for place in places}

        changing = []
        for rid, *stored in connection.execute(
            f"SELECT rid, {names} FROM {self._table} "  # noqa: S608
            "WHERE rid IN (SELECT value FROM json_each(?))",
            (json.dumps(list(place_of)),),
        ):
            place = place_of[rid]
            cells = [column[place] for column in chunk.columns]
            # Not strict: without fields the one stored value is the NULL that stands in for them.
            if any(
                cell is not UNSET and cell != old for cell, old in zip(cells, stored, strict=False)
            ):
                changing.append(place)
        return sorted(changing)

    def _update_rows(
        self, connection: sqlite3.Connection, chunk: Chunk, places: list[int], stamp: str
    ) -> list[int]:
        rids = [ids.serial_of(chunk.ids[place]) for place in places]
        stamps: dict[str, Stored] = {
            "LastModifiedDate": stamp,
            "LastModifiedById": self._access.user_id,
            "SystemModstamp": stamp,
        }

        for mask, group in _by_fields_set(chunk, places):
            names = [chunk.fields[index].name for index in mask]
            sets = ", ".join(f"{quote(name)} = ?" for name in (*names, *stamps))
            columns = [[chunk.columns[index][places[at]] for at in group] for index in mask]
            keys = [rids[at] for at in group]
            # Rows that set nothing are still touched: an empty update moves the stamp.
            cells = zip(*columns, strict=True) if columns else (() for _ in keys)
            connection.executemany(
                f"UPDATE {self._table} SET {sets} WHERE rid = ?",  # noqa: S608
                ((*row, *stamps.values(), rid) for row, rid in zip(cells, keys, strict=True)),
            )
        return rids

    # --- upsert ----------------------------------------------------------------------------------

    def _upsert(
        self, connection: sqlite3.Connection, chunk: Chunk, external: Field | None
    ) -> list[RowResult]:
        matches: list[str | None]
        if external is None or external.name == "Id":
            matches = [record_id or None for record_id in chunk.ids]
        else:
            matches = self._match(connection, chunk, external)

        results: list[RowResult | None] = [
            None if error is None else RowResult("", False, False, (error,))
            for error in chunk.errors
        ]
        # New rows first. Each half has its own checks, on a chunk of its own.
        for inserting in (True, False):
            places = [place for place in chunk.live() if (matches[place] is None) == inserting]
            part = chunk.pick(places)
            part.ids = ["" if inserting else str(matches[place]) for place in places]
            if inserting:
                self._insert(connection, part)
            else:
                self._update(connection, part)
            for place, result in zip(places, part.results(), strict=True):
                results[place] = result
        return [result for result in results if result is not None]

    def _match(
        self, connection: sqlite3.Connection, chunk: Chunk, external: Field
    ) -> list[str | None]:
        """Give the record that each row's external id names, None where there is none."""
        at = next((i for i, entry in enumerate(chunk.fields) if entry.name == external.name), None)
        if at is None:
            raise invalid_batch(f"External ID Field does not exist : {external.name}")
        column = chunk.columns[at]
        holders = self._holders(connection, external, column)

        matches: list[str | None] = []
        for place, cell in enumerate(column):
            if not is_value(cell) and chunk.errors[place] is None:
                chunk.errors[place] = RowError("MISSING_ARGUMENT", f"{external.name} not specified")
            same = holders.get(fold(cell), [])
            if len(same) > 1 and chunk.errors[place] is None:
                chunk.errors[place] = RowError(
                    "DUPLICATE_EXTERNAL_ID",
                    f"{external.name}: more than one record found for external id field: "
                    f"[{', '.join(same)}]",
                )
            matches.append(same[0] if same else None)
        return matches

    def _holders(
        self, connection: sqlite3.Connection, external: Field, column: Sequence[Cell]
    ) -> dict[str, list[str]]:
        alive = " AND IsDeleted = 0" if self._owner.has_deleted else ""
        name = quote(external.name)
        collation = "" if external.case_sensitive else " COLLATE NOCASE"

        holders: dict[str, list[str]] = {}
        for value, record_id in connection.execute(
            f"SELECT {name}, Id FROM {self._table} WHERE {name}{collation} "  # noqa: S608
            f"IN (SELECT value FROM json_each(?)){alive}",
            (json.dumps([cell for cell in column if is_value(cell)]),),
        ):
            holders.setdefault(fold(value), []).append(record_id)
        return holders

    # --- delete and undelete ---------------------------------------------------------------------

    def _remove(self, connection: sqlite3.Connection, chunk: Chunk, operation: Operation) -> None:
        self._checks.check_ids(chunk)
        self._checks.check_removable(connection, chunk, operation)

        rids = [ids.serial_of(chunk.ids[place]) for place in chunk.live()]
        lifecycle.remove_rows(
            self._data, connection, self._owner, rids, operation, self._access.user_id
        )
        if rids and self._owner.setup:
            self._parts.rights.forget()

    # --- around a write: flows, rules, late commits ----------------------------------------------

    def _write(
        self, connection: sqlite3.Connection, chunk: Chunk, places: list[int], write: RowWriter
    ) -> None:
        stamp = self._data.clock.stamp()
        delay = self._parts.obstacles.take_delay(self._owner.name)
        automation = self._parts.automation.of(self._owner)
        if not automation and delay is None:
            rids = write(connection, chunk, places, stamp)
            self._after_save(connection, rids, stamp)
            return

        # When a rule refuses rows, the chunk is rolled back and the other rows are saved again,
        # flows included, until none is refused.
        while places:
            connection.execute("SAVEPOINT chunk")
            rids = write(connection, chunk, places, stamp)
            refused = automation.apply(connection, rids) if automation else {}
            if not refused:
                self._after_save(connection, rids, stamp)
                if delay is not None:
                    self._data.late.postpone(connection, self._owner, rids, delay)
                else:
                    connection.execute("RELEASE chunk")
                return

            connection.execute("ROLLBACK TO chunk")
            connection.execute("RELEASE chunk")
            place_of = dict(zip(rids, places, strict=True))
            for rid, error in refused.items():
                chunk.errors[place_of[rid]] = error
                if chunk.created:
                    chunk.ids[place_of[rid]] = ""
            places = [place_of[rid] for rid in rids if rid not in refused]

    def _after_save(self, connection: sqlite3.Connection, rids: list[int], stamp: str) -> None:
        """Do what hangs on a save: people mirrored, parents' stamps, rights worked out anew."""
        if self._owner.setup:
            self._parts.rights.forget()
        if self._owner.name not in {"Account", "Contact"} or not rids:
            return

        if self._options.person_accounts:
            admin_id = self._parts.users.admin.id
            people.mirror_save(self._data, connection, self._owner, rids, stamp, admin_id)
        if self._options.rollup_moves_parent_stamp and self._owner.name == "Contact":
            connection.execute(
                "UPDATE Account SET SystemModstamp = ? WHERE Id IN (SELECT AccountId FROM Contact "
                "WHERE rid IN (SELECT value FROM json_each(?)))",
                (stamp, json.dumps(rids)),
            )


def _by_fields_set(
    chunk: Chunk, places: list[int]
) -> Iterable[tuple[tuple[int, ...], Sequence[int]]]:
    """Put rows together that set the same fields: one statement serves each group."""
    every = tuple(range(len(chunk.columns)))
    if not any(UNSET in column for column in chunk.columns):
        return [(every, range(len(places)))]

    groups: dict[tuple[int, ...], list[int]] = {}
    for at, place in enumerate(places):
        mask = tuple(index for index in every if chunk.columns[index][place] is not UNSET)
        groups.setdefault(mask, []).append(at)
    return list(groups.items())


def _value_or(cell: Cell, default: Stored) -> Stored:
    return default if isinstance(cell, Unset) else cell
