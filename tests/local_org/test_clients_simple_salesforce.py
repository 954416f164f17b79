"""simple-salesforce, unchanged, against the org: all that a pipeline uses of it (API notes, 7)."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceGeneralError,
    SalesforceMalformedRequest,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)
from simple_salesforce.format import format_soql

from local_org import launch
from tests.local_org.support import ToHttp

ABSENT_ID = "00Q5e000zzzzzzzEAA"


def session_for(org: launch.RunningOrg) -> requests.Session:
    """Make a session that takes the library's https requests to the org."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", ToHttp(org.base_url))
    return session


@pytest.fixture
def sf(org: launch.RunningOrg) -> Any:
    """The library, signed in with client credentials."""
    return Salesforce(
        consumer_key=launch.CLIENT_ID,
        consumer_secret=launch.CLIENT_SECRET,
        domain="acme.my",
        session=session_for(org),
        version="62.0",
    )


# Signing in


def test_client_credentials(sf: Any) -> None:
    assert sf.limits()["DailyApiRequests"]["Max"] == 15000


def test_soap_user_name_and_password(org: launch.RunningOrg) -> None:
    sf = Salesforce(
        username=launch.USERNAME,
        password=launch.PASSWORD,
        security_token=launch.SECURITY_TOKEN,
        session=session_for(org),
        version="59.0",
    )

    assert sf.query("SELECT COUNT() FROM Lead")["done"] is True


def test_oauth_user_name_and_password(org: launch.RunningOrg) -> None:
    sf = Salesforce(
        username=launch.USERNAME,
        password=launch.PASSWORD + launch.SECURITY_TOKEN,
        consumer_key=launch.CLIENT_ID,
        consumer_secret=launch.CLIENT_SECRET,
        session=session_for(org),
    )

    assert sf.limits()


def test_jwt_bearer(org: launch.RunningOrg) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    org.control(
        "POST",
        "apps",
        {"client_id": "ss-jwt", "client_secret": "s", "public_key": public.decode()},
    )

    sf = Salesforce(
        username=launch.USERNAME,
        consumer_key="ss-jwt",
        privatekey=private.decode(),
        session=session_for(org),
    )

    assert sf.limits()


def test_a_session_id_given_directly(org: launch.RunningOrg, sf: Any) -> None:
    direct = Salesforce(
        session_id=sf.session_id, instance_url=org.base_url, session=session_for(org)
    )

    assert direct.limits()


def test_a_wrong_secret_fails_with_oauths_code(org: launch.RunningOrg) -> None:
    with pytest.raises(SalesforceAuthenticationFailed) as failure:
        Salesforce(
            consumer_key=launch.CLIENT_ID,
            consumer_secret="wrong",
            domain="acme.my",
            session=session_for(org),
        )

    assert failure.value.code == "invalid_client"


def test_a_wrong_soap_password_fails_with_its_exception_code(org: launch.RunningOrg) -> None:
    with pytest.raises(SalesforceAuthenticationFailed) as failure:
        Salesforce(
            username=launch.USERNAME,
            password="wrong",
            security_token="",
            session=session_for(org),
        )

    assert failure.value.code == "INVALID_LOGIN"


def test_an_expired_session_is_renewed_by_the_library(org: launch.RunningOrg, sf: Any) -> None:
    org.control("DELETE", "sessions")

    assert sf.query("SELECT COUNT() FROM Lead")["done"] is True


def test_an_expired_session_given_directly_raises(org: launch.RunningOrg, sf: Any) -> None:
    direct = Salesforce(
        session_id=sf.session_id, instance_url=org.base_url, session=session_for(org)
    )
    org.control("DELETE", "sessions")

    with pytest.raises((SalesforceExpiredSession, RuntimeError)):
        direct.limits()


# REST


def test_describe_and_global_describe(sf: Any) -> None:
    names = {entry["name"] for entry in sf.describe()["sobjects"]}
    fields = {field["name"] for field in sf.Lead.describe()["fields"]}

    assert {"Lead", "Contact", "Account"} <= names
    assert {"Id", "SystemModstamp", "IsConverted", "Score__c"} <= fields
    assert sf.Lead.metadata()["objectDescribe"]["name"] == "Lead"


def test_query_pages_in_all_three_ways(org: launch.RunningOrg, sf: Any) -> None:
    org.set_options(query_page_rows=200)
    ids = org.load("Lead", [{"LastName": "Way", "Company": str(n)} for n in range(450)])
    soql = "SELECT Id FROM Lead WHERE LastName = 'Way'"

    everything = sf.query_all(soql)["records"]
    one_by_one = list(sf.query_all_iter(soql))
    first = sf.query(soql)
    second = sf.query_more(first["nextRecordsUrl"], identifier_is_url=True)

    for records in (everything, one_by_one):
        assert sorted(record["Id"] for record in records) == sorted(ids)
    assert len(first["records"]) == len(second["records"]) == 200
    assert first["totalSize"] == 450


