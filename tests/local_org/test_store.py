"""Saving: stamps, chunks, ids, unique keys, rules, flows, locks, late commits, restarts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local_org import ids
from local_org.clock import Clock
from local_org.errors import SalesforceError
from local_org.options import Options
from local_org.store import Store
from local_org.values import Json
from tests.local_org.data import FIELDS, Org

KEYS = (
    "aggregatable aiPredictionField autoNumber byteLength calculated calculatedFormula "
    "cascadeDelete caseSensitive compoundFieldName controllerName createable custom "
    "defaultValue defaultValueFormula defaultedOnCreate dependentPicklist "
    "deprecatedAndHidden digits displayLocationInDecimal encrypted externalId extraTypeInfo "
    "filterable filteredLookupInfo formulaTreatNullNumberAsZero groupable highScaleNumber "
    "htmlFormatted idLookup inlineHelpText label length mask maskType name nameField "
    "namePointing nillable permissionable picklistValues polymorphicForeignKey precision "
    "queryByDistance referenceTargetField referenceTo relationshipName relationshipOrder "
    "restrictedDelete restrictedPicklist scale searchPrefilterable soapType sortable type "
    "unique updateable writeRequiresMasterRead"
)
"""What CumulusCI's recordings of a real org show of a field (API notes 2.1)."""


@pytest.fixture
def org(tmp_path: Path) -> Iterator[Org]:
    made = Org(tmp_path / "org.sqlite3")
    made.add_fields("Lead", **FIELDS)
    yield made
    made.store.close()


def stamps(org: Org, record_id: str, name: str = "Lead") -> tuple[str, str]:
    record = org.store.get_record(name, record_id, org.user, "62.0")
    return record["LastModifiedDate"], record["SystemModstamp"]


# --- ids ---


def test_the_suffix_of_documented_ids_is_right() -> None:
    assert ids.to18("01gD0000002HU6K") == "01gD0000002HU6KIAW"
    assert ids.to18("750R0000000zlh9") == "750R0000000zlh9IAA"


def test_ids_made_in_bulk_are_those_made_one_by_one() -> None:
    made = ids.IdMaker("00Q").ids(3_800, 4_000)

    assert made == [ids.make_id("00Q", serial) for serial in range(3_800, 7_800)]
    assert made == sorted(made)


def test_an_18_character_id_survives_case_folding_and_15_characters_do_not() -> None:
    one = ids.make_id("00Q", 123_456)

    assert ids.normalise(one.lower()) == one
    assert ids.normalise(one[:15]) == one
    assert ids.normalise(one[:15].lower()) != one


def test_a_record_is_found_by_15_or_18_characters(org: Org) -> None:
    one = org.lead(City="Rome")

    assert org.column(f"SELECT City FROM Lead WHERE Id = '{one[:15]}'", "City") == ["Rome"]
    assert org.table("update", "Lead", ["Id", "City"], [one[:15], "Oslo"])[0].id == one


# --- stamps and chunks ---


def test_an_update_moves_both_stamps_even_when_nothing_changes(org: Org) -> None:
    one = org.lead(City="Rome")
    before = stamps(org, one)
    org.clock.advance(5)
    org.save("update", "Lead", {"Id": one, "City": "Rome"})

    after = stamps(org, one)
    assert after[0] == after[1] > before[1]


def test_an_update_that_changes_nothing_can_leave_the_stamps(org: Org) -> None:
    org.options.set("no_change_update_moves_stamp", False)
    one = org.lead(City="Rome")
    before = stamps(org, one)
    org.clock.advance(5)

    assert org.save("update", "Lead", {"Id": one, "City": "Rome"})[0].success
    assert stamps(org, one) == before
    org.save("update", "Lead", {"Id": one, "City": "Oslo"})
    assert stamps(org, one) > before


