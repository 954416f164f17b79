"""What the last release left in the middle of its work is taken over by this code and finished (R15, R20, R23, D26)."""

from __future__ import annotations

import json
import tarfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dagster as dg
import psycopg2
import pytest
from dagster._core.definitions.selector import InstigatorSelector

# What this code calls its own stands here: its names change, what they do does not.
from assets.partitions import partition_key
from assets.step_runs import WORK_TAG
from pipeline.jobs import OBJECT_TAG
from pipeline.steps.asking.complete import day_states
from pipeline.steps.asking.status import status as report
from pipeline.steps.pause import resume
from tests.releases.interface import recorded_interface
from tests.releases.standing import (
    OBJECTS,
    StandingPlant,
    materialized,
    moment,
    pushed_by_day,
    read_story,
    standing_org,
    stored_cursor,
    switches,
)

HERE: Final = Path(__file__).parent
RELEASE: Final = HERE / "0.1.0"
ROOT: Final = HERE.parents[1]
SENSOR: Final = "salesforce_changes"
SCHEDULE: Final = "daily_pull_schedule"
DAYS_MAX: Final = 4
TICKS_A_DAY: Final = 6
NOTES: Final = {
    "Account": ("Name, Site, Fit_Note__c note", "Name", "Site"),
    "Contact": ("Account.Name, Title, Fit_Note__c note, Other_Note__c", "Account", "Title"),
    "Lead": ("Company, Title, Fit_Note__c note, Wide_Note__c, Wide_Score__c", "Company", "Title"),
}


@dataclass
class TakenOver:
    """A state that was taken over: its plant, what its release told of it, and what was seen since."""

    plant: StandingPlant
    story: Mapping[str, Any]
    edits: Counter[str] = field(default_factory=Counter)
    """Saves by people since then."""

    in_paused_segment: set[str] = field(default_factory=set)
    """Records that a segment of the paused integration holds: to resume it may ask for them once more."""

    def ticks(self, most: int, minutes: int) -> None:
        """Let ticks go by, until one asks for nothing or nothing is owed; every run goes well."""
        for _ in range(most):
            self.plant.wait(minutes=minutes)
            runs, _why_not = self.plant.tick(resumed=None)
            assert all(run["success"] for run in runs), runs
            if not runs or not self.owed():
                return

    def owed(self) -> Counter[str]:
        """Return how many pushes each record still has to come."""
        saves, told = self.plant.saves(), self.story
        wanted = Counter(told["saves"]) + Counter(told["owed"]) + self.edits
        wanted.subtract(saves)
        for record in self.in_paused_segment:
            if wanted[record] == -1:
                del wanted[record]
        return Counter({record: n for record, n in wanted.items() if n})

    def status(self) -> dict[str, Any]:
        """Return what `insights status --json` tells."""
        told: dict[str, Any] = self.plant.with_clients(lambda clients: report(clients).as_json())
        return told

    def state_of(self, integration: str) -> str:
        """Return how an integration stands."""
        return {row["integration"]: row["state"] for row in self.status()["integrations"]}[
            integration
        ]

    def holds(self) -> set[str]:
        """Return the markets that are held."""
        held: set[str] = self.plant.with_clients(lambda clients: set(clients.ledger.holds.all()))
        return held

    def failures(self) -> dict[str, list[str]]:
        """Return code and message of the records that fail for reasons of their own."""
        return {
            row.record_id: [row.error_code, row.error_message]
            for row in self.plant.failures()
            if row.held_for is None
        }


