"""`insights org`: another org stops everything, and a switch leaves nothing of the old one in the way (R1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from local_org.launch import RunningOrg, start
from pipeline.commands.clients import opened_clients
from pipeline.core.errors import LeaseLost
from pipeline.core.limit.shares import DayPolicy
from resources.lake import Lake
from resources.ledger import tables as t
from resources.ledger.switch import CHANGED_TABLES, FORGOTTEN_TABLES, KEPT_TABLES
from resources.ledger.waiting import ScoringRequest
from tests.plant import FIELDS, TRACKING
from tests.steps.conftest import Desk, MakeDesk

LASTS = timedelta(minutes=10)
DAY = date(2026, 3, 10)
INTEGRATION = {
    "object": "Lead",
    "market": "enterprise_fit",
    "inputs": {"company_name": "Company"},
    "outputs": {"score": "Fit_Score__c"},
}


@pytest.fixture
def other_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """Run the org to switch to, with the fields that the integration needs."""
    with start(tmp_path / "other.sqlite3") as org:
        org.add_fields(**TRACKING, Fit_Score__c=FIELDS["Fit_Score__c"])
        yield org


@pytest.fixture
def working_desk(new_org: RunningOrg, desk_for: MakeDesk) -> Desk:
    """Give a desk whose org has been in use: an integration is on, a record is claimed and another waits."""
    new_org.add_fields(**TRACKING, Fit_Score__c=FIELDS["Fit_Score__c"])
    desk = desk_for(new_org)
    desk.configure(INTEGRATION, markets=("enterprise_fit",))
    assert not desk.check().errors
    with opened_clients() as clients:
        lease = clients.lease("Lead")
        assert lease is not None
        now = clients.now()
        clients.ledger.add_requests(
            lease, [ScoringRequest(f"r{n}", "changed", not_before=now) for n in (1, 2)], now
        )
        clients.ledger.segments.claim(
            lease,
            replace(clients.day_facts(), policy=DayPolicy(limit=100), awaited=frozenset()),
            rows_max=1,
            run_id="run",
        )
        clients.lake.write("scored_enriched", DAY, "Lead", "s1", pa.table({"Id": ["r0"]}))
        clients.lake.write_working_file("s2", pa.table({"Id": ["r1"]}))
    return desk


def rows(desk: Desk, table: sa.Table) -> int:
    """Count a table of the desk's ledger."""
    del desk
    with opened_clients() as clients, clients.ledger.database.read() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


def test_another_org_stops_everything_and_says_how_to_go_on(
    working_desk: Desk, other_org: RunningOrg
) -> None:
    """Checked at the sign-in: not one further call is made."""
    working_desk.connect(other_org)

    said = working_desk.run("mapping", "suggest", "Lead", "enterprise_fit")

    assert said.code == 1
    assert "insights org switch" in said.text
    assert [c["path"] for c in other_org.calls()["log"] if "oauth2" not in c["path"]] == []


@pytest.mark.slow
def test_show_tells_the_remembered_org_beside_the_one_that_answers(
    working_desk: Desk, other_org: RunningOrg
) -> None:
    first = working_desk.run("org", "show")
    old = working_desk.org.org_id
    working_desk.connect(other_org)

    second = working_desk.run("org", "show", "--json")

    assert first.code == 0
    assert first.text.count(old) == 2
    assert second.code == 1
    seen = second.json()
    assert (seen["remembered_id"], seen["connected"]["org_id"]) == (old, other_org.org_id)
    assert seen["same"] is False


def test_a_switch_forgets_the_old_org_and_keeps_what_the_day_has_used(
    working_desk: Desk, other_org: RunningOrg
) -> None:
    """The limits are per calendar day, whichever org (R20, R21)."""
    used, calls = rows(working_desk, t.day_usage), rows(working_desk, t.api_calls)
    working_desk.connect(other_org)

    said = working_desk.run("org", "switch", "--yes")

    assert said.code == 0, said.text
    assert "2 waiting records, 1 unfinished segments" in said.text
    for table in (t.waiting, t.segments, t.objects, t.scorings, t.push_jobs):
        assert rows(working_desk, table) == 0, table.name
    assert rows(working_desk, t.day_usage) == used > 0
    assert rows(working_desk, t.api_calls) >= calls > 0
    with opened_clients() as clients:
        assert clients.ledger.org.id() == other_org.org_id
        assert clients.ledger.days.use(clients.today, 100).used == 1


