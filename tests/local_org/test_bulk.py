"""Bulk API 2.0 over HTTP: jobs, their states, their results and their refusals (API notes, 3)."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from local_org import launch
from tests.local_org.support import Api, csv_text, error, rows

pytestmark = pytest.mark.slow

ABSENT_ID = "00Q5e000zzzzzzzEAA"


# Query jobs


def test_a_query_job_is_created_with_200_and_upload_complete(api: Api) -> None:
    body = api.post("jobs/query", {"operation": "query", "query": "SELECT Id FROM Lead"}).json()

    assert body["id"].startswith("750")
    assert len(body["id"]) == 18
    assert body["state"] == "UploadComplete"
    assert body["apiVersion"] == 62.0
    assert body["object"] == "Lead"
    assert body["createdDate"].endswith("+0000")
    assert (body["lineEnding"], body["columnDelimiter"]) == ("LF", "COMMA")


def test_a_finished_query_job_shows_its_counts(api: Api, lead_ids: list[str]) -> None:
    job = api.bulk_query(f"SELECT Id FROM Lead WHERE Id = '{lead_ids[0]}'")

    assert job["state"] == "JobComplete"
    assert job["jobType"] == "V2Query"
    assert job["numberRecordsProcessed"] == 1
    assert job["totalProcessingTime"] >= 0


def pages(api: Api, job: Any, max_records: int) -> list[requests.Response]:
    """Read all pages of a query job's results by their locators."""
    read = []
    params: dict[str, str] = {"maxRecords": str(max_records)}
    while True:
        answer = api.get(f"jobs/query/{job['id']}/results", params=params)
        assert answer.status_code == 200, answer.text
        read.append(answer)
        locator = answer.headers["Sforce-Locator"]
        if locator == "null":
            return read
        params["locator"] = locator


def in_list(ids: list[str]) -> str:
    """Write ids as a SOQL list."""
    return ",".join(f"'{one}'" for one in ids)


def test_pages_by_locator_hold_every_row_once(api: Api, lead_ids: list[str]) -> None:
    job = api.bulk_query(f"SELECT Id, LastName FROM Lead WHERE Id IN ({in_list(lead_ids)})")

    read = pages(api, job, 4)

    assert [int(page.headers["Sforce-NumberOfRecords"]) for page in read] == [4, 4, 2]
    assert sorted(row["Id"] for page in read for row in rows(page.content)) == sorted(lead_ids)
    assert all(page.text.startswith('"Id","LastName"\n') for page in read)


def test_later_pages_can_come_without_a_header(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.set_options(bulk_header_every_page=False)
    job = api.bulk_query(f"SELECT Id FROM Lead WHERE Id IN ({in_list(lead_ids)})")

    first, second = pages(api, job, 5)

    assert first.text.startswith('"Id"\n')
    assert second.text.startswith('"00Q')


def test_a_page_can_be_read_again_with_its_locator(api: Api, lead_ids: list[str]) -> None:
    job = api.bulk_query(f"SELECT Id FROM Lead WHERE Id IN ({in_list(lead_ids)})")
    _, second = pages(api, job, 5)

    again = api.session.get(second.url, timeout=30)

    assert again.content == second.content


def test_a_locator_that_was_never_given_is_refused(api: Api, lead_ids: list[str]) -> None:
    job = api.bulk_query("SELECT Id FROM Lead")

    answer = api.get(f"jobs/query/{job['id']}/results", params={"locator": "5-computed"})

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_results_must_be_read_with_the_jobs_own_version(api: Api) -> None:
    job = api.bulk_query("SELECT Id FROM Lead LIMIT 1")

    answer = api.session.get(
        f"{api.base}/services/data/v61.0/jobs/query/{job['id']}/results", timeout=30
    )

    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("form", "status", "body"),
    [("header", 200, '"Id"\n'), ("empty", 200, ""), ("no_content", 204, "")],
)
def test_a_query_without_rows_answers_in_the_form_that_is_set(
    org: launch.RunningOrg, api: Api, form: str, status: int, body: str
) -> None:
    org.set_options(bulk_zero_rows=form)
    job = api.bulk_query("SELECT Id FROM Lead WHERE LastName = 'nobody has this name'")

    answer = api.get(f"jobs/query/{job['id']}/results")

    assert (answer.status_code, answer.text) == (status, body)
    assert answer.headers["Sforce-NumberOfRecords"] == "0"
    assert answer.headers["Sforce-Locator"] == "null"


