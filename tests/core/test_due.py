from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD
from pipeline.core.scoring.digest import OUTDATED
from pipeline.core.scoring.due import (
    LANES,
    Lane,
    Reason,
    due_after_pull,
    new_hashes,
    row_statuses,
    stale_horizon,
)
from pipeline.core.scoring.scope import ScoringScope
from tests.core.support import AFTER, BEFORE, TURNED_ON, integration, records, scope

FIT = integration()
ROUTED_FIT = integration(candidate_field="Fit_Candidate__c", outputs={"score": "Score__c"})
ROUTED_SMB = integration(
    market_name="smb", candidate_field="Smb_Candidate__c", outputs={"score": "score__C"}
)


def reasons(of: ScoringScope, *rows: dict[str, Any]) -> list[str | None]:
    table = records(of, rows)
    return [r.as_py() for r in due_after_pull(of, table, row_statuses(of, table))]


def scored(of: ScoringScope, row: dict[str, Any]) -> dict[str, Any]:
    """The row as it stands after a push: with the hash field of what it holds."""
    table = records(of, [row])
    return {**row, HASH_FIELD: new_hashes(of, row_statuses(of, table))[0].as_py()}


def hash_of(of: ScoringScope, row: dict[str, Any], **scored_by: bool) -> str:
    table = records(of, [row])
    masks = {market: pa.array([yes]) for market, yes in scored_by.items()}
    stamps = table.column(DATETIME_FIELD)
    return str(new_hashes(of, row_statuses(of, table), masks, stamps)[0].as_py())


def test_a_market_that_rests_keeps_the_digest_it_had_and_makes_nothing_due() -> None:
    """D1, R29: paused, not ready or held, its scores still hold where its inputs do."""
    smb = integration(market_name="smb")
    row = scored(scope(FIT, smb), {"Company": "Acme"})
    resting = scope(FIT, resting=(smb,))
    edited = {**row, "Company": "Acme Ltd"}
    pushed = scored(resting, edited)

    assert reasons(resting, row, edited, pushed) == [None, "changed", None]
    assert reasons(scope(FIT, smb), pushed) == ["changed"]
    assert reasons(scope(smb), {**pushed, "Company": "Acme"}) == [None]


def test_a_record_created_since_the_turning_on_and_never_scored_is_new() -> None:
    """R14, R16."""
    assert reasons(scope(FIT), {"Company": "Acme", "CreatedDate": TURNED_ON}) == ["new"]


def test_a_record_older_than_the_turning_on_is_changed_not_new() -> None:
    """R16: what is older has no claim to the part kept for new records."""
    assert reasons(scope(FIT), {"Company": "Acme", "CreatedDate": BEFORE}) == ["changed"]


def test_an_edit_of_an_important_field_makes_a_record_changed() -> None:
    """R14."""
    of = scope(FIT)
    row = scored(of, {"Company": "Acme", "CreatedDate": BEFORE})

    assert reasons(of, {**row, "Company": "Acme Ltd"}) == ["changed"]


def test_a_record_that_was_scored_once_is_never_new_again() -> None:
    """R16: D6 says new is an empty hash."""
    of = scope(FIT)

    assert reasons(of, {**scored(of, {"Company": "Acme"}), "Company": "B"}) == ["changed"]


def test_a_record_modified_in_other_fields_only_is_not_due() -> None:
    """R15: nor does the pipeline's own push make it due."""
    of = scope(FIT)

    assert reasons(of, scored(of, {"Company": "Acme"})) == [None]


def test_an_empty_update_datetime_alone_makes_no_pulled_record_due() -> None:
    """R28: clearing it is the daily pull's to find."""
    of = scope(FIT)
    row = scored(of, {"Company": "Acme"})

    assert row.get("Mintigo_update_datetime__c") is None
    assert reasons(of, row) == [None]


def test_a_record_that_is_no_candidate_is_not_due() -> None:
    """R7: unchecked or null, it is left alone, new or not."""
    of = scope(ROUTED_FIT)

    assert reasons(
        of, {"Company": "A", "Fit_Candidate__c": False}, {"Company": "A", "Fit_Candidate__c": None}
    ) == [None, None]


