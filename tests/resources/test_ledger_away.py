"""A ledger whose database is away, locked, full, read-only, damaged or not one: said in words, never a traceback."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.core.errors import ConfigurationError
from resources.ledger import database
from resources.ledger.database import Database, LedgerAway, make_safe
from resources.ledger.ledger import Ledger
from tests.postgres import Postgres
from tests.resources.ledger_support import DAY, Book


def test_a_server_that_is_not_there_is_away_and_no_word_tells_the_password() -> None:
    """Exit code 3, with what to do."""
    with pytest.raises(LedgerAway, match=r"127\.0\.0\.1:1/l cannot be used now") as raised:
        Ledger("postgresql://me:secret@127.0.0.1:1/l?application_name=secret")

    assert raised.value.exit_code == 3
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["postgresql://me:sec@ret@host/l", "postgresql://me:s@h:x/l"])
def test_an_address_that_cannot_be_read_is_not_shown(url: str) -> None:
    """The end of a password that holds an @ reads as a host."""
    with pytest.raises(ConfigurationError, match="INSIGHTS_LEDGER_URL") as raised:
        Ledger(url)

    assert "ret" not in str(raised.value)
    assert "s@h" not in make_safe(url)


def test_a_database_that_does_not_exist_is_said_to_be_so(postgres: Postgres) -> None:
    """The server's own words name it."""
    with pytest.raises(LedgerAway, match='database "nowhere" does not exist'):
        Ledger(postgres.url("nowhere"))


def test_a_server_that_restarts_ends_one_transaction_and_the_next_goes_on(
    postgres: Postgres,
) -> None:
    """What was committed stands; nothing of the broken transaction does."""
    with postgres.database() as url:
        ledger = Ledger(url)
        ledger.calls.count(DAY, "query")
        with (
            pytest.raises(LedgerAway, match="cannot be used now"),
            ledger.database.begin() as connection,
        ):
            connection.execute(sa.text("UPDATE api_calls SET calls = 7"))
            postgres.break_connections(url)
            connection.execute(sa.text("SELECT 1"))

        assert ledger.calls.total(DAY) == 1
        ledger.close()


def test_a_connection_that_broke_between_two_transactions_is_not_noticed(
    postgres: Postgres,
) -> None:
    """It is tried before it is used."""
    with postgres.database() as url:
        ledger = Ledger(url)
        ledger.calls.count(DAY, "query")
        postgres.break_connections(url)
        ledger.calls.count(DAY, "query")

        assert ledger.calls.total(DAY) == 2
        ledger.close()


@pytest.mark.both_ledgers
def test_a_lock_held_for_long_is_not_waited_for_for_ever(
    new_ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hangs in a transaction does not hang all others."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    holder, other = Ledger(new_ledger), Ledger(new_ledger)
    with (
        holder.database.begin() as connection,
        pytest.raises(LedgerAway, match="cannot be used now"),
    ):
        connection.execute(sa.text("UPDATE api_calls SET calls = 7"))
        other.calls.count(DAY, "query")
    other.calls.count(DAY, "query")

    assert other.calls.total(DAY) == 1
    holder.close()
    other.close()


@pytest.mark.both_ledgers
def test_reading_waits_for_no_writer(new_ledger: str) -> None:
    """A status, or the opening of a ledger, goes on beside a long claim."""
    writer = Ledger(new_ledger)
    with writer.database.begin() as connection:
        connection.execute(sa.text("UPDATE api_calls SET calls = 7"))
        reader = Ledger(new_ledger)

        assert reader.calls.total(DAY) == 0
        reader.close()
    writer.close()


@pytest.mark.both_ledgers
def test_what_is_read_together_is_of_one_moment(new_ledger: str) -> None:
    """What is counted and what is used are not of two moments, between which somebody claimed."""
    ledger, other = Ledger(new_ledger), Ledger(new_ledger)
    query = sa.text("SELECT coalesce(sum(calls), 0) FROM api_calls")
    with ledger.database.read() as connection:
        before = connection.scalar(query)
        other.calls.count(DAY, "query")

        assert connection.scalar(query) == before == 0
    assert ledger.calls.total(DAY) == 1
    ledger.close()
    other.close()


def test_a_full_disk_is_said_to_be_full(book: Book) -> None:
    """SQLite's own limit on pages stands for the disk."""
    with (
        pytest.raises(LedgerAway, match="the disk is full"),
        book.ledger.database.begin() as connection,
    ):
        pages = connection.scalar(sa.text("PRAGMA page_count"))
        connection.execute(sa.text(f"PRAGMA max_page_count = {pages}"))
        connection.execute(
            sa.text("INSERT INTO market_holds VALUES ('m', :text, 1, '2026', '2026', '2026')"),
            {"text": "x" * 100_000},
        )


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_ledger_that_only_takes_reads_says_so(
    kind: str, tmp_path: Path, new_ledger_file: Path, postgres: Postgres
) -> None:
    """A stand-by server, or a file on a read-only disk."""
    if kind == "sqlite":
        path = f"file:{new_ledger_file}?mode=ro&uri=true"
        ledger = Ledger(f"sqlite:///{path}")
        with pytest.raises(LedgerAway, match=r"read.?only"):
            ledger.calls.count(DAY, "query")
        ledger.close()
        return
    with postgres.database() as url:
        name = sa.make_url(url).database
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        ledger = Ledger(url)
        with pytest.raises(LedgerAway, match="read-only"):
            ledger.calls.count(DAY, "query")
        ledger.close()


def test_a_file_that_is_no_ledger_is_not_taken_for_one(tmp_path: Path) -> None:
    """Nothing of it is changed."""
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database at all " * 100)
    with pytest.raises(ConfigurationError, match="no database, or damaged"):
        Ledger(f"sqlite:///{path}")

    assert path.read_text().startswith("these are my notes")


def test_a_folder_is_no_ledger_file(tmp_path: Path) -> None:
    """The message names the variable."""
    with pytest.raises(ConfigurationError, match="INSIGHTS_LEDGER_URL"):
        Ledger(f"sqlite:///{tmp_path}")


@pytest.mark.both_ledgers
def test_a_ledger_of_a_newer_release_is_left_alone(new_ledger: str) -> None:
    """An old release does not write into tables that it does not know."""
    ledger = Ledger(new_ledger)
    with ledger.database.begin() as connection:
        connection.execute(sa.text("UPDATE ledger_version SET version_num = '9999'"))
    ledger.close()
    with pytest.raises(ConfigurationError, match=r"newer release.*9999"):
        Ledger(new_ledger)


def test_an_error_of_ours_is_not_taken_for_the_databases(book: Book) -> None:
    """A broken rule of the tables is a mistake in the code, and stays one."""
    with pytest.raises(sa.exc.IntegrityError), book.ledger.database.begin() as connection:
        connection.execute(sa.text("INSERT INTO days (day, cap, used) VALUES ('2026-03-02', 1, 2)"))


def test_sqlite_waits_for_another_process_and_goes_on(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is given free in time is no fault."""
    path = Path(str(book.ledger.database.engine.url.database))
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        timer.start()
        book.ledger.calls.count(DAY, "query")
        timer.join()

    assert book.ledger.calls.total(DAY) == 1


def test_a_database_is_not_opened_before_it_is_used() -> None:
    """D15: loading definitions asks no server."""
    Database("postgresql://me@127.0.0.1:1/l")
