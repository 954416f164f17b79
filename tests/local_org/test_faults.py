"""Faults that are asked for: each one really happens, and says so in its counter."""

from __future__ import annotations

import gzip
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from local_org import launch
from tests.local_org.support import Api, csv_text, error

pytestmark = pytest.mark.slow


def scores(org: launch.RunningOrg, ids: list[str]) -> dict[str, Any]:
    """Give the scores that stand in the org."""
    listed = ",".join(f"'{one}'" for one in ids)
    found = org.query(f"SELECT Id, Score__c FROM Lead WHERE Id IN ({listed})")
    return {row["Id"]: row["Score__c"] for row in found}


def upload_text(ids: list[str], score: int = 1) -> str:
    """Write an update of the scores."""
    return csv_text(["Id", "Score__c"], [[one, score] for one in ids])


# Arming


def test_a_fault_fires_where_it_matches_after_skip_and_count_times(
    org: launch.RunningOrg, api: Api
) -> None:
    fault = org.arm("http_503", method="GET", path=r"/limits$", skip=1, count=2)

    statuses = [api.get("limits").status_code for _ in range(5)]

    assert statuses == [200, 503, 503, 200, 200]
    assert api.get("sobjects").status_code == 200
    assert org.fault_count(fault) == 2


def test_cleared_faults_no_longer_fire(org: launch.RunningOrg, api: Api) -> None:
    kept = org.arm("http_500", path="/sobjects$", count=None)
    gone = org.arm("http_503", path="/limits$", count=None)

    org.control("DELETE", f"faults/{gone['id']}")

    assert api.get("limits").status_code == 200
    assert api.get("sobjects").status_code == 500
    assert [fault["id"] for fault in org.control("GET", "faults")] == [kept["id"]]


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "earthquake"},
        {"kind": "http_503", "object": "Lead"},
        {"kind": "http_503", "path": "("},
        {"kind": "http_503", "count": 0},
        {"kind": "row_error", "ids": []},
        {"kind": "http_403_limit", "limit": "weekly"},
        {"kind": "truncate", "bytes": "many"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    org: launch.RunningOrg, spec: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"\"error\":"):
        org.control("POST", "faults", spec)


def test_a_misspelt_control_request_is_refused_with_what_is_known(org: launch.RunningOrg) -> None:
    with pytest.raises(ValueError, match="offset_seconds"):
        org.control("POST", "clock", {"ofset_seconds": 5})
    with pytest.raises(ValueError, match="POST /_control/faults"):
        org.control("POST", "fautls", {})
    with pytest.raises(ValueError, match=r"unknown (option|keys)"):
        org.control("POST", "options", {"gzzip": True})


# Single queries


def test_a_query_fault_hits_one_object_inside_a_composite_call(
    org: launch.RunningOrg, api: Api
) -> None:
    fault = org.arm("query_error", object="Lead", status=400, code="INVALID_FIELD", message="no")
    parts = [
        {
            "method": "GET",
            "url": f"/services/data/v62.0/query/?q=SELECT+Id+FROM+{name}+LIMIT+1",
            "referenceId": name,
        }
        for name in ("Lead", "Contact")
    ]

    answer = api.post("composite", {"compositeRequest": parts}).json()

    statuses = {a["referenceId"]: a["httpStatusCode"] for a in answer["compositeResponse"]}
    assert statuses == {"Lead": 400, "Contact": 200}
    assert org.fault_count(fault) == 1
    assert api.get("query?q=SELECT+Id+FROM+Lead+LIMIT+1").status_code == 200


def test_a_slow_query_waits_and_is_answered(org: launch.RunningOrg, api: Api) -> None:
    fault = org.arm("query_slow", object="Lead", seconds=0.05)

    assert api.get("query?q=SELECT+Id+FROM+Lead+LIMIT+1").status_code == 200
    assert org.fault_count(fault) == 1


# Whole requests


