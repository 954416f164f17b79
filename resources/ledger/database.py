"""One database behind the ledger: SQLite in WAL mode on a local disk, or PostgreSQL."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.core.errors import CannotProceedNow, ConfigurationError
from resources.ledger.fencing import Lease, check_lease

BUSY_SECONDS: Final = 60
"""How long a transaction waits for another one's lock."""

BUSY_AGAIN_SECONDS: Final = 0.02
"""After how long a new SQLite file is tried again that somebody else is just preparing."""

MANY_ROWS: Final = 100
"""From here on it pays to bind rows ourselves."""

ROWS_AT_ONCE: Final = 2_000
"""How many rows the driver is given at once: more only keep the garbage collector busy."""

STATEMENT_SECONDS: Final = 600
IDLE_SECONDS: Final = 300
"""How long PostgreSQL lets a statement run, and a transaction of a silent process stand."""

AWAY_AFTER: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""When a silent PostgreSQL server counts as away, in libpq's names; the address may differ."""

WRITERS: Final = 7_403_611_275
"""The advisory lock of a writing transaction on PostgreSQL; any number that nobody else uses."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEWEST: Final = "0004"
"""The newest migration: where the tables have it, alembic is not imported. A test checks it."""

SQLITE: Final = "sqlite"
POSTGRES: Final = "postgresql"

VERSION_TABLE: Final = "ledger_version"
"""Not alembic's own name: Dagster's storage uses that one, and may be in the same database."""

CURRENT_VERSION: Final[sa.Select[Any]] = sa.select(sa.column("version_num")).select_from(
    sa.table(VERSION_TABLE)
)

SQLITE_AWAY: Final = {
    sqlite3.SQLITE_BUSY: "another process holds it locked",
    sqlite3.SQLITE_LOCKED: "another process holds it locked",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_IOERR: "the disk gives an error",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
}
SQLITE_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
POSTGRES_AWAY: Final = frozenset({"25006", "42501"})
"""Beside what is away: a server that only takes reads (a stand-by), and rights that were taken."""


class LedgerAway(CannotProceedNow):
    """The ledger's database does not answer, or takes no writes.

    Nothing was lost, and a later run goes on.
    """


def normalised_url(url: str) -> str:
    """Return `url` with the driver that is installed: plain `postgresql://` would mean another."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    return url


def backend_of(url: str) -> str | None:
    """Return which kind of database an address names; None where it cannot be read."""
    try:
        return sa.make_url(normalised_url(url)).get_backend_name()
    except (sa.exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        return None


def make_safe(url: str) -> str:
    """Return a database's address without its password; only its scheme where it cannot be read."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        return f"{url.partition(':')[0][:20]}:…"
    if "@" in (parsed.host or ""):  # the end of a password that holds one itself
        return f"{parsed.drivername}:…"
    return parsed.set(query={}).render_as_string(hide_password=True)


# A code server opens the ledger at each tick. An engine keeps the statements that it has compiled,
# and compiling them takes longer than running them. Forked processes share no connections.
@lru_cache(maxsize=4)
def _engine_of(url: str, _process: int) -> sa.Engine:
    """Return this process's engine for `url`, without connecting yet."""
    if url.startswith("sqlite"):
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_immediate)
        return engine

    given = sa.make_url(url).query
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        executemany_mode="values_plus_batch",
        hide_parameters=True,
        connect_args={k: v for k, v in AWAY_AFTER.items() if k not in given},
    )
    sa.event.listen(engine, "connect", _prepare_postgres)
    return engine