@contextmanager
def taken_over(
    archive: Path, folder: Path, environment: Any, ledger: str | None = None
) -> Iterator[TakenOver]:
    """Unpack a state, start its org, and give what this code makes of it."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    if ledger is not None:
        _restore(folder / "ledger.sql", ledger)
    story = read_story(folder)
    with standing_org(folder, environment) as org:
        plant = StandingPlant(
            org,
            folder,
            now=moment(story["now"]),
            in_memory=ledger is not None,
            ledger=ledger,
        )
        plant.cursor = stored_cursor(plant.instance) or story["cursor"]
        unfinished = org.query("SELECT Id FROM Account WHERE Mintigo_hash__c = null")
        yield TakenOver(plant, story, in_paused_segment={row["Id"] for row in unfinished})
        plant.instance.dispose()


def _restore(dump: Path, url: str) -> None:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(dump.read_text())
    connection.close()


@pytest.fixture(
    params=[pytest.param("sqlite"), pytest.param("postgres", marks=pytest.mark.slow)],
)
def state(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TakenOver]:
    """The last release's state, on both databases; on SQLite with Dagster's own storage as it stood."""
    if request.param == "sqlite":
        with taken_over(RELEASE / "state.tar.xz", tmp_path, monkeypatch.setenv) as state:
            yield state
        return
    postgres = request.getfixturevalue("postgres")
    archive = RELEASE / "state-postgres.tar.xz"
    with (
        postgres.database("template1") as url,
        taken_over(archive, tmp_path, monkeypatch.setenv, url) as state,
    ):
        yield state


@pytest.mark.timeout(900)
def test_work_that_the_last_release_began_is_finished(state: TakenOver) -> None:
    """D26: nothing is lost, scored twice or over the limit, and everything stands as people had set it."""
    _stands_as_it_was_left(state)

    _rest_of_the_day(state)
    state.ticks(1, minutes=61)
    state.plant.with_clients(lambda clients: resume(clients, "Account.fit"))
    _days_until_done(state)

    assert not state.owed()
    assert not state.holds()
    assert _values_are_current(state)
    assert _nothing_is_due(state)
    assert state.failures() == state.story["failing"]
    assert state.status()["waiting_total"] == len(state.story["failing"])
    assert _days_not_complete(state) == _days_of_failures(state)
    _no_day_is_over_the_limit(state)
    assert all(job["ended"] for job in state.plant.org.control("GET", "jobs"))
    _dagster_has_kept_everything(state)


def test_state_of_the_last_release_holds_every_reason_and_state() -> None:
    """D26: what the fixture does not hold, the test above would not show."""
    for archive in ("state.tar.xz", "state-postgres.tar.xz"):
        with tarfile.open(RELEASE / archive) as tar:
            file = tar.extractfile("story.json")
            assert file is not None
            story = json.load(file)
        values = json.loads((RELEASE / "interface.json").read_text())["values"]
        assert set(story["reasons"]) == set(values["reasons"])
        assert set(story["segments"]) == set(values["segment_states"])
        assert set(story["jobs"]) == {"open", "closed", "settled", "aborted"}
        assert len(story["failing"]) == 2
        assert all(story["pushed_by_day"].values())


def test_what_others_build_on_is_as_in_the_last_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D26: stored values, Dagster's names and the keys of `--json` may grow; none changes or goes."""
    then = json.loads((RELEASE / "interface.json").read_text())

    now = recorded_interface(tmp_path / "plant", monkeypatch.setenv)

    assert _gone(then, now) == []


# -- what is asked of a state ------------------------------------------------------------------------


def _stands_as_it_was_left(state: TakenOver) -> None:
    """Before anything is done: people's switches, failures and the sensor's memory."""
    assert state.failures() == state.story["failing"]
    assert state.state_of("Account.fit") == "paused"
    assert state.holds() == {"other"}
    _dagster_has_kept_everything(state)


def _rest_of_the_day(state: TakenOver) -> None:
    """Go on from where the release stood; what rests goes on resting. A trial releases the held market."""
    known = json.loads(state.story["cursor"])
    assert state.plant.cursor == state.story["cursor"]
    state.ticks(1, minutes=12)
    assert json.loads(state.plant.cursor or "{}").keys() >= known.keys()
    assert state.state_of("Account.fit") == "paused"


def _days_until_done(state: TakenOver) -> None:
    """Let days pass, each with its daily pulls and ticks."""
    for _ in range(DAYS_MAX):
        state.ticks(TICKS_A_DAY, minutes=20)
        if not state.owed():
            return
        tomorrow = state.plant.now.replace(hour=1, minute=0)
        state.plant.set_clock(tomorrow)
        state.plant.wait(days=1)
        _daily_pulls(state)


