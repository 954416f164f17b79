"""Records that failed: how they are found, asked for again, and kept from starving others (R15, R23)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.core.limit.repeats import Scoring
from resources.ledger import failures as module
from resources.ledger.failures import Chosen, Retried
from resources.ledger.settling import Outcome, RowFailure
from tests.resources.ledger_support import DAY, NOW, Book

pytestmark = pytest.mark.both_ledgers
A_DAY = timedelta(days=1)


def fail(
    book: Book, *ids: str, of: str = "Lead", code: str = "CUSTOM", held: str | None = None
) -> None:
    """Claim what waits, and let these records fail."""
    segment = book.claimed(of)
    failed = [RowFailure(i, code, f"{code} of {i}", held_for=held) for i in ids]
    ledger = book.ledger
    ledger.settling.settle_rows(
        book.lease(of), segment, Outcome(failed=failed), now=book.now, org_now=book.now
    )
    ledger.settling.settle(book.lease(of), segment, book.now)


def ids(book: Book, chosen: Chosen | None = None) -> list[str]:
    """The failing records, those that failed last first."""
    return [row.record_id for row in book.ledger.failures.rows(chosen)]


def test_failures_are_chosen_by_object_code_id_and_age(book: Book) -> None:
    """R23: of what failed early, what failed late."""
    book.request("old")
    fail(book, "old", code="STRING_TOO_LONG")
    book.wait(days=2)
    book.request("new")
    book.request("firm", of="Account")
    fail(book, "new", "old")
    fail(book, "firm", of="Account")
    yesterday = book.now - A_DAY

    assert ids(book) == ["firm", "new", "old"]
    assert ids(book, Chosen(objects=["Lead"])) == ["new", "old"]
    assert ids(book, Chosen(codes=["STRING_TOO_LONG"])) == []
    assert ids(book, Chosen(ids=["old", "x"])) == ["old"]
    assert ids(book, Chosen(failed_since=yesterday)) == ["firm", "new", "old"]
    assert ids(book, Chosen(failing_before=yesterday)) == ["old"]
    assert [row.record_id for row in book.ledger.failures.rows(limit=1)] == ["firm"]
    assert book.ledger.failures.count(Chosen(objects=["Lead"])) == 2


def test_first_failure_is_remembered_until_the_row_is_written(book: Book) -> None:
    """R23: what waited for long and succeeded leaves no trace, should it fail again."""
    book.request("a")
    fail(book, "a")
    book.wait(hours=1)
    fail(book, "a")
    (row,) = book.ledger.failures.rows()
    assert (row.first_failed_at, row.last_failed_at, row.tries) == (NOW, book.now, 2)

    book.wait(hours=2)
    segment = book.claimed()
    book.request("a", modstamp=book.now, hash="edited while it is pushed")
    book.end(segment, pushed=("a",))
    assert ids(book) == []
    assert book.there("a")["error_message"] is None

    fail(book, "a")
    (row,) = book.ledger.failures.rows()
    assert (row.first_failed_at, row.tries) == (book.now, 1)


def test_failures_are_read_a_page_at_a_time(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export of any size; none is missed and none is there twice."""
    monkeypatch.setattr(module, "PAGE", 3)
    book.many(7)
    fail(book, *(f"L-changed-{n:04}" for n in range(7)))
    book.many(2, of="Account")
    fail(book, *(f"A-changed-{n:04}" for n in range(2)), of="Account")

    pages = list(book.ledger.failures.pages(Chosen()))

    assert [len(page) for page in pages] == [3, 3, 3]
    assert len({(row.object, row.record_id) for page in pages for row in page}) == 9


def test_failures_alike_are_counted(book: Book) -> None:
    """R23: by code, and by message where it is asked for."""
    book.request("a", "b", "c")
    fail(book, "a", "b")
    (count,) = book.ledger.failures.counts()
    by_message = book.ledger.failures.counts(by_message=True)

    assert (count.object, count.error_code, count.records, count.lasting) == (
        "Lead",
        "CUSTOM",
        2,
        True,
    )
    assert (count.first_failed_at, count.last_failed_at) == (NOW, NOW)
    assert count.next_try_at == book.there("a")["not_before"]
    assert sorted(c.error_message for c in by_message) == ["CUSTOM of a", "CUSTOM of b"]


def test_retried_row_is_claimed_at_once_like_any_other(book: Book) -> None:
    """R23, R29: not last, and not within a twentieth of the day; the day's limit holds."""
    book.limit = 30
    book.many(20)
    fail(book, *(f"L-changed-{n:04}" for n in range(20)))
    assert book.claim() is None

    asked = book.ledger.failures.retry(Chosen(codes=["CUSTOM"]), book.now)

    assert asked == Retried(records=20, markets=(), resting=0, in_flight=0)
    assert book.claimed().rows == 7  # 30 less the 20 of before and the 3 kept for new records


