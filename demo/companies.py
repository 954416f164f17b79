"""Real companies for the demo: the listed ones that the package pytickersymbols knows.

``listed`` gives what the source says, parsed. ``companies`` gives Salesforce Account fields, as
messy as the source, with more of the mess that real orgs have, always the same for one seed.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from pytickersymbols import PyTickerSymbols

SEED = 20261101
COUNTRY_LENGTH = 80
CITY_LENGTH = 40
TICKER_LENGTH = 20
INDUSTRY_LENGTH = 40
WEBSITE_LENGTH = 255
EMPLOYEES_MAX = 99_999_999  # eight digits, what the standard field holds
_YEAR = range(1900, 2100)
_STATES = frozenset(
    """Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|D.C.|Delaware|Florida|Georgia
    |Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts
    |Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey
    |New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island
    |South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|West Virginia
    |Wisconsin|Wyoming""".replace("\n    ", "").split("|")
)


@dataclass(frozen=True)
class Company:
    """One listed company as the source has it; "" and None where the source has nothing.

    Attributes:
        website: The source's own text: with path, with two addresses, or no address at all.
        employees: The largest head count in the source's text (the consolidated one).
        indices: Names of the stock indices that it is in. An outside fact, in no Account field.
    """

    name: str
    ticker: str
    website: str
    industries: tuple[str, ...]
    employees: int | None
    country: str
    city: str
    products: str
    indices: frozenset[str]


@cache
def listed() -> tuple[Company, ...]:
    """All companies of the source, by name."""
    source = PyTickerSymbols()
    indices: dict[str, set[str]] = {}
    for index in source.get_all_indices():
        for stock in source.get_stocks_by_index(index):
            indices.setdefault(stock["name"], set()).add(index)
    found = (
        _company(stock, frozenset(indices.get(stock["name"], set())))
        for stock in source.get_all_stocks()
    )
    return tuple(sorted(found, key=lambda company: (company.name, company.ticker)))


def _company(stock: dict[str, Any], indices: frozenset[str]) -> Company:
    facts = stock.get("metadata") or {}
    seat = str(stock.get("country") or "")
    *before, last = [part.strip() for part in seat.split(",")]
    in_a_state = last in _STATES
    return Company(
        name=str(stock["name"]).strip(),
        ticker=str(stock.get("symbol") or "").strip(),
        website=str(facts.get("website") or "").strip(),
        industries=tuple(sorted({i.strip() for i in stock.get("industries") or () if i.strip()})),
        employees=parse_head_count(str(facts.get("employees") or "")),
        country="United States" if in_a_state else last,
        city=before[0] if before and in_a_state else _city(str(facts.get("headquarters") or "")),
        products=str(facts.get("products") or "").strip(),
        indices=indices,
    )


def _city(headquarters: str) -> str:
    """First part of "Montabaur , Germany", unless it is a street or a building with a number."""
    city = headquarters.partition(",")[0].strip()
    return "" if any(character.isdigit() for character in city) else city


def parse_head_count(text: str) -> int | None:
    """The head count in a text such as "c. 1,700 (2024)" or "6,353 (NRI Group 13,278)".

    Outside parentheses the largest number counts, years aside. Dots and blanks that group
    thousands are understood ("14.046", "9 000").
    """
    plain = re.sub(r"\[[^\]]*\]?|:\s*\d{1,2}\b", " ", text)
    outside = re.sub(r"\([^)]*\)?", " ", plain)
    grouped = re.compile(r"\d{1,3}(?:[,. \u00a0\u202f]\d{3})+(?!\d)|\d+")
    numbers = [int(re.sub(r"\D", "", found)) for found in grouped.findall(outside)]
    if re.search(r"\d\s+million", outside):
        numbers = [number * 1_000_000 for number in numbers]
    counts = [number for number in numbers if number not in _YEAR or len(numbers) == 1]
    return max(counts, default=None)


def companies(limit: int | None = None) -> list[dict[str, Any]]:
    """Salesforce Account fields of real companies, in a fixed shuffled order.

    Args:
        limit: At most so many; all (about 1,800) by default.

    Returns:
        Name, Website, Industry, NumberOfEmployees, BillingCountry, BillingCity, TickerSymbol and
        Description, each only where there is a value.
    """
    chance = random.Random(SEED)  # noqa: S311 (a demo's data, not a secret)
    shuffled = list(listed())
    chance.shuffle(shuffled)
    rows = [_account(company, chance) for company in shuffled]
    return rows[:limit]


def _account(company: Company, chance: random.Random) -> dict[str, Any]:
    industry = chance.choice(company.industries) if company.industries else ""
    account: dict[str, Any] = {
        "Name": company.name,
        "Website": company.website[:WEBSITE_LENGTH],
        "Industry": industry[:INDUSTRY_LENGTH].strip(),
        "NumberOfEmployees": company.employees,
        "BillingCountry": company.country[:COUNTRY_LENGTH],
        "BillingCity": company.city[:CITY_LENGTH].strip(),
        "TickerSymbol": company.ticker[:TICKER_LENGTH],
        "Description": company.products,
    }
    _mess_up(account, chance)
    return {field: value for field, value in account.items() if value not in {None, ""}}


def _mess_up(account: dict[str, Any], chance: random.Random) -> None:
    """What people do to records: shouting, paths, "n/a", a forgotten field, other spellings."""
    website = str(account["Website"])
    draw = chance.random()
    if website and draw < 0.05:  # noqa: PLR2004 (shares of each kind of mess)
        account["Website"] = website.upper()
    elif website and draw < 0.12:  # noqa: PLR2004
        account["Website"] = f"https://{website}/en/about?utm_source=crm"[:WEBSITE_LENGTH]
    elif draw < 0.15:  # noqa: PLR2004
        account["Website"] = chance.choice(["n/a", "-", "unknown", "http://"])
    if chance.random() < 0.04:  # noqa: PLR2004
        account["Name"] = str(account["Name"]).upper()
    if chance.random() < 0.06:  # noqa: PLR2004
        account["Industry"] = ""
    if chance.random() < 0.03:  # noqa: PLR2004
        account["NumberOfEmployees"] = chance.choice([0, 1, 99_999_999])
    if account["BillingCountry"] == "United States":
        account["BillingCountry"] = chance.choice(["United States", "USA", "US", "U.S."])
