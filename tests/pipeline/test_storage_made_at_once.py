"""Dagster's storage is made by one process at a time: two at once leave it broken for good (D27)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from local_org.launch import RunningOrg
from pipeline import instance
from pipeline.core.errors import CannotProceedNow, ConfigurationError
from pipeline.instance import LOCK, make_storage
from resources import file_lock
from tests.pipeline.test_cli import ROOT, START, Site, _site

TIMES = 2
AT_ONCE = 3


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh home folder, in which Dagster's own is made."""
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)
    return tmp_path / "home"


def heads(folder: Path) -> dict[str, int]:
    """Return by database file how many versions alembic believes it to have."""
    found = {}
    for path in sorted(folder.rglob("*.db")):
        with closing(sqlite3.connect(path)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
            if ("alembic_version",) in tables:
                rows = connection.execute("SELECT count(*) FROM alembic_version").fetchone()
                found[path.name] = int(rows[0])
    return found


def test_storage_is_made_under_a_lock_and_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process makes it, nothing is touched; once made, Dagster is not asked again."""
    dagster = home / "dagster"
    dagster.mkdir(parents=True)
    with file_lock.file_lock(dagster / LOCK, AssertionError()), monkeypatch.context() as hasty:
        hasty.setattr(file_lock, "WAIT_SECONDS_MAX", 0.0)
        with pytest.raises(CannotProceedNow, match="making Dagster's storage"):
            make_storage()
        assert heads(dagster) == {}

    make_storage()

    assert heads(dagster) == {"index.db": 1, "runs.db": 1, "schedules.db": 1}
    monkeypatch.setattr(instance, "shared_instance", None)
    make_storage()


def test_a_home_that_dagster_refuses_is_wrong_configuration(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2, with the folder; no traceback."""
    monkeypatch.setenv("DAGSTER_HOME", str(home / "none"))

    with pytest.raises(ConfigurationError, match=r"none cannot be used: .* Check DAGSTER_HOME"):
        make_storage()


@pytest.fixture
def site(shared_org: RunningOrg, tmp_path: Path) -> Site:
    """A site where nothing has run yet."""
    return _site(shared_org, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("time", range(TIMES))
def test_commands_that_begin_at_once_on_a_fresh_home_leave_it_whole(site: Site, time: int) -> None:
    """Real processes, several times over: without the lock about every other time goes wrong."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", START, "check"],
            cwd=ROOT,
            env=site.env(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for _ in range(AT_ONCE)
    ]
    said = [process.communicate()[1].decode() for process in started]

    assert [process.returncode for process in started] == [0] * AT_ONCE, said
    assert heads(site.folder / "home") == {"index.db": 1, "runs.db": 1, "schedules.db": 1}
