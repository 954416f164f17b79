"""Saving rows: reading their values, checking them, writing them in chunks of 200.

REST and Bulk share all of it; they differ in how a value is read (``CsvRows``, ``JsonRows``).
A chunk is worked off by columns, for speed; every chunk has one stamp and one transaction
(API notes 3.3, 4.1).
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from . import ids
from .database import quoted
from .errors import RowError, SalesforceError
from .schema import Field, SObject
from .values import (
    CLEAR,
    BadValue,
    Converter,
    Json,
    Stored,
    WrongType,
    converter,
    deserialize_error,
    json_text,
    parser_message,
)

if TYPE_CHECKING:
    from .permissions import Access
    from .store import Store

Operation: TypeAlias = Literal["insert", "update", "upsert", "delete", "hardDelete", "undelete"]


class RowResult(NamedTuple):
    """What became of one row."""

    id: str
    created: bool
    success: bool
    errors: tuple[RowError, ...] = ()


class _Unset:
    """The value of a cell that leaves its field alone."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()
Cell: TypeAlias = "Stored | _Unset"
NO_ID: Final = "MISSING_ARGUMENT"
DELETED: Final = RowError("ENTITY_IS_DELETED", "entity is deleted")
UNKNOWN_ID: Final = RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
CONVERTED: Final = RowError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
ROLLED_BACK: Final = RowError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone "
    "header",
)


