"""The org's data file as its parts use it: the schema and the tables, read and written.

``DataFile`` knows how a record lies in the file, and nothing of users, rights or rules: those are
parts of their own (``users``, ``rights``, ``automation`` ...) that are given it. ``store`` puts the
parts together.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from . import ids
from .clock import Clock
from .database import Database, column_definition, quote, table_statements
from .errors import SalesforceError
from .late_commits import LateCommits
from .options import Options
from .schema import Field, Schema, SObject
from .standard import standard_objects
from .values import Stored

ORGANIZATION_NAME = "Local Org"


class DataFile:
    """The file, its schema, and the org's clock and options. Safe to use from any thread."""

    def __init__(self, path: Path, clock: Clock, options: Options) -> None:
        """Open the file, or make it with empty tables and an org id of its own."""
        self.path = path
        self.clock = clock
        self.options = options
        self.database = Database(path)
        self.schema = Schema(standard_objects())
        self.late = LateCommits(self.database, clock, options)

        with self.write() as connection:
            self._read_custom_fields(connection)
            for owner in self.schema.objects():
                for statement in table_statements(owner):
                    connection.execute(statement)
                self.add_missing_columns(connection, owner)

            _write_identity(connection)
            self.late.reload(connection)

        (org_id,) = self.read().execute("SELECT value FROM _meta WHERE name = 'org_id'").fetchone()
        self.org_id: str = org_id

    def _read_custom_fields(self, connection: sqlite3.Connection) -> None:
        for name, facts in connection.execute("SELECT object, facts FROM _fields ORDER BY rowid"):
            self.schema.object(name).add(Field.from_json(json.loads(facts)))
        self.schema.relate()

    @staticmethod
    def add_missing_columns(connection: sqlite3.Connection, owner: SObject) -> None:
        """Give an object's table the columns of the fields that are new."""
        table = quote(owner.name)
        present = {row[1].lower() for row in connection.execute(f"PRAGMA table_info({table})")}

        for entry in owner.fields.values():
            if entry.is_stored and entry.name.lower() not in present:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column_definition(entry)}")

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def read(self) -> sqlite3.Connection:
        """Give this thread's reading connection; late commits that are due are visible."""
        self.late.settle()
        return self.database.read()

    def write(self) -> AbstractContextManager[sqlite3.Connection]:
        """Hold the writer's lock and a transaction; can be nested."""
        return self.database.write()

    def next_serial(self, sequence: str) -> int:
        """Take the next number of a sequence; numbers survive a restart."""
        return self.database.next_serial(sequence)

    def insert(
        self, object_name: str, values: Mapping[str, Stored], record_id: str | None = None
    ) -> str:
        """Write a record of the org's own, past all checks and rights; gives its id."""
        owner = self.schema.object(object_name)
        serial = self.database.next_serial(owner.key_prefix)
        new_id = record_id or ids.make_id(owner.key_prefix, serial)
        stamp = self.clock.stamp()

        row: dict[str, Stored] = {
            "rid": serial,
            "Id": new_id,
            "CreatedDate": stamp,
            "LastModifiedDate": stamp,
            "SystemModstamp": stamp,
            **values,
        }
        with self.write() as connection:
            connection.execute(
                f"INSERT INTO {quote(owner.name)} ({', '.join(map(quote, row))}) "  # noqa: S608
                f"VALUES ({', '.join('?' * len(row))})",
                tuple(row.values()),
            )
        return new_id

    def object(self, name: str) -> SObject:
        """Find an object by name, whatever the case, or raise 404 NOT_FOUND."""
        return self.schema.object(name)

    def objects(self) -> list[SObject]:
        """List all objects."""
        return self.schema.objects()

    def field(self, object_name: str, field_name: str) -> tuple[SObject, Field]:
        """Find an object and one of its fields, whoever may see it.

        Raises:
            SalesforceError: 404 for the object, 400 INVALID_FIELD for the field.
        """
        owner = self.object(object_name)
        entry = owner.field(field_name)
        if entry is None:
            raise SalesforceError(
                400,
                "INVALID_FIELD",
                f"No such column '{field_name}' on sobject of type {owner.name}",
            )
        return owner, entry


def _write_identity(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT 1 FROM _meta WHERE name = 'org_id'").fetchone():
        return

    # Never seeded: two fresh orgs must differ, or a client could not notice that it was switched.
    org_id = ids.make_id("00D", random.SystemRandom().randrange(62**4, 62**6))
    connection.executemany(
        "INSERT INTO _meta VALUES (?, ?)",
        [("org_id", org_id), ("organization_name", ORGANIZATION_NAME)],
    )
