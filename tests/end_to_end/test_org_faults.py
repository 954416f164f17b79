"""Whatever the org does to a run: it finishes, or says why and what to do, and the next ticks finish it (R3, R14, R22)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv

from resources.environment import SESSION_FILE
from resources.salesforce.calls import PollPolicy, RetryPolicy, Timeouts
from resources.salesforce.client import Salesforce
from tests.plant import Plant, integration
from tests.resources.salesforce.silence import silent_server

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
CALLS = (
    ("POST", "/oauth2/token"),
    ("GET", "/describe"),
    ("POST", "/composite"),
    ("GET", r"/query/?\?"),
    ("GET", "/query/01g"),
    ("POST", "/jobs/query$"),
    ("GET", r"/jobs/query/\w+$"),
    ("GET", r"/jobs/query/\w+/results"),
    ("POST", "/jobs/ingest$"),
    ("PUT", "/batches"),
    ("PATCH", "/jobs/ingest"),
    ("GET", r"/jobs/ingest/\w+$"),
    ("GET", "/successfulResults"),
    ("GET", "/failedResults"),
)
"""Every kind of call that a pull and its push make, by REST and by bulk query."""


@pytest.fixture
def leads(shared_plant: Build, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A plant with one market on Lead, turned on, its daily pull in; its clients try again without waiting."""
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (6, 0.0, 0.0, 0.0))
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.refresh("Lead")
    yield built
    built.org.set_options(query_page_rows=2_000)


def create(built: Plant, count: int) -> list[str]:
    """Let so many new leads be saved."""
    ids = built.org.load("Lead", [ACME | {"LastName": f"Ito {n}"} for n in range(count)])
    built.wait(seconds=5)
    return ids


def jobs(built: Plant) -> list[dict[str, Any]]:
    """Return the org's bulk jobs, oldest first."""
    listed: list[dict[str, Any]] = built.org.control("GET", "jobs")
    return sorted(listed, key=lambda job: str(job["id"]))


