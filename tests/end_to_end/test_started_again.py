"""A run whose process died is started again much later: it goes on from the ledger, with records as they are now (R25, R28)."""

from __future__ import annotations

from collections.abc import Callable

from assets.work import WorkResource
from pipeline.steps.pull import pull
from pipeline.steps.score import score
from pipeline.steps.work import Work
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


def _opened(plant: Plant) -> Work:
    """Return the clients of the run as a new process of it opens them."""
    plant.configure(integration("Lead"))
    resource = (plant.definitions.resources or {})["work"]
    assert isinstance(resource, WorkResource)
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
    rows = again.lake.read_work(segment)

    assert (summary.claimed, summary.scored, summary.gone) == (2, 1, 1)
    assert rows is not None
    assert rows.column("update.Fit_Note__c").to_pylist() == ["Umbrella|CEO"]
    dead.close()
    again.close()