class Database:
    """An engine, its transactions, and the few statements that the two dialects say differently.

    Transactions that write come one after another, whoever else works: on SQLite by its write lock,
    on PostgreSQL by an advisory lock that ends with the transaction. So what a transaction has read
    stands until it commits, and what holds on one database holds on the other.
    """

    def __init__(self, url: str) -> None:
        """Open `url` (`sqlite:///path` or `postgresql://…`) without touching it yet.

        Raises ConfigurationError for an address that cannot be one.
        """
        self.url = normalised_url(url)
        self.where = make_safe(self.url)
        self.is_sqlite = self.url.startswith("sqlite")
        if backend_of(self.url) not in (SQLITE, POSTGRES):
            raise ConfigurationError(
                [
                    f"INSIGHTS_LEDGER_URL: the ledger cannot be at {self.where}. "
                    "Write postgresql://user:password@host/name, or leave it out for SQLite."
                ]
            )
        try:
            self.engine = self._engine()
        except (sa.exc.ArgumentError, ImportError, ValueError, OSError) as error:
            problem = f"The ledger at {self.where} cannot be opened ({type(error).__name__})."
            remedy = "Check INSIGHTS_LEDGER_URL or INSIGHTS_HOME."
            raise ConfigurationError([f"{problem} {remedy}"]) from None

    def _engine(self) -> sa.Engine:
        parsed = sa.make_url(self.url)
        if self.is_sqlite:
            if parsed.database and Path(parsed.database).is_dir():
                raise IsADirectoryError
            if parsed.database and not parsed.database.startswith("file:"):
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        elif "@" in (parsed.host or ""):
            raise ConfigurationError(
                [
                    "INSIGHTS_LEDGER_URL: the password holds an @; write it as %40 "
                    "(and : / ? # % as %3A %2F %3F %23 %25)."
                ]
            )
        return _engine_of(self.url, os.getpid())

    @contextmanager
    def begin(self, lease: Lease | None = None) -> Iterator[sa.Connection]:
        """Run one write transaction.

        It has the write lock from its start, so nothing is decided on old rows.

        With `lease` it writes for the run that holds it: raises LeaseLost where another run has
        taken the object over (D3). Raises LedgerAway where the database cannot be reached, is
        locked for long, or takes no writes. Raises ConfigurationError where another release has
        migrated the tables since this process began.
        """
        with self.begin_in_any_form() as connection:
            # Only now: under the lock nobody can migrate or take the object over any more.
            self._require_own_form(connection)
            if lease is not None:
                check_lease(connection, lease)
            yield connection

    @contextmanager
    def begin_in_any_form(self) -> Iterator[sa.Connection]:
        """Run one write transaction whatever form the tables have: for migrations."""
        with self._speaking_plainly(), self.engine.begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS)))
            yield connection

    def _require_own_form(self, connection: sa.Connection) -> None:
        version = connection.scalar(CURRENT_VERSION)
        if version != NEWEST:
            raise ConfigurationError(
                [
                    f"Another release has changed the ledger at {self.where} while this process ran (its tables have "
                    f"version {version}, this release knows {NEWEST}). Nothing more is written by this process. "
                    "Start it again with the release that is installed now."
                ]
            )

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Run reads that belong together: they all see one moment.

        Raises LedgerAway where the database cannot be reached.
        """
        with self._speaking_plainly(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.execution_options(read_only=True)
            else:
                # By default each statement would see what was committed before it.
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
            connection.rollback()

    @contextmanager
    def _speaking_plainly(self) -> Iterator[None]:
        """Raise what a person can act on in place of the driver's errors, which would show rows."""
        try:
            yield
        except sa.exc.TimeoutError:
            self._away("all connections are in use")

        except sa.exc.DBAPIError as error:
            # Only the first line: the others may quote the rows of a statement.
            said = _first_line(error.orig)
            if isinstance(error.orig, sqlite3.Error):
                code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
                if code in SQLITE_AWAY:
                    self._away(f"{SQLITE_AWAY[code]}: {said}")
                if code in SQLITE_DAMAGED:
                    raise ConfigurationError(
                        [
                            f"The ledger at {self.where} is no database, or damaged ({said}). "
                            "Put back a backup (docs/operations.md says what is lost)."
                        ]
                    ) from None
            elif (
                isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError))
                or error.connection_invalidated
                or getattr(error.orig, "pgcode", None) in POSTGRES_AWAY
            ):
                self._away(said)
            raise

    def _away(self, why: str) -> NoReturn:
        raise LedgerAway(
            f"The ledger at {self.where} cannot be used now ({why}). What was done so far is kept; the next run goes "
            "on from there. Check that the database runs, that its disk has room, and INSIGHTS_LEDGER_URL."
        ) from None

    def one_of(
        self, column: sa.ColumnElement[str], values: Sequence[str]
    ) -> sa.ColumnElement[bool]:
        """Return the condition that a text column holds one of `values`.

        However many they are, they are one parameter.
        """
        if self.is_sqlite:
            # SQLite bounds the number of parameters; a list in JSON is one.
            listed = sa.func.json_each(json.dumps(values)).table_valued("value")
            return column.in_(sa.select(listed.c.value))
        return column == sa.any_(sa.literal(list(values), postgresql.ARRAY(sa.Text)))

    def among(
        self, column: sa.ColumnElement[str], ids: Sequence[str], every: Collection[str]
    ) -> sa.ColumnElement[bool]:
        """Return the condition that names `ids`, where the rows looked at are `every`.

        None is named where they are all: most segments end as a whole.
        """
        is_all = len(ids) >= len(every) and set(ids) >= set(every)
        return sa.true() if is_all else self.one_of(column, list(ids))

    def column_lists(
        self, connection: sa.Connection, *columns: sa.Column[Any], where: sa.ColumnElement[bool]
    ) -> list[list[Any]]:
        """Return `columns` of the rows that meet `where`, each as one list, in one order.

        They are texts and whole numbers. The database sends one value a column: row by row takes
        many times as long.
        """
        together = sa.func.json_group_array if self.is_sqlite else sa.func.array_agg
        query = sa.select(*(together(column, type_=sa.types.NullType()) for column in columns))
        found = connection.execute(query.where(where)).one()
        return [json.loads(one) if self.is_sqlite else one or [] for one in found]

    def insert_into(self, table: sa.Table) -> Any:
        """Return an insert that passes over rows whose primary key stands already."""
        keys = [column.name for column in table.primary_key]
        insert = (sqlite.insert if self.is_sqlite else postgresql.insert)(table)
        return insert.on_conflict_do_nothing(index_elements=keys)

    def upsert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert `rows`; where the primary key stands already, set `changes`.

        The default is all other columns.
        In `changes` the row that was offered is `sa.literal_column("excluded.<column>")`.
        """
        if rows:
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            self.upsert_columns(connection, table, columns, changes)

    def upsert_columns(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Mapping[str, Sequence[Any]],
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Do what `upsert` does with rows that are given as columns, all of one length."""
        if not next(iter(columns.values()), ()):
            return

        insert = (sqlite.insert if self.is_sqlite else postgresql.insert)(table)
        keys = [column.name for column in table.primary_key]
        if changes is None:
            changes = {name: insert.excluded[name] for name in columns if name not in keys}

        statement = (
            insert.on_conflict_do_update(index_elements=keys, set_=dict(changes))
            if changes
            else insert.on_conflict_do_nothing(index_elements=keys)
        )
        self.each_of_columns(connection, statement, columns)

    def each(
        self,
        connection: sa.Connection,
        statement: sa.Insert | sa.Update,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        """Execute `statement` once for each of `rows`, which all have the same keys."""
        if rows:
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            self.each_of_columns(connection, statement, columns)

    def each_of_columns(
        self,
        connection: sa.Connection,
        statement: sa.Insert | sa.Update,
        columns: Mapping[str, Sequence[Any]],
    ) -> None:
        """Execute `statement` once for each row of `columns`, which are all of one length.

        Of many rows SQLite's driver is given the values as they are bound: SQLAlchemy's own way
        takes several times as long.
        """
        rows = len(next(iter(columns.values())))
        if not self.is_sqlite and isinstance(statement, sa.Insert):
            # With something to return SQLAlchemy sends many rows in one statement, else one by one.
            statement = statement.returning(sa.literal_column("1"))

        if not self.is_sqlite or rows < MANY_ROWS:
            values = zip(*columns.values(), strict=True)
            connection.execute(statement, [dict(zip(columns, v, strict=True)) for v in values])
            return

        # Compiled once for all rows; the driver takes the values in the order of its marks.
        compiled = statement.compile(dialect=self.engine.dialect, column_keys=list(columns))
        if not isinstance(compiled, sa.sql.compiler.SQLCompiler):
            raise TypeError("not a statement")
        bound = [self._bound(compiled, name, columns, rows) for name in compiled.positiontup or ()]
        for start in range(0, rows, ROWS_AT_ONCE):
            part = [one[start : start + ROWS_AT_ONCE] for one in bound]
            connection.exec_driver_sql(str(compiled), list(zip(*part, strict=True)))

    def _bound(
        self,
        compiled: sa.sql.compiler.SQLCompiler,
        name: str,
        columns: Mapping[str, Sequence[Any]],
        rows: int,
    ) -> Sequence[Any]:
        """Return the values of one parameter, one a row, as the driver takes them."""
        kind = compiled.binds[name].type.dialect_impl(self.engine.dialect)
        process = kind.bind_processor(self.engine.dialect)
        if name not in columns:
            fixed = compiled.params[name]
            return [process(fixed) if process else fixed] * rows
        if process is None:
            return columns[name]
        # Times and reasons repeat: each value is processed once.
        known = {value: process(value) for value in set(columns[name])}
        return [known[value] for value in columns[name]]

    def migrate(self) -> None:
        """Bring the tables to the newest form; a no-op where they have it.

        Processes that start at once take turns.
        Raises ConfigurationError where a newer release has changed the tables.
        """
        with self.read() as connection:
            if _version(connection) == NEWEST:
                return
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.begin_in_any_form() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError:
                raise ConfigurationError(
                    [
                        f"The ledger at {self.where} was made by a newer release "
                        f"(its tables have version {_version(connection)}, this release knows {NEWEST}). "
                        "Install that release again, or put back a backup of before."
                    ]
                ) from None


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.scalar(
        sa.text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608  our own name
    )
    return version


def _first_line(error: BaseException | None) -> str:
    """Return the first line of what a driver says: the rest may quote rows."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    _switch_to_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: Any) -> None:
    """Let readers and a writer work side by side, however many processes make a new file at once.

    Two that switch it at the same moment would wait for each other, so SQLite turns one of them
    away at once: its own waiting does not cover that.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(BUSY_AGAIN_SECONDS)


def _begin_immediate(connection: sa.Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _prepare_postgres(connection: Any, _record: Any) -> None:
    """Bound every wait, and let times come back as UTC."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name, seconds in (
            ("lock_timeout", BUSY_SECONDS),
            ("statement_timeout", STATEMENT_SECONDS),
            ("idle_in_transaction_session_timeout", IDLE_SECONDS),
        ):
            cursor.execute(f"SET {name} = '{seconds}s'")
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.autocommit = False
