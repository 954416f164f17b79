"""A file that is wrong stops its own integration alone, and nothing is lost or done twice by it (R44)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.configuration.running import IntegrationState
from pipeline.core.errors import ConfigurationError
from pipeline.steps.asking.plan import plan
from pipeline.steps.asking.status import status
from pipeline.steps.preflight import check
from pipeline.steps.watch import watch
from resources.configuration import read_configuration
from tests.plant import Plant, integration

Build = Callable[..., Plant]
HALF_SAVED = "market: fit\nobject: Contact\ninputs: {company: \n"
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
OTHER = {"market": "other", "prefix": "Other"}


def file_of(built: Plant, name: str) -> Path:
    return built.folder / "config" / "integrations" / f"{name}.yaml"


def states(built: Plant) -> dict[str, IntegrationState]:
    known = built.with_clients(lambda clients: clients.ledger.integrations.all())
    return {f"{key.object}.{key.market}": state for key, state in known.items()}


@pytest.fixture
def two(shared_plant: Build) -> Plant:
    """Lead and Contact, both on and without a backlog."""
    built = shared_plant(integration("Lead"), integration("Contact"))
    built.turn_on()
    for name in ("Lead", "Contact"):
        built.refresh(name)
    built.wait(minutes=20)
    return built


def test_a_half_saved_file_stops_its_own_integration_alone_and_says_so_everywhere(
    two: Plant,
) -> None:
    """R44: file, line and message, in the sensor's reason, `check`, `status` and `plan`."""
    file_of(two, "Contact.fit").write_text(HALF_SAVED)
    (lead,) = two.create("Lead", ACME)
    two.wait(minutes=1)

    runs, _ = two.tick()
    assert [(run["key"].split("|")[-1], run["success"]) for run in runs] == [("Lead", True)]
    assert two.scored_at("Lead", lead)

    two.wait(minutes=5)
    why_not = two.with_clients(watch).skips["Contact"]
    (error,) = two.with_clients(check).errors
    rows = two.with_clients(status).integrations
    row = next(row for row in rows if row["integration"] == "Contact.fit")
    (warning,) = two.with_clients(plan).warnings
    assert error.where == "Contact.fit"
    for text in (why_not, str(error), row["why"], warning):
        assert f"{file_of(two, 'Contact.fit')}:4: " in text
    assert row["state"] == "not ready"


@pytest.mark.slow
def test_what_changed_while_a_file_was_wrong_is_scored_when_it_is_right_and_nothing_else(
    two: Plant,
) -> None:
    """R17: the last good rollout stands, so that its records are not all due again."""
    right = file_of(two, "Contact.fit").read_text()
    account, other = two.create("Account", {"Name": "Acme"}, {"Name": "Other"})
    old, changed = two.create(
        "Contact",
        {"LastName": "Old", "Title": "CEO", "AccountId": account},
        {"LastName": "New", "Title": "CEO", "AccountId": account},
    )
    two.wait(minutes=1)
    two.tick()
    two.wait(minutes=20)
    two.tick()
    before, stamp = states(two)["Contact.fit"], two.scored_at("Contact", old)

    file_of(two, "Contact.fit").write_text(HALF_SAVED)
    two.wait(minutes=1)
    two.edit("Contact", changed, AccountId=other)
    two.create("Lead", ACME)
    two.wait(minutes=5)
    two.tick()
    two.wait(days=1)
    two.tick()
    assert states(two)["Contact.fit"].enabled_at == before.enabled_at
    assert "its configuration is wrong" in (states(two)["Contact.fit"].not_ready or "")
    scored = two.scored_at("Contact", changed)

    file_of(two, "Contact.fit").write_text(right)
    two.wait(minutes=5)
    two.tick()
    after = states(two)["Contact.fit"]
    assert (after.enabled_at, after.not_ready) == (before.enabled_at, None)
    assert two.scored_at("Contact", changed) != scored
    assert two.scored_at("Contact", old) == stamp


def test_a_broken_market_keeps_its_digests_while_its_neighbour_scores(shared_plant: Build) -> None:
    """D1: the hash field keeps what the broken one scored, so that it goes on where it was."""
    built = shared_plant(integration("Lead"), integration("Lead", **OTHER))
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    built.wait(minutes=1)
    built.pull("Lead")
    before = built.record("Lead", lead)
    market = built.market("other") / "market.yaml"
    right = market.read_text()

    market.write_text(right[: len(right) // 3])
    built.edit("Lead", lead, Company="Other")
    built.wait(minutes=1)
    built.pull("Lead")
    during = built.record("Lead", lead)
    assert during["Fit_Note__c"] == "Other|CEO"
    assert during["Other_Note__c"] == "Acme|CEO"
    assert len(during["Mintigo_hash__c"]) == len(before["Mintigo_hash__c"])

    market.write_text(right)
    built.wait(minutes=5)
    built.tick()
    built.wait(minutes=5)
    built.tick()
    assert built.record("Lead", lead)["Other_Note__c"] == "Other|CEO"


@pytest.mark.slow
def test_while_a_file_names_no_integration_none_that_is_missing_counts_as_switched_off(
    two: Plant,
) -> None:
    """R17: it may be the renamed and half-saved file of any of them."""
    before = states(two)["Contact.fit"].enabled_at
    file_of(two, "Contact.fit").rename(file_of(two, "people"))
    file_of(two, "people").write_text("inputs: {company: \n")

    found = two.with_clients(check)
    two.create("Lead", ACME)
    two.wait(minutes=1)
    two.pull("Lead")

    assert [problem.where for problem in found.errors] == ["people.yaml"]
    assert states(two)["Contact.fit"].enabled_at == before


def test_two_files_about_one_integration_stop_it_and_nothing_else(two: Plant) -> None:
    """R6: which of the two is meant, only a person knows."""
    file_of(two, "Contact.copy").write_text(file_of(two, "Contact.fit").read_text())

    configuration = read_configuration(two.folder / "config")

    assert [i.name for i in configuration.integrations] == ["Lead.fit"]
    assert [b.name for b in configuration.broken] == ["Contact.fit"]


def test_settings_that_are_wrong_stop_everything(two: Plant) -> None:
    """R2: without limits and time zone nothing may run."""
    (two.folder / "config" / "settings.yaml").write_text("time_zone: [Europe\n")

    with pytest.raises(ConfigurationError, match=r"settings.yaml:\d"):
        read_configuration(two.folder / "config")
