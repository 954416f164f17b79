"""One thing that goes wrong does not stop the others, and nothing is forgotten on the way (D3, D6, D7, R14, R17)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from pipeline.steps import push_segment
from pipeline.steps.asking.status import status
from pipeline.steps.pause import pause, resume
from resources.salesforce.calls import RetryPolicy
from resources.salesforce.client import Salesforce
from resources.salesforce.errors import JobRefused
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
PULL = dg.AssetKey(["salesforce_changed_records"])
SCORE = dg.AssetKey(["scored_enriched"])


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on, its daily pull in."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.refresh("Lead")
    return built


def test_job_that_an_admin_deleted_does_not_block_what_comes_after(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: its outcome cannot be known any more; pushing its rows again does no harm."""
    monkeypatch.setattr("pipeline.steps.push_segment.JOB_DEADLINE_SECONDS", 1)
    (lead,) = leads.create("Lead", ACME)
    fault = leads.org.arm("job_stuck")
    leads.pull("Lead")
    assert leads.org.fault_count(fault) == 1
    job_id = leads.with_clients(_jobs_of_the_segment)[0]
    leads.org.clear_faults()
    leads.org.control("GET", "jobs/idle")
    leads.delete_job(job_id)
    later = leads.create("Lead", ACME | {"LastName": "Okafor"})[0]

    leads.run("pull", "Lead", resumed=1)

    assert leads.scored_at("Lead", lead) is not None
    assert leads.scored_at("Lead", later) is not None
    assert leads.waiting("Lead") == 0