@pytest.mark.slow
def test_after_a_switch_an_integration_is_off_until_it_has_passed_preflight(
    working_desk: Desk, other_org: RunningOrg
) -> None:
    working_desk.connect(other_org)
    working_desk.run("org", "switch", "--yes")
    with opened_clients() as clients:
        state = clients.ledger.integrations.all()["Lead", "enterprise_fit"]
        assert state.enabled_at is None
        assert state.not_ready
        assert (state.outputs, state.dropped_fields) == ((), ())

    assert not working_desk.check().errors
    with opened_clients() as clients:
        state = clients.ledger.integrations.all()["Lead", "enterprise_fit"]
        assert state.enabled_at is not None
        assert clients.ledger.objects.all()["Lead"].turned_on_at


@pytest.mark.slow
def test_the_old_org_s_history_is_set_aside_and_its_working_files_are_deleted(
    working_desk: Desk, other_org: RunningOrg
) -> None:
    old = working_desk.org
    lake = working_desk.home / "lake"
    working_desk.connect(other_org)
    working_desk.run("org", "switch", "--yes")

    assert [p.relative_to(lake).parts[0] for p in lake.rglob("*.parquet")] == [old.org_id]
    working_desk.connect(old)
    working_desk.run("org", "switch", "--yes")
    assert [f.stem for f in Lake(lake).files("scored_enriched", DAY, "Lead")] == ["s1"]


def test_a_switch_asks_first(working_desk: Desk, other_org: RunningOrg) -> None:
    working_desk.connect(other_org)
    said = working_desk.run("org", "switch")

    assert said.code == 2
    assert "To be forgotten: 2 waiting records" in said.text
    assert rows(working_desk, t.waiting) == 2


@pytest.mark.slow
def test_a_switch_to_the_same_org_does_nothing(working_desk: Desk) -> None:
    said = working_desk.run("org", "switch", "--yes", "--json")

    assert said.json() == {"switched": False, "org_id": working_desk.org.org_id}
    assert rows(working_desk, t.waiting) == 2


@pytest.mark.slow
def test_while_a_run_works_nothing_is_switched(working_desk: Desk, other_org: RunningOrg) -> None:
    with opened_clients() as clients:
        clients.ledger.leases.acquire("Lead", "a-running-run", now=clients.now(), lasts=LASTS)
        working_desk.connect(other_org)

        said = working_desk.run("org", "switch", "--yes")

        assert said.code == 3
        assert "Run a-runnin works on Lead" in said.text
        assert clients.ledger.leases.holder("Account", clients.now()) is None
    assert rows(working_desk, t.waiting) == 2


@pytest.mark.slow
def test_a_run_of_before_cannot_write_after_a_switch(
    working_desk: Desk, other_org: RunningOrg
) -> None:
    """Its lease ran out, but it does not know yet: the tokens rise with the switch."""
    with opened_clients() as clients:
        long_ago = clients.now() - timedelta(hours=1)
        stale = clients.ledger.leases.acquire("Lead", "stuck", now=long_ago, lasts=LASTS)
        assert stale is not None
        working_desk.connect(other_org)
        assert working_desk.run("org", "switch", "--yes").code == 0

        with pytest.raises(LeaseLost):
            clients.ledger.add_requests(
                stale, [ScoringRequest("r9", "changed", not_before=clients.now())], clients.now()
            )


@pytest.mark.slow
def test_a_pause_survives_a_switch(working_desk: Desk, other_org: RunningOrg) -> None:
    with opened_clients() as clients, clients.ledger.database.begin() as connection:
        connection.execute(t.integrations.update().values(paused_at=clients.now()))
    working_desk.connect(other_org)
    working_desk.run("org", "switch", "--yes")

    with opened_clients() as clients:
        assert clients.ledger.integrations.all()["Lead", "enterprise_fit"].paused_at


@pytest.mark.slow
def test_an_org_of_another_kind_than_the_settings_say_is_refused(
    working_desk: Desk, other_org: RunningOrg
) -> None:
    settings = working_desk.config / "settings.yaml"
    settings.write_text(settings.read_text().replace("local", "production"))
    working_desk.connect(other_org)

    said = working_desk.run("org", "switch", "--yes")

    assert said.code == 2
    assert "is local" in said.text
    assert rows(working_desk, t.waiting) == 2


def test_every_table_is_either_forgotten_or_kept() -> None:
    """A new table must be decided on."""
    assert {*FORGOTTEN_TABLES, *CHANGED_TABLES, *KEPT_TABLES} == set(t.metadata.tables.values())
