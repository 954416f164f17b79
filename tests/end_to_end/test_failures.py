"""Rows that Salesforce refuses, models that err, jobs that fail or hang: nothing else suffers, nothing is lost (R15, R23)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline.steps.asking.alerts import situations
from pipeline.steps.asking.status import status as report
from tests.plant import LETTERS, RAISES, Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
RULE = {
    "object": "Lead",
    "name": "No_Okafor",
    "condition": "LastName = 'Okafor'",
    "message": "Okafor is on legal hold: ask 'Legal'.",
}
CANNOT_BE_LOADED = "import no_such_library\n"
SCORE_AS_TEXT = "pa.array([str(score) for score in scores])"


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


@pytest.fixture
def two_markets(shared_plant: Build) -> Plant:
    """A plant with two markets on Lead that write fields of their own, turned on."""
    built = shared_plant(integration("Lead"), integration("Lead", "other", "Other"))
    built.turn_on()
    return built


# -- rows that Salesforce refuses ------------------------------------------------------------------


def test_refused_row_is_kept_with_salesforces_words_and_the_others_are_pushed(leads: Plant) -> None:
    """R23: the code and the message are Salesforce's own, verbatim."""
    good, bad = leads.create("Lead", ACME, ACME | {"LastName": "Okafor"})
    leads.org.control("POST", "validation-rules", RULE)

    figures = leads.pull("Lead")

    assert (figures["pushed"], figures["failed"]) == (1, 1)
    assert figures["failed_FIELD_CUSTOM_VALIDATION_EXCEPTION"] == 1
    (failure,) = leads.failures()
    assert (failure.object, failure.record_id, failure.tries) == ("Lead", bad, 1)
    assert failure.error_code == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert failure.error_message == RULE["message"]
    assert leads.scored_at("Lead", good) is not None
    assert leads.scored_at("Lead", bad) is None


@pytest.mark.both_ledgers
def test_refused_row_waits_longer_each_time_and_is_pushed_when_the_rule_is_gone(
    leads: Plant,
) -> None:
    """R23: 30 minutes, then an hour; no pull in between takes it."""
    (bad,) = leads.create("Lead", ACME | {"LastName": "Okafor"})
    leads.org.control("POST", "validation-rules", RULE)
    leads.pull("Lead")

    assert leads.pull("Lead")["claimed"] == 0
    leads.wait(minutes=31)
    again = leads.run("score_and_push", "Lead")
    assert (again["claimed"], again["pushed"], again["failed"]) == (1, 0, 1)
    assert [row.tries for row in leads.failures()] == [2]

    leads.org.control("DELETE", "validation-rules/Lead/No_Okafor")
    leads.wait(minutes=31)
    assert leads.run("score_and_push", "Lead")["claimed"] == 0
    leads.wait(minutes=30)
    assert leads.run("score_and_push", "Lead")["pushed"] == 1
    assert (leads.waiting("Lead"), leads.failures()) == (0, [])
    assert leads.scored_at("Lead", bad) is not None


def test_later_edit_of_a_refused_record_tries_it_anew_at_once(leads: Plant) -> None:
    """R23: even an edit of a field that is no input, since it may be what the rule asked for."""
    (bad,) = leads.create("Lead", ACME | {"LastName": "Okafor"})
    leads.org.control("POST", "validation-rules", RULE)
    leads.pull("Lead")
    leads.edit("Lead", bad, LastName="Ito")

    figures = leads.pull("Lead")

    assert (figures["claimed"], figures["pushed"]) == (1, 1)
    assert (leads.waiting("Lead"), leads.failures()) == (0, [])


@pytest.mark.slow
def test_edit_that_mends_a_record_is_at_once_however_often_it_was_refused(leads: Plant) -> None:
    """R15, R23: tries of its own accord do not count as a record that keeps becoming due."""
    (bad,) = leads.create("Lead", ACME | {"LastName": "Okafor"})
    leads.org.control("POST", "validation-rules", RULE)
    leads.pull("Lead")
    for hours in (1, 2, 4):
        leads.wait(hours=hours)
        assert leads.run("score_and_push", "Lead")["failed"] == 1
    leads.edit("Lead", bad, LastName="Ito")

    figures = leads.pull("Lead")

    assert (figures["slowed_down"], figures["pushed"]) == (0, 1)
    assert leads.failures() == []


