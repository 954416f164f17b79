"""People at the demo's companies: contacts and leads, the same for the same seed.

Names and titles are combined from the lists below, so nobody is a real person. Companies are real
(``demo.companies``). How a lead answered mailings is drawn from the rows that the
campaign_response market was trained on, so the demo's scores spread as real ones do.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from demo.companies import companies

ACCOUNT_KEY = "_account"  # position of a contact's company in companies(); no Salesforce field
NEXT_MAILING = dt.date(2027, 1, 4)
FREE_MAIL = ("gmail.com", "outlook.com", "yahoo.com", "gmx.de", "web.de", "orange.fr", "proton.me")
LEAD_SOURCES = ("Web", "Trade Show", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")
_MAILINGS = (
    Path(__file__).resolve().parents[1]
    / "config/local/markets/campaign_response/training/mailings.csv"
)
_SALUTATIONS = ("Mr.", "Ms.", "Dr.", "Prof.")
_FIRST = tuple(
    """
    Aaliyah Adwoa Aiko Alejandro Amélie Anaïs Andrzej Ángel Anika Arjun Astrid Aylin Beatriz Björn
    Camille Carlos Chiara Chidi Çağla Clémence Dafydd Daan Dmitri Edith Eleni Elif Emeka Emma Erik
    Fatima Femke Fiona François Freja Giulia Grace Hana Hannah Haruto Helena Hiroshi Ingrid Isabel
    Ivan Jakub James Jana João Jörg José Juan Jürgen Kaito Katarzyna Kwame Lars Layla Lena Liam
    Louise Luca Łukasz Maëlle Magnus Maria Marta Matteo Mei Mercy Mohammed Naoko Ngozi Niamh
    Nicolás Noor Olivia Omar Paweł Priya Rahul Renée Rosa Ruth Sakura Samuel Sanne Siobhán Sofía
    Søren Stefan Sunita Takumi Tariq Thandiwe Théo Thomas Tomás Victoria Wei Yara Yuki Zeynep Zoë
    """.split()  # noqa: SIM905 (a name a line would be 90 lines)
)
_LAST = tuple(
    """
    Adeyemi Andersson Bauer Bianchi Boateng Brown Çelik Chen Costa Cruz Dąbrowski da-Silva
    de-la-Cruz Dubois Eriksen Fernández Ferrari Fischer García Gonçalves Großmann Gupta Haddad
    Hansen Hernández Hoffmann Ibrahim Ito Ivanov Jansen Janssens Jensen Johansson Jones Kaya Khan
    Kim Kobayashi Kowalski Kumar Lefèvre Leroy Lindqvist Lopez Łuczak Mäkinen Martin Mbeki
    McDonald Meyer Moreau Müller Murphy Nakamura Nguyễn Nielsen Novák Nowak O'Brien O'Connor
    Okafor Olsen Osei Papadopoulos Patel Pérez Popescu Quist Rossi Ruiz Sánchez Sato Schäfer
    Schmidt Sharma Smith Sørensen Šimůnek Suzuki Svensson Takahashi Tanaka Taylor van-den-Berg
    van-Dijk Virtanen Vogel Wagner Walsh Wang Weiß Williams Yamamoto Yılmaz Zhang Ziegler
    """.split()  # noqa: RUF001, SIM905 (likewise; Turkish has a dotless i)
)
_TITLES = (
    "CEO",
    "CFO",
    "Chief Information Officer",
    "Chief Marketing Officer",
    "VP Sales",
    "Vice President, Engineering",
    "SVP Human Resources",
    "Director of Operations",
    "Director, Brand & Communications",
    "Directrice financière",
    "Head of IT",
    "Head of Procurement",
    "Leiter Vertrieb",
    "Geschäftsführer",
    "Marketing Manager",
    "Product Manager",
    "Plant Manager",
    "Responsable achats",
    "Financial Controller",
    "Senior Accountant",
    "Data Analyst",
    "Software Developer",
    "Legal Counsel",
    "HR Business Partner",
    "Sales Executive",
    "Buyer",
    "Quality Engineer",
    "Executive Assistant",
    "Marketing Coordinator",
    "sales manager emea",
    "DIRECTOR OF SALES",
)


def contacts(seed: int, count: int) -> list[dict[str, Any]]:
    """Salesforce Contact fields of ``count`` people.

    ``ACCOUNT_KEY`` holds the position of their company in ``companies()``, to be replaced by an
    AccountId once the accounts are in an org; one in fifty has none (a contact without account).
    """
    chance = random.Random(f"contacts {seed}")  # noqa: S311 (a demo's data, not a secret)
    accounts = companies()
    people = []
    for number in range(count):
        position = chance.randrange(len(accounts))
        person = _person(accounts[position], number, chance)
        if chance.random() >= 0.02:  # noqa: PLR2004 (one in fifty)
            person[ACCOUNT_KEY] = position
        people.append(person)
    return people


def leads(seed: int, count: int) -> list[dict[str, Any]]:
    """Salesforce Lead fields of ``count`` people, with the custom fields of the lead market.

    Seven in ten are candidates of the campaign_response market; one in eight was never mailed.
    """
    chance = random.Random(f"leads {seed}")  # noqa: S311 (a demo's data, not a secret)
    accounts = companies()
    people = []
    for number in range(count):
        account = chance.choice(accounts)
        lead = _person(account, number, chance)
        fields = {
            "Company": account["Name"],
            "Website": account.get("Website"),
            "Industry": account.get("Industry"),
            "NumberOfEmployees": account.get("NumberOfEmployees"),
            "Country": account.get("BillingCountry"),
            "City": account.get("BillingCity"),
            "Status": chance.choice(["Open - Not Contacted", "Working - Contacted"]),
            "PI_Campaign_Candidate__c": chance.random() < 0.7,  # noqa: PLR2004
        }
        lead |= {field: value for field, value in fields.items() if value is not None}
        if chance.random() >= 0.125:  # noqa: PLR2004 (one in eight)
            lead |= _mailing_history(chance)
        people.append(lead)
    return people


def _person(account: dict[str, Any], number: int, chance: random.Random) -> dict[str, Any]:
    first = chance.choice(_FIRST)
    last = chance.choice(_LAST).replace("-", " ")
    person: dict[str, Any] = {
        "FirstName": first,
        "LastName": last,
        "Title": chance.choice(_TITLES),
        "Email": _address(first, last, number, account, chance),
        "Phone": f"+{chance.choice([1, 33, 34, 44, 49, 81])} {chance.randrange(10**8, 10**9)}",
        "LeadSource": chance.choice(LEAD_SOURCES),
    }
    if chance.random() < 0.15:  # noqa: PLR2004
        person["Salutation"] = chance.choice(_SALUTATIONS)
    for field, share in (("Title", 0.06), ("Email", 0.04), ("Phone", 0.2), ("FirstName", 0.02)):
        if chance.random() < share:
            del person[field]
    if chance.random() < 0.01:  # noqa: PLR2004
        person["Title"] = f"🚀 {chance.choice(_TITLES)}, acting\nsee notes"
    return person


def _address(
    first: str, last: str, number: int, account: dict[str, Any], chance: random.Random
) -> str:
    """An address at the company's domain, or free mail for one in five and where it has none."""
    local = f"{_ascii(first)}.{_ascii(last)}"
    domain = domain_of(account.get("Website"))
    if domain is None or chance.random() < 0.2:  # noqa: PLR2004
        return f"{local}{number}@{chance.choice(FREE_MAIL)}"
    return f"{local}@{domain}"


