"""Claims on the day's limit, and how segments end."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from pipeline.core.configuration.running import IntegrationKey
from resources.ledger import tables as t
from resources.ledger.push_jobs import PushJob
from resources.ledger.segments import SegmentState
from resources.ledger.settling import (
    BACKOFF_MAX,
    PASSING_BACKOFF_MAX,
    Outcome,
    RowFailure,
    backoff,
)
from resources.ledger.waiting import ScoringRequest
from tests.resources.ledger_support import DAY, NOW, Book, failure

pytestmark = pytest.mark.both_ledgers
TOMORROW = DAY + timedelta(days=1)


def claim_all(book: Book, rows_max: int = 1) -> list[str]:
    """Claim until nothing more may be, and return ids in the order of claims."""
    found: list[str] = []
    while segment := book.claim(rows_max=rows_max):
        found += sorted(book.ids(segment))
    return found


def test_rows_are_claimed_in_the_order_of_their_reasons_and_failed_ones_last(book: Book) -> None:
    """D6, R23: new, changed, never scored, stale, redo; then what failed before."""
    book.request("failed", reason="new")
    book.end(book.claimed(), failed=("failed",))
    book.wait(hours=1)
    for reason in ("redo", "stale", "never_scored", "changed", "new"):
        book.request(reason, reason=reason)

    assert claim_all(book) == ["new", "changed", "never_scored", "stale", "redo", "failed"]


def test_rows_of_one_reason_are_claimed_oldest_first(book: Book) -> None:
    """R17: never scored before all others."""
    for name, days in (("young", 31), ("old", 90), ("older", 365)):
        book.request(name, reason="stale", order_at=NOW - timedelta(days=days))
    book.request("never", reason="stale", order_at=None)

    assert claim_all(book) == ["never", "older", "old", "young"]


def test_a_claim_fixes_stamp_day_and_rows(book: Book) -> None:
    """D3: the stamp is what the update datetime field receives, in whole seconds."""
    book.now = NOW.replace(microsecond=987_654)
    book.many(3)
    segment = book.claimed(rows_max=2)

    assert (segment.stamp, segment.day, segment.rows, segment.object) == (NOW, DAY, 2, "Lead")
    assert segment.state == SegmentState.CLAIMED
    assert len(book.ids(segment)) == 2
    assert book.ledger.segments.unfinished() == [segment]


def test_a_claimed_row_is_not_claimed_again(book: Book) -> None:
    """R20."""
    book.many(3)
    first = book.claimed(rows_max=2)
    second = book.claimed()

    assert book.ids(first) & book.ids(second) == set()
    assert book.claim() is None


def test_a_row_is_not_claimed_before_its_time(book: Book) -> None:
    """R15, R23."""
    book.request("a", not_before=NOW + timedelta(minutes=5))
    assert book.claim() is None
    book.wait(minutes=5)

    assert book.ids(book.claimed()) == {"a"}


def test_a_claim_takes_what_was_said_to_be_allowed(book: Book) -> None:
    """D7: the sensor asks the same question."""
    book.many(5, reason="new")
    book.many(200)
    book.many(200, reason="stale")
    book.many(200, of="Contact", reason="stale")
    allowed = book.allowance()

    assert allowed.total == book.claimed().rows
    assert (allowed.new, allowed.changes) == (5, 25)


def test_every_claim_is_charged_to_its_lane_and_object(book: Book) -> None:
    """R20."""
    book.many(5, reason="new")
    book.many(7, reason="redo")
    book.many(3, of="Account")
    book.claimed()
    book.claimed("Account")

    assert book.used() == {
        ("Lead", "changes"): 5,
        ("Lead", "refresh"): 7,
        ("Account", "changes"): 3,
    }
    assert book.day()["used"] == 15


def test_no_more_than_the_limit_is_claimed_on_a_day(book: Book) -> None:
    """R20: over all objects, in claims of any size; the rest waits and is not lost."""
    book.now = NOW.replace(hour=22)
    for name in ("Account", "Contact", "Lead"):
        book.many(60, of=name)
    rows = 0
    for name in ("Lead", "Account", "Contact") * 20:
        segment = book.claim(name, rows_max=7)
        rows += segment.rows if segment else 0

    assert rows == 100 == book.day()["used"]
    assert sum(book.ledger.waiting.count(n) for n in ("Account", "Contact", "Lead")) == 180
    assert book.claimed(day=TOMORROW).rows > 0


def test_a_limit_that_was_lowered_grants_nothing_more(book: Book) -> None:
    """R2, R20: and one that was raised goes on."""
    book.awaited = frozenset({"Lead"})
    book.many(100)
    book.claimed()
    book.limit = 10
    assert book.claim() is None
    book.limit = 200

    assert book.claimed().rows == 30


def test_rows_of_an_object_that_is_off_or_paused_hold_back_nobody(book: Book) -> None:
    """R20: its share passes on, since nobody may claim it."""
    book.limit = 1000
    book.many(600, reason="stale")
    book.many(600, of="Contact", reason="stale")
    ledger = book.ledger
    wanted = {
        IntegrationKey("Lead", "fit"): ("a", None),
        IntegrationKey("Contact", "fit"): ("a", None),
    }
    ledger.integrations.roll_out(wanted, NOW)
    assert book.allowance().refresh == 350

    ledger.integrations.roll_out({IntegrationKey("Lead", "fit"): ("a", None)}, NOW)
    assert (book.allowance().refresh, book.allowance("Contact").refresh) == (600, 0)

    ledger.integrations.roll_out(wanted, NOW)
    with book.ledger.database.begin() as connection:
        connection.execute(
            t.integrations.update().filter_by(object="Contact").values(paused_at=NOW)
        )
    assert (book.allowance().refresh, book.allowance("Contact").refresh) == (600, 0)


@pytest.fixture
def shared(book: Book) -> Book:
    """A day of 1,000 records, with 600 that wait on each of two objects, each scored by one market."""
    book.limit = 1_000
    for name in ("Lead", "Contact"):
        book.many(600, of=name, reason="stale")
    roll_out(book)
    return book


def roll_out(book: Book, why: str | None = None) -> None:
    """Check `fit` on Lead and `reach` on Contact; `why` says what is wrong with the latter."""
    checked = {
        IntegrationKey("Lead", "fit"): ("a", None),
        IntegrationKey("Contact", "reach"): ("a", why),
    }
    book.ledger.integrations.roll_out(checked, book.now)


def test_an_object_that_is_not_ready_leaves_its_share_to_the_others(shared: Book) -> None:
    """R20: nobody scores it, so it needs none."""
    assert shared.allowance().refresh == 350
    roll_out(shared, "a field is missing")
    assert (shared.allowance().refresh, shared.allowance("Contact").refresh) == (600, 0)
    roll_out(shared)

    assert (shared.allowance().refresh, shared.allowance("Contact").refresh) == (350, 350)


def test_an_object_whose_only_market_is_held_leaves_its_share_to_the_others(shared: Book) -> None:
    """R20, R23: until its trial is due."""
    hold = shared.ledger.holds.hold("reach", "it does not answer", shared.now)
    assert (shared.allowance().refresh, shared.allowance("Contact").refresh) == (600, 0)
    shared.now = hold.retry_at

    assert (shared.allowance().refresh, shared.allowance("Contact").refresh) == (350, 350)


def test_an_object_with_another_market_that_runs_keeps_its_share(shared: Book) -> None:
    """R20: what its other markets score is wanted all the same."""
    checked = {
        IntegrationKey("Lead", "fit"): ("a", None),
        IntegrationKey("Contact", "fit"): ("a", None),
        IntegrationKey("Contact", "reach"): ("a", "a field is missing"),
    }
    shared.ledger.integrations.roll_out(checked, shared.now)
    shared.ledger.holds.hold("reach", "it does not answer", shared.now)

    assert (shared.allowance().refresh, shared.allowance("Contact").refresh) == (350, 350)


def test_of_an_object_that_rests_only_old_values_are_cleared(shared: Book) -> None:
    """R19, R20: clearing asks no market; the rows that a market is asked for wait."""
    shared.request("c-1", "c-2", of="Contact", reason="left")
    roll_out(shared, "a field is missing")
    segment = shared.claimed("Contact")

    assert shared.ids(segment) == {"c-1", "c-2"}
    assert shared.claim("Contact") is None


def test_pushed_rows_leave_the_list(book: Book) -> None:
    """D3."""
    book.request("a", "b")
    segment = book.end(book.claimed(), pushed=("a", "b"))

    assert (segment.pushed, segment.state) == (2, SegmentState.SETTLED)
    assert book.row("a") is None
    assert book.ledger.segments.unfinished() == []


def test_gone_rows_leave_the_list(book: Book) -> None:
    """R25: converted, deleted and merged records are left alone."""
    book.request("a")
    segment = book.end(book.claimed(), gone=("a",))

    assert segment.gone == 1
    assert book.row("a") is None


def test_a_row_wished_for_anew_while_it_was_pushed_stays(book: Book) -> None:
    """D3: a wish that arrives in flight is not lost."""
    book.request("a", "b", modstamp=NOW, hash="h")
    segment = book.claimed()
    book.request("a", reason="redo")
    book.request("b", modstamp=NOW + timedelta(seconds=1), hash="h")
    book.end(segment, pushed=("a", "b"))

    assert (book.there("a")["segment_id"], book.there("a")["tries"]) == (None, 0)
    assert book.row("b") is None
    assert book.ids(book.claimed()) == {"a"}


def test_a_redo_asked_for_while_the_model_runs_is_not_lost(book: Book) -> None:
    """D3: what was asked for before the inputs were read is met, what comes after is not."""
    book.request("a", "b")
    segment = book.claimed()
    book.request("a", reason="redo")
    book.ledger.segments.begin_attempt(book.lease(), segment)
    book.request("b", reason="redo")
    book.ledger.segments.note_inputs(book.lease(), segment, {"a": "h", "b": "h"})
    book.ledger.segments.mark_scored(book.lease(), segment)
    book.end(segment, pushed=("a", "b"))

    assert book.row("a") is None
    assert book.row("b") is not None


def test_a_failed_row_waits_longer_each_time(book: Book) -> None:
    """R23: with Salesforce's words, and the segment says how many."""
    book.request("a")
    waits = []
    for tries in range(1, 5):
        segment = book.end(book.claimed(), failed=("a",))
        row = book.there("a")
        assert (row["tries"], row["error_code"], segment.failed) == (tries, "STRING_TOO_LONG", 1)
        waits.append(row["not_before"] - book.now)
        book.now = row["not_before"]

    assert waits == sorted(set(waits))
    assert waits == [backoff(n, passing=False) for n in range(1, 5)]


