"""What happens to one record: the rules R14 to R25, over HTTP through a real Dagster instance."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.plant import Plant, integration, write_edit

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


@pytest.mark.dagster_runs
@pytest.mark.both_ledgers
def test_new_lead_is_scored_at_the_next_pull(leads: Plant) -> None:
    """R14, R16: it carries score, rank, insights, hash and datetime, written in one row."""
    (lead,) = leads.create("Lead", ACME)

    figures = leads.pull("Lead")

    record = leads.record("Lead", lead)
    assert (figures["due_new"], figures["pushed"]) == (1, 1)
    assert 0 <= record["Fit_Score__c"] <= 100
    assert record["Fit_Rank__c"] in "ABCDF"
    assert record["Fit_Note__c"] == "Acme|CEO"
    assert record["Mintigo_hash__c"].startswith("1.")
    assert record["Mintigo_update_datetime__c"] is not None


@pytest.mark.dagster_runs
def test_change_of_an_important_field_is_scored_anew(leads: Plant) -> None:
    """R14: the outputs are those of the new value."""
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    leads.edit("Lead", lead, Company="Umbrella")

    figures = leads.pull("Lead")

    assert (figures["due_changed"], figures["pushed"]) == (1, 1)
    assert leads.record("Lead", lead)["Fit_Note__c"] == "Umbrella|CEO"


def test_change_of_another_field_is_not_scored(leads: Plant) -> None:
    """R15: nothing is written for it."""
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    before = leads.record("Lead", lead)
    leads.wait(hours=1)
    leads.edit("Lead", lead, Phone="1234")

    figures = leads.pull("Lead")

    assert (figures["read"], figures["not_due"], figures["claimed"]) == (1, 1, 0)
    assert leads.scored_at("Lead", lead) == before["Mintigo_update_datetime__c"]


@pytest.mark.dagster_runs
def test_own_push_is_not_scored_again(leads: Plant) -> None:
    """R15: the pull that follows reads the pushed record and finds it not due."""
    leads.create("Lead", ACME)
    leads.pull("Lead")

    figures = leads.pull("Lead")

    assert (figures["read"], figures["not_due"], figures["claimed"]) == (1, 1, 0)


def test_edit_between_pull_and_push_is_found_by_the_next_pull(leads: Plant) -> None:
    """R15: the record is edited while the model scores what was pulled."""
    (lead,) = leads.create("Lead", ACME)
    write_edit(leads.market("fit"), leads.org, "Lead", {"Id": lead, "Company": "Umbrella"})

    leads.pull("Lead")

    assert leads.record("Lead", lead)["Fit_Note__c"] == "Acme|CEO"
    leads.pull("Lead")
    assert leads.record("Lead", lead)["Fit_Note__c"] == "Umbrella|CEO"


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_record_older_than_the_turning_on_is_left_to_the_daily_pull(shared_plant: Build) -> None:
    """R16, R17: never scored, it is the daily pull's."""
    built = shared_plant(integration("Lead"))
    (lead,) = built.create("Lead", ACME)
    built.wait(minutes=1)
    built.turn_on()

    assert built.pull("Lead")["read"] == 0
    figures = built.refresh("Lead")

    assert (figures["due_never_scored"], figures["pushed"]) == (1, 1)
    assert built.scored_at("Lead", lead) is not None


@pytest.mark.both_ledgers
def test_stale_record_is_scored_again_by_the_daily_pull(leads: Plant) -> None:
    """R17: scored longer ago than the refresh period, and not before that."""
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    first = leads.scored_at("Lead", lead)
    leads.wait(days=29)
    assert leads.refresh("Lead")["read"] == 0

    leads.wait(days=2)
    figures = leads.refresh("Lead")

    assert (figures["due_stale"], figures["pushed"]) == (1, 1)
    assert leads.scored_at("Lead", lead) != first


def test_clearing_the_datetime_lets_the_daily_pull_score_and_no_other(leads: Plant) -> None:
    """R28a: a cleared update datetime makes no pulled record due."""
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    leads.edit("Lead", lead, Mintigo_update_datetime__c=None)

    assert leads.pull("Lead")["claimed"] == 0
    assert leads.refresh("Lead")["pushed"] == 1
    assert leads.scored_at("Lead", lead) is not None


def test_unchecked_candidate_is_not_scored_and_checked_one_is(shared_plant: Build) -> None:
    """R7: checking it for the first time makes it due; unchecking writes nothing; the scores then still hold."""
    built = shared_plant(integration("Lead", candidate_field="Fit_Candidate__c"))
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    assert built.pull("Lead")["claimed"] == 0
    assert built.refresh("Lead")["read"] == 0

    built.edit("Lead", lead, Fit_Candidate__c=True)
    assert built.pull("Lead")["pushed"] == 1
    scored = built.record("Lead", lead)

    built.edit("Lead", lead, Fit_Candidate__c=False)
    assert built.pull("Lead")["claimed"] == 0
    assert built.record("Lead", lead)["Fit_Score__c"] == scored["Fit_Score__c"]
    built.edit("Lead", lead, Fit_Candidate__c=True)
    assert built.pull("Lead")["claimed"] == 0