def test_results_that_cannot_be_had_stop_no_other_segment_and_the_records_decide(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3, R44: what the records carry was written; what they do not is a failing row, and nothing is stuck."""
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (1, 0.0, 0.0, 0.0))
    good, refused = leads.create("Lead", ACME, ACME | {"LastName": "Okafor"})
    leads.org.arm("row_error", ids=[refused], code="CUSTOM", message="no", count=None)
    fault = leads.org.arm("http_500", path="failedResults", count=None)
    assert not leads.pull("Lead")["success"]
    assert "HTTP 500" in leads.failure()[0]
    stamp = leads.scored_at("Lead", good)

    (new,) = leads.create("Lead", ACME | {"LastName": "Kaya"})
    assert not leads.run("pull", "Lead", resumed=2)["success"]
    assert leads.scored_at("Lead", new) is not None
    assert leads.waiting("Lead") == 2

    for _ in range(3):
        leads.wait(minutes=2)
        figures = leads.run("score_and_push", "Lead", resumed=None)

    assert leads.org.fault_count(fault) >= 5
    assert figures["success"]
    assert (figures["pushed"], figures["failed"]) == (1, 1)
    assert leads.scored_at("Lead", good) == stamp
    assert [(row.record_id, row.error_code) for row in leads.failures()] == [
        (refused, "RESULTS_UNREADABLE")
    ]


def test_error_that_nobody_foresaw_is_one_segments_alone(
    shared_plant: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3, R22: the segments behind it are pushed, the run fails, and the next one makes up for it."""
    leads = shared_plant(integration("Lead"), segment_records_max=1)
    leads.turn_on()
    leads.refresh("Lead")
    ids = leads.create("Lead", ACME, ACME | {"LastName": "Okafor"})
    cut, calls = push_segment.cut, []

    def cut_with_a_mistake(*given: Any, **more: Any) -> Any:
        calls.append(given)
        return 1 // 0 if len(calls) == 1 else cut(*given, **more)

    with monkeypatch.context() as mistaken:
        mistaken.setattr(push_segment, "cut", cut_with_a_mistake)
        assert not leads.pull("Lead")["success"]
    assert sorted(leads.scored_at("Lead", i) is not None for i in ids) == [False, True]
    assert "unforeseen ZeroDivisionError" in str(leads.with_clients(status).unpushed)

    leads.wait(minutes=2)
    assert leads.run("score_and_push", "Lead", resumed=1)["pushed"] == 1
    assert leads.waiting("Lead") == 0


def test_segment_without_a_job_that_could_not_be_pushed_keeps_its_day_and_its_charge(
    leads: Plant,
) -> None:
    """R20: no day is charged for records that an earlier day has scored and could not push."""
    leads.configure(integration("Lead"), daily_record_limit=2)
    ids = leads.create("Lead", *(ACME | {"LastName": f"L{n}"} for n in range(4)))
    with pytest.MonkeyPatch.context() as refusing:
        refusing.setattr(Salesforce, "create_ingest_job", _refuse)
        assert not leads.pull("Lead")["success"]
        leads.set_clock(datetime(2026, 3, 11, 9, tzinfo=UTC))
        assert not leads.run("score_and_push", "Lead", resumed=None)["success"]
        assert "API_DISABLED_FOR_ORG" in leads.failure()[0]
    assert [leads.with_clients(_used_on(day)) for day in (10, 11)] == [2, 0]

    figures = leads.run("score_and_push", "Lead", resumed=None)
    assert (figures["pushed"], figures["claimed"]) == (2, 0)
    figures = leads.run("score_and_push", "Lead", resumed=None)

    assert (figures["pushed"], figures["claimed"]) == (2, 2)
    assert [leads.with_clients(_used_on(day)) for day in (10, 11)] == [2, 2]
    assert all(leads.scored_at("Lead", one) for one in ids)


def _refuse(*_: object) -> str:
    raise JobRefused("The org refused.", code="API_DISABLED_FOR_ORG", text="API is not enabled")


def _used_on(day: int) -> Callable[[Any], int]:
    return lambda clients: clients.ledger.days.use(date(2026, 3, day), 2).used


def test_segment_too_large_for_one_upload_is_cut_into_several_jobs(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R22: each job is within the limit, and each row is in one."""
    sent = _uploads(monkeypatch)
    (one,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    (size,) = [len(data) for data in sent]
    row = len(sent.pop().splitlines()[1])
    limit = size + row * 5 // 2
    monkeypatch.setattr("pipeline.steps.push_segment.UPLOAD_BYTES_MAX", limit)
    ids = leads.create("Lead", *(ACME | {"LastName": f"L{n}"} for n in range(7)))

    figures = leads.pull("Lead")

    assert (figures["pushed"], figures["failed"]) == (7, 0)
    rows = [[line[1:19].decode() for line in data.splitlines()[1:]] for data in sent]
    assert [len(part) for part in rows] == [3, 3, 1]
    assert all(len(data) <= limit for data in sent)
    assert sorted(i for part in rows for i in part) == sorted(ids)
    assert leads.scored_at("Lead", one) is not None


def test_row_that_alone_is_too_large_fails_and_the_others_are_pushed(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R23: it is the row's own failure; no job is made of it."""
    sent = _uploads(monkeypatch)
    leads.create("Lead", ACME)
    leads.pull("Lead")
    monkeypatch.setattr("pipeline.steps.push_segment.UPLOAD_BYTES_MAX", len(sent[0]) + 15)
    (large,) = leads.create("Lead", ACME | {"Company": "A" * 34})
    (other,) = leads.create("Lead", ACME)

    figures = leads.pull("Lead")

    assert (figures["pushed"], figures["failed"]) == (1, 1)
    assert leads.scored_at("Lead", other) is not None
    assert [(row.record_id, row.error_code) for row in leads.failures()] == [
        (large, "ROW_TOO_LARGE")
    ]


def _uploads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the list to which every upload is added from now on."""
    sent: list[bytes] = []
    upload = Salesforce.upload

    def note_and_upload(org: Salesforce, job_id: str, data: bytes) -> None:
        sent.append(data)
        upload(org, job_id, data)

    monkeypatch.setattr(Salesforce, "upload", note_and_upload)
    return sent


def test_value_that_cannot_be_written_fails_its_row_alone(leads: Plant) -> None:
    """R23: the segment is pushed, and nothing behind it waits."""
    bad, good = leads.create("Lead", ACME, ACME | {"LastName": "Okafor"})
    for asset, job in ((PULL, "pull"), (SCORE, "score_and_push")):
        leads.run(job, "Lead", asset_selection=[asset])
    leads.with_clients(lambda clients: _spoil_score(clients, bad))

    figures = leads.run("score_and_push", "Lead", resumed=2)

    assert (figures["pushed"], figures["failed"]) == (1, 1)
    assert leads.scored_at("Lead", good) is not None
    (failure,) = leads.failures()
    assert (failure.record_id, failure.error_code) == (bad, "UNWRITABLE_VALUE")
    assert "Fit_Score__c" in failure.error_message


def _spoil_score(clients: Any, record_id: str) -> None:
    """Put what no number field takes into the scores that are ready to be pushed."""
    (segment,) = clients.ledger.segments.unfinished("Lead")
    update = clients.lake.read_working_file(segment.segment_id)
    column = update.column_names.index("update.Fit_Score__c")
    is_bad = [i == record_id for i in update.column("Id").to_pylist()]
    scores = pa.array([float("nan") if one else 1.0 for one in is_bad], pa.float64())
    update = update.set_column(column, "update.Fit_Score__c", scores)
    clients.lake.write_working_file(segment.segment_id, update)


def _jobs_of_the_segment(clients: object) -> list[str]:
    ledger = clients.ledger  # type: ignore[attr-defined]
    return [
        job.job_id
        for s in ledger.segments.unfinished()
        for job in ledger.push_jobs.of_segment(s.segment_id)
    ]


def test_object_that_can_no_longer_be_read_does_not_stop_the_others(shared_plant: Build) -> None:
    """R12, R14: its own pull finds out and says so; then it is not ready, and no tick asks for it."""
    built = shared_plant(integration("Lead"), integration("Contact"))
    built.turn_on()
    for name in ("Lead", "Contact"):
        built.refresh(name)
    rights = {"user": "integration@local.example", "object": "Contact"}
    built.org.control("POST", "permissions", {**rights, "read": False, "edit": False})
    (lead,) = built.create("Lead", ACME)
    built.wait(minutes=1)

    built.tick()

    built.org.control("POST", "permissions", {**rights, "clear": True})
    assert built.scored_at("Lead", lead) is not None


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_daily_pull_that_fails_does_not_hold_up_the_pull(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R14, R16: a new record is scored while the daily pull is tried again and again."""
    policy = RetryPolicy().without_waiting()
    monkeypatch.setattr("resources.salesforce.client.RetryPolicy", lambda: policy)
    leads.set_clock(datetime(2026, 3, 11, 9, tzinfo=UTC))
    fault = leads.org.arm("http_500", path="/query", count=None)
    (failed,) = leads.tick()[0]
    assert (failed["job"], failed["success"], leads.org.fault_count(fault) > 0) == (
        "daily_pull",
        False,
        True,
    )
    leads.org.clear_faults()
    (lead,) = leads.create("Lead", ACME)
    leads.wait(minutes=1)

    (figures,) = leads.tick()[0]

    assert figures["job"] == "pull"
    assert leads.scored_at("Lead", lead) is not None


def test_record_of_a_paused_market_alone_waits_for_it(shared_plant: Build) -> None:
    """R12: claimed while its market rests, it is neither scored nor forgotten."""
    fit = integration("Lead", "fit", candidate_field="Fit_Candidate__c")
    other = integration("Lead", "other", "Other", candidate_field="Other_Candidate__c")
    built = shared_plant(fit, other)
    built.turn_on()
    (lead,) = built.create("Lead", ACME | {"Fit_Candidate__c": True})
    built.run("pull", "Lead", asset_selection=[PULL])
    built.wait(minutes=30)
    built.with_clients(lambda clients: pause(clients, "Lead.fit"))
    built.run("score_and_push", "Lead")
    assert (built.scored_at("Lead", lead), built.waiting("Lead")) == (None, 1)

    built.wait(hours=1)
    built.with_clients(lambda clients: resume(clients, "Lead.fit"))
    built.run("score_and_push", "Lead")

    assert built.scored_at("Lead", lead) is not None
    assert built.waiting("Lead") == 0


@pytest.mark.slow
def test_change_during_a_short_pause_is_found_by_the_next_tick(shared_plant: Build) -> None:
    """R15: though count and newest stamp of what changed lately are the same as before."""
    built = shared_plant(integration("Lead"), integration("Lead", "other", "Other"))
    built.turn_on()
    built.refresh("Lead")
    (lead,) = built.create("Lead", ACME)
    built.pull("Lead")
    built.with_clients(lambda clients: pause(clients, "Lead.other"))
    built.edit("Lead", lead, Company="Umbrella")
    built.pull("Lead")
    built.pull("Lead")

    built.with_clients(lambda clients: resume(clients, "Lead.other"))
    built.wait(minutes=1)
    built.tick()

    assert built.record("Lead", lead)["Other_Note__c"] == "Umbrella|CEO"


@pytest.mark.slow
def test_late_commit_that_changes_neither_count_nor_newest_stamp_is_found(leads: Plant) -> None:
    """D6: by a last look when the overlap is over."""
    first, second = leads.create("Lead", ACME, ACME | {"LastName": "Okafor"})
    leads.pull("Lead")
    leads.pull("Lead")
    leads.org.control("POST", "hold-saves", {"seconds": 240, "saves": 1, "object": "Lead"})
    leads.edit("Lead", first, Company="Umbrella")
    leads.wait(seconds=20)
    leads.edit("Lead", second, Company="Cyberdyne")
    leads.wait(seconds=5)
    for _ in range(20):
        leads.tick()
        leads.wait(minutes=1)

    assert leads.record("Lead", first)["Fit_Note__c"] == "Umbrella|CEO"


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_daily_pull_missed_over_midnight_is_made_up(shared_plant: Build) -> None:
    """R17: the system was down at 22:00; it is made up in the morning, and today's own comes at 22:00."""
    built = shared_plant(integration("Lead"), daily_pull_time="22:00")
    built.set_clock(datetime(2026, 3, 9, 12, tzinfo=UTC))
    built.create("Lead", ACME)
    built.wait(minutes=1)
    built.turn_on()
    built.set_clock(datetime(2026, 3, 10, 8, tzinfo=UTC))

    (figures,) = built.tick()[0]
    assert (figures["job"], figures["pushed"]) == ("daily_pull", 1)
    built.wait(hours=1)
    jobs = [run["job"] for run in built.tick()[0]]
    built.set_clock(datetime(2026, 3, 10, 21, 15, tzinfo=UTC))
    later = [run["job"] for run in built.tick()[0]]

    assert "daily_pull" not in jobs
    assert later == ["daily_pull"]


@pytest.mark.slow
def test_ledger_from_a_backup_forgets_no_object_s_scorings(shared_plant: Build) -> None:
    """R20: the day's files of all objects count, whichever object claims first."""
    built = shared_plant(integration("Lead"), integration("Contact"), daily_record_limit=10)
    built.turn_on()
    built.create("Contact", *({"LastName": f"C{n}"} for n in range(8)))
    built.pull("Contact")
    for path in (built.folder / "home").glob("ledger.db*"):
        path.unlink()
    built.turn_on()
    built.create("Lead", *(ACME | {"LastName": f"L{n}"} for n in range(9)))

    figures = built.pull("Lead")

    assert figures["claimed"] == 2


@pytest.mark.slow
def test_run_near_the_api_limit_claims_no_more(leads: Plant) -> None:
    """R21: what has begun is finished; the rest waits for the next day, and no tick asks in vain."""
    leads.configure(integration("Lead"), daily_api_calls_limit=100, segment_records_max=1)
    leads.create("Lead", *(ACME | {"LastName": f"L{n}"} for n in range(30)))

    leads.pull("Lead")
    used = leads.with_clients(lambda clients: clients.ledger.calls.total(clients.today))

    assert 60 <= used <= 100
    waiting = leads.waiting("Lead")
    figures = leads.run("score_and_push", "Lead", resumed=waiting)
    assert (figures["claimed"], figures["pushed"], figures["in_flight"]) == (0, 0, waiting)
    assert leads.tick()[0] == []
    leads.set_clock(datetime(2026, 3, 11, 9, tzinfo=UTC))
    assert leads.run("score_and_push", "Lead")["pushed"] > 0


def test_share_of_what_the_org_has_left_bounds_the_budget(leads: Plant) -> None:
    """R2: other applications use the org's requests too; what it told an hour ago counts no more."""
    leads.configure(integration("Lead"), org_api_share_percent=50)
    leads.with_clients(
        lambda clients: clients.ledger.calls.note_usage(
            used=14_950, allotted=15_000, now=clients.now()
        )
    )
    assert leads.with_clients(lambda clients: clients.budget.remaining()) == 25

    requests, why_not = leads.tick()
    assert (requests, "nearly used up" in why_not) == ([], True)
    leads.wait(minutes=61)

    assert leads.with_clients(lambda clients: clients.budget.remaining()) > 10_000
