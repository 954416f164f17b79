"""What an operator launches from the UI, as the webserver launches it (R29)."""

from __future__ import annotations

import pytest

from pipeline.steps.clients import CHANGED_RECORDS
from tests.ui.graphql import GraphQLError
from tests.ui.operating import HIDDEN, Operated
from tests.ui.site import Site
from tests.ui.story import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
"""The first test of a session waits for six days to pass; each wait of theirs has a bound of its own."""


def test_every_job_ends_well(done: Operated) -> None:
    assert {job: told["status"] for job, told in done.said.items()} == dict.fromkeys(
        done.said, "SUCCESS"
    ), done.said


def test_an_integration_is_resumed_and_paused(site: Site, done: Operated) -> None:
    """The jobs change what the sensor and every later run go by: the ledger."""
    states = site.with_clients(lambda clients: clients.ledger.integrations.all())

    assert "Contact.enterprise_fit goes on" in done.said["resume_integration"]["said"]
    assert "Contact.enterprise_fit is paused" in done.said["pause_integration"]["said"]
    assert states["Contact", "enterprise_fit"].paused_at == site.now


def test_a_job_cannot_be_launched_on_an_integration_that_is_not_there(site: Site) -> None:
    config = {"object": "Contact", "market": "nope"}
    with pytest.raises(GraphQLError, match="nope"):
        site.graphql.launch(
            "pause_integration", {"ops": {"pause_integration_op": {"config": config}}}
        )


def test_failing_records_are_tried_again(story: Story, done: Operated) -> None:
    assert story.refused > 0
    assert done.said["retry_failures"]["records"] == story.refused


def test_a_whole_market_is_rescored_from_the_webserver(site: Site, done: Operated) -> None:
    """R28: every candidate of the market is due again, and the run says until when."""
    candidates = site.org.query(
        "SELECT COUNT(Id) n FROM Lead WHERE PI_Campaign_Candidate__c = true"
    )
    said = done.said["rescore"]

    assert said["records"] == candidates[0]["n"]
    assert said["done_on"] > site.now.date().isoformat()


def test_a_records_history_is_told_without_its_values(story: Story, done: Operated) -> None:
    """R30: when, why, by which models, in which bulk job."""
    history = done.said["explain_record"]["history"]

    assert done.record_id in history
    assert "never scored before" in history
    assert "scoring again was asked for" in history


def test_a_fault_found_by_a_dry_run_says_what_to_do(
    site: Site, story: Story, done: Operated
) -> None:
    """The integration's check fails, names the field, and says where to mend it."""
    check = site.graphql.check(CHANGED_RECORDS, "lead_campaign_response_ready", None)

    assert not check["passed"]
    assert check["severity"] == "ERROR"
    assert check["words"].startswith("Held back until")
    assert HIDDEN in str(check["problems"])
