"""Fixtures for tests that drive the real pipeline against the local org."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, start
from tests.plant import FIELDS, Plant, clean
from tests.postgres import Postgres, postgres_server

PLANT_VARIABLES = {"SALESFORCE_CLIENT_ID": CLIENT_ID, "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET}

LEDGERS = ("sqlite", "postgres")

LONGEST = ("tests/simulation/", "tests/ui/", "tests/crash/", "tests/end_to_end/", "tests/fuzz/")
"""These begin first, so that none of them is what the other processes wait for in the end."""

OF_A_FILE = ("restored_ledger", "ledger_from_a_backup", "processes_that_pull_at_once")
"""In the names of tests that copy or share the SQLite file: they stay on it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `pytest --ledger=postgres` run all that uses a ledger on PostgreSQL, and `both` on both."""
    parser.addoption(
        "--ledger",
        choices=(*LEDGERS, "both"),
        help="the ledger's database in all tests that use one; by default each module chooses",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the order up in which processes take the tests."""
    config.option.loadscopereorder = False  # by number of tests; `LONGEST` knows better


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the tests into the order in which processes take them."""

    def begins(item: pytest.Item) -> int:
        return next((n for n, start in enumerate(LONGEST) if item.nodeid.startswith(start)), 9)

    items.sort(key=begins)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start one process more than there are cores: tests of daemons and browsers mostly wait."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Keep a file's tests in one process, and all tests of the UI: they share one running site."""
    return _ByFile(config, log)


class _ByFile(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "tests/ui" if file.startswith("tests/ui/") else file


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on SQLite; where its module or it is marked `both_ledgers`, on PostgreSQL as well.

    What drives a plant end to end does without Dagster's engine unless it is marked `dagster_runs`; marked slow, each
    such test runs once more through Dagster, on PostgreSQL.
    """
    names = ("ledger_kind", "through_dagster")
    given = [name for name in names if name in metafunc.fixturenames]
    variants = _variants(metafunc)
    if given and variants != [(LEDGERS[0], True, False)]:
        parameters = [_parameter(given, *variant) for variant in variants]
        metafunc.parametrize(given, parameters, indirect=True)


def _variants(metafunc: pytest.Metafunc) -> list[tuple[str, bool, bool]]:
    """Return in which forms a test runs: the ledger, whether through Dagster, and whether marked slow."""
    test, chosen = metafunc.definition, metafunc.config.getoption("ledger")
    of_a_file = any(words in test.name for words in OF_A_FILE)
    both = any(test.iter_markers("both_ledgers")) or chosen == "both"
    end_to_end = test.path.parent.name == "end_to_end"
    by_dagster = not end_to_end or any(test.iter_markers("dagster_runs"))

    kinds = LEDGERS if both else (chosen or LEDGERS[0],)
    variants = [(kind, by_dagster, False) for kind in (LEDGERS[:1] if of_a_file else kinds)]
    of_a_file |= "ledger_kind" not in metafunc.fixturenames
    thorough = LEDGERS[0] if of_a_file else LEDGERS[1]
    if end_to_end and any(test.iter_markers("slow")):
        # It runs once, in the form that shows most.
        return [(thorough, True, True)]
    if end_to_end and (thorough, True, False) not in variants:
        variants.append((thorough, True, True))
    return variants


def _parameter(given: Sequence[str], ledger: str, by_dagster: bool, slow: bool) -> Any:
    values = {"ledger_kind": ledger, "through_dagster": by_dagster}
    name = ledger if by_dagster else f"{ledger}-without-dagster"
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(*(values[one] for one in given), marks=marks, id=name)


@pytest.fixture(autouse=True)
def _logging_is_on() -> None:
    """Undo what an earlier test of the process may have switched off: log lines are looked at."""
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run one PostgreSQL server for all tests."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def ledger_kind(request: pytest.FixtureRequest) -> str:
    """Say which database the test's ledger is in."""
    return str(getattr(request, "param", LEDGERS[0]))


@pytest.fixture
def through_dagster(request: pytest.FixtureRequest) -> bool:
    """Say whether the plant's work runs go through Dagster's engine."""
    return bool(getattr(request, "param", True))


@pytest.fixture
def plant_ledger(ledger_kind: str, request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Give the address of a new ledger on PostgreSQL; None where the plant makes its own SQLite file."""
    if ledger_kind == "sqlite":
        yield None
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield url


@pytest.fixture
def plant(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant_ledger: str | None,
    through_dagster: bool,
) -> Iterator[Callable[..., Plant]]:
    """Start an org with the test markets' fields and give what builds a plant on it.

    Its start takes a second: only tests that change the org's fields or rights need one of their own.
    """
    with start(tmp_path / "org.sqlite3") as org:
        org.add_fields(**FIELDS)
        monkeypatch.setenv("SALESFORCE_LOGIN_URL", org.base_url)
        for name, value in PLANT_VARIABLES.items():
            monkeypatch.setenv(name, value)

        def build(*integrations: Any, **settings: Any) -> Plant:
            return Plant(
                org,
                tmp_path,
                settings=settings,
                integrations=integrations,
                in_memory=True,
                through_dagster=through_dagster,
                ledger=plant_ledger,
            )

        yield build


@pytest.fixture(scope="session")
def shared_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """Run one org with the test markets' fields for all tests that clean it before use."""
    with start(tmp_path_factory.mktemp("org") / "org.sqlite3") as org:
        org.add_fields(**FIELDS)
        yield org


@pytest.fixture
def shared_plant(
    shared_org: RunningOrg,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant_ledger: str | None,
    through_dagster: bool,
) -> Callable[..., Plant]:
    """Give what builds a plant on the shared org, cleaned, with Dagster's runs in memory."""
    clean(shared_org)
    monkeypatch.setenv("SALESFORCE_LOGIN_URL", shared_org.base_url)
    for name, value in PLANT_VARIABLES.items():
        monkeypatch.setenv(name, value)

    def build(*integrations: Any, **settings: Any) -> Plant:
        return Plant(
            shared_org,
            tmp_path,
            settings=settings,
            integrations=integrations,
            in_memory=True,
            through_dagster=through_dagster,
            ledger=plant_ledger,
        )

    return build