def test_retry_leaves_others_alone_and_says_what_is_in_flight(book: Book) -> None:
    """R23: a row that is being tried is not asked for twice."""
    book.request("a", "b")
    fail(book, "a", "b")
    book.wait(hours=1)
    book.claimed(rows_max=1)
    before = book.there("b")

    asked = book.ledger.failures.retry(Chosen(ids=["a"]), book.now)

    assert asked == Retried(records=0, markets=(), resting=0, in_flight=1)
    assert book.there("b") == before


def test_retry_of_records_that_wait_for_a_held_market_tries_the_market(book: Book) -> None:
    """R23: while it is held a claim would be a scoring for nothing; one that is paused stays."""
    hold = book.ledger.holds.hold("other", "raised", book.now)
    book.request("a", "b")
    fail(book, "a", code="MARKET_FAILED", held="other")
    book.request("c")
    fail(book, "b", code="MARKET_RESTS", held="paused")
    assert hold.retry_at > book.now

    asked = book.ledger.failures.retry(Chosen(), book.now)

    assert asked == Retried(records=1, markets=("other",), resting=1, in_flight=0)
    assert book.ledger.holds.all()["other"].retry_at == book.now
    assert book.there("a")["not_before"] == book.now
    assert book.there("b")["not_before"] > book.now


def test_over_a_week_failing_rows_never_starve_the_others(book: Book) -> None:
    """R20, R23: 100 rows fail whenever they are tried; each day's 40 changed records are scored all the same."""
    book.limit = 1_000
    failing = {f"bad-{n:03}" for n in range(100)}
    book.request(*failing)
    fail(book, *failing)
    book.limit = 60
    tried_by_day = []
    for number in range(1, 8):
        book.now = NOW + timedelta(days=number)
        book.leases.clear()
        good = {f"good-{number}-{n:02}" for n in range(40)}
        book.request(*good)
        scored, tried = set(), 0
        for _ in range(6):
            while segment := book.claim(day=DAY + timedelta(days=number)):
                held = book.ids(segment)
                scored |= held - failing
                tried += len(held & failing)
                book.end(segment, pushed=tuple(held - failing), failed=tuple(held & failing))
            book.wait(hours=2)
            book.leases.clear()
        assert scored == good
        tried_by_day.append(tried)

    assert tried_by_day == [3] * 7  # a twentieth of 60: never more, and never none
    assert len([r for r in book.ledger.failures.rows() if r.tries == 2]) == 21  # each in its turn


def test_row_whose_jobs_fail_again_and_again_never_fails_for_good(book: Book) -> None:
    """R23: what a job failed with is nobody's row's."""
    book.request("a")
    for _ in range(4):
        fail(book, "a", code="UNPROCESSED")
        book.wait(days=1)

    (row,) = book.ledger.failures.rows()
    assert (row.tries, row.lasting) == (4, False)


def test_only_what_was_scored_counts_as_scored(book: Book) -> None:
    """R15, R28: neither what was claimed and given back nor what a job did not work off."""
    book.request("back", "lost")
    book.ledger.segments.dissolve(book.lease(), book.claimed(), book.now)
    segment = book.claimed()
    unprocessed = RowFailure("lost", "UNPROCESSED", "")
    outcome = Outcome(pushed=["back"], failed=[unprocessed])
    for _ in range(2):  # a successor reads the results again
        book.ledger.settling.settle_rows(
            book.lease(), segment, outcome, now=book.now, org_now=book.now
        )

    assert book.ledger.scorings.scored_on("Lead", DAY, before=book.now) == ["back"]
    with book.ledger.database.read() as connection:
        found = book.ledger.scorings.scored_since(connection, "Lead", ["back", "lost"], NOW - A_DAY)
    assert found == {"back": [Scoring(NOW, 1, written_at=NOW)]}


def test_row_that_keeps_being_refused_counts_once_for_each_edit(book: Book) -> None:
    """R15, R23: nothing was written, so an edit follows no write of ours, however soon it comes."""
    book.request("a", modstamp=NOW)
    for _ in range(4):
        fail(book, "a")
        book.wait(days=1)
    with book.ledger.database.read() as connection:
        once = book.ledger.scorings.scored_since(connection, "Lead", ["a"], NOW - A_DAY)
    assert once == {"a": [Scoring(NOW, 1)]}

    for n in range(3):
        book.request("a", modstamp=book.now + timedelta(minutes=n), hash=f"edit {n}")
        fail(book, "a")
        book.wait(minutes=1)
    with book.ledger.database.read() as connection:
        again = book.ledger.scorings.scored_since(connection, "Lead", ["a"], NOW + A_DAY)
    assert again["a"] == [Scoring(s.at, 1) for s in again["a"]]
    assert len(again["a"]) == 3


def test_records_that_rest_are_told_from_those_that_failed(book: Book) -> None:
    """R15: waiting for later without having failed."""
    later = book.now + timedelta(hours=2)
    book.request("resting", not_before=later)
    book.request("failing", "ready")
    fail(book, "failing")

    (slowed,) = book.ledger.waiting.slowed_rows(book.now)

    assert (slowed.object, slowed.record_id, slowed.until) == ("Lead", "resting", later)
    assert book.ledger.waiting.slowed_rows(later) == []
