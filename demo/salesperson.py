"""A salesperson at work in the demo: edits such as people make all day.

Some change an important field and so make a record due, some (a phone number) do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from demo.people import domain_of

Record = Mapping[str, Any]
Edit = tuple[str, str, dict[str, Any]]  # (object, record id, changed fields)

EMPLOYEES_MAX = 5_000_000


def edits(
    seed: int,
    accounts: Sequence[Record],
    contacts: Sequence[Record],
    leads: Sequence[Record],
    *,
    count: int = 20,
) -> list[Edit]:
    """Edits of the given records, the same for the same seed and records.

    Args:
        seed: Another seed, another day at work.
        accounts: Account records as read from the org, each with its ``Id``.
        contacts: Contact records, likewise.
        leads: Lead records, likewise.
        count: How many edits; fewer (none) only where there are no records at all.

    Returns:
        ``(object, id, changes)``, in the order in which to save them. No change is a no-op.
    """
    chance = random.Random(f"edits {seed}")  # noqa: S311 (a demo's data, not a secret)
    kinds = [
        (name, records, makers)
        for name, records, makers in (
            ("Account", accounts, (_website, _head_count("NumberOfEmployees"), _phone)),
            ("Contact", contacts, (_title, _phone, _email)),
            ("Lead", leads, (_title, _phone, _website, _head_count("NumberOfEmployees"), _answer)),
        )
        if records
    ]
    made: list[Edit] = []
    while kinds and len(made) < count:
        name, records, makers = chance.choice(kinds)
        record = chance.choice(records)
        change = chance.choice(makers)(record, chance)
        made.append((name, str(record["Id"]), change))
    return made


def _website(record: Record, chance: random.Random) -> dict[str, Any]:
    """Corrects the website to a plain address, or, where it is one, adds the scheme."""
    old = record.get("Website")
    domain = domain_of(old)
    if domain is None:
        return {"Website": f"www.example-{chance.randrange(1000)}.com"}
    corrected = f"www.{domain}"
    return {"Website": corrected if corrected != old else f"https://www.{domain}"}


def _head_count(field: str) -> Callable[[Record, random.Random], dict[str, Any]]:
    """An update of the head count by a few per cent, or a first figure."""

    def change(record: Record, chance: random.Random) -> dict[str, Any]:
        old = int(record.get(field) or 0)
        if not 0 < old <= EMPLOYEES_MAX:
            return {field: chance.choice([45, 320, 1800, 12_000])}
        grown = round(old * chance.choice([0.85, 0.93, 1.04, 1.15, 1.5]))
        return {field: grown if grown != old else old + 1}

    return change


def _title(record: Record, chance: random.Random) -> dict[str, Any]:
    """A promotion, or a first title."""
    titles = ["Director of Operations", "VP Sales", "Head of IT", "Marketing Manager", "CFO"]
    return {"Title": chance.choice([title for title in titles if title != record.get("Title")])}


def _phone(_record: Record, chance: random.Random) -> dict[str, Any]:
    """A new number: no input of any sample market, so no reason to score."""
    return {"Phone": f"+{chance.choice([1, 33, 44, 49])} {chance.randrange(10**8, 10**9)}"}


def _email(record: Record, chance: random.Random) -> dict[str, Any]:
    """A free-mail address replaced by one at work, or the other way round."""
    local = str(record.get("Email") or "info@example.com").split("@")[0]
    domains = ["gmail.com", f"example-{chance.randrange(1000)}.com"]
    return {"Email": f"{local}@{chance.choice(domains)}".replace("@", f"{chance.randrange(100)}@")}


def _answer(record: Record, chance: random.Random) -> dict[str, Any]:
    """A response to a mailing came in."""
    rate = float(record.get("Response_Rate__c") or 0)
    gained = round(rate + chance.uniform(0.05, 0.3) * (100 - rate), 2)
    if gained == rate:  # everything was answered already: the rate cannot grow
        return {"Mailings_Per_Year__c": chance.choice([1.25, 2.25, 3.5])}
    return {"Response_Rate__c": gained, "Responded_To_Last_Mailing__c": True}
