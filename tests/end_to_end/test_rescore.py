"""A whole object or market is scored again, within the limit, over the days it takes (R28)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.steps.rescore import rescore
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


def ticks(built: Plant, most: int = 8) -> None:
    """Tick until nothing more is asked for."""
    for _ in range(most):
        built.wait(minutes=2)
        figures, why_not = built.tick()
        assert all(run["success"] for run in figures), figures
        if why_not:
            return
    raise AssertionError("still busy")


@pytest.mark.slow
def test_an_object_is_rescored_over_the_days_it_takes_without_anybody_coming_back(
    shared_plant: Build,
) -> None:
    built = shared_plant(integration("Lead"), daily_record_limit=4)
    ids = built.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(6)))
    built.turn_on()
    for day in (10, 11, 12):
        built.set_clock(datetime(2026, 3, day, 21, 30, tzinfo=UTC))
        ticks(built)
    first = {i: built.scored_at("Lead", i) for i in ids}
    assert all(first.values())
    built.set_clock(datetime(2026, 3, 13, 21, 30, tzinfo=UTC))
    ticks(built)

    asked = built.with_clients(lambda clients: rescore(clients, ["Lead"]))

    assert (asked.integrations, asked.records, asked.done_on) == (
        ["Lead.fit"],
        {"Lead": 6},
        date(2026, 3, 14),
    )
    ticks(built)
    renewed = [i for i in ids if built.scored_at("Lead", i) != first[i]]
    assert len(renewed) == 4
    assert built.waiting("Lead") == 2
    built.set_clock(datetime(2026, 3, 14, 21, 30, tzinfo=UTC))
    ticks(built)
    assert all(built.scored_at("Lead", i) != first[i] for i in ids)
    assert built.waiting("Lead") == 0


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_a_market_is_rescored_on_all_its_objects_and_others_are_left_alone(
    shared_plant: Build,
) -> None:
    built = shared_plant(
        integration("Lead"), integration("Account"), integration("Contact", "other", "Other")
    )
    (lead,) = built.create("Lead", ACME)
    (account,) = built.create("Account", {"Name": "Acme"})
    (contact,) = built.create("Contact", {"LastName": "Ito"})
    built.turn_on()
    ticks(built)
    before = {
        (name, i): built.scored_at(name, i)
        for name, i in (("Lead", lead), ("Account", account), ("Contact", contact))
    }
    assert all(before.values())
    built.wait(hours=1)

    asked = built.with_clients(lambda clients: rescore(clients, markets=["fit"]))
    ticks(built)

    assert sorted(asked.integrations) == ["Account.fit", "Lead.fit"]
    changed = {name for (name, i), old in before.items() if built.scored_at(name, i) != old}
    assert changed == {"Lead", "Account"}


def test_what_is_not_there_is_refused_with_what_there_is(shared_plant: Build) -> None:
    built = shared_plant(integration("Lead"))
    for objects, markets in (((), ()), (("Contact",), ()), (("Lead",), ("nope",))):
        with pytest.raises(ConfigurationError, match=r"there are Lead\.fit"):
            built.with_clients(lambda clients, o=objects, m=markets: rescore(clients, o, m))
    with pytest.raises(ConfigurationError, match="insights check"):
        built.with_clients(lambda clients: rescore(clients, ["Lead"]))