def test_invalid_cross_reference_is_looked_at_again_before_the_record_is_given_up(
    leads: Plant,
) -> None:
    """R23, R25: it may mean a purged record, or a trigger that trips over another one."""
    purged, tripped = leads.create("Lead", ACME, ACME | {"LastName": "Silva"})
    code = "INVALID_CROSS_REFERENCE_KEY"
    leads.org.arm(
        "row_error", ids=[purged, tripped], code=code, message="invalid cross reference id"
    )
    assert leads.pull("Lead")["failed"] == 2
    leads.delete("Lead", purged)
    leads.wait(minutes=31)

    figures = leads.run("score_and_push", "Lead")

    assert (figures["pushed"], figures["gone"], figures["failed"]) == (1, 1, 0)
    assert leads.scored_at("Lead", tripped) is not None
    assert (leads.waiting("Lead"), leads.failures()) == (0, [])


def test_message_keeps_no_values_where_persist_is_off(shared_plant: Build) -> None:
    """R24: Salesforce's message may quote a value; without persist the values are cut out of what is kept."""
    built = shared_plant(integration("Lead", persist=False))
    built.turn_on()
    (bad,) = built.create("Lead", ACME)
    message = "duplicate value found: Email duplicates value on record ito@acme.example"
    built.org.arm("row_error", ids=[bad], code="DUPLICATE_VALUE", message=message)

    built.pull("Lead")

    (failure,) = built.failures()
    assert failure.error_code == "DUPLICATE_VALUE"
    assert "ito@acme.example" not in (failure.error_message or "")
    assert b"ito@acme.example" not in _everything(built.folder / "home" / "lake")


def test_locked_rows_are_tried_again_in_the_run_in_a_small_job(leads: Plant) -> None:
    """R23: the first job has all rows, the next ones the locked row alone."""
    ids = leads.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(3)))
    leads.org.arm("lock_rows", ids=[ids[1]], count=2)
    before = _jobs(leads)

    figures = leads.pull("Lead")

    assert (figures["pushed"], figures["failed"]) == (3, 0)
    assert _rows_of_jobs(leads, before) == [3, 1, 1]
    assert all(leads.scored_at("Lead", i) for i in ids)


def test_rows_that_stay_locked_wait_a_few_minutes(leads: Plant) -> None:
    """R23: three jobs in the run, then the row waits five minutes, not half an hour."""
    (lead,) = leads.create("Lead", ACME)
    leads.org.arm("lock_rows", ids=[lead], count=3)

    figures = leads.pull("Lead")

    assert (figures["pushed"], figures["failed"], figures["failed_UNABLE_TO_LOCK_ROW"]) == (0, 1, 1)
    leads.wait(minutes=5)
    assert leads.run("score_and_push", "Lead")["pushed"] == 1


@pytest.mark.both_ledgers
def test_failing_rows_take_a_twentieth_of_the_day_and_come_last(shared_plant: Build) -> None:
    """R23: with a limit of 40 two of ten failing rows are tried, and the new record first."""
    built = shared_plant(integration("Lead"), daily_record_limit=40)
    built.turn_on()
    failing = built.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(10)))
    fault = built.org.arm("row_error", ids=failing, code="CUSTOM", message="no", count=None)
    assert built.pull("Lead")["failed"] == 10
    built.wait(minutes=31)
    built.create("Lead", ACME)

    figures = built.pull("Lead")

    assert (figures["claimed"], figures["pushed"], figures["failed"]) == (3, 1, 2)
    assert built.org.fault_count(fault) == 12


# -- models that err -------------------------------------------------------------------------------


