"""Scores that look like garbage wait for a person before they are pushed (R8, R29)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.core.scoring.drift import RECORDS_MIN
from pipeline.steps.asking.alerts import situations
from pipeline.steps.asking.status import status
from pipeline.steps.brake import held_segments, release
from pipeline.steps.clients import Clients
from tests.plant import Plant, integration

Build = Callable[..., Plant]
MANY = RECORDS_MIN + 10


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A market on Lead whose last days' scores all lay below 10, and a brake."""
    built = shared_plant(integration("Lead"), brake_psi=0.5)
    built.turn_on()
    built.refresh("Lead")
    built.with_clients(_with_history)
    return built


def _with_history(clients: Clients) -> None:
    counts = {"score:fit:0": 1_000, "rank:fit:F": 1_000}
    with clients.ledger.database.begin() as connection:
        for days in (1, 3):
            day = clients.today - timedelta(days=days)
            clients.ledger.counts.add(connection, day, "Lead", counts)


def _import(built: Plant, count: int = MANY) -> list[str]:
    """Let people import leads whose scores are spread over all bands."""
    rows = [{"LastName": f"Ito {n}", "Company": f"Company {n}"} for n in range(count)]
    return built.create("Lead", *rows)


def test_a_segment_that_differs_from_the_last_days_waits_for_a_yes(leads: Plant) -> None:
    ids = _import(leads)

    figures = leads.pull("Lead")

    assert (figures["scored"], figures["pushed"], figures["in_flight"]) == (MANY, 0, MANY)
    (words,) = leads.with_clients(status).held
    assert "fit score PSI" in words
    assert "fit rank PSI" in words
    (alert,) = leads.with_clients(lambda clients: situations(clients, {}))
    assert alert.text.startswith("Segment ")
    leads.tick(resumed=None)
    runs, why = leads.tick()
    assert runs == []
    assert "insights release" in why

    known = leads.with_clients(lambda c: c.ledger.counts.of_days("Lead", c.today, c.today))
    assert known["scored"] == MANY
    assert not [name for name in known if name.startswith(("score:", "rank:"))]
    leads.with_clients(lambda clients: release(clients, by="Mori"))

    leads.tick(resumed=None)
    assert leads.scored_at("Lead", ids[0]) is not None
    assert leads.waiting("Lead") == 0


@pytest.mark.slow
def test_after_a_yes_the_objects_next_segments_are_not_held(leads: Plant) -> None:
    """The change is known by then."""
    _import(leads)
    leads.pull("Lead")
    leads.with_clients(release)
    leads.run("score_and_push", "Lead", resumed=MANY)
    _import(leads)

    assert leads.pull("Lead")["pushed"] == MANY


@pytest.mark.slow
def test_a_held_segment_outlives_its_day_and_holds_up_nothing_else(leads: Plant) -> None:
    """R20: it is neither dissolved nor charged again; other records are scored meanwhile."""
    _import(leads)
    leads.pull("Lead")
    leads.wait(days=2)
    leads.with_clients(_with_history)
    leads.run("daily_pull", "Lead", resumed=MANY)
    (other,) = _import(leads, 1)

    assert leads.run("pull", "Lead", resumed=MANY)["pushed"] == 1

    assert leads.scored_at("Lead", other) is not None
    assert len(leads.with_clients(held_segments)) == 1
    leads.with_clients(release)
    assert leads.run("score_and_push", "Lead", resumed=MANY)["pushed"] == MANY


def test_a_no_lets_the_records_be_scored_again(leads: Plant) -> None:
    ids = _import(leads)
    leads.pull("Lead")
    leads.configure(integration("Lead"), brake_psi=None)

    leads.with_clients(lambda clients: release(clients, discard=True))

    assert leads.run("score_and_push", "Lead")["pushed"] == MANY
    assert leads.scored_at("Lead", ids[0]) is not None


def test_without_history_and_with_few_records_nothing_is_held(shared_plant: Build) -> None:
    """The first days, and a handful of changes, tell nothing."""
    built = shared_plant(integration("Lead"), brake_psi=0.5)
    built.turn_on()
    _import(built)
    assert built.pull("Lead")["pushed"] == MANY
    built.wait(days=1)
    built.with_clients(_with_history)
    _import(built, 5)

    assert built.pull("Lead")["pushed"] == 5


def test_an_answer_for_a_segment_that_is_not_held_is_refused(leads: Plant) -> None:
    with pytest.raises(ConfigurationError, match="Not held: nope"):
        leads.with_clients(lambda clients: release(clients, ["nope"]))
