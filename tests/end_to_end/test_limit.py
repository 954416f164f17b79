"""The daily record limit over several days, objects and lanes, with the sensor as the only driver (R16, R17, R20)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline.steps.clients import Clients
from pipeline.steps.preflight import check_and_roll_out
from pipeline.steps.pull import daily_pull
from tests.plant import Plant, integration

DAYS = [date(2026, 3, 10), date(2026, 3, 11), date(2026, 3, 12)]
HOURS_UTC = ((1, 15), (1, 20), (9, 0), (21, 5), (21, 10))
"""02:15 in Berlin, when the daily pulls are in, to 22:10, when any lane may take what is left."""


@pytest.mark.parametrize("limit", [20, pytest.param(10_000, marks=pytest.mark.slow)])
def test_records_due_for_two_and_a_half_days_take_three_and_new_leads_do_not_wait(
    plant: Callable[..., Plant], limit: int
) -> None:
    """R16, R20: 10,000, 10,000 and 5,000 scored, no id twice, and 50 new Leads of day 2 scored on day 2; and in small."""
    accounts, contacts, leads, arriving = (max(1, limit * n // 200) for n in (100, 160, 240, 1))
    built = plant(
        *(integration(name) for name in ("Account", "Contact", "Lead")), daily_record_limit=limit
    )
    built.set_clock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    built.org.load("Account", [{"Name": f"Company {n}"} for n in range(accounts)])
    built.org.load("Contact", [{"LastName": f"Person {n}"} for n in range(contacts)])
    built.org.load(
        "Lead", [{"LastName": f"Prospect {n}", "Company": f"Firm {n}"} for n in range(leads)]
    )
    built.set_clock(datetime(2026, 3, 9, 23, 30, tzinfo=UTC))
    built.turn_on()
    new_leads: list[str] = []

    for number, day in enumerate(DAYS):
        for hour, minute in HOURS_UTC:
            built.set_clock(datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC))
            if number == 1 and hour == 9:
                new = [
                    {"LastName": f"New {n}", "Company": f"Start-up {n}"} for n in range(arriving)
                ]
                new_leads = built.create("Lead", *new)
                built.wait(seconds=10)
            for figures in built.tick()[0]:
                assert figures["success"], figures
            built.set_clock(built.now + timedelta(seconds=60))
            built.tick()

    scored = [_scored(built, day) for day in DAYS]
    assert [len(ids) for ids in scored] == [limit, limit, limit // 2 + arriving]
    assert len(set().union(*scored)) == 2 * limit + limit // 2 + arriving
    assert set(new_leads) <= set(scored[1])
    assert all(built.waiting(name) == 0 for name in ("Account", "Contact", "Lead"))
    stamped = built.org.query(
        "SELECT COUNT(Id) n FROM Lead WHERE Mintigo_update_datetime__c != null"
    )
    assert stamped[0]["n"] == leads + arriving


@pytest.mark.parametrize(("account", "pushed"), [("runs", 7), ("is held", 12), ("is broken", 12)])
def test_records_of_an_object_that_rests_take_nothing_from_its_neighbour(
    shared_plant: Callable[..., Plant], account: str, pushed: int
) -> None:
    """R20: of 14 records a day for refresh, Account keeps 7 only where its market can score them."""
    built = shared_plant(
        integration("Lead"),
        integration("Account", market="other", prefix="Other"),
        daily_record_limit=20,
    )
    built.create("Lead", *({"LastName": f"L {n}", "Company": "Acme"} for n in range(12)))
    built.create("Account", *({"Name": f"A {n}"} for n in range(12)))
    built.turn_on()
    built.with_clients(_list_accounts)
    if account == "is held":
        built.with_clients(lambda clients: clients.ledger.holds.hold("other", "slow", built.now))
    if account == "is broken":
        (built.market("other") / "model.py").write_text("import no_such_library\n")
        built.with_clients(lambda clients: check_and_roll_out(clients, "Account"))

    assert built.refresh("Lead")["pushed"] == pushed
    assert built.waiting("Account") == 12


def _list_accounts(clients: Clients) -> None:
    """Put the accounts on the waiting list, and score none of them."""
    lease = clients.lease("Account")
    assert lease is not None
    daily_pull(clients, lease)
    clients.ledger.leases.release(lease.object, lease.owner)


def _scored(built: Plant, day: date) -> list[str]:
    """Return the ids in the day's scored files, as a reader of the lake finds them."""
    from resources.lake import Lake

    lake = Lake(built.folder / "home" / "lake")
    return [
        record_id
        for name in ("Account", "Contact", "Lead")
        for table in lake.read("scored_enriched", day, name)
        for record_id in table.column("id").to_pylist()
    ]