def domain_of(website: str | None) -> str | None:
    """Host name of a website as typed, in ASCII; None where there is none ("n/a")."""
    text = re.sub(r"^(https?:/*)?(www\.)?", "", (website or "").strip().lower())
    host = re.split(r"[/?#\s]", text)[0]
    return host if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}", host) else None


def _ascii(name: str) -> str:
    """A name as it stands in an address: no accents, blanks or apostrophes."""
    spelled = (
        name.lower()
        .replace("ß", "ss")
        .replace("ø", "o")
        .replace("ł", "l")
        .replace("\N{LATIN SMALL LETTER DOTLESS I}", "i")
    )
    plain = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", plain)


@cache
def _mailings() -> tuple[dict[str, str], ...]:
    with _MAILINGS.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _mailing_history(chance: random.Random) -> dict[str, Any]:
    """Custom Lead fields out of one real row; one in ten lacks its gifts."""
    row = chance.choice(_mailings())
    weeks = float(row["weeks_since_response"])
    last = NEXT_MAILING - dt.timedelta(days=round(7 * weeks))
    history: dict[str, Any] = {
        "Response_Rate__c": round(100 * float(row["response_rate"]), 2),
        "Responded_To_Last_Mailing__c": row["responded_last"] == "1",
        "Last_Response_Date__c": last.isoformat(),
        "Next_Mailing_Date__c": NEXT_MAILING.isoformat(),
        "Mailings_Per_Year__c": float(row["mailings_per_year"]),
        "Last_Gift__c": float(row["last_gift"]),
        "Average_Gift__c": round(float(row["average_gift"]), 2),
    }
    if chance.random() < 0.1:  # noqa: PLR2004
        del history["Last_Gift__c"], history["Average_Gift__c"]
    return history