def test_format_soql_quotes_what_the_org_reads(org: launch.RunningOrg, sf: Any) -> None:
    name = 'O\'Neil \\ "Q" %_ é'
    lead = org.load("Lead", [{"LastName": name, "Company": "X"}])[0]
    soql = format_soql(
        "SELECT Id FROM Lead WHERE LastName = {n} AND Id IN {ids} AND SystemModstamp <= {t}",
        n=name,
        ids=[lead, ABSENT_ID],
        t=datetime.now(UTC) + timedelta(hours=1),
    )

    assert [record["Id"] for record in sf.query(soql)["records"]] == [lead]


def test_deleted_rows_are_included_when_asked(org: launch.RunningOrg, sf: Any) -> None:
    lead = org.load("Lead", [{"LastName": "Gone", "Company": "X"}])[0]
    org.control(
        "POST", "save", {"object": "Lead", "operation": "delete", "records": [{"Id": lead}]}
    )
    soql = f"SELECT Id FROM Lead WHERE Id = '{lead}'"

    assert sf.query(soql)["totalSize"] == 0
    assert sf.query(soql, include_deleted=True)["totalSize"] == 1


def test_records_are_created_read_changed_upserted(sf: Any) -> None:
    made = sf.Lead.create({"LastName": "Doe", "Company": "X"})
    status = sf.Lead.update(made["id"], {"Score__c": 12})
    upserted = sf.Lead.upsert("ExtKey__c/ss-1", {"LastName": "Up", "Company": "X"})

    assert made["success"] is True
    assert status == 204
    assert upserted == 201
    assert sf.Lead.get(made["id"])["Score__c"] == 12.0
    assert sf.Lead.get_by_custom_id("ExtKey__c", "ss-1")["LastName"] == "Up"


def test_updated_and_deleted_since(org: launch.RunningOrg, sf: Any) -> None:
    lead = org.load("Lead", [{"LastName": "Since", "Company": "X"}])[0]
    start, end = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=2)

    assert lead in sf.Lead.updated(start, end)["ids"]
    assert "deletedRecords" in sf.Lead.deleted(start, end)


def test_composite_and_collections_through_restful(org: launch.RunningOrg, sf: Any) -> None:
    lead = org.load("Lead", [{"LastName": "Coll", "Company": "X"}])[0]
    body = {
        "compositeRequest": [
            {
                "method": "GET",
                "url": "/services/data/v62.0/query/?q=SELECT+MAX(SystemModstamp)+FROM+Lead",
                "referenceId": "lead",
            }
        ]
    }
    record = {"attributes": {"type": "Lead"}, "id": lead, "Score__c": 3}

    answer = sf.restful("composite", method="POST", json=body)
    rows = sf.restful("composite/sobjects", method="PATCH", json={"records": [record]})

    assert answer["compositeResponse"][0]["httpStatusCode"] == 200
    assert rows[0]["success"] is True


def test_api_usage_is_read_from_the_header(org: launch.RunningOrg, sf: Any) -> None:
    org.control("DELETE", "calls")

    sf.query("SELECT COUNT() FROM Lead")

    assert sf.api_usage["api-usage"].used == 1
    assert sf.api_usage["api-usage"].total == 15000


def test_custom_fields_through_tooling(org: launch.RunningOrg) -> None:
    admin: Any = Salesforce(
        consumer_key=launch.ADMIN_CLIENT_ID,
        consumer_secret=launch.ADMIN_CLIENT_SECRET,
        domain="acme.my",
        session=session_for(org),
        version="62.0",
    )

    answer = admin.toolingexecute(
        "sobjects/CustomField",
        method="POST",
        data={"FullName": "Lead.SsMade__c", "Metadata": {"label": "Made", "type": "Date"}},
    )

    assert answer["success"] is True


def test_is_sandbox_asks_the_organization(sf: Any) -> None:
    assert sf.is_sandbox() in (True, False)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("http_503", SalesforceGeneralError),
        ("http_500", SalesforceGeneralError),
        ("http_403_limit", SalesforceRefusedRequest),
    ],
)
def test_faults_become_the_librarys_exceptions(
    org: launch.RunningOrg, sf: Any, kind: str, error: type[Exception]
) -> None:
    org.arm(kind)

    with pytest.raises(error):
        sf.query("SELECT Id FROM Lead")


def test_refusals_become_the_librarys_exceptions(sf: Any) -> None:
    with pytest.raises(SalesforceMalformedRequest) as malformed:
        sf.query("SELECT Nope FROM Lead")
    with pytest.raises(SalesforceResourceNotFound):
        sf.Lead.get(ABSENT_ID)

    content: Any = malformed.value.content
    assert content[0]["errorCode"] == "INVALID_FIELD"


# Bulk 2.0


