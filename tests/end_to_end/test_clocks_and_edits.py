"""Clocks that are wrong, and edits of records that keep failing: nothing is missed (R14, R23)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from resources.ledger import tables as t
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on, and one lead scored."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


def scored_lead(leads: Plant) -> str:
    """Return the id of a lead that was created and scored, and whose last look is over."""
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    leads.wait(minutes=12)
    leads.tick(resumed=None)
    return lead


@pytest.mark.parametrize("hours", [3, -3])
def test_answer_with_a_wrong_time_makes_no_pull_pass_over_a_change(
    leads: Plant, hours: int
) -> None:
    """R14: the window ends where this machine's clock lets the org's be believed (D23)."""
    lead = scored_lead(leads)
    before = leads.scored_at("Lead", lead)
    fault = leads.org.arm("wrong_date", seconds=hours * 3600, count=None)

    said = leads.with_clients(lambda clients: clients.clock_difference())
    leads.pull("Lead")
    fired = leads.org.fault_count(fault)
    leads.org.clear_faults()
    leads.wait(minutes=1)
    leads.edit("Lead", lead, Title="VP Sales")
    leads.wait(minutes=5)
    leads.tick(resumed=None)

    assert fired > 0
    assert leads.scored_at("Lead", lead) != before
    side = "ahead of" if hours > 0 else "behind"
    assert f"minutes {side} this machine's" in said


def test_watermark_ahead_of_now_is_healed_by_the_next_pull(leads: Plant) -> None:
    """R14: an earlier release took any time that an answer held; what changed since is read."""
    lead = scored_lead(leads)
    before = leads.scored_at("Lead", lead)
    ahead = leads.now + timedelta(hours=30)

    def move_ahead(clients: Any) -> None:
        with clients.ledger.database.begin() as connection:
            connection.execute(t.objects.update().values(watermark=ahead, pulled_at=leads.now))

    leads.with_clients(move_ahead)
    leads.edit("Lead", lead, Title="VP Sales")
    leads.wait(minutes=30)
    runs, _ = leads.tick(resumed=None)

    assert [run["job"] for run in runs] == ["pull"]
    assert leads.scored_at("Lead", lead) != before
    watermark = leads.with_clients(lambda c: c.ledger.objects.all()["Lead"].watermark)
    assert watermark <= leads.now


def test_edit_of_a_field_that_no_model_reads_lets_a_failing_record_be_tried_at_once(
    leads: Plant,
) -> None:
    """R23: what Salesforce refuses is often corrected there, as when a legal hold is lifted."""
    lead = scored_lead(leads)
    before = leads.scored_at("Lead", lead)
    rule = {"object": "Lead", "name": "No_Ito", "condition": "LastName = 'Ito'", "message": "Hold."}
    leads.org.control("POST", "validation-rules", rule)
    leads.wait(days=40)
    leads.refresh("Lead")
    assert [failure.record_id for failure in leads.failures()] == [lead]

    leads.wait(minutes=1)
    leads.edit("Lead", lead, LastName="Ito, no longer on hold")
    leads.wait(minutes=1)
    leads.tick(resumed=None)

    assert leads.failures() == []
    assert leads.scored_at("Lead", lead) != before
