"""Reading rows for a save: the cells of an ingest file, the values of JSON records.

REST and Bulk share all of saving but this. An empty cell of a CSV file leaves its field alone. A
value of the wrong type fails its row, and in JSON the whole request if an option says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .chunks import UNSET, Cell, Chunk, is_value
from .data_file import DataFile
from .database import quote
from .errors import RowError, SalesforceError
from .permissions import Access
from .refusals import invalid_batch, not_writable
from .schema import Field, SObject
from .values import (
    CLEAR,
    BadValue,
    Converter,
    Json,
    WrongType,
    converter,
    deserialize_error,
    json_text,
    parser_message,
)

# --- CSV -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _CsvColumn:
    place: int
    field: Field
    convert: Converter
    link: tuple[SObject, Field] | None = None


class CsvRows:
    """The columns of an ingest file, and how their cells are read."""

    def __init__(
        self,
        data: DataFile,
        owner: SObject,
        access: Access,
        columns: Sequence[str],
        *,
        insert: bool,
    ) -> None:
        """Match the header with the fields that the user sees.

        Raises:
            SalesforceError: InvalidBatch, which fails the job.
        """
        self._data = data
        self._base = data.options.deserialize_column_base
        self.id_place = -1
        self.columns: list[_CsvColumn] = []
        self.refusal: RowError | None = None

        writable = access.createable if insert else access.updateable
        seen: set[str] = set()
        for place, name in enumerate(columns):
            column = self._column(owner, access, place, name)
            if column.field.name in seen:
                raise invalid_batch(f"Duplicate field name found : {name}")
            seen.add(column.field.name)

            if column.field.name == "Id":
                self.id_place = place
                continue
            # The header is right, so the job runs: each of its rows fails with this error.
            if not writable(owner, column.field) and self.refusal is None:
                self.refusal = not_writable(column.field)
            self.columns.append(column)

    def _column(self, owner: SObject, access: Access, place: int, name: str) -> _CsvColumn:
        if "." in name:
            return self._parent_column(owner, access, place, name)

        entry = access.field_of(owner, name)
        exact = self._data.options.csv_header_case == "exact"
        if entry is None or (exact and entry.name != name):
            raise invalid_batch(f"Field name not found : {name}")
        return _CsvColumn(place, entry, converter(entry, self._data.options, csv=True))

    def _parent_column(self, owner: SObject, access: Access, place: int, name: str) -> _CsvColumn:
        """Read a header like ``Account.Key__c``: the parent is named by its external id."""
        relation, _, key = name.partition(".")
        link = owner.relation(relation)
        target = self._data.schema.find(link.reference_to[0]) if link else None
        entry = access.field_of(target, key) if target else None
        if link is None or target is None or entry is None or not entry.id_lookup:
            raise invalid_batch(f"Field name not found : {name}")

        convert = converter(entry, self._data.options, csv=True)
        return _CsvColumn(place, link, convert, (target, entry))

    def chunk(self, rows: Sequence[Sequence[str]]) -> Chunk:
        """Read the cells of some rows."""
        cells = list(zip(*rows, strict=True))
        errors: list[RowError | None] = [self.refusal] * len(rows)

        columns = []
        for column in self.columns:
            values = self._read(column, cells[column.place], errors)
            if column.link is not None:
                values = resolve_links(self._data, column.link, values, errors)
            columns.append(values)

        record_ids = list(cells[self.id_place]) if self.id_place >= 0 else [""] * len(rows)
        return Chunk([column.field for column in self.columns], columns, record_ids, errors)

    def _read(
        self, column: _CsvColumn, raw: Sequence[str], errors: list[RowError | None]
    ) -> list[Cell]:
        # Nearly every column has no bad value: one try for all of it costs far less than one each.
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


# --- JSON ----------------------------------------------------------------------------------------


def json_chunk(
    data: DataFile,
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
    reader = _JsonReader(data, owner, access, insert=insert)
    for place, record in enumerate(records):
        reader.add(place, record)
    return reader.chunk(len(records))


class _JsonReader:
    """Collects the records' values by field: each record may name other fields."""

    def __init__(self, data: DataFile, owner: SObject, access: Access, *, insert: bool) -> None:
        self._data = data
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
                self._add_parent(place, name, value)
            else:
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
            convert = converter(entry, self._data.options, csv=False)
            self._converters[entry.name] = convert
        try:
            cells[place] = convert(json_text(entry, value))
        except BadValue as error:
            self._errors.setdefault(place, error.error)
        except WrongType:
            self._refuse_type(place, entry, value)

    def _refuse_type(self, place: int, entry: Field, value: Json) -> None:
        if self._data.options.json_wrong_type == "request":
            raise SalesforceError(400, "JSON_PARSER_ERROR", parser_message(entry, value))

        text = value if isinstance(value, str) else json.dumps(value)
        self._errors.setdefault(
            place,
            RowError(
                "INVALID_TYPE_ON_FIELD_IN_RECORD",
                f"{entry.label}: value not of required type: {text}",
                (entry.name,),
            ),
        )

    def _add_parent(self, place: int, name: str, value: Json) -> None:
        """Read a nested record like ``"Account": {"Key__c": "7"}``: a parent by external id."""
        link, target, entry, raw = self._parent(name, value)
        if not self._writable(self._owner, link):
            self._errors.setdefault(place, not_writable(link))
            return

        self._fields.setdefault(link.name, link)
        self._cells.setdefault(link.name, {})
        try:
            key: Cell = converter(entry, self._data.options, csv=False)(json_text(entry, raw))
        except BadValue as error:
            self._errors.setdefault(place, error.error)
            return
        except WrongType:
            self._refuse_type(place, entry, raw)
            return

        self._links.setdefault(link.name, (target, entry, {}))[2][place] = key

    def _parent(self, name: str, value: Json) -> tuple[Field, SObject, Field, Json]:
        link = self._owner.relation(name)
        target = self._data.schema.find(link.reference_to[0]) if link else None
        keys = [key for key in value if key != "attributes"] if isinstance(value, dict) else []
        entry = self._access.field_of(target, keys[0]) if target and len(keys) == 1 else None

        if link is None or target is None or entry is None or not entry.id_lookup:
            raise SalesforceError(
                400,
                "INVALID_FIELD",
                f"No such column '{name}' on sobject of type {self._owner.name}",
            )
        return link, target, entry, value[keys[0]] if isinstance(value, dict) else None

    def chunk(self, size: int) -> Chunk:
        errors: list[RowError | None] = [self._errors.get(place) for place in range(size)]

        for name, (target, entry, cells) in self._links.items():
            values = [cells.get(place, UNSET) for place in range(size)]
            parents = resolve_links(self._data, (target, entry), values, errors)
            self._cells[name].update(
                (place, value) for place, value in enumerate(parents) if value is not UNSET
            )

        columns = [
            [self._cells.get(name, {}).get(place, UNSET) for place in range(size)]
            for name in self._fields
        ]
        record_ids = [self._ids.get(place, "") for place in range(size)]
        return Chunk(list(self._fields.values()), columns, record_ids, errors)


