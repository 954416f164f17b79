"""What a paused integration missed is made up for once it goes on (R12, R17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipeline.steps.clients import SCORED, Clients
from pipeline.steps.pause import pause, resume
from pipeline.steps.preflight import check_and_roll_out
from resources.ledger.ledger import Ledger
from resources.ledger.segments import Segments
from tests.plant import RAISES, Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """Two markets on Lead, a record that both have scored, and the second one paused since."""
    built = shared_plant(integration("Lead"), integration("Lead", market="other", prefix="Other"))
    built.turn_on()
    built.create("Lead", ACME)
    assert built.pull("Lead")["pushed"] == 1
    built.with_clients(lambda clients: pause(clients, "Lead.other"))
    return built


def _resume(clients: Clients) -> None:
    resume(clients, "Lead.other")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1", "2"], ids=["came of age", "market replaced"])
def test_what_other_markets_scored_in_the_pause_is_scored_after_it(
    leads: Plant, version: str
) -> None:
    """R12, R17: the other market's stamp is younger than the paused one's score, and than its roll-out."""
    path = leads.market("other") / "market.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"version": version}))
    leads.with_clients(check_and_roll_out)
    leads.wait(days=40)
    assert leads.refresh("Lead")["pushed"] == 1
    leads.with_clients(_resume)

    assert leads.refresh("Lead")["pushed"] == 1
    assert _scored_by(leads, "other") == [None, version]
    assert leads.refresh("Lead")["claimed"] == 0


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_run_that_began_in_the_pause_scores_nothing_more_after_it(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stamp would pass for a scoring by the market that goes on."""
    leads.wait(days=40)
    claim = Segments.claim

    def claim_after_the_pause(self: Segments, *args: Any, **more: Any) -> Any:
        monkeypatch.setattr(Segments, "claim", claim)
        leads.with_clients(_resume)
        return claim(self, *args, **more)

    monkeypatch.setattr(Segments, "claim", claim_after_the_pause)
    assert leads.refresh("Lead").get("pushed") is None

    assert leads.run("score_and_push", "Lead")["pushed"] == 1
    assert _scored_by(leads, "other") == ["1"]
    assert leads.refresh("Lead")["claimed"] == 0


@pytest.mark.slow
def test_record_in_flight_when_the_pause_ends_is_scored_once_more(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was scored without the market; its stamp is from before the end of the pause or not, as it may be."""
    leads.wait(days=40)
    mark_scored = Segments.mark_scored

    def mark_and_resume(self: Segments, *args: Any, **more: Any) -> None:
        monkeypatch.setattr(Segments, "mark_scored", mark_scored)
        mark_scored(self, *args, **more)
        leads.with_clients(_resume)

    monkeypatch.setattr(Segments, "mark_scored", mark_and_resume)
    assert leads.refresh("Lead")["pushed"] == 1

    assert leads.run("score_and_push", "Lead")["pushed"] == 1
    assert _scored_by(leads, "other") == [None, "1"]
    assert leads.refresh("Lead")["claimed"] == 0


def _scored_by(plant: Plant, market: str) -> list[str | None]:
    """Return the market's version at each of today's scorings, oldest first; None where it did not score."""

    def versions(clients: Clients) -> list[str | None]:
        rows: list[tuple[Any, str | None]] = []
        for table in clients.lake.read(SCORED, clients.today, "Lead"):
            stamps = table.column("scored_at").to_pylist()
            name = f"{market}.version"
            known = name in table.column_names
            rows += zip(
                stamps,
                table.column(name).to_pylist() if known else [None] * len(stamps),
                strict=True,
            )
        return [version for _, version in sorted(rows, key=lambda row: row[0])]

    found: list[str | None] = plant.with_clients(versions)
    return found


def _routed(name: str, market: str, prefix: str) -> dict[str, Any]:
    return integration(name, market, prefix, candidate_field=f"{prefix}_Candidate__c")


def test_change_that_was_first_read_in_the_pause_is_scored_after_it(shared_plant: Build) -> None:
    """It was made before, in a record that no other market scores."""
    plant = shared_plant(_routed("Lead", "fit", "Fit"), _routed("Lead", "other", "Other"))
    plant.turn_on()
    (lead,) = plant.create("Lead", ACME | {"Other_Candidate__c": True})
    assert plant.pull("Lead")["pushed"] == 1
    plant.edit("Lead", lead, Company="Umbrella")
    plant.wait(minutes=15)

    plant.with_clients(lambda clients: pause(clients, "Lead.other"))
    assert plant.pull("Lead")["claimed"] == 0
    plant.wait(minutes=15)
    plant.with_clients(_resume)

    assert plant.pull("Lead")["pushed"] == 1
    assert plant.record("Lead", lead)["Other_Note__c"] == "Umbrella|CEO"


@pytest.mark.slow
def test_change_that_was_first_read_while_its_market_was_held_is_scored_afterwards(
    shared_plant: Build,
) -> None:
    """R23: the market failed on another object meanwhile."""
    both = [_routed("Lead", "fit", "Fit"), _routed("Lead", "other", "Other")]
    plant = shared_plant(*both, integration("Account", "other", "Other"))
    plant.turn_on()
    (lead,) = plant.create("Lead", ACME | {"Other_Candidate__c": True})
    assert plant.pull("Lead")["pushed"] == 1
    plant.edit("Lead", lead, Company="Umbrella")
    plant.wait(minutes=15)
    model = plant.market("other") / "model.py"
    works = model.read_text()
    model.write_text(RAISES)
    plant.create("Account", {"Name": "Acme"})
    assert plant.pull("Account")["pushed"] == 0

    assert plant.pull("Lead")["claimed"] == 0
    plant.wait(minutes=15)
    model.write_text(works)
    assert plant.pull("Account")["pushed"] == 1

    assert plant.pull("Lead")["pushed"] == 1
    assert plant.record("Lead", lead)["Other_Note__c"] == "Umbrella|CEO"


def test_pull_that_began_in_the_pause_is_read_again_after_it(
    shared_plant: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decided without the market, and says so only after the pause: its watermark does not count."""
    plant = shared_plant(_routed("Lead", "fit", "Fit"), _routed("Lead", "other", "Other"))
    plant.turn_on()
    plant.with_clients(lambda clients: pause(clients, "Lead.other"))
    (lead,) = plant.create("Lead", ACME | {"Other_Candidate__c": True})
    record_pull = Ledger.record_pull

    def resume_and_record(self: Ledger, *args: Any, **more: Any) -> None:
        monkeypatch.setattr(Ledger, "record_pull", record_pull)
        plant.with_clients(_resume)
        record_pull(self, *args, **more)

    monkeypatch.setattr(Ledger, "record_pull", resume_and_record)
    assert plant.pull("Lead")["pushed"] == 0
    plant.wait(minutes=15)

    assert plant.pull("Lead")["pushed"] == 1
    assert plant.record("Lead", lead)["Other_Note__c"] == "Acme|CEO"
