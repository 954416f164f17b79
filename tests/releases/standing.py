"""A plant that stands in a folder as a user's would: state that a test can pack, unpack and go on with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import dagster as dg

from local_org.launch import RunningOrg, start
from tests.plant import CLIENT_ID, CLIENT_SECRET, Plant

OBJECTS: Final = ("Account", "Contact", "Lead")
ZONE: Final = ZoneInfo("Europe/Berlin")
SAVES: Final = "Saves__c"
"""A number on each object that the org raises by one at every save, whoever saves."""

ORG_FILE: Final = "org.sqlite3"
STORY: Final = "story.json"
"""What the story's end looked like and what it owes, told by the script that played it."""


@dataclass
class StandingPlant(Plant):
    """A plant on a DAGSTER_HOME and a configuration of its own folder, made anew only where there are none."""

    def __post_init__(self) -> None:
        dagster = self.folder / "dagster"
        dagster.mkdir(exist_ok=True)
        self.instance = (
            dg.DagsterInstance.ephemeral(tempdir=str(dagster))
            if self.in_memory
            else dg.DagsterInstance.from_config(str(dagster))
        )
        if self.integrations:
            self.configure(*self.integrations)
        else:
            self._define()
        self.set_clock(self.now)

    def saves(self) -> dict[str, int]:
        """Return how often each record was saved, by anybody."""
        rows = [
            row
            for name in OBJECTS
            for row in self.org.query(f"SELECT Id, {SAVES} FROM {name} WHERE IsDeleted = false")
        ]
        return {row["Id"]: int(row[SAVES] or 0) for row in rows}


@contextmanager
def standing_org(folder: Path, environment: Callable[[str, str], None]) -> Iterator[RunningOrg]:
    """Run the org that lies in `folder` and name it in the environment."""
    with start(folder / ORG_FILE) as org:
        environment("SALESFORCE_LOGIN_URL", org.base_url)
        environment("SALESFORCE_CLIENT_ID", CLIENT_ID)
        environment("SALESFORCE_CLIENT_SECRET", CLIENT_SECRET)
        yield org


def stored_cursor(instance: dg.DagsterInstance) -> str | None:
    """Return the sensor's cursor as Dagster stores it; None where it stores none."""
    data = [state.instigator_data for state in _instigators(instance)]
    cursors = [cursor for one in data if (cursor := getattr(one, "cursor", None))]
    return cursors[0] if cursors else None


def switches(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return how each switch of a sensor or schedule stands, by the id that Dagster knows it by."""
    return {state.selector_id: state.status.value for state in _instigators(instance)}


def _instigators(instance: dg.DagsterInstance) -> Sequence[Any]:
    """Return what Dagster stores of sensors and schedules; an instance in memory stores nothing of them."""
    return instance.all_instigator_state() if instance.schedule_storage else ()


def materialized(instance: dg.DagsterInstance, assets: Sequence[str]) -> dict[str, list[str]]:
    """Return the materialized partitions of each asset."""
    return {
        name: sorted(instance.get_materialized_partitions(dg.AssetKey([name]))) for name in assets
    }


def pushed_by_day(org: RunningOrg) -> dict[str, int]:
    """Return how many rows the org took in bulk jobs, by the day in the settings' time zone."""
    days: Counter[str] = Counter()
    for job in org.control("GET", "jobs"):
        if job["kind"] == "ingest":
            created = datetime.strptime(job["created_date"], "%Y-%m-%dT%H:%M:%S.%f%z")
            days[created.astimezone(ZONE).date().isoformat()] += job["processed"] - job["failed"]
    return {day: records for day, records in sorted(days.items()) if records}


def written_story(folder: Path, **story: Any) -> None:
    """Write the story's end into its folder."""
    (folder / STORY).write_text(json.dumps(story, indent=1, sort_keys=True, default=str))


def read_story(folder: Path) -> Mapping[str, Any]:
    """Read the story's end."""
    story: Mapping[str, Any] = json.loads((folder / STORY).read_text())
    return story


def moment(text: str) -> datetime:
    """Read a time of the story."""
    return datetime.fromisoformat(text)
