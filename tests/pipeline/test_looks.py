"""What is not ready for a moment is scored within the back-off, with the schedule off (D16, R44)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.plant import Plant, integration

Build = Callable[..., Plant]
LEAD = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@contextmanager
def model_that_does_not_load(built: Plant) -> Iterator[None]:
    """Let the market's file fail to load meanwhile."""
    file = built.market("fit") / "model.py"
    text = file.read_text()
    file.write_text("raise OSError('the share with a file of the model is away')\n")
    yield
    file.write_text(text)


@contextmanager
def field_that_is_hidden(built: Plant) -> Iterator[None]:
    """Let an output's field be hidden from the user meanwhile."""
    rights = {"object": "Lead", "field": "Fit_Score__c"}
    built.org.control("POST", "permissions/fields", rights | {"read": False, "edit": False})
    yield
    built.org.control("POST", "permissions/fields", rights | {"read": True, "edit": True})


def ticks(built: Plant, count: int) -> list[dict[str, Any]]:
    """Tick every five minutes and return the figures of the runs."""
    runs: list[dict[str, Any]] = []
    for _ in range(count):
        runs += built.tick(resumed=None)[0]
        built.wait(minutes=5)
    return runs


@pytest.mark.parametrize("glitch", [model_that_does_not_load, field_that_is_hidden])
def test_what_was_not_ready_for_a_minute_is_scored_within_the_back_off(
    plant: Build, glitch: Any
) -> None:
    """R44: nobody has to do anything, and the daily pull need not come."""
    built = plant(integration("Lead"))
    built.turn_on()
    ticks(built, 1)
    (lead,) = built.create("Lead", LEAD)
    built.wait(seconds=5)

    with glitch(built):
        (run,), _ = built.tick()
        assert not run["success"]
        _, why_not = built.ask()
    built.wait(minutes=5)
    runs = ticks(built, 2)

    assert (
        "Lead.fit is not ready since 2026-03-10 09:05 UTC, looked at again at 09:10 UTC" in why_not
    )
    assert runs[0]["job"] == "pull"
    assert all(run["success"] for run in runs)
    assert built.scored_at("Lead", lead) is not None


@pytest.mark.slow
def test_a_daily_pull_that_was_missed_meanwhile_is_made_up(plant: Build) -> None:
    """R17: for the integration that was not ready when the object's daily pull ran, with the schedule off."""
    built = plant(integration("Lead"), integration("Lead", "other", "Other"))
    (lead,) = built.create("Lead", LEAD)
    built.wait(minutes=1)
    built.set_clock(datetime(2026, 3, 10, 0, 55, tzinfo=UTC))  # 01:55 in Berlin
    built.turn_on()
    with field_that_is_hidden(built):
        ticks(built, 4)
    assert built.record("Lead", lead)["Other_Score__c"] is not None
    assert built.record("Lead", lead)["Fit_Score__c"] is None

    ticks(built, 8)

    assert built.record("Lead", lead)["Fit_Score__c"] is not None


@pytest.mark.slow
def test_what_is_not_mapped_is_not_looked_at(plant: Build) -> None:
    """R12: a person has to map it first."""
    built = plant(integration("Lead"), integration("Lead", "other", "Other") | {"inputs": {}})
    built.with_clients(_check)
    ticks(built, 3)
    built.wait(hours=2)

    assert [
        r.tags["insights/why"] for r in built.ask()[0] if "not ready" in r.tags["insights/why"]
    ] == []


def _check(clients: Any) -> None:
    from pipeline.steps.preflight import check_and_roll_out

    check_and_roll_out(clients)
