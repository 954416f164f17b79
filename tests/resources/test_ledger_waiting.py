"""The waiting list: how wishes meet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pipeline.core.limit.repeats import Scoring
from pipeline.core.scoring.due import Reason
from resources.ledger.waiting import CHUNK, ScoringRequest
from tests.resources.ledger_support import NOW, Book, failure

pytestmark = pytest.mark.both_ledgers
LATER = NOW + timedelta(minutes=1)
REASONS = [reason.value for reason in Reason]


def failing(book: Book, **request: Any) -> None:
    """Let record a fail once, so that it waits."""
    book.request("a", **request)
    book.end(book.claimed(), failed=("a",))


@pytest.mark.parametrize("first", REASONS)
@pytest.mark.parametrize("second", REASONS)
def test_a_record_that_waits_keeps_the_more_urgent_reason(
    book: Book, first: str, second: str
) -> None:
    """D6: in whatever order the two come; it waits once."""
    book.request("a", reason=first)
    book.request("a", reason=second)

    assert book.there("a")["reason"] == min(first, second, key=REASONS.index)
    assert book.there("a")["priority"] == min(REASONS.index(first), REASONS.index(second))
    assert book.ledger.waiting.count("Lead") == 1


def test_a_more_urgent_reason_brings_its_place_in_the_order(book: Book) -> None:
    """D6: and a less urgent one does not."""
    book.request("a", reason="stale", order_at=NOW - timedelta(days=90))
    book.request("a", reason="changed", order_at=NOW)
    book.request("a", reason="redo", order_at=NOW - timedelta(days=30))

    assert book.there("a")["order_at"] == NOW


def test_one_id_may_wait_on_two_objects(book: Book) -> None:
    """D3: the key is object and id."""
    book.request("a")
    book.request("a", of="Account")

    assert book.ledger.waiting.count("Lead") == 1
    assert book.ledger.waiting.count("Account") == 1


def test_a_record_read_twice_in_one_pull_waits_once(book: Book) -> None:
    """D6: pages overlap while records move; the later reading counts."""
    requests = [
        ScoringRequest("a", "changed", NOW, hash="old"),
        ScoringRequest("a", "changed", NOW, hash="new"),
    ]
    book.ledger.add_requests(book.lease(), requests, NOW)

    assert book.there("a")["hash_seen"] == "new"
    assert book.there("a")["seq"] == 1


def test_a_pull_that_saw_the_same_changes_nothing(book: Book) -> None:
    """D6: rows read again in the overlap cost nothing; a failing one goes on waiting."""
    failing(book, modstamp=NOW, hash="h")
    before = book.there("a")
    book.wait(minutes=5)
    book.request("a", modstamp=NOW, hash="h")

    assert book.there("a") == before


def test_a_pull_that_saw_an_earlier_stamp_changes_no_wait(book: Book) -> None:
    """R23: readings may come out of order."""
    failing(book, modstamp=NOW, hash="h")
    before = book.there("a")
    book.request("a", modstamp=NOW - timedelta(hours=1), hash="h")

    assert (book.there("a")["tries"], book.there("a")["not_before"]) == (1, before["not_before"])


def test_a_later_edit_of_a_failing_record_makes_it_try_anew_at_once(book: Book) -> None:
    """R23: even one of another field, which may be what was in the way."""
    failing(book, modstamp=NOW, hash="h")
    book.wait(minutes=1)
    book.request("a", modstamp=book.now, hash="h")

    assert (book.there("a")["tries"], book.there("a")["not_before"]) == (0, book.now)
    assert book.there("a")["seq"] == 1
    assert book.allowance().changes == 1


def test_other_inputs_are_a_new_wish(book: Book) -> None:
    """D3: they raise seq, so that a push that has begun does not take them for done."""
    failing(book, modstamp=NOW, hash="h")
    book.request("a", modstamp=NOW, hash="other")

    assert (book.there("a")["tries"], book.there("a")["seq"]) == (0, 2)


def test_a_redo_is_always_a_new_wish(book: Book) -> None:
    """R28: though nothing of the record has changed."""
    failing(book, modstamp=NOW, hash="h")
    book.request("a", reason="redo")
    row = book.there("a")

    assert (row["tries"], row["seq"], row["reason"]) == (0, 2, "changed")
    assert (row["modstamp_seen"], row["hash_seen"]) == (NOW, "h")


def test_a_daily_pull_that_lists_a_failing_record_again_does_not_hurry_it(book: Book) -> None:
    """R23: it knows ids only, and would list it every day."""
    failing(book, reason="stale")
    before = book.there("a")
    book.request("a", reason="stale")

    assert book.there("a") == before


def test_a_record_that_is_slowed_down_is_not_hurried_by_the_same_reading(book: Book) -> None:
    """R15."""
    book.request("a", modstamp=NOW, hash="h", not_before=NOW + timedelta(hours=1))
    book.request("a", modstamp=NOW, hash="h", not_before=NOW)

    assert book.there("a")["not_before"] == NOW + timedelta(hours=1)
    assert book.claim() is None


def test_the_list_is_counted_by_object_reason_and_state(book: Book) -> None:
    """R27: ready, in flight, backing off."""
    book.limit = 1000
    failing(book)
    book.many(2, reason="new")
    book.claimed(rows_max=1)
    found = {
        (count.object, count.reason, count.state): count.records
        for count in book.ledger.waiting.summary(NOW)
    }

    assert found == {
        ("Lead", "changed", "backing_off"): 1,
        ("Lead", "new", "in_flight"): 1,
        ("Lead", "new", "ready"): 1,
    }


def test_failures_are_listed_with_salesforces_own_words(book: Book) -> None:
    """R23."""
    failing(book)
    book.request("b")
    (row,) = book.ledger.failures.rows()

    assert (row.record_id, row.error_code, row.error_message) == (
        "a",
        failure("a").code,
        failure("a").message,
    )
    assert row.not_before > NOW


def test_when_a_record_was_scored_lately_is_known(book: Book) -> None:
    """R15: for any number of ids at once, whatever day it was."""
    ids = [f"x{n}" for n in range(CHUNK + 5)]
    for _ in range(2):
        book.request("a", ids[-1], modstamp=book.now)
        segment = book.claimed()
        book.end(segment, pushed=("a", ids[-1]))
        book.wait(minutes=1)
    with book.ledger.database.read() as connection:
        found = book.ledger.scorings.scored_since(
            connection, "Lead", ["a", *ids], NOW - timedelta(days=1)
        )
        newer = book.ledger.scorings.scored_since(connection, "Lead", ["a"], NOW)
        other = book.ledger.scorings.scored_since(connection, "Contact", ["a"], NOW)

    both = [Scoring(NOW, 1, written_at=NOW), Scoring(LATER, 2, written_at=LATER)]
    assert found == {"a": both, ids[-1]: both}
    assert newer == {"a": both[1:]}
    assert other == {}