@pytest.mark.parametrize(("passing", "most"), [(False, BACKOFF_MAX), (True, PASSING_BACKOFF_MAX)])
def test_a_wait_has_a_bound_and_passing_faults_wait_less(passing: bool, most: timedelta) -> None:
    """R23: however often a row has failed."""
    waits = [backoff(n, passing=passing) for n in (1, 2, 3, 50, 10**6)]

    assert waits == sorted(waits)
    assert waits[-1] == waits[-2] == most
    assert backoff(1, passing=True) < backoff(1, passing=False) < BACKOFF_MAX


def test_a_passing_failure_waits_as_passing_ones_do(book: Book) -> None:
    """R23."""
    book.request("a")
    book.end(book.claimed(), failed=("a",), passing=True)

    assert book.there("a")["not_before"] == NOW + backoff(1, passing=True)


def test_a_failed_row_that_was_wished_for_anew_tries_at_once(book: Book) -> None:
    """R23: the edit came while it was being pushed."""
    book.request("a", modstamp=NOW, hash="h")
    segment = book.claimed()
    book.request("a", modstamp=NOW + timedelta(seconds=1), hash="other")
    book.end(segment, failed=("a",))

    assert (book.there("a")["tries"], book.there("a")["not_before"]) == (0, NOW)


def test_failing_rows_take_five_percent_of_a_day(book: Book) -> None:
    """R23: whatever room there is."""
    book.many(30)
    segment = book.claimed()
    book.end(segment, failed=tuple(book.ids(segment)))
    book.wait(hours=1)

    assert book.claimed().rows == 5
    assert book.claim() is None
    assert book.day()["lasting_used"] == 5
    assert book.day()["used"] == 35


