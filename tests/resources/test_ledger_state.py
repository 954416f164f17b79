"""Org, integrations, objects, leases, API calls, and the tables that hold them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pipeline.core.configuration.running import IntegrationKey
from pipeline.core.errors import ConfigurationError, LeaseLost, WrongOrg
from resources.ledger import tables as t
from resources.ledger.database import VERSION_TABLE, Database, normalised_url
from resources.ledger.leases import Lease
from resources.ledger.ledger import Ledger
from resources.ledger.objects import Seen
from resources.ledger.push_jobs import PushJob
from resources.ledger.segments import Segment
from resources.ledger.settling import Outcome
from tests.resources.ledger_support import DAY, LASTS, NOW, Book

pytestmark = pytest.mark.both_ledgers
KEY = IntegrationKey("Lead", "fit")


def test_migrations_make_the_tables_that_the_code_expects(book: Book) -> None:
    """D3: columns, types, keys and indexes."""
    with book.ledger.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        differences = [
            d
            for d in compare_metadata(context, t.metadata)
            if not (d[0] == "remove_table" and d[1].name == VERSION_TABLE)
        ]

    assert differences == []


def test_migrations_make_the_checks_that_the_code_expects(book: Book) -> None:
    """D3: the database itself refuses a day over its limit; alembic does not compare these."""
    made = sa.inspect(book.ledger.database.engine)

    for name, table in t.metadata.tables.items():
        expected = {
            c.name: str(c.sqltext) for c in table.constraints if isinstance(c, sa.CheckConstraint)
        }
        assert {c["name"]: c["sqltext"] for c in made.get_check_constraints(name)} == expected
        keys = [column.name for column in table.primary_key]
        assert made.get_pk_constraint(name)["constrained_columns"] == keys
    assert made.get_check_constraints("days") != []


def test_opening_a_ledger_again_keeps_what_it_holds(new_ledger: str) -> None:
    """D3."""
    first = Ledger(new_ledger)
    first.org.connect("00D1", "sandbox", NOW)
    first.close()
    second = Ledger(new_ledger)

    assert second.org.id() == "00D1"
    second.close()


def test_the_database_refuses_a_day_over_its_limit(book: Book) -> None:
    """R20: whatever the code above it does."""
    with pytest.raises(sa.exc.IntegrityError), book.ledger.database.begin() as connection:
        connection.execute(t.days.insert().values(day=DAY, cap=1, used=2))


@pytest.mark.parametrize("url", ["postgres://h/d", "postgresql://h/d"])
def test_a_plain_postgresql_address_means_the_driver_that_is_installed(url: str) -> None:
    """D12."""
    assert normalised_url(url) == "postgresql+psycopg2://h/d"
    assert normalised_url("postgresql+psycopg2://h/d") == "postgresql+psycopg2://h/d"
    assert normalised_url("sqlite:///x") == "sqlite:///x"


def test_a_database_is_not_touched_before_it_is_used(tmp_path: Path) -> None:
    """D15: loading definitions opens nothing."""
    Database(f"sqlite:///{tmp_path / 'a' / 'ledger.db'}")

    assert not (tmp_path / "a" / "ledger.db").exists()


def test_times_come_back_as_utc_and_naive_ones_are_refused(book: Book) -> None:
    """D3: no time without a zone enters the ledger."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    book.ledger.objects.turn_on(["Lead"], elsewhere)

    assert book.ledger.objects.all()["Lead"].turned_on_at == NOW
    assert book.ledger.objects.all()["Lead"].turned_on_at.tzinfo is UTC
    with pytest.raises(sa.exc.StatementError, match="naive"):
        book.ledger.objects.turn_on(["Account"], NOW.replace(tzinfo=None))


def test_another_org_stops_everything_with_a_way_to_go_on(book: Book) -> None:
    """R1: a refreshed sandbox is another org."""
    ledger = book.ledger
    ledger.org.connect("00D1", "sandbox", NOW)
    ledger.org.connect("00D1", "sandbox", NOW)
    with pytest.raises(WrongOrg, match=r"00D2.*00D1.*INSIGHTS_HOME"):
        ledger.org.connect("00D2", "sandbox", NOW)

    assert ledger.org.id() == "00D1"


