"""Rows that a market could not score, markets that are held, and how many rows one is given (R23, D21)."""

from __future__ import annotations

from datetime import timedelta

from pipeline.core.configuration.running import IntegrationKey
from resources.ledger.settling import PASSING_BACKOFF_FIRST, Outcome, RowFailure
from tests.resources.ledger_support import NOW, Book

LEAD_FIT = IntegrationKey("Lead", "fit")


def fail(book: Book, *failures: RowFailure) -> None:
    """Claim what waits and let these rows of it fail."""
    segment = book.claimed()
    book.ledger.settling.settle_rows(
        book.lease(), segment, Outcome(failed=failures), now=book.now, org_now=book.now
    )
    book.ledger.settling.settle(book.lease(), segment, book.now)


def model_failed(record_id: str, market: str = "fit") -> RowFailure:
    return RowFailure(record_id, "MODEL_FAILED", f"{market}: the model raised ValueError")


def waits_for(record_id: str, market: str = "fit") -> RowFailure:
    return RowFailure(record_id, "MARKET_FAILED", f"{market}: it failed", held_for=market)


def roll_out(book: Book, fingerprint: str) -> None:
    book.ledger.integrations.roll_out({LEAD_FIT: (fingerprint, None)}, book.now)


def test_another_fingerprint_lets_the_rows_that_its_market_failed_on_be_claimed_at_once(
    book: Book,
) -> None:
    """R17, R23: of its object and its market alone, as after an edit of each."""
    roll_out(book, "one")
    book.request("a", "b", "c")
    fail(book, model_failed("a"), model_failed("b", "other"), RowFailure("c", "TOO_LONG", "fit: x"))

    roll_out(book, "one")
    assert book.claim() is None
    roll_out(book, "two")

    assert book.ids(book.claimed()) == {"a"}
    row = book.there("a")
    assert (row["tries"], row["lasting"], row["error_market"]) == (0, False, None)


def test_a_row_is_known_to_fail_at_its_market_while_it_waits_for_it(book: Book) -> None:
    """D21: so that it does not accuse the market when it is tried again alone."""
    book.request("a", "b")
    fail(book, model_failed("a"), model_failed("b", "other"))
    book.wait(hours=1)
    fail(book, waits_for("a"), model_failed("b", "other"))
    book.wait(hours=2)

    segment = book.claimed()

    assert book.ledger.waiting.failing_at("fit", segment.segment_id) == {"a"}
    assert book.ledger.waiting.failing_at("other", segment.segment_id) == {"b"}


def test_a_row_that_is_not_decided_waits_for_minutes(book: Book) -> None:
    """D21: its market is not held, so the next run goes on with the search."""
    book.request("a")
    fail(book, waits_for("a"))

    assert book.there("a")["not_before"] == NOW + PASSING_BACKOFF_FIRST
    assert book.used() == {("Lead", "changes"): 0}


def test_a_trial_takes_the_rows_that_were_not_tried_for_longest(book: Book) -> None:
    """R23: not the same oldest ones again and again."""
    book.request("a", "b", order_at=NOW - timedelta(days=2))
    fail(book, waits_for("a"), waits_for("b"))
    book.ledger.holds.hold("fit", "it raised", book.now)
    seen = []
    book.wait(minutes=1)
    book.request("c", order_at=NOW)
    fail(book, waits_for("c"))

    for _ in range(3):
        book.wait(minutes=6)
        segment = book.ledger.segments.claim(
            book.lease(), book.facts(), rows_max=1, run_id="run", held_for="fit"
        )
        assert segment is not None
        (tried,) = book.ids(segment)
        seen.append(tried)
        book.ledger.settling.settle_rows(
            book.lease(),
            segment,
            Outcome(failed=[waits_for(tried)]),
            now=book.now,
            org_now=book.now,
        )
        book.ledger.settling.settle(book.lease(), segment, book.now)
        book.ledger.holds.hold("fit", "it raised", book.now, is_on_few_rows=True)

    assert seen == ["a", "b", "c"]


def test_a_market_that_is_held_on_few_rows_is_tried_every_five_minutes(book: Book) -> None:
    """R44: they may be at fault themselves, and must not keep the next record waiting."""
    pauses = [
        book.ledger.holds.hold("fit", "it raised", book.now, is_on_few_rows=few).retry_at - book.now
        for few in (True, True, True, False)
    ]

    assert pauses == [timedelta(minutes=minutes) for minutes in (5, 5, 5, 40)]


def test_how_many_rows_a_market_is_given_is_remembered_until_nothing_bounds_it(book: Book) -> None:
    """D21."""
    batches = book.ledger.market_batches
    assert batches.rows("fit") is None

    batches.note("fit", 500, book.now)
    batches.note("fit", 250, book.now)
    assert batches.rows("fit") == 250

    batches.note("fit", None, book.now)
    assert batches.rows("fit") is None