def test_checking_a_candidate_for_the_first_time_makes_it_due() -> None:
    """R7."""
    of = scope(FIT, integration(market_name="smb", candidate_field="Smb_Candidate__c"))
    row = scored(of, {"Company": "Acme", "Smb_Candidate__c": False})

    assert reasons(of, {**row, "Smb_Candidate__c": True}) == ["changed"]


def test_unchecking_a_candidate_makes_nothing_due_and_checking_it_again_neither() -> None:
    """R7: with unchanged inputs the scores still hold."""
    of = scope(ROUTED_FIT)
    row = scored(of, {"Company": "Acme", "Fit_Candidate__c": True})

    assert reasons(of, {**row, "Fit_Candidate__c": False}, row) == [None, None]


def test_moving_a_record_to_another_market_and_back_makes_it_due_both_times() -> None:
    """R7: the other market overwrote the scores, so the digest of the first is gone."""
    of = scope(ROUTED_FIT, ROUTED_SMB)
    here: dict[str, Any] = {"Fit_Candidate__c": True, "Smb_Candidate__c": False}
    there: dict[str, Any] = {"Fit_Candidate__c": False, "Smb_Candidate__c": True}
    row = scored(of, {"Company": "Acme", **here})
    moved = {**row, **there}

    assert reasons(of, moved) == ["changed"]
    assert reasons(of, {**scored(of, moved), **here}) == ["changed"]


def test_a_record_that_two_integrations_claim_is_scored_by_neither() -> None:
    """R6: it is reported and left alone, whatever its fields say."""
    of = scope(ROUTED_FIT, ROUTED_SMB)
    table = records(of, [{"Company": "A", "Fit_Candidate__c": True, "Smb_Candidate__c": True}])
    statuses = row_statuses(of, table)

    assert statuses.conflicts.to_pylist() == [True]
    assert [c.to_pylist() for c in statuses.candidates.values()] == [[False], [False]]
    assert due_after_pull(of, table, statuses).to_pylist() == [None]


def test_a_conflict_leaves_a_third_market_of_the_record_at_work() -> None:
    """R6: two markets that clash do not stop one that does not."""
    third = integration(market_name="other")
    of = scope(ROUTED_FIT, ROUTED_SMB, third)
    table = records(of, [{"Company": "A", "Fit_Candidate__c": True, "Smb_Candidate__c": True}])

    assert row_statuses(of, table).candidates["other"].to_pylist() == [True]
    assert reasons(of, {"Company": "A", "Fit_Candidate__c": True, "Smb_Candidate__c": True}) == [
        "new"
    ]


def test_a_record_is_due_when_one_of_its_markets_never_scored_it() -> None:
    """R14: a market added later is missing in the hash."""
    row = scored(scope(FIT), {"Company": "Acme"})

    assert reasons(scope(FIT, integration(market_name="smb")), row) == ["changed"]


def test_a_hash_of_an_unknown_version_makes_a_record_changed() -> None:
    """D1: it holds no digest that can be read, but the record was scored."""
    assert reasons(scope(FIT), {"Company": "Acme", HASH_FIELD: "9.whatever"}) == ["changed"]


def test_a_market_that_did_not_score_keeps_the_digest_it_had() -> None:
    """D1: a failed or paused market stays due where it was due."""
    of = scope(FIT, integration(market_name="smb"))
    row = {**scored(of, {"Company": "Acme"}), "Company": "Acme Ltd", DATETIME_FIELD: AFTER}
    half = {**row, HASH_FIELD: hash_of(of, row, smb=False)}
    whole = {**row, HASH_FIELD: hash_of(of, row)}
    before = row_statuses(of, records(of, [row])).stored["smb"].to_pylist()

    assert row_statuses(of, records(of, [half])).stored["smb"].to_pylist() == before
    assert reasons(of, half, whole) == ["changed", None]


@pytest.mark.parametrize("stamp", [BEFORE, None])
def test_a_market_renewed_since_and_held_makes_a_record_due_though_the_others_date_it_anew(
    stamp: datetime | None,
) -> None:
    """R17: the ledger knows that it waits, and may be put back from a backup that does not."""
    of = scope(FIT, integration(market_name="smb"))
    row = {**scored(of, {"Company": "Acme"}), DATETIME_FIELD: stamp}
    half = {**row, HASH_FIELD: hash_of(of, row, smb=False), DATETIME_FIELD: AFTER}
    never = {**half, HASH_FIELD: hash_of(of, {**row, HASH_FIELD: None}, smb=False)}

    assert reasons(of, half, never) == ["changed", "changed"]
    assert row_statuses(of, records(of, [half])).stored["smb"].to_pylist() == [OUTDATED]
    assert row_statuses(of, records(of, [never])).stored["smb"].to_pylist() == [None]


