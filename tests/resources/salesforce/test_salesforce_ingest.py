"""Pushing rows by bulk jobs, step by step, also when things go wrong (R22, R23)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pytest
import requests

from local_org.launch import RunningOrg
from resources.salesforce.calls import ApiCall
from resources.salesforce.client import Salesforce
from resources.salesforce.errors import JobRefused, JobSpoiled
from resources.salesforce.ingest_results import IngestResults
from resources.salesforce.jobs import JobInfo
from resources.salesforce.update_csv import update_csv

MakeClient = Callable[..., Salesforce]
NASTY = 'José "J", 😀 日本 \u2028 line\nbreak'
STAMP = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def load_leads(org: RunningOrg, company: str, count: int) -> list[str]:
    """Load leads."""
    return org.load(
        "Lead",
        [{"LastName": f"Lead {n:05}", "Company": company, "Status": "Open"} for n in range(count)],
    )


def scores(ids: list[str], score: int = 87) -> pa.Table:
    """Return rows that give each id a score."""
    return pa.table({"Id": ids, "Score__c": pa.array([score] * len(ids), pa.int64())})


def push(client: Salesforce, rows: pa.Table) -> tuple[JobInfo, IngestResults]:
    """Push rows as the product does."""
    job_id = client.create_ingest_job("Lead")
    client.upload(job_id, update_csv(rows))
    client.close_job(job_id)
    job = client.wait_for_job(job_id, 30)
    return job, client.results(job, sent=rows.num_rows)


def stored(org: RunningOrg, company: str, fields: str = "Score__c") -> list[dict[str, object]]:
    """Return what the org holds, in order of loading."""
    return org.query(f"SELECT {fields} FROM Lead WHERE Company = '{company}' ORDER BY LastName")


def test_values_arrive_as_they_were(org: RunningOrg, client: Salesforce, company: str) -> None:
    ids = load_leads(org, company, 3)
    everything = pa.table(
        {
            "Id": ids,
            "Score__c": pa.array([100.0, 0.0, None]),
            "Rank__c": ["A", None, None],
            "Hot__c": [True, False, None],
            "Note__c": [NASTY, "#N/A", ""],
            "Scored__c": pa.array([STAMP, None, None], pa.timestamp("ms", tz="UTC")),
        }
    )
    push(client, everything)
    job, results = push(client, everything)
    first, second, third = stored(org, company, "Score__c, Rank__c, Hot__c, Note__c, Scored__c")

    assert (job.state, job.processed, job.failed) == ("JobComplete", 3, 0)
    assert sorted(results.succeeded_ids.to_pylist()) == sorted(ids)
    assert (first["Score__c"], first["Rank__c"], first["Hot__c"]) == (100.0, "A", True)
    assert first["Note__c"] == NASTY
    assert str(first["Scored__c"]).startswith("2026-01-02T03:04:05")
    assert (second["Score__c"], second["Rank__c"], second["Note__c"]) == (0.0, None, "#N/A")
    assert (third["Score__c"], third["Hot__c"], third["Note__c"]) == (None, False, None)


def test_a_null_clears_what_stood_there(org: RunningOrg, client: Salesforce, company: str) -> None:
    ids = load_leads(org, company, 1)
    push(client, scores(ids))
    push(client, pa.table({"Id": ids, "Score__c": pa.array([None], pa.int64())}))

    assert stored(org, company)[0]["Score__c"] is None


def test_rows_that_are_not_written_keep_what_stood_there(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 2)
    push(client, scores(ids, 40))
    job_id = client.create_ingest_job("Lead")
    client.upload(job_id, update_csv(scores(ids, 60), {"Score__c": pa.array([True, False])}))
    client.close_job(job_id)
    client.wait_for_job(job_id, 30)

    assert [row["Score__c"] for row in stored(org, company)] == [60.0, 40.0]


def test_rows_are_matched_by_id_whatever_their_order_and_failures_keep_their_words(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 300)
    wrong = set(ids[::3])
    rows = pa.table({"Id": ids, "Score__c": [1000 if one in wrong else 50 for one in ids]})
    job, results = push(client, rows)

    assert (job.state, job.processed, job.failed) == ("JobComplete", 300, 100)
    assert results.succeeded_ids.to_pylist() != [one for one in ids if one not in wrong]
    assert set(results.succeeded_ids.to_pylist()) == set(ids) - wrong
    assert set(results.failed["id"].to_pylist()) == wrong
    assert set(results.failed["error_code"].to_pylist()) == {"NUMBER_OUTSIDE_VALID_RANGE"}
    assert set(results.failed["fields"].to_pylist()) == {"Score__c"}
    assert "outside of valid range" in results.failed["error_message"][0].as_py()
    assert len(results.unprocessed_ids) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"csv_charset": False},
        {"failed_results_have_id": False},
        {"result_headers_quoted": True},
        {"gzip": False},
    ],
)
def test_every_form_that_ingest_results_may_have_is_read(
    org: RunningOrg, client: Salesforce, company: str, options: dict[str, object]
) -> None:
    org.set_options(**options)
    ids = load_leads(org, company, 4)
    rows = pa.table({"Id": ids, "Note__c": [NASTY] * 4, "Score__c": [1000, 1, 2, 3]})
    _, results = push(client, rows)

    assert set(results.succeeded_ids.to_pylist()) == set(ids[1:])
    assert results.failed["id"].to_pylist() == ids[:1]


def test_a_push_without_failures_reads_one_list_of_results(
    org: RunningOrg, client_for: MakeClient, company: str
) -> None:
    ids = load_leads(org, company, 2)
    calls: list[ApiCall] = []
    client = client_for(on_call=calls.append)
    push(client, scores(ids))

    kinds = [call.kind for call in calls if call.kind != "poll"]
    assert kinds == ["sign-in", "job", "upload", "job", "results"]


def test_locked_rows_are_told_from_lasting_failures(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 3)
    org.arm("lock_rows", ids=ids[:1])
    _, results = push(client, scores(ids))

    assert results.failed["error_code"].to_pylist() == ["UNABLE_TO_LOCK_ROW"]
    assert org.fault_count() == 1


def test_an_unknown_column_fails_the_whole_job_with_the_orgs_message(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 2)
    job, results = push(client, pa.table({"Id": ids, "Nope__c": [1, 2]}))

    assert job.state == "Failed"
    assert "Nope__c" in job.error_message
    assert len(results.succeeded_ids) == 0
    assert set(results.unprocessed_ids.to_pylist()) <= set(ids)


def test_a_job_that_fails_half_way_tells_saved_and_unprocessed_rows_apart(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 600)
    org.arm("job_fail", object="Lead", operation="update", after_rows=200)
    job, results = push(client, scores(ids))
    saved, left = results.succeeded_ids.to_pylist(), results.unprocessed_ids.to_pylist()

    assert job.state == "Failed"
    assert len(saved) == 200
    assert sorted(saved + left) == sorted(ids)
    held = {row["Id"]: row["Score__c"] for row in stored(org, company, "Id, Score__c")}
    assert {one for one in ids if held[one] == 87.0} == set(saved)


STEPS = [
    ("PUT", r"/batches"),
    ("PATCH", r"/jobs/ingest/"),
    ("GET", r"/jobs/ingest/\w+$"),
    ("GET", r"/successfulResults"),
    ("GET", r"/failedResults"),
]


@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs/ingest$"), *STEPS])
@pytest.mark.parametrize("kind", ["expire_session", "http_503", "drop_before"])
def test_a_fault_before_any_step_is_done_loses_nothing(
    org: RunningOrg, client: Salesforce, company: str, kind: str, method: str, path: str
) -> None:
    ids = load_leads(org, company, 5)
    rows = pa.table({"Id": ids, "Score__c": [1000, 1, 2, 3, 4]})
    org.arm(kind, method=method, path=path)
    job, results = push(client, rows)

    assert org.fault_count() == 1
    assert job.state == "JobComplete"
    assert set(results.succeeded_ids.to_pylist()) == set(ids[1:])
    assert results.failed["id"].to_pylist() == ids[:1]


@pytest.mark.parametrize(("method", "path"), STEPS[1:])
@pytest.mark.parametrize("kind", ["drop_after", "truncate"])
def test_an_answer_lost_after_a_step_is_done_loses_nothing(
    org: RunningOrg, client: Salesforce, company: str, kind: str, method: str, path: str
) -> None:
    ids = load_leads(org, company, 5)
    rows = pa.table({"Id": ids, "Score__c": [1000, 1, 2, 3, 4]})
    org.arm(kind, method=method, path=path)
    job, results = push(client, rows)

    assert org.fault_count() == 1
    assert job.state == "JobComplete"
    assert set(results.succeeded_ids.to_pylist()) == set(ids[1:])


def test_an_upload_whose_answer_is_lost_may_spoil_the_job_and_says_so(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 2)
    org.arm("drop_after", method="PUT", path="/batches")
    job_id = client.create_ingest_job("Lead")
    client.upload(job_id, update_csv(scores(ids)))
    with pytest.raises(JobSpoiled, match="Abort this job") as caught:
        client.close_job(job_id)

    assert org.fault_count() == 1
    assert caught.value.code == "INVALIDJOB"
    assert client.abort_job(job_id).state == "Aborted"
    assert push(client, scores(ids))[0].state == "JobComplete"


def test_a_job_whose_creation_is_not_answered_is_reported_and_left_alone(
    org: RunningOrg, client: Salesforce, company: str, caplog: pytest.LogCaptureFixture
) -> None:
    ids = load_leads(org, company, 1)
    _ = client.org_id
    org.arm("drop_after", method="POST", path="/jobs/ingest$")
    job, _results = push(client, scores(ids))
    (stray,) = re.findall(r"Bulk job (\w+) on Lead may be a stray one", caplog.text)

    assert job.state == "JobComplete"
    assert stray != job.id
    assert client.job(stray).state == "Open"
    assert client.abort_job(stray).state == "Aborted"


def test_stray_jobs_are_found_across_pages_of_the_list(
    org: RunningOrg, client: Salesforce, client_for: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    made = {client.create_ingest_job("Contact") for _ in range(5)}
    org.set_options(list_page_jobs=2)
    org.arm("drop_after", method="POST", path="/jobs/ingest$")
    made.add(client_for().create_ingest_job("Contact"))
    strays = set(re.findall(r"Bulk job (\w+) on Contact may be", caplog.text))

    assert len(strays & made) == 5
    for job_id in strays | made:
        assert client.abort_job(job_id).state == "Aborted"


def test_a_wait_ends_at_its_deadline_with_the_job_as_it_stands(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    ids = load_leads(org, company, 2)
    org.arm("job_stuck", object="Lead")
    job_id = client.create_ingest_job("Lead")
    client.upload(job_id, update_csv(scores(ids)))
    client.close_job(job_id)
    job = client.wait_for_job(job_id, 0.3)
    assert not job.has_ended

    org.clear_faults()
    assert client.wait_for_job(job_id, 30).state == "JobComplete"


@pytest.mark.slow
def test_a_wait_with_a_clock_that_stands_still_ends_all_the_same(
    org: RunningOrg, client_for: MakeClient
) -> None:
    waits: list[float] = []
    client = client_for(sleep=waits.append)
    job_id = client.create_ingest_job("Lead")

    assert client.wait_for_job(job_id, 600).state == "Open"
    assert sum(waits) == pytest.approx(600, abs=1)
    client.abort_job(job_id)


def test_aborting_what_has_ended_does_no_harm(
    org: RunningOrg, client: Salesforce, company: str
) -> None:
    job, _ = push(client, scores(load_leads(org, company, 1)))

    assert client.abort_job(job.id).state == "JobComplete"


def test_more_than_a_job_takes_is_refused_before_it_is_sent(
    org: RunningOrg, client: Salesforce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.salesforce.ingest.UPLOAD_BYTES_MAX", 10)
    with pytest.raises(JobRefused, match="push fewer records"):
        client.upload("750x", b"x" * 11)

    assert org.calls()["log"] == []


def test_the_link_to_a_job_opens_its_page_in_the_orgs_setup(
    org: RunningOrg, client: Salesforce
) -> None:
    job_id = client.create_ingest_job("Lead")
    client.abort_job(job_id)
    link = client.job_url(job_id)
    page = requests.get(link, timeout=10)

    assert link == f"{org.base_url}/lightning/setup/AsyncApiJobStatus/page?address=%2F{job_id}"
    assert page.status_code == 200
    assert job_id in page.text