def _fail_all(book: Book, of: str, day: date = DAY) -> set[str]:
    """Claim what the object may and let all of it fail; return what that was."""
    segment = book.claim(of, day=day)
    ids = book.ids(segment) if segment else set()
    if segment:
        book.end(segment, failed=tuple(ids))
    return ids


def test_failing_rows_of_one_object_leave_anothers_its_turn(book: Book) -> None:
    """R20, R23: one failing row a day, and the object that is asked first has some that are ready every day."""
    book.limit = 20
    book.many(3, of="Account")
    book.request("c", of="Contact")
    failing = _fail_all(book, "Account") | _fail_all(book, "Contact")
    tried: list[str] = []
    for days in range(1, 5):
        book.wait(days=8)
        day = DAY + timedelta(days=8 * days)
        tried += [*_fail_all(book, "Account", day), *_fail_all(book, "Contact", day)]

    assert len(tried) == 4
    assert set(tried) == failing


def test_late_in_the_day_an_object_may_try_what_another_has_left(book: Book) -> None:
    """R20: what is kept for others until 22:00 is not lost where they do not come."""
    book.limit = 20
    book.request("a", of="Account")
    _fail_all(book, "Account")
    book.wait(minutes=5)
    book.request("c", of="Contact")
    _fail_all(book, "Contact")
    book.wait(hours=1)
    at_noon = book.allowance("Account").lasting, book.allowance("Contact").lasting
    book.wait(hours=13)

    assert at_noon == (1, 0)
    assert (book.allowance("Account").lasting, book.allowance("Contact").lasting) == (1, 1)


