"""Changes of the schema while the org runs: custom fields come, change and go (API notes 6.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from . import ids
from .automation import Automation, Flow
from .custom_fields import field_from_metadata
from .data_file import DataFile
from .database import index_statement, quote
from .errors import SalesforceError
from .rights import Rights
from .schema import Field, SObject, with_facts
from .users import Users

FIELD_PREFIX: Final = "00N"


class SchemaChanges:
    """Adds, changes and removes custom fields."""

    def __init__(
        self, data: DataFile, users: Users, rights: Rights, automation: Automation
    ) -> None:
        """Keep the parts that a new field touches."""
        self._data = data
        self._users = users
        self._rights = rights
        self._automation = automation

    def create_custom_field(
        self,
        full_name: str,
        metadata: Mapping[str, Any],
        *,
        user_id: str | None,
        grant_to: Sequence[str] = (),
    ) -> str:
        """Add a custom field; nobody sees it until it is granted (API notes 6.2).

        Args:
            full_name: for instance ``Lead.Score__c``.
            metadata: as the Tooling API takes it.
            user_id: who asks: needs to be an admin; None is the org itself.
            grant_to: users who are given it at once.

        Returns:
            The ``00N`` id.

        Raises:
            SalesforceError: not allowed, a bad name or property, or the name is taken.
        """
        if user_id is not None and not self._users.by_id(user_id).is_admin:
            raise SalesforceError(
                403,
                "INSUFFICIENT_ACCESS",
                "You do not have the level of access necessary to perform the operation you "
                "requested.",
            )
        owner, name = self._free_name(full_name)

        field_id = ids.make_id(FIELD_PREFIX, self._data.next_serial(FIELD_PREFIX))
        entry = field_from_metadata(name, metadata, field_id)
        if entry.formula:
            flow = Flow("check", "SystemModstamp", f"={entry.formula}")
            self._automation.check_flow(owner, flow)

        self._add(owner, entry)
        if grant_to:
            self._rights.grant_fields(owner.name, [entry.name], grant_to)
        return field_id

    def _free_name(self, full_name: str) -> tuple[SObject, str]:
        object_name, _, name = full_name.partition(".")

        owner = self._data.schema.find(object_name)
        if owner is None or owner.setup:
            raise SalesforceError(
                400, "INVALID_CROSS_REFERENCE_KEY", f"Invalid entity in field name {full_name}"
            )
        if owner.field(name) is not None:
            raise SalesforceError(
                400,
                "DUPLICATE_DEVELOPER_NAME",
                f"There is already a field named {name.removesuffix('__c')} on {owner.label}.",
                ("FullName",),
            )
        return owner, name

    def _add(self, owner: SObject, entry: Field) -> None:
        with self._data.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO _fields VALUES (?, ?, ?)",
                (owner.name, entry.name, json.dumps(entry.to_json())),
            )
            owner.add(entry)
            self._data.add_missing_columns(connection, owner)

            if entry.is_stored and (entry.unique or entry.external_id):
                collation = "" if entry.case_sensitive else " COLLATE NOCASE"
                connection.execute(index_statement(owner.name, entry.name, collation=collation))
            elif entry.is_stored and entry.type == "datetime":
                connection.execute(index_statement(owner.name, entry.name, "Id"))

            if owner.name == "Contact" and not entry.calculated:
                self._add_person_mirror(entry)

        self._data.schema.relate()
        self._rights.forget()

    def _add_person_mirror(self, entry: Field) -> None:
        """Give accounts the contact's field too, as ``__pc``: person accounts have both."""
        mirror = with_facts(
            entry,
            name=entry.name.removesuffix("__c") + "__pc",
            when="person_accounts",
            unique=False,
            external_id=False,
            nillable=True,
        )
        self._add(self._data.object("Account"), mirror)

    def delete_custom_field(self, full_name: str) -> None:
        """Remove a custom field and its values."""
        object_name, _, name = full_name.partition(".")
        owner, entry = self._data.field(object_name, name)

        with self._data.write() as connection:
            # SQLite does not drop a column that an index still uses.
            for (index,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? "
                "AND name LIKE ?",
                (owner.name, f"ix_{owner.name}_{entry.name}%"),
            ).fetchall():
                connection.execute(f"DROP INDEX {quote(index)}")
            if entry.is_stored:
                connection.execute(
                    f"ALTER TABLE {quote(owner.name)} DROP COLUMN {quote(entry.name)}"
                )

            connection.execute(
                "DELETE FROM _fields WHERE object = ? AND name = ?", (owner.name, entry.name)
            )
            connection.execute(
                "DELETE FROM FieldPermissions WHERE Field = ?", (f"{owner.name}.{entry.name}",)
            )
            del owner.fields[entry.name.lower()]

        self._rights.forget()

    def set_field_property(self, object_name: str, field_name: str, **facts: Any) -> None:
        """Change a field's facts (``restricted``, ``nillable``, ``length``, ``choices`` ...).

        Raises:
            SalesforceError: there is no such field or fact.
        """
        owner, entry = self._data.field(object_name, field_name)
        unknown = sorted(set(facts) - set(Field.__dataclass_fields__))
        if unknown:
            raise SalesforceError(400, "INVALID_FIELD", f"unknown field property: {unknown[0]}")

        self._add(owner, Field.from_json(entry.to_json() | facts))

    def load_schema_file(self, path: Path) -> list[str]:
        """Add the custom fields of a YAML file; those that are there stay as they are.

        The file maps objects to fields to Tooling metadata; ``label`` may be left out::

            Lead:
              Score__c: {type: Number, precision: 3, scale: 0}

        Returns:
            The full names of the fields that were added.

        Raises:
            SalesforceError: a field is refused.
            ValueError: the file has another form.
        """
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller
                f"{path}: a mapping of objects to fields was expected"
            )

        users = [user.id for user in self._users.all()]
        added = []
        for object_name, entries in content.items():
            owner = self._data.object(object_name)
            for name, metadata in (entries or {}).items():
                if owner.field(name) is not None:
                    continue
                label = name.removesuffix("__c").replace("_", " ")
                full_name = f"{owner.name}.{name}"
                self.create_custom_field(
                    full_name, {"label": label} | metadata, user_id=None, grant_to=users
                )
                added.append(full_name)
        return added