@pytest.mark.dagster_runs
def test_bad_rows_are_set_aside_and_the_check_names_rule_and_ids(leads: Plant) -> None:
    """D8, R23: rank E and score 101 are never pushed; what the UI shows has ids and rules, no values."""
    good, bad_rank, bad_score = leads.create(
        "Lead", ACME, ACME | {"Company": "BAD RANK"}, ACME | {"Company": "BAD SCORE"}
    )

    figures = leads.pull("Lead")

    assert (figures["set_aside"], figures["pushed"], figures["failed"]) == (2, 1, 2)
    assert [leads.scored_at("Lead", i) is not None for i in (good, bad_rank, bad_score)] == [
        True,
        False,
        False,
    ]
    assert {(f.record_id, f.error_code) for f in leads.failures()} == {
        (bad_rank, "INVALID_OUTPUT"),
        (bad_score, "INVALID_OUTPUT"),
    }
    checks = leads.checks()
    assert {name: c.passed for name, c in checks.items() if not name.endswith("_ready")} == {
        "rank_values": False,
        "score_range": False,
        "insight_types": True,
        "text_lengths": True,
        "record_ids": True,
        "hash_form": True,
        "score_drift": True,
        "daily_limit": True,
        "complete": False,
    }
    assert _rules(checks["rank_values"]) == [
        ("fit", "rank", "one of A, B, C, D, F", 1, bad_rank),
    ]
    assert _rules(checks["score_range"]) == [
        ("fit", "score", "a whole number from 0 to 100", 1, bad_score)
    ]
    assert checks["rank_values"].severity is dg.AssetCheckSeverity.WARN
    assert checks["rank_values"].partition == leads.last.dagster_run.tags["dagster/partition"]
    shown = repr(checks) + repr([e.materialization for e in _materializations(leads)])
    assert "BAD" not in shown
    assert "CEO" not in shown


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_text_that_does_not_fit_its_field_is_set_aside(leads: Plant) -> None:
    """R10: a text longer than its field is found before the push, at run time too."""
    _rewrite(leads.market("fit"), "text[:40]", "text[:41]")
    (long,) = leads.create("Lead", ACME | {"Company": "A" * 60})

    figures = leads.pull("Lead")

    assert (figures["set_aside"], figures["pushed"]) == (1, 0)
    assert _rules(leads.checks()["text_lengths"]) == [
        ("fit", "note", "at most 40 characters", 1, long)
    ]


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_market_that_raises_stops_that_market_alone(two_markets: Plant) -> None:
    """R23: the other market's outputs are pushed; the failed one keeps its old outputs and digest."""
    (lead,) = two_markets.create("Lead", ACME)
    two_markets.pull("Lead")
    before = two_markets.record("Lead", lead)
    _write(two_markets.market("other"), RAISES)
    two_markets.edit("Lead", lead, Company="Umbrella")

    figures = two_markets.pull("Lead")

    after = two_markets.record("Lead", lead)
    assert figures["markets_failed"] == {"other": "the model raised ValueError at model.py:4"}
    assert (figures["scored"], figures["failed_MARKET_FAILED"]) == (1, 1)
    assert (after["Fit_Note__c"], after["Other_Note__c"]) == ("Umbrella|CEO", "Acme|CEO")
    old, new = before["Mintigo_hash__c"].split("."), after["Mintigo_hash__c"].split(".")
    assert len(old) == len(new) == 3
    assert len(set(old) & set(new)) == 2  # the version character and the failed market's digest
    assert two_markets.waiting("Lead") == 1
    checks = two_markets.checks()
    assert not checks["insight_types"].passed
    assert checks["insight_types"].severity is dg.AssetCheckSeverity.ERROR
    assert "Acme" not in repr(checks)


def test_failed_market_is_tried_again_and_catches_up(two_markets: Plant) -> None:
    """R23: held, it does not make the row due at every pull; mended, it scores what waited for it."""
    _write(two_markets.market("other"), RAISES)
    (lead,) = two_markets.create("Lead", ACME)
    two_markets.pull("Lead")
    scored = two_markets.scored_at("Lead", lead)
    assert two_markets.pull("Lead")["claimed"] == 0
    assert two_markets.scored_at("Lead", lead) == scored

    _write(two_markets.market("other"), (LETTERS / "model.py").read_text())
    two_markets.wait(minutes=6)
    figures = two_markets.run("score_and_push", "Lead")

    record = two_markets.record("Lead", lead)
    assert (figures["pushed"], figures["failed"]) == (1, 0)
    assert record["Other_Note__c"] == record["Fit_Note__c"] == "Acme|CEO"
    assert record["Mintigo_hash__c"].count(".") == 2
    assert (two_markets.waiting("Lead"), two_markets.failures()) == (0, [])
    assert two_markets.pull("Lead")["claimed"] == 0