@dataclass
class Chunk:
    """Rows on their way into the file, by columns."""

    fields: list[Field]
    columns: list[list[Cell]]
    ids: list[str]
    errors: list[RowError | None]
    created: list[bool] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Give the number of rows."""
        return len(self.ids)

    def live(self) -> list[int]:
        """Give the places of the rows that have not failed yet."""
        return [place for place, error in enumerate(self.errors) if error is None]

    def pick(self, places: list[int]) -> Chunk:
        """Take some rows out into a chunk of their own."""
        return Chunk(
            self.fields,
            [[column[place] for place in places] for column in self.columns],
            [self.ids[place] for place in places],
            [self.errors[place] for place in places],
        )

    def results(self) -> list[RowResult]:
        """Say what became of each row."""
        created = self.created or [False] * self.size
        return [
            RowResult(one, made, True) if error is None else RowResult(one, False, False, (error,))
            for one, made, error in zip(self.ids, created, self.errors, strict=True)
        ]


def not_writable(entry: Field) -> RowError:
    """Word the refusal of a field that the user cannot write."""
    return RowError(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        f"Unable to create/update fields: {entry.name}. Please check the security settings of "
        "this field and verify that it is read/write for your profile or permission set.",
        (entry.name,),
    )


# --- reading CSV ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _CsvColumn:
    place: int
    field: Field
    convert: Converter
    link: tuple[SObject, Field] | None = None


class CsvRows:
    """The columns of an ingest file, and how their cells are read."""

    def __init__(
        self, store: Store, owner: SObject, access: Access, columns: Sequence[str], *, insert: bool
    ) -> None:
        """Match the header with the fields that the user sees.

        Raises:
            SalesforceError: InvalidBatch, which fails the job.
        """
        self._store = store
        self._base = store.options.deserialize_column_base
        self.id_place = -1
        self.columns: list[_CsvColumn] = []
        self.refusal: RowError | None = None
        exact = store.options.csv_header_case == "exact"
        seen: set[str] = set()
        for place, name in enumerate(columns):
            column = self._column(owner, access, place, name, exact=exact)
            if column.field.name in seen:
                raise invalid_batch(f"Duplicate field name found : {name}")
            seen.add(column.field.name)
            if column.field.name == "Id":
                self.id_place = place
                continue
            writable = access.createable if insert else access.updateable
            if not writable(owner, column.field) and self.refusal is None:
                self.refusal = not_writable(column.field)
            self.columns.append(column)

    def _column(
        self, owner: SObject, access: Access, place: int, name: str, *, exact: bool
    ) -> _CsvColumn:
        if "." in name:
            return self._linked(owner, access, place, name)
        entry = access.field_of(owner, name)
        if entry is None or (exact and entry.name != name):
            raise invalid_batch(f"Field name not found : {name}")
        return _CsvColumn(place, entry, converter(entry, self._store.options, csv=True))

    def _linked(self, owner: SObject, access: Access, place: int, name: str) -> _CsvColumn:
        relation, _, key = name.partition(".")
        link = owner.relation(relation)
        target = self._store.schema.find(link.reference_to[0]) if link else None
        entry = access.field_of(target, key) if target else None
        if link is None or target is None or entry is None or not entry.id_lookup:
            raise invalid_batch(f"Field name not found : {name}")
        convert = converter(entry, self._store.options, csv=True)
        return _CsvColumn(place, link, convert, (target, entry))

    def chunk(self, rows: Sequence[Sequence[str]]) -> Chunk:
        """Read the cells of some rows."""
        cells = list(zip(*rows, strict=True))
        errors: list[RowError | None] = [self.refusal] * len(rows)
        read = []
        for column in self.columns:
            values = self._read(column, cells[column.place], errors)
            if column.link is not None:
                values = resolve_links(self._store, column.link, values, errors)
            read.append(values)
        found = list(cells[self.id_place]) if self.id_place >= 0 else [""] * len(rows)
        return Chunk([column.field for column in self.columns], read, found, errors)

    def _read(
        self, column: _CsvColumn, raw: Sequence[str], errors: list[RowError | None]
    ) -> list[Cell]:
        convert = column.convert
        try:
            return [
                UNSET if text == "" else None if text == CLEAR else convert(text) for text in raw
            ]
        except (BadValue, WrongType):
            pass
        values: list[Cell] = []
        for place, text in enumerate(raw):
            try:
                values.append(UNSET if text == "" else None if text == CLEAR else convert(text))
            except BadValue as error:
                values.append(UNSET)
                errors[place] = errors[place] or error.error
            except WrongType:
                values.append(UNSET)
                number = column.place + self._base
                errors[place] = errors[place] or deserialize_error(column.field, text, number)
        return values


def invalid_batch(message: str) -> SalesforceError:
    """Build the error that fails a whole ingest job."""
    return SalesforceError(400, "InvalidBatch", f"InvalidBatch : {message}")


# --- reading JSON --------------------------------------------------------------------------------


def json_chunk(
    store: Store,
    owner: SObject,
    access: Access,
    records: Sequence[Mapping[str, Json]],
    *,
    insert: bool,
) -> Chunk:
    """Read the values of some JSON records.

    Raises:
        SalesforceError: a field is not there, or (option ``json_wrong_type``) has the wrong type.
    """
    reader = _JsonReader(store, owner, access, insert=insert)
    for place, record in enumerate(records):
        reader.add(place, record)
    return reader.chunk(len(records))


class _JsonReader:
    def __init__(self, store: Store, owner: SObject, access: Access, *, insert: bool) -> None:
        self._store = store
        self._owner = owner
        self._access = access
        self._writable = access.createable if insert else access.updateable
        self._fields: dict[str, Field] = {}
        self._converters: dict[str, Converter] = {}
        self._cells: dict[str, dict[int, Cell]] = {}
        self._ids: dict[int, str] = {}
        self._errors: dict[int, RowError] = {}
        self._links: dict[str, tuple[SObject, Field, dict[int, Cell]]] = {}

    def add(self, place: int, record: Mapping[str, Json]) -> None:
        for name, value in record.items():
            if name.lower() == "attributes":
                continue
            if name.lower() == "id":
                self._ids[place] = str(value or "")
                continue
            entry = self._access.field_of(self._owner, name)
            if entry is None:
                self._nested(place, name, value)
                continue
            self._add_value(place, entry, value)

    def _add_value(self, place: int, entry: Field, value: Json) -> None:
        self._fields.setdefault(entry.name, entry)
        if not self._writable(self._owner, entry):
            self._errors.setdefault(place, not_writable(entry))
            return
        cells = self._cells.setdefault(entry.name, {})
        if value is None:
            cells[place] = None
            return
        convert = self._converters.get(entry.name)
        if convert is None:
            convert = converter(entry, self._store.options, csv=False)
            self._converters[entry.name] = convert
        try:
            cells[place] = convert(json_text(entry, value))
        except BadValue as error:
            self._errors.setdefault(place, error.error)
        except WrongType:
            self._wrong_type(place, entry, value)

    def _wrong_type(self, place: int, entry: Field, value: Json) -> None:
        if self._store.options.json_wrong_type == "request":
            raise SalesforceError(400, "JSON_PARSER_ERROR", parser_message(entry, value))
        shown = value if isinstance(value, str) else json.dumps(value)
        self._errors.setdefault(
            place,
            RowError(
                "INVALID_TYPE_ON_FIELD_IN_RECORD",
                f"{entry.label}: value not of required type: {shown}",
                (entry.name,),
            ),
        )

    def _nested(self, place: int, name: str, value: Json) -> None:
        link = self._owner.relation(name)
        target = self._store.schema.find(link.reference_to[0]) if link else None
        keys = [key for key in value if key != "attributes"] if isinstance(value, dict) else []
        entry = self._access.field_of(target, keys[0]) if target and len(keys) == 1 else None
        if link is None or target is None or entry is None or not entry.id_lookup:
            raise SalesforceError(
                400,
                "INVALID_FIELD",
                f"No such column '{name}' on sobject of type {self._owner.name}",
            )
        if not self._writable(self._owner, link):
            self._errors.setdefault(place, not_writable(link))
            return
        raw = value[keys[0]] if isinstance(value, dict) else None
        self._fields.setdefault(link.name, link)
        self._cells.setdefault(link.name, {})
        try:
            read: Cell = converter(entry, self._store.options, csv=False)(json_text(entry, raw))
        except BadValue as error:
            self._errors.setdefault(place, error.error)
            return
        except WrongType:
            self._wrong_type(place, entry, raw)
            return
        self._links.setdefault(link.name, (target, entry, {}))[2][place] = read

    def chunk(self, size: int) -> Chunk:
        errors: list[RowError | None] = [self._errors.get(place) for place in range(size)]
        for name, (target, entry, cells) in self._links.items():
            values = [cells.get(place, UNSET) for place in range(size)]
            found = resolve_links(self._store, (target, entry), values, errors)
            self._cells[name].update(
                (place, value) for place, value in enumerate(found) if value is not UNSET
            )
        columns = [
            [self._cells.get(name, {}).get(place, UNSET) for place in range(size)]
            for name in self._fields
        ]
        found_ids = [self._ids.get(place, "") for place in range(size)]
        return Chunk(list(self._fields.values()), columns, found_ids, errors)


def resolve_links(
    store: Store,
    link: tuple[SObject, Field],
    values: Sequence[Cell],
    errors: list[RowError | None],
) -> list[Cell]:
    """Turn external ids of parents into the parents' ids."""
    target, entry = link
    wanted = {str(value).casefold() for value in values if value is not None and value is not UNSET}
    name = quoted(entry.name)
    found: dict[str, list[str]] = {}
    for key, one in store.read().execute(
        f"SELECT fold(CAST({name} AS TEXT)), Id FROM {quoted(target.name)} "  # noqa: S608
        f"WHERE fold(CAST({name} AS TEXT)) IN (SELECT value FROM json_each(?))"
        + (" AND IsDeleted = 0" if target.has_deleted else ""),
        (json.dumps(sorted(wanted)),),
    ):
        found.setdefault(key, []).append(one)
    resolved: list[Cell] = []
    for place, value in enumerate(values):
        if value is None or value is UNSET:
            resolved.append(value)
            continue
        matches = found.get(str(value).casefold(), [])
        resolved.append(matches[0] if len(matches) == 1 else UNSET)
        if len(matches) != 1 and errors[place] is None:
            errors[place] = RowError(
                "INVALID_FIELD",
                f"Foreign key external ID: {value} not found for field {entry.name} in entity "
                f"{target.name}",
            )
    return resolved