def test_a_partly_scored_row_waits_and_its_own_push_does_not_hurry_it(book: Book) -> None:
    """R15, R23: the stamp that the push left in the org is no later edit."""
    book.request("a", modstamp=NOW - timedelta(minutes=1), hash="h")
    segment = book.end(book.claimed(), partial=("a",))
    waiting = book.there("a")
    book.request("a", modstamp=NOW, hash="h")

    assert (segment.failed, segment.pushed) == (1, 0)
    assert waiting["not_before"] == NOW + backoff(1, passing=False)
    assert book.there("a") == waiting


def test_rows_that_nothing_was_said_of_wait_again(book: Book) -> None:
    """R22: none is lost, none counts as tried."""
    book.request("a", "b")
    segment = book.end(book.claimed(), pushed=("a",))

    assert (segment.pushed, segment.failed) == (1, 0)
    assert (book.there("b")["segment_id"], book.there("b")["tries"]) == (None, 0)


def test_a_charge_is_given_back_to_the_lane_that_it_was_made_to(book: Book) -> None:
    """R20: an edit in flight makes a stale record a changed one, and a failing one a fresh one."""
    book.request("a", "b", reason="stale")
    segment = book.claimed()
    book.request("a", reason="changed", modstamp=book.now)

    held = [RowFailure(i, "MARKET_FAILED", "fit: it failed", held_for="fit") for i in ("a", "b")]
    book.ledger.settling.settle_rows(
        book.lease(), segment, Outcome(failed=held), now=book.now, org_now=book.now
    )

    assert book.used() == {("Lead", "refresh"): 0}
    assert book.there("a")["reason"] == "changed"