@pytest.mark.slow
def test_new_record_is_scored_by_the_neighbour_of_a_held_market(two_markets: Plant) -> None:
    """R23: a held market does not hold up its neighbours, and what it misses waits for it."""
    _write(two_markets.market("other"), RAISES)
    two_markets.create("Lead", ACME)
    two_markets.pull("Lead")
    (new,) = two_markets.create("Lead", ACME | {"Company": "Umbrella"})

    figures = two_markets.pull("Lead")

    record = two_markets.record("Lead", new)
    assert figures["success"]
    assert (record["Fit_Note__c"], record["Other_Note__c"]) == ("Umbrella|CEO", None)
    assert two_markets.waiting("Lead") == 2

    _write(two_markets.market("other"), (LETTERS / "model.py").read_text())
    two_markets.wait(minutes=6)
    two_markets.run("score_and_push", "Lead")
    assert two_markets.record("Lead", new)["Other_Note__c"] == "Umbrella|CEO"
    assert two_markets.waiting("Lead") == 0


@pytest.mark.slow
def test_records_that_wait_for_a_held_market_use_nothing_of_the_day(shared_plant: Build) -> None:
    """R20, R23: however many there are, its neighbours on the object have the whole limit."""
    plant = shared_plant(
        integration("Lead", candidate_field="Fit_Candidate__c"),
        integration("Lead", "other", "Other", candidate_field="Other_Candidate__c"),
        daily_record_limit=10,
        segment_records_max=6,
    )
    plant.turn_on()
    _write(plant.market("other"), RAISES)
    plant.create("Lead", *[ACME | {"Other_Candidate__c": True}] * 14)
    plant.pull("Lead")
    scored = plant.create("Lead", *[ACME | {"Fit_Candidate__c": True}] * 8)

    for _ in range(4):
        plant.pull("Lead")
        plant.wait(seconds=30)

    assert {plant.record("Lead", lead)["Fit_Note__c"] for lead in scored} == {"Acme|CEO"}
    assert plant.with_clients(lambda clients: clients.ledger.days.use(clients.today, 10).used) == 8
    assert plant.waiting("Lead") == 14


@pytest.mark.slow
def test_edit_while_a_market_is_held_reaches_that_market_afterwards(two_markets: Plant) -> None:
    """R14, R23: a change made while one market rests is scored by it when it works again."""
    (lead,) = two_markets.create("Lead", ACME)
    two_markets.pull("Lead")
    _write(two_markets.market("other"), RAISES)
    (other,) = two_markets.create("Lead", ACME | {"LastName": "Okafor"})
    two_markets.pull("Lead")
    two_markets.edit("Lead", lead, Company="Umbrella")
    two_markets.pull("Lead")

    _write(two_markets.market("other"), (LETTERS / "model.py").read_text())
    two_markets.wait(minutes=11)
    for _ in range(2):
        two_markets.pull("Lead")
        two_markets.wait(minutes=1)

    assert two_markets.record("Lead", lead)["Other_Note__c"] == "Umbrella|CEO"
    assert two_markets.record("Lead", other)["Other_Note__c"] == "Acme|CEO"
    assert two_markets.waiting("Lead") == 0


@pytest.mark.slow
def test_all_markets_failing_push_nothing_and_make_no_job(two_markets: Plant) -> None:
    """R23: no bulk job, no hash, no datetime; the row waits."""
    for market in ("fit", "other"):
        _write(two_markets.market(market), RAISES)
    (lead,) = two_markets.create("Lead", ACME)
    before = _jobs(two_markets)

    figures = two_markets.pull("Lead")

    assert figures["success"]
    assert (figures["claimed"], figures["pushed"], figures["failed"]) == (1, 0, 1)
    assert _rows_of_jobs(two_markets, before) == []
    assert two_markets.record("Lead", lead)["Mintigo_hash__c"] is None
    assert two_markets.waiting("Lead") == 1


@pytest.mark.slow
def test_only_market_failing_leaves_ticks_quiet_until_its_trial(leads: Plant) -> None:
    """R23: the operator reads that the market failed and when it is tried again; no run is asked for meanwhile."""
    _write(leads.market("fit"), RAISES)
    leads.refresh("Lead")
    leads.create("Lead", ACME)
    leads.pull("Lead")
    asked = []
    for _ in range(3):
        leads.wait(seconds=70)
        asked += leads.ask()[0]
    assert asked == []

    _write(leads.market("fit"), (LETTERS / "model.py").read_text())
    leads.wait(minutes=6)
    assert [run["pushed"] for run in leads.tick()[0]] == [1]


