"""Records read by id or by an external id, and what changed in a window (API notes 2.6)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from . import ids
from .clock import format_csv
from .data_file import DataFile
from .errors import SalesforceError
from .parts import Parts
from .permissions import Access
from .rendering import JsonRows
from .rights import find_external_id
from .schema import Field, SObject
from .soql.ast import Path, Query
from .soql.compiler import Compiled, Compiler
from .values import BadValue, WrongType, converter

_AMONG: Final = "IN (SELECT value FROM json_each(?))"


class Records:
    """Reads records for users, as far as they may see them."""

    def __init__(self, parts: Parts) -> None:
        """Keep the data, and who may read it."""
        self._data = parts.data
        self._rights = parts.rights

    def get_record(
        self,
        object_name: str,
        record_id: str,
        user_id: str,
        version: str,
        fields: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Read one record: all readable fields, or those named.

        Raises:
            SalesforceError: 404 NOT_FOUND or ENTITY_IS_DELETED, 400 for an unknown field.
        """
        owner, access = self._rights.visible(object_name, user_id)
        return _Reader(self._data, owner, access, version).one(record_id, fields)

    def get_records(
        self,
        object_name: str,
        record_ids: Sequence[str],
        fields: Sequence[str],
        user_id: str,
        version: str,
    ) -> list[dict[str, Any] | None]:
        """Read records in the order of their ids, None for one that cannot be seen."""
        owner, access = self._rights.visible(object_name, user_id)
        return _Reader(self._data, owner, access, version).many(record_ids, fields)

    def get_by_external_id(
        self, object_name: str, field_name: str, value: str, user_id: str, version: str
    ) -> dict[str, Any]:
        """Read the record with this external id; 300 where several have it."""
        owner, access = self._rights.visible(object_name, user_id)
        entry = find_external_id(owner, access, field_name)
        return _Reader(self._data, owner, access, version).by_external_id(entry, value)

    def updated_ids(
        self, object_name: str, start: datetime, end: datetime, user_id: str
    ) -> list[str]:
        """List the records modified from ``start`` until before ``end``; not the deleted ones."""
        owner, _ = self._rights.visible(object_name, user_id)
        rows = self._data.read().execute(
            f'SELECT Id FROM "{owner.name}" '  # noqa: S608
            "WHERE SystemModstamp >= ? AND SystemModstamp < ? AND IsDeleted = 0",
            (format_csv(start), format_csv(end)),
        )
        return [record_id for (record_id,) in rows]

    def deleted_ids(
        self, object_name: str, start: datetime, end: datetime, user_id: str
    ) -> list[tuple[str, str]]:
        """List the records deleted in a window, with the time (as stored)."""
        owner, _ = self._rights.visible(object_name, user_id)
        rows = self._data.read().execute(
            f'SELECT Id, SystemModstamp FROM "{owner.name}" '  # noqa: S608
            "WHERE SystemModstamp >= ? AND SystemModstamp < ? AND IsDeleted = 1",
            (format_csv(start), format_csv(end)),
        )
        return list(rows)


class _Reader:
    """Reads records of one object for one user."""

    def __init__(self, data: DataFile, owner: SObject, access: Access, version: str) -> None:
        self._data = data
        self._owner = owner
        self._access = access
        self._version = version

    def one(self, record_id: str, fields: Sequence[str] | None) -> dict[str, Any]:
        """Read one record, deleted ones refused by name."""
        try:
            normal_id = ids.normalise(record_id)
        except ValueError:
            raise SalesforceError(
                404,
                "NOT_FOUND",
                "Provided external ID field does not exist or is not accessible: " + record_id,
            ) from None

        rows = self._fetch([normal_id], fields, deleted=True)
        if normal_id not in rows:
            raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")
        is_deleted, record = rows[normal_id]
        if is_deleted:
            raise SalesforceError(
                self._data.options.entity_is_deleted_status,
                "ENTITY_IS_DELETED",
                "entity is deleted",
            )
        return record

    def many(self, record_ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any] | None]:
        """Read records in the order of their ids; None for one that cannot be seen."""
        if not self._data.options.collections_parent_fields:
            # Collections know no parent fields (an option lets them).
            for name in fields:
                if "." in name:
                    raise SalesforceError(
                        400,
                        "INVALID_FIELD",
                        f"No such column '{name}' on entity '{self._owner.name}'",
                    )

        wanted = [_normal_or_empty(record_id) for record_id in record_ids]
        rows = self._fetch([one for one in wanted if one], fields, deleted=False)
        return [rows[record_id][1] if record_id in rows else None for record_id in wanted]

    def by_external_id(self, entry: Field | None, value: str) -> dict[str, Any]:
        """Read the one record that has this external id."""
        if entry is None or entry.name == "Id":
            return self.one(value, None)

        matches = self._matches(entry, value)
        if not matches:
            raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")
        if len(matches) > 1:
            base = f"/services/data/v{self._version}/sobjects/{self._owner.name}/"
            urls = [base + record_id for record_id in matches]
            raise SalesforceError(300, "MULTIPLE_CHOICES", json.dumps(urls))
        return self.one(matches[0], None)

    def _matches(self, entry: Field, value: str) -> list[str]:
        try:
            stored = converter(entry, self._data.options, csv=False)(value)
        except (BadValue, WrongType):
            stored = None  # equal to nothing in SQL, so nothing matches

        alive = " AND IsDeleted = 0" if self._owner.has_deleted else ""
        collation = "" if entry.case_sensitive else " COLLATE NOCASE"
        rows = self._data.read().execute(
            f'SELECT Id FROM "{self._owner.name}" WHERE "{entry.name}" = ?{collation}{alive}',  # noqa: S608
            (stored,),
        )
        return [record_id for (record_id,) in rows]

    def _fetch(
        self, record_ids: Sequence[str], fields: Sequence[str] | None, *, deleted: bool
    ) -> dict[str, tuple[bool, dict[str, Any]]]:
        """Give records by id, each with whether it is deleted."""
        compiled = self._compile(fields)
        rows = JsonRows(compiled, self._data.options, self._version)

        is_deleted = 't0."IsDeleted"' if self._owner.has_deleted else "0"
        hidden = "" if deleted or not self._owner.has_deleted else ' AND t0."IsDeleted" = 0'
        expressions = ", ".join([*rows.expressions(), is_deleted])
        statement = f'SELECT {expressions} FROM {compiled.source} WHERE t0."Id" {_AMONG}{hidden}'  # noqa: S608
        cursor = self._data.read().execute(statement, (json.dumps(list(record_ids)),))
        return {row[0]: (bool(row[-1]), rows.record(row[:-1])) for row in cursor}

    def _compile(self, fields: Sequence[str] | None) -> Compiled:
        names = fields or [
            entry.name
            for entry in self._owner.fields.values()
            if self._access.readable(self._owner, entry)
        ]
        wanted = list(dict.fromkeys(names))

        # The text is never parsed: errors quote it, and point into it by position.
        text = f"SELECT {', '.join(wanted)} FROM {self._owner.name}"  # noqa: S608
        paths = []
        at = len("SELECT ")
        for name in wanted:
            paths.append(Path(tuple(name.split(".")), at))
            at += len(name) + len(", ")

        query = Query(text, tuple(paths), self._owner.name, 0, None, None, (), (), None, None)
        data = self._data
        compiler = Compiler(data.schema, data.options, data.clock.now(), self._access)
        return compiler.compile(query, include_deleted=True)


def _normal_or_empty(text: str) -> str:
    try:
        return ids.normalise(text)
    except ValueError:
        return ""
