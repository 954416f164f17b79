"""Everything can be stopped, and pushes kept to some hours: what has begun finishes (R22, R29)."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from pipeline.steps.asking.alerts import situations
from pipeline.steps.asking.status import status
from pipeline.steps.clients import Clients
from pipeline.steps.stop import start, stop
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on, with today's daily pull in."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.refresh("Lead")
    return built


def _stop(clients: Clients) -> None:
    stop(clients, "the org is being migrated", "Mori")


def test_while_stopped_nothing_begins_and_all_say_why(leads: Plant) -> None:
    """R29: no call leaves, and afterwards nothing is missing."""
    leads.with_clients(_stop)
    (lead,) = leads.create("Lead", ACME)
    calls = leads.org.calls()["total"]

    runs, why = leads.tick()

    assert runs == []
    assert "stopped since 2026-03-10 09:00 UTC by Mori: the org is being migrated" in why
    assert leads.org.calls()["total"] == calls
    assert not leads.run("pull", "Lead")["success"]
    assert "insights start" in leads.failure()[0]
    assert leads.failure()[1] == 3
    assert "by Mori" in str(leads.with_clients(status).no_push)
    alerts = leads.with_clients(lambda clients: situations(clients, {}))
    assert [a.text.startswith("Everything is stopped") for a in alerts] == [True]

    leads.with_clients(start)
    leads.tick()
    assert leads.scored_at("Lead", lead) is not None
    assert leads.with_clients(status).stopped is None


def test_what_waits_is_not_claimed_while_stopped(leads: Plant) -> None:
    """A run that was on its way when somebody stopped it."""
    leads.create("Lead", ACME)
    leads.run("pull", "Lead", asset_selection=[dg.AssetKey(["salesforce_changed_records"])])
    assert leads.waiting("Lead") == 1
    leads.with_clients(_stop)

    figures = leads.run("score_and_push", "Lead")

    assert (figures["claimed"], figures["pushed"]) == (0, 0)
    assert leads.waiting("Lead") == 1


@pytest.mark.slow
def test_a_job_that_holds_data_is_settled_while_stopped(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has begun finishes, and nothing is claimed beside it."""
    monkeypatch.setattr("pipeline.steps.push_segment.JOB_DEADLINE_SECONDS", 1)
    (lead,) = leads.create("Lead", ACME)
    stuck = leads.org.arm("job_stuck", object="Lead", operation="update")
    assert leads.pull("Lead")["in_flight"] == 1
    leads.with_clients(_stop)
    leads.create("Lead", ACME)
    leads.org.clear_faults()
    assert stuck

    runs, _ = leads.tick(resumed=None)

    assert [run["job"] for run in runs] == ["score_and_push"]
    assert (runs[0]["claimed"], runs[0]["pushed"]) == (0, 1)
    assert leads.scored_at("Lead", lead) is not None
    assert leads.tick()[0] == []


def test_outside_the_push_windows_records_wait_and_the_skip_reason_says_until_when(
    shared_plant: Build,
) -> None:
    """R22: pulls go on; it is ten in the morning in Berlin."""
    leads = shared_plant(integration("Lead"), push_windows=["22:00-06:00"])
    leads.turn_on()
    (lead,) = leads.create("Lead", ACME)
    figures = leads.pull("Lead")
    assert (figures["due"], figures["claimed"]) == (1, 0)
    leads.tick()

    runs, why = leads.tick()

    assert (runs, leads.scored_at("Lead", lead)) == ([], None)
    assert "1 waiting: outside push_windows; the next one opens at 22:00 Europe/Berlin" in why
    leads.wait(hours=12)
    leads.tick()
    leads.tick()
    assert leads.scored_at("Lead", lead) is not None


@pytest.mark.slow
def test_after_many_locked_rows_the_next_jobs_are_smaller(shared_plant: Build) -> None:
    """R22, R23: the lead's siblings are written by others at the same time."""
    leads = shared_plant(integration("Lead"), segment_records_max=1_000)
    leads.turn_on()
    ids = leads.create("Lead", *({**ACME, "LastName": f"Ito {n}"} for n in range(410)))
    leads.org.arm("lock_rows", ids=ids[:40], count=1)

    assert leads.pull("Lead")["pushed"] == 410

    state = leads.with_clients(status).objects[0]
    assert state["job_rows_max"] == 205
    leads.wait(minutes=30)
    changed = [{"Id": record_id, "Company": "Umbrella"} for record_id in ids]
    body = {"object": "Lead", "operation": "update", "records": changed}
    leads.org.control("POST", "save", body)
    figures = leads.pull("Lead")
    assert figures["pushed"] == 410
    assert len(figures["segments"]) == 2
    assert leads.with_clients(status).objects[0]["job_rows_max"] == 410


@pytest.mark.slow
def test_a_segment_whose_job_failed_keeps_its_scores_while_stopped(leads: Plant) -> None:
    """R20, R29: no job is made meanwhile, and afterwards the same scores are pushed."""
    (lead,) = leads.create("Lead", ACME)
    leads.org.arm("job_fail", object="Lead", operation="update", count=None)
    assert leads.pull("Lead")["in_flight"] == 1
    leads.org.clear_faults()
    leads.with_clients(_stop)
    leads.wait(hours=1)

    assert leads.tick()[0] == []
    figures = leads.run("score_and_push", "Lead", resumed=1)
    assert (figures["in_flight"], figures["pushed"]) == (1, 0)

    leads.with_clients(start)
    runs, _ = leads.tick(resumed=None)
    assert [(run["claimed"], run["pushed"]) for run in runs] == [(0, 1)]
    assert leads.scored_at("Lead", lead) is not None