def test_no_org_is_known_at_first(book: Book) -> None:
    """R1."""
    assert book.ledger.org.id() is None


def enabled_at(book: Book) -> datetime | None:
    return book.ledger.integrations.all()[KEY].enabled_at


def record(book: Book, fingerprint: str | None = "a", not_ready: str | None = None) -> None:
    wanted = {KEY: (fingerprint, not_ready)} if fingerprint else {}
    book.ledger.integrations.roll_out(wanted, book.now)
    book.wait(hours=1)


def test_a_new_integration_is_enabled_from_now_on(book: Book) -> None:
    """R17."""
    record(book)

    assert enabled_at(book) == NOW


def test_an_unchanged_integration_is_not_rolled_out_again(book: Book) -> None:
    """R17: nor is one that was not ready for a while."""
    record(book)
    record(book)
    record(book, not_ready="a field is missing")
    assert book.ledger.integrations.all()[KEY].not_ready == "a field is missing"
    record(book)

    assert enabled_at(book) == NOW
    assert book.ledger.integrations.all()[KEY].not_ready is None


def test_another_fingerprint_is_rolled_out_like_a_new_market(book: Book) -> None:
    """R17, R19."""
    record(book)
    record(book, "b")

    assert enabled_at(book) == NOW + timedelta(hours=1)


def test_an_integration_switched_off_and_on_is_rolled_out_again(book: Book) -> None:
    """R17."""
    record(book)
    record(book, None)
    assert enabled_at(book) is None
    record(book)

    assert enabled_at(book) == NOW + timedelta(hours=2)


def test_an_integration_is_enabled_when_it_becomes_ready(book: Book) -> None:
    """R9: not before."""
    record(book, not_ready="a field is missing")
    assert enabled_at(book) is None
    record(book)

    assert enabled_at(book) == NOW + timedelta(hours=1)


def test_another_fingerprint_that_is_not_ready_is_off_until_it_is(book: Book) -> None:
    """R9, R19."""
    record(book)
    record(book, "b", "a field is missing")
    assert enabled_at(book) is None
    record(book, "b")

    assert enabled_at(book) == NOW + timedelta(hours=2)


def test_turning_on_keeps_the_first_moment(book: Book) -> None:
    """R16: pulls begin there, and the watermark is not moved by a later preflight."""
    ledger = book.ledger
    ledger.objects.turn_on(["Lead"], NOW)
    ledger.objects.turn_on(["Account", "Lead"], NOW + LASTS)
    lead, account = ledger.objects.all()["Lead"], ledger.objects.all()["Account"]

    assert (lead.turned_on_at, lead.watermark) == (NOW, NOW)
    assert (account.turned_on_at, account.watermark) == (NOW + LASTS, NOW + LASTS)
    assert (lead.pulled_at, lead.seen_count, lead.daily_pulled_on) == (None, None, None)


def test_a_pull_moves_the_watermark_and_keeps_what_it_saw(book: Book) -> None:
    """D6, D7: of its own object."""
    book.ledger.objects.turn_on(["Lead", "Account"], NOW)
    book.ledger.record_pull(
        book.lease(), watermark=NOW + LASTS, seen=Seen(7, NOW, "digest"), now=NOW
    )
    objects = book.ledger.objects.all()

    assert objects["Lead"].watermark == NOW + LASTS
    assert (objects["Lead"].seen_count, objects["Lead"].seen_digest) == (7, "digest")
    assert objects["Account"].watermark == NOW


def test_a_second_owner_is_refused_while_a_lease_runs(book: Book) -> None:
    """D3: one run at a time works on an object; another object is free."""
    ledger = book.ledger
    first = ledger.leases.acquire("Lead", "a", now=NOW, lasts=LASTS)

    assert first is not None
    assert (
        ledger.leases.acquire("Lead", "b", now=NOW + LASTS - timedelta(seconds=1), lasts=LASTS)
        is None
    )
    assert ledger.leases.acquire("Account", "b", now=NOW, lasts=LASTS) is not None
    assert ledger.leases.holder("Lead", NOW) == "a"