def test_a_503_is_html_and_costs_nothing(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")
    org.arm("http_503")

    answer = api.get("limits")

    assert answer.status_code == 503
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<html>" in answer.text
    assert org.calls()["used_24h"] == 0


def test_a_503_can_be_json(org: launch.RunningOrg, api: Api) -> None:
    org.arm("http_503", html=False)

    assert error(api.get("limits"))["errorCode"] == "SERVER_UNAVAILABLE"


def test_a_500_is_an_unknown_exception(org: launch.RunningOrg, api: Api) -> None:
    org.arm("http_500")

    answer = api.get("limits")

    assert (answer.status_code, error(answer)["errorCode"]) == (500, "UNKNOWN_EXCEPTION")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("daily", "TotalRequests Limit exceeded."),
        ("concurrent", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
    ],
)
def test_both_limits_are_a_403_of_one_code(
    org: launch.RunningOrg, api: Api, limit: str, message: str
) -> None:
    org.arm("http_403_limit", limit=limit)

    answer = api.get("limits")

    assert answer.status_code == 403
    assert error(answer) == {"message": message, "errorCode": "REQUEST_LIMIT_EXCEEDED"}
    assert "Retry-After" not in answer.headers


def test_a_connection_dropped_before_the_work_leaves_the_record_alone(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    fault = org.arm("drop_before", method="PATCH")

    with pytest.raises(requests.ConnectionError):
        api.patch(f"sobjects/Lead/{lead_ids[0]}", {"Score__c": 9})

    assert scores(org, lead_ids[:1]) == {lead_ids[0]: None}
    assert org.fault_count(fault) == 1


def test_a_connection_dropped_after_the_work_leaves_it_done(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    fault = org.arm("drop_after", method="PATCH")

    with pytest.raises(requests.ConnectionError):
        api.patch(f"sobjects/Lead/{lead_ids[0]}", {"Score__c": 9})

    assert scores(org, lead_ids[:1]) == {lead_ids[0]: 9.0}
    assert org.fault_count(fault) == 1


def test_a_job_whose_create_reply_was_lost_stands_open(org: launch.RunningOrg, api: Api) -> None:
    before = {job["id"] for job in api.get("jobs/ingest").json()["records"]}
    org.arm("drop_after", method="POST", path="/jobs/ingest$")

    with pytest.raises(requests.ConnectionError):
        api.open_ingest()

    (lost,) = [j for j in api.get("jobs/ingest").json()["records"] if j["id"] not in before]
    assert lost["state"] == "Open"


def test_a_truncated_answer_promises_more_than_it_holds(org: launch.RunningOrg, api: Api) -> None:
    fault = org.arm("truncate", path="/sobjects/Lead/describe", bytes=1000)
    parts = urlsplit(org.base_url)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as wire:
        wire.sendall(
            b"GET /services/data/v62.0/sobjects/Lead/describe HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer " + api.access_token.encode() + b"\r\n\r\n"
        )
        received = b""
        while block := wire.recv(65536):
            received += block
    head, _, body = received.partition(b"\r\n\r\n")
    promised = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )

    assert len(body) == 1000
    assert promised > 1000
    assert org.fault_count(fault) == 1


def test_a_truncated_results_page_is_seen_by_the_client(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    job = api.bulk_query("SELECT Id, LastName FROM Lead")
    org.arm("truncate", path="/results")

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        api.get(f"jobs/query/{job['id']}/results")

    assert api.get(f"jobs/query/{job['id']}/results").status_code == 200


def test_a_slow_answer_comes_late(org: launch.RunningOrg, api: Api) -> None:
    fault = org.arm("slow", seconds=0.4)
    started = time.monotonic()

    assert api.get("limits").status_code == 200

    assert time.monotonic() - started >= 0.4
    assert org.fault_count(fault) == 1


def test_a_trickling_answer_comes_in_pieces(org: launch.RunningOrg, api: Api) -> None:
    size = len(api.get("limits", headers={"Accept-Encoding": "identity"}).content)
    org.arm("slow", chunk_bytes=size // 4, chunk_seconds=0.1)
    started = time.monotonic()

    answer = api.get("limits")

    assert "DailyApiRequests" in answer.json()
    assert time.monotonic() - started >= 0.4


def test_a_session_can_expire_in_the_middle(org: launch.RunningOrg, api: Api) -> None:
    job = api.bulk_query("SELECT Id FROM Lead LIMIT 1")
    org.arm("expire_session", path="/results")

    answer = api.get(f"jobs/query/{job['id']}/results")

    assert error(answer)["errorCode"] == "INVALID_SESSION_ID"
    assert api.get("limits").status_code == 401
    again = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
    assert again.get(f"jobs/query/{job['id']}/results").status_code == 200


def test_all_sessions_can_be_expired_at_once(org: launch.RunningOrg, api: Api) -> None:
    assert org.control("DELETE", "sessions")["expired"] >= 1

    assert api.get("limits").status_code == 401


def test_locators_can_expire(org: launch.RunningOrg, api: Api) -> None:
    org.load("Lead", [{"LastName": "L", "Company": str(n)} for n in range(300)])
    headers = {"Sforce-Query-Options": "batchSize=200"}
    first = api.get("query", params={"q": "SELECT Id FROM Lead"}, headers=headers).json()
    fault = org.arm("expire_locator")

    answer = api.session.get(api.base + first["nextRecordsUrl"], timeout=30)

    assert error(answer)["errorCode"] == "INVALID_QUERY_LOCATOR"
    assert org.fault_count(fault) == 1


def test_a_request_body_cut_off_on_the_way_does_no_harm(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    job = api.open_ingest()
    parts = urlsplit(org.base_url)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as wire:
        request = (
            f"PUT /{job['contentUrl']} HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            f"Authorization: Bearer {api.access_token}\r\nContent-Length: 1000\r\n\r\n"
            "Id,Score__c\n"
        )
        wire.sendall(request.encode())

    assert api.upload(job, upload_text(lead_ids)).status_code == 201
    assert api.close(job).status_code == 200
    assert api.wait(job)["numberRecordsFailed"] == 0


def test_a_gzipped_request_body_is_read(api: Api, lead_ids: list[str]) -> None:
    job = api.open_ingest()

    answer = api.session.put(
        f"{api.base}/{job['contentUrl']}",
        data=gzip.compress(upload_text(lead_ids).encode()),
        headers={"Content-Type": "text/csv", "Content-Encoding": "gzip"},
        timeout=30,
    )

    assert answer.status_code == 201
    api.close(job)
    assert api.wait(job)["numberRecordsProcessed"] == 10


# Rows


def test_locked_rows_fail_as_often_as_asked_and_then_succeed(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    fault = org.arm("lock_rows", ids=lead_ids[:2], count=2)

    failed = [api.ingest(upload_text(lead_ids))["numberRecordsFailed"] for _ in range(3)]

    assert failed == [2, 2, 0]
    assert org.fault_count(fault) == 4


def test_a_locked_row_has_salesforces_words(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.arm("lock_rows", ids=[lead_ids[0][:15]], count=None, blocker="001xx")

    job = api.ingest(upload_text(lead_ids))
    patched = api.patch(f"sobjects/Lead/{lead_ids[0]}", {"Score__c": 1})
    body = {"records": [{"attributes": {"type": "Lead"}, "id": lead_ids[0], "Score__c": 1}]}
    collected = api.patch("composite/sobjects", body).json()

    (row,) = api.results(job, "failedResults")
    assert row["sf__Error"] == (
        "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 1 records: 001xx:--"
    )
    assert error(patched)["errorCode"] == "UNABLE_TO_LOCK_ROW"
    assert collected[0]["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"


def test_a_share_of_rows_can_be_locked_the_same_ones_each_time(
    org: launch.RunningOrg, api: Api
) -> None:
    ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(500)])
    org.arm("lock_rows", share=0.2, seed=7, count=None)

    first, second = (
        {row["Id"] for row in api.results(api.ingest(upload_text(ids)), "failedResults")}
        for _ in range(2)
    )

    assert first == second
    assert 50 < len(first) < 150


def test_any_row_error_can_be_given_to_some_rows(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.arm(
        "row_error",
        ids=lead_ids[:1],
        code="CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        message="MyTrigger: execution of BeforeUpdate",
        fields=["Score__c"],
    )

    job = api.ingest(upload_text(lead_ids))

    (row,) = api.results(job, "failedResults")
    assert row["sf__Error"] == (
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY:MyTrigger: execution of BeforeUpdate:Score__c --"
    )


# Jobs


def test_a_failing_job_keeps_its_committed_rows_and_lists_the_rest(
    org: launch.RunningOrg, api: Api
) -> None:
    ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(500)])
    fault = org.arm("job_fail", object="Lead", message="InternalServerError : boom", after_rows=250)

    job = api.ingest(upload_text(ids, 8))

    done = {row["Id"] for row in api.results(job, "successfulResults")}
    left = {row["Id"] for row in api.results(job, "unprocessedrecords")}
    assert (job["state"], job["errorMessage"]) == ("Failed", "InternalServerError : boom")
    assert (done, left) == (set(ids[:250]), set(ids[250:]))
    assert job["numberRecordsProcessed"] == 250
    assert {one for one, score in scores(org, ids).items() if score == 8} == done
    assert org.fault_count(fault) == 1
    assert api.ingest(upload_text(ids))["state"] == "JobComplete"


@pytest.mark.parametrize("state", ["Failed", "Aborted"])
def test_rows_can_be_left_unprocessed(
    org: launch.RunningOrg, api: Api, lead_ids: list[str], state: str
) -> None:
    org.arm("unprocessed_rows", after_rows=4, state=state)

    job = api.ingest(upload_text(lead_ids))

    assert job["state"] == state
    assert len(api.results(job, "successfulResults")) == 4
    assert [row["Id"] for row in api.results(job, "unprocessedrecords")] == lead_ids[4:]


def test_a_stuck_job_stays_in_progress_until_it_is_let_go(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    fault = org.arm("job_stuck", after_rows=3)
    job = api.open_ingest()
    api.upload(job, upload_text(lead_ids, 6))
    api.close(job)
    while not org.fault_count(fault):
        time.sleep(0.02)
    time.sleep(0.3)

    stuck = api.get(f"jobs/ingest/{job['id']}").json()
    other = api.ingest(upload_text(lead_ids[5:]))
    org.clear_faults()

    assert (stuck["state"], stuck["numberRecordsProcessed"]) == ("InProgress", 3)
    assert other["state"] == "JobComplete"
    assert api.wait(job)["numberRecordsProcessed"] == 10
    assert set(scores(org, lead_ids).values()) == {6.0}


def test_a_stuck_job_can_be_aborted(org: launch.RunningOrg, api: Api, lead_ids: list[str]) -> None:
    org.arm("job_stuck")
    job = api.open_ingest()
    api.upload(job, upload_text(lead_ids))
    api.close(job)

    assert api.patch(f"jobs/ingest/{job['id']}", {"state": "Aborted"}).status_code == 200

    assert len(api.results(job, "unprocessedrecords")) == 10


def test_query_jobs_fail_and_get_stuck_too(org: launch.RunningOrg, api: Api) -> None:
    org.arm("job_fail", operation="query", message="QUERY_TIMEOUT")
    failed = api.bulk_query("SELECT Id FROM Lead")
    org.arm("job_stuck", operation="query")
    stuck = api.post("jobs/query", {"operation": "query", "query": "SELECT Id FROM Lead"}).json()
    time.sleep(0.2)

    state = api.get(f"jobs/query/{stuck['id']}").json()["state"]
    org.clear_faults()

    assert (failed["state"], failed["errorMessage"]) == ("Failed", "QUERY_TIMEOUT")
    assert api.get(f"jobs/query/{failed['id']}/results").status_code == 400
    assert state == "InProgress"
    assert api.wait(stuck, "query")["state"] == "JobComplete"


# What saves can be made to do


def test_a_late_commit_shows_up_later_with_its_earlier_stamp(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.control("POST", "clock", {"frozen": True})
    org.control("POST", "hold-saves", {"seconds": 120, "object": "Lead"})
    soql = f"SELECT Score__c, SystemModstamp FROM Lead WHERE Id = '{lead_ids[0]}'"
    saved_at = org.control("GET", "clock")["now"]
    assert api.patch(f"sobjects/Lead/{lead_ids[0]}", {"Score__c": 5}).status_code == 204
    assert api.query(soql)["records"][0]["Score__c"] is None

    org.control("POST", "clock", {"advance_seconds": 121})

    record = api.query(soql)["records"][0]
    assert record["Score__c"] == 5.0
    assert record["SystemModstamp"][:19] == saved_at[:19]


def test_a_validation_rule_rejects_rows_with_its_own_text(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.control(
        "POST",
        "validation-rules",
        {"object": "Lead", "name": "NoNine", "condition": "Score__c = 9", "message": "no nines"},
    )

    job = api.ingest(csv_text(["Id", "Score__c"], [[lead_ids[0], 9], [lead_ids[1], 8]]))
    org.control("DELETE", "validation-rules/Lead/NoNine")

    (row,) = api.results(job, "failedResults")
    assert row["sf__Error"].startswith("FIELD_CUSTOM_VALIDATION_EXCEPTION:no nines")
    assert api.ingest(upload_text(lead_ids[:1], 9))["numberRecordsFailed"] == 0


def test_a_trigger_can_fail_a_whole_chunk(org: launch.RunningOrg, api: Api) -> None:
    ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(300)])
    org.control("POST", "fail-chunks", {"object": "Lead", "message": "MyTrigger: boom"})

    job = api.ingest(upload_text(ids))

    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (300, 200)
    assert api.results(job, "failedResults")[0]["sf__Error"].startswith(
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY:MyTrigger: boom"
    )


def test_a_flow_can_rewrite_a_field_at_every_save(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.control(
        "POST",
        "flows",
        {"object": "Lead", "name": "Shout", "field": "Company", "expression": "upper"},
    )
    api.ingest(upload_text(lead_ids[:1]))
    org.control("DELETE", "flows/Lead/Shout")

    assert api.get(f"sobjects/Lead/{lead_ids[0]}").json()["Company"] == "FIRM 0"


def test_a_lead_can_be_converted_between_pull_and_push(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    made = org.control("POST", "convert-lead", {"lead_id": lead_ids[0]})

    job = api.ingest(upload_text(lead_ids[:2]))

    (row,) = api.results(job, "failedResults")
    assert row["sf__Error"].startswith("CANNOT_UPDATE_CONVERTED_LEAD:")
    assert str(next(v for k, v in made.items() if "ontact" in k)).startswith("003")


def test_contacts_can_be_merged(org: launch.RunningOrg, api: Api) -> None:
    master, loser = org.load("Contact", [{"LastName": "Kept"}, {"LastName": "Lost"}])
    org.control("POST", "merge", {"object": "Contact", "master_id": master, "loser_ids": [loser]})

    job = api.ingest(upload_text([loser]), object_name="Contact")

    (row,) = api.results(job, "failedResults")
    assert row["sf__Error"].startswith("ENTITY_IS_DELETED:")
    soql = f"SELECT MasterRecordId FROM Contact WHERE Id = '{loser}'"
    assert org.query(soql)[0]["MasterRecordId"] == master


def test_a_record_can_be_made_read_only(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.control("POST", "read-only", {"ids": lead_ids[:1]})

    job = api.ingest(upload_text(lead_ids[:2]))
    patched = api.patch(f"sobjects/Lead/{lead_ids[0]}", {"Score__c": 1})
    org.control("POST", "read-only", {"ids": lead_ids[:1], "on": False})

    assert job["numberRecordsFailed"] == 1
    assert patched.status_code == 403
