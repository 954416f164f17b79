"""REST over HTTP: discovery, describes, queries, records, changes since, limits (API notes, 2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from local_org import launch
from tests.local_org.support import Api, error

pytestmark = pytest.mark.slow

ABSENT_ID = "00Q5e000zzzzzzzEAA"


def version_call(api: Api, version: str) -> int:
    """Give the status of a call with another API version."""
    return api.session.get(f"{api.base}/services/data/v{version}/limits", timeout=30).status_code


def test_discovery_maps_resources_and_names_the_user(org: launch.RunningOrg, api: Api) -> None:
    body = api.get("").json()

    assert body["sobjects"] == "/services/data/v62.0/sobjects"
    assert body["query"] == "/services/data/v62.0/query"
    assert f"/id/{org.org_id}/005" in body["identity"]


def test_retired_versions_are_gone_and_future_ones_not_found(api: Api) -> None:
    assert version_call(api, "30.0") == 410
    assert version_call(api, "31.0") == 200
    assert version_call(api, "67.0") == 200
    assert version_call(api, "68.0") == 404


@pytest.mark.parametrize(
    "path", ["nope", "sobjects/Nope__c", "sobjects/Lead/a/b/c", "jobs", "apexrest"]
)
def test_an_unknown_path_is_a_404_of_salesforces_shape(api: Api, path: str) -> None:
    answer = api.get(path)

    assert answer.status_code == 404
    assert error(answer)["errorCode"] == "NOT_FOUND"


def test_a_path_outside_the_api_is_a_404_too(api: Api) -> None:
    answer = api.session.get(f"{api.base}/services/async/62.0/job", timeout=30)

    assert answer.status_code == 404
    assert error(answer)["errorCode"] == "NOT_FOUND"


def test_a_wrong_method_is_a_405(api: Api) -> None:
    answer = api.call("DELETE", "limits")

    assert answer.status_code == 405
    assert error(answer)["errorCode"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("path", ["query?q=SELECT+Id+FROM+Lead", "limits?x=1", "jobs/query?x=1"])
def test_unknown_query_parameters_are_refused(api: Api, path: str) -> None:
    answer = api.get(path, params={"rows": "5"})

    assert answer.status_code == 400
    assert "Unknown query parameter" in error(answer)["message"]


@pytest.mark.parametrize("body", [b'{"LastName": "x"', b"", b"LastName=x", b"[1]"])
def test_a_body_that_is_not_the_json_expected_is_a_parser_error(api: Api, body: bytes) -> None:
    answer = api.call(
        "POST", "sobjects/Lead", data=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == "JSON_PARSER_ERROR"


def test_paths_are_taken_with_and_without_a_trailing_slash(api: Api) -> None:
    for path in ("limits", "limits/", "sobjects", "sobjects/", "sobjects/Lead/describe/"):
        assert api.get(path).status_code == 200


def test_the_date_header_is_the_orgs_clock(org: launch.RunningOrg, api: Api) -> None:
    org.control("POST", "clock", {"now": "2027-03-04T05:06:07Z", "frozen": True})
    api = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)

    moment = parsedate_to_datetime(api.get("limits").headers["Date"])

    assert moment == datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC)


# Describe


def test_global_describe_lists_objects_with_their_prefixes(api: Api) -> None:
    body = api.get("sobjects").json()
    found = {entry["name"]: entry for entry in body["sobjects"]}

    assert body["maxBatchSize"] == 200
    assert found["Lead"]["keyPrefix"] == "00Q"
    assert found["Account"]["keyPrefix"] == "001"
    assert found["Contact"]["urls"]["describe"] == "/services/data/v62.0/sobjects/Contact/describe"


def test_describe_has_every_key_of_a_real_field(api: Api) -> None:
    body = api.get("sobjects/Lead/describe").json()
    fields = {field["name"]: field for field in body["fields"]}

    keys = set(fields["LastName"])
    assert {
        "aggregatable", "aiPredictionField", "autoNumber", "byteLength", "calculated",
        "calculatedFormula", "cascadeDelete", "caseSensitive", "compoundFieldName",
        "controllerName", "createable", "custom", "defaultValue", "defaultValueFormula",
        "defaultedOnCreate", "dependentPicklist", "deprecatedAndHidden", "digits",
        "displayLocationInDecimal", "encrypted", "externalId", "extraTypeInfo", "filterable",
        "filteredLookupInfo", "formulaTreatNullNumberAsZero", "groupable", "highScaleNumber",
        "htmlFormatted", "idLookup", "inlineHelpText", "label", "length", "mask", "maskType",
        "name", "nameField", "namePointing", "nillable", "permissionable", "picklistValues",
        "polymorphicForeignKey", "precision", "queryByDistance", "referenceTargetField",
        "referenceTo", "relationshipName", "relationshipOrder", "restrictedDelete",
        "restrictedPicklist", "scale", "searchPrefilterable", "soapType", "sortable", "type",
        "unique", "updateable", "writeRequiresMasterRead",
    } <= keys  # fmt: skip
    assert (fields["LastName"]["length"], fields["LastName"]["byteLength"]) == (80, 240)
    assert fields["Score__c"]["precision"] == 3
    assert fields["Rank__c"]["length"] == 1


def test_a_hidden_field_is_absent_from_describe_and_from_soql(
    org: launch.RunningOrg, api: Api
) -> None:
    org.control("POST", "permissions", {"object": "Lead", "field": "Rank__c", "read": False})

    names = {field["name"] for field in api.get("sobjects/Lead/describe").json()["fields"]}
    queried = api.get("query", params={"q": "SELECT Rank__c FROM Lead"})
    org.control("POST", "permissions", {"object": "Lead", "field": "Rank__c", "clear": True})

    assert "Rank__c" not in names
    assert error(queried)["errorCode"] == "INVALID_FIELD"
    assert "No such column 'Rank__c'" in error(queried)["message"]


def test_a_field_that_may_only_be_read_is_described_so(org: launch.RunningOrg, api: Api) -> None:
    org.control(
        "POST", "permissions", {"object": "Lead", "field": "Rank__c", "read": True, "edit": False}
    )

    fields = {f["name"]: f for f in api.get("sobjects/Lead/describe").json()["fields"]}
    org.control("POST", "permissions", {"object": "Lead", "field": "Rank__c", "clear": True})

    assert (fields["Rank__c"]["createable"], fields["Rank__c"]["updateable"]) == (False, False)


def test_object_rights_show_in_describe(org: launch.RunningOrg, api: Api) -> None:
    org.control("POST", "permissions", {"object": "Contact", "edit": False, "create": False})

    body = api.get("sobjects/Contact/describe").json()
    org.control("POST", "permissions", {"object": "Contact", "clear": True})

    assert (body["updateable"], body["createable"], body["queryable"]) == (False, False, True)


# Query


def test_a_query_answers_with_records_of_salesforces_shape(
    org: launch.RunningOrg, api: Api
) -> None:
    account = org.load("Account", [{"Name": "Acme"}])[0]
    contact = org.load("Contact", [{"LastName": "A", "AccountId": account, "Score__c": 87}])[0]

    body = api.query(
        f"select id, lastname, score__c, account.name from contact where id = '{contact}'"
    )

    assert (body["totalSize"], body["done"]) == (1, True)
    assert "nextRecordsUrl" not in body
    (record,) = body["records"]
    assert list(record) == ["attributes", "Id", "LastName", "Score__c", "Account"]
    assert record["attributes"] == {
        "type": "Contact",
        "url": f"/services/data/v62.0/sobjects/Contact/{contact}",
    }
    assert record["Account"]["Name"] == "Acme"
    assert record["Account"]["attributes"]["type"] == "Account"
    assert record["Score__c"] == 87.0


def test_a_missing_parent_is_null(org: launch.RunningOrg, api: Api) -> None:
    contact = org.load("Contact", [{"LastName": "Alone"}])[0]

    (record,) = api.query(f"SELECT Account.Name FROM Contact WHERE Id = '{contact}'")["records"]

    assert record["Account"] is None


def test_pages_follow_a_relative_url_to_the_end(org: launch.RunningOrg, api: Api) -> None:
    ids = org.load("Lead", [{"LastName": "Paged", "Company": str(n)} for n in range(450)])
    answer = api.get(
        "query",
        params={"q": "SELECT Id FROM Lead WHERE LastName = 'Paged'"},
        headers={"Sforce-Query-Options": "batchSize=200"},
    ).json()
    found, sizes = [], []
    while True:
        found += [record["Id"] for record in answer["records"]]
        sizes.append(len(answer["records"]))
        assert answer["totalSize"] == 450
        if answer["done"]:
            break
        assert answer["nextRecordsUrl"].startswith("/services/data/v62.0/query/01g")
        answer = api.session.get(
            api.base + answer["nextRecordsUrl"],
            headers={"Sforce-Query-Options": "batchSize=200"},
            timeout=30,
        ).json()

    assert sizes == [200, 200, 50]
    assert sorted(found) == sorted(ids)


def test_an_unknown_locator_is_a_400(api: Api) -> None:
    answer = api.get("query/01g5e0000000000AAA-2000")

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_count_gives_a_total_without_records(org: launch.RunningOrg, api: Api) -> None:
    org.load("Lead", [{"LastName": "Counted", "Company": "X"}] * 3)

    body = api.query("SELECT COUNT() FROM Lead WHERE LastName = 'Counted'")

    assert body == {"totalSize": 3, "done": True, "records": []}


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Foo FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Foo", "INVALID_TYPE"),
        ("SELECT Id FROM Lead WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead WHERE CreatedDate > '2026-01-02T03:04:05Z'", "INVALID_FIELD"),
        ("DELETE FROM Lead", "MALFORMED_QUERY"),
    ],
)
def test_a_wrong_query_is_a_400_with_its_code(api: Api, soql: str, code: str) -> None:
    answer = api.get("query", params={"q": soql})

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == code


def test_query_hides_deleted_rows_and_query_all_shows_them(
    org: launch.RunningOrg, api: Api, admin: Api
) -> None:
    lead = org.load("Lead", [{"LastName": "Gone", "Company": "X"}])[0]
    admin.call("DELETE", f"sobjects/Lead/{lead}")
    soql = f"SELECT Id, IsDeleted FROM Lead WHERE Id = '{lead}'"

    assert api.query(soql)["totalSize"] == 0
    body = api.get("queryAll", params={"q": soql}).json()
    assert [record["IsDeleted"] for record in body["records"]] == [True]


def test_a_url_that_is_too_long_is_a_414(api: Api) -> None:
    many = ",".join(f"'{ABSENT_ID}'" for _ in range(1000))

    answer = api.get("query", params={"q": f"SELECT Id FROM Lead WHERE Id IN ({many})"})

    assert answer.status_code == 414


def test_answers_are_indented_and_gzipped_when_asked(api: Api) -> None:
    pretty = api.get("limits", headers={"X-PrettyPrint": "1"})
    packed = api.get("sobjects/Lead/describe", headers={"Accept-Encoding": "gzip"})

    assert "\n  " in pretty.text
    assert packed.headers["Content-Encoding"] == "gzip"


# Records


def test_a_record_is_created_read_changed_and_deleted(api: Api, admin: Api) -> None:
    lead = api.create("Lead", LastName="Doe", Company="Acme", Score__c=10)

    read = api.get(f"sobjects/Lead/{lead}").json()
    changed = api.patch(f"sobjects/Lead/{lead}", {"Score__c": 20, "Rank__c": "B"})
    partial = api.get(f"sobjects/Lead/{lead}", params={"fields": "Score__c,Rank__c"}).json()
    deleted = admin.call("DELETE", f"sobjects/Lead/{lead}")
    after = api.get(f"sobjects/Lead/{lead}")

    assert (read["LastName"], read["Score__c"]) == ("Doe", 10.0)
    assert read["CreatedDate"].endswith(".000+0000")
    assert (changed.status_code, changed.content) == (204, b"")
    assert {k: v for k, v in partial.items() if k != "attributes"} == {
        "Score__c": 20.0,
        "Rank__c": "B",
    }
    assert deleted.status_code == 204
    assert after.status_code == 404


def test_null_clears_a_field(api: Api) -> None:
    lead = api.create("Lead", LastName="Doe", Company="Acme", Score__c=10)

    api.patch(f"sobjects/Lead/{lead}", {"Score__c": None})

    assert api.get(f"sobjects/Lead/{lead}").json()["Score__c"] is None


def test_fifteen_character_ids_are_taken_and_eighteen_given(api: Api) -> None:
    lead = api.create("Lead", LastName="Doe", Company="Acme")

    assert api.get(f"sobjects/Lead/{lead[:15]}").json()["Id"] == lead


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"LastName": "x" * 81, "Company": "A"}, "STRING_TOO_LONG", "LastName"),
        ({"LastName": "x", "Company": "A", "Email": "123"}, "INVALID_EMAIL_ADDRESS", "Email"),
        (
            {"LastName": "x", "Company": "A", "Score__c": 1000},
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Score__c",
        ),
        ({"Company": "A"}, "REQUIRED_FIELD_MISSING", "LastName"),
        (
            {"LastName": "x", "Company": "A", "SystemModstamp": "2026-01-01T00:00:00Z"},
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "SystemModstamp",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_a_400_with_code_and_field(
    api: Api, values: dict[str, object], code: str, field: str
) -> None:
    answer = api.post("sobjects/Lead", values)

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == code
    assert error(answer)["fields"] == [field]


def test_an_unknown_field_is_refused(api: Api) -> None:
    answer = api.post("sobjects/Lead", {"LastName": "x", "Company": "A", "Nope__c": 1})

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == "INVALID_FIELD"


def test_a_record_that_is_not_there_is_a_404(api: Api) -> None:
    assert error(api.get(f"sobjects/Lead/{ABSENT_ID}"))["errorCode"] == "NOT_FOUND"
    assert api.patch(f"sobjects/Lead/{ABSENT_ID}", {"Score__c": 1}).status_code == 404


def test_a_deleted_record_says_so(org: launch.RunningOrg, api: Api, admin: Api) -> None:
    lead = org.load("Lead", [{"LastName": "Gone", "Company": "X"}])[0]
    admin.call("DELETE", f"sobjects/Lead/{lead}")

    answer = api.patch(f"sobjects/Lead/{lead}", {"Score__c": 1})

    assert answer.status_code == 404
    assert error(answer)["errorCode"] == "ENTITY_IS_DELETED"


def test_the_id_may_not_be_in_the_body_of_a_change(api: Api, lead_ids: list[str]) -> None:
    answer = api.patch(f"sobjects/Lead/{lead_ids[0]}", {"Id": lead_ids[0], "Score__c": 1})

    assert answer.status_code == 400


def test_external_ids_read_and_upsert(api: Api) -> None:
    path = "sobjects/Lead/ExtKey__c/rest-1"

    first = api.patch(path, {"LastName": "One", "Company": "X"})
    second = api.patch(path, {"LastName": "Two"})

    assert (first.status_code, first.json()["created"]) == (201, True)
    assert (second.status_code, second.json()["created"]) == (200, False)
    assert api.get(path).json()["LastName"] == "Two"
    assert api.get("sobjects/Lead/ExtKey__c/nothing").status_code == 404


# Changes since


def span(hours: float) -> dict[str, str]:
    """Give start and end around now."""
    now = datetime.now(UTC)
    return {
        "start": (now - timedelta(hours=hours)).isoformat(timespec="seconds"),
        "end": (now + timedelta(minutes=2)).isoformat(timespec="seconds"),
    }


def test_updated_and_deleted_give_ids_and_the_date_covered(
    org: launch.RunningOrg, api: Api, admin: Api
) -> None:
    kept, gone = org.load("Lead", [{"LastName": n, "Company": "X"} for n in ("kept", "gone")])
    admin.call("DELETE", f"sobjects/Lead/{gone}")

    updated = api.get("sobjects/Lead/updated/", params=span(1)).json()
    deleted = api.get("sobjects/Lead/deleted/", params=span(1)).json()

    assert kept in updated["ids"]
    assert updated["latestDateCovered"].endswith("+0000")
    assert gone in {entry["id"] for entry in deleted["deletedRecords"]}
    assert {"earliestDateAvailable", "latestDateCovered"} <= set(deleted)


def test_changes_more_than_thirty_days_back_are_refused(api: Api) -> None:
    answer = api.get("sobjects/Lead/updated/", params=span(31 * 24))

    assert answer.status_code == 400
    assert error(answer)["errorCode"] == "INVALID_REPLICATION_DATE"


# Limits and usage


def test_limits_show_what_is_left(org: launch.RunningOrg, api: Api) -> None:
    body = api.get("limits").json()

    assert body["DailyApiRequests"]["Max"] == 15000
    used = org.calls()["used_24h"]
    assert body["DailyApiRequests"]["Remaining"] == 15000 - used
    assert body["DailyBulkV2QueryJobs"] == {"Max": 10000, "Remaining": 10000}


def test_each_call_counts_one_and_the_header_says_so(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")

    headers = [api.get("limits").headers["Sforce-Limit-Info"] for _ in range(3)]

    assert headers == [f"api-usage={n}/15000" for n in (1, 2, 3)]
    assert org.calls()["by_kind"] == {"limits": 3}


def test_failed_calls_count_too(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")

    api.get("query", params={"q": "nonsense"})

    assert org.calls()["used_24h"] == 1


def test_the_header_can_lag_and_name_the_app(org: launch.RunningOrg, api: Api) -> None:
    org.set_options(limit_info_lag=2, per_app_usage=True)
    org.control("DELETE", "calls")

    headers = [api.get("limits").headers["Sforce-Limit-Info"] for _ in range(3)]

    assert headers[0].startswith("api-usage=0/15000; per-app-api-usage=")
    assert headers[2].startswith("api-usage=1/15000")


def test_calls_older_than_a_day_no_longer_count(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")
    api.get("limits")
    org.control("POST", "clock", {"advance_seconds": 86_401})

    assert org.calls()["used_24h"] == 0


def test_past_the_limit_calls_are_refused_and_no_longer_counted(
    org: launch.RunningOrg, api: Api
) -> None:
    org.control("DELETE", "calls")
    org.set_options(api_calls_max=2)
    assert [api.get("limits").status_code for _ in range(2)] == [200, 200]

    answer = api.get("limits")

    assert answer.status_code == 403
    assert error(answer) == {
        "message": "TotalRequests Limit exceeded.",
        "errorCode": "REQUEST_LIMIT_EXCEEDED",
    }
    assert org.calls()["used_24h"] == 2


def test_an_org_can_let_the_limit_be_exceeded_for_a_while(org: launch.RunningOrg, api: Api) -> None:
    org.control("DELETE", "calls")
    org.set_options(api_calls_max=1, enforce_api_limit=False)

    assert [api.get("limits").status_code for _ in range(3)] == [200, 200, 200]


def test_token_requests_count_only_when_switched_on(org: launch.RunningOrg) -> None:
    org.control("DELETE", "calls")
    Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
    assert org.calls()["used_24h"] == 0

    org.set_options(count_token_calls=True)
    Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)

    assert org.calls()["used_24h"] == 1


def test_polls_and_result_pages_need_not_count(org: launch.RunningOrg, api: Api) -> None:
    job = api.bulk_query("SELECT Id FROM Lead LIMIT 1")
    org.set_options(count_polls=False, count_result_pages=False)
    org.control("DELETE", "calls")

    api.get(f"jobs/query/{job['id']}")
    api.get(f"jobs/query/{job['id']}/results")
    assert org.calls()["used_24h"] == 0

    org.set_options(count_polls=True, count_result_pages=True)
    api.get(f"jobs/query/{job['id']}")
    api.get(f"jobs/query/{job['id']}/results")
    assert org.calls()["used_24h"] == 2
