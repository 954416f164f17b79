"""Records that are deleted, merged, converted, or people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_org.errors import SalesforceError
from tests.local_org.data import Org


@pytest.fixture
def org(tmp_path: Path) -> Iterator[Org]:
    made = Org(tmp_path / "org.sqlite3")
    yield made
    made.store.close()


def delete(org: Org, name: str, *record_ids: str) -> None:
    admin = org.store.admin.id
    results = org.store.save_records(
        "delete", name, [{"Id": one} for one in record_ids], user_id=admin
    )
    assert all(result.success for result in results), results


def test_a_deleted_record_is_gone_by_name_and_can_come_back(org: Org) -> None:
    one = org.lead()
    delete(org, "Lead", one)

    assert org.error("update", "Lead", {"Id": one, "City": "x"}) == (
        "ENTITY_IS_DELETED",
        "entity is deleted",
    )
    with pytest.raises(SalesforceError) as error:
        org.one("Lead", one, "City")
    assert (error.value.status, error.value.code) == (404, "ENTITY_IS_DELETED")
    org.store.save_records("undelete", "Lead", [{"Id": one}], user_id=org.store.admin.id)
    assert org.save("update", "Lead", {"Id": one, "City": "x"})[0].success


def test_a_hard_deleted_record_never_was(org: Org) -> None:
    one = org.lead()
    org.store.save_records("hardDelete", "Lead", [{"Id": one}], user_id=org.store.admin.id)

    assert org.rows("SELECT Id FROM Lead", include_deleted=True) == []
    assert org.lead() > one


def test_deletion_takes_the_right_to_delete(org: Org) -> None:
    one = org.lead()
    (result,) = org.table("delete", "Lead", ["Id"], [one])

    assert result.errors[0].code == "INSUFFICIENT_ACCESS_OR_READONLY"


def test_a_delete_job_holds_ids_alone(org: Org) -> None:
    with pytest.raises(SalesforceError) as error:
        org.table("delete", "Lead", ["Id", "City"], ["x", "y"])

    assert error.value.message == "InvalidBatch : The 'delete' batch must contain only ids"


def test_an_account_takes_its_contacts_along(org: Org) -> None:
    (account,) = org.insert("Account", {"Name": "Acme"})
    org.insert("Contact", {"LastName": "A", "AccountId": account}, {"LastName": "B"})
    delete(org, "Account", account)

    assert org.column("SELECT Name FROM Contact") == ["B"]


def test_a_merge_deletes_the_losers_and_reparents_their_children(org: Org) -> None:
    master, loser = org.insert("Account", {"Name": "Master"}, {"Name": "Loser"})
    org.insert("Contact", {"LastName": "A", "AccountId": loser})
    org.clock.advance(10)
    org.store.merge("Account", master, [loser], user_id=org.user)
    (gone,) = org.rows(
        "SELECT MasterRecordId, SystemModstamp FROM Account WHERE IsDeleted = true",
        include_deleted=True,
    )
    (left,) = org.rows("SELECT Id, SystemModstamp FROM Account")
    (contact,) = org.rows("SELECT AccountId, SystemModstamp FROM Contact")

    assert gone["MasterRecordId"] == left["Id"] == contact["AccountId"] == master
    assert (
        left["SystemModstamp"]
        == contact["SystemModstamp"]
        == org.clock.stamp().replace("Z", "+0000")
    )


def test_a_converted_lead_stays_visible_and_cannot_be_updated(org: Org) -> None:
    one = org.lead(FirstName="Ann", Company="Acme", Email="ann@example.com")
    made = org.store.convert_lead(one, user_id=org.user, create_opportunity=True)
    (lead,) = org.rows(
        "SELECT IsConverted, ConvertedDate, ConvertedAccountId, ConvertedContactId, "
        "ConvertedOpportunityId FROM Lead"
    )
    (contact,) = org.rows("SELECT Id, Name, Email, Account.Name FROM Contact")

    assert lead["IsConverted"] is True
    assert lead["ConvertedDate"] == org.clock.stamp()[:10]
    assert lead["ConvertedAccountId"] == made["accountId"]
    assert lead["ConvertedContactId"] == made["contactId"] == contact["Id"]
    assert lead["ConvertedOpportunityId"] == made["opportunityId"]
    assert (contact["Name"], contact["Email"], contact["Account"]["Name"]) == (
        "Ann Lee",
        "ann@example.com",
        "Acme",
    )
    (row,) = org.table("update", "Lead", ["Id", "City"], [one, "x"])
    assert (
        row.errors[0].as_csv() == "CANNOT_UPDATE_CONVERTED_LEAD:cannot reference converted lead:--"
    )
    org.options.set("edit_converted_leads", True)
    assert org.table("update", "Lead", ["Id", "City"], [one, "x"])[0].success


def test_updated_and_deleted_ids_are_listed_by_time(org: Org) -> None:
    first, second = org.lead(), org.lead()
    start = org.clock.now()
    org.clock.advance(60)
    org.save("update", "Lead", {"Id": first, "City": "x"})
    delete(org, "Lead", second)
    org.clock.advance(60)
    end = org.clock.now()
    start = start.replace(microsecond=0)

    assert org.store.updated_ids("Lead", start, end, org.user) == [first]
    assert [one for one, _ in org.store.deleted_ids("Lead", start, end, org.user)] == [second]


def test_collections_read_keeps_the_order_of_the_ids(org: Org) -> None:
    first, second, third = org.lead(City="1"), org.lead(City="2"), org.lead(City="3")
    delete(org, "Lead", second)
    records = org.store.get_records(
        "Lead", [third, second, "nonsense", first[:15]], ["Id", "City"], org.user, "62.0"
    )

    assert [record and record["City"] for record in records] == ["3", None, None, "1"]
    with pytest.raises(SalesforceError, match="No such column 'Nope'"):
        org.store.get_records("Lead", [first], ["Nope"], org.user, "62.0")


# --- person accounts ---


def test_without_person_accounts_there_is_no_trace_of_them(org: Org) -> None:
    names = {f["name"] for f in org.store.describe("Contact", org.user, "62.0")["fields"]}

    assert "IsPersonAccount" not in names
    with pytest.raises(SalesforceError, match="No such column 'IsPersonAccount'"):
        org.query("SELECT IsPersonAccount FROM Account")
    with pytest.raises(SalesforceError, match="person accounts are off"):
        org.store.create_person_account({"LastName": "x"}, user_id=org.user)


def test_a_person_account_and_its_contact_are_one_person(org: Org) -> None:
    org.options.set("person_accounts", True)
    org.add_fields("Contact", Score__c={"type": "Number", "precision": 3, "scale": 0})
    account, contact = org.store.create_person_account(
        {"FirstName": "Ann", "LastName": "Lee", "PersonEmail": "ann@example.com"}, user_id=org.user
    )
    (person,) = org.rows("SELECT Name, IsPersonAccount, PersonContactId FROM Account")
    (hidden,) = org.rows("SELECT Id, Name, Email, IsPersonAccount, AccountId FROM Contact")

    assert (person["Name"], person["IsPersonAccount"]) == ("Ann Lee", True)
    assert person["PersonContactId"] == hidden["Id"] == contact
    assert (hidden["Name"], hidden["Email"]) == ("Ann Lee", "ann@example.com")
    assert (hidden["IsPersonAccount"], hidden["AccountId"]) == (True, account)

    org.clock.advance(10)
    org.save("update", "Contact", {"Id": contact, "LastName": "Ray", "Score__c": 7})
    after = org.store.get_record("Account", account, org.store.admin.id, "62.0")
    assert (after["Name"], after["SystemModstamp"]) == (
        "Ann Ray",
        org.clock.stamp().replace("Z", "+0000"),
    )
    org.save("update", "Account", {"Id": account, "PersonEmail": "ray@example.com"})
    assert org.one("Contact", contact, "Email") == "ray@example.com"
    assert org.error("update", "Account", {"Id": account, "Name": "x"})[0] == (
        "INVALID_FIELD_FOR_INSERT_UPDATE"
    )


def test_business_accounts_are_as_before_when_person_accounts_are_on(org: Org) -> None:
    org.options.set("person_accounts", True)
    (account,) = org.insert("Account", {"Name": "Acme"})
    org.insert("Contact", {"LastName": "A", "AccountId": account})

    assert org.column("SELECT IsPersonAccount FROM Account", "IsPersonAccount") == [False]
    assert org.column("SELECT IsPersonAccount FROM Contact", "IsPersonAccount") == [False]


def test_a_contact_can_move_its_accounts_stamp(org: Org) -> None:
    org.options.set("rollup_moves_parent_stamp", True)
    (account,) = org.insert("Account", {"Name": "Acme"})
    org.clock.advance(10)
    org.insert("Contact", {"LastName": "A", "AccountId": account})
    record = org.store.get_record("Account", account, org.user, "62.0")

    assert record["SystemModstamp"] > record["LastModifiedDate"]
