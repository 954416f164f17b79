"""Running queries: JSON pages, aggregates, and the CSV of bulk queries."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_org.errors import SalesforceError
from local_org.query import ResultSpool
from tests.local_org.data import FIELDS, Org


@pytest.fixture
def org(tmp_path: Path) -> Iterator[Org]:
    made = Org(tmp_path / "org.sqlite3")
    made.add_fields("Lead", **FIELDS)
    yield made
    made.store.close()


def load(org: Org, count: int) -> None:
    org.store.load(
        "Lead", ["LastName", "Company"], ([f"Person {n:06}", "Firm"] for n in range(count))
    )


def export(org: Org, soql: str, **more: Any) -> ResultSpool:
    arguments: dict[str, Any] = {
        "include_deleted": False,
        "target": org.store.path.with_name("r.csv"),
    }
    return org.queries.export(soql, user_id=org.user, **(arguments | more))


def body(spool: ResultSpool, start: int = 0, rows: int = 10**9) -> bytes:
    return b"".join(spool.page(start, rows)[1])


def test_values_have_the_form_of_rest_json(org: Org) -> None:
    org.lead(
        FirstName="Ann",
        Score__c=87,
        NumberOfEmployees=12,
        AnnualRevenue=1.5e9,
        Hot__c=True,
        Scored_at__c="2026-01-02T03:04:05.678+02:00",
        City="Köln",
    )
    (record,) = org.rows(
        "SELECT Name, Score__c, NumberOfEmployees, AnnualRevenue, Hot__c, Scored_at__c, Phone, "
        "ConvertedDate, Address FROM Lead"
    )

    assert record["Name"] == "Ann Lee"
    assert repr(record["Score__c"]) == "87.0"
    assert repr(record["NumberOfEmployees"]) == "12"
    assert record["AnnualRevenue"] == 1.5e9
    assert record["Hot__c"] is True
    assert record["Scored_at__c"] == "2026-01-02T01:04:05.000+0000"
    assert record["Phone"] is None
    assert record["Address"]["city"] == "Köln"


def test_whole_doubles_can_be_written_without_a_point(org: Org) -> None:
    org.options.set("json_double_form", "integer")
    org.options.set("csv_double_form", "integer")
    org.lead(Score__c=87)

    assert repr(org.column("SELECT Score__c FROM Lead", "Score__c")) == "[87]"
    assert body(export(org, "SELECT Score__c FROM Lead")) == b'"87"\n'


def test_a_missing_parent_is_null_and_one_that_is_there_is_nested(org: Org) -> None:
    (account,) = org.insert("Account", {"Name": "Acme"})
    org.insert("Contact", {"LastName": "A", "AccountId": account}, {"LastName": "B"})
    first, second = org.rows(
        "SELECT Account.Name, Account.Owner.Username FROM Contact ORDER BY Name"
    )

    assert first["Account"]["attributes"] == {
        "type": "Account",
        "url": f"/services/data/v62.0/sobjects/Account/{account}",
    }
    assert first["Account"]["Name"] == "Acme"
    assert first["Account"]["Owner"]["Username"] == "integration@local.example"
    assert second["Account"] is None


def test_count_gives_a_size_and_no_records(org: Org) -> None:
    load(org, 30)

    assert org.query("SELECT COUNT() FROM Lead") == {"totalSize": 30, "done": True, "records": []}
    assert org.query("SELECT COUNT() FROM Lead LIMIT 7")["totalSize"] == 7


def test_aggregates_are_rows_with_an_alias_or_expr(org: Org) -> None:
    org.lead(Score__c=10)
    org.lead(Score__c=20, Rank__c="A")
    (record,) = org.rows("SELECT COUNT(Id) c, MAX(SystemModstamp), AVG(Score__c) a FROM Lead")

    assert record["attributes"] == {"type": "AggregateResult"}
    assert record["c"] == 2
    assert record["expr0"].endswith(".000+0000")
    assert record["a"] == 15.0
    assert org.rows("SELECT MAX(Score__c) m FROM Lead WHERE Name = 'nobody'")[0]["m"] is None


def test_group_by_counts_each_group(org: Org) -> None:
    for rank in ("A", "A", "B"):
        org.lead(Rank__c=rank)
    rows = org.rows("SELECT Rank__c, COUNT(Id) n FROM Lead GROUP BY Rank__c ORDER BY Rank__c")

    assert [(row["Rank__c"], row["n"]) for row in rows] == [("A", 2), ("B", 1)]


def test_pages_hold_every_record_once(org: Org) -> None:
    load(org, 1050)
    answer = org.query("SELECT Name FROM Lead ORDER BY Name", batch_size=500)
    names = [record["Name"] for record in answer["records"]]
    sizes = [len(names)]
    while not answer["done"]:
        assert answer["nextRecordsUrl"].startswith("/services/data/v62.0/query/01g")
        locator = answer["nextRecordsUrl"].rpartition("/")[2]
        answer = org.queries.query_more(locator, user_id=org.user, version="62.0", batch_size=500)
        sizes.append(len(answer["records"]))
        names += [record["Name"] for record in answer["records"]]

    assert sizes == [500, 500, 50]
    assert "nextRecordsUrl" not in answer
    assert names == [f"Person {n:06}" for n in range(1050)]
    assert answer["totalSize"] == 1050


def test_a_cursor_dies_after_two_days(org: Org) -> None:
    load(org, 300)
    answer = org.query("SELECT Id FROM Lead", batch_size=200)
    locator = answer["nextRecordsUrl"].rpartition("/")[2]
    org.clock.advance(2 * 24 * 3600 + 1)

    with pytest.raises(SalesforceError) as error:
        org.queries.query_more(locator, user_id=org.user, version="62.0")

    assert error.value.code == "INVALID_QUERY_LOCATOR"


def test_a_cursor_of_another_user_is_invalid(org: Org) -> None:
    load(org, 300)
    locator = org.query("SELECT Id FROM Lead", batch_size=200)["nextRecordsUrl"].rpartition("/")[2]

    with pytest.raises(SalesforceError, match="INVALID_QUERY_LOCATOR"):
        org.queries.query_more(locator, user_id=org.store.admin.id, version="62.0")


def test_a_record_deleted_between_pages_is_left_out(org: Org) -> None:
    load(org, 250)
    answer = org.query("SELECT Id, Name FROM Lead ORDER BY Name", batch_size=200)
    (last,) = org.column("SELECT Id FROM Lead WHERE Name = 'Person 000249'", "Id")
    org.store.save_records("delete", "Lead", [{"Id": last}], user_id=org.store.admin.id)
    locator = answer["nextRecordsUrl"].rpartition("/")[2]
    more = org.queries.query_more(locator, user_id=org.user, version="62.0")

    assert len(more["records"]) == 49


def test_query_hides_deleted_records_and_query_all_shows_them(org: Org) -> None:
    one = org.lead()
    org.store.save_records("delete", "Lead", [{"Id": one}], user_id=org.store.admin.id)

    assert org.rows("SELECT Id FROM Lead") == []
    assert org.column("SELECT IsDeleted FROM Lead", "IsDeleted", include_deleted=True) == [True]


def test_ties_come_in_no_useful_order_unless_told(org: Org) -> None:
    load(org, 400)
    ids = sorted(org.column("SELECT Id FROM Lead", "Id"))

    assert org.column("SELECT Id FROM Lead", "Id") != ids
    assert org.column("SELECT Id FROM Lead ORDER BY SystemModstamp", "Id") != ids
    assert org.column("SELECT Id FROM Lead ORDER BY SystemModstamp, Id", "Id") == ids
    org.options.set("shuffle_ties", False)
    assert org.column("SELECT Id FROM Lead ORDER BY SystemModstamp", "Id") == ids


def test_keyset_paging_over_ties_reads_each_record_once(org: Org) -> None:
    load(org, 450)
    stamp = org.column("SELECT SystemModstamp FROM Lead LIMIT 1", "SystemModstamp")[0]
    literal = stamp.replace("+0000", "Z")
    seen: list[str] = []
    last = "000000000000000"
    while True:
        page = org.column(
            f"SELECT Id FROM Lead WHERE SystemModstamp > {literal} OR (SystemModstamp = {literal} "
            f"AND Id > '{last}') ORDER BY SystemModstamp, Id LIMIT 100",
            "Id",
        )
        if not page:
            break
        seen += page
        last = page[-1]

    assert len(seen) == len(set(seen)) == 450


def test_a_field_without_read_access_is_no_such_column(org: Org) -> None:
    org.store.set_field_permission(org.user, "Lead", "Score__c", read=False, edit=False)

    with pytest.raises(SalesforceError, match="No such column 'Score__c' on entity 'Lead'"):
        org.query("SELECT Score__c FROM Lead")
    with pytest.raises(SalesforceError, match="No such column"):
        org.query("SELECT Id FROM Lead WHERE Score__c = 1")


def test_a_hidden_standard_parent_field_is_no_such_column(org: Org) -> None:
    org.store.set_field_permission(org.user, "Account", "Website", read=False, edit=False)

    with pytest.raises(SalesforceError, match="No such column 'Website' on entity 'Account'"):
        org.query("SELECT Account.Website FROM Contact")


def test_an_object_without_read_access_is_not_supported(org: Org) -> None:
    org.store.set_object_permission(org.user, "Account", read=False, create=False, edit=False)

    with pytest.raises(SalesforceError, match="INVALID_TYPE"):
        org.query("SELECT Id FROM Account")
    with pytest.raises(SalesforceError, match="Didn't understand relationship 'Account'"):
        org.query("SELECT Account.Name FROM Contact")


def test_values_have_the_form_of_bulk_csv(org: Org) -> None:
    (account,) = org.insert("Account", {"Name": 'A "quoted", name'})
    org.insert(
        "Contact",
        {"LastName": "Zoë\n二", "AccountId": account, "DoNotCall": True},
    )
    org.lead(
        Score__c=87,
        Ratio__c=0.5,
        AnnualRevenue=1.6147805824397e13,
        NumberOfEmployees=12,
        Scored_at__c="2026-01-02T03:04:05Z",
    )
    leads = body(
        export(
            org,
            "SELECT Score__c, Ratio__c, AnnualRevenue, NumberOfEmployees, Scored_at__c FROM Lead",
        )
    )
    contacts = export(org, "SELECT LastName, Account.Name, DoNotCall, Phone FROM Contact")

    assert contacts.header == b'"LastName","Account.Name","DoNotCall","Phone"\n'
    assert body(contacts).decode() == '"Zoë\n二","A ""quoted"", name","true",""\n'
    assert leads == b'"87.0","0.5","1.6147805824397E13","12","2026-01-02T03:04:05.000Z"\n'


def test_bulk_csv_can_have_another_delimiter_and_line_ending(org: Org) -> None:
    org.lead()
    spool = export(org, "SELECT LastName, Company FROM Lead", delimiter="|", line_ending="\r\n")

    assert spool.header + body(spool) == b'"LastName"|"Company"\r\n"Lee"|"Firm"\r\n'


@pytest.mark.parametrize("size", [1, 7, 499, 500, 501, 1200, 5000])
def test_pages_of_any_size_put_together_are_the_whole_result(org: Org, size: int) -> None:
    org.store.load(
        "Lead",
        ["LastName", "Company"],
        ([f'Line\nbreak "{n}"\r\n, {n}', "Firm"] for n in range(1200)),
    )
    spool = export(org, "SELECT Id, LastName FROM Lead")
    whole = body(spool)
    parts = []
    start = 0
    while start < spool.row_count:
        count, blocks = spool.page(start, size)
        page = b"".join(blocks)
        assert len(list(csv.reader(io.StringIO(page.decode(), newline="")))) == count
        parts.append(page)
        start += count

    assert b"".join(parts) == whole
    assert spool.page(1200, 10)[0] == 0


def test_a_result_can_be_opened_again(org: Org) -> None:
    load(org, 700)
    spool = export(org, "SELECT Id FROM Lead")
    again = ResultSpool(spool.path)

    assert again.row_count == 700
    assert again.header == spool.header
    assert body(again, 600) == body(spool, 600)


def test_bulk_rows_come_in_no_useful_order_unless_sorted(org: Org) -> None:
    load(org, 300)
    names = [f'"Person {n:06}"' for n in range(300)]

    assert body(export(org, "SELECT Name FROM Lead")).decode().splitlines() != names
    assert body(export(org, "SELECT Name FROM Lead ORDER BY Name")).decode().splitlines() == names


@pytest.mark.parametrize(
    "soql",
    [
        "SELECT COUNT() FROM Lead",
        "SELECT MAX(CreatedDate) FROM Lead",
        "SELECT Rank__c FROM Lead GROUP BY Rank__c",
        "SELECT Id FROM Lead LIMIT 5 OFFSET 5",
        "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
        "SELECT TYPEOF Owner WHEN User THEN Id END FROM Lead",
        "SELECT Address FROM Lead",
        "SELECT FIELDS(ALL) FROM Lead LIMIT 10",
    ],
)
def test_bulk_refuses_what_it_does_not_run(org: Org, soql: str) -> None:
    with pytest.raises(SalesforceError, match="not supported in Bulk Query") as error:
        org.queries.prepare_bulk(soql, user_id=org.user, include_deleted=False)

    assert error.value.status == 400


def test_bulk_tells_a_wrong_query_when_the_job_is_made(org: Org) -> None:
    with pytest.raises(SalesforceError, match="No such column 'Foo'"):
        org.queries.prepare_bulk("SELECT Foo FROM Lead", user_id=org.user, include_deleted=False)
    made = org.queries.prepare_bulk(
        "select id, owner.name from lead", user_id=org.user, include_deleted=True
    )

    assert (made.object_name, made.header) == ("Lead", ["Id", "Owner.Name"])


def test_a_formula_over_a_parent_changes_without_any_stamp_moving(org: Org) -> None:
    org.add_fields(
        "Contact",
        Size__c={
            "type": "Text",
            "formula": 'IF(Account.NumberOfEmployees > 100, "big " & Account.Name, "small")',
        },
    )
    (account,) = org.insert("Account", {"Name": "Acme", "NumberOfEmployees": 5})
    org.insert("Contact", {"LastName": "A", "AccountId": account})
    before = org.rows("SELECT Size__c, SystemModstamp, LastModifiedDate FROM Contact")[0]
    org.clock.advance(60)
    org.save("update", "Account", {"Id": account, "NumberOfEmployees": 500})
    after = org.rows("SELECT Size__c, SystemModstamp, LastModifiedDate FROM Contact")[0]

    assert (before["Size__c"], after["Size__c"]) == ("small", "big Acme")
    assert before["SystemModstamp"] == after["SystemModstamp"]
    assert org.column("SELECT Name FROM Contact WHERE Size__c LIKE 'BIG%'") == ["A"]
    assert body(export(org, "SELECT Size__c FROM Contact")) == b'"big Acme"\n'