def test_the_same_owner_may_take_its_lease_anew_with_a_higher_token(book: Book) -> None:
    """D3: a run started again shares its owner with a process that may still be alive: the older token is void."""
    ledger = book.ledger
    first = ledger.leases.acquire("Lead", "a", now=NOW, lasts=LASTS)
    second = ledger.leases.acquire("Lead", "a", now=NOW, lasts=LASTS)

    assert first is not None
    assert second is not None
    assert second.token == first.token + 1
    with pytest.raises(LeaseLost):
        ledger.leases.renew(first, now=NOW, lasts=LASTS)


def test_an_expired_lease_is_taken_over_under_a_higher_token(book: Book) -> None:
    """D3."""
    ledger = book.ledger
    first = ledger.leases.acquire("Lead", "a", now=NOW, lasts=LASTS)
    second = ledger.leases.acquire("Lead", "b", now=NOW + LASTS, lasts=LASTS)

    assert first is not None
    assert second is not None
    assert second.token > first.token
    assert ledger.leases.holder("Lead", NOW + LASTS) == "b"


def test_an_owner_whose_lease_ran_out_comes_back_under_a_higher_token(book: Book) -> None:
    """D3: what it left behind in another process is not taken for it."""
    ledger = book.ledger
    first = ledger.leases.acquire("Lead", "a", now=NOW, lasts=LASTS)
    second = ledger.leases.acquire("Lead", "a", now=NOW + LASTS, lasts=LASTS)

    assert first is not None
    assert second is not None
    assert second.token > first.token


def test_progress_prolongs_a_lease(book: Book) -> None:
    """D3."""
    ledger = book.ledger
    lease = book.lease()
    later = NOW + LASTS - timedelta(seconds=1)
    ledger.leases.renew(lease, now=later, lasts=LASTS)

    assert ledger.leases.acquire("Lead", "b", now=NOW + LASTS, lasts=LASTS) is None
    assert ledger.leases.acquire("Lead", "b", now=later + LASTS, lasts=LASTS) is not None


def test_a_released_lease_is_free_at_once_and_only_its_owner_releases_it(book: Book) -> None:
    """D3."""
    ledger = book.ledger
    lease = book.lease()
    ledger.leases.release("Lead", "somebody")
    assert ledger.leases.holder("Lead", NOW) == "me"
    ledger.leases.release("Lead", "me")
    assert ledger.leases.holder("Lead", NOW) is None
    taken = ledger.leases.acquire("Lead", "b", now=NOW, lasts=LASTS)

    assert taken is not None
    assert taken.token > lease.token


EFFECTS: dict[str, Callable[[Book, Lease], object]] = {
    "claim": lambda book, _: book.claim(),
    "add_wishes": lambda book, lease: book.ledger.add_requests(lease, [], NOW),
    "record_pull": lambda book, lease: book.ledger.record_pull(
        lease, watermark=NOW, seen=Seen(0, None, None), now=NOW
    ),
    "record_daily_pull": lambda book, lease: book.ledger.record_daily_pull(
        lease, [], day=DAY, now=NOW
    ),
    "renew_lease": lambda book, lease: book.ledger.leases.renew(lease, now=NOW, lasts=LASTS),
    "begin_attempt": lambda book, lease: book.ledger.segments.begin_attempt(lease, _segment(book)),
    "mark_scored": lambda book, lease: book.ledger.segments.mark_scored(lease, _segment(book)),
    "record_job": lambda book, lease: book.ledger.push_jobs.record(
        lease, PushJob("750", _segment(book).segment_id, "Lead", 1, "open", NOW)
    ),
    "settle_rows": lambda book, lease: book.ledger.settling.settle_rows(
        lease, _segment(book), Outcome(pushed=["a"]), now=NOW, org_now=NOW
    ),
    "settle": lambda book, lease: book.ledger.settling.settle(lease, _segment(book), NOW),
    "dissolve": lambda book, lease: book.ledger.segments.dissolve(lease, _segment(book), NOW),
}


