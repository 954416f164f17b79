"""The rest of the control endpoint: loading, clock, users, and what it must not touch."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
import requests

from local_org import launch
from tests.local_org.support import Api, csv_text

pytestmark = pytest.mark.slow


def test_rows_are_loaded_from_csv_and_ndjson_with_their_own_stamps(
    org: launch.RunningOrg, api: Api
) -> None:
    text = csv_text(
        ["LastName", "Company", "CreatedDate", "LastModifiedDate", "SystemModstamp"],
        [["Old", "X", *["2020-01-02T03:04:05Z"] * 3]],
    )
    loaded = org.control(
        "POST", "load?object=Lead&ids=true", text.encode(), content_type="text/csv"
    )
    (other,) = org.load("Lead", [{"LastName": "Json", "Company": "X", "Hot__c": True}])

    (old,) = loaded["ids"]
    record = api.get(f"sobjects/Lead/{old}").json()
    assert loaded["count"] == 1
    assert record["SystemModstamp"] == "2020-01-02T03:04:05.000+0000"
    assert api.get(f"sobjects/Lead/{other}").json()["Hot__c"] is True


def test_a_wrong_row_is_refused_by_its_number(org: launch.RunningOrg) -> None:
    with pytest.raises(ValueError, match="2"):
        org.load(
            "Lead",
            [
                {"LastName": "Good", "NumberOfEmployees": 1},
                {"LastName": "Bad", "NumberOfEmployees": "many"},
            ],
        )


def test_loading_costs_no_calls_and_meets_no_fault(org: launch.RunningOrg) -> None:
    org.control("DELETE", "calls")
    fault = org.arm("http_503", count=None)

    org.load("Lead", [{"LastName": "Free", "Company": "X"}])

    assert org.calls()["used_24h"] == 0
    assert org.fault_count(fault) == 0


def test_the_clock_moves_stamps_and_date_literals(org: launch.RunningOrg, api: Api) -> None:
    org.control("POST", "clock", {"now": "2031-05-06T07:08:09Z", "frozen": True})
    late = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)

    lead = late.create("Lead", LastName="Future", Company="X")

    assert late.get(f"sobjects/Lead/{lead}").json()["CreatedDate"] == "2031-05-06T07:08:09.000+0000"
    soql = f"SELECT COUNT() FROM Lead WHERE Id = '{lead}' AND CreatedDate = TODAY"
    assert late.query(soql)["totalSize"] == 1
    org.control("POST", "clock", {"advance_seconds": 86_400})
    assert late.token(
        grant_type="client_credentials",
        client_id=launch.CLIENT_ID,
        client_secret=launch.CLIENT_SECRET,
    ).ok
    fresh = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
    assert fresh.query(soql)["totalSize"] == 0


def test_the_call_log_says_what_was_asked_and_answered(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")
    api.get("limits")
    api.get("nope")

    first, second = org.calls()["log"]

    assert (first["method"], first["status"], first["kind"]) == ("GET", 200, "limits")
    assert second["status"] == 404
    assert datetime.fromisoformat(first["at"]).tzinfo is not None


def test_an_inactive_user_cannot_sign_in(org: launch.RunningOrg) -> None:
    org.control("POST", "users", {"username": "gone@local.example", "is_active": False})
    org.control(
        "POST", "apps", {"client_id": "gone", "client_secret": "s", "run_as": "gone@local.example"}
    )

    answer = requests.post(
        f"{org.base_url}/services/oauth2/token",
        data={"grant_type": "client_credentials", "client_id": "gone", "client_secret": "s"},
        timeout=30,
    )

    assert answer.json()["error"] == "inactive_user"


def test_many_clients_at_once_lose_nothing(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")
    failures: list[str] = []

    def work(number: int) -> None:
        mine = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
        for step in range(10):
            answer = mine.post("sobjects/Lead", {"LastName": f"Par {number}", "Company": str(step)})
            if answer.status_code != 201:
                failures.append(answer.text)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert org.calls()["used_24h"] == 80
    found = org.query("SELECT Id FROM Lead WHERE LastName LIKE 'Par %'")
    assert len({record["Id"] for record in found}) == 80


def test_the_org_listens_on_loopback_only(org: launch.RunningOrg) -> None:
    assert org.base_url.startswith("http://127.0.0.1:")


def test_an_unrestricted_picklist_holds_what_describe_does_not_list(
    org: launch.RunningOrg, api: Api
) -> None:
    lead = api.create("Lead", LastName="Odd", Company="X", Status="Dreaming")
    fields = {f["name"]: f for f in api.get("sobjects/Lead/describe").json()["fields"]}
    values = {entry["value"] for entry in fields["Status"]["picklistValues"]}

    assert fields["Status"]["restrictedPicklist"] is False
    assert "Dreaming" not in values
    assert api.get(f"sobjects/Lead/{lead}").json()["Status"] == "Dreaming"


def test_a_person_account_is_made_over_the_control_endpoint(
    org: launch.RunningOrg, api: Api
) -> None:
    org.set_options(person_accounts=True)

    made = org.control(
        "POST", "person-account", {"values": {"FirstName": "Ada", "LastName": "Lovelace"}}
    )

    contact = api.get(f"sobjects/Contact/{made['contact_id']}").json()
    account = api.get(f"sobjects/Account/{made['account_id']}").json()
    assert (contact["IsPersonAccount"], account["IsPersonAccount"]) == (True, True)
    assert account["Name"] == "Ada Lovelace"