@pytest.mark.slow
def test_record_routed_to_another_market_and_back_is_due_each_time(shared_plant: Build) -> None:
    """R6, R7: two markets write the same fields; candidate fields route each record to one of them."""
    fit = integration("Account", "fit", candidate_field="Fit_Candidate__c")
    other = integration("Account", "other", candidate_field="Other_Candidate__c")
    built = shared_plant(fit, other)
    built.turn_on()
    (account,) = built.create("Account", {"Name": "Acme", "Fit_Candidate__c": True})
    assert built.pull("Account")["pushed"] == 1
    first = built.record("Account", account)["Mintigo_hash__c"]

    built.edit("Account", account, Fit_Candidate__c=False, Other_Candidate__c=True)
    assert built.pull("Account")["pushed"] == 1
    second = built.record("Account", account)["Mintigo_hash__c"]
    built.edit("Account", account, Fit_Candidate__c=True, Other_Candidate__c=False)
    assert built.pull("Account")["pushed"] == 1

    assert second != first
    assert built.record("Account", account)["Mintigo_hash__c"] == first


def test_record_that_two_rival_markets_claim_is_left_alone(shared_plant: Build) -> None:
    """R6: reported, scored by neither."""
    fit = integration("Account", "fit", candidate_field="Fit_Candidate__c")
    other = integration("Account", "other", candidate_field="Other_Candidate__c")
    built = shared_plant(fit, other)
    built.turn_on()
    both = {"Name": "Acme", "Fit_Candidate__c": True, "Other_Candidate__c": True}
    (account,) = built.create("Account", both)

    figures = built.pull("Account")

    assert (figures["claimed_by_two_markets"], figures["claimed"]) == (1, 0)
    assert built.refresh("Account")["read"] == 0
    assert built.scored_at("Account", account) is None


@pytest.mark.dagster_runs
def test_two_markets_on_one_object_are_pushed_in_one_row(shared_plant: Build) -> None:
    """R6, R22: one push writes both markets' fields; the hash holds both digests."""
    built = shared_plant(integration("Contact"), integration("Contact", "other", "Other"))
    built.turn_on()
    (account,) = built.create("Account", {"Name": "Acme"})
    (contact,) = built.create("Contact", {"LastName": "Ito", "AccountId": account, "Title": "CEO"})

    figures = built.pull("Contact")

    record = built.record("Contact", contact)
    assert figures["pushed"] == 1
    assert figures["bulk_jobs"].count("](") == 1
    assert record["Fit_Note__c"] == record["Other_Note__c"] == "Acme|CEO"
    assert record["Mintigo_hash__c"].count(".") == 2


@pytest.mark.slow
def test_market_switched_on_later_reaches_all_records_through_the_daily_pull(
    shared_plant: Build,
) -> None:
    """R17, R19: scored before it was turned on, they are stale; the first market's digest stays."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    built.pull("Lead")
    built.wait(days=1)
    built.configure(integration("Lead"), integration("Lead", "other", "Other"))
    built.turn_on()

    figures = built.refresh("Lead")

    assert (figures["due_stale"], figures["pushed"]) == (1, 1)
    assert built.record("Lead", lead)["Other_Note__c"] == "Acme|CEO"
    assert built.pull("Lead")["claimed"] == 0


@pytest.mark.slow
def test_account_rename_does_not_make_its_contacts_due(shared_plant: Build) -> None:
    """R18: but moving a contact to another account does, since its inputs are other ones then."""
    built = shared_plant(integration("Contact"))
    built.turn_on()
    acme, umbrella = built.create("Account", {"Name": "Acme"}, {"Name": "Umbrella"})
    (contact,) = built.create("Contact", {"LastName": "Ito", "AccountId": acme, "Title": "CEO"})
    built.pull("Contact")
    built.edit("Account", acme, Name="Acme Corporation")
    built.edit("Contact", contact, Phone="1")
    assert built.pull("Contact")["claimed"] == 0

    built.edit("Contact", contact, AccountId=umbrella)
    assert built.pull("Contact")["pushed"] == 1
    assert built.record("Contact", contact)["Fit_Note__c"] == "Umbrella|CEO"


def test_account_rename_makes_contacts_due_where_the_integration_opted_in(
    shared_plant: Build,
) -> None:
    """R18: the sensor sees it as well, though no contact was touched."""
    built = shared_plant(integration("Contact", account_changes=True))
    built.turn_on()
    (account,) = built.create("Account", {"Name": "Acme"})
    (contact,) = built.create("Contact", {"LastName": "Ito", "AccountId": account, "Title": "CEO"})
    built.pull("Contact")
    built.refresh("Contact")
    built.wait(minutes=20)
    built.pull("Contact")
    built.wait(minutes=1)
    assert built.tick()[0] == []
    built.edit("Account", account, Name="Acme Corporation")
    built.wait(minutes=1)

    (figures,) = built.tick()[0]

    assert (figures["job"], figures["due_changed"], figures["pushed"]) == ("pull", 1, 1)
    assert built.record("Contact", contact)["Fit_Note__c"] == "Acme Corporation|CEO"


@pytest.mark.slow
def test_contact_without_an_account_is_scored(shared_plant: Build) -> None:
    """R11: the parent's fields are then empty, no more."""
    built = shared_plant(integration("Contact"))
    built.turn_on()
    (contact,) = built.create("Contact", {"LastName": "Ito", "Title": "CEO"})

    assert built.pull("Contact")["pushed"] == 1
    assert built.record("Contact", contact)["Fit_Note__c"] == "|CEO"


