"""The demo's stage: the local org with its fields and people, and the environment that points at it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import yaml

from demo.companies import companies
from demo.people import ACCOUNT_KEY, contacts, leads
from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, spawn
from pipeline.instance import name_the_driver, write_dagster_yaml

ROOT: Final = Path(__file__).parent.parent
HOME: Final = ROOT / ".insights" / "demo"
CONFIG: Final = ROOT / "config" / "local"
SEED: Final = 20260102
CONTACTS: Final = 2_600
LEADS: Final = 5_200
DAYS_AGO: Final = 60
DAYS_ON: Final = 2
SCORED_LONG_AGO: Final = 400
DAYS_SINCE_SCORED: Final = 45


def start_org(home: Path = HOME, *, port: int = 0) -> RunningOrg:
    """Start the local org on the data in `home`; where there are none, it is an empty one."""
    home.mkdir(parents=True, exist_ok=True)
    return spawn(home / "org.db", port=port)


def environment(org: RunningOrg, home: Path = HOME) -> dict[str, str]:
    """Return the variables that point the pipeline at `org`."""
    return {
        "DAGSTER_HOME": str(prepare_dagster_home(home)),
        **{name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"},
        "INSIGHTS_HOME": str(home),
        "INSIGHTS_CONFIG": str(CONFIG),
        "SALESFORCE_LOGIN_URL": org.base_url,
        "SALESFORCE_CLIENT_ID": CLIENT_ID,
        "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
    }


def prepare_dagster_home(home: Path) -> Path:
    """Return the demo's Dagster home, with the project's settings in it."""
    folder = home / "dagster"
    name_the_driver()
    write_dagster_yaml(folder)
    return folder


def is_seeded(org: RunningOrg) -> bool:
    """Say whether the org has its companies already."""
    return bool(org.query("SELECT Id FROM Account LIMIT 1"))


def seed(org: RunningOrg) -> dict[str, int]:
    """Fill the org as it would have grown: companies and people, made and last touched months ago.

    Returns the number of records by object. Some leads carry scores of long ago, some accounts a legal hold.
    """
    make_fields(org)
    org.control("POST", "clock", {"offset_seconds": -DAYS_AGO * 86_400})
    accounts = companies()
    account_ids = org.load("Account", accounts)
    people = contacts(SEED, CONTACTS)
    for person in people:
        if ACCOUNT_KEY in person:
            person["AccountId"] = account_ids[person.pop(ACCOUNT_KEY)]
    org.load("Contact", people)
    prospects = leads(SEED, LEADS)
    for prospect in prospects[:SCORED_LONG_AGO]:
        prospect["Mintigo_hash__c"] = "1"
        prospect["Mintigo_update_datetime__c"] = _days_ago(DAYS_SINCE_SCORED)
    org.load("Lead", prospects)
    org.control("POST", "clock", {"offset_seconds": 0})
    return {"Account": len(accounts), "Contact": len(people), "Lead": len(prospects)}


def turn_on(org: RunningOrg, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Check the integrations as of two days ago, which turns the objects on; return what that printed.

    So a daily pull is missing at any hour of the day, and the sensor makes it up at its first tick (R17).
    """
    org.control("POST", "clock", {"offset_seconds": -DAYS_ON * 86_400})
    checked = insights(["check"], variables)
    org.control("POST", "clock", {"offset_seconds": 0})
    return checked


def make_fields(org: RunningOrg) -> None:
    """Make the custom fields that the sample markets need, as an admin would in Setup."""
    by_object = yaml.safe_load((CONFIG / "schema.yaml").read_text(encoding="utf-8"))
    fields = {
        f"{name}.{field.pop('name')}": field
        for name, listed in by_object.items()
        for field in listed
    }
    org.control("POST", "fields", {"fields": fields})


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def insights(
    arguments: Sequence[str], variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the command `insights` as a user would, and return what it printed."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *arguments]
    return subprocess.run(  # noqa: S603  our own command
        command, env=dict(variables), cwd=ROOT, text=True, capture_output=True, check=False
    )
