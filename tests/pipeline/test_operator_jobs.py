"""What an operator does from the UI, as Dagster runs it (R29)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from assets.partitions import partition_key
from pipeline.jobs import OBJECT_TAG
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
HOLD = {"object": "Lead", "name": "Hold", "condition": "Company = 'Okafor'", "message": "Held."}


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


def launch(built: Plant, job: str, **config: Any) -> dict[str, Any]:
    """Run a job with its op's config as the launchpad would; return what its op told."""
    op = f"{job}_op"
    result = built.definitions.resolve_job_def(job).execute_in_process(
        instance=built.instance,
        run_config={"ops": {op: {"config": config}}},
        raise_on_error=False,
    )
    built.last = result
    told: dict[str, Any] = {"success": result.success}
    for event in result.all_events:
        if event.event_type is dg.DagsterEventType.STEP_OUTPUT:
            told |= {k: v.value for k, v in event.step_output_data.metadata.items()}
        if event.is_step_failure:
            data = event.step_failure_data.user_failure_data
            told["failure"] = data.description if data else event.step_failure_data.error
    built.wait(seconds=5)
    return told


@pytest.mark.slow
def test_a_paused_integration_rests_and_catches_up(leads: Plant) -> None:
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")

    said = launch(leads, "pause_integration", object="Lead", market="fit")["said"]
    leads.edit("Lead", lead, Company="Umbrella")
    leads.wait(minutes=30)
    assert leads.tick()[0] == []
    assert leads.record("Lead", lead)["Fit_Note__c"] == "Acme|CEO"
    launch(leads, "resume_integration", object="Lead", market="fit")
    leads.tick()  # the daily pull that was missed
    leads.tick()

    assert said.startswith("Lead.fit is paused")
    assert leads.record("Lead", lead)["Fit_Note__c"] == "Umbrella|CEO"


def test_the_launchpad_refuses_an_integration_that_is_not_there(leads: Plant) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="nope"):
        launch(leads, "pause_integration", object="Lead", market="nope")


def test_failures_are_retried_at_once(leads: Plant) -> None:
    (lead,) = leads.create("Lead", ACME | {"Company": "Okafor"})
    leads.org.control("POST", "validation-rules", HOLD)
    leads.pull("Lead")
    leads.org.control("DELETE", "validation-rules/Lead/Hold")
    assert leads.pull("Lead")["claimed"] == 0

    told = launch(leads, "retry_failures", objects=["Lead"], codes=[], ids=[])

    assert told["records"] == 1
    leads.tick()
    assert leads.scored_at("Lead", lead) is not None
    assert leads.failures() == []


def test_an_object_is_rescored(leads: Plant) -> None:
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    leads.refresh("Lead")
    before = leads.scored_at("Lead", lead)
    leads.wait(hours=1)

    told = launch(leads, "rescore", objects=["Lead"], markets=[])

    assert (told["records"], told["done_on"]) == (1, "2026-03-10")
    leads.tick()
    assert leads.scored_at("Lead", lead) != before


@pytest.mark.slow
def test_a_rescore_of_nothing_ends_with_a_message(leads: Plant) -> None:
    told = launch(leads, "rescore", objects=[], markets=[])
    assert not told["success"]
    assert "Name an object or a market" in told["failure"]


def test_a_record_is_explained_without_its_values(leads: Plant) -> None:
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    leads.edit("Lead", lead, Company="Umbrella")
    leads.pull("Lead")

    page = launch(leads, "explain_record", record_id=lead)["history"]

    assert "a new record" in page
    assert "fit: company" in page
    assert "Acme" not in page
    assert "Umbrella" not in page


def test_a_dry_run_writes_nothing(leads: Plant) -> None:
    (lead,) = leads.create("Lead", ACME)
    leads.wait(seconds=5)
    result = leads.definitions.resolve_job_def("dry_run").execute_in_process(
        instance=leads.instance, partition_key=partition_key(leads.today, "Lead")
    )

    (seen,) = result.get_asset_observation_events()
    figures = seen.asset_observation_data.asset_observation.metadata
    assert (figures["due"].value, figures["would_push"].value) == (1, 1)
    assert leads.scored_at("Lead", lead) is None
    assert leads.waiting("Lead") == 0


@pytest.mark.slow
def test_the_first_records_are_pushed_and_the_others_wait(leads: Plant) -> None:
    leads.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(5)))
    figures = leads.run(
        "push_first", "Lead", run_config={"ops": {"scored_enriched": {"config": {"first": 2}}}}
    )
    assert (figures["pushed"], figures["waiting"]) == (2, 3)


def test_reports_tell_status_and_plan_as_pages(leads: Plant) -> None:
    leads.create("Lead", ACME | {"Company": "Okafor"}, ACME)
    leads.org.control("POST", "validation-rules", HOLD)
    leads.pull("Lead")
    selection = [dg.AssetKey("status_report"), dg.AssetKey("plan_report")]
    result = leads.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=leads.instance, asset_selection=selection, tags={OBJECT_TAG: "Lead"}
    )

    pages = {
        e.asset_key.to_user_string(): {k: v.value for k, v in e.materialization.metadata.items()}
        for e in result.get_asset_materialization_events()
    }
    status, plan = pages["status_report"], pages["plan_report"]
    assert (status["limit_used"], status["waiting"]) == (2, 1)
    assert "| FIELD_CUSTOM_VALIDATION_EXCEPTION | 1 |" in status["fails"]
    assert "| Lead.fit | on |" in status["integrations"]
    assert "| Lead.fit | none | 2 |" in plan["integrations"]


def test_everything_is_stopped_and_goes_on_from_the_launchpad(leads: Plant) -> None:
    """R29: with the name and the reason that were filled in."""
    said = launch(leads, "stop_all", why="a migration", by="Mori")["said"]
    (lead,) = leads.create("Lead", ACME)
    runs, why = leads.tick()
    assert runs == []
    assert "by Mori: a migration" in said
    assert "by Mori: a migration" in why

    assert launch(leads, "start_all")["said"] == "It goes on."

    leads.pull("Lead")
    assert leads.scored_at("Lead", lead) is not None
    assert launch(leads, "release_segments")["said"].startswith("0 held segments")
