"""Records read by id: one, many, or by an external id (API notes 2.6)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import ids
from .errors import SalesforceError
from .permissions import Access
from .rendering import JsonRows
from .schema import Field, SObject
from .soql.ast import Path, Query
from .soql.compiler import Compiled, Compiler
from .values import BadValue, WrongType, converter

if TYPE_CHECKING:
    from .store import Store

_AMONG = "IN (SELECT value FROM json_each(?))"


class Reader:
    """Reads records of one object for one user."""

    def __init__(self, store: Store, owner: SObject, access: Access, version: str) -> None:
        """Keep what a reading needs."""
        self._store = store
        self._owner = owner
        self._access = access
        self._version = version

    def one(self, record_id: str, fields: Sequence[str] | None) -> dict[str, Any]:
        """Read one record, deleted ones refused by name."""
        try:
            one = ids.normalise(record_id)
        except ValueError:
            raise SalesforceError(
                404,
                "NOT_FOUND",
                "Provided external ID field does not exist or is not accessible: " + record_id,
            ) from None
        found = self._fetch([one], fields, deleted=True)
        if one not in found:
            raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")
        gone, record = found[one]
        if gone:
            raise SalesforceError(
                self._store.options.entity_is_deleted_status,
                "ENTITY_IS_DELETED",
                "entity is deleted",
            )
        return record

    def many(self, record_ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any] | None]:
        """Read records in the order of their ids; None for one that cannot be seen."""
        if not self._store.options.collections_parent_fields:
            for name in fields:
                if "." in name:
                    raise SalesforceError(
                        400,
                        "INVALID_FIELD",
                        f"No such column '{name}' on entity '{self._owner.name}'",
                    )
        wanted = [_normal(one) for one in record_ids]
        found = self._fetch([one for one in wanted if one], fields, deleted=False)
        return [found[one][1] if one in found else None for one in wanted]

    def by_external_id(self, entry: Field | None, value: str) -> dict[str, Any]:
        """Read the one record that has this external id."""
        if entry is None or entry.name == "Id":
            return self.one(value, None)
        try:
            stored = converter(entry, self._store.options, csv=False)(value)
        except (BadValue, WrongType):
            stored = None
        alive = " AND IsDeleted = 0" if self._owner.has_deleted else ""
        collation = "" if entry.case_sensitive else " COLLATE NOCASE"
        rows = self._store.read().execute(
            f'SELECT Id FROM "{self._owner.name}" WHERE "{entry.name}" = ?{collation}{alive}',  # noqa: S608
            (stored,),
        )
        matches = [one for (one,) in rows]
        if not matches:
            raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")
        if len(matches) > 1:
            base = f"/services/data/v{self._version}/sobjects/{self._owner.name}/"
            raise SalesforceError(300, "MULTIPLE_CHOICES", json.dumps([base + m for m in matches]))
        return self.one(matches[0], None)

    def _fetch(
        self, record_ids: Sequence[str], fields: Sequence[str] | None, *, deleted: bool
    ) -> dict[str, tuple[bool, dict[str, Any]]]:
        compiled = self._compile(fields)
        rows = JsonRows(compiled, self._store.options, self._version)
        gone = 't0."IsDeleted"' if self._owner.has_deleted else "0"
        hidden = "" if deleted or not self._owner.has_deleted else ' AND t0."IsDeleted" = 0'
        expressions = ", ".join([*rows.expressions(), gone])
        statement = f'SELECT {expressions} FROM {compiled.source} WHERE t0."Id" {_AMONG}{hidden}'  # noqa: S608
        cursor = self._store.read().execute(statement, (json.dumps(list(record_ids)),))
        return {row[0]: (bool(row[-1]), rows.record(row[:-1])) for row in cursor}

    def _compile(self, fields: Sequence[str] | None) -> Compiled:
        names = fields or [
            entry.name
            for entry in self._owner.fields.values()
            if self._access.readable(self._owner, entry)
        ]
        wanted = list(dict.fromkeys(names))
        text = f"SELECT {', '.join(wanted)} FROM {self._owner.name}"  # noqa: S608
        paths = []
        at = len("SELECT ")
        for name in wanted:
            paths.append(Path(tuple(name.split(".")), at))
            at += len(name) + 2
        query = Query(text, tuple(paths), self._owner.name, 0, None, None, (), (), None, None)
        compiler = Compiler(
            self._store.schema, self._store.options, self._store.clock.now(), self._access
        )
        return compiler.compile(query, include_deleted=True)


def _normal(text: str) -> str:
    try:
        return ids.normalise(text)
    except ValueError:
        return ""