# -- every kind of call ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["rest", "bulk"])
@pytest.mark.parametrize(
    "kind",
    [
        "http_503",
        "drop_before",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("expire_session", "truncate", "limit")
        ),
    ],
)
def test_run_in_which_each_kind_of_call_fails_once_finishes(
    leads: Plant, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    """R3, R22: all records scored once by one job, with one row that Salesforce refuses."""
    ids = create(leads, 210)
    leads.org.set_options(query_page_rows=200)
    if how == "bulk":
        monkeypatch.setattr("pipeline.steps.pull.REST_ROWS_MAX", 0)
    leads.org.arm("row_error", ids=ids[:1], code="CUSTOM", message="no", count=None)
    before = {job["id"] for job in jobs(leads)}
    if kind != "expire_session":
        (leads.folder / "home" / SESSION_FILE).unlink()
    unsafe = {"/jobs/ingest$", "/batches"} if kind == "truncate" else set()
    once = {"expire_session": {"/oauth2/token"}}.get(kind, set()) | unsafe
    of_the_other = "/query/" if how == "bulk" else "/jobs/query"
    armed = [
        leads.org.arm("http_403_limit", method=method, path=path, limit="concurrent")
        if kind == "limit"
        else leads.org.arm(kind, method=method, path=path)
        for method, path in CALLS
        if path not in once and not (path.startswith(of_the_other) or of_the_other in path[:12])
    ]

    figures = leads.pull("Lead")

    assert figures["success"], leads.failure()
    assert (figures["read"], figures["pushed"], figures["failed"]) == (210, 209, 1)
    assert [leads.org.fault_count(fault) for fault in armed] == [1] * len(armed)
    pushes = [j for j in jobs(leads) if j["id"] not in before and j["operation"] == "update"]
    assert len(pushes) == 1
    assert all(leads.scored_at("Lead", one) for one in (ids[1], ids[-1]))


def test_locator_that_expires_in_a_pull_is_no_fault_at_all(leads: Plant) -> None:
    """R14: the query is begun again, and each record counts once."""
    create(leads, 450)
    leads.org.set_options(query_page_rows=200)
    fault = leads.org.arm("expire_locator", path="/query/01g", skip=1)

    figures = leads.pull("Lead")

    assert leads.org.fault_count(fault) == 1
    assert (figures["read"], figures["due"], figures["pushed"]) == (450, 450, 450)


@pytest.mark.parametrize("path", [r"v[\d.]+/query", r"v[\d.]+/query|/results"])
def test_pull_of_which_rows_are_missing_loses_none_of_them(leads: Plant, path: str) -> None:
    """R14: what REST leaves out a job reads; what both leave out the next pull reads."""
    ids = create(leads, 30)
    fault = leads.org.arm("short_result", path=path, skip=1, count=None)

    first = leads.pull("Lead")
    fired = leads.org.fault_count(fault)
    leads.org.clear_faults()
    leads.wait(minutes=12)
    leads.tick(resumed=None)

    assert fired >= 3
    assert first["success"] == ("results" not in path)
    assert all(leads.scored_at("Lead", one) for one in ids)


# -- an org that hangs -----------------------------------------------------------------------------


def test_tick_of_an_org_that_hangs_ends_in_time_with_a_reason(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D7: Dagster gives a tick 60 seconds; the next one finds the change. A tick that hung would end nowhere."""
    from resources.salesforce import calls

    assert calls.TICK_TIMEOUTS.total_seconds < 30
    monkeypatch.setattr(calls, "TICK_TIMEOUTS", Timeouts(1.0, 1.0, 2.0))
    create(leads, 1)
    org = leads.org.base_url
    with silent_server() as address:
        monkeypatch.setenv("SALESFORCE_LOGIN_URL", address)
        requests, why_not = leads.ask()
    monkeypatch.setenv("SALESFORCE_LOGIN_URL", org)

    assert requests == []
    assert "The connection to the org" in why_not
    assert "the sensor does so by itself" in why_not
    assert [request.job_name for request in leads.ask()[0]] == ["pull"]


def test_a_call_is_given_up_while_its_run_still_holds_the_object() -> None:
    """D3: a call with all its tries, and the longest wait for a job between two renewals, fit into a lease."""
    from pipeline.steps.budget import LEASE_LASTS

    assert Timeouts().total_seconds + PollPolicy().longest_seconds <= LEASE_LASTS.total_seconds()


@pytest.mark.dagster_runs
def test_org_that_is_away_ends_the_run_with_a_message_and_the_next_tick_goes_on(
    leads: Plant,
) -> None:
    """R14: nothing could be done now; the watermark stands, and the change is pulled when the org is back."""
    (lead,) = create(leads, 1)
    leads.org.arm("http_503", path="/composite", count=None)

    leads.pull("Lead")

    message, code = leads.failure()
    assert message.startswith("The org could not answer (ask several queries: HTTP 503).")
    assert code == 3
    leads.org.clear_faults()
    (figures,) = leads.tick()[0]
    assert figures["pushed"] == 1
    assert leads.scored_at("Lead", lead) is not None


# -- query jobs ------------------------------------------------------------------------------------


@pytest.mark.dagster_runs
@pytest.mark.parametrize(
    ("kind", "says", "exit_code"),
    [
        ("job_fail", "ended as Failed. Salesforce says: InternalServerError : server error", 1),
        ("job_stuck", "was still InProgress after 1 s", 3),
    ],
)
def test_query_job_that_fails_or_hangs_leaves_the_watermark(
    leads: Plant, monkeypatch: pytest.MonkeyPatch, kind: str, says: str, exit_code: int
) -> None:
    """R14: the run says so, the job is not left at work, and the next tick asks anew."""
    monkeypatch.setattr("pipeline.steps.pull.REST_ROWS_MAX", 0)
    monkeypatch.setattr("pipeline.steps.pull.JOB_DEADLINE_SECONDS", 1)
    (lead,) = create(leads, 1)
    leads.org.arm(kind, operation="query")

    leads.pull("Lead")

    message, code = leads.failure()
    assert says in message
    assert code == exit_code
    leads.org.clear_faults()
    leads.org.control("GET", "jobs/idle")
    assert [job["state"] for job in jobs(leads)][-1] in {"Failed", "Aborted"}
    (figures,) = leads.tick()[0]
    assert figures["pushed"] == 1
    assert leads.scored_at("Lead", lead) is not None


# -- push jobs -------------------------------------------------------------------------------------


def test_job_aborted_in_setup_is_followed_by_one_of_the_rows_it_left(leads: Plant) -> None:
    """R23: what it wrote is not written again."""
    create(leads, 3)
    leads.org.arm(
        "unprocessed_rows", object="Lead", operation="update", after_rows=1, state="Aborted"
    )
    before = {job["id"] for job in jobs(leads)}

    figures = leads.pull("Lead")

    made = [job for job in jobs(leads) if job["id"] not in before and job["operation"] == "update"]
    assert (figures["pushed"], figures["failed"]) == (3, 0)
    assert [job["state"] for job in made] == ["Aborted", "JobComplete"]


@pytest.mark.slow
def test_job_aborted_in_setup_before_it_was_closed_is_made_anew_by_the_next_tick(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R22: the run says what Salesforce said; no row is lost."""
    (lead,) = create(leads, 1)
    upload = Salesforce.upload

    def abort_and_upload(org: Salesforce, job_id: str, data: bytes) -> None:
        upload(org, job_id, data)
        org.abort_job(job_id)

    monkeypatch.setattr(Salesforce, "upload", abort_and_upload)
    leads.pull("Lead")
    message, code = leads.failure()
    assert "The org refused: set bulk job" in message
    assert code == 1

    monkeypatch.setattr(Salesforce, "upload", upload)
    leads.wait(minutes=1)
    (figures,) = leads.tick(resumed=1)[0]

    assert figures["pushed"] == 1
    assert leads.scored_at("Lead", lead) is not None


@pytest.mark.slow
def test_job_that_never_ends_holds_up_no_other_rows_and_is_aborted_after_a_day(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: while it is at work its rows stay claimed; what waits is scored at the next tick all the same."""
    monkeypatch.setattr("pipeline.steps.push_segment.JOB_DEADLINE_SECONDS", 1)
    monkeypatch.setattr("pipeline.steps.push_segment.EARLIER_JOB_SECONDS", 1)
    leads.configure(integration("Lead"), daily_record_limit=2)
    (stuck,) = create(leads, 1)
    leads.org.arm("job_stuck", object="Lead", operation="update")
    assert leads.pull("Lead")["in_flight"] == 1
    create(leads, 2)
    assert leads.run("pull", "Lead", resumed=1)["pushed"] == 1
    leads.wait(minutes=1)
    leads.tick(resumed=None)
    assert leads.waiting("Lead") == 2

    leads.set_clock(datetime(2026, 3, 10, 23, 30, tzinfo=UTC))  # the next day
    leads.tick(resumed=None)
    assert leads.scored_at("Lead", stuck) is None
    assert leads.waiting("Lead") == 1

    leads.wait(hours=11)
    leads.tick(resumed=None)
    leads.wait(minutes=5)
    leads.tick(resumed=None)

    assert leads.scored_at("Lead", stuck) is not None
    assert leads.waiting("Lead") == 0
    assert "Aborted" in {job["state"] for job in jobs(leads)}


def test_what_an_aborted_job_wrote_is_told_by_its_results_where_the_record_tells_no_more(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: somebody cleared the stamp meanwhile; the row is not pushed once more for one scoring."""
    monkeypatch.setattr("pipeline.steps.push_segment.JOB_DEADLINE_SECONDS", 1)
    monkeypatch.setattr("pipeline.steps.push_segment.EARLIER_JOB_SECONDS", 1)
    (lead,) = create(leads, 1)
    leads.org.arm("job_stuck", object="Lead", operation="update", after_rows=1)
    assert leads.pull("Lead")["in_flight"] == 1
    assert leads.scored_at("Lead", lead) is not None
    leads.edit("Lead", lead, Mintigo_update_datetime__c=None)
    before = {job["id"]: job["state"] for job in jobs(leads)}
    leads.wait(hours=25)

    figures = leads.run("score_and_push", "Lead", resumed=1)

    assert figures["pushed"] == 1
    after = {job["id"]: job["state"] for job in jobs(leads)}
    assert after.keys() == before.keys()
    assert [after[i] for i in after if after[i] != before[i]] == ["Aborted"]


def test_rows_are_sent_sorted_by_their_account(
    shared_plant: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R23: contacts of one account that are saved side by side lock it for one another."""
    built = shared_plant(integration("Contact"))
    built.turn_on()
    accounts = built.create("Account", *({"Name": f"Acme {n}"} for n in range(3)))
    contacts = built.create(
        "Contact", *({"LastName": f"Ito {n}", "AccountId": accounts[n % 3]} for n in range(9))
    )
    built.wait(seconds=5)
    sent: list[list[str]] = []
    upload = Salesforce.upload

    def note_and_upload(org: Salesforce, job_id: str, data: bytes) -> None:
        table = csv.read_csv(pa.BufferReader(data))
        sent.append(table.column("Id").to_pylist())
        upload(org, job_id, data)

    monkeypatch.setattr(Salesforce, "upload", note_and_upload)
    assert built.pull("Contact")["pushed"] == 9

    account_of = {contact: accounts[n % 3] for n, contact in enumerate(contacts)}
    assert [account_of[one] for one in sent[0]] == sorted(accounts * 3)


# -- columns that are hidden -----------------------------------------------------------------------


@pytest.mark.slow
def test_input_hidden_from_the_user_holds_its_market_back_until_it_is_seen_again(
    shared_plant: Build,
) -> None:
    """R9, R12: the other market on the object goes on; nothing that changed meanwhile is lost."""
    built = shared_plant(
        integration("Lead", inputs={"company": "Company", "title": "Wide_Note__c"}),
        integration("Lead", "other", "Other"),
    )
    built.turn_on()
    hide = {"object": "Lead", "field": "Wide_Note__c", "read": False, "edit": False}
    built.org.control("POST", "permissions", hide)
    try:
        (lead,) = built.create("Lead", ACME)
        assert built.pull("Lead")["pushed"] == 1
        record = built.record("Lead", lead)
        assert (record["Fit_Score__c"], record["Other_Note__c"]) == (None, "Acme|CEO")
    finally:
        built.org.control("POST", "permissions", hide | {"clear": True})
    built.turn_on()
    built.wait(minutes=1)
    built.pull("Lead")

    assert built.record("Lead", lead)["Fit_Score__c"] is not None


def test_input_hidden_between_describe_and_query_fails_the_run_by_name(leads: Plant) -> None:
    """R9: the one run says which field; then preflight holds the market back."""
    create(leads, 1)
    hide = {"object": "Lead", "field": "Title", "read": False, "edit": False}
    describe = Salesforce.describe

    def describe_and_hide(org: Salesforce, name: str) -> Any:
        found = describe(org, name)
        leads.org.control("POST", "permissions", hide)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Salesforce, "describe", describe_and_hide)
        leads.pull("Lead")
    try:
        message, code = leads.failure()
        assert "No such column 'Title'" in message
        assert code == 1
        leads.pull("Lead")
        assert "Title" in leads.failure()[0]
    finally:
        leads.org.control("POST", "permissions", hide | {"clear": True})
    leads.turn_on()
    leads.wait(minutes=1)
    assert leads.pull("Lead")["pushed"] == 1
