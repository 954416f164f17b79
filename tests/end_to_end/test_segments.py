"""Runs that end half-way, days that end half-way, and doing it again: no charge twice, no record lost (R20, R28, D3, D5)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from assets.partitions import partition_key
from assets.step_runs import WORK_TAG
from pipeline.core.configuration.integration import OBJECTS
from pipeline.jobs import OBJECT_TAG
from pipeline.steps.push_segment import RESULT_TRIES_MAX
from resources.lake import Lake
from resources.salesforce.calls import RetryPolicy
from tests.crash.trial import FLOW
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
TODAY = date(2026, 3, 10)
TOMORROW = date(2026, 3, 11)
NO_JOB = "7505e00000FORGTAAA"
CHANGED, SCORED, PUSHED = "salesforce_changed_records", "scored_enriched", "pushed_results"


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


# -- runs that end half-way ------------------------------------------------------------------------


@pytest.mark.both_ledgers
def test_segment_of_a_run_that_died_before_the_push_is_pushed_with_its_stamp(leads: Plant) -> None:
    """D3: the later run pushes what was scored: the same segment, the same stamp, no second charge."""
    ids = leads.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(3)))
    _part(leads, CHANGED, SCORED)
    (segment,) = _segments(leads)
    assert (_used(leads, TODAY), segment.state) == (3, "scored")
    leads.wait(hours=1)

    figures = leads.run("score_and_push", "Lead", resumed=3)

    assert (figures["claimed"], figures["pushed"]) == (0, 3)
    assert {_stamp(leads, i) for i in ids} == {segment.stamp}
    assert [(s.segment_id, s.state) for s in _segments(leads)] == [(segment.segment_id, "settled")]
    assert (_used(leads, TODAY), leads.waiting("Lead")) == (3, 0)
    assert len(_scored_ids(leads, TODAY)) == 3


@pytest.mark.slow
def test_segment_whose_working_file_is_lost_is_scored_anew_on_its_claim(leads: Plant) -> None:
    """D4: with the lake lost no work is: the same stamp and charge, inputs read afresh."""
    (lead,) = leads.create("Lead", ACME)
    _part(leads, CHANGED, SCORED)
    (segment,) = _segments(leads)
    shutil.rmtree(leads.folder / "home" / "lake")
    leads.edit("Lead", lead, Company="Umbrella")
    leads.wait(minutes=10)

    figures = leads.run("score_and_push", "Lead")

    assert (figures["claimed"], figures["pushed"]) == (1, 1)
    assert _stamp(leads, lead) == segment.stamp
    assert leads.record("Lead", lead)["Fit_Note__c"] == "Umbrella|CEO"
    assert (_used(leads, TODAY), leads.waiting("Lead")) == (1, 0)
    assert leads.pull("Lead")["claimed"] == 0


def test_run_that_dies_while_it_scores_is_repeated_on_the_same_claim(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: claimed and not scored; the next run scores that segment, and charges nothing."""
    (lead,) = leads.create("Lead", ACME)
    with monkeypatch.context() as dying:
        dying.setattr(Lake, "write_working_file", _die_at("2026"))
        assert not leads.pull("Lead")["success"]
    (segment,) = _segments(leads)
    assert segment.state == "claimed"

    figures = leads.run("score_and_push", "Lead")

    assert figures["pushed"] == 1
    assert _stamp(leads, lead) == segment.stamp
    assert (len(_segments(leads)), _used(leads, TODAY)) == (1, 1)