def test_each_chunk_of_200_rows_has_one_stamp_of_whole_seconds(org: Org) -> None:
    org.clock.freeze(False)
    org.store.load("Lead", ["LastName", "Company"], ([f"P{n}", "F"] for n in range(450)))
    ids_sent = sorted(org.column("SELECT Id FROM Lead", "Id"))
    chunks = org.store.save_table(
        "update",
        "Lead",
        ["Id", "City"],
        ([one, "Rome"] for one in ids_sent),
        user_id=org.user,
        chunks_together=1,
    )
    sizes = []
    for chunk in chunks:
        sizes.append(len(chunk))
        org.clock.advance(60)
    found = {r["Id"]: r["SystemModstamp"] for r in org.rows("SELECT Id, SystemModstamp FROM Lead")}
    by_chunk = [{found[one] for one in ids_sent[at : at + 200]} for at in (0, 200, 400)]

    assert sizes == [200, 200, 50]
    assert [len(seen) for seen in by_chunk] == [1, 1, 1]
    assert len(set.union(*by_chunk)) == 3
    assert all(stamp.endswith(".000+0000") for seen in by_chunk for stamp in seen)


def test_the_stamp_is_the_orgs_clock(org: Org) -> None:
    org.clock.set_now(datetime(2024, 2, 29, 12, tzinfo=UTC))
    one = org.lead()

    assert stamps(org, one)[1] == "2024-02-29T12:00:00.000+0000"


def test_a_new_record_is_stamped_owned_and_defaulted(org: Org) -> None:
    record = org.store.get_record("Lead", org.lead(), org.user, "62.0")

    assert record["OwnerId"] == record["CreatedById"] == record["LastModifiedById"] == org.user
    assert record["Status"] == "Open - Not Contacted"
    assert record["IsConverted"] is False
    assert record["Hot__c"] is False


# --- rows that fail ---


def test_the_same_id_twice_in_a_chunk_fails_the_later_row_or_both(org: Org) -> None:
    one = org.lead()
    rows = [[one, "Rome"], [one[:15], "Oslo"]]
    first, second = org.table("update", "Lead", ["Id", "City"], *rows)
    assert (first.success, second.success) == (True, False)
    assert second.errors[0].as_csv() == f"DUPLICATE_VALUE:Duplicate id specified: {one}:Id --"

    org.options.set("duplicate_id_fails", "all")
    assert not any(result.success for result in org.table("update", "Lead", ["Id", "City"], *rows))


def test_in_different_chunks_the_last_of_the_same_id_wins(org: Org) -> None:
    org.options.set("chunk_rows", 1)
    one = org.lead()
    org.table("update", "Lead", ["Id", "City"], [one, "Rome"], [one, "Oslo"])

    assert org.one("Lead", one, "City") == "Oslo"


def test_ids_that_are_missing_malformed_foreign_or_unknown_fail_their_rows(org: Org) -> None:
    (account,) = org.insert("Account", {"Name": "Acme"})
    unknown = ids.make_id("00Q", 999_999)
    results = org.table(
        "update", "Lead", ["Id", "City"], ["", "x"], ["bad", "x"], [account, "x"], [unknown, "x"]
    )

    assert [result.errors[0].as_csv() for result in results] == [
        "MISSING_ARGUMENT:Id not specified in an update call:--",
        "MALFORMED_ID:Lead ID: id value of incorrect type: bad:Id --",
        f"INVALID_CROSS_REFERENCE_KEY:Lead ID: id value of incorrect type: {account}:Id --",
        "INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--",
    ]


def test_all_or_none_undoes_the_good_rows(org: Org) -> None:
    results = org.save(
        "insert",
        "Lead",
        {"LastName": "A", "Company": "F"},
        {"LastName": "B"},
        all_or_none=True,
    )

    assert [result.errors[0].code for result in results] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "REQUIRED_FIELD_MISSING",
    ]
    assert results[0].id == ""
    assert org.query("SELECT COUNT() FROM Lead")["totalSize"] == 0


