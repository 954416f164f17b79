"""A running org for the HTTP tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_org import launch
from tests.local_org.support import FIELDS, Api


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[launch.RunningOrg]:
    """One org process for the tests of a module."""
    data: Path = tmp_path_factory.mktemp("org") / "org.sqlite3"
    with launch.start(data) as org:
        org.add_fields(**FIELDS)
        yield org


@pytest.fixture
def org(running: launch.RunningOrg) -> Iterator[launch.RunningOrg]:
    """The module's org; faults, options and clock are put back after each test."""
    options = running.control("GET", "options")
    yield running
    running.clear_faults()
    running.control("POST", "options", options)
    running.control("POST", "clock", {"frozen": False, "offset_seconds": 0})


@pytest.fixture
def api(org: launch.RunningOrg) -> Api:
    """The integration user's session."""
    return Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)


@pytest.fixture
def admin(org: launch.RunningOrg) -> Api:
    """The admin's session."""
    return Api(org, launch.ADMIN_CLIENT_ID, launch.ADMIN_CLIENT_SECRET)


@pytest.fixture
def lead_ids(org: launch.RunningOrg) -> list[str]:
    """Ten fresh leads."""
    return org.load(
        "Lead",
        [{"LastName": f"Person {n}", "Company": f"Firm {n}"} for n in range(10)],
    )
