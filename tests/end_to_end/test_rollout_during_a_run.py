"""Another model is rolled out while a run is at work: no record keeps the old one's values for a refresh period (R17)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml

from pipeline.steps.clients import SCORED, Clients
from pipeline.steps.preflight import check_and_roll_out
from resources.ledger import tables as t
from resources.ledger.segments import Segments
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


def test_run_with_an_older_market_scores_nothing_more_once_another_is_rolled_out(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R17: what it claimed is scored by the next run, with the market as it is now."""
    leads.create("Lead", ACME)
    claim = Segments.claim

    def claim_after_the_rollout(self: Segments, *args: Any, **more: Any) -> Any:
        monkeypatch.setattr(Segments, "claim", claim)
        _install(leads, version="2")
        return claim(self, *args, **more)

    monkeypatch.setattr(Segments, "claim", claim_after_the_rollout)
    assert leads.pull("Lead").get("pushed") is None

    figures = leads.run("score_and_push", "Lead")

    assert (figures["success"], figures["pushed"]) == (True, 1)
    assert leads.with_clients(_versions) == ["2"]


def test_record_scored_in_the_second_of_a_rollout_is_scored_again(leads: Plant) -> None:
    """R17: a stamp is its second's beginning; in that second the older market may have scored."""
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    stamp = datetime.fromisoformat(str(leads.scored_at("Lead", lead)))

    def roll_out(clients: Clients) -> None:
        at = stamp + timedelta(milliseconds=400)
        with clients.ledger.database.begin() as connection:
            connection.execute(t.integrations.update().values(enabled_at=at))

    leads.with_clients(roll_out)

    assert leads.refresh("Lead")["pushed"] == 1
    assert leads.refresh("Lead")["claimed"] == 0


def _install(plant: Plant, *, version: str) -> None:
    """Put another version of the market in its place and check it, as an admin does."""
    path = plant.market("fit") / "market.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"version": version}))
    plant.with_clients(check_and_roll_out)


def _versions(clients: Clients) -> list[str]:
    """Return the versions of the market that today's records were scored with."""
    return [
        version
        for table in clients.lake.read(SCORED, clients.today, "Lead")
        for version in table.column("fit.version").to_pylist()
    ]