def test_a_unique_key_cannot_be_held_twice(org: Org) -> None:
    first = org.lead(Key__c="Abc")
    second = org.lead()

    assert org.error("update", "Lead", {"Id": second, "Key__c": "aBC"}) == (
        "DUPLICATE_VALUE",
        f"duplicate value found: Key__c duplicates value on record with id: {first[:15]}",
    )
    assert org.save("update", "Lead", {"Id": first, "Key__c": "ABC"})[0].success
    twice = org.save(
        "insert",
        "Lead",
        *({"LastName": "x", "Company": "y", "Key__c": "new"} for _ in range(2)),
    )
    assert [result.success for result in twice] == [True, False]


def test_upsert_inserts_what_is_new_and_updates_what_is_there(org: Org) -> None:
    one = org.lead(Key__c="k1")
    results = org.table(
        "upsert",
        "Lead",
        ["Key__c", "LastName", "Company"],
        ["k1", "Changed", "F"],
        ["k2", "New", "F"],
        ["", "None", "F"],
        external_id_field="Key__c",
    )

    assert [(r.success, r.created) for r in results] == [
        (True, False),
        (True, True),
        (False, False),
    ]
    assert results[0].id == one
    assert results[2].errors[0].code == "MISSING_ARGUMENT"
    assert org.one("Lead", one, "LastName") == "Changed"
    assert (
        org.store.get_by_external_id("Lead", "Key__c", "K2", org.user, "62.0")["LastName"] == "New"
    )


def test_a_parent_is_found_by_its_external_id(org: Org) -> None:
    org.add_fields("Account", Key__c={"type": "Text", "length": 20, "externalId": True})
    (account,) = org.insert("Account", {"Name": "Acme", "Key__c": "K-1"})
    good, bad = org.table(
        "insert", "Contact", ["LastName", "Account.Key__c"], ["A", "k-1"], ["B", "none"]
    )
    (nested,) = org.insert("Contact", {"LastName": "C", "Account": {"Key__c": "K-1"}})

    assert org.one("Contact", good.id, "AccountId") == account
    assert org.one("Contact", nested, "AccountId") == account
    assert bad.errors[0].message == (
        "Foreign key external ID: none not found for field Key__c in entity Account"
    )


def test_a_user_without_edit_access_changes_nothing(org: Org) -> None:
    one = org.lead()
    org.store.set_object_permission(org.user, "Lead", read=True, create=False, edit=False)

    with pytest.raises(SalesforceError) as error:
        org.save("update", "Lead", {"Id": one, "City": "Rome"})
    (row,) = org.table("update", "Lead", ["Id"], [one])

    assert (error.value.status, error.value.code) == (403, "INSUFFICIENT_ACCESS_OR_READONLY")
    assert row.errors[0].code == "INSUFFICIENT_ACCESS_OR_READONLY"


def test_a_record_can_be_read_only_for_all(org: Org) -> None:
    one, other = org.lead(), org.lead()
    org.store.make_read_only([one])
    results = org.save("update", "Lead", {"Id": one, "City": "x"}, {"Id": other, "City": "x"})

    assert results[0].errors[0].code == "INSUFFICIENT_ACCESS_OR_READONLY"
    assert results[1].success


def test_a_locked_row_fails_as_often_as_asked(org: Org) -> None:
    one = org.lead()
    org.store.lock_rows([one], times=2)
    tries = [org.table("update", "Lead", ["Id", "City"], [one, "x"])[0] for _ in range(3)]

    assert [result.success for result in tries] == [False, False, True]
    assert tries[0].errors[0].as_csv() == (
        "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 1 records: "
        f"{one}:--"
    )


