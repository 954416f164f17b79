"""Composite, batch and collections over HTTP (API notes, 2.6)."""

from __future__ import annotations

from typing import Any

import pytest

from local_org import launch
from tests.local_org.support import Api, error

pytestmark = pytest.mark.slow

ABSENT_ID = "00Q5e000zzzzzzzEAA"
DATA = "/services/data/v62.0"


def lead(record_id: str, **values: Any) -> dict[str, Any]:
    """Make one record of a collections body."""
    return {"attributes": {"type": "Lead"}, "id": record_id, **values}


def get(url: str, reference: str) -> dict[str, str]:
    """Make one subrequest."""
    return {"method": "GET", "url": f"{DATA}/{url}", "referenceId": reference}


def test_a_composite_of_queries_counts_as_one_call(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")
    names = ("Lead", "Contact", "Account")
    parts = [get(f"query/?q=SELECT+COUNT()+FROM+{name}", name.lower()) for name in names]

    answer = api.post("composite", {"allOrNone": False, "compositeRequest": parts})

    assert answer.status_code == 200
    responses = answer.json()["compositeResponse"]
    assert [r["referenceId"] for r in responses] == ["lead", "contact", "account"]
    assert all(r["httpStatusCode"] == 200 and r["httpHeaders"] == {} for r in responses)
    assert all(r["body"]["done"] for r in responses)
    assert org.calls()["used_24h"] == 1


def test_a_part_that_fails_leaves_the_others_alone(api: Api) -> None:
    parts = [
        get("query?q=SELECT+Nope+FROM+Lead", "bad"),
        get("limits", "good"),
        get("nope", "gone"),
    ]

    responses = api.post("composite", {"compositeRequest": parts}).json()["compositeResponse"]

    assert [r["httpStatusCode"] for r in responses] == [400, 200, 404]
    assert responses[0]["body"][0]["errorCode"] == "INVALID_FIELD"


def test_a_later_part_can_use_what_an_earlier_one_answered(api: Api) -> None:
    parts = [
        {
            "method": "POST",
            "url": f"{DATA}/sobjects/Lead",
            "referenceId": "made",
            "body": {"LastName": "Ref", "Company": "X"},
        },
        get("sobjects/Lead/@{made.id}?fields=LastName", "read"),
        get("sobjects/Lead/@{missing.id}", "lost"),
    ]

    responses = api.post("composite", {"compositeRequest": parts}).json()["compositeResponse"]

    assert responses[0]["httpStatusCode"] == 201
    assert responses[1]["body"]["LastName"] == "Ref"
    assert responses[2]["body"][0]["errorCode"] == "PROCESSING_HALTED"


def test_a_composite_has_at_most_25_parts_and_5_queries(api: Api) -> None:
    many = [get("limits", f"r{n}") for n in range(26)]
    queries = [get("query?q=SELECT+Id+FROM+Lead", f"r{n}") for n in range(6)]

    for parts in (many, queries, []):
        answer = api.post("composite", {"compositeRequest": parts})
        assert answer.status_code == 400
        assert error(answer)["errorCode"] == "LIMIT_EXCEEDED"


def test_rolling_several_saves_back_together_is_refused_rather_than_guessed(api: Api) -> None:
    part = {
        "method": "POST",
        "url": f"{DATA}/sobjects/Lead",
        "body": {"LastName": "x", "Company": "y"},
    }
    parts = [{**part, "referenceId": "a"}, {**part, "referenceId": "b"}]

    answer = api.post("composite", {"allOrNone": True, "compositeRequest": parts})

    assert answer.status_code == 400


def test_each_part_of_a_batch_counts(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")
    parts = [
        {"method": "GET", "url": "v62.0/limits"},
        {"method": "GET", "url": f"{DATA}/query/?q=SELECT+Nope+FROM+Lead"},
    ]

    body = api.post("composite/batch", {"batchRequests": parts}).json()

    assert body["hasErrors"] is True
    assert [r["statusCode"] for r in body["results"]] == [200, 400]
    assert org.calls()["used_24h"] == 2


def test_a_batch_can_halt_at_the_first_error(api: Api) -> None:
    parts = [{"method": "GET", "url": "v62.0/nope"}, {"method": "GET", "url": "v62.0/limits"}]

    body = api.post("composite/batch", {"batchRequests": parts, "haltOnError": True}).json()

    assert [r["statusCode"] for r in body["results"]] == [404, 412]


def test_collections_answer_row_by_row_in_order(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.control("DELETE", "calls")
    records = [
        lead(lead_ids[0], Score__c=5),
        lead(lead_ids[1], Rank__c="AB"),
        lead(ABSENT_ID, Score__c=5),
        lead(lead_ids[2], Score__c=None),
    ]

    answer = api.patch("composite/sobjects", {"allOrNone": False, "records": records})

    body = answer.json()
    assert answer.status_code == 200
    assert [row["success"] for row in body] == [True, False, False, True]
    assert body[0] == {"id": lead_ids[0], "success": True, "errors": []}
    assert body[1]["errors"][0]["statusCode"] == "STRING_TOO_LONG"
    assert body[1]["errors"][0]["fields"] == ["Rank__c"]
    assert org.calls()["used_24h"] == 1


def test_all_or_none_rolls_the_good_rows_back(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    records = [lead(lead_ids[0], Score__c=42), lead(lead_ids[1], Rank__c="AB")]

    body = api.patch("composite/sobjects", {"allOrNone": True, "records": records}).json()

    assert [row["success"] for row in body] == [False, False]
    found = org.query(f"SELECT Score__c FROM Lead WHERE Id = '{lead_ids[0]}'")
    assert found[0]["Score__c"] is None


def test_collections_take_200_records_and_10_runs_of_types(api: Api, lead_ids: list[str]) -> None:
    many = [lead(lead_ids[0], Score__c=1)] * 201
    mixed = [
        {"attributes": {"type": ("Lead", "Contact")[n % 2]}, "id": lead_ids[0]} for n in range(11)
    ]

    too_many = api.patch("composite/sobjects", {"records": many})
    too_mixed = api.patch("composite/sobjects", {"records": mixed})

    assert too_many.status_code == too_mixed.status_code == 400


def test_collections_create_several_types_and_delete_them(admin: Api) -> None:
    records = [
        {"attributes": {"type": "Lead"}, "LastName": "One", "Company": "X"},
        {"attributes": {"type": "Account"}, "Name": "Two"},
    ]

    made = admin.post("composite/sobjects", {"allOrNone": False, "records": records}).json()
    ids = ",".join(row["id"] for row in made)
    gone = admin.call("DELETE", "composite/sobjects", params={"ids": ids, "allOrNone": "false"})

    assert [row["success"] for row in made] == [True, True]
    assert [row["success"] for row in gone.json()] == [True, True]


def test_collections_upsert_by_external_id(api: Api) -> None:
    record = {
        "attributes": {"type": "Lead"},
        "ExtKey__c": "coll-1",
        "LastName": "A",
        "Company": "X",
    }
    path = "composite/sobjects/Lead/ExtKey__c"

    first = api.patch(path, {"allOrNone": False, "records": [record]}).json()
    second = api.patch(path, {"allOrNone": False, "records": [record]}).json()

    assert (first[0]["created"], second[0]["created"]) == (True, False)


def test_reading_by_ids_keeps_their_order_and_gives_null_for_the_unseen(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    org.control("DELETE", "calls")
    wanted = [lead_ids[2], ABSENT_ID, lead_ids[0]]

    body = api.post("composite/sobjects/Lead", {"ids": wanted, "fields": ["Id", "LastName"]}).json()

    assert [row and row["Id"] for row in body] == [lead_ids[2], None, lead_ids[0]]
    assert body[0]["attributes"]["type"] == "Lead"
    assert org.calls()["used_24h"] == 1


def test_reading_by_ids_fails_whole_for_an_unknown_field_or_too_many(
    api: Api, lead_ids: list[str]
) -> None:
    path = "composite/sobjects/Lead"

    unknown = api.post(path, {"ids": lead_ids, "fields": ["Nope__c"]})
    many = api.post(path, {"ids": lead_ids * 201, "fields": ["Id"]})
    parent = api.post(path, {"ids": lead_ids, "fields": ["Owner.Name"]})

    assert unknown.status_code == many.status_code == parent.status_code == 400