@pytest.mark.slow
def test_model_that_cannot_be_loaded_rests_and_its_neighbour_goes_on(two_markets: Plant) -> None:
    """R12, R23: not ready, with why; mended, it scores what changed meanwhile."""
    (lead,) = two_markets.create("Lead", ACME)
    two_markets.pull("Lead")
    _write(two_markets.market("other"), CANNOT_BE_LOADED)
    two_markets.edit("Lead", lead, Company="Umbrella")

    assert two_markets.pull("Lead")["pushed"] == 1
    record = two_markets.record("Lead", lead)
    assert (record["Fit_Note__c"], record["Other_Note__c"]) == ("Umbrella|CEO", "Acme|CEO")
    states = two_markets.with_clients(lambda clients: clients.ledger.integrations.all())
    assert "no_such_library" in states["Lead", "other"].not_ready

    _write(two_markets.market("other"), (LETTERS / "model.py").read_text())
    two_markets.wait(minutes=20)
    two_markets.turn_on()
    two_markets.pull("Lead")
    assert two_markets.record("Lead", lead)["Other_Note__c"] == "Umbrella|CEO"
    assert two_markets.pull("Lead")["claimed"] == 0


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_column_of_the_wrong_type_fails_the_market_as_a_whole(two_markets: Plant) -> None:
    """D8: a text is no score, whatever it says; the check says which column, the other market goes on."""
    _rewrite(two_markets.market("other"), "pa.array(scores, pa.int64())", SCORE_AS_TEXT)
    (lead,) = two_markets.create("Lead", ACME)

    figures = two_markets.pull("Lead")

    assert figures["markets_failed"] == {"other": "score: expected score, the model gave string"}
    record = two_markets.record("Lead", lead)
    assert (record["Fit_Note__c"], record["Other_Score__c"]) == ("Acme|CEO", None)
    assert not two_markets.checks()["score_range"].passed


# -- jobs that fail or hang ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["job_fail", "unprocessed_rows"])
def test_rows_that_a_failed_job_left_are_pushed_by_a_second_job(leads: Plant, kind: str) -> None:
    """R23: what the first job wrote before it failed is not written again."""
    ids = leads.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(3)))
    fault = leads.org.arm(kind, object="Lead", operation="update", after_rows=1)
    before = _jobs(leads)

    figures = leads.pull("Lead")

    assert leads.org.fault_count(fault) == 1
    assert (figures["pushed"], figures["failed"]) == (3, 0)
    assert _rows_of_jobs(leads, before) == [1, 2]
    assert all(leads.scored_at("Lead", i) for i in ids)


@pytest.mark.slow
def test_jobs_that_fail_every_time_blame_no_row_and_the_same_scores_are_pushed_later(
    leads: Plant,
) -> None:
    """R20, R23: the same stamp and no second charge, after midnight too; nothing becomes permanent."""
    leads.wait(hours=12)
    first, second = leads.create("Lead", ACME, ACME | {"LastName": "Okafor"})
    fault = leads.org.arm("job_fail", object="Lead", operation="update", count=None)

    figures = leads.pull("Lead")

    assert figures["success"]
    assert (figures["pushed"], figures["failed"], figures["in_flight"]) == (0, 0, 2)
    (why,) = figures["unpushed"].values()
    assert "InternalServerError : server error" in why
    (segment,) = leads.with_clients(lambda clients: clients.ledger.segments.unfinished("Lead"))
    made = leads.org.fault_count(fault)
    assert leads.run("score_and_push", "Lead", resumed=2)["in_flight"] == 2
    assert leads.org.fault_count(fault) == made  # put off

    for _ in range(3):
        leads.wait(hours=1)
        leads.run("score_and_push", "Lead", resumed=2)
    assert leads.org.fault_count(fault) > made
    assert leads.failures() == []
    (shown,) = leads.with_clients(report).unpushed
    assert (shown["records"], shown["tries"]) == (2, 4)
    assert any("4 runs" in alert.text for alert in leads.with_clients(_situations))

    leads.org.clear_faults()
    leads.wait(hours=1)
    settled = leads.run("score_and_push", "Lead", resumed=2)

    assert (settled["pushed"], settled["failed"], leads.waiting("Lead")) == (2, 0, 0)
    stamp = segment.stamp.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    assert [leads.scored_at("Lead", one) for one in (first, second)] == [stamp, stamp]
    assert leads.today > segment.day
    used = leads.with_clients(
        lambda clients: [clients.ledger.days.use(d, 100).used for d in (segment.day, clients.today)]
    )
    assert used == [2, 0]