def test_locks_by_chance_are_repeatable_and_can_take_the_chunk(org: Org) -> None:
    org.store.load("Lead", ["LastName", "Company"], ([f"P{n}", "F"] for n in range(400)))
    every = org.column("SELECT Id FROM Lead", "Id")
    org.options.set("lock_probability", 0.05)
    results = org.table("update", "Lead", ["Id", "City"], *([one, "x"] for one in every))
    failed = [result for result in results if not result.success]
    assert 0 < len(failed) < 100
    assert {result.errors[0].code for result in failed} == {"UNABLE_TO_LOCK_ROW"}

    org.options.set("lock_whole_chunk", True)
    results = org.table("update", "Lead", ["Id", "City"], *([one, "x"] for one in every[:200]))
    assert not any(result.success for result in results)


def test_a_failing_trigger_takes_its_chunk_of_200(org: Org) -> None:
    org.store.load("Lead", ["LastName", "Company"], ([f"P{n}", "F"] for n in range(250)))
    org.store.fail_chunks("Lead", count=1, message="LeadTrigger: execution of BeforeUpdate")
    every = org.column("SELECT Id FROM Lead", "Id")
    results = org.table("update", "Lead", ["Id", "City"], *([one, "x"] for one in every))

    assert [result.success for result in results] == [False] * 200 + [True] * 50
    assert results[0].errors[0].code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"


# --- rules and flows ---


def test_a_validation_rule_refuses_the_rows_it_matches_with_its_own_text(org: Org) -> None:
    org.store.add_validation_rule(
        "Lead", "Old", "City = 'Rome' AND Score__c > 50", "Rome is full", "Score__c"
    )
    rome, oslo = org.lead(City="Rome"), org.lead(City="Oslo")
    bad, good = org.table("update", "Lead", ["Id", "Score__c"], [rome, "90"], [oslo, "90"])

    assert bad.errors[0].as_csv() == ("FIELD_CUSTOM_VALIDATION_EXCEPTION:Rome is full:Score__c --")
    assert good.success
    assert org.one("Lead", rome, "Score__c") is None
    assert org.one("Lead", oslo, "Score__c") == 90
    assert (
        org.save(
            "insert", "Lead", {"LastName": "x", "Company": "y", "City": "Rome", "Score__c": 60}
        )[0]
        .errors[0]
        .message
        == "Rome is full"
    )

    org.store.remove_validation_rule("Lead", "Old")
    assert org.table("update", "Lead", ["Id", "Score__c"], [rome, "90"])[0].success


def test_a_rule_that_is_no_condition_is_refused_at_once(org: Org) -> None:
    with pytest.raises(SalesforceError, match="No such column 'Nope'"):
        org.store.add_validation_rule("Lead", "Bad", "Nope = 1", "text")


def test_a_flow_rewrites_its_field_at_each_save(org: Org) -> None:
    org.store.add_flow("Lead", "Count", "Title", "append_counter")
    org.store.add_flow("Lead", "Loud", "City", "upper")
    org.store.add_flow("Lead", "Sum", "Company", '=LastName & " and " & City')
    one = org.lead(Title="Boss", City="rome")
    first = org.one("Lead", one, "Title")
    org.save("update", "Lead", {"Id": one, "Score__c": 1})
    second = org.one("Lead", one, "Title")

    assert first.startswith("Boss #")
    assert second.startswith("Boss #")
    assert first != second
    assert org.one("Lead", one, "City") == "ROME"
    assert org.one("Lead", one, "Company") == "Lee and ROME"


# --- late commits ---


def test_a_late_commit_appears_later_with_its_earlier_stamp(org: Org) -> None:
    early = org.lead(City="before")
    org.store.hold_next_saves(300, saves=2)
    began = org.clock.stamp()
    (late,) = org.insert("Lead", {"LastName": "Late", "Company": "F"})
    org.save("update", "Lead", {"Id": early, "City": "after"})
    org.clock.advance(299)
    assert org.column("SELECT Name FROM Lead") == ["Lee"]
    assert org.one("Lead", early, "City") == "before"

    org.clock.advance(1)
    assert set(org.column("SELECT Name FROM Lead")) == {"Lee", "Late"}
    assert org.one("Lead", early, "City") == "after"
    assert stamps(org, late)[1] == began.replace("Z", "+0000")
    assert org.lead() > late