# --- writing chunks ------------------------------------------------------------------------------


class Saver:
    """Writes the chunks of one call or one job."""

    def __init__(self, store: Store, owner: SObject, access: Access) -> None:
        """Prepare for one object and user."""
        self._store = store
        self._options = store.options
        self._owner = owner
        self._access = access
        self._table = quoted(owner.name)
        self._required = [
            entry
            for entry in owner.fields.values()
            if entry.is_required and access.exists(entry) and entry.sql is None
        ]

    def save(
        self, operation: Operation, chunk: Chunk, external: Field | None = None
    ) -> list[RowResult]:
        """Write a chunk in one transaction under one stamp; gives the results in row order."""
        if message := self._store.failing_chunk(self._owner.name):
            chunk.errors = [
                error or RowError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)
                for error in chunk.errors
            ]
            return chunk.results()
        self._store.settle()
        with self._store.write() as connection:
            if operation == "insert":
                self._insert(connection, chunk)
            elif operation == "upsert":
                return self._upsert(connection, chunk, external)
            elif operation == "update":
                self._update(connection, chunk)
            else:
                self._remove(connection, chunk, operation)
        return chunk.results()

    # --- insert

    def _insert(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        self._check_required(chunk, inserting=True)
        self._check_references(connection, chunk)
        self._check_unique(connection, chunk)
        self._store.before_insert(connection, self._owner, chunk)
        places = chunk.live()
        chunk.created = [True] * chunk.size
        if not places:
            return
        self._guarded(connection, chunk, places, self._insert_rows)

    def _insert_rows(
        self, connection: sqlite3.Connection, chunk: Chunk, places: list[int], stamp: str
    ) -> list[int]:
        first = self._store.database.next_serial(self._owner.key_prefix, len(places))
        made = ids.IdMaker(self._owner.key_prefix).ids(first, len(places))
        user = self._access.user_id
        names = [entry.name for entry in chunk.fields]
        filled: dict[str, list[Stored]] = {}
        for entry, column in zip(chunk.fields, chunk.columns, strict=True):
            default = self._default(entry)
            filled[entry.name] = [_stored(column[place], default) for place in places]
        constants = {
            entry.name: self._default(entry)
            for entry in self._owner.fields.values()
            if entry.is_stored and entry.name not in names and entry.defaulted_on_create
        }
        constants |= {"CreatedDate": stamp, "LastModifiedDate": stamp, "SystemModstamp": stamp}
        constants |= {"CreatedById": user, "LastModifiedById": user}
        constants = {
            name: value
            for name, value in constants.items()
            if self._owner.field(name) and value is not None and name != "Id"
        }
        listed = ["rid", "Id", *filled, *constants]
        statement = (
            f"INSERT INTO {self._table} ({', '.join(map(quoted, listed))}) "  # noqa: S608
            f"VALUES ({', '.join('?' * (2 + len(filled)))}"
            + "".join(", ?" for _ in constants)
            + ")"
        )
        tail = tuple(constants.values())
        rids = list(range(first, first + len(places)))
        columns = (rids, made, *filled.values())
        connection.executemany(statement, (row + tail for row in zip(*columns, strict=True)))
        for place, one in zip(places, made, strict=True):
            chunk.ids[place] = one
        return rids

    def _default(self, entry: Field) -> Stored:
        if entry.name == "OwnerId":
            return self._access.user_id
        if entry.type == "boolean":
            return int(bool(entry.default_value))
        value = entry.default_value
        return value if isinstance(value, str | int | float) else None

    def _check_required(self, chunk: Chunk, *, inserting: bool) -> None:
        present = {
            entry.name: column for entry, column in zip(chunk.fields, chunk.columns, strict=True)
        }
        never_null = [
            entry for entry in chunk.fields if not entry.nillable and entry.type != "boolean"
        ]
        required = self._store.required_fields(self._owner, chunk, self._required)
        for place in chunk.live():
            missing = []
            if inserting:
                missing = [
                    entry.name
                    for entry in required
                    if entry.name not in present or present[entry.name][place] in {UNSET, None}
                ]
            for entry in never_null:
                if present[entry.name][place] is not None or entry.name in missing:
                    continue
                if self._passes_over_null(entry, inserting=inserting):
                    present[entry.name][place] = UNSET
                else:
                    missing.append(entry.name)
            if missing:
                chunk.errors[place] = RowError(
                    "REQUIRED_FIELD_MISSING",
                    f"Required fields are missing: [{', '.join(missing)}]",
                    tuple(missing),
                )
        self._check_null_checkboxes(chunk)

    def _passes_over_null(self, entry: Field, *, inserting: bool) -> bool:
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

    def _check_references(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        for entry, column in zip(chunk.fields, chunk.columns, strict=True):
            if entry.type != "reference":
                continue
            wanted = {str(cell) for cell in column if cell is not None and cell is not UNSET}
            if not wanted:
                continue
            known = self._existing(connection, entry, wanted)
            for place, cell in enumerate(column):
                if cell is None or cell is UNSET or cell in known or chunk.errors[place]:
                    continue
                target = self._store.schema.by_prefix(str(cell)[:3])
                fits = target is not None and target.name in entry.reference_to
                chunk.errors[place] = (
                    UNKNOWN_ID
                    if fits
                    else RowError(
                        "FIELD_INTEGRITY_EXCEPTION",
                        f"{entry.label}: id value of incorrect type: {cell}",
                        (entry.name,),
                    )
                )

    def _existing(self, connection: sqlite3.Connection, entry: Field, wanted: set[str]) -> set[str]:
        known: set[str] = set()
        for name in entry.reference_to:
            target = self._store.schema.find(name)
            if target is None:
                continue
            alive = " AND IsDeleted = 0" if target.has_deleted else ""
            known.update(
                one
                for (one,) in connection.execute(
                    f"SELECT Id FROM {quoted(target.name)} "  # noqa: S608
                    f"WHERE Id IN (SELECT value FROM json_each(?)){alive}",
                    (json.dumps(list(wanted)),),
                )
            )
        return known

    def _check_unique(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        for entry, column in zip(chunk.fields, chunk.columns, strict=True):
            if not entry.unique:
                continue
            fold = str if entry.case_sensitive else _folded
            taken = self._holders(connection, entry, column, fold)
            for place in chunk.live():
                cell = column[place]
                if cell is None or cell is UNSET:
                    continue
                holder = taken.setdefault(fold(cell), chunk.ids[place] or f"row {place}")
                if holder != (chunk.ids[place] or f"row {place}"):
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
        fold: Callable[[object], str],
    ) -> dict[str, str]:
        name = quoted(entry.name)
        collation = "" if entry.case_sensitive else " COLLATE NOCASE"
        wanted = [cell for cell in column if cell is not None and cell is not UNSET]
        return {
            fold(value): one
            for value, one in connection.execute(
                f"SELECT {name}, Id FROM {self._table} WHERE {name}{collation} "  # noqa: S608
                "IN (SELECT value FROM json_each(?))",
                (json.dumps(wanted),),
            )
        }

    # --- update

    def _update(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        self._read_ids(chunk)
        self._check_states(connection, chunk)
        self._check_required(chunk, inserting=False)
        self._check_references(connection, chunk)
        self._check_unique(connection, chunk)
        self._store.before_update(connection, self._owner, chunk)
        places = chunk.live()
        if not self._options.no_change_update_moves_stamp:
            places = self._changing(connection, chunk, places)
        if places:
            self._guarded(connection, chunk, places, self._update_rows)

    def _read_ids(self, chunk: Chunk) -> None:
        """Check the ids' form and object, and refuse those that come twice."""
        prefix = self._owner.key_prefix
        first_place: dict[str, int] = {}
        both = self._options.duplicate_id_fails == "all"
        for place, text in enumerate(chunk.ids):
            error = chunk.errors[place]
            if not text:
                chunk.errors[place] = error or RowError(NO_ID, "Id not specified in an update call")
                continue
            try:
                one = ids.normalise(text.strip())
            except ValueError:
                one = ""
            if not one or not one.startswith(prefix):
                code = "INVALID_CROSS_REFERENCE_KEY" if one else "MALFORMED_ID"
                chunk.errors[place] = error or RowError(
                    code, f"{self._owner.label} ID: id value of incorrect type: {text}", ("Id",)
                )
                continue
            chunk.ids[place] = one
            before = first_place.setdefault(one, place)
            if before != place:
                repeated = RowError("DUPLICATE_VALUE", f"Duplicate id specified: {one}", ("Id",))
                chunk.errors[place] = error or repeated
                if both:
                    chunk.errors[before] = chunk.errors[before] or repeated

    def _states(self, connection: sqlite3.Connection, chunk: Chunk) -> dict[str, tuple[bool, bool]]:
        deleted = "IsDeleted" if self._owner.has_deleted else "0"
        converted = "IsConverted" if self._owner.field("IsConverted") else "0"
        wanted = [ids.serial_of(chunk.ids[place]) for place in chunk.live()]
        return {
            one: (bool(gone), bool(done))
            for one, gone, done in connection.execute(
                f"SELECT Id, {deleted}, {converted} FROM {self._table} "  # noqa: S608
                "WHERE rid IN (SELECT value FROM json_each(?))",
                (json.dumps(wanted),),
            )
        }

    def _check_states(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        states = self._states(connection, chunk)
        may_edit = self._access.object_rights(self._owner).edit
        converted_ok = self._options.edit_converted_leads
        obstacles = self._store.obstacles(chunk.ids)
        for place in chunk.live():
            one = chunk.ids[place]
            state = states.get(one)
            if state is None:
                chunk.errors[place] = UNKNOWN_ID
            elif state[0]:
                chunk.errors[place] = DELETED
            elif state[1] and not converted_ok:
                chunk.errors[place] = CONVERTED
            elif not may_edit:
                chunk.errors[place] = no_access()
            elif one in obstacles:
                chunk.errors[place] = obstacles[one]
        if self._options.lock_probability:
            self._lock_some(chunk)
        if self._options.lock_whole_chunk:
            self._spread_locks(chunk)

    def _lock_some(self, chunk: Chunk) -> None:
        chance: random.Random = self._store.chance
        for place in chunk.live():
            if chance.random() < self._options.lock_probability:
                chunk.errors[place] = lock_error(chunk.ids[place])

    def _spread_locks(self, chunk: Chunk) -> None:
        locked = [error for error in chunk.errors if error and error.code == "UNABLE_TO_LOCK_ROW"]
        if locked:
            chunk.errors = [error or locked[0] for error in chunk.errors]

    def _changing(
        self, connection: sqlite3.Connection, chunk: Chunk, places: list[int]
    ) -> list[int]:
        names = ", ".join(quoted(entry.name) for entry in chunk.fields) or "NULL"
        wanted = {ids.serial_of(chunk.ids[place]): place for place in places}
        changing = []
        for rid, *now in connection.execute(
            f"SELECT rid, {names} FROM {self._table} "  # noqa: S608
            "WHERE rid IN (SELECT value FROM json_each(?))",
            (json.dumps(list(wanted)),),
        ):
            place = wanted[rid]
            new = [column[place] for column in chunk.columns]
            if any(cell is not UNSET and cell != old for cell, old in zip(new, now, strict=False)):
                changing.append(place)
        return sorted(changing)

    def _update_rows(
        self, connection: sqlite3.Connection, chunk: Chunk, places: list[int], stamp: str
    ) -> list[int]:
        rids = [ids.serial_of(chunk.ids[place]) for place in places]
        tail = self._stamps(stamp)
        for mask, group in self._groups(chunk, places):
            names = [chunk.fields[index].name for index in mask]
            sets = ", ".join(f"{quoted(name)} = ?" for name in (*names, *tail))
            statement = f"UPDATE {self._table} SET {sets} WHERE rid = ?"  # noqa: S608
            end = tuple(tail.values())
            columns = [[chunk.columns[index][places[at]] for at in group] for index in mask]
            keys = [rids[at] for at in group]
            if columns:
                rows = (
                    (*row, *end, rid)
                    for row, rid in zip(zip(*columns, strict=True), keys, strict=True)
                )
                connection.executemany(statement, rows)
            else:
                connection.executemany(statement, ((*end, rid) for rid in keys))
        return rids

    def _groups(
        self, chunk: Chunk, places: list[int]
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

    def _stamps(self, stamp: str) -> dict[str, Stored]:
        return {
            "LastModifiedDate": stamp,
            "LastModifiedById": self._access.user_id,
            "SystemModstamp": stamp,
        }

    # --- what happens around a write: flows, rules, late commits

    def _guarded(
        self,
        connection: sqlite3.Connection,
        chunk: Chunk,
        places: list[int],
        write: Callable[[sqlite3.Connection, Chunk, list[int], str], list[int]],
    ) -> None:
        stamp = self._store.clock.stamp()
        late = self._store.take_late(self._owner.name)
        around = self._store.automations(self._owner)
        if not around and late is None:
            rids = write(connection, chunk, places, stamp)
            self._store.after_save(connection, self._owner, rids, stamp)
            return
        while places:
            connection.execute("SAVEPOINT chunk")
            rids = write(connection, chunk, places, stamp)
            refused = around.apply(connection, rids) if around else {}
            if not refused:
                self._store.after_save(connection, self._owner, rids, stamp)
                if late is not None:
                    self._store.postpone(connection, self._owner, rids, late)
                else:
                    connection.execute("RELEASE chunk")
                return
            connection.execute("ROLLBACK TO chunk")
            connection.execute("RELEASE chunk")
            by_rid = dict(zip(rids, places, strict=True))
            for rid, error in refused.items():
                chunk.errors[by_rid[rid]] = error
                if chunk.created:
                    chunk.ids[by_rid[rid]] = ""
            places = [by_rid[rid] for rid in rids if rid not in refused]

    # --- upsert, delete

    def _upsert(
        self, connection: sqlite3.Connection, chunk: Chunk, external: Field | None
    ) -> list[RowResult]:
        if external is None or external.name == "Id":
            found: list[str | None] = [one or None for one in chunk.ids]
        else:
            found = self._match(connection, chunk, external)
        results: list[RowResult | None] = [
            None if error is None else RowResult("", False, False, (error,))
            for error in chunk.errors
        ]
        for inserting in (True, False):
            places = [place for place in chunk.live() if (found[place] is None) == inserting]
            part = chunk.pick(places)
            part.ids = ["" if inserting else str(found[place]) for place in places]
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
        at = next((i for i, entry in enumerate(chunk.fields) if entry.name == external.name), None)
        if at is None:
            raise invalid_batch(f"External ID Field does not exist : {external.name}")
        column = chunk.columns[at]
        alive = " AND IsDeleted = 0" if self._owner.has_deleted else ""
        name = quoted(external.name)
        collation = "" if external.case_sensitive else " COLLATE NOCASE"
        held: dict[str, list[str]] = {}
        wanted = [cell for cell in column if cell is not None and cell is not UNSET]
        for value, one in connection.execute(
            f"SELECT {name}, Id FROM {self._table} WHERE {name}{collation} "  # noqa: S608
            f"IN (SELECT value FROM json_each(?)){alive}",
            (json.dumps(wanted),),
        ):
            held.setdefault(_folded(value), []).append(one)
        found: list[str | None] = []
        for place, cell in enumerate(column):
            if (cell is None or cell is UNSET) and chunk.errors[place] is None:
                chunk.errors[place] = RowError("MISSING_ARGUMENT", f"{external.name} not specified")
            matches = held.get(_folded(cell), [])
            if len(matches) > 1 and chunk.errors[place] is None:
                chunk.errors[place] = RowError(
                    "DUPLICATE_EXTERNAL_ID",
                    f"{external.name}: more than one record found for external id field: "
                    f"[{', '.join(matches)}]",
                )
            found.append(matches[0] if matches else None)
        return found

    def _remove(self, connection: sqlite3.Connection, chunk: Chunk, operation: Operation) -> None:
        self._read_ids(chunk)
        states = self._states(connection, chunk)
        rights = self._access.object_rights(self._owner)
        obstacles = self._store.obstacles(chunk.ids)
        for place in chunk.live():
            state = states.get(chunk.ids[place])
            if state is None or (operation == "undelete" and not state[0]):
                chunk.errors[place] = UNKNOWN_ID
            elif state[0] and operation == "delete":
                chunk.errors[place] = DELETED
            elif not rights.delete:
                chunk.errors[place] = no_access()
            elif chunk.ids[place] in obstacles:
                chunk.errors[place] = obstacles[chunk.ids[place]]
        rids = [ids.serial_of(chunk.ids[place]) for place in chunk.live()]
        self._store.remove_rows(connection, self._owner, rids, operation, self._access.user_id)


def no_access() -> RowError:
    """Word the refusal of a record that the user may not change."""
    return RowError("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")


def lock_error(one: str) -> RowError:
    """Word a row that another transaction holds."""
    return RowError(
        "UNABLE_TO_LOCK_ROW",
        f"unable to obtain exclusive access to this record or 1 records: {one}",
    )


def _folded(value: object) -> str:
    return str(value).casefold()


def _stored(cell: Cell, default: Stored) -> Stored:
    return default if isinstance(cell, _Unset) else cell


def in_chunks(rows: Iterable[Sequence[str]], size: int) -> Iterator[list[Sequence[str]]]:
    """Cut rows into lists of ``size``."""
    batch: list[Sequence[str]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
