"""A ledger restored from a backup of six hours ago, and a lake that is lost: the next ticks finish the work (R15, R20, D3, D4)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED
from tests.crash.trial import FLOW, copy_database
from tests.plant import Plant, integration

Build = Callable[..., Plant]
TODAY = date(2026, 3, 10)
LIMIT = 10


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant on Lead with ten records a day, turned on; the org counts the saves of each lead."""
    plant = shared_plant(integration("Lead"), daily_record_limit=LIMIT)
    plant.through_dagster = False
    plant.org.control("POST", "flows", FLOW)
    plant.turn_on()
    return plant


@pytest.mark.slow
def test_ledger_of_six_hours_ago_makes_nothing_be_scored_again_and_forgets_no_record(
    leads: Plant, tmp_path: Path
) -> None:
    """R15, D3: what waited then and was scored since leaves the list unpushed; what is new is scored at the next tick."""
    scored = _create(leads, "A", "B")
    _ticks(leads)
    waited = _create(leads, "C", "D", "E")
    leads.run("pull", "Lead", asset_selection=_key(CHANGED_RECORDS))
    assert leads.waiting("Lead") == 3
    copy_database(_ledger(leads), tmp_path / "backup.db")
    _ticks(leads)
    leads.edit("Lead", scored[0], Company="Edited")
    since = _create(leads, "F")
    _ticks(leads)
    leads.wait(hours=6)
    _restore(leads, tmp_path / "backup.db")
    new = _create(leads, "G")

    _ticks(leads)

    saves = {scored[0]: 4, **dict.fromkeys([scored[1], *waited, *since, *new], 2)}
    assert _saves(leads) == saves
    assert leads.waiting("Lead") == 0
    assert (
        _used(leads) == 8
    )  # two scored before the backup, five after it, one after it was put back


@pytest.mark.slow
def test_ledger_put_back_lets_no_day_have_more_than_its_limit(leads: Plant, tmp_path: Path) -> None:
    """R20: what was scored since the backup is learned from the lake's files of the day, before anything is claimed."""
    _create(leads, "A", "B")
    _ticks(leads)
    copy_database(_ledger(leads), tmp_path / "backup.db")
    _create(leads, *"CDEFGH")
    _ticks(leads)
    _restore(leads, tmp_path / "backup.db")

    new = _create(leads, *"IJKLM")
    _ticks(leads)

    assert sum(_saves(leads)[lead] == 2 for lead in new) == LIMIT - 8
    assert (_used(leads), leads.waiting("Lead")) == (LIMIT, 3)
    leads.wait(days=1)
    _ticks(leads)
    assert set(_saves(leads).values()) == {2}
    assert leads.waiting("Lead") == 0


@pytest.mark.slow
def test_lost_lake_loses_history_and_no_work(leads: Plant) -> None:
    """D4: with all files gone, what waits is scored, and nothing is scored again."""
    scored = _create(leads, "A", "B")
    _ticks(leads)
    new = _create(leads, "C")
    leads.run("pull", "Lead", asset_selection=_key(CHANGED_RECORDS))
    shutil.rmtree(leads.folder / "home" / "lake")

    _ticks(leads)

    assert _saves(leads) == dict.fromkeys([*scored, *new], 2)
    assert (leads.waiting("Lead"), _used(leads)) == (0, 3)


def test_what_was_scored_on_another_machine_is_scored_again_without_another_charge(
    leads: Plant,
) -> None:
    """R20: without a shared lake the push fails and says so; the limit is not used up in green."""
    (lead,) = _create(leads, "A")
    leads.run("pull", "Lead", asset_selection=[*_key(CHANGED_RECORDS), *_key(SCORED)])
    for path in (leads.folder / "home" / "lake" / "_work").glob("*"):
        path.unlink()

    push = leads.run("score_and_push", "Lead", asset_selection=_key(PUSHED), resumed=None)
    assert not push["success"]
    assert "one shared INSIGHTS_HOME" in leads.failure()[0]
    assert (_used(leads), leads.waiting("Lead")) == (1, 1)

    leads.run("score_and_push", "Lead", resumed=None)
    assert leads.scored_at("Lead", lead)
    assert (_used(leads), leads.waiting("Lead")) == (1, 0)


def _create(plant: Plant, *names: str) -> list[str]:
    ids = plant.create(
        "Lead", *({"LastName": n, "Company": f"{n} AG", "Title": "CEO"} for n in names)
    )
    plant.wait(minutes=1)
    return ids


def _ticks(plant: Plant) -> None:
    """Tick until two ticks in a row ask for nothing; every run goes well."""
    quiet = 0
    for _ in range(12):
        plant.wait(minutes=5)
        runs, _why_not = plant.tick(resumed=None)
        assert all(run["success"] for run in runs)
        quiet = 0 if runs else quiet + 1
        if quiet == 2:
            return
    raise AssertionError("not quiet after twelve ticks")


def _key(asset: str) -> Sequence[Any]:
    import dagster as dg

    return [dg.AssetKey(asset)]


def _ledger(plant: Plant) -> Path:
    return plant.folder / "home" / "ledger.db"


def _restore(plant: Plant, backup: Path) -> None:
    """Put a backup back as docs/backup.md says: with everything stopped, in place of all three files."""
    for path in _ledger(plant).parent.glob("ledger.db*"):
        path.unlink()
    shutil.copyfile(backup, _ledger(plant))


def _saves(plant: Plant) -> dict[str, int]:
    rows = plant.org.query("SELECT Id, NumberOfEmployees FROM Lead WHERE IsDeleted = false")
    return {row["Id"]: row["NumberOfEmployees"] for row in rows}


def _used(plant: Plant) -> int:
    used: int = plant.with_clients(lambda clients: clients.ledger.days.use(TODAY, LIMIT).used)
    return used
