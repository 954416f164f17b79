"""D21: the rows that a model fails on are found, and hold up no others."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.scoring import bisection
from pipeline.core.scoring.bisection import Batch, BatchFailed, Bisected, bisect, next_batch_rows


class Model:
    """A model that raises on the rows `bad`, and uses up all the time it gets on the rows `hangs`."""

    def __init__(self, bad: Collection[int], hangs: Collection[int] = ()) -> None:
        self.bad, self.hangs = set(bad), set(hangs)
        self.calls: list[Batch] = []
        self.now = 0.0

    def __call__(self, batch: Batch, seconds: float) -> list[int]:
        """Return the batch's rows."""
        self.calls.append(batch)
        rows = range(batch.start, batch.stop)
        if self.hangs & set(rows):
            self.now += seconds
            raise BatchFailed("gave no answer", is_slow=True)
        if self.bad & set(rows):
            raise BatchFailed("raised ValueError at model.py:3")
        return list(rows)


def run(
    model: Model, rows: int, batch_rows: int = 10_000, seconds: float = 300
) -> Bisected[list[int]]:
    return bisect(rows, model, batch_rows=batch_rows, seconds=seconds, clock=lambda: model.now)


@pytest.mark.parametrize("bad", [0, 1, 4_999, 5_000, 9_999])
def test_one_bad_row_of_a_segment_is_found_and_all_others_are_scored(bad: int) -> None:
    """R23: within the calls of one segment."""
    model = Model([bad])

    found = run(model, 10_000)

    assert found.failed == {bad: "raised ValueError at model.py:3"}
    assert found.scored_rows == 9_999
    assert not found.undecided
    assert not found.is_model_at_fault()
    assert len(model.calls) <= bisection.CALLS_MAX


def test_batches_that_go_well_take_nothing_from_the_search() -> None:
    """R23: a market that gets few rows a call has more than 40 calls before its bad row."""
    model = Model([999])

    found = run(model, 1_000, batch_rows=10)

    assert found.failed == {999: "raised ValueError at model.py:3"}
    assert not found.undecided
    assert len(model.calls) > 100 > bisection.CALLS_MAX


def test_a_batch_that_is_good_is_one_call() -> None:
    """R23: bisecting costs nothing where nothing fails."""
    model = Model([])

    assert run(model, 10_000).scored_rows == 10_000
    assert model.calls == [Batch(0, 10_000)]


def test_a_model_that_fails_on_everything_is_found_out_by_few_rows() -> None:
    """D21: then the market is held, and not each of its rows."""
    model = Model(range(10_000))

    found = run(model, 10_000)

    assert found.is_model_at_fault()
    assert len(found.failed) == bisection.ALL_FAIL_AFTER
    assert len(model.calls) < 20


def test_a_row_that_hangs_costs_little_more_than_twice_the_time_out() -> None:
    """D21: each call's time is its share of the rows."""
    model = Model([], hangs=[7_000])

    found = run(model, 10_000, seconds=60)

    assert list(found.failed) == [7_000]
    assert found.slow_rows == 1
    assert model.now < 60 * 2.5


def test_a_row_that_hangs_for_minutes_leaves_few_rows_undecided() -> None:
    """D21: the time runs out before the row is found, and nearly all others are scored."""
    found = run(Model([], hangs=[0]), 10_000, seconds=300)

    assert found.scored_rows > 9_900
    assert not found.is_model_at_fault()


def test_what_cannot_be_decided_in_time_waits() -> None:
    """D21: ten minutes a segment, and what was decided counts."""
    model = Model([], hangs=range(0, 10_000, 2_000))

    found = run(model, 10_000, seconds=480)

    assert found.undecided
    decided = found.scored_rows + len(found.failed)
    assert decided + len(found.undecided_rows) == 10_000


@pytest.mark.parametrize("start", [0, 120, 292])
def test_rows_that_fail_together_do_not_pass_for_a_model_that_fails(start: int) -> None:
    """D21: a model is judged by rows from all over the segment."""
    bad = range(start, start + 8)

    found = run(Model(bad), 300)

    assert found.scored_rows > 200
    assert not found.is_model_at_fault()
    assert found.failed.keys() <= set(bad)


def test_row_that_is_known_to_fail_does_not_accuse_the_model() -> None:
    """D21: tried again alone, it would hold its market each time."""
    found = run(Model(range(8)), 8)

    assert found.undecided
    assert found.is_model_at_fault(known_to_fail=range(7))
    assert not found.is_model_at_fault(known_to_fail=range(8))


def test_a_model_that_fails_on_most_rows_is_found_out() -> None:
    """D21: though it scores one here and there."""
    found = run(Model(set(range(10_000)) - {0, 5_000}), 10_000)

    assert found.scored_rows > 0
    assert found.is_model_at_fault()


def test_a_few_rows_that_fail_beside_one_that_is_scored_do_not_accuse_the_model() -> None:
    """D21: it works, so the rows are at fault."""
    found = run(Model([0, 1, 2]), 4)

    assert sorted(found.failed) == [0, 1, 2]
    assert not found.is_model_at_fault()


def test_a_batch_that_takes_too_long_is_halved_the_next_time_and_grows_again() -> None:
    """D21: a model that is slow by the number of rows is given fewer of them."""
    slow = Bisected[int](scored={Batch(0, 50): 1, Batch(50, 100): 1}, slow_rows=100)
    good = Bisected[int](scored={Batch(0, 50): 1})

    assert next_batch_rows(slow, 1_000, 100, 10_000) == 50
    assert next_batch_rows(good, 50, 50, 10_000) == 100
    assert next_batch_rows(good, 50, 50, 60) == 60
    assert next_batch_rows(good, 80, 50, 10_000) == 80
    assert next_batch_rows(run(Model([], hangs=[7]), 100), 100, 100, 100) == 100


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 300),
    bad=st.sets(st.integers(0, 299), max_size=6),
    batch_rows=st.integers(1, 300),
)
def test_every_row_ends_in_exactly_one_place(rows: int, bad: set[int], batch_rows: int) -> None:
    """R44: none is lost between the halves, and only bad rows fail."""
    found = run(Model(bad), rows, batch_rows)

    places = [row for result in found.scored.values() for row in result]
    places += found.failed
    places += found.undecided_rows

    assert sorted(places) == list(range(rows))
    assert found.failed.keys() <= bad
    assert list(found.scored) == sorted(found.scored, key=lambda batch: batch.start)
