"""The org's records, schema, users and rights, in one data file.

``Store`` is what the HTTP side talks to. It hands the work to the modules around it: ``saving``
(rows and chunks), ``lifecycle`` (delete, merge, convert, person accounts), ``automation`` (rules
and flows), ``describing``, ``permissions``.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import yaml

from . import describing, ids, lifecycle
from .automation import Automations, Flow, Rule
from .clock import Clock, format_csv
from .custom_fields import field_from_metadata
from .database import Database, column_definition, index_statement, quoted, table_statements
from .errors import RowError, SalesforceError, not_found
from .options import Options
from .permissions import Access, ObjectRights, read_access
from .records import Reader
from .saving import (
    NO_ID,
    ROLLED_BACK,
    UNSET,
    Chunk,
    CsvRows,
    Operation,
    RowResult,
    Saver,
    in_chunks,
    invalid_batch,
    json_chunk,
    lock_error,
    no_access,
    not_writable,
)
from .schema import Field, Schema, SObject, changed
from .soql.parser import parse_condition
from .standard import PERSON_FIELDS, standard_objects
from .values import BadValue, Json, Stored, WrongType, converter

ADMIN_NAME: Final = "admin@local.example"
INTEGRATION_NAME: Final = "integration@local.example"
PASSWORD: Final = "local-password"  # noqa: S105 - the documented default of a local program
TOKEN: Final = "local-token"  # noqa: S105
_DATA_OBJECTS: Final = ("Account", "Contact", "Lead", "Opportunity")
_LOAD_ROWS: Final = 5000
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
class User:
    """A user of the org, with what a sign-in is checked against."""

    id: str
    username: str
    name: str
    email: str
    is_active: bool
    is_admin: bool
    profile: str
    password: str
    token: str


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load made: rows, and the first and last id; serials are consecutive."""

    count: int
    first_id: str | None
    last_id: str | None


