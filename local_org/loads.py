"""Putting many records into a fresh org fast, past rules, flows and references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from . import ids
from .chunks import in_chunks
from .database import quote
from .parts import Parts
from .refusals import invalid_batch
from .schema import Field, SObject
from .values import BadValue, Converter, Stored, WrongType, converter

# Rows written in one transaction.
_ROWS_AT_ONCE: Final = 5000
_STAMPS: Final = ("CreatedDate", "LastModifiedDate", "SystemModstamp")
_LOADABLE: Final = frozenset(
    {
        "CreatedDate",
        "CreatedById",
        "LastModifiedDate",
        "LastModifiedById",
        "SystemModstamp",
        "IsDeleted",
        "MasterRecordId",
        "IsConverted",
        "ConvertedDate",
        "ConvertedAccountId",
        "ConvertedContactId",
        "ConvertedOpportunityId",
        "LastActivityDate",
        "LastViewedDate",
        "LastReferencedDate",
        "EmailBouncedReason",
        "EmailBouncedDate",
    }
)
"""Fields that a load may set although no API user can."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load made: rows, and the first and last id; serials are consecutive."""

    count: int
    first_id: str | None
    last_id: str | None


class Loads:
    """Loads records."""

    def __init__(self, parts: Parts) -> None:
        """Keep the data, and who the loaded records belong to."""
        self._data = parts.data
        self._users = parts.users

    def load(
        self,
        object_name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str | None]],
    ) -> LoadReport:
        """Put many records into an object fast; audit and conversion fields may be set.

        Text is as in ingest CSV; an empty cell or None is null. Rules, flows and references are
        not checked.

        Raises:
            SalesforceError: a column or value is refused; the message names the row.
        """
        owner = self._data.object(object_name)
        entries = [_find_column(owner, name) for name in columns]
        converters = [converter(entry, self._data.options, csv=True) for entry in entries]

        first: int | None = None
        total = 0
        # By columns: each converter runs over all cells of its field at once.
        for part in in_chunks(rows, _ROWS_AT_ONCE):  # type: ignore[arg-type]
            cells = [
                _convert_cells(entry, convert, raw, total)
                for entry, convert, raw in zip(
                    entries, converters, zip(*part, strict=True), strict=True
                )
            ]
            serial = self._insert(owner, entries, cells, len(part))
            first = serial if first is None else first
            total += len(part)

        if first is None:
            return LoadReport(0, None, None)
        prefix = owner.key_prefix
        return LoadReport(total, ids.make_id(prefix, first), ids.make_id(prefix, first + total - 1))

    def _insert(
        self, owner: SObject, entries: list[Field], cells: list[list[Stored]], count: int
    ) -> int:
        columns = dict(zip([entry.name for entry in entries], cells, strict=True))
        columns |= self._missing_stamps(columns, count)
        constants = self._constants(owner, set(columns))

        with self._data.write() as connection:
            first = self._data.database.next_serial(owner.key_prefix, count)
            new_ids = ids.IdMaker(owner.key_prefix).ids(first, count)
            names = ["rid", "Id", *columns, *constants]
            tail = tuple(constants.values())
            rows = zip(range(first, first + count), new_ids, *columns.values(), strict=True)
            connection.executemany(
                f"INSERT INTO {quote(owner.name)} ({', '.join(map(quote, names))}) "  # noqa: S608
                f"VALUES ({', '.join('?' * len(names))})",
                (row + tail for row in rows),
            )
        return first

    def _missing_stamps(
        self, columns: dict[str, list[Stored]], count: int
    ) -> dict[str, list[Stored]]:
        now: list[Stored] = [self._data.clock.stamp()] * count
        # A time of change that was given stands for the other one. CreatedDate stands alone.
        changed = columns.get("SystemModstamp", columns.get("LastModifiedDate", now))
        return {
            name: now if name == "CreatedDate" else changed
            for name in _STAMPS
            if name not in columns
        }

    def _constants(self, owner: SObject, given: set[str]) -> dict[str, Stored]:
        constants: dict[str, Stored] = {
            entry.name: int(bool(entry.default_value))
            if entry.type == "boolean"
            else entry.default_value
            for entry in owner.fields.values()
            if entry.is_stored and entry.default_value is not None
        }
        user_id = self._users.admin.id
        constants |= {"OwnerId": user_id, "CreatedById": user_id, "LastModifiedById": user_id}

        return {
            name: value
            for name, value in constants.items()
            if name not in given and owner.field(name) is not None
        }


def load_ids(object_name: str, first_id: str, last_id: str) -> Iterator[str]:  # noqa: ARG001
    """List the ids between two that a load of this object gave."""
    first, last = ids.serial_of(first_id), ids.serial_of(last_id)
    maker = ids.IdMaker(first_id[:3])
    for start in range(first, last + 1, _ROWS_AT_ONCE):
        yield from maker.ids(start, min(_ROWS_AT_ONCE, last + 1 - start))


def _find_column(owner: SObject, name: str) -> Field:
    entry = owner.field(name)
    if entry is None or not entry.is_stored or entry.name == "Id":
        raise invalid_batch(f"Field name not found : {name}")
    if not (entry.createable or entry.name in _LOADABLE):
        raise invalid_batch(f"Field cannot be loaded : {name}")
    return entry


def _convert_cells(
    entry: Field, convert: Converter, raw: Sequence[str | None], start: int
) -> list[Stored]:
    empty: Stored = int(bool(entry.default_value)) if entry.type == "boolean" else None
    try:
        return [convert(text) if text else empty for text in raw]
    except (BadValue, WrongType):
        pass

    # Something is wrong: go through the cells again, one by one, to name the row.
    for place, text in enumerate(raw):
        row = start + place + 1
        try:
            if text:
                convert(text)
        except BadValue as error:
            raise invalid_batch(f"row {row}: {error.error.message}") from None
        except WrongType:
            raise invalid_batch(f"row {row}: {entry.name} does not take {text!r}") from None
    raise AssertionError("a value was refused, and then none was")