def test_a_late_commit_can_have_the_stamp_of_its_commit(org: Org) -> None:
    org.options.set("late_commit_stamp", "commit")
    org.store.hold_next_saves(300)
    (late,) = org.insert("Lead", {"LastName": "Late", "Company": "F"})
    org.clock.advance(300)

    assert stamps(org, late)[1] == org.clock.stamp().replace("Z", "+0000")


def test_rows_of_a_late_commit_are_locked_until_then(org: Org) -> None:
    one = org.lead()
    org.store.hold_next_saves(300)
    org.save("update", "Lead", {"Id": one, "City": "x"})

    assert org.error("update", "Lead", {"Id": one, "City": "y"})[0] == "UNABLE_TO_LOCK_ROW"
    org.clock.advance(300)
    assert org.save("update", "Lead", {"Id": one, "City": "y"})[0].success


# --- schema, permissions, restart ---


def test_describe_gives_every_key_that_a_real_field_has(org: Org) -> None:
    fields = {f["name"]: f for f in org.store.describe("Lead", org.user, "62.0")["fields"]}

    assert set(fields["Score__c"]) == set(KEYS.split())
    score = fields["Score__c"]
    assert (score["type"], score["soapType"], score["precision"], score["scale"]) == (
        "double",
        "xsd:double",
        3,
        0,
    )
    assert (score["length"], score["digits"], score["custom"], score["nillable"]) == (
        0,
        0,
        True,
        True,
    )
    assert (fields["Hash__c"]["type"], fields["Hash__c"]["byteLength"]) == ("textarea", 765)
    assert (fields["LastName"]["length"], fields["LastName"]["byteLength"]) == (80, 240)
    assert fields["LastName"]["compoundFieldName"] == "Name"
    assert fields["OwnerId"]["referenceTo"] == ["Group", "User"]
    assert fields["Description"]["filterable"] is False
    assert fields["IsConverted"]["createable"] is True
    assert fields["IsConverted"]["updateable"] is False
    assert fields["Hot__c"]["defaultValue"] is False
    assert [value["value"] for value in fields["Tier__c"]["picklistValues"]] == [
        "Zeta",
        "Alpha",
        "Old",
    ]
    assert fields["NumberOfEmployees"]["digits"] == 8