def test_what_was_claimed_is_told_as_it_was_claimed(book: Book) -> None:
    """R20: a ledger from a backup learns from the lake which lane was charged."""
    book.request("a", reason="stale")
    segment = book.claimed()
    book.request("a", reason="changed", modstamp=book.now)

    assert book.ledger.waiting.reasons_of_segment(segment.segment_id) == {"a": "stale"}


def test_settling_the_same_rows_twice_counts_them_once(book: Book) -> None:
    """D3: a run ended between the rows and their segment, and its successor read the results again."""
    book.request("a", "b", "c", "d")
    segment = book.claimed()
    outcome = Outcome(pushed=["a"], failed=[failure("b")], gone=["c"], partial=[failure("d")])
    for _ in range(2):
        book.ledger.settling.settle_rows(book.lease(), segment, outcome, now=NOW, org_now=NOW)
    settled = book.ledger.settling.settle(book.lease(), segment, NOW)

    assert (settled.pushed, settled.failed, settled.gone) == (1, 2, 1)
    assert book.there("b")["tries"] == book.there("d")["tries"] == 1


def test_a_segment_settles_only_rows_of_its_own(book: Book) -> None:
    """D3: results name a row that another segment has by now."""
    book.request("a", "b")
    first = book.claimed(rows_max=1)
    second = book.claimed()
    book.end(first, pushed=("a", "b"), failed=("b",))

    assert book.row("a") is None
    assert book.ids(second) == {"b"}
    assert book.there("b")["tries"] == 0


def test_dissolving_a_segment_keeps_its_charge_and_gives_its_rows_back(book: Book) -> None:
    """D3, R20."""
    book.many(3)
    segment = book.claimed()
    book.ledger.segments.dissolve(book.lease(), segment, NOW)

    assert book.day()["used"] == 3
    assert book.ledger.segments.unfinished() == []
    assert book.ledger.segments.all(day=DAY)[0].state == SegmentState.DISSOLVED
    assert book.claimed().rows == 3
    assert book.day()["used"] == 6


def test_a_ledger_from_a_backup_learns_what_was_scored(book: Book) -> None:
    """D3, R20: by object and lane; what it knew of counts once."""
    book.many(60, reason="stale")
    book.claimed(rows_max=10)
    book.ledger.days.raise_used(DAY, {("Lead", "refresh"): 40, ("Account", "changes"): 5}, 100)
    book.ledger.days.raise_used(DAY, {("Lead", "refresh"): 40, ("Account", "changes"): 3}, 100)

    assert book.used() == {("Lead", "refresh"): 40, ("Account", "changes"): 5}
    assert book.day()["used"] == 45


def test_more_scored_than_the_limit_allows_is_remembered_as_well(book: Book) -> None:
    """D3: the limit was lowered since; nothing more is claimed."""
    book.ledger.days.raise_used(DAY, {("Lead", "refresh"): 150}, 100)
    book.many(5, reason="new")

    assert book.claim() is None
    assert book.ledger.days.use(DAY, 100).remaining == 0
    assert book.ledger.days.use(DAY, 100).used == 150


def test_a_day_without_claims_has_all_of_its_limit_left(book: Book) -> None:
    """R20."""
    assert book.ledger.days.use(DAY, 100).remaining == 100


def test_attempts_at_a_segment_are_counted(book: Book) -> None:
    """D3: tries are capped."""
    book.request("a")
    segment = book.claimed()

    assert [book.ledger.segments.begin_attempt(book.lease(), segment) for _ in range(3)] == [
        1,
        2,
        3,
    ]


def test_a_segment_goes_from_claimed_to_scored_and_its_rows_know_their_hash(book: Book) -> None:
    """D3: rows listed by id only learn what was scored."""
    book.request("a", "b", reason="stale")
    segment = book.claimed()
    book.ledger.segments.note_inputs(book.lease(), segment, {"a": "ha", "b": "hb"})
    book.ledger.segments.mark_scored(book.lease(), segment)

    assert book.ledger.segments.unfinished("Lead")[0].state == SegmentState.SCORED
    assert book.ledger.segments.unfinished("Account") == []
    assert [book.there(i)["hash_seen"] for i in "ab"] == ["ha", "hb"]


