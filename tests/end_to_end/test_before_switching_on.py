"""What an admin sees before anything is written: plan, dry run, first N, and preflight's checks (R12, R27, R31)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from assets.options import run_config
from assets.partitions import partition_key
from assets.step_runs import WORK_TAG
from pipeline.core.errors import ConfigurationError
from pipeline.jobs import OBJECT_TAG
from pipeline.steps.asking.plan import plan as make_plan
from pipeline.steps.clients import SCORED
from pipeline.steps.preflight import check_and_roll_out
from tests.plant import Plant, integration

Build = Callable[..., Plant]


def leads(built: Plant, count: int) -> list[str]:
    """Create leads that are old enough to be the daily pull's."""
    made = built.create(
        "Lead", *({"LastName": f"L{n}", "Company": f"Firm {n}"} for n in range(count))
    )
    built.wait(minutes=1)
    return made


def run_with(built: Plant, job: str, pull: str, **options: Any) -> dg.ExecuteInProcessResult:
    """Run a job on Lead with options, as the launchpad would."""
    built.wait(seconds=5)
    return built.definitions.resolve_job_def(job).execute_in_process(
        instance=built.instance,
        partition_key=str(partition_key(built.today, "Lead")),
        tags={OBJECT_TAG: "Lead", WORK_TAG: "true"},
        run_config=run_config([dg.AssetKey(pull), dg.AssetKey(SCORED)], **options),
    )


def test_plan_counts_an_integration_that_is_off_as_if_it_were_switched_on(
    shared_plant: Build,
) -> None:
    """R27: how many records, and how many days at the limit."""
    built = shared_plant(
        integration("Lead", enabled=False), integration("Account"), daily_record_limit=2
    )
    leads(built, 5)

    found = built.with_clients(make_plan)

    of_leads = next(p for p in found.integrations if p.integration == "Lead.fit")
    assert (of_leads.change, of_leads.records, of_leads.due, of_leads.days) == (
        "off; if switched on",
        5,
        5,
        3,
    )
    assert built.waiting("Lead") == 0


def test_plan_says_what_a_changed_mapping_makes_due_and_until_when(shared_plant: Build) -> None:
    """R27: before any run has seen the change; candidates only."""
    built = shared_plant(
        integration("Lead", candidate_field="Fit_Candidate__c"), daily_record_limit=4
    )
    made = leads(built, 3)
    built.turn_on()
    built.edit("Lead", made[0], Fit_Candidate__c=True)
    changed = integration("Lead", candidate_field="Fit_Candidate__c")
    del changed["outputs"]["note"]
    built.configure(changed)

    (planned,) = built.with_clients(make_plan).integrations
    (again,) = built.with_clients(make_plan).integrations

    assert (planned.change, planned.records, planned.due) == ("changed mapping or model", 1, 1)
    assert again == planned


def test_plan_counts_what_the_next_daily_pull_will_list(shared_plant: Build) -> None:
    """R27: turned on, all records are to be scored, though none waits yet; nothing is left when they are."""
    built = shared_plant(integration("Lead"), daily_record_limit=10)
    leads(built, 5)
    built.turn_on()

    before = built.with_clients(make_plan)
    built.refresh("Lead")
    after = built.with_clients(make_plan)

    assert (before.waiting_total, before.to_do, before.all_done_on) == (0, 5, built.today)
    assert (after.to_do, after.all_done_on) == (0, None)


def test_plan_warns_where_the_limit_cannot_keep_all_records_fresh(shared_plant: Build) -> None:
    """R27: limit times refresh period below the number of records."""
    built = shared_plant(integration("Lead"), daily_record_limit=1, refresh_period_days=3)
    leads(built, 5)

    (warning,) = built.with_clients(make_plan).warnings

    assert "5 records" in warning
    assert "up to 5 days old" in warning