def test_a_market_that_never_scored_has_no_digest_after_a_push_of_the_others() -> None:
    """D1: nothing is made up for it."""
    of = scope(FIT, integration(market_name="smb"))
    row = {"Company": "Acme", HASH_FIELD: hash_of(of, {"Company": "Acme"}, smb=False)}

    assert row_statuses(of, records(of, [row])).stored["smb"].to_pylist() == [None]
    assert row_statuses(of, records(of, [row])).stored["fit"].to_pylist() != [None]


@pytest.mark.parametrize(
    ("opted_in", "expected"), [(False, [None, "changed"]), (True, ["changed", None])]
)
def test_account_fields_make_contacts_due_only_where_opted_in(
    opted_in: bool, expected: list[str | None]
) -> None:
    """R18: without it, moving the contact to another company still does."""
    contact = integration("Contact", inputs={"company": "Account.Name"}, account_changes=opted_in)
    of = scope(contact)
    row = scored(of, {"Account.Name": "Acme", "AccountId": "001"})

    assert reasons(of, {**row, "Account.Name": "Acme Ltd"}, {**row, "AccountId": "002"}) == expected


def test_a_table_of_no_rows_has_nothing_due() -> None:
    """R14."""
    assert reasons(scope(ROUTED_FIT, ROUTED_SMB)) == []


def test_decisions_do_not_depend_on_where_the_table_is_cut() -> None:
    """R14: pages of any size."""
    of = scope(ROUTED_FIT, ROUTED_SMB)
    rows: list[dict[str, Any]] = [
        {"Company": str(n), "Fit_Candidate__c": n % 2 == 0, "Smb_Candidate__c": n % 3 == 0}
        for n in range(7)
    ]
    whole = records(of, rows)
    cut = pa.concat_tables([whole.slice(0, 2), whole.slice(2, 0), whole.slice(2)])

    assert due_after_pull(of, cut, row_statuses(of, cut)).to_pylist() == reasons(of, *rows)


def test_a_turning_on_within_a_second_is_compared_as_precisely_as_the_org_writes() -> None:
    """R16: the ledger keeps microseconds, Salesforce milliseconds."""
    of = scope(FIT, turned_on_at=TURNED_ON.replace(microsecond=123_456))

    assert reasons(of, {"Company": "A", "CreatedDate": TURNED_ON.replace(microsecond=124_000)}) == [
        "new"
    ]
    assert reasons(of, {"Company": "A", "CreatedDate": TURNED_ON}) == ["changed"]


def test_a_market_turned_on_lately_makes_older_scorings_stale() -> None:
    """R17: the later of age and renewal counts."""
    of = scope(FIT)

    assert stale_horizon(of, "fit", AFTER) == AFTER
    assert stale_horizon(of, "fit", BEFORE) == TURNED_ON


def test_new_and_changed_share_a_lane_and_all_the_rest_the_other() -> None:
    """R20."""
    changes = {reason for reason, lane in LANES.items() if lane is Lane.CHANGES}

    assert changes == {Reason.NEW, Reason.CHANGED}
    assert set(LANES) == set(Reason)


def test_reasons_stand_in_the_order_in_which_they_are_claimed() -> None:
    """D6."""
    assert [r.value for r in Reason] == ["new", "changed", "never_scored", "stale", "left", "redo"]


def test_the_digest_takes_inputs_in_the_order_of_their_names() -> None:
    """D1: reordering the YAML file makes nothing due."""
    one = integration(inputs={"company": "Company", "email": "Email"})
    other = integration(inputs={"email": "Email", "company": "Company"})
    row = scored(scope(one), {"Company": "A", "Email": "b@c.de"})

    assert one.important_fields == other.important_fields
    assert reasons(scope(other), row) == [None]


def test_a_market_taken_away_leaves_the_digests_of_the_others_valid() -> None:
    """D1: switching one off makes nothing due."""
    row = scored(scope(FIT, integration(market_name="smb")), {"Company": "Acme"})

    assert reasons(scope(FIT), row) == [None]