def test_bulk_update_through_the_public_method(org: launch.RunningOrg, sf: Any) -> None:
    ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(5)])
    lines = "".join(f"{one},7\n" for one in ids)
    path = org.data.parent / "upload.csv"
    path.write_text(f"Id,Score__c\n{lines}{ABSENT_ID},7\n", encoding="utf-8")

    (result,) = sf.bulk2.Lead.update(str(path), wait=0)

    assert result["numberRecordsTotal"] == 6
    assert (result["numberRecordsProcessed"], result["numberRecordsFailed"]) == (6, 1)
    good = sf.bulk2.Lead.get_successful_records(result["job_id"])
    bad = sf.bulk2.Lead.get_failed_records(result["job_id"])
    left = sf.bulk2.Lead.get_unprocessed_records(result["job_id"])
    assert {row["Id"] for row in csv.DictReader(io.StringIO(good))} == set(ids)
    assert [row["Id"] for row in csv.DictReader(io.StringIO(bad))] == [ABSENT_ID]
    assert list(csv.DictReader(io.StringIO(left))) == []


def test_bulk_insert_upsert_and_delete(org: launch.RunningOrg, sf: Any) -> None:
    org.control("POST", "permissions", {"object": "Lead", "delete": True})
    record = {"LastName": "Bulk", "Company": "X", "ExtKey__c": "ss-bulk"}

    (made,) = sf.bulk2.Lead.insert(records=[record], wait=0)
    (again,) = sf.bulk2.Lead.upsert(records=[record], external_id_field="ExtKey__c", wait=0)
    lead = org.query("SELECT Id FROM Lead WHERE ExtKey__c = 'ss-bulk'")[0]["Id"]
    (gone,) = sf.bulk2.Lead.delete(records=[{"Id": lead}], wait=0)
    org.control("POST", "permissions", {"object": "Lead", "clear": True})

    for result in (made, again, gone):
        assert (result["numberRecordsProcessed"], result["numberRecordsFailed"]) == (1, 0)


def test_bulk_query_pages(org: launch.RunningOrg, sf: Any) -> None:
    ids = org.load("Lead", [{"LastName": "Paged", "Company": str(n)} for n in range(25)])

    texts = list(
        sf.bulk2.Lead.query("SELECT Id FROM Lead WHERE LastName = 'Paged'", max_records=10, wait=0)
    )

    found = [row["Id"] for text in texts for row in csv.DictReader(io.StringIO(text))]
    assert len(texts) == 3
    assert sorted(found) == sorted(ids)


def test_bulk_query_all_brings_deleted_rows(org: launch.RunningOrg, sf: Any) -> None:
    lead = org.load("Lead", [{"LastName": "GoneBulk", "Company": "X"}])[0]
    org.control(
        "POST", "save", {"object": "Lead", "operation": "delete", "records": [{"Id": lead}]}
    )

    (text,) = sf.bulk2.Lead.query_all("SELECT Id FROM Lead WHERE LastName = 'GoneBulk'", wait=0)

    assert lead in text


def test_bulk_download_writes_files(org: launch.RunningOrg, sf: Any, tmp_path: Path) -> None:
    org.load("Lead", [{"LastName": "Down", "Company": "José 日本"}])

    results: list[Any] = sf.bulk2.Lead.download(
        "SELECT Id, Company FROM Lead WHERE LastName = 'Down'", path=str(tmp_path), wait=0
    )

    text = Path(results[0]["file"]).read_text(encoding="utf-8")
    assert results[0]["number_of_records"] == 1
    assert "José 日本" in text


def test_bulk_in_low_level_steps(org: launch.RunningOrg, sf: Any) -> None:
    lead = org.load("Lead", [{"LastName": "Step", "Company": "X"}])[0]
    client = sf.bulk2.Lead._client

    job = client.create_job("update")
    client.upload_job_data(job["id"], f"Id,Score__c\n{lead},4\n")
    client.close_job(job["id"])
    client.wait_for_job(job["id"], is_query=False, wait=0)
    info = client.get_job(job["id"], is_query=False)
    other = client.create_job("update")
    aborted = client.abort_job(other["id"], is_query=False)

    assert (info["state"], info["numberRecordsFailed"]) == ("JobComplete", 0)
    assert aborted["state"] == "Aborted"


@pytest.mark.slow
def test_a_503_in_a_poll_makes_the_library_abort_its_job(org: launch.RunningOrg, sf: Any) -> None:
    lead = org.load("Lead", [{"LastName": "Abort", "Company": "X"}])[0]
    org.set_options(job_queue_seconds=5)
    org.arm("http_503", method="GET", path=r"/jobs/ingest/750\w+$")

    with pytest.raises(SalesforceGeneralError):
        sf.bulk2.Lead.update(records=[{"Id": lead, "Score__c": "1"}], wait=0)

    jobs = org.control("GET", "jobs")
    assert jobs[-1]["state"] == "Aborted"