def test_segment_that_kills_its_run_three_times_is_given_up_and_its_rows_wait(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: tries are capped; later runs are free again, the rows come back singly and late."""
    leads.create("Lead", ACME)
    with monkeypatch.context() as dying:
        dying.setattr(Lake, "write_working_file", _die_at("2026"))
        assert not leads.pull("Lead")["success"]
        for _ in range(2):
            assert not leads.run("score_and_push", "Lead")["success"]

    figures = leads.run("score_and_push", "Lead")

    assert figures["success"]
    assert (figures["pushed"], figures["failed"]) == (0, 1)
    assert [f.error_code for f in leads.failures()] == ["SEGMENT_GAVE_UP"]
    leads.wait(minutes=6)
    assert leads.run("score_and_push", "Lead")["pushed"] == 1


def test_run_that_dies_between_upload_and_results_is_settled_and_not_pushed_twice(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: the job's id was recorded before any data were sent; its results settle the rows."""
    from resources.salesforce.client import Salesforce

    (lead,) = leads.create("Lead", ACME)
    before = len(leads.org.control("GET", "jobs"))
    with monkeypatch.context() as dying:
        dying.setattr(Salesforce, "results", _die)
        assert not leads.pull("Lead")["success"]
    pushed = leads.record("Lead", lead)

    figures = leads.run("score_and_push", "Lead", resumed=1)

    assert (figures["pushed"], figures["in_flight"]) == (1, 0)
    assert len(leads.org.control("GET", "jobs")) == before + 1
    assert leads.record("Lead", lead) == pushed
    assert leads.waiting("Lead") == 0


@pytest.mark.slow
@pytest.mark.parametrize("where", ["upload", "close_job"])
def test_job_that_was_left_open_is_aborted_and_its_rows_pushed_by_another(
    leads: Plant, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """D3: an open job may hold data; a successor aborts it before it pushes."""
    from resources.salesforce.client import Salesforce

    (lead,) = leads.create("Lead", ACME)
    with monkeypatch.context() as dying:
        dying.setattr(Salesforce, where, _die)
        assert not leads.pull("Lead")["success"]

    figures = leads.run("score_and_push", "Lead", resumed=1)

    assert figures["pushed"] == 1
    jobs = sorted(leads.org.control("GET", "jobs"), key=lambda job: str(job["id"]))[-2:]
    assert [job["state"] for job in jobs] == ["Aborted", "JobComplete"]
    assert leads.scored_at("Lead", lead) is not None


@pytest.mark.slow
def test_job_that_begins_while_it_is_aborted_writes_nothing_twice(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R20: what closed it was on its way; the chunk that is being saved then is asked for."""
    from resources.salesforce.client import Salesforce

    leads.org.control("POST", "flows", FLOW)
    ids = leads.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(500)))
    with monkeypatch.context() as dying:
        dying.setattr(Salesforce, "close_job", _die)
        assert not leads.pull("Lead")["success"]

    abort_job = Salesforce.abort_job

    def close_and_abort(self: Salesforce, job_id: str) -> Any:
        self.close_job(job_id)
        return abort_job(self, job_id)

    monkeypatch.setattr(Salesforce, "abort_job", close_and_abort)
    leads.org.set_options(job_chunk_seconds=0.2)
    figures = leads.run("score_and_push", "Lead", resumed=500)

    assert figures["pushed"] == 500
    rows = leads.org.query("SELECT Id, NumberOfEmployees FROM Lead WHERE IsDeleted = false")
    saves = {row["Id"]: row["NumberOfEmployees"] for row in rows}
    assert {saves[i] for i in ids} == {2}


def test_job_deleted_in_setup_before_it_was_read_is_decided_by_the_records(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: with the job gone, hash and stamp in the org tell that its rows were written."""
    from resources.salesforce.client import Salesforce

    (lead,) = leads.create("Lead", ACME)
    with monkeypatch.context() as dying:
        dying.setattr(Salesforce, "results", _die)
        assert not leads.pull("Lead")["success"]
    pushed = leads.record("Lead", lead)
    jobs = [str(job["id"]) for job in leads.org.control("GET", "jobs")]
    leads.delete_job(max(jobs))

    figures = leads.run("score_and_push", "Lead", resumed=1)

    assert (figures["pushed"], leads.waiting("Lead")) == (1, 0)
    assert leads.record("Lead", lead) == pushed
    assert {str(job["id"]) for job in leads.org.control("GET", "jobs")} == set(jobs) - {max(jobs)}


@pytest.mark.parametrize("state", ["claimed", "scored"])
def test_segment_of_a_restored_ledger_that_was_pushed_since_is_not_pushed_twice(
    leads: Plant, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """D3: the backup knows of the claim and of no job; the records carry its stamp and hash already."""
    from resources.salesforce.client import Salesforce

    (lead,) = leads.create("Lead", ACME)
    dies_in = {"claimed": (Lake, "write_working_file"), "scored": (Salesforce, "create_ingest_job")}
    with monkeypatch.context() as dying:
        dying.setattr(*dies_in[state], _die_at("2026") if state == "claimed" else _die)
        assert not leads.pull("Lead")["success"]
    ledger = leads.folder / "home" / "ledger.db"
    _copy_ledger(ledger, leads.folder / "backup.db")
    assert leads.run("score_and_push", "Lead", resumed=state == "scored")["pushed"] == 1
    pushed, jobs = leads.record("Lead", lead), leads.org.control("GET", "jobs")
    _restore_ledger(leads)

    figures = leads.run("score_and_push", "Lead")

    assert (figures["claimed"], figures["pushed"], leads.waiting("Lead")) == (1, 1, 0)
    assert leads.record("Lead", lead) == pushed
    assert len(leads.org.control("GET", "jobs")) == len(jobs)


@pytest.mark.parametrize("where", ["close_job", "wait_for_job"])
def test_open_job_that_a_restored_ledger_has_forgotten_is_aborted(
    leads: Plant, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """D3: its id is noted beside the ledger; no job that we made stays open, or writes once more what is pushed anew."""
    from resources.salesforce.client import Salesforce

    (lead,) = leads.create("Lead", ACME)
    leads.org.arm("job_stuck", object="Lead", operation="update")
    _copy_ledger(leads.folder / "home" / "ledger.db", leads.folder / "backup.db")
    with monkeypatch.context() as dying:
        dying.setattr(Salesforce, where, _die)
        assert not leads.pull("Lead")["success"]
    if where == "close_job":
        leads.org.clear_faults()
    _restore_ledger(leads)

    assert leads.pull("Lead")["pushed"] == 1
    leads.org.clear_faults()
    leads.org.control("GET", "jobs/idle")

    jobs = sorted(leads.org.control("GET", "jobs"), key=lambda job: str(job["id"]))[-2:]
    assert [job["state"] for job in jobs] == ["Aborted", "JobComplete"]
    assert leads.scored_at("Lead", lead) is not None
    assert leads.pull("Lead")["success"]
    assert Lake(leads.folder / "home" / "lake").noted_jobs("Lead") == []


def test_job_that_a_restored_ledger_has_forgotten_and_that_cannot_be_asked_about_is_left_to_itself(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: after so many runs the object goes on; the records show what the job wrote."""
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (1, 0.0, 0.0, 0.0))
    leads.with_clients(lambda clients: clients.lake.note_job("Lead", NO_JOB))
    leads.create("Lead", ACME)
    fault = leads.org.arm("http_500", path=NO_JOB, count=None)

    runs = [leads.run("pull", "Lead", resumed=None) for _ in range(RESULT_TRIES_MAX)]

    assert [run["success"] for run in runs] == [False] * (RESULT_TRIES_MAX - 1) + [True]
    assert leads.org.fault_count(fault) == RESULT_TRIES_MAX
    assert leads.waiting("Lead") == 0
    assert Lake(leads.folder / "home" / "lake").noted_jobs("Lead") == []


@pytest.mark.slow
def test_edit_between_scoring_and_a_late_push_is_found_by_the_next_pull(leads: Plant) -> None:
    """R15: the late push carries the old inputs' hash, so the edit still shows as a difference."""
    (lead,) = leads.create("Lead", ACME)
    _part(leads, CHANGED, SCORED)
    leads.edit("Lead", lead, Company="Umbrella")
    leads.run("score_and_push", "Lead", resumed=1)
    assert leads.record("Lead", lead)["Fit_Note__c"] == "Acme|CEO"

    assert leads.pull("Lead")["pushed"] == 1
    assert leads.record("Lead", lead)["Fit_Note__c"] == "Umbrella|CEO"


# -- days that end half-way ------------------------------------------------------------------------


def test_yesterdays_segment_without_a_job_is_dissolved_and_yesterdays_charge_stays(
    leads: Plant,
) -> None:
    """D3, R20: its rows wait again and are scored on the new day's limit, with the new day's stamp."""
    (lead,) = leads.create("Lead", ACME)
    _part(leads, CHANGED, SCORED)
    (old,) = _segments(leads)
    leads.set_clock(datetime(2026, 3, 10, 23, 5, tzinfo=UTC))  # 00:05 in Berlin

    figures = leads.run("score_and_push", "Lead")

    assert (figures["claimed"], figures["pushed"]) == (1, 1)
    assert [s.state for s in _segments(leads)] == ["dissolved", "settled"]
    assert (_used(leads, TODAY), _used(leads, TOMORROW)) == (1, 1)
    stamp = _stamp(leads, lead)
    assert stamp is not None
    assert stamp > old.stamp
    assert _scored_ids(leads, TOMORROW) == [lead]


@pytest.mark.dagster_runs
def test_midnight_between_claim_and_push_counts_on_the_claims_day(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R20, D5: a job of yesterday's is settled under yesterday, and said so on yesterday's partition."""
    monkeypatch.setattr("pipeline.steps.push_segment.JOB_DEADLINE_SECONDS", 1)
    leads.set_clock(datetime(2026, 3, 10, 22, 58, tzinfo=UTC))
    (lead,) = leads.create("Lead", ACME)
    leads.org.arm("job_stuck", object="Lead", operation="update")
    leads.pull("Lead")
    (segment,) = _segments(leads)
    leads.org.clear_faults()
    leads.org.control("GET", "jobs/idle")
    leads.set_clock(datetime(2026, 3, 10, 23, 5, tzinfo=UTC))

    figures = leads.run("score_and_push", "Lead", resumed=1)

    assert figures["pushed"] == 1
    assert (_used(leads, TODAY), _used(leads, TOMORROW)) == (1, 0)
    assert _stamp(leads, lead) == segment.stamp
    assert (_scored_ids(leads, TODAY), _scored_ids(leads, TOMORROW)) == ([lead], [])
    assert len(Lake(leads.folder / "home" / "lake").files(PUSHED, TODAY, "Lead")) == 1
    said = [
        event.materialization.partition
        for event in leads.last.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey([PUSHED])
    ]
    assert set(said) == {str(partition_key(d, "Lead")) for d in (TODAY, TOMORROW)}


@pytest.mark.dagster_runs
def test_run_launched_before_midnight_claims_on_the_new_day_whatever_its_key_says(
    leads: Plant,
) -> None:
    """R20, D5: a work run that waited in the queue over midnight works, and charges the day it works on."""
    (lead,) = leads.create("Lead", ACME)
    leads.set_clock(datetime(2026, 3, 10, 23, 5, tzinfo=UTC))
    key = str(partition_key(TODAY, "Lead"))

    figures = leads.execute("pull", key, {OBJECT_TAG: "Lead", WORK_TAG: "true"})

    assert figures["pushed"] == 1
    assert (_used(leads, TODAY), _used(leads, TOMORROW)) == (0, 1)
    assert _scored_ids(leads, TOMORROW) == [lead]


# -- two runs at once ------------------------------------------------------------------------------


@pytest.mark.dagster_runs
def test_second_run_on_an_object_ends_well_without_materialising(leads: Plant) -> None:
    """D3: the run that holds the lease does its work; another object is not held back."""
    leads.create("Lead", ACME)
    _hold(leads, "Lead")

    figures = leads.pull("Lead")

    assert figures.keys() == {"success", "run_id"}
    assert figures["success"]
    assert leads.last.get_asset_materialization_events() == []
    assert leads.waiting("Lead") == 0
    leads.wait(minutes=11)
    assert leads.pull("Lead")["pushed"] == 1


@pytest.mark.both_ledgers
@pytest.mark.dagster_runs
def test_run_that_lost_its_lease_writes_nothing_more(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: its successor's token is newer; no job of the old run is recorded and no data are sent."""
    (lead,) = leads.create("Lead", ACME)
    _part(leads, CHANGED, SCORED)
    from resources.salesforce.client import Salesforce

    create = Salesforce.create_ingest_job

    def take_over(self: Salesforce, *given: Any, **more: Any) -> str:
        leads.wait(minutes=11)
        _hold(leads, "Lead")
        return create(self, *given, **more)

    with monkeypatch.context() as late:
        late.setattr(Salesforce, "create_ingest_job", take_over)
        figures = leads.run("score_and_push", "Lead", resumed=1, asset_selection=[_key(PUSHED)])

    assert figures.keys() == {"success", "run_id"}
    assert leads.scored_at("Lead", lead) is None
    leads.wait(minutes=11)
    assert leads.run("score_and_push", "Lead", resumed=1)["pushed"] == 1


# -- doing it again --------------------------------------------------------------------------------


@pytest.mark.dagster_runs
def test_past_partition_is_redone_once_for_each_request_under_todays_partition(
    leads: Plant,
) -> None:
    """R28b, D5: its ids wait; the next work run scores them with their current inputs, on today's limit."""
    ids = leads.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(3)))
    leads.pull("Lead")
    leads.wait(days=1)
    leads.edit("Lead", ids[0], Phone="1")
    key = str(partition_key(TODAY, "Lead"))
    asked = _redo(leads, key, "again")
    repeated = _redo(leads, key, "again")

    assert (asked["success"], asked["asked_again"], repeated["asked_again"]) == (True, 3, 3)
    assert "claimed" not in asked
    assert leads.waiting("Lead") == 3
    figures = leads.run("score_and_push", "Lead")
    assert (figures["claimed_redo"], figures["pushed"]) == (3, 3)
    assert (_used(leads, TODAY), _used(leads, TOMORROW)) == (3, 3)
    assert sorted(_scored_ids(leads, TOMORROW)) == sorted(ids)

    _redo(leads, key, "again")
    assert leads.waiting("Lead") == 0
    _redo(leads, key, "once more")
    assert leads.waiting("Lead") == 3


@pytest.mark.slow
def test_backfill_launched_from_a_jobs_page_is_a_redo_too(leads: Plant) -> None:
    """R28b: the UI offers a backfill on assets and on jobs; both rescore the partition's records."""
    leads.create("Lead", ACME)
    leads.pull("Lead")
    leads.wait(days=1)

    leads.execute("pull", str(partition_key(TODAY, "Lead")), {"dagster/backfill": "from the job"})

    assert leads.waiting("Lead") == 1


@pytest.mark.slow
def test_backfill_of_several_days_and_objects_asks_for_each_record_once(
    shared_plant: Build,
) -> None:
    """R28b, D5: a run a key; a record scored on both days is scored again once."""
    built = shared_plant(*(integration(name) for name in ("Lead", "Account")))
    built.turn_on()
    (lead,) = built.create("Lead", ACME)
    built.create("Account", {"Name": "Acme"})
    built.pull("Lead")
    built.pull("Account")
    built.wait(days=1)
    built.edit("Lead", lead, Company="Umbrella")
    built.pull("Lead")
    built.wait(days=1)
    keys = [partition_key(day, name) for day in (TODAY, TOMORROW) for name in ("Lead", "Account")]

    for key in keys:
        _redo(built, key, "one request")

    assert (built.waiting("Lead"), built.waiting("Account")) == (1, 1)
    assert built.run("score_and_push", "Lead")["pushed"] == 1


@pytest.mark.slow
def test_redo_beyond_the_limit_goes_on_over_the_next_days(shared_plant: Build) -> None:
    """R20, R28: 8 records, 5 a day, each evening's run takes what the day has left."""
    built = shared_plant(integration("Lead"), daily_record_limit=5)
    built.set_clock(datetime(2026, 3, 9, 21, 30, tzinfo=UTC))
    built.turn_on()
    for number in range(2):
        built.create("Lead", *(ACME | {"LastName": f"Ito {number} {n}"} for n in range(4)))
        built.pull("Lead")
        built.wait(days=1)
    for day in (date(2026, 3, 9), TODAY):
        _redo(built, partition_key(day, "Lead"), "one request")
    assert built.waiting("Lead") == 8

    done = []
    for _ in range(3):
        done.append(built.run("score_and_push", "Lead")["claimed"])
        built.wait(days=1)

    assert done == [5, 3, 0]


@pytest.mark.slow
def test_todays_partition_materialised_by_hand_is_a_work_run(leads: Plant) -> None:
    """D5: without any tag; nothing is asked again."""
    leads.create("Lead", ACME)
    leads.wait(seconds=5)

    figures = leads.execute(
        "__ASSET_JOB",
        str(partition_key(TODAY, "Lead")),
        {},
        asset_selection=[_key(CHANGED), _key(SCORED), _key(PUSHED)],
    )

    assert figures["pushed"] == 1


# -- ledgers from backups --------------------------------------------------------------------------


@pytest.mark.dagster_runs
@pytest.mark.parametrize("backup", ["deleted", "older"])
def test_ledger_from_a_backup_does_not_exceed_the_days_limit(
    shared_plant: Build, backup: str
) -> None:
    """R20, D3: the day's scored files say what was scored since."""
    built = shared_plant(integration("Lead"), daily_record_limit=10)
    built.turn_on()
    ledger = built.folder / "home" / "ledger.db"
    _copy_ledger(ledger, built.folder / "backup.db")
    built.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(7)))
    assert built.pull("Lead")["pushed"] == 7
    _restore_ledger(built)
    if backup == "deleted":
        ledger.unlink()
        built.turn_on()
    built.create("Lead", *(ACME | {"LastName": f"Okafor {n}"} for n in range(7)))

    figures = built.pull("Lead")

    assert (figures["claimed"], figures["limit_used"], figures["limit_left"]) == (3, 10, 0)
    assert built.waiting("Lead") == 4
    assert len(_scored_ids(built, TODAY)) == 10
    assert built.checks()["daily_limit"].passed


# -- the limit over objects and ticks --------------------------------------------------------------


@pytest.mark.slow
def test_limit_of_100_holds_over_two_objects_and_many_ticks(shared_plant: Build) -> None:
    """R20: 250 due records take three days, and each day's files hold exactly what the day was charged."""
    built = shared_plant(integration("Lead"), integration("Account"), daily_record_limit=100)
    built.set_clock(datetime(2026, 3, 9, 12, tzinfo=UTC))
    built.org.load("Account", [{"Name": f"Company {n}"} for n in range(100)])
    built.org.load("Lead", [{"LastName": f"P {n}", "Company": f"F {n}"} for n in range(150)])
    built.set_clock(datetime(2026, 3, 9, 23, 30, tzinfo=UTC))
    built.turn_on()
    days = [TODAY, TOMORROW, date(2026, 3, 12)]

    for day in days:
        for hour, minute in ((1, 15), (1, 20), (12, 0), (21, 5), (21, 10), (21, 15)):
            built.set_clock(datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC))
            for figures in built.tick()[0]:
                assert figures["success"], figures

    scored = [_scored_ids(built, day, "Lead", "Account") for day in days]
    assert [len(ids) for ids in scored] == [100, 100, 50]
    assert len({i for ids in scored for i in ids}) == 250
    assert [_used(built, day) for day in days] == [100, 100, 50]
    assert built.waiting("Lead") == built.waiting("Account") == 0


@pytest.mark.slow
def test_first_daily_pull_leaves_the_other_objects_their_share(shared_plant: Build) -> None:
    """R20: the refresh lane is divided equally, also on the day when nothing of the others is listed yet."""
    built = shared_plant(integration("Lead"), integration("Account"), daily_record_limit=100)
    built.set_clock(datetime(2026, 3, 9, 12, tzinfo=UTC))
    built.org.load("Account", [{"Name": f"Company {n}"} for n in range(100)])
    built.org.load("Lead", [{"LastName": f"P {n}", "Company": f"F {n}"} for n in range(100)])
    built.set_clock(datetime(2026, 3, 10, 1, 15, tzinfo=UTC))
    built.turn_on()
    built.tick()

    taken = {name: len(_scored_ids(built, TODAY, name)) for name in ("Account", "Lead")}
    assert taken == {"Account": 35, "Lead": 35}


@pytest.mark.slow
def test_backfill_as_one_run_covers_every_key_of_the_range(shared_plant: Build) -> None:
    """R28b, D5: two days by two objects in a single run, figures object by object."""
    built = shared_plant(integration("Lead"), integration("Account"))
    built.turn_on()
    built.create("Lead", ACME)
    built.create("Account", {"Name": "Acme"})
    built.pull("Lead")
    built.pull("Account")
    built.wait(days=2)
    first, last = partition_key(TODAY, "Account"), partition_key(TOMORROW, "Lead")
    result = built.definitions.resolve_job_def("__ASSET_JOB").execute_in_process(
        instance=built.instance,
        asset_selection=[_key(SCORED), _key(PUSHED)],
        tags={
            "dagster/backfill": "one run",
            "dagster/asset_partition_range_start": str(first),
            "dagster/asset_partition_range_end": str(last),
        },
    )

    assert result.success
    assert (built.waiting("Lead"), built.waiting("Account")) == (1, 1)


# -- what the tests read ---------------------------------------------------------------------------


def _key(asset: str) -> dg.AssetKey:
    return dg.AssetKey([asset])


def _part(built: Plant, *assets: str) -> None:
    """Run some assets of a pull, each in a run of its own that goes no further."""
    for asset in assets:
        job = "pull" if asset == CHANGED else "score_and_push"
        assert built.run(job, "Lead", asset_selection=[_key(asset)])["success"]


def _redo(built: Plant, key: object, request: str) -> dict[str, Any]:
    """Materialise a past partition as a backfill of assets does: on the job that Dagster makes of all assets."""
    figures = built.execute(
        "__ASSET_JOB",
        str(key),
        {"dagster/backfill": request},
        asset_selection=[_key(SCORED), _key(PUSHED)],
    )
    assert figures["success"], figures
    return figures


def _die(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the process ends here")


def _die_at(prefix: str) -> Callable[[Lake, str, pa.Table], None]:
    """Return a `write_working_file` that dies where the file's name begins so: a segment's, not a pull's."""
    write = Lake.write_working_file

    def dying(lake: Lake, name: str, table: pa.Table) -> None:
        if name.startswith(prefix):
            _die()
        write(lake, name, table)

    return dying


def _hold(built: Plant, name: str) -> None:
    """Take the object's lease as another process would."""
    from datetime import timedelta

    taken = built.with_clients(
        lambda clients: clients.ledger.leases.acquire(
            name, "elsewhere", now=clients.now(), lasts=timedelta(minutes=10)
        )
    )
    assert taken is not None


def _copy_ledger(ledger: Path, to: Path) -> None:
    """Copy the ledger as SQLite's own backup does, log included."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def _restore_ledger(built: Plant) -> None:
    """Put the ledger's backup back, as an operator would while nothing runs."""
    ledger = built.folder / "home" / "ledger.db"
    for left in ledger.parent.glob("ledger.db*"):
        left.unlink()
    shutil.copyfile(built.folder / "backup.db", ledger)


def _segments(built: Plant) -> list[Any]:
    segments: list[Any] = built.with_clients(lambda clients: clients.ledger.segments.all())
    return segments


def _used(built: Plant, day: date) -> int:
    used: int = built.with_clients(lambda clients: clients.ledger.days.use(day, 10_000).used)
    return used


def _stamp(built: Plant, lead: str) -> datetime | None:
    text = built.scored_at("Lead", lead)
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z") if text else None


def _scored_ids(built: Plant, day: date, *names: str) -> list[str]:
    """Return the ids in the day's scored files."""
    lake = Lake(built.folder / "home" / "lake")
    return [
        record_id
        for name in names or OBJECTS
        for table in lake.read(SCORED, day, name)
        for record_id in table.column("id").to_pylist()
    ]