def test_a_new_custom_field_is_seen_by_nobody_until_it_is_granted(org: Org) -> None:
    admin = org.store.admin.id
    org.store.create_custom_field("Lead.New__c", {"label": "New", "type": "Date"}, user_id=admin)
    for user_id in (admin, org.user):
        with pytest.raises(SalesforceError, match="No such column"):
            org.queries.query("SELECT New__c FROM Lead", user_id=user_id, version="62.0")
    save = org.store.save_records
    (made,) = save("insert", "PermissionSet", [{"Name": "P", "Label": "P"}], user_id=admin)
    grant: dict[str, Json] = {
        "ParentId": made.id,
        "SobjectType": "Lead",
        "Field": "Lead.New__c",
        "PermissionsRead": True,
        "PermissionsEdit": True,
    }
    (granted,) = save("insert", "FieldPermissions", [grant], user_id=admin)
    assert granted.success, granted.errors
    assignment: dict[str, Json] = {"AssigneeId": org.user, "PermissionSetId": made.id}
    assert save("insert", "PermissionSetAssignment", [assignment], user_id=admin)[0].success

    assert org.lead(New__c="2026-01-02")
    assert org.column("SELECT New__c FROM Lead", "New__c") == ["2026-01-02"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PermissionsRead": False}, "FIELD_INTEGRITY_EXCEPTION"),
        ({"Field": "Lead.LastName"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"Field": "Lead.Nope__c"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    ],
)
def test_field_permissions_that_make_no_sense_are_refused(
    org: Org, changes: dict[str, Json], code: str
) -> None:
    admin = org.store.admin.id
    (made,) = org.store.save_records(
        "insert", "PermissionSet", [{"Name": "P", "Label": "P"}], user_id=admin
    )
    grant: dict[str, Json] = {
        "ParentId": made.id,
        "SobjectType": "Lead",
        "Field": "Lead.Score__c",
        "PermissionsRead": True,
        "PermissionsEdit": True,
    }
    grant |= changes
    (result,) = org.store.save_records("insert", "FieldPermissions", [grant], user_id=admin)

    assert result.errors[0].code == code


def test_the_integration_user_makes_no_fields_and_no_permissions(org: Org) -> None:
    with pytest.raises(SalesforceError, match="level of access"):
        org.store.create_custom_field("Lead.X__c", {"label": "X", "type": "Date"}, user_id=org.user)
    with pytest.raises(SalesforceError, match="INSUFFICIENT_ACCESS"):
        org.save("insert", "PermissionSet", {"Name": "P", "Label": "P"})


@pytest.mark.parametrize(
    ("name", "metadata", "code"),
    [
        ("Lead.Score__c", {"label": "S", "type": "Date"}, "DUPLICATE_DEVELOPER_NAME"),
        ("Lead.Score", {"label": "S", "type": "Date"}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Lead.A__b__c", {"label": "S", "type": "Date"}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Lead.X__c", {"label": "X", "type": "Number"}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Lead.X__c", {"label": "X", "type": "Text", "length": 256}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Lead.X__c", {"label": "X", "type": "Text"}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Lead.X__c", {"type": "Date"}, "REQUIRED_FIELD_MISSING"),
        ("Lead.X__c", {"label": "X", "type": "Summary"}, "INVALID_FIELD"),
        (
            "Lead.X__c",
            {"label": "X", "type": "Text", "formula": "NOPE(1)"},
            "FIELD_INTEGRITY_EXCEPTION",
        ),
        ("Nope.X__c", {"label": "X", "type": "Date"}, "INVALID_CROSS_REFERENCE_KEY"),
    ],
)
def test_a_field_that_cannot_be_is_refused(
    org: Org, name: str, metadata: dict[str, object], code: str
) -> None:
    with pytest.raises(SalesforceError) as error:
        org.store.create_custom_field(name, metadata, user_id=org.store.admin.id)

    assert error.value.code == code


def test_a_field_can_be_removed(org: Org) -> None:
    org.lead(Score__c=1, Key__c="k")
    org.store.delete_custom_field("Lead.Score__c")
    org.store.delete_custom_field("Lead.Key__c")

    with pytest.raises(SalesforceError, match="No such column 'Score__c'"):
        org.query("SELECT Score__c FROM Lead")


def test_a_schema_file_adds_fields_for_both_users_once(org: Org, tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(
        "Contact:\n  Score__c: {type: Number, precision: 3, scale: 0}\n", encoding="utf-8"
    )

    assert org.store.load_schema_file(path) == ["Contact.Score__c"]
    assert org.store.load_schema_file(path) == []
    for user in org.store.users():
        names = {f["name"] for f in org.store.describe("Contact", user.id, "62.0")["fields"]}
        assert "Score__c" in names


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "org.sqlite3"
    before = Org(path)
    before.add_fields("Lead", **FIELDS)
    one = before.lead(Score__c=5, Tier__c="Zeta")
    before.store.add_validation_rule("Lead", "R", "Score__c > 90", "no")
    before.store.set_field_permission(before.user, "Lead", "Rank__c", read=False, edit=False)
    before.store.hold_next_saves(100)
    before.insert("Lead", {"LastName": "Late", "Company": "F"})
    org_id, users = before.store.org_id, before.store.users()
    before.store.close()

    after = Org(path)
    try:
        assert after.store.org_id == org_id
        assert after.store.users() == users
        assert after.one("Lead", one, "Score__c") == 5
        assert after.error("update", "Lead", {"Id": one, "Score__c": 95})[1] == "no"
        assert after.error("update", "Lead", {"Id": one, "Tier__c": "Nope"})[0].startswith(
            "INVALID_OR"
        )
        with pytest.raises(SalesforceError, match="No such column 'Rank__c'"):
            after.query("SELECT Rank__c FROM Lead")
        after.clock.advance(200)
        assert after.query("SELECT COUNT() FROM Lead")["totalSize"] == 2
        assert after.lead() > one
    finally:
        after.store.close()


def test_readers_see_a_chunk_whole_or_not_at_all(org: Org) -> None:
    stop = threading.Event()
    seen: list[int] = []

    def watch() -> None:
        while not stop.is_set():
            seen.append(org.query("SELECT COUNT() FROM Lead")["totalSize"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    rows = ([f"P{n}", "F"] for n in range(2000))
    for _ in org.store.save_table(
        "insert", "Lead", ["LastName", "Company"], rows, user_id=org.user, chunks_together=1
    ):
        pass
    stop.set()
    watcher.join()

    assert seen == sorted(seen)
    assert all(count % 200 == 0 for count in seen)


def test_an_option_says_what_it_takes(tmp_path: Path) -> None:
    options = Options()
    options.set("person_accounts", "true")
    options.set("chunk_rows", "50")

    assert options.changed() == {"person_accounts": True, "chunk_rows": 50}
    with pytest.raises(ValueError, match="unknown option 'nope'"):
        options.set("nope", 1)
    with pytest.raises(
        ValueError, match=r"csv_header_case does not take 'x'; it takes exact \| ignore"
    ):
        options.set("csv_header_case", "x")
    with pytest.raises(ValueError, match="chunk_rows does not take True"):
        options.set("chunk_rows", True)
    assert all(entry["explanation"] for entry in Options.describe())


@pytest.mark.slow
def test_a_load_gives_consecutive_ids(tmp_path: Path) -> None:
    store = Store(tmp_path / "org.sqlite3", Clock(), Options())
    report = store.load("Lead", ["LastName", "Company"], ([f"P{n}", "F"] for n in range(100_000)))

    assert report.count == 100_000
    assert report.first_id is not None
    assert report.last_id is not None
    listed = list(store.load_ids("Lead", report.first_id, report.last_id))
    assert (len(listed), listed[0], listed[-1]) == (100_000, report.first_id, report.last_id)
    store.close()


def test_a_load_may_set_what_no_user_can_and_names_the_row_it_refuses(org: Org) -> None:
    org.store.load(
        "Lead",
        ["LastName", "Company", "CreatedDate", "SystemModstamp", "IsConverted"],
        [["A", "F", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "true"]],
    )
    (record,) = org.rows(
        "SELECT CreatedDate, LastModifiedDate, SystemModstamp, IsConverted FROM Lead"
    )
    assert record["CreatedDate"] == "2020-01-01T00:00:00.000+0000"
    assert record["LastModifiedDate"] == record["SystemModstamp"] == "2021-01-01T00:00:00.000+0000"
    assert record["IsConverted"] is True

    with pytest.raises(SalesforceError, match="row 2: Score__c does not take 'x'"):
        org.store.load("Lead", ["LastName", "Score__c"], [["A", "1"], ["B", "x"]])


def test_amounts_carry_their_currency_when_there_are_several(org: Org) -> None:
    with pytest.raises(SalesforceError, match="No such column 'CurrencyIsoCode'"):
        org.query("SELECT CurrencyIsoCode FROM Lead")
    org.options.set("multi_currency", True)
    org.lead(AnnualRevenue=5)
    org.lead(AnnualRevenue=5, CurrencyIsoCode="EUR")

    assert sorted(org.column("SELECT CurrencyIsoCode FROM Lead", "CurrencyIsoCode")) == [
        "EUR",
        "USD",
    ]
    assert org.column("SELECT AnnualRevenue FROM Lead", "AnnualRevenue") == [5.0, 5.0]