def _segment(book: Book) -> Segment:
    return book.ledger.segments.unfinished("Lead")[0]


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_run_that_was_taken_over_has_no_effect_any_more(book: Book, effect: str) -> None:
    """D3: the old token is refused wherever something would be written, and nothing is."""
    book.request("a", "b")
    book.claimed(rows_max=1)
    old = book.lease()
    taken = book.ledger.leases.acquire("Lead", "b", now=NOW + LASTS, lasts=LASTS)
    before = (
        book.row("a"),
        book.row("b"),
        book.used(),
        book.ledger.segments.unfinished(),
        book.ledger.push_jobs.of_segment(_segment(book).segment_id),
    )
    with pytest.raises(LeaseLost, match="another run has taken over"):
        EFFECTS[effect](book, old)

    assert taken is not None
    assert before == (
        book.row("a"),
        book.row("b"),
        book.used(),
        book.ledger.segments.unfinished(),
        book.ledger.push_jobs.of_segment(_segment(book).segment_id),
    )


def test_api_calls_are_counted_by_kind_and_day(book: Book) -> None:
    """R21."""
    calls = book.ledger.calls
    calls.count(DAY, "query")
    calls.count(DAY, "query", 2)
    calls.count(DAY, "ingest")
    calls.count(DAY + timedelta(days=1), "query")

    assert calls.by_kind(DAY) == {"ingest": 1, "query": 3}
    assert calls.total(DAY) == 4
    assert calls.total(DAY + timedelta(days=1)) == 1
    assert calls.total(DAY + timedelta(days=2)) == 0


def test_what_the_org_says_of_its_usage_is_kept(book: Book) -> None:
    """R2, R21: the latest word counts, for an hour."""
    calls = book.ledger.calls
    assert calls.org_remaining(NOW) is None
    calls.note_usage(5, 100, NOW)
    calls.note_usage(6, 100, NOW + LASTS)

    assert calls.org_remaining(NOW + LASTS) == 94
    assert calls.org_remaining(NOW + LASTS + timedelta(minutes=61)) is None


def test_newest_migration_is_the_one_the_database_looks_for() -> None:
    """A migration added without raising NEWEST would never run."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from resources.ledger.database import MIGRATIONS, NEWEST

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST


def test_fields_that_an_older_release_noted_are_kept_as_lists(new_ledger: str) -> None:
    """R19: what an integration wrote is known after the upgrade, and after the way back."""
    database = Database(new_ledger)
    noted = {"outputs": "A__c,B__c", "left_fields": "C__c"}
    migrated(database, "0001")
    insert_integration(database, "fit", **noted)
    insert_integration(database, "other", outputs=None, left_fields="")
    migrated(database, "0002")
    states = Ledger(new_ledger).integrations.all()
    migrated(database, "0001")

    assert (states[KEY].outputs, states[KEY].dropped_fields) == (("A__c", "B__c"), ("C__c",))
    other = states[IntegrationKey("Lead", "other")]
    assert (other.outputs, other.dropped_fields) == ((), ())
    with database.read() as connection:
        query = sa.text("SELECT outputs, left_fields FROM integrations WHERE market = 'fit'")
        assert dict(connection.execute(query).mappings().one()) == noted


def test_a_process_whose_tables_another_release_has_changed_writes_no_more(
    new_ledger: str,
) -> None:
    """D26: it goes on reading, and says what to do."""
    ledger = Ledger(new_ledger)
    with ledger.database.begin_in_any_form() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    with pytest.raises(ConfigurationError, match="Start it again with the release"):
        ledger.leases.acquire("Lead", "me", now=NOW, lasts=timedelta(minutes=10))
    assert ledger.objects.all() == {}


def migrated(database: Database, version: str) -> None:
    """Bring the tables to the form of an older or newer release."""
    from alembic import command
    from alembic.config import Config

    from resources.ledger.database import MIGRATIONS

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.begin_in_any_form() as connection:
        config.attributes["connection"] = connection
        is_new = not sa.inspect(connection).has_table(VERSION_TABLE)
        move = command.upgrade if is_new or version == "0002" else command.downgrade
        move(config, version)


def insert_integration(database: Database, market: str, **noted: str | None) -> None:
    """Write a row as the older release did."""
    names = ("object", "market", "fingerprint", *noted)
    statement = sa.text(
        f"INSERT INTO integrations ({', '.join(names)}) VALUES ({', '.join(f':{n}' for n in names)})"
    )
    with database.begin_in_any_form() as connection:
        connection.execute(
            statement, {"object": "Lead", "market": market, "fingerprint": "a", **noted}
        )
