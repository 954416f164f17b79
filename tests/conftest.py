"""Fixtures for tests that drive the real pipeline against the local org."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, start
from tests.plant import FIELDS, Plant, clean

PLANT_VARIABLES = {"SALESFORCE_CLIENT_ID": CLIENT_ID, "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET}


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Plant]]:
    """Start an org with the test markets' fields and give what builds a plant on it."""
    with start(tmp_path / "org.sqlite3") as org:
        org.add_fields(**FIELDS)
        monkeypatch.setenv("SALESFORCE_LOGIN_URL", org.base_url)
        for name, value in PLANT_VARIABLES.items():
            monkeypatch.setenv(name, value)

        def build(*integrations: Any, **settings: Any) -> Plant:
            return Plant(
                org, tmp_path, settings=settings, integrations=integrations, in_memory=True
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
    shared_org: RunningOrg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Plant]:
    """Give what builds a plant on the shared org, cleaned, with Dagster's runs in memory."""
    clean(shared_org)
    monkeypatch.setenv("SALESFORCE_LOGIN_URL", shared_org.base_url)
    for name, value in PLANT_VARIABLES.items():
        monkeypatch.setenv(name, value)

    def build(*integrations: Any, **settings: Any) -> Plant:
        return Plant(
            shared_org, tmp_path, settings=settings, integrations=integrations, in_memory=True
        )

    return build
