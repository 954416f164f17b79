"""The data file: one SQLite database in WAL mode, one writer, a reader for each thread.

Each object is a table with typed columns; ``rid`` is the serial that the record's Id is made of.
Tables that begin with ``_`` are the store's own.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .schema import Field, SObject
from .values import java_double

_OWN_TABLES: Final = """
CREATE TABLE IF NOT EXISTS _meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS _serials (name TEXT PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _fields (
    object TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, facts TEXT NOT NULL,
    PRIMARY KEY (object, name));
CREATE TABLE IF NOT EXISTS _logins (
    user_id TEXT PRIMARY KEY, password TEXT NOT NULL, token TEXT NOT NULL, is_admin INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _overrides (
    user_id TEXT NOT NULL, object TEXT NOT NULL, field TEXT NOT NULL, read INTEGER NOT NULL,
    edit INTEGER NOT NULL, can_create INTEGER NOT NULL DEFAULT 0,
    can_delete INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (user_id, object, field));
CREATE TABLE IF NOT EXISTS _rules (
    object TEXT NOT NULL, name TEXT NOT NULL, condition TEXT NOT NULL, message TEXT NOT NULL,
    error_field TEXT, active INTEGER NOT NULL, PRIMARY KEY (object, name));
CREATE TABLE IF NOT EXISTS _flows (
    object TEXT NOT NULL, name TEXT NOT NULL, field TEXT NOT NULL, expression TEXT NOT NULL,
    PRIMARY KEY (object, name));
CREATE TABLE IF NOT EXISTS _late (
    serial INTEGER PRIMARY KEY, visible_at REAL NOT NULL, object TEXT NOT NULL,
    rid INTEGER NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS _cursors (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL, soql TEXT NOT NULL, include_deleted INTEGER NOT NULL,
    made_at REAL NOT NULL, total INTEGER NOT NULL, rids BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS _read_only (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS _hidden (id TEXT PRIMARY KEY);
"""
_STATEMENTS_CACHED: Final = 1024
# 64 MiB, so that the tables of a large test stay in memory.
_CACHE_KIB: Final = 65_536


def quote(name: str) -> str:
    """Quote a table or column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def column_definition(entry: Field) -> str:
    """Give the column of a stored field; checkboxes are never null."""
    # A default is needed: SQLite adds no NOT NULL column without one.
    nulls = " NOT NULL DEFAULT 0" if entry.type == "boolean" else ""
    unique = " NOT NULL UNIQUE" if entry.type == "id" else ""
    return f"{quote(entry.name)} {entry.sql_type}{nulls}{unique}"


def table_statements(owner: SObject) -> list[str]:
    """Give the statements that make an object's table and its indexes, where they are missing."""
    table = quote(owner.name)
    columns = ", ".join(
        column_definition(entry) for entry in owner.fields.values() if entry.is_stored
    )
    flags = [name for name in ("IsDeleted", "IsConverted") if owner.field(name)]
    statements = [
        f"CREATE TABLE IF NOT EXISTS {table} (rid INTEGER PRIMARY KEY, {columns})",
        index_statement(owner.name, "SystemModstamp", *flags),
    ]
    indexed = ("CreatedDate", "AccountId", "ParentId", "AssigneeId")
    return statements + [index_statement(owner.name, name) for name in indexed if owner.field(name)]


def index_statement(table: str, *columns: str, collation: str = "") -> str:
    """Give the statement that makes an index, where it is missing."""
    name = quote("_".join(("ix", table, *columns)))
    listed = ", ".join(f"{quote(column)}{collation}" for column in columns)
    return f"CREATE INDEX IF NOT EXISTS {name} ON {quote(table)} ({listed})"


def _fold(value: str | None) -> str | None:
    return value.casefold() if isinstance(value, str) else value


def _java(value: float | None) -> str | None:
    return None if value is None else java_double(value)


class Database:
    """The connections to the data file, and the one lock for writing."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it."""
        self.path = path
        # Re-entrant: a save calls parts that write too, inside the same transaction.
        self._lock = threading.RLock()
        self._depth = 0
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._writer = self._connect()
        self._writer.executescript(_OWN_TABLES)
        self.generation = 0

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=60,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_CACHED,
        )

        connection.execute("PRAGMA journal_mode = WAL")
        # A crash of the machine may lose the last second, a crash of the program does not.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # Fewer, larger checkpoints: a bulk load writes far more than the default 1,000 pages.
        connection.execute("PRAGMA wal_autocheckpoint = 20000")
        connection.execute("PRAGMA temp_store = MEMORY")

        # SQLite's own lower() knows ASCII alone.
        connection.create_function("fold", 1, _fold, deterministic=True)
        connection.create_function("java_double", 1, _java, deterministic=True)
        return connection

    def read(self) -> sqlite3.Connection:
        """Give this thread's reader, or the writer while this thread is writing."""
        # A reader of its own would not see what this thread has yet to commit.
        if self._depth and self._lock_is_mine():
            return self._writer

        reader: sqlite3.Connection | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._connect()
            reader.execute("PRAGMA query_only = ON")
            self._local.reader = reader
            with self._lock:
                self._readers.append(reader)
        return reader

    def _lock_is_mine(self) -> bool:
        return getattr(self._local, "writing", False)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock and a transaction; inside another one, a savepoint of it."""
        with self._lock:
            outermost = self._depth == 0
            name = f"s{self._depth}"
            self._writer.execute("BEGIN IMMEDIATE" if outermost else f"SAVEPOINT {name}")
            self._depth += 1
            self._local.writing = True

            try:
                yield self._writer
            except BaseException:
                self._leave(outermost)
                self._writer.execute("ROLLBACK" if outermost else f"ROLLBACK TO {name}")
                if not outermost:
                    self._writer.execute(f"RELEASE {name}")
                raise
            self._leave(outermost)
            self._writer.execute("COMMIT" if outermost else f"RELEASE {name}")

    def _leave(self, outermost: bool) -> None:
        self._depth -= 1
        if outermost:
            self._local.writing = False

    def next_serial(self, sequence: str, count: int = 1) -> int:
        """Take ``count`` serials of a sequence and give the first; they are never given again."""
        with self.write() as connection:
            row = connection.execute(
                "INSERT INTO _serials VALUES (?, ?) ON CONFLICT (name) "
                "DO UPDATE SET last = last + excluded.last RETURNING last",
                (sequence, count),
            ).fetchall()
        return int(row[0][0]) - count + 1

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()