@pytest.mark.slow
def test_rows_that_a_job_wrote_are_settled_while_the_others_wait_for_the_next_job(
    leads: Plant,
) -> None:
    """R23: an edit of what was written is scored meanwhile, and not overwritten by the older scores."""
    written, left = leads.create("Lead", ACME, ACME | {"LastName": "Okafor"})
    leads.org.arm("job_fail", object="Lead", operation="update", after_rows=1)
    later = leads.org.arm("job_fail", object="Lead", operation="update", count=None)
    leads.pull("Lead")
    assert leads.org.fault_count(later) > 0
    assert leads.waiting("Lead") == 1
    assert [row["records"] for row in leads.with_clients(report).unpushed] == [1]
    if leads.scored_at("Lead", written) is None:
        written, left = left, written
    leads.org.clear_faults()

    leads.edit("Lead", written, Company="Umbrella")
    assert leads.run("pull", "Lead", resumed=2)["pushed"] == 1
    leads.wait(minutes=6)
    figures = leads.run("score_and_push", "Lead", resumed=None)

    assert (figures["failed"], leads.waiting("Lead")) == (0, 0)
    assert leads.record("Lead", written)["Fit_Note__c"] == "Umbrella|CEO"
    assert leads.record("Lead", left)["Fit_Note__c"] == "Acme|CEO"


def _situations(clients: Any) -> Any:
    return situations(clients, {})


