"""The demo's companies, people and edits: real, messy, and the same each time."""

from __future__ import annotations

import re

import pytest

from demo.companies import companies, listed, parse_head_count
from demo.people import ACCOUNT_KEY, FREE_MAIL, contacts, domain_of, leads
from demo.salesperson import edits

LENGTHS = {
    "Name": 255,
    "Website": 255,
    "Industry": 255,
    "BillingCountry": 80,
    "BillingCity": 40,
    "TickerSymbol": 20,
    "Description": 32_000,
}
PERSON_LENGTHS = {"FirstName": 40, "LastName": 80, "Title": 128, "Phone": 40, "Email": 80}


def test_there_are_about_1800_real_companies_of_many_countries() -> None:
    accounts = companies()

    assert len(accounts) > 1800
    assert {"Siemens", "Apple Inc."} & {company.name for company in listed()}
    assert len({account.get("BillingCountry") for account in accounts}) > 15
    assert sum("NumberOfEmployees" in account for account in accounts) > 1300


def test_companies_are_messy_in_the_ways_of_real_orgs() -> None:
    accounts = companies()
    websites = [str(account.get("Website", "")) for account in accounts]

    assert any("/" in website for website in websites)
    assert any(website.isupper() for website in websites)
    assert any(website and domain_of(website) is None for website in websites)
    assert any(not website for website in websites)
    assert {"USA", "US", "United States"} <= {str(a.get("BillingCountry")) for a in accounts}


def test_companies_fit_the_standard_fields() -> None:
    for account in companies():
        for field, length in LENGTHS.items():
            assert len(str(account.get(field, ""))) <= length
        assert 0 <= account.get("NumberOfEmployees", 0) <= 99_999_999


def test_a_limit_gives_the_first_of_all_companies() -> None:
    assert companies(7) == companies()[:7]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("12,345 (2024)", 12_345),
        ("c. 1,700 (2024)", 1_700),
        ("14.046 (December 2022)", 14_046),
        ("9 000 (2024)", 9_000),
        ("6,353 (NRI Group 13,278) as of March 31, 2020", 6_353),
        ("2,050 (non-consolidated) 50,867 (consolidated) (as of March 31, 2022)", 50_867),
        ("c. 16,000 : 2 (2025)", 16_000),
        ("10,000 employees as of February 22, 2022", 10_000),
        ("Over 1 million (est.)", 1_000_000),
        ("3,748 (June 30, 2023)[", 3_748),
        ("2000", 2_000),
        ("", None),
        ("unknown", None),
    ],
)
def test_head_counts_are_read_as_people_write_them(text: str, count: int | None) -> None:
    assert parse_head_count(text) == count


def test_people_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    assert contacts(1, 50) == contacts(1, 50)
    assert leads(1, 50) == leads(1, 50)
    assert contacts(1, 50) != contacts(2, 50)
    assert leads(1, 50) != leads(2, 50)
    assert leads(1, 80)[:50] == leads(1, 50)


def test_people_fit_the_standard_fields_and_have_valid_addresses() -> None:
    for person in contacts(4, 1500) + leads(4, 1500):
        assert person["LastName"]
        for field, length in PERSON_LENGTHS.items():
            assert len(person.get(field, "")) <= length
        address = person.get("Email")
        assert address is None or re.fullmatch(r"[a-z0-9.]+@[a-z0-9.-]+\.[a-z]{2,}", address)


@pytest.mark.slow
def test_contacts_point_at_companies_and_a_few_at_none() -> None:
    people = contacts(5, 1000)
    positions = [person.get(ACCOUNT_KEY) for person in people]

    assert 5 <= positions.count(None) <= 50
    assert all(p is None or 0 <= p < len(companies()) for p in positions)


def test_leads_spread_like_the_rows_the_market_was_trained_on() -> None:
    people = leads(6, 4000)
    rates = [person["Response_Rate__c"] for person in people if "Response_Rate__c" in person]
    candidates = sum(person["PI_Campaign_Candidate__c"] for person in people) / len(people)
    free = sum(person.get("Email", "@").split("@")[1] in FREE_MAIL for person in people)

    assert 0.84 < len(rates) / len(people) < 0.91
    assert sum(rates) / len(rates) == pytest.approx(48.4, abs=2)
    assert candidates == pytest.approx(0.7, abs=0.03)
    assert 0.2 < free / len(people) < 0.5


def test_every_edit_changes_something_and_names_a_record_that_was_given() -> None:
    accounts = [{"Id": f"001{i:012d}", **account} for i, account in enumerate(companies(40))]
    people = [{"Id": f"003{i:012d}", **person} for i, person in enumerate(contacts(1, 40))]
    prospects = [{"Id": f"00Q{i:012d}", **lead} for i, lead in enumerate(leads(1, 40))]
    records = {
        ("Account" if i.startswith("001") else "Contact" if i.startswith("003") else "Lead", i): r
        for r in accounts + people + prospects
        for i in [str(r["Id"])]
    }

    made = edits(1, accounts, people, prospects, count=300)

    assert len(made) == 300
    for name, record_id, changes in made:
        record = records[name, record_id]
        assert changes
        assert all(record.get(field) != value for field, value in changes.items()) or (
            changes.get("Responded_To_Last_Mailing__c") and len(changes) > 1
        )
    changed = {(name, field) for name, _, changes in made for field in changes}
    assert {
        ("Account", "Website"),
        ("Account", "NumberOfEmployees"),
        ("Contact", "Title"),
        ("Contact", "Phone"),
        ("Lead", "Response_Rate__c"),
    } <= changed
    assert made == edits(1, accounts, people, prospects, count=300)


def test_without_records_there_are_no_edits() -> None:
    assert edits(1, [], [], []) == []
