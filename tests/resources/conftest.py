"""A ledger on a real SQLite file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ledger.ledger import Ledger
from tests.resources.ledger_support import Book


@pytest.fixture(scope="session")
def new_ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one file for all tests: each starts from a copy."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def book(tmp_path: Path, new_ledger_file: Path) -> Iterator[Book]:
    """Give a new ledger, with a clock."""
    path = tmp_path / "ledger.db"
    shutil.copy(new_ledger_file, path)
    ledger = Ledger(f"sqlite:///{path}")
    yield Book(ledger)
    ledger.close()
