"""A run goes on where another one ended long ago: with records as they are now, whatever it remembers (R15, R25, R28)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from assets.clients_resource import ClientsResource
from pipeline.steps.clients import Clients
from pipeline.steps.pull import pull
from pipeline.steps.score import score
from resources.ledger.segments import Segments
from tests.plant import RAISES, Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


def _opened(plant: Plant) -> Clients:
    """Return the clients of the run as a new process of it opens them."""
    plant.configure(integration("Lead"))
    resource = (plant.definitions.resources or {})["clients"]
    assert isinstance(resource, ClientsResource)
    return resource.get("run-1")


def test_run_started_again_scores_no_rows_that_its_dead_process_had_pulled(
    shared_plant: Build,
) -> None:
    """R25: the lead converted meanwhile is left alone, the other one is scored as it is now."""
    plant = shared_plant(integration("Lead"))
    plant.turn_on()
    converted, edited = plant.create("Lead", ACME, ACME | {"LastName": "Sato"})
    plant.wait(seconds=5)
    dead = _opened(plant)
    lease = dead.lease("Lead")
    assert lease is not None
    assert pull(dead, lease).due_total == 2
    plant.org.control("POST", "convert-lead", {"lead_id": converted})
    plant.edit("Lead", edited, Company="Umbrella")
    plant.wait(hours=8)

    again = _opened(plant)
    lease = again.lease("Lead")
    assert lease is not None
    summary = score(again, lease)
    (segment,) = summary.segments
    rows = again.lake.read_working_file(segment)

    assert (summary.claimed, summary.scored, summary.gone) == (2, 1, 1)
    assert rows is not None
    assert rows.column("update.Fit_Note__c").to_pylist() == ["Umbrella|CEO"]
    dead.close()
    again.close()


@pytest.mark.slow
def test_edit_is_scored_where_the_restored_ledger_holds_the_claim_of_before_it(
    shared_plant: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R15: the record carries the claim's stamp with earlier values; it is not taken for written, nor written on it twice."""
    plant = shared_plant(integration("Lead"))
    plant.turn_on()
    (lead,) = plant.create("Lead", ACME)
    ledger, backup = plant.folder / "home" / "ledger.db", plant.folder / "backup.db"
    claim = Segments.claim

    def claim_and_copy(self: Segments, *args: Any, **more: Any) -> Any:
        monkeypatch.setattr(Segments, "claim", claim)
        claimed = claim(self, *args, **more)
        with sqlite3.connect(ledger) as source, sqlite3.connect(backup) as copy:
            source.backup(copy)
        return claimed

    monkeypatch.setattr(Segments, "claim", claim_and_copy)
    assert plant.pull("Lead")["pushed"] == 1
    stamp = plant.scored_at("Lead", lead)
    for path in ledger.parent.glob("ledger.db*"):
        path.unlink()
    backup.rename(ledger)
    plant.wait(minutes=15)
    plant.edit("Lead", lead, Company="Umbrella")
    plant.wait(minutes=30)

    figures = plant.pull("Lead")
    assert (figures["success"], figures["pushed"], figures["released"]) == (True, 0, 1)
    assert plant.scored_at("Lead", lead) == stamp
    plant.run("score_and_push", "Lead")

    assert plant.record("Lead", lead)["Fit_Note__c"] == "Umbrella|CEO"
    assert plant.scored_at("Lead", lead) != stamp
    assert plant.waiting("Lead") == 0


@pytest.mark.slow
def test_segment_scored_again_without_a_row_to_push_leaves_no_earlier_scores_behind(
    shared_plant: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R20: rows that wait again are not pushed from the working file of an attempt that ended abnormally."""
    plant = shared_plant(integration("Lead"), integration("Lead", "other", "Other"))
    plant.turn_on()
    (lead,) = plant.create("Lead", ACME)

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Segments, "mark_scored", dies)
        assert not plant.pull("Lead")["success"]
    for market in ("fit", "other"):
        (plant.market(market) / "model.py").write_text(RAISES)
    plant.wait(minutes=15)

    figures = plant.run("score_and_push", "Lead")

    assert figures["success"]
    assert figures["pushed"] == 0
    assert plant.scored_at("Lead", lead) is None
    assert plant.waiting("Lead") == 1