def test_result_pages_give_up_to_five_urls_at_once(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.set_options(bulk_page_rows=1)
    job = api.bulk_query(f"SELECT Id FROM Lead WHERE Id IN ({in_list(lead_ids)})")
    found: list[str] = []
    path: str | None = f"/services/data/v62.0/jobs/query/{job['id']}/resultPages"
    sizes = []
    while path:
        body = api.session.get(api.base + path, timeout=30).json()
        sizes.append(len(body["resultPages"]))
        for page in body["resultPages"]:
            answer = api.session.get(api.base + page["resultUrl"], timeout=30)
            found += [row["Id"] for row in rows(answer.content)]
        path = None if body["done"] else body["nextRecordsUrl"]

    assert sizes == [5, 5]
    assert sorted(found) == sorted(lead_ids)


def test_bulk_csv_writes_values_in_bulk_form(org: launch.RunningOrg, api: Api) -> None:
    lead = org.load(
        "Lead",
        [
            {
                "LastName": 'A "quoted", name',
                "Company": "X\nY",
                "Score__c": 87,
                "Hot__c": True,
                "Scored__c": "2026-01-02T03:04:05Z",
            }
        ],
    )[0]
    job = api.bulk_query(
        "SELECT Id, LastName, Company, Email, Score__c, Hot__c, Scored__c FROM Lead "
        f"WHERE Id = '{lead}'"
    )

    text = api.get(f"jobs/query/{job['id']}/results").content.decode()

    assert text == (
        '"Id","LastName","Company","Email","Score__c","Hot__c","Scored__c"\n'
        f'"{lead}","A ""quoted"", name","X\nY","","87.0","true","2026-01-02T03:04:05.000Z"\n'
    )


def test_parent_fields_are_flat_columns_and_empty_without_a_parent(
    org: launch.RunningOrg, api: Api
) -> None:
    account = org.load("Account", [{"Name": "Acme"}])[0]
    ids = org.load(
        "Contact",
        [{"LastName": "With", "AccountId": account}, {"LastName": "Without", "AccountId": None}],
    )
    job = api.bulk_query(f"SELECT Id, Account.Name FROM Contact WHERE Id IN ({in_list(ids)})")

    read = rows(api.get(f"jobs/query/{job['id']}/results").content)

    assert {row["Id"]: row["Account.Name"] for row in read} == {ids[0]: "Acme", ids[1]: ""}


def test_delimiter_and_line_ending_are_the_jobs(api: Api, lead_ids: list[str]) -> None:
    job = api.bulk_query(
        f"SELECT Id, LastName FROM Lead WHERE Id = '{lead_ids[0]}'",
        columnDelimiter="PIPE",
        lineEnding="CRLF",
    )

    content = api.get(f"jobs/query/{job['id']}/results").content.decode()

    assert content == f'"Id"|"LastName"\r\n"{lead_ids[0]}"|"Person 0"\r\n'


@pytest.mark.parametrize(
    "soql",
    [
        "SELECT COUNT() FROM Lead",
        "SELECT COUNT(Id) FROM Lead",
        "SELECT Id FROM Lead LIMIT 5 OFFSET 5",
        "SELECT Address FROM Lead",
        "SELECT Nope__c FROM Lead",
        "SELECT Id FROM Nope__c",
        "SELECT Status FROM Lead GROUP BY Status",
        "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
        "SELECT Id FROM",
    ],
)
def test_what_bulk_cannot_select_is_a_400_and_makes_no_job(
    org: launch.RunningOrg, api: Api, soql: str
) -> None:
    before = len(org.control("GET", "jobs"))

    answer = api.post("jobs/query", {"operation": "query", "query": soql})

    assert answer.status_code == 400
    assert error(answer)["errorCode"]
    assert len(org.control("GET", "jobs")) == before


def test_query_all_brings_deleted_rows(org: launch.RunningOrg, api: Api, admin: Api) -> None:
    lead = org.load("Lead", [{"LastName": "Gone", "Company": "X"}])[0]
    assert admin.call("DELETE", f"sobjects/Lead/{lead}").status_code == 204
    soql = f"SELECT Id, IsDeleted FROM Lead WHERE Id = '{lead}'"

    plain = api.bulk_query(soql)
    everything = api.bulk_query(soql, operation="queryAll")

    assert plain["numberRecordsProcessed"] == 0
    read = rows(api.get(f"jobs/query/{everything['id']}/results").content)
    assert read == [{"Id": lead, "IsDeleted": "true"}]


def test_unknown_keys_of_a_job_are_refused(api: Api) -> None:
    query = api.post("jobs/query", {"operation": "query", "query": "SELECT Id FROM Lead", "x": 1})
    ingest = api.post("jobs/ingest", {"object": "Lead", "operation": "update", "lineEndings": "LF"})

    assert query.status_code == ingest.status_code == 400
    assert error(query)["errorCode"] == error(ingest)["errorCode"] == "JSON_PARSER_ERROR"


def test_the_daily_query_jobs_have_a_limit(org: launch.RunningOrg, api: Api) -> None:
    org.set_options(query_jobs_max=0)

    answer = api.post("jobs/query", {"operation": "query", "query": "SELECT Id FROM Lead"})

    assert answer.status_code == 400
    assert "Max bulk v2 query jobs (0) per 24 hrs" in error(answer)["message"]


# Ingest jobs


def test_a_new_ingest_job_is_open_and_says_where_its_data_goes(api: Api) -> None:
    job = api.open_ingest()

    assert job["state"] == "Open"
    assert job["contentUrl"] == f"services/data/v62.0/jobs/ingest/{job['id']}/batches"
    assert "jobType" not in job


def test_an_update_writes_values_clears_na_and_leaves_empty_cells_alone(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    first, second = lead_ids[:2]
    api.ingest(csv_text(["Id", "Score__c", "Rank__c"], [[first, 10, "A"], [second, 20, "B"]]))

    job = api.ingest(
        csv_text(["Id", "Score__c", "Rank__c"], [[first, 99, ""], [second, "#N/A", "C"]])
    )

    assert job["state"] == "JobComplete"
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (2, 0)
    found = org.query(
        f"SELECT Id, Score__c, Rank__c FROM Lead WHERE Id IN ({in_list([first, second])})"
    )
    assert {row["Id"]: (row["Score__c"], row["Rank__c"]) for row in found} == {
        first: (99.0, "A"),
        second: (None, "C"),
    }


def test_failed_rows_do_not_stop_the_others_and_carry_code_and_message(
    api: Api, lead_ids: list[str]
) -> None:
    good, long_rank, big = lead_ids[:3]
    text = csv_text(
        ["Id", "Score__c", "Rank__c"],
        [[good, 5, "A"], [long_rank, 5, "AB"], [big, 1000, "A"], [ABSENT_ID, 5, "A"]],
    )

    job = api.ingest(text)

    assert job["state"] == "JobComplete"
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (4, 3)
    succeeded = api.results(job, "successfulResults")
    assert succeeded == [
        {"sf__Id": good, "sf__Created": "false", "Id": good, "Score__c": "5", "Rank__c": "A"}
    ]
    failed = {row["Id"]: row for row in api.results(job, "failedResults")}
    assert failed[long_rank]["sf__Error"].startswith("STRING_TOO_LONG:")
    assert failed[long_rank]["sf__Error"].endswith(":Rank__c --")
    assert failed[big]["sf__Error"].startswith("NUMBER_OUTSIDE_VALID_RANGE:")
    assert failed[big]["sf__Id"] == big
    assert failed[ABSENT_ID]["sf__Error"].startswith("INVALID_CROSS_REFERENCE_KEY:")
    assert api.results(job, "unprocessedrecords") == []


def test_results_come_in_another_order_than_was_sent(org: launch.RunningOrg, api: Api) -> None:
    ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(300)])

    job = api.ingest(csv_text(["Id", "Score__c"], [[one, 1] for one in ids]))

    returned = [row["Id"] for row in api.results(job, "successfulResults")]
    assert returned != ids
    assert sorted(returned) == sorted(ids)


