"""A local org as a process of its own, and clients of it that do not wait between tries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, spawn
from resources.salesforce.calls import PollPolicy, RetryPolicy
from resources.salesforce.client import Salesforce
from resources.salesforce.connection import ClientCredentials

FIELDS: dict[str, dict[str, Any]] = {
    "Score__c": {"type": "Number", "precision": 3, "scale": 0},
    "Rank__c": {"type": "Text", "length": 1},
    "Hot__c": {"type": "Checkbox", "defaultValue": "false"},
    "Note__c": {"type": "TextArea"},
    "Scored__c": {"type": "DateTime"},
    "Day__c": {"type": "Date"},
}
_numbers = itertools.count()

MakeClient = Callable[..., Salesforce]


@pytest.fixture(scope="session")
def running_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """Run one org for all tests; `org` gives it back as new but for its records."""
    org = spawn(tmp_path_factory.mktemp("org") / "org.sqlite3")
    try:
        org.add_fields(**FIELDS)
        yield org
    finally:
        org.stop()
        if org.process is not None and org.process.stdout is not None:
            org.process.stdout.close()


@pytest.fixture(scope="session")
def default_options(running_org: RunningOrg) -> dict[str, Any]:
    """Give the options of an org that nobody has touched."""
    options: dict[str, Any] = running_org.control("GET", "options")
    return options


@pytest.fixture
def org(running_org: RunningOrg, default_options: dict[str, Any]) -> RunningOrg:
    """Give the org without faults, changed options, a moved clock, or counted calls."""
    running_org.clear_faults()
    running_org.control("POST", "options", default_options)
    running_org.control("POST", "clock", {"offset_seconds": 0, "frozen": False})
    running_org.control("DELETE", "calls")
    return running_org


@pytest.fixture
def client_for(org: RunningOrg) -> Iterator[MakeClient]:
    """Make clients of the org that retry without waiting, and close them."""
    made: list[Salesforce] = []

    def make(connection: Any = None, **options: Any) -> Salesforce:
        options.setdefault("retry", RetryPolicy().without_waiting())
        options.setdefault("poll", PollPolicy(first_seconds=0.02, longest_seconds=0.2))
        used = connection or ClientCredentials(org.base_url, CLIENT_ID, CLIENT_SECRET)
        made.append(Salesforce(used, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(client_for: MakeClient) -> Salesforce:
    """Give a client with the default connection."""
    return client_for()


@pytest.fixture
def company() -> str:
    """Give a company name that no other test's records have."""
    return f"Company {next(_numbers)}"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Give the place of a refresh token."""
    return tmp_path / "refresh-token"