def test_jobs_of_a_segment_are_kept_with_their_state(book: Book) -> None:
    """D3: recorded before any data are sent."""
    book.request("a")
    segment = book.claimed()
    for number in ("7501", "7502"):
        job = PushJob(number, segment.segment_id, "Lead", 1, "open", book.now)
        book.ledger.push_jobs.record(book.lease(), job)
        book.wait(seconds=1)
    book.ledger.push_jobs.set_state("7501", "aborted", book.now)

    jobs = book.ledger.push_jobs.of_segment(segment.segment_id)
    assert [(job.job_id, job.state) for job in jobs] == [("7501", "aborted"), ("7502", "open")]
    with pytest.raises(sa.exc.IntegrityError):
        book.ledger.push_jobs.record(book.lease(), jobs[0])


def test_segments_are_found_by_day_and_run(book: Book) -> None:
    """R29."""
    book.many(2)
    segment = book.claimed(rows_max=1)
    other = book.claimed(day=TOMORROW)

    assert book.ledger.segments.all(day=DAY) == [segment]
    assert book.ledger.segments.all(run_id="run") == [segment, other]
    assert book.ledger.segments.all(run_id="another") == []


def scored(book: Book, *ids: str) -> None:
    book.request(*ids)
    book.end(book.claimed(), pushed=ids)


def test_a_partitions_records_are_those_scored_on_its_day(book: Book) -> None:
    """R28: each once, of the object asked for."""
    scored(book, "a", "b")
    scored(book, "b")
    book.request("c", of="Account")
    book.claimed("Account")
    ledger = book.ledger
    asked_at = book.now + timedelta(hours=1)

    assert ledger.scorings.scored_on("Lead", DAY, before=asked_at) == ["a", "b"]
    assert ledger.scorings.scored_on("Lead", TOMORROW, before=asked_at) == []


def test_records_scored_since_a_backfill_was_asked_for_are_passed_over(book: Book) -> None:
    """D5: on whatever day that was."""
    scored(book, "a", "b")
    asked_at = book.now + timedelta(hours=1)
    book.wait(days=1)
    book.request("a")
    book.claimed(day=TOMORROW)

    assert book.ledger.scorings.scored_on("Lead", DAY, before=asked_at) == ["b"]


def test_a_redo_is_recorded_once_for_each_request(book: Book) -> None:
    """D5: a retry repeats it harmlessly, another backfill does not count as a retry."""
    requests = [ScoringRequest("a", "redo", NOW), ScoringRequest("b", "redo", NOW)]
    ledger = book.ledger

    assert ledger.record_redo("backfill-1", "Lead", DAY, requests, NOW) == 2
    assert ledger.record_redo("backfill-1", "Lead", DAY, requests[:1], NOW) == 2
    assert book.there("a")["seq"] == 1
    assert ledger.record_redo("backfill-2", "Lead", DAY, requests[:1], NOW) == 1
    assert book.there("a")["seq"] == 2
    assert ledger.record_redo("backfill-1", "Lead", TOMORROW, requests[:1], NOW) == 1
    assert book.there("a")["seq"] == 3


def test_a_daily_pull_and_its_mark_are_one_transaction(book: Book) -> None:
    """R17: a day is marked only where its records wait."""
    book.ledger.objects.turn_on(["Lead"], NOW)
    book.ledger.record_daily_pull(
        book.lease(), [ScoringRequest("a", "stale", NOW)], day=DAY, now=NOW
    )

    assert book.ledger.objects.all()["Lead"].daily_pulled_on == DAY
    bad = [ScoringRequest("b", "stale", NOW), ScoringRequest("c", "no such reason", NOW)]
    with pytest.raises(KeyError):
        book.ledger.record_daily_pull(book.lease(), bad, day=TOMORROW, now=NOW)
    assert book.ledger.objects.all()["Lead"].daily_pulled_on == DAY
    assert book.row("b") is None