class Store:
    """Everything that the org keeps. Blocking; safe to use from any thread."""

    def __init__(self, path: Path, clock: Clock, options: Options) -> None:
        """Open the data file, or make it with its users and their permissions."""
        self.path = path
        self.clock = clock
        self.options = options
        self.database = Database(path)
        self.schema = Schema(standard_objects())
        self.chance = random.Random(options.random_seed)  # noqa: S311 - for repeatable faults
        self._guard = threading.Lock()
        self._access: dict[tuple[str, bool, bool], Access] = {}
        self._automations: dict[str, Automations] = {}
        self._locked: dict[str, int | None] = {}
        self._read_only: set[str] = set()
        self._failing: list[tuple[str, str]] = []
        self._holds: list[tuple[str | None, float]] = []
        self._late_due: float | None = None
        self._late_ids: set[str] = set()
        self._open()

    def _open(self) -> None:
        with self.write() as connection:
            self._read_fields(connection)
            for owner in self.schema.objects():
                for statement in table_statements(owner):
                    connection.execute(statement)
                self._add_missing_columns(connection, owner)
            self._seed(connection)
            self._read_only = {one for (one,) in connection.execute("SELECT id FROM _read_only")}
            self._read_late(connection)
        meta = dict(self.read().execute("SELECT name, value FROM _meta"))
        self.org_id: str = meta["org_id"]
        self.organization_name: str = meta["organization_name"]

    def _read_fields(self, connection: sqlite3.Connection) -> None:
        for name, facts in connection.execute("SELECT object, facts FROM _fields ORDER BY rowid"):
            self.schema.object(name).add(Field.from_json(json.loads(facts)))
        self.schema.relate()

    @staticmethod
    def _add_missing_columns(connection: sqlite3.Connection, owner: SObject) -> None:
        table = quoted(owner.name)
        present = {row[1].lower() for row in connection.execute(f"PRAGMA table_info({table})")}
        for entry in owner.fields.values():
            if entry.is_stored and entry.name.lower() not in present:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column_definition(entry)}")

    def close(self) -> None:
        """Close the data file."""
        self.database.close()

    # --- plumbing for the HTTP side --------------------------------------------------------------

    def read(self) -> sqlite3.Connection:
        """Give this thread's reading connection; late commits that are due are visible."""
        self.settle()
        return self.database.read()

    def write(self) -> AbstractContextManager[sqlite3.Connection]:
        """Hold the writer's lock and a transaction; can be nested."""
        return self.database.write()

    def next_serial(self, sequence: str) -> int:
        """Take the next number of a sequence; numbers survive a restart."""
        return self.database.next_serial(sequence)

    # --- a fresh org -----------------------------------------------------------------------------

    def _seed(self, connection: sqlite3.Connection) -> None:
        if connection.execute("SELECT 1 FROM _meta WHERE name = 'org_id'").fetchone():
            return
        org_id = ids.make_id("00D", random.SystemRandom().randrange(62**4, 62**6))
        connection.executemany(
            "INSERT INTO _meta VALUES (?, ?)",
            [("org_id", org_id), ("organization_name", "Local Org")],
        )
        admin_profile = self._raw_insert("Profile", {"Name": "System Administrator"})
        plain_profile = self._raw_insert(
            "Profile", {"Name": "Minimum Access - API Only Integrations"}
        )
        self._raw_insert(
            "Organization",
            {
                "Name": "Local Org",
                "Country": "US",
                "OrganizationType": "Enterprise Edition",
                "InstanceName": "LOC1",
                "DefaultLocaleSidKey": "en_US",
                "TimeZoneSidKey": "GMT",
                "LanguageLocaleKey": "en_US",
                "IsSandbox": 1,
            },
            record_id=org_id,
        )
        for username, profile, is_admin in (
            (ADMIN_NAME, admin_profile, True),
            (INTEGRATION_NAME, plain_profile, False),
        ):
            user_id = self._add_user(username, PASSWORD, TOKEN, profile, is_admin=is_admin)
            self._grant_objects(user_id, profile, is_admin=is_admin)

    def _raw_insert(
        self, object_name: str, values: Mapping[str, Stored], record_id: str | None = None
    ) -> str:
        owner = self.schema.object(object_name)
        serial = self.database.next_serial(owner.key_prefix)
        one = record_id or ids.make_id(owner.key_prefix, serial)
        stamp = self.clock.stamp()
        audit: dict[str, Stored] = {
            "CreatedDate": stamp,
            "LastModifiedDate": stamp,
            "SystemModstamp": stamp,
        }
        filled = {"rid": serial, "Id": one} | audit | dict(values)
        with self.write() as connection:
            connection.execute(
                f"INSERT INTO {quoted(owner.name)} ({', '.join(map(quoted, filled))}) "  # noqa: S608
                f"VALUES ({', '.join('?' * len(filled))})",
                tuple(filled.values()),
            )
        return one

    def _add_user(
        self, username: str, password: str, token: str, profile: str, *, is_admin: bool
    ) -> str:
        short = username.partition("@")[0]
        user_id = self._raw_insert(
            "User",
            {
                "Username": username,
                "LastName": short.capitalize(),
                "FirstName": None,
                "Email": username,
                "Alias": short[:8],
                "CommunityNickname": short[:40],
                "IsActive": 1,
                "TimeZoneSidKey": "GMT",
                "LocaleSidKey": "en_US",
                "EmailEncodingKey": "UTF-8",
                "LanguageLocaleKey": "en_US",
                "ProfileId": profile,
                "UserType": "Standard",
            },
        )
        with self.write() as connection:
            connection.execute(
                "INSERT INTO _logins VALUES (?, ?, ?, ?)", (user_id, password, token, int(is_admin))
            )
        return user_id

    def _grant_objects(self, user_id: str, profile: str, *, is_admin: bool) -> None:
        permission_set = self._raw_insert(
            "PermissionSet",
            {
                "Name": f"X{profile}",
                "Label": f"Profile of {user_id}",
                "ProfileId": profile,
                "IsOwnedByProfile": 1,
                "IsCustom": 0,
                "PermissionsApiEnabled": 1,
                "PermissionsCustomizeApplication": int(is_admin),
                "PermissionsViewAllData": int(is_admin),
                "PermissionsModifyAllData": int(is_admin),
            },
        )
        for name in _DATA_OBJECTS:
            wide = int(is_admin)
            self._raw_insert(
                "ObjectPermissions",
                {
                    "ParentId": permission_set,
                    "SobjectType": name,
                    "PermissionsRead": 1,
                    "PermissionsCreate": 1,
                    "PermissionsEdit": 1,
                    "PermissionsDelete": wide,
                    "PermissionsViewAllRecords": 1,
                    "PermissionsModifyAllRecords": wide,
                },
            )
        self._raw_insert(
            "PermissionSetAssignment", {"PermissionSetId": permission_set, "AssigneeId": user_id}
        )

    # --- users -----------------------------------------------------------------------------------

    _USERS: Final = (
        "SELECT u.Id, u.Username, trim(coalesce(u.FirstName || ' ', '') || u.LastName), u.Email, "
        "u.IsActive, l.is_admin, p.Name, l.password, l.token FROM User u "
        "JOIN _logins l ON l.user_id = u.Id LEFT JOIN Profile p ON p.Id = u.ProfileId"
    )

    def users(self) -> list[User]:
        """List the users."""
        rows = self.read().execute(f"{self._USERS} ORDER BY u.rid")
        return [
            User(one, name, full, email, bool(active), bool(admin), profile or "", word, token)
            for one, name, full, email, active, admin, profile, word, token in rows
        ]

    def user(self, user_id: str) -> User:
        """Find a user by id.

        Raises:
            KeyError: there is none.
        """
        for entry in self.users():
            if entry.id == user_id:
                return entry
        raise KeyError(user_id)

    def user_by_name(self, username: str) -> User | None:
        """Find a user by user name, whatever the case."""
        wanted = username.casefold()
        return next((u for u in self.users() if u.username.casefold() == wanted), None)

    @property
    def admin(self) -> User:
        """Give the administrator."""
        return next(user for user in self.users() if user.is_admin)

    @property
    def integration(self) -> User:
        """Give the integration user."""
        return next(user for user in self.users() if not user.is_admin)

    def create_user(
        self,
        username: str,
        *,
        password: str,
        token: str,
        is_admin: bool = False,
        is_active: bool = True,
    ) -> User:
        """Add a user with a profile of its own.

        Raises:
            SalesforceError: 400 DUPLICATE_USERNAME.
        """
        if self.user_by_name(username):
            raise SalesforceError(
                400, "DUPLICATE_USERNAME", "Duplicate Username. The username already exists."
            )
        with self.write():
            profile = self._raw_insert("Profile", {"Name": f"Profile of {username}"})
            user_id = self._add_user(username, password, token, profile, is_admin=is_admin)
            self._grant_objects(user_id, profile, is_admin=is_admin)
        return self.update_user(user_id, is_active=is_active)

    def update_user(
        self,
        user_id: str,
        *,
        password: str | None = None,
        token: str | None = None,
        is_active: bool | None = None,
        is_admin: bool | None = None,
    ) -> User:
        """Change a user; what is None stays."""
        logins = {"password": password, "token": token, "is_admin": is_admin}
        with self.write() as connection:
            for name, value in logins.items():
                if value is not None:
                    connection.execute(
                        f"UPDATE _logins SET {name} = ? WHERE user_id = ?",  # noqa: S608
                        (value, user_id),
                    )
            if is_active is not None:
                connection.execute(
                    "UPDATE User SET IsActive = ? WHERE Id = ?", (int(is_active), user_id)
                )
        self.forget_access()
        return self.user(user_id)

    # --- rights ----------------------------------------------------------------------------------

    def access(self, user_id: str) -> Access:
        """Give a user's rights as they are now."""
        key = (user_id, self.options.person_accounts, self.options.multi_currency)
        found = self._access.get(key)
        if found is None:
            found = read_access(
                self.read(),
                self.schema,
                user_id,
                is_admin=self.user(user_id).is_admin,
                person_accounts=self.options.person_accounts,
                multi_currency=self.options.multi_currency,
            )
            self._access[key] = found
        return found

    def forget_access(self) -> None:
        """Work rights out anew when they are next asked for."""
        self._access.clear()

    def set_object_permission(
        self,
        user_id: str,
        object_name: str,
        *,
        read: bool = True,
        create: bool = True,
        edit: bool = True,
        delete: bool = False,
        clear: bool = False,
    ) -> None:
        """Say what a user may do with an object, whatever the permission sets say; or stop that."""
        name = self.object(object_name).name
        with self.write() as connection:
            connection.execute(
                "DELETE FROM _overrides WHERE user_id = ? AND object = ? AND field = ''",
                (user_id, name),
            )
            if not clear:
                connection.execute(
                    "INSERT INTO _overrides VALUES (?, ?, '', ?, ?, ?, ?)",
                    (user_id, name, int(read), int(edit), int(create), int(delete)),
                )
        self.forget_access()

    def set_field_permission(
        self,
        user_id: str,
        object_name: str,
        field_name: str,
        *,
        read: bool,
        edit: bool,
        clear: bool = False,
    ) -> None:
        """Say what a user may do with a field, whatever the permission sets say; or stop that."""
        owner, entry = self._named_field(object_name, field_name)
        with self.write() as connection:
            connection.execute(
                "DELETE FROM _overrides WHERE user_id = ? AND object = ? AND field = ?",
                (user_id, owner.name, entry.name),
            )
            if not clear:
                connection.execute(
                    "INSERT INTO _overrides (user_id, object, field, read, edit) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (user_id, owner.name, entry.name, int(read), int(edit and read)),
                )
        self.forget_access()

    def _named_field(self, object_name: str, field_name: str) -> tuple[SObject, Field]:
        owner = self.object(object_name)
        entry = owner.field(field_name)
        if entry is None:
            raise SalesforceError(
                400,
                "INVALID_FIELD",
                f"No such column '{field_name}' on sobject of type {owner.name}",
            )
        return owner, entry

    # --- describe --------------------------------------------------------------------------------

    def object(self, name: str) -> SObject:
        """Find an object by name, whatever the case, or raise 404 NOT_FOUND."""
        return self.schema.object(name)

    def objects(self) -> list[SObject]:
        """List all objects."""
        return self.schema.objects()

    def global_describe(self, user_id: str, version: str) -> dict[str, Any]:
        """Give the objects that the user sees."""
        access = self.access(user_id)
        return {
            "encoding": "UTF-8",
            "maxBatchSize": 200,
            "sobjects": [
                describing.summary(entry, access, version)
                for entry in self.schema.objects()
                if access.object_rights(entry).read
            ],
        }

    def _visible(self, object_name: str, user_id: str) -> tuple[SObject, Access]:
        owner = self.schema.object(object_name)
        access = self.access(user_id)
        if not access.object_rights(owner).read:
            raise not_found()
        return owner, access

    def describe(self, object_name: str, user_id: str, version: str) -> dict[str, Any]:
        """Describe an object as the user sees it."""
        owner, access = self._visible(object_name, user_id)
        return describing.describe_object(owner, access, version)

    def basic_describe(self, object_name: str, user_id: str, version: str) -> dict[str, Any]:
        """Give the answer of ``GET /sobjects/Lead``."""
        owner, access = self._visible(object_name, user_id)
        return {
            "objectDescribe": describing.summary(owner, access, version),
            "recentItems": [],
        }

    # --- schema changes --------------------------------------------------------------------------

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
        if user_id is not None and not self.user(user_id).is_admin:
            raise SalesforceError(
                403,
                "INSUFFICIENT_ACCESS",
                "You do not have the level of access necessary to perform the operation you "
                "requested.",
            )
        object_name, _, name = full_name.partition(".")
        owner = self.schema.find(object_name)
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
        field_id = ids.make_id("00N", self.next_serial("00N"))
        entry = field_from_metadata(name, metadata, field_id)
        if entry.formula:
            self._check_formula(owner, entry)
        self._add_field(owner, entry)
        if grant_to:
            self.grant_fields(owner.name, [entry.name], grant_to)
        return field_id

    def _check_formula(self, owner: SObject, entry: Field) -> None:
        flow = Flow("check", "SystemModstamp", f"={entry.formula}")
        source, sql = Automations(self, owner).flow_sql(flow)
        self.read().execute(f"SELECT {sql} FROM {source} LIMIT 0")  # noqa: S608

    def _add_field(self, owner: SObject, entry: Field) -> None:
        with self.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO _fields VALUES (?, ?, ?)",
                (owner.name, entry.name, json.dumps(entry.to_json())),
            )
            owner.add(entry)
            self._add_missing_columns(connection, owner)
            if entry.is_stored and (entry.unique or entry.external_id):
                collation = "" if entry.case_sensitive else " COLLATE NOCASE"
                connection.execute(index_statement(owner.name, entry.name, collation=collation))
            elif entry.is_stored and entry.type == "datetime":
                connection.execute(index_statement(owner.name, entry.name, "Id"))
            if owner.name == "Contact" and not entry.calculated:
                self._add_person_mirror(entry)
        self.schema.relate()
        self.forget_access()

    def _add_person_mirror(self, entry: Field) -> None:
        mirror = changed(
            entry,
            name=entry.name.removesuffix("__c") + "__pc",
            when="person_accounts",
            unique=False,
            external_id=False,
            nillable=True,
        )
        self._add_field(self.schema.object("Account"), mirror)

    def delete_custom_field(self, full_name: str) -> None:
        """Remove a custom field and its values."""
        object_name, _, name = full_name.partition(".")
        owner, entry = self._named_field(object_name, name)
        with self.write() as connection:
            for (index,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? "
                "AND name LIKE ?",
                (owner.name, f"ix_{owner.name}_{entry.name}%"),
            ).fetchall():
                connection.execute(f"DROP INDEX {quoted(index)}")
            if entry.is_stored:
                connection.execute(
                    f"ALTER TABLE {quoted(owner.name)} DROP COLUMN {quoted(entry.name)}"
                )
            connection.execute(
                "DELETE FROM _fields WHERE object = ? AND name = ?", (owner.name, entry.name)
            )
            connection.execute(
                "DELETE FROM FieldPermissions WHERE Field = ?", (f"{owner.name}.{entry.name}",)
            )
            del owner.fields[entry.name.lower()]
        self.forget_access()

    def set_field_property(self, object_name: str, field_name: str, **facts: Any) -> None:
        """Change a field's facts (``restricted``, ``nillable``, ``length``, ``choices`` ...).

        Raises:
            SalesforceError: there is no such field or fact.
        """
        owner, entry = self._named_field(object_name, field_name)
        unknown = sorted(set(facts) - set(Field.__dataclass_fields__))
        if unknown:
            raise SalesforceError(400, "INVALID_FIELD", f"unknown field property: {unknown[0]}")
        whole = entry.to_json() | facts
        self._add_field(owner, Field.from_json(whole))

    def grant_fields(
        self, object_name: str, names: Sequence[str], user_ids: Sequence[str], *, edit: bool = True
    ) -> None:
        """Let users see and write fields, through a permission set of the org's own."""
        owner = self.object(object_name)
        with self.write() as connection:
            row = connection.execute(
                "SELECT Id FROM PermissionSet WHERE Name = 'Local_Org_Fields'"
            ).fetchone()
            parent = (
                row[0]
                if row
                else self._raw_insert(
                    "PermissionSet",
                    {"Name": "Local_Org_Fields", "Label": "Local org fields", "IsCustom": 1},
                )
            )
            held = {
                one
                for (one,) in connection.execute(
                    "SELECT AssigneeId FROM PermissionSetAssignment WHERE PermissionSetId = ?",
                    (parent,),
                )
            }
            for user_id in user_ids:
                if user_id not in held:
                    self._raw_insert(
                        "PermissionSetAssignment",
                        {"PermissionSetId": parent, "AssigneeId": user_id},
                    )
            for name in names:
                entry = owner.required_field(name)
                if entry.is_system:
                    continue
                self._raw_insert(
                    "FieldPermissions",
                    {
                        "ParentId": parent,
                        "SobjectType": owner.name,
                        "Field": f"{owner.name}.{entry.name}",
                        "PermissionsRead": 1,
                        "PermissionsEdit": int(edit and not entry.calculated),
                    },
                )
        self.forget_access()

    def load_schema_file(self, path: Path) -> list[str]:
        """Add the custom fields of a YAML file; those that are there stay as they are.

        The file maps objects to fields to Tooling metadata; ``label`` may be left out::

            Lead:
              Score__c: {type: Number, precision: 3, scale: 0}

        Returns:
            The full names of the fields that were added.

        Raises:
            SalesforceError: a field is refused; ValueError: the file has another form.
        """
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller
                f"{path}: a mapping of objects to fields was expected"
            )
        users = [user.id for user in self.users()]
        made = []
        for object_name, entries in content.items():
            owner = self.object(object_name)
            for name, metadata in (entries or {}).items():
                if owner.field(name) is not None:
                    continue
                label = name.removesuffix("__c").replace("_", " ")
                full_name = f"{owner.name}.{name}"
                self.create_custom_field(
                    full_name, {"label": label} | metadata, user_id=None, grant_to=users
                )
                made.append(full_name)
        return made

    # --- rules and flows -------------------------------------------------------------------------

    def automations(self, owner: SObject) -> Automations:
        """Give the rules and flows of an object."""
        found = self._automations.get(owner.name)
        if found is None:
            reader = self.database.read()
            rules = reader.execute(
                "SELECT name, condition, message, error_field FROM _rules "
                "WHERE object = ? AND active = 1",
                (owner.name,),
            )
            flows = reader.execute(
                "SELECT name, field, expression FROM _flows WHERE object = ?", (owner.name,)
            )
            found = Automations(
                self,
                owner,
                [Rule(*row) for row in rules.fetchall()],
                [Flow(*row) for row in flows.fetchall()],
            )
            self._automations[owner.name] = found
        return found

    def add_validation_rule(
        self,
        object_name: str,
        name: str,
        condition: str,
        message: str,
        error_field: str | None = None,
        *,
        active: bool = True,
    ) -> None:
        """Refuse rows for which a SOQL condition is true, with ``message``."""
        owner = self.object(object_name)
        parse_condition(condition)
        rules = Automations(self, owner, [Rule(name, condition, message, error_field)])
        rules.apply(self.read(), [])
        with self.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO _rules VALUES (?, ?, ?, ?, ?, ?)",
                (owner.name, name, condition, message, error_field, int(active)),
            )
        self._automations.clear()

    def remove_validation_rule(self, object_name: str, name: str) -> None:
        """Remove a rule, if it is there."""
        self._drop("_rules", object_name, name)

    def _drop(self, table: str, object_name: str, name: str) -> None:
        with self.write() as connection:
            connection.execute(
                f"DELETE FROM {table} WHERE object = ? AND name = ?",  # noqa: S608
                (self.object(object_name).name, name),
            )
        self._automations.clear()

    def validation_rules(self) -> list[dict[str, Any]]:
        """List the rules."""
        names = ("object", "name", "condition", "message", "error_field", "active")
        rows = self.read().execute(f"SELECT {', '.join(names)} FROM _rules")  # noqa: S608
        return [dict(zip(names, row, strict=True)) | {"active": bool(row[-1])} for row in rows]

    def add_flow(self, object_name: str, name: str, field: str, expression: str) -> None:
        """Rewrite a field at each save; see ``automation.Flow`` for the expressions."""
        owner, entry = self._named_field(object_name, field)
        if expression not in {"append_counter", "upper", "now"} and expression[:1] != "=":
            raise SalesforceError(
                400, "INVALID_FIELD", "a flow takes append_counter, upper, now, or = and a formula"
            )
        flow = Flow(name, entry.name, expression)
        source, sql = Automations(self, owner).flow_sql(flow)
        self.read().execute(f"SELECT {sql} FROM {source} LIMIT 0")  # noqa: S608
        with self.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO _flows VALUES (?, ?, ?, ?)",
                (owner.name, name, entry.name, expression),
            )
        self._automations.clear()

    def remove_flow(self, object_name: str, name: str) -> None:
        """Remove a flow, if it is there."""
        self._drop("_flows", object_name, name)

    def flows(self) -> list[dict[str, Any]]:
        """List the flows."""
        names = ("object", "name", "field", "expression")
        rows = self.read().execute(f"SELECT {', '.join(names)} FROM _flows")  # noqa: S608
        return [dict(zip(names, row, strict=True)) for row in rows]

    # --- saves -----------------------------------------------------------------------------------

    def save_records(
        self,
        operation: Operation,
        object_name: str,
        records: Sequence[Mapping[str, Json]],
        *,
        user_id: str,
        all_or_none: bool = False,
        external_id_field: str | None = None,
    ) -> list[RowResult]:
        """Save JSON records; results come in their order.

        Raises:
            SalesforceError: the request fails as a whole.
        """
        owner, access, saver = self._saver(object_name, user_id, operation)
        external = self._external(owner, access, external_id_field)
        if not all_or_none:
            return self._save_json(saver, operation, owner, access, records, external)
        try:
            with self.write():
                results = self._save_json(saver, operation, owner, access, records, external)
                _roll_back_unless_all(results)
                return results
        except _RollBack as rolled:
            return [
                result
                if not result.success
                else RowResult("" if result.created else result.id, False, False, (ROLLED_BACK,))
                for result in rolled.results
            ]

    def _save_json(
        self,
        saver: Saver,
        operation: Operation,
        owner: SObject,
        access: Access,
        records: Sequence[Mapping[str, Json]],
        external: Field | None,
    ) -> list[RowResult]:
        results: list[RowResult] = []
        size = max(1, self.options.chunk_rows)
        for start in range(0, len(records), size):
            part = records[start : start + size]
            inserting = operation in {"insert", "upsert"}
            if operation in {"delete", "hardDelete", "undelete"}:
                part = [{"Id": _id_of(record)} for record in part]
            chunk = json_chunk(self, owner, access, part, insert=inserting)
            results += saver.save(operation, chunk, external)
        if owner.setup:
            self.forget_access()
        return results

    def _saver(
        self, object_name: str, user_id: str, operation: Operation
    ) -> tuple[SObject, Access, Saver]:
        owner, access = self._visible(object_name, user_id)
        rights = access.object_rights(owner)
        allowed = {
            "insert": owner.createable and rights.create,
            "update": owner.updateable and rights.edit,
            "upsert": owner.createable and (rights.create or rights.edit),
        }.get(operation, owner.deletable and rights.delete)
        if not allowed:
            raise SalesforceError(
                self.options.error_insufficient_access_status,
                "INSUFFICIENT_ACCESS_OR_READONLY",
                "insufficient access rights on object",
            )
        return owner, access, Saver(self, owner, access)

    @staticmethod
    def _external(owner: SObject, access: Access, name: str | None) -> Field | None:
        if name is None:
            return None
        entry = access.field_of(owner, name)
        if entry is None or not (entry.external_id or entry.name == "Id"):
            raise SalesforceError(
                400,
                "INVALID_FIELD",
                f"Field name provided, {name} is not an External ID or indexed field",
            )
        return entry

    def save_table(
        self,
        operation: Operation,
        object_name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        user_id: str,
        external_id_field: str | None = None,
        chunks_together: int = 10,
    ) -> Iterator[list[RowResult]]:
        """Save the rows of an ingest file; gives one list of results for each chunk, in row order.

        Args:
            operation: what to do with the rows.
            object_name: the object.
            columns: the header of the file.
            rows: its rows; each has as many cells as there are columns.
            user_id: whose rights count.
            external_id_field: what upsert matches on.
            chunks_together: chunks written to disk at once. Each keeps its own stamp; with 1 each
                is visible to others before the next begins, at twice the cost.

        Raises:
            SalesforceError: the whole job fails; ``message`` is its errorMessage.
        """
        owner = self.schema.object(object_name)
        access = self.access(user_id)
        external = self._external(owner, access, external_id_field)
        removing = operation in {"delete", "hardDelete", "undelete"}
        if removing and list(columns) != ["Id"]:
            raise invalid_batch(f"The '{operation}' batch must contain only ids")
        if operation == "insert" and "Id" in columns:
            raise invalid_batch("Field name not found : Id")
        if owner.setup:
            raise SalesforceError(
                400, "INVALIDENTITY", f"Entity '{owner.name}' is not supported by the Bulk API."
            )
        reader = CsvRows(self, owner, access, columns, insert=operation in {"insert", "upsert"})
        saver = Saver(self, owner, access)
        refusal = None if self._may(owner, access, operation) else no_access()
        chunks = in_chunks(rows, max(1, self.options.chunk_rows))
        while together := list(islice(chunks, max(1, chunks_together))):
            with self.write():
                saved = [
                    self._save_part(saver, operation, reader.chunk(part), external, refusal)
                    for part in together
                ]
            yield from saved

    @staticmethod
    def _save_part(
        saver: Saver,
        operation: Operation,
        chunk: Chunk,
        external: Field | None,
        refusal: RowError | None,
    ) -> list[RowResult]:
        if refusal is None:
            return saver.save(operation, chunk, external)
        chunk.errors = [error or refusal for error in chunk.errors]
        return chunk.results()

    @staticmethod
    def _may(owner: SObject, access: Access, operation: Operation) -> bool:
        rights: ObjectRights = access.object_rights(owner)
        return {
            "insert": rights.create,
            "update": rights.edit,
            "upsert": rights.create or rights.edit,
        }.get(operation, rights.delete)

    # --- what a save asks of the store -----------------------------------------------------------

    def required_fields(self, owner: SObject, chunk: Chunk, required: list[Field]) -> list[Field]:
        """Give the fields that new rows cannot be without; a person account has no Name."""
        if owner.name == "Account" and self.options.person_accounts:
            names = {entry.name for entry in chunk.fields}
            if "LastName" in names and "Name" not in names:
                return [entry for entry in required if entry.name != "Name"]
        return required

    def before_insert(self, connection: sqlite3.Connection, owner: SObject, chunk: Chunk) -> None:
        """Check new permission records, and give person accounts their name."""
        if owner.name in {"FieldPermissions", "ObjectPermissions"}:
            self._check_permissions(chunk, owner)
        if owner.name == "Account" and self.options.person_accounts:
            self._name_people(owner, chunk)
        if owner.name == "PermissionSet":
            self._check_permission_set(connection, chunk)

    def before_update(self, connection: sqlite3.Connection, owner: SObject, chunk: Chunk) -> None:
        """Refuse what a person account cannot have: its Name is its first and last name."""
        if owner.name != "Account" or not self.options.person_accounts:
            return
        at = [i for i, entry in enumerate(chunk.fields) if entry.name == "Name"]
        if not at:
            return
        among = json.dumps(chunk.ids)
        people = {
            one
            for (one,) in connection.execute(
                "SELECT Id FROM Account WHERE IsPersonAccount = 1 "
                "AND Id IN (SELECT value FROM json_each(?))",
                (among,),
            )
        }
        for place in chunk.live():
            if chunk.ids[place] in people and chunk.columns[at[0]][place] is not UNSET:
                chunk.errors[place] = not_writable(chunk.fields[at[0]])

    @staticmethod
    def _name_people(owner: SObject, chunk: Chunk) -> None:
        names = [entry.name for entry in chunk.fields]
        if "LastName" not in names or "Name" in names:
            return
        last = chunk.columns[names.index("LastName")]
        chunk.fields = [*chunk.fields, owner.required_field("Name")]
        chunk.columns = [*chunk.columns, list(last)]

    def _check_permission_set(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        names = [entry.name for entry in chunk.fields]
        taken = {
            name.casefold() for (name,) in connection.execute("SELECT Name FROM PermissionSet")
        }
        for place in chunk.live():
            name = str(chunk.columns[names.index("Name")][place]).casefold()
            if name in taken:
                chunk.errors[place] = RowError(
                    "DUPLICATE_DEVELOPER_NAME",
                    "The permission set API name you entered is already in use. Enter a unique "
                    "name.",
                    ("Name",),
                )
            taken.add(name)

    def _check_permissions(self, chunk: Chunk, owner: SObject) -> None:
        for place in chunk.live():
            row = {
                entry.name: column[place]
                for entry, column in zip(chunk.fields, chunk.columns, strict=True)
                if column[place] is not UNSET
            }
            chunk.errors[place] = self._permission_problem(owner, row)

    def _permission_problem(self, owner: SObject, row: Mapping[str, Any]) -> RowError | None:
        target = self.schema.find(str(row.get("SobjectType")))
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
        needs_read = any(
            row.get(f"Permissions{kind}")
            for kind in ("Edit", "Create", "Delete", "ViewAllRecords", "ModifyAllRecords")
        )
        if needs_read and not row.get("PermissionsRead"):
            return RowError(
                "FIELD_INTEGRITY_EXCEPTION",
                f"Permission Edit {subject} depends on permission(s): Read {subject}",
            )
        return self._permission_taken(owner, row)

    def _permission_taken(self, owner: SObject, row: Mapping[str, Any]) -> RowError | None:
        key = "Field" if owner.name == "FieldPermissions" else "SobjectType"
        found = (
            self.database.read()
            .execute(
                f"SELECT Id FROM {owner.name} WHERE ParentId = ? AND {key} = ?",  # noqa: S608
                (row.get("ParentId"), row.get(key)),
            )
            .fetchone()
        )
        if found is None:
            return None
        return RowError(
            "DUPLICATE_VALUE",
            f"duplicate value found: <unknown> duplicates value on record with id: {found[0]}",
        )

    def after_save(
        self, connection: sqlite3.Connection, owner: SObject, rids: list[int], stamp: str
    ) -> None:
        """Do what hangs on a save: people mirrored, parents' stamps, rights worked out anew."""
        if owner.setup:
            self.forget_access()
        if owner.name not in {"Account", "Contact"} or not rids:
            return
        user_id = self.admin.id if self.options.person_accounts else ""
        if self.options.person_accounts:
            if owner.name == "Account":
                fresh = [
                    rid
                    for (rid,) in connection.execute(
                        "SELECT rid FROM Account WHERE PersonContactId IS NULL AND LastName IS NOT "
                        "NULL AND rid IN (SELECT value FROM json_each(?))",
                        (json.dumps(rids),),
                    )
                ]
                lifecycle.make_contacts(self, connection, fresh, stamp, user_id)
            lifecycle.mirror_people(self, connection, owner.name, rids, stamp, user_id)
        if self.options.rollup_moves_parent_stamp and owner.name == "Contact":
            connection.execute(
                "UPDATE Account SET SystemModstamp = ? WHERE Id IN (SELECT AccountId FROM Contact "
                "WHERE rid IN (SELECT value FROM json_each(?)))",
                (stamp, json.dumps(rids)),
            )

    def remove_rows(
        self,
        connection: sqlite3.Connection,
        owner: SObject,
        rids: list[int],
        operation: Operation,
        user_id: str,
    ) -> None:
        """Delete or bring back rows; see ``lifecycle``."""
        lifecycle.remove_rows(self, connection, owner, rids, operation, user_id)

    # --- obstacles: locks, read-only rows, failing chunks ----------------------------------------

    def lock_rows(self, record_ids: Sequence[str], *, times: int | None = None) -> None:
        """Refuse the next ``times`` saves of each record (None: until unlocked)."""
        with self._guard:
            for one in record_ids:
                self._locked[ids.normalise(one)] = times

    def unlock_rows(self, record_ids: Sequence[str] | None = None) -> None:
        """Unlock some records, or all."""
        with self._guard:
            if record_ids is None:
                self._locked.clear()
            else:
                for one in record_ids:
                    self._locked.pop(ids.normalise(one), None)

    def make_read_only(self, record_ids: Sequence[str], on: bool = True) -> None:
        """Take edit access to records from everybody (sharing), or give it back."""
        found = [ids.normalise(one) for one in record_ids]
        with self.write() as connection:
            for one in found:
                connection.execute("DELETE FROM _read_only WHERE id = ?", (one,))
                if on:
                    connection.execute("INSERT INTO _read_only VALUES (?)", (one,))
            self._read_only = {one for (one,) in connection.execute("SELECT id FROM _read_only")}

    def obstacles(self, record_ids: Sequence[str]) -> dict[str, RowError]:
        """Give the records that cannot be saved now, and why; counts locks down."""
        if not (self._locked or self._read_only or self._late_ids):
            return {}
        found: dict[str, RowError] = {}
        with self._guard:
            for one in record_ids:
                if one in self._read_only:
                    found[one] = no_access()
                elif one in self._late_ids:
                    found[one] = lock_error(one)
                elif one in self._locked:
                    found[one] = lock_error(one)
                    left = self._locked[one]
                    if left is not None:
                        self._locked[one] = left - 1
                        if left <= 1:
                            del self._locked[one]
        return found

    def fail_chunks(self, object_name: str, *, count: int = 1, message: str) -> None:
        """Let the next chunks of an object fail whole, as a trigger's exception does."""
        name = self.object(object_name).name
        with self._guard:
            self._failing += [(name, message)] * count

    def failing_chunk(self, object_name: str) -> str | None:
        """Take the message for a chunk that is to fail, if any."""
        if not self._failing:
            return None
        with self._guard:
            for place, (name, message) in enumerate(self._failing):
                if name == object_name:
                    del self._failing[place]
                    return message
        return None

    # --- late commits ----------------------------------------------------------------------------

    def hold_next_saves(
        self, seconds: float, *, saves: int = 1, object_name: str | None = None
    ) -> None:
        """Make the next chunks visible only ``seconds`` later on the org's clock (API notes 4.2).

        They keep the stamp of their start (option ``late_commit_stamp``). Until then their rows
        are locked for others. The call itself is answered at once: in a real org it would wait.
        """
        name = self.object(object_name).name if object_name else None
        with self._guard:
            self._holds += [(name, seconds)] * saves

    def take_late(self, object_name: str) -> float | None:
        """Take the delay for a chunk that is to come late, if any."""
        if not self._holds:
            return None
        with self._guard:
            for place, (name, seconds) in enumerate(self._holds):
                if name in {None, object_name}:
                    del self._holds[place]
                    return seconds
        return None

    def postpone(
        self, connection: sqlite3.Connection, owner: SObject, rids: list[int], seconds: float
    ) -> None:
        """Take rows just written (in savepoint ``chunk``) back, to be shown later."""
        cursor = connection.execute(
            f"SELECT * FROM {quoted(owner.name)} WHERE rid IN "  # noqa: S608
            "(SELECT value FROM json_each(?))",
            (json.dumps(rids),),
        )
        names = [column[0] for column in cursor.description]
        images = [dict(zip(names, row, strict=True)) for row in cursor]
        connection.execute("ROLLBACK TO chunk")
        connection.execute("RELEASE chunk")
        last = max(rids, default=0)
        connection.execute(
            "INSERT INTO _serials VALUES (?, ?) ON CONFLICT (name) "
            "DO UPDATE SET last = max(last, excluded.last)",
            (owner.key_prefix, last),
        )
        due = self.clock.now().timestamp() + seconds
        connection.executemany(
            "INSERT INTO _late (visible_at, object, rid, facts) VALUES (?, ?, ?, ?)",
            [(due, owner.name, image["rid"], json.dumps(image)) for image in images],
        )
        self._read_late(connection)

    def _read_late(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "SELECT visible_at, json_extract(facts, '$.Id') FROM _late"
        ).fetchall()
        self._late_due = min((row[0] for row in rows), default=None)
        self._late_ids = {row[1] for row in rows}

    def settle(self) -> None:
        """Show the late commits whose time has come."""
        due = self._late_due
        if due is None or self.clock.now().timestamp() < due:
            return
        now = self.clock.now().timestamp()
        with self.write() as connection:
            rows = connection.execute(
                "SELECT serial, object, facts FROM _late WHERE visible_at <= ? ORDER BY serial",
                (now,),
            ).fetchall()
            for serial, name, facts in rows:
                image = json.loads(facts)
                if self.options.late_commit_stamp == "commit":
                    stamp = self.clock.stamp()
                    image |= {"SystemModstamp": stamp, "LastModifiedDate": stamp}
                connection.execute(
                    f"INSERT OR REPLACE INTO {quoted(name)} "  # noqa: S608
                    f"({', '.join(map(quoted, image))}) VALUES ({', '.join('?' * len(image))})",
                    tuple(image.values()),
                )
                connection.execute("DELETE FROM _late WHERE serial = ?", (serial,))
            self._read_late(connection)

    # --- records by id ---------------------------------------------------------------------------

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
        owner, access = self._visible(object_name, user_id)
        return Reader(self, owner, access, version).one(record_id, fields)

    def get_records(
        self,
        object_name: str,
        record_ids: Sequence[str],
        fields: Sequence[str],
        user_id: str,
        version: str,
    ) -> list[dict[str, Any] | None]:
        """Read records in the order of their ids, None for one that cannot be seen."""
        owner, access = self._visible(object_name, user_id)
        return Reader(self, owner, access, version).many(record_ids, fields)

    def get_by_external_id(
        self, object_name: str, field_name: str, value: str, user_id: str, version: str
    ) -> dict[str, Any]:
        """Read the record with this external id; 300 where several have it."""
        owner, access = self._visible(object_name, user_id)
        entry = self._external(owner, access, field_name)
        return Reader(self, owner, access, version).by_external_id(entry, value)

    def updated_ids(
        self, object_name: str, start: datetime, end: datetime, user_id: str
    ) -> list[str]:
        """List the records (deleted ones too) modified from ``start`` until before ``end``."""
        owner, _ = self._visible(object_name, user_id)
        rows = self.read().execute(
            f"SELECT Id FROM {quoted(owner.name)} "  # noqa: S608
            "WHERE SystemModstamp >= ? AND SystemModstamp < ? AND IsDeleted = 0",
            (format_csv(start), format_csv(end)),
        )
        return [one for (one,) in rows]

    def deleted_ids(
        self, object_name: str, start: datetime, end: datetime, user_id: str
    ) -> list[tuple[str, str]]:
        """List the records deleted in a window, with the time (as stored)."""
        owner, _ = self._visible(object_name, user_id)
        rows = self.read().execute(
            f"SELECT Id, SystemModstamp FROM {quoted(owner.name)} "  # noqa: S608
            "WHERE SystemModstamp >= ? AND SystemModstamp < ? AND IsDeleted = 1",
            (format_csv(start), format_csv(end)),
        )
        return list(rows)

    # --- control: load, convert, merge, people ---------------------------------------------------

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
        owner = self.object(object_name)
        entries = [self._load_column(owner, name) for name in columns]
        converters = [converter(entry, self.options, csv=True) for entry in entries]
        first: int | None = None
        total = 0
        for part in in_chunks(rows, _LOAD_ROWS):  # type: ignore[arg-type]
            cells = [
                _load_cells(entry, convert, raw, total)
                for entry, convert, raw in zip(
                    entries, converters, zip(*part, strict=True), strict=True
                )
            ]
            serial = self._load_rows(owner, entries, cells, len(part))
            first = serial if first is None else first
            total += len(part)
        if first is None:
            return LoadReport(0, None, None)
        prefix = owner.key_prefix
        return LoadReport(total, ids.make_id(prefix, first), ids.make_id(prefix, first + total - 1))

    def _load_column(self, owner: SObject, name: str) -> Field:
        entry = owner.field(name)
        if entry is None or not entry.is_stored or entry.name == "Id":
            raise invalid_batch(f"Field name not found : {name}")
        if not (entry.createable or entry.name in _LOADABLE):
            raise invalid_batch(f"Field cannot be loaded : {name}")
        return entry

    def _load_rows(
        self, owner: SObject, entries: list[Field], cells: list[list[Stored]], count: int
    ) -> int:
        stamp = self.clock.stamp()
        constants: dict[str, Stored] = {
            entry.name: int(bool(entry.default_value))
            if entry.type == "boolean"
            else entry.default_value
            for entry in owner.fields.values()
            if entry.is_stored and entry.default_value is not None
        }
        user = self.admin.id
        constants |= {"OwnerId": user, "CreatedById": user, "LastModifiedById": user}
        given = [entry.name for entry in entries]
        names = {"CreatedDate", "LastModifiedDate", "SystemModstamp"}
        columns = dict(zip(given, cells, strict=True))
        for name in names - set(given):
            # One stamp given stands for the others that were not.
            source = next((n for n in ("SystemModstamp", "LastModifiedDate") if n in columns), None)
            source = None if name == "CreatedDate" else source
            columns[name] = columns[source] if source else [stamp] * count
        constants = {
            name: value
            for name, value in constants.items()
            if name not in columns and owner.field(name) is not None
        }
        with self.write() as connection:
            first = self.database.next_serial(owner.key_prefix, count)
            made = ids.IdMaker(owner.key_prefix).ids(first, count)
            listed = ["rid", "Id", *columns, *constants]
            tail = tuple(constants.values())
            rows = zip(range(first, first + count), made, *columns.values(), strict=True)
            connection.executemany(
                f"INSERT INTO {quoted(owner.name)} ({', '.join(map(quoted, listed))}) "  # noqa: S608
                f"VALUES ({', '.join('?' * len(listed))})",
                (row + tail for row in rows),
            )
        return first

    @staticmethod
    def load_ids(object_name: str, first_id: str, last_id: str) -> Iterator[str]:  # noqa: ARG004
        """List the ids between two that a load of this object gave."""
        prefix = first_id[:3]
        first, last = ids.serial_of(first_id), ids.serial_of(last_id)
        maker = ids.IdMaker(prefix)
        for start in range(first, last + 1, _LOAD_ROWS):
            yield from maker.ids(start, min(_LOAD_ROWS, last + 1 - start))

    def convert_lead(
        self,
        lead_id: str,
        *,
        user_id: str,
        create_opportunity: bool = False,
        account_id: str | None = None,
        contact_id: str | None = None,
    ) -> dict[str, str | None]:
        """Convert a lead into an account, a contact and, if asked, an opportunity."""
        return lifecycle.convert_lead(
            self,
            lead_id,
            user_id=user_id,
            create_opportunity=create_opportunity,
            account_id=account_id,
            contact_id=contact_id,
        )

    def merge(
        self, object_name: str, master_id: str, loser_ids: Sequence[str], *, user_id: str
    ) -> None:
        """Merge records into one."""
        lifecycle.merge(self, object_name, master_id, loser_ids, user_id)

    def create_person_account(self, values: Mapping[str, Json], *, user_id: str) -> tuple[str, str]:
        """Make a person account and its hidden contact; gives both ids.

        Raises:
            SalesforceError: person accounts are off, or the values are refused.
        """
        if not self.options.person_accounts:
            raise SalesforceError(
                400, "INVALID_FIELD", "person accounts are off: set the option person_accounts"
            )
        (result,) = self.save_records("insert", "Account", [values], user_id=user_id)
        if not result.success:
            error = result.errors[0]
            raise SalesforceError(400, error.code, error.message, error.fields)
        row = (
            self.read()
            .execute("SELECT PersonContactId FROM Account WHERE Id = ?", (result.id,))
            .fetchone()
        )
        return result.id, row[0]


class _RollBack(Exception):
    def __init__(self, results: list[RowResult]) -> None:
        super().__init__("rolled back")
        self.results = results


def _roll_back_unless_all(results: list[RowResult]) -> None:
    if not all(result.success for result in results):
        raise _RollBack(results)


def _id_of(record: Mapping[str, Json]) -> Json:
    return next((value for name, value in record.items() if name.lower() == "id"), "")


def _bad_choice(label: str, value: object, field: str) -> RowError:
    return RowError(
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        f"{label}: bad value for restricted picklist field: {value}",
        (field,),
    )


def _load_cells(entry: Field, convert: Any, raw: Sequence[str | None], start: int) -> list[Stored]:
    empty: Stored = int(bool(entry.default_value)) if entry.type == "boolean" else None
    try:
        return [convert(text) if text else empty for text in raw]
    except (BadValue, WrongType):
        pass
    for place, text in enumerate(raw):
        try:
            if text:
                convert(text)
        except BadValue as error:
            raise invalid_batch(f"row {start + place + 1}: {error.error.message}") from None
        except WrongType:
            raise invalid_batch(
                f"row {start + place + 1}: {entry.name} does not take {text!r}"
            ) from None
    raise AssertionError("a value was refused, and then none was")


__all__ = ["NO_ID", "PERSON_FIELDS", "LoadReport", "Operation", "RowResult", "Store", "User"]