@pytest.mark.slow
def test_stuck_job_stays_in_flight_and_is_settled_by_a_later_run_without_a_second_push(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: the run goes on without it; while it is at work nobody pushes its rows again."""
    monkeypatch.setattr("pipeline.steps.push_segment.JOB_DEADLINE_SECONDS", 1)
    (lead,) = leads.create("Lead", ACME)
    leads.org.arm("job_stuck", object="Lead", operation="update")
    before = _jobs(leads)

    figures = leads.pull("Lead")

    assert figures["success"]
    assert (figures["claimed"], figures["in_flight"], figures["pushed"]) == (1, 1, 0)
    assert leads.run("score_and_push", "Lead", resumed=1)["in_flight"] == 1
    new = leads.create("Lead", ACME | {"LastName": "Okafor"})
    assert leads.run("pull", "Lead", resumed=1)["pushed"] == 1
    assert leads.scored_at("Lead", new[0]) is not None

    leads.org.clear_faults()
    leads.org.control("GET", "jobs/idle")
    settled = leads.run("score_and_push", "Lead", resumed=1)

    assert (settled["pushed"], settled["in_flight"]) == (1, 0)
    assert _rows_of_jobs(leads, before) == [1, 1]
    assert leads.scored_at("Lead", lead) is not None
    assert leads.waiting("Lead") == 0


@pytest.mark.slow
@pytest.mark.parametrize("where", ["before the run", "while the model scores"])
def test_column_hidden_between_pull_and_push_is_named_and_the_rows_wait(
    leads: Plant, where: str
) -> None:
    """R9, R23: one field without rights would fail the whole job; the rows say which, and go through later."""
    (lead,) = leads.create("Lead", ACME)
    hide = {"object": "Lead", "field": "Fit_Rank__c", "read": True, "edit": False}
    before = _jobs(leads)
    try:
        if where == "before the run":
            _run_part(leads, "salesforce_changed_records", "scored_enriched")
            leads.org.control("POST", "permissions", hide)
            figures = _run_part(leads, "pushed_results")
        else:
            body = {"url": f"{leads.org.base_url}/_control/permissions", "body": hide}
            (leads.market("fit") / "edit.json").write_text(json.dumps(body))
            figures = leads.pull("Lead")

        assert (figures["pushed"], figures["failed"]) == (0, 1)
        (failure,) = leads.failures()
        assert failure.error_code == "FIELD_NOT_WRITABLE"
        assert "Fit_Rank__c" in (failure.error_message or "")
        assert _rows_of_jobs(leads, before) == []
    finally:
        leads.org.control("POST", "permissions", hide | {"edit": True})
    leads.turn_on()
    leads.wait(minutes=31)
    assert leads.run("score_and_push", "Lead")["pushed"] == 1
    assert leads.scored_at("Lead", lead) is not None


# -- records that keep becoming due ----------------------------------------------------------------


@pytest.mark.slow
def test_record_that_a_person_edits_all_day_is_scored_at_once_each_time(leads: Plant) -> None:
    """R15: twelve edits within nine hours, half an hour or an hour apart."""
    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")

    for n in range(12):
        leads.wait(minutes=(30, 60)[n % 2])
        leads.edit("Lead", lead, Company=f"Company {n}")
        figures = leads.pull("Lead")

        assert (figures["slowed_down"], figures["pushed"]) == (0, 1)
        assert leads.record("Lead", lead)["Fit_Note__c"] == f"Company {n}|CEO"


def test_change_soon_after_our_write_is_slowed_down_the_third_time(leads: Plant) -> None:
    """R15: whoever saved it; the third waits a quarter of an hour after the last scoring, and says so."""
    (lead,) = leads.create("Lead", ACME)
    for company in ("Umbrella", "Initech", "Hooli"):
        assert leads.pull("Lead")["pushed"] == 1
        leads.edit("Lead", lead, Company=company)

    slowed = leads.pull("Lead")

    assert (slowed["slowed_down"], slowed["claimed"]) == (1, 0)
    assert leads.waiting("Lead") == 1
    leads.wait(minutes=16)
    assert leads.run("score_and_push", "Lead")["pushed"] == 1
    assert leads.record("Lead", lead)["Fit_Note__c"] == "Hooli|CEO"


@pytest.mark.slow
def test_flow_that_rewrites_an_input_at_every_save_does_not_eat_the_day(
    leads: Plant,
) -> None:
    """R15: the push itself makes the record due again; midnight, after three of the six hours, gives it nothing back."""
    leads.wait(hours=11)
    leads.refresh("Lead")
    flow = {"object": "Lead", "name": "Counts", "field": "Title", "expression": "append_counter"}
    leads.org.control("POST", "flows", flow)
    (lead,) = leads.create("Lead", ACME)
    pushed, slowed, days = 0, 0, Counter[Any]()
    for _ in range(36):
        leads.wait(minutes=10)
        for figures in leads.tick()[0]:
            pushed += figures["pushed"]
            days[leads.today] += figures["pushed"]
            slowed += lead in figures.get("slowed_down_records", ())
    status = leads.with_clients(report)

    assert len(days) == 2
    assert 4 <= pushed <= 8
    assert days[leads.today] <= 1
    assert slowed > 0
    (row,) = status.slowed_down
    assert (status.slowed_down_total, row["id"], row["scored_24h"]) == (1, lead, pushed)
    assert row["scored_in_a_row"] == pushed
    assert row["until"] > leads.now


# -- what the tests read and rewrite ---------------------------------------------------------------


def _run_part(built: Plant, *assets: str) -> dict[str, Any]:
    """Run some assets of a pull in a run of their own."""
    figures: dict[str, Any] = {}
    for asset in assets:
        job = "pull" if asset == "salesforce_changed_records" else "score_and_push"
        figures = built.run(job, "Lead", asset_selection=[dg.AssetKey([asset])])
        assert figures["success"], figures
    return figures


def _write(market: Path, model: str) -> None:
    (market / "model.py").write_text(model)


def _rewrite(market: Path, old: str, new: str) -> None:
    text = (market / "model.py").read_text()
    assert old in text
    _write(market, text.replace(old, new))


def _jobs(built: Plant) -> int:
    return len(built.org.control("GET", "jobs"))


def _rows_of_jobs(built: Plant, before: int) -> list[int]:
    """Return how many rows each bulk job made since then has worked off."""
    made = sorted(built.org.control("GET", "jobs")[before:], key=lambda job: str(job["id"]))
    return [int(job["processed"]) for job in made]


def _rules(check: dg.AssetCheckEvaluation) -> list[tuple[Any, ...]]:
    table = check.metadata["rules_broken"]
    assert isinstance(table, dg.TableMetadataValue)
    return [tuple(record.data.values()) for record in table.records]


def _materializations(built: Plant) -> Sequence[Any]:
    return built.last.get_asset_materialization_events()


def _everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*.parquet"))