def test_insert_gives_ids_and_says_created(org: launch.RunningOrg, api: Api) -> None:
    job = api.ingest('LastName,Company\nNew,"Comma, Inc"\n', operation="insert")

    (row,) = api.results(job, "successfulResults")
    assert row["sf__Created"] == "true"
    assert org.query(f"SELECT Company FROM Lead WHERE Id = '{row['sf__Id']}'")[0]["Company"] == (
        "Comma, Inc"
    )


def test_upsert_by_external_id_creates_and_changes(api: Api) -> None:
    text = "ExtKey__c,LastName,Company\nbulk-1,One,X\n"
    more = {"operation": "upsert", "externalIdFieldName": "ExtKey__c"}

    first = api.ingest(text, **more)
    second = api.ingest(text.replace("One", "Two"), **more)

    (created,) = api.results(first, "successfulResults")
    (changed,) = api.results(second, "successfulResults")
    assert (created["sf__Created"], changed["sf__Created"]) == ("true", "false")
    assert created["sf__Id"] == changed["sf__Id"]


def test_upsert_needs_an_external_id_field(api: Api) -> None:
    answer = api.post("jobs/ingest", {"object": "Lead", "operation": "upsert"})

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == "INVALIDJOB"


def test_delete_takes_ids_only(admin: Api, lead_ids: list[str]) -> None:
    wrong = admin.ingest(csv_text(["Id", "LastName"], [[lead_ids[0], "x"]]), operation="delete")
    right = admin.ingest(csv_text(["Id"], [[lead_ids[0]]]), operation="delete")

    assert wrong["state"] == "Failed"
    assert wrong["errorMessage"] == "InvalidBatch : The 'delete' batch must contain only ids"
    assert right["numberRecordsProcessed"] == 1
    assert right["numberRecordsFailed"] == 0