@pytest.mark.parametrize("how", ["deleted", "converted"])
def test_record_that_goes_between_pull_and_push_is_left_alone(leads: Plant, how: str) -> None:
    """R25: its row fails in the org, is no failure of ours, and does not wait."""
    gone, stays = leads.create("Lead", ACME, {**ACME, "LastName": "Okafor"})
    leads.run("pull", "Lead", asset_selection=[_key("salesforce_changed_records")])
    if how == "deleted":
        leads.delete("Lead", gone)
    else:
        leads.org.control("POST", "convert-lead", {"lead_id": gone})

    figures = leads.run("score_and_push", "Lead")

    assert (figures["pushed"], figures["gone"], figures["failed"]) == (1, 1, 0)
    assert leads.scored_at("Lead", stays) is not None
    assert leads.scored_at("Lead", gone) is None
    assert (leads.waiting("Lead"), leads.failures()) == (0, [])


def test_record_deleted_while_it_is_scored_is_left_alone(leads: Plant) -> None:
    """R25: the bulk job says ENTITY_IS_DELETED for it, and that ends it."""
    gone, _ = leads.create("Lead", ACME, {**ACME, "LastName": "Okafor"})
    leads.org.arm("row_error", ids=[gone], code="ENTITY_IS_DELETED", message="entity is deleted")

    figures = leads.pull("Lead")

    assert (figures["pushed"], figures["gone"], figures["failed"]) == (1, 1, 0)
    assert leads.waiting("Lead") == 0


def test_merged_account_is_left_alone_and_its_master_scored(shared_plant: Build) -> None:
    """R25: the loser is a deleted record."""
    built = shared_plant(integration("Account"))
    built.turn_on()
    master, loser = built.create("Account", {"Name": "Acme"}, {"Name": "Acme Inc"})
    built.run("pull", "Account", asset_selection=[_key("salesforce_changed_records")])
    built.org.control(
        "POST", "merge", {"object": "Account", "master_id": master, "loser_ids": [loser]}
    )

    figures = built.run("score_and_push", "Account")

    assert (figures["pushed"], figures["gone"]) == (1, 1)
    assert built.scored_at("Account", loser) is None
    assert built.scored_at("Account", master) is not None


def test_converted_lead_is_never_read(leads: Plant) -> None:
    """R25: neither by the pull nor by the daily pull."""
    (lead,) = leads.create("Lead", ACME)
    leads.org.control("POST", "convert-lead", {"lead_id": lead})

    assert leads.pull("Lead")["read"] == 0
    assert leads.refresh("Lead")["read"] == 0


@pytest.mark.slow
def test_contact_half_of_a_person_account_is_left_alone(plant: Build) -> None:
    """R25: the account half is scored, the contact half is not."""
    built = plant(integration("Account"), integration("Contact"))
    built.org.set_options(person_accounts=True)
    built.turn_on()
    made = built.org.control("POST", "person-account", {"values": {"LastName": "Ito"}})

    built.pull("Contact")
    built.pull("Account")

    assert built.scored_at("Account", made["account_id"]) is not None
    assert built.scored_at("Contact", made["contact_id"]) is None


def test_null_output_clears_its_field_and_another_market_leaves_it(shared_plant: Build) -> None:
    """R8: a null clears; with null_outputs: keep the old value stays."""
    built = shared_plant(
        integration("Lead"), integration("Lead", "other", "Other", null_outputs="keep")
    )
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    built.pull("Lead")
    kept = built.record("Lead", lead)["Other_Score__c"]
    built.edit("Lead", lead, Company="NO SCORE")

    assert built.pull("Lead")["pushed"] == 1
    record = built.record("Lead", lead)
    assert (record["Fit_Score__c"], record["Fit_Rank__c"]) == (None, None)
    assert record["Other_Score__c"] == kept


def _key(name: str) -> object:
    import dagster as dg

    return dg.AssetKey([name])
