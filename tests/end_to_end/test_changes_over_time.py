"""What happens to records and hashes when mappings and markets change (R7, R17, R19; docs/changes.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
VALUES = ("Fit_Score__c", "Fit_Rank__c", "Fit_Note__c", "Fit_Good__c")


def without(*outputs: str, **more: Any) -> dict[str, Any]:
    """Return the integration of Lead without some of its outputs."""
    changed = integration("Lead", **more)
    changed["outputs"] = {k: v for k, v in changed["outputs"].items() if k not in outputs}
    return changed


def scored_lead(built: Plant) -> str:
    """Turn the plant on, let it score one new Lead, and let a day pass."""
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    assert built.pull("Lead")["pushed"] == 1
    built.wait(days=1)
    return lead


def test_insight_added_is_filled_in_all_records(shared_plant: Build) -> None:
    """R19: without anybody touching them, through the daily pull."""
    built = shared_plant(without("note"))
    lead = scored_lead(built)
    assert built.record("Lead", lead)["Fit_Note__c"] is None

    built.configure(integration("Lead"))
    built.turn_on()

    assert built.refresh("Lead")["pushed"] == 1
    assert built.record("Lead", lead)["Fit_Note__c"] == "Acme|CEO"


@pytest.mark.parametrize(("old_values", "left"), [("keep", "Acme|CEO"), ("clear", None)])
def test_insight_removed_leaves_or_clears_its_values(
    shared_plant: Build, old_values: str, left: str | None
) -> None:
    """R19: old values stay; with old_values: clear they go with the next scoring."""
    built = shared_plant(integration("Lead", old_values=old_values))
    lead = scored_lead(built)

    built.configure(without("note", old_values=old_values))
    built.turn_on()

    assert built.refresh("Lead")["pushed"] == 1
    record = built.record("Lead", lead)
    assert record["Fit_Note__c"] == left
    assert record["Fit_Score__c"] is not None


@pytest.mark.slow
def test_cleared_field_that_people_fill_again_is_not_emptied_twice(shared_plant: Build) -> None:
    """R19: the field is no longer ours; only what was scored before the change is cleared."""
    built = shared_plant(integration("Lead", old_values="clear"))
    lead = scored_lead(built)
    built.configure(without("note", old_values="clear"))
    built.turn_on()
    built.refresh("Lead")
    built.edit("Lead", lead, Fit_Note__c="by hand", Company="Umbrella")

    assert built.pull("Lead")["pushed"] == 1
    assert built.record("Lead", lead)["Fit_Note__c"] == "by hand"


@pytest.mark.slow
def test_output_moved_to_another_field_is_written_there(shared_plant: Build) -> None:
    """R19: a renamed field works like a market newly turned on; the digest of the inputs stays the same."""
    built = shared_plant(integration("Lead", old_values="clear"))
    lead = scored_lead(built)
    before = built.record("Lead", lead)
    moved = integration("Lead", old_values="clear")
    moved["outputs"]["note"] = "Other_Note__c"

    built.configure(moved)
    built.turn_on()

    assert built.refresh("Lead")["pushed"] == 1
    record = built.record("Lead", lead)
    assert (record["Fit_Note__c"], record["Other_Note__c"]) == (None, "Acme|CEO")
    assert record["Mintigo_hash__c"] == before["Mintigo_hash__c"]


@pytest.mark.slow
@pytest.mark.parametrize("old_values", ["keep", "clear"])
def test_market_switched_off_leaves_or_clears_its_values(
    shared_plant: Build, old_values: str
) -> None:
    """R19: also where it was the object's only market."""
    built = shared_plant(integration("Lead", old_values=old_values))
    lead = scored_lead(built)
    before = built.record("Lead", lead)

    built.configure(integration("Lead", enabled=False, old_values=old_values))
    if old_values == "clear":
        assert built.refresh("Lead")["due_left"] == 1

    record = built.record("Lead", lead)
    if old_values == "keep":
        assert {name: record[name] for name in VALUES} == {name: before[name] for name in VALUES}
    else:
        assert [record[name] for name in VALUES] == [None, None, None, False]
        assert record["Mintigo_hash__c"] is None


@pytest.mark.slow
def test_one_of_two_markets_switched_off_is_cleared_and_the_other_stays(
    shared_plant: Build,
) -> None:
    """R19: one push, counted as one scoring; the other market's digest stays in the hash."""
    other = integration("Lead", "other", "Other")
    built = shared_plant(integration("Lead", old_values="clear"), other)
    lead = scored_lead(built)

    built.configure(integration("Lead", enabled=False, old_values="clear"), other)
    built.turn_on()

    assert built.refresh("Lead")["pushed"] == 1
    record = built.record("Lead", lead)
    assert (record["Fit_Note__c"], record["Other_Note__c"]) == (None, "Acme|CEO")
    assert record["Mintigo_hash__c"].count(".") == 1
    assert built.refresh("Lead")["read"] == 0


@pytest.mark.slow
def test_market_switched_on_again_scores_everything_anew(shared_plant: Build) -> None:
    """R17: turned on again, it reaches all records, changed or not."""
    built = shared_plant(integration("Lead"), integration("Account"))
    lead = scored_lead(built)
    first = built.scored_at("Lead", lead)
    built.configure(integration("Lead", enabled=False), integration("Account"))
    built.turn_on()
    built.wait(days=1)

    built.configure(integration("Lead"), integration("Account"))
    built.turn_on()

    assert built.refresh("Lead")["due_stale"] == 1
    assert built.scored_at("Lead", lead) != first


def test_market_replaced_by_a_new_version_scores_everything_anew(shared_plant: Build) -> None:
    """R17, R28: the model's version is part of the rollout, not of the digest."""
    built = shared_plant(integration("Lead"))
    lead = scored_lead(built)
    before = built.record("Lead", lead)
    description = built.market("fit") / "market.yaml"

    built.configure(integration("Lead"))
    description.write_text(description.read_text().replace('version: "1"', 'version: "2"'))
    built.turn_on()

    assert built.refresh("Lead")["due_stale"] == 1
    record = built.record("Lead", lead)
    assert record["Mintigo_hash__c"] == before["Mintigo_hash__c"]
    assert record["Mintigo_update_datetime__c"] != before["Mintigo_update_datetime__c"]


def test_unchecked_candidate_is_cleared_where_the_integration_says_so(shared_plant: Build) -> None:
    """R7: one push empties outputs and digest and counts as a scoring; checked again it is due."""
    built = shared_plant(
        integration("Lead", candidate_field="Fit_Candidate__c", old_values="clear")
    )
    built.turn_on()
    (lead,) = built.create("Lead", {**ACME, "Fit_Candidate__c": True})
    built.pull("Lead")
    used = built.pull("Lead")["limit_used"]

    built.edit("Lead", lead, Fit_Candidate__c=False)
    figures = built.pull("Lead")

    record = built.record("Lead", lead)
    assert (figures["pushed"], figures["limit_used"]) == (1, used + 1)
    assert [record[name] for name in VALUES] == [None, None, None, False]
    assert record["Mintigo_hash__c"] is None
    assert built.pull("Lead")["claimed"] == 0
    built.edit("Lead", lead, Fit_Candidate__c=True)
    assert built.pull("Lead")["pushed"] == 1