# --- parents by external id ----------------------------------------------------------------------


def resolve_links(
    data: DataFile,
    link: tuple[SObject, Field],
    values: Sequence[Cell],
    errors: list[RowError | None],
) -> list[Cell]:
    """Turn external ids of parents into the parents' ids."""
    target, entry = link
    matches = _parents(data, target, entry, {str(v).casefold() for v in values if is_value(v)})

    resolved: list[Cell] = []
    for place, value in enumerate(values):
        if not is_value(value):
            resolved.append(value)
            continue

        parents = matches.get(str(value).casefold(), [])
        resolved.append(parents[0] if len(parents) == 1 else UNSET)
        if len(parents) != 1 and errors[place] is None:
            errors[place] = RowError(
                "INVALID_FIELD",
                f"Foreign key external ID: {value} not found for field {entry.name} in entity "
                f"{target.name}",
            )
    return resolved


def _parents(data: DataFile, target: SObject, entry: Field, keys: set[str]) -> dict[str, list[str]]:
    name = quote(entry.name)
    statement = (
        f"SELECT fold(CAST({name} AS TEXT)), Id FROM {quote(target.name)} "  # noqa: S608
        f"WHERE fold(CAST({name} AS TEXT)) IN (SELECT value FROM json_each(?))"
        + (" AND IsDeleted = 0" if target.has_deleted else "")
    )

    matches: dict[str, list[str]] = {}
    for key, record_id in data.read().execute(statement, (json.dumps(sorted(keys)),)):
        matches.setdefault(key, []).append(record_id)
    return matches