def test_dry_run_shows_what_would_be_pushed_and_writes_nothing(shared_plant: Build) -> None:
    """R31: beside what stands; no watermark, waiting list, limit, lake or org is touched."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    (lead,) = built.create("Lead", {"LastName": "Ito", "Company": "Acme", "Fit_Note__c": "by hand"})
    before = built.with_clients(lambda clients: clients.ledger.objects.all()["Lead"])

    result = run_with(built, "pull", "salesforce_changed_records", dry_run=True)

    (event,) = result.get_asset_observation_events()
    metadata = event.asset_observation_data.asset_observation.metadata
    rows = {row.data["field"]: row.data for row in metadata["rows"].records}
    assert rows["Fit_Note__c"]["stands"] == "by hand"
    assert rows["Fit_Note__c"]["would_be"] == "Acme|"
    assert rows["Fit_Score__c"]["stands"] == ""
    assert result.get_asset_materialization_events() == []
    assert built.with_clients(lambda clients: clients.ledger.objects.all()["Lead"]) == before
    assert built.waiting("Lead") == 0
    assert not list((built.folder / "home" / "lake").rglob("*.parquet"))
    assert built.record("Lead", lead)["Fit_Note__c"] == "by hand"
    assert built.pull("Lead")["pushed"] == 1


def test_dry_run_of_a_changed_mapping_does_not_roll_it_out(shared_plant: Build) -> None:
    """R31: what is tried is not switched on; the records stay as fresh as they were."""
    built = shared_plant(integration("Lead"))
    leads(built, 2)
    built.turn_on()
    built.refresh("Lead")
    built.wait(days=1)
    changed = integration("Lead")
    del changed["outputs"]["note"]
    built.configure(changed)
    before = built.with_clients(lambda clients: clients.ledger.integrations.all())

    result = run_with(built, "daily_pull", "stale_records", dry_run=True)

    (event,) = result.get_asset_observation_events()
    assert event.asset_observation_data.asset_observation.metadata["due"].value == 2
    assert built.with_clients(lambda clients: clients.ledger.integrations.all()) == before


def test_environment_that_the_org_is_not_is_refused(shared_plant: Build) -> None:
    """R1: sandbox or production, and never the one for the other."""
    built = shared_plant(integration("Lead"), environment="production")

    with pytest.raises(ConfigurationError, match="is local"):
        built.with_clients(check_and_roll_out)


def test_dry_run_keeps_no_value_in_dagster_where_persist_is_off(shared_plant: Build) -> None:
    """R24: which fields would be written, not what."""
    built = shared_plant(integration("Lead", persist=False))
    built.turn_on()
    built.create("Lead", {"LastName": "Ito", "Company": "Acme"})

    result = run_with(built, "pull", "salesforce_changed_records", dry_run=True)

    (event,) = result.get_asset_observation_events()
    metadata = event.asset_observation_data.asset_observation.metadata
    shown = {row.data["would_be"] for row in metadata["rows"].records}
    assert shown == {"(persist is off)"}


def test_dry_run_of_the_daily_pull_shows_so_many_and_says_how_many_are_due(
    shared_plant: Build,
) -> None:
    """R31: `first` bounds what is scored and shown; bad rows are told apart."""
    built = shared_plant(integration("Lead"))
    leads(built, 6)
    built.create("Lead", {"LastName": "L", "Company": "BAD RANK"})
    built.wait(minutes=1)
    built.turn_on()

    few = run_with(built, "daily_pull", "stale_records", dry_run=True, first=2)
    all_of_them = run_with(built, "daily_pull", "stale_records", dry_run=True)

    (event,) = few.get_asset_observation_events()
    shown = event.asset_observation_data.asset_observation.metadata
    assert (shown["due"].value, shown["would_push"].value) == (7, 2)
    (event,) = all_of_them.get_asset_observation_events()
    shown = event.asset_observation_data.asset_observation.metadata
    assert (shown["would_push"].value, shown["would_set_aside"].value) == (6, 1)


def test_first_n_pushes_so_many_and_the_rest_waits(shared_plant: Build) -> None:
    """R31: what was not taken is not lost."""
    built = shared_plant(integration("Lead"))
    made = leads(built, 5)
    built.turn_on()

    run_with(built, "daily_pull", "stale_records", first=2)

    assert sum(built.scored_at("Lead", lead) is not None for lead in made) == 2
    assert built.waiting("Lead") == 3
    assert built.run("score_and_push", "Lead")["pushed"] == 3


def test_integration_that_is_not_ready_is_held_back_and_its_check_says_what_to_do(
    shared_plant: Build,
) -> None:
    """R9, R12: the other integration runs in the same run; mended, it catches up with what changed meanwhile."""
    built = shared_plant(integration("Lead"), integration("Lead", "other", "Other"))
    built.turn_on()
    hide = {"user": "integration@local.example", "object": "Lead", "field": "Other_Rank__c"}
    built.org.control("POST", "permissions", {**hide, "read": True, "edit": False})
    (lead,) = built.create("Lead", {"LastName": "Ito", "Company": "Acme"})

    result = run_with(built, "pull", "salesforce_changed_records")

    checks = {e.check_name: e for e in result.get_asset_check_evaluations()}
    (problem,) = checks["lead_other_ready"].metadata["problems"].records
    assert checks["lead_fit_ready"].passed
    assert not checks["lead_other_ready"].passed
    assert "Grant Edit" in problem.data["do"]
    record = built.record("Lead", lead)
    assert (record["Fit_Note__c"], record["Other_Note__c"]) == ("Acme|", None)

    built.org.control("POST", "permissions", {**hide, "clear": True})
    built.pull("Lead")
    assert built.record("Lead", lead)["Other_Note__c"] == "Acme|"


def test_partly_mapped_integration_is_reported_and_does_not_run(shared_plant: Build) -> None:
    """R12: it may be saved; the reminder names both mappings."""
    half = integration("Lead", "other", "Other") | {"outputs": {}}
    built = shared_plant(integration("Lead"), half)

    found = built.with_clients(check_and_roll_out)

    (error,) = found.errors
    assert "Map both input and output fields" in error.remedy
    assert [i.name for i in found.ready] == ["Lead.fit"]
