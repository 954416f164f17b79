"""One database behind the ledger: SQLite in WAL mode on a local disk, or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

BUSY_SECONDS: Final = 60
MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEWEST: Final = "0001"
"""The newest migration: where the tables have it, alembic need not be imported. A test holds it to the folder."""


def normalised_url(url: str) -> str:
    """Return `url` with the driver that is installed: plain `postgresql://` would mean another one."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    return url


class Database:
    """An engine, its transactions, and the few statements that the two dialects say differently."""

    def __init__(self, url: str) -> None:
        """Open `url` (`sqlite:///path` or `postgresql://…`) without touching it yet."""
        self.url = normalised_url(url)
        self.is_sqlite = self.url.startswith("sqlite")
        if self.is_sqlite:
            path = sa.make_url(self.url).database
            if path:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(self.url, connect_args={"timeout": BUSY_SECONDS})
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_immediate)
        else:
            self.engine = sa.create_engine(self.url, pool_pre_ping=True)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Run one write transaction: on SQLite it takes the write lock at once, so nothing is decided on old rows."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Run reads that belong together."""
        with self.engine.connect() as connection:
            yield connection.execution_options(read_only=True)
            connection.rollback()

    def upsert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert `rows`; where the primary key stands already, set `changes` (default: all other columns).

        In `changes` the row that was offered is `sa.literal_column("excluded.<column>")`.
        """
        if not rows:
            return
        insert = (sqlite.insert if self.is_sqlite else postgresql.insert)(table)
        keys = [column.name for column in table.primary_key]
        if changes is None:
            changes = {name: insert.excluded[name] for name in rows[0] if name not in keys}
        statement = (
            insert.on_conflict_do_update(index_elements=keys, set_=dict(changes))
            if changes
            else insert.on_conflict_do_nothing(index_elements=keys)
        )
        connection.execute(statement, [dict(row) for row in rows])

    def migrate(self) -> None:
        """Bring the tables to the newest form; a no-op where they have it."""
        if self._version() == NEWEST:
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["engine"] = self.engine
        command.upgrade(config, "head")

    def _version(self) -> str | None:
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            version: str | None = connection.scalar(
                sa.text("SELECT version_num FROM alembic_version")
            )
            return version


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
