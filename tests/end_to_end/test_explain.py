"""One record's history, as `insights explain` tells it (R30, R24)."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.steps.asking.explain import Explained, explain
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


def told(built: Plant, record_id: str) -> Explained:
    """Return the only history that the id has."""
    (found,) = built.with_clients(lambda clients: explain(clients, record_id))
    assert isinstance(found, Explained)
    return found


def test_each_scoring_has_date_reason_inputs_version_outputs_job_and_result(
    shared_plant: Build,
) -> None:
    built = shared_plant(integration("Lead"))
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    built.pull("Lead")
    built.edit("Lead", lead, Company="Umbrella")
    built.pull("Lead")

    found = told(built, lead[:15])

    assert (found.object, found.record_id, found.waiting) == ("Lead", lead, None)
    first, second = found.scorings
    assert [first.reason, second.reason] == ["new", "changed"]
    assert [first.result, second.result] == ["pushed", "pushed"]
    (of_first,), (of_second,) = first.markets, second.markets
    assert of_first.inputs == {"company": "Acme", "title": "CEO"}
    assert of_second.outputs is not None
    assert of_second.outputs["note"] == "Umbrella|CEO"
    assert of_second.outputs["score"] == built.record("Lead", lead)["Fit_Score__c"]
    assert (of_first.changed, of_second.changed) == (None, ["company"])
    jobs = {str(job["id"]) for job in built.org.control("GET", "jobs")}
    assert {first.job_id, second.job_id} <= jobs
    assert first.scored_at < second.scored_at
    assert str(first.day) == "2026-03-10"


def test_without_persist_neither_inputs_nor_outputs_are_told(shared_plant: Build) -> None:
    built = shared_plant(integration("Lead", persist=False))
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    built.pull("Lead")

    found = told(built, lead)

    (market,) = found.scorings[0].markets
    assert (market.inputs, market.outputs, market.changed) == (None, None, None)
    assert (market.market, found.scorings[0].result) == ("fit", "pushed")
    assert "Acme" not in repr(found)


def test_a_refused_record_tells_salesforces_words_and_waits(shared_plant: Build) -> None:
    built = shared_plant(integration("Lead"))
    built.turn_on()
    (lead,) = built.create("Lead", ACME | {"Company": "Okafor"})
    rule = {"object": "Lead", "name": "Hold", "condition": "Company = 'Okafor'", "message": "Held."}
    built.org.control("POST", "validation-rules", rule)
    built.pull("Lead")

    found = told(built, lead)

    (scoring,) = found.scorings
    assert (scoring.result, scoring.code) == ("failed", "FIELD_CUSTOM_VALIDATION_EXCEPTION")
    assert "Held." in scoring.message
    assert found.waiting is not None
    assert found.waiting.error_code == scoring.code


def test_an_unknown_record_has_no_history(shared_plant: Build) -> None:
    built = shared_plant(integration("Lead"))
    assert built.with_clients(lambda clients: explain(clients, "00Q000000000001")) == []