def test_an_unknown_column_fails_the_whole_job_and_leaves_its_rows_unprocessed(
    api: Api, lead_ids: list[str]
) -> None:
    job = api.ingest(csv_text(["Id", "Nope__c"], [[lead_ids[0], 1]]))

    assert job["state"] == "Failed"
    assert job["errorMessage"] == "InvalidBatch : Field name not found : Nope__c"
    assert job["numberRecordsProcessed"] == 0
    assert api.results(job, "unprocessedrecords") == [{"Id": lead_ids[0], "Nope__c": "1"}]
    assert api.results(job, "successfulResults") == []


def test_a_field_hidden_from_the_user_fails_the_job_like_an_unknown_one(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.control("POST", "permissions", {"object": "Lead", "field": "Rank__c", "read": False})

    job = api.ingest(csv_text(["Id", "Rank__c"], [[lead_ids[0], "A"]]))
    org.control("POST", "permissions", {"object": "Lead", "field": "Rank__c", "clear": True})

    assert job["errorMessage"] == "InvalidBatch : Field name not found : Rank__c"


def test_a_file_with_other_line_ends_than_the_jobs_fails_it(api: Api, lead_ids: list[str]) -> None:
    crlf = f"Id,Score__c\r\n{lead_ids[0]},1\r\n"

    wrong = api.ingest(crlf)
    right = api.ingest(crlf, lineEnding="CRLF")

    assert wrong["state"] == "Failed"
    assert wrong["errorMessage"] == (
        "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF"
    )
    assert right["numberRecordsFailed"] == 0
    assert api.get(f"jobs/ingest/{right['id']}/successfulResults").content.endswith(b'"1"\r\n')


def test_newlines_in_cells_pass_the_check_of_line_ends_unless_switched(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    text = f'Id,Description\n{lead_ids[0]},"a\r\nb"\n'

    passed = api.ingest(text)
    org.set_options(check_newlines_in_cells=True)
    failed = api.ingest(text)

    assert passed["numberRecordsFailed"] == 0
    assert failed["state"] == "Failed"


def test_other_delimiters_are_read_and_used_in_the_results(api: Api, lead_ids: list[str]) -> None:
    job = api.ingest(f"Id|Score__c\n{lead_ids[0]}|7\n", columnDelimiter="PIPE")

    content = api.get(f"jobs/ingest/{job['id']}/successfulResults").content
    (row,) = rows(content, "|")
    assert row["Score__c"] == "7"


def test_multi_line_and_foreign_text_survives_upload_and_results(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    text = 'José "J" 日本 😀\u2028 line\nsecond'
    job = api.ingest(csv_text(["Id", "Description"], [[lead_ids[0], text]]))

    (row,) = api.results(job, "successfulResults")
    stored = org.query(f"SELECT Description FROM Lead WHERE Id = '{lead_ids[0]}'")[0]
    assert row["Description"] == text
    assert stored["Description"] == text


def test_a_second_upload_is_taken_and_then_closing_fails(api: Api, lead_ids: list[str]) -> None:
    job = api.open_ingest()
    text = csv_text(["Id", "Score__c"], [[lead_ids[0], 1]])
    assert api.upload(job, text).status_code == 201
    assert api.upload(job, text).status_code == 201

    answer = api.close(job)

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == "INVALIDJOB"
    assert error(answer)["message"].startswith(f"Found multipe contents for job: <{job['id']}>")


def test_data_after_closing_is_refused(api: Api, lead_ids: list[str]) -> None:
    text = csv_text(["Id", "Score__c"], [[lead_ids[0], 1]])
    job = api.open_ingest()
    api.upload(job, text)
    api.close(job)

    assert error(api.upload(job, text))["errorCode"] == "INVALIDJOBSTATE"
    assert error(api.close(job))["errorCode"] == "INVALIDJOBSTATE"


def test_an_upload_past_the_limit_is_refused(org: launch.RunningOrg, api: Api) -> None:
    org.set_options(upload_bytes_max=100)

    answer = api.upload(api.open_ingest(), "Id\n" + "x" * 100)

    assert answer.status_code == 413


def test_the_daily_batches_have_a_limit(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.set_options(batches_max=0)
    job = api.open_ingest()
    api.upload(job, csv_text(["Id", "Score__c"], [[lead_ids[0], 1]]))

    answer = api.close(job)

    assert error(answer)["errorCode"] == "EXCEEDEDQUOTA"


def test_one_multipart_request_creates_fills_and_closes_a_job(
    api: Api, lead_ids: list[str]
) -> None:
    description = '{"object":"Lead","contentType":"CSV","operation":"update","lineEnding":"LF"}'
    text = csv_text(["Id", "Score__c"], [[lead_ids[0], 55]])

    answer = api.call(
        "POST",
        "jobs/ingest",
        files={
            "job": (None, description, "application/json"),
            "content": ("content", text, "text/csv"),
        },
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "UploadComplete"
    assert api.wait(answer.json())["numberRecordsProcessed"] == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"object": "Lead", "operation": "merge"}, "INVALIDJOB"),
        ({"object": "Nope__c", "operation": "update"}, "INVALIDENTITY"),
        ({"object": "Lead", "operation": "update", "contentType": "JSON"}, "INVALIDJOB"),
        ({"object": "Lead", "operation": "update", "columnDelimiter": "DOT"}, "INVALIDJOB"),
        ({"operation": "update"}, "INVALIDJOB"),
        ({"object": "Lead", "operation": "hardDelete"}, "FEATURENOTENABLED"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(api: Api, body: dict[str, str], code: str) -> None:
    answer = api.post("jobs/ingest", body)

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == code


def test_closing_without_data_is_refused(api: Api) -> None:
    assert error(api.close(api.open_ingest()))["errorCode"] == "INVALIDJOB"


def test_an_aborted_job_keeps_its_committed_rows_and_lists_the_rest(
    org: launch.RunningOrg, api: Api
) -> None:
    org.set_options(job_chunk_seconds=0.3)
    ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(1000)])
    job = api.open_ingest()
    api.upload(job, csv_text(["Id", "Score__c"], [[one, 3] for one in ids]))
    api.close(job)
    while api.get(f"jobs/ingest/{job['id']}").json().get("numberRecordsProcessed", 0) == 0:
        time.sleep(0.02)

    answer = api.patch(f"jobs/ingest/{job['id']}", {"state": "Aborted"})

    assert answer.json()["state"] == "Aborted"
    done = [row["Id"] for row in api.results(job, "successfulResults")]
    left = [row["Id"] for row in api.results(job, "unprocessedrecords")]
    written = org.query(f"SELECT Id FROM Lead WHERE Score__c = 3 AND Id IN ({in_list(ids)})")
    assert 0 < len(done) < 1000
    assert sorted(done + left) == sorted(ids)
    assert sorted(row["Id"] for row in written) == sorted(done)


def test_a_queued_job_waits_as_upload_complete(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.set_options(job_queue_seconds=0.5)
    job = api.open_ingest()
    api.upload(job, csv_text(["Id", "Score__c"], [[lead_ids[0], 1]]))
    api.close(job)

    assert api.get(f"jobs/ingest/{job['id']}").json()["state"] == "UploadComplete"
    assert api.wait(job)["state"] == "JobComplete"


def test_results_of_a_job_that_is_not_done_are_refused(api: Api) -> None:
    answer = api.get(f"jobs/ingest/{api.open_ingest()['id']}/successfulResults")

    assert answer.status_code == 400


def test_a_deleted_job_is_gone_and_an_open_one_cannot_be_deleted(
    api: Api, lead_ids: list[str]
) -> None:
    done = api.ingest(csv_text(["Id", "Score__c"], [[lead_ids[0], 1]]))
    still_open = api.open_ingest()

    deleted = api.call("DELETE", f"jobs/ingest/{done['id']}")
    refused = api.call("DELETE", f"jobs/ingest/{still_open['id']}")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert api.get(f"jobs/ingest/{done['id']}").status_code == 404
    assert error(refused)["errorCode"] == "INVALIDJOBSTATE"


def test_job_lists_are_paged_and_filtered(org: launch.RunningOrg, api: Api) -> None:
    org.set_options(list_page_jobs=2)
    made = {api.open_ingest()["id"] for _ in range(3)}

    found: set[str] = set()
    path: str | None = "/services/data/v62.0/jobs/ingest?jobType=V2Ingest"
    while path:
        body = api.session.get(api.base + path, timeout=30).json()
        assert len(body["records"]) <= 2
        found |= {job["id"] for job in body["records"]}
        path = body["nextRecordsUrl"]

    assert made <= found
    assert body["done"] is True
    assert api.get("jobs/ingest", params={"jobType": "Classic"}).json()["records"] == []
    assert api.get("jobs/ingest", params={"object": "Lead"}).status_code == 400


def test_other_users_jobs_are_seen_by_the_admin_alone(
    org: launch.RunningOrg, api: Api, admin: Api
) -> None:
    mine, theirs = api.open_ingest()["id"], admin.open_ingest()["id"]

    assert admin.get(f"jobs/ingest/{mine}").status_code == 200
    assert api.get(f"jobs/ingest/{theirs}").status_code == 403
    listed = {job["id"] for job in api.get("jobs/ingest").json()["records"]}
    assert theirs not in listed


def test_result_names_are_matched_in_any_case_with_or_without_a_slash(
    api: Api, lead_ids: list[str]
) -> None:
    job = api.ingest(csv_text(["Id", "Score__c"], [[lead_ids[0], 1]]))

    for name in ("unprocessedrecords", "unprocessedRecords", "unprocessedrecords/"):
        assert api.get(f"jobs/ingest/{job['id']}/{name}").status_code == 200


def test_uploaded_header_names_are_unquoted_in_results_unless_switched(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    text = csv_text(["Id", "Score__c"], [[lead_ids[0], 1]])

    plain = api.get(f"jobs/ingest/{api.ingest(text)['id']}/failedResults").text
    org.set_options(result_headers_quoted=True)
    quoted = api.get(f"jobs/ingest/{api.ingest(text)['id']}/failedResults").text

    assert plain == '"sf__Id","sf__Error",Id,Score__c\n'
    assert quoted == '"sf__Id","sf__Error","Id","Score__c"\n'


def test_the_charset_of_csv_answers_can_be_left_out(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    job = api.ingest(csv_text(["Id", "Score__c"], [[lead_ids[0], 1]]))

    named = api.get(f"jobs/ingest/{job['id']}/successfulResults").headers["Content-Type"]
    org.set_options(csv_charset=False)
    bare = api.get(f"jobs/ingest/{job['id']}/successfulResults").headers["Content-Type"]

    assert named.lower() == "text/csv; charset=utf-8"
    assert bare == "text/csv"


def test_results_are_gzipped_for_those_who_accept_it(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    job = api.ingest(csv_text(["Id", "Score__c"], [[one, 1] for one in lead_ids]))
    path = f"jobs/ingest/{job['id']}/successfulResults"

    packed = api.get(path, headers={"Accept-Encoding": "gzip"})
    plain = api.get(path, headers={"Accept-Encoding": "identity"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content


def test_a_ragged_row_fails_the_job_after_the_rows_before_it(
    org: launch.RunningOrg, api: Api
) -> None:
    ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(401)])
    lines = [f"{one},1" for one in ids[:400]] + [f"{ids[400]},1,extra"]

    job = api.ingest("Id,Score__c\n" + "\n".join(lines) + "\n")

    assert job["state"] == "Failed"
    assert "row 401 has 3 columns, the header has 2" in job["errorMessage"]
    assert len(api.results(job, "successfulResults")) == 400


def test_finished_jobs_are_forgotten_after_seven_days(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    job = api.ingest(csv_text(["Id", "Score__c"], [[lead_ids[0], 1]]))
    org.control("POST", "clock", {"advance_seconds": 7 * 24 * 3600 + 5})
    later = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)

    later.get("jobs/ingest")

    assert later.get(f"jobs/ingest/{job['id']}").status_code == 404
