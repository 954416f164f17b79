"""A ledger on a real database: a SQLite file, and PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ledger.ledger import Ledger
from tests.postgres import Postgres
from tests.resources.ledger_support import Book


@pytest.fixture(scope="session")
def new_ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one file for all tests: each starts from a copy."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def new_ledger(
    ledger_kind: str, tmp_path: Path, new_ledger_file: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Give the address of a ledger that nobody has used yet."""
    if ledger_kind == "sqlite":
        path = tmp_path / "ledger.db"
        shutil.copy(new_ledger_file, path)
        yield f"sqlite:///{path}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield url


@pytest.fixture
def book(new_ledger: str) -> Iterator[Book]:
    """Give a new ledger, with a clock."""
    ledger = Ledger(new_ledger)
    yield Book(ledger)
    ledger.close()