def _daily_pulls(state: TakenOver) -> None:
    """Run what the schedule asks for now on Lead; the sensor makes up for the others."""
    plant = state.plant
    with dg.build_schedule_context(
        scheduled_execution_time=plant.now,
        repository_def=plant.definitions.get_repository_def(),
        resources=dict(plant.definitions.resources or {}),
    ) as context:
        asked = plant.definitions.resolve_schedule_def(SCHEDULE).evaluate_tick(context)
    plant.wait(minutes=1)
    for request in asked.run_requests or ():
        key = str(request.partition_key)
        if not key.endswith("Lead"):
            continue
        figures = plant.execute("daily_pull", key, request.tags, resumed=None)
        assert figures["success"]


def _values_are_current(state: TakenOver) -> bool:
    """Say whether each record carries its markets' values of what stands in it now, and none of those that left."""
    for name, (fields, company, title) in NOTES.items():
        asked = fields.replace(" note", "")
        soql = f"SELECT Id, Mintigo_hash__c, {asked} FROM {name}"
        for row in state.plant.org.query(soql):
            if row["Id"] in state.story["failing"]:
                continue
            text = f"{(row[company] or '') if name != 'Contact' else ''}|{row[title] or ''}"
            assert row["Fit_Note__c"] == text, row
            assert row.get("Other_Note__c", text) == text, row
            assert row.get("Wide_Note__c") is None, row
            assert row.get("Wide_Score__c") is None, row
            assert row["Mintigo_hash__c"], row
    return True


def _nothing_is_due(state: TakenOver) -> bool:
    """Say whether all leads are read anew and found to carry the digests of their values."""
    rows = state.plant.org.query("SELECT Id, LastName FROM Lead")
    leads = {row["Id"]: row["LastName"] for row in rows if row["Id"] not in state.story["failing"]}
    for lead, name in leads.items():
        state.plant.edit("Lead", lead, LastName=name)
        state.edits[lead] += 1
    state.plant.wait(minutes=1)
    key = str(partition_key(state.plant.today, "Lead"))
    figures = state.plant.execute("pull", key, {OBJECT_TAG: "Lead", WORK_TAG: "true"}, resumed=None)
    return (figures["not_due"], figures["due"]) == (len(leads), 0) and not state.owed()


def _days_not_complete(state: TakenOver) -> int:
    """Return how many records wait of all days that are not complete, redone days among them."""

    def waiting(clients: Any) -> int:
        days = [day for name in OBJECTS for day in day_states(clients, name).values()]
        return sum(day.waiting for day in days)

    counted: int = state.plant.with_clients(waiting)
    return counted


def _days_of_failures(state: TakenOver) -> int:
    return len(state.story["failing"])


def _no_day_is_over_the_limit(state: TakenOver) -> None:
    """R20, as the org saw it: by the rows of its bulk jobs."""
    days = pushed_by_day(state.plant.org)
    assert (
        days.items()
        >= {
            day: n
            for day, n in state.story["pushed_by_day"].items()
            if day < state.story["now"][:10]
        }.items()
    )
    assert max(days.values()) <= state.story["limit"], days


def _dagster_has_kept_everything(state: TakenOver) -> None:
    """Past partitions are materialized still, and sensor and schedule are on, under the names they have now."""
    if state.plant.in_memory:
        return
    instance, told = state.plant.instance, state.story
    now = materialized(instance, list(told["materialized"]))
    lost = {name: set(keys) - set(now[name]) for name, keys in told["materialized"].items()}
    assert not any(lost.values()), lost
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    repository = state.plant.definitions.get_repository_def()
    assert repository.has_sensor_def(SENSOR)
    assert repository.has_schedule_def(SCHEDULE)
    for name in (SENSOR, SCHEDULE):
        selector = InstigatorSelector(
            location_name=project["code_location_name"],
            repository_name=repository.name,
            name=name,
        )
        assert switches(instance)[selector.get_id()] == "RUNNING"


def _gone(then: Any, now: Any, at: str = "") -> list[str]:
    """Return what stood in `then` and does not in `now`: keys, entries of sets of names, or the value itself."""
    if isinstance(then, dict):
        return [
            lost
            for key, value in then.items()
            for lost in (_gone(value, now[key], f"{at}/{key}") if key in now else [f"{at}/{key}"])
        ]
    if isinstance(then, list) and isinstance(now, list) and not at.endswith(("digests", "hashes")):
        return [f"{at}: {entry}" for entry in then if entry not in now]
    return [] if then == now else [f"{at}: {then} is {now}"]
