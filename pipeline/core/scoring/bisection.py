"""Finds the rows that a model fails on, by halving the batch that holds them (R23, D21).

A model is asked for many rows at once. One row that makes it raise, crash or hang would stop all
the others. So a batch that fails is cut in two, and each half is tried alone, down to single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Generic, TypeVar

CALLS_MAX: Final = 40
"""How many calls the search in a segment of one market may cost. One bad row of 10,000 takes 29."""

SECONDS_MAX: Final = 600.0
"""How long these calls may take together."""

ALL_FAIL_AFTER: Final = 5
"""When so many single rows have failed and none was scored, the model is at fault, not the rows.

They are taken from all over the segment: records that came in together may fail together.
"""

LEAST_SHARE: Final = 0.02
LEAST_SECONDS: Final = 3.0
"""The least share of a full batch's time, and the least time: a call costs something by itself."""

_Result = TypeVar("_Result")


class BatchFailed(Exception):
    """The model gave nothing for a batch.

    `why` says what it did, `is_slow` whether it took too long.
    """

    def __init__(self, why: str, *, is_slow: bool = False) -> None:
        """Keep `why`, in words for people that hold no value of a row."""
        super().__init__(why)
        self.why = why
        self.is_slow = is_slow


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows from `start` on, before `stop`."""

    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Return how many rows it holds."""
        return self.stop - self.start

    def halves(self) -> tuple[Batch, Batch]:
        """Return its two halves."""
        middle = self.start + self.rows // 2
        return Batch(self.start, middle), Batch(middle, self.stop)


@dataclass
class Bisected(Generic[_Result]):
    """What became of the rows, each in exactly one of the three.

    `scored` holds the results by batch, in the order of the rows. `failed` says by row what the
    model did with it alone. `undecided` are batches of which it is not known: calls or time ran
    out. `first_failure` is what it did with the first batch that failed, "" where none did.
    `slow_rows` is the smallest batch that took too long, None where none did.
    """

    scored: dict[Batch, _Result] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    undecided: list[Batch] = field(default_factory=list)
    first_failure: str = ""
    slow_rows: int | None = None

    @property
    def undecided_rows(self) -> tuple[int, ...]:
        """Return the rows of which it is not known whether the model can score them."""
        return tuple(row for batch in self.undecided for row in range(batch.start, batch.stop))

    @property
    def scored_rows(self) -> int:
        """Return how many rows were scored."""
        return sum(batch.rows for batch in self.scored)

    def is_model_at_fault(self, known_to_fail: Collection[int] = ()) -> bool:
        """Say whether the model is at fault and not the rows (D21).

        It is where it scored no row, and where the search ended before it was done, with more rows
        that failed than that were scored. Rows that are `known_to_fail` prove nothing.
        """
        known = set(known_to_fail)
        failed, undecided = self.failed.keys() - known, set(self.undecided_rows) - known
        if self.scored_rows == 0:
            return bool(failed or undecided)

        return bool(undecided) and len(failed) > self.scored_rows


def bisect(
    rows: int,
    call: Callable[[Batch, float], _Result],
    *,
    batch_rows: int,
    seconds: float,
    clock: Callable[[], float],
) -> Bisected[_Result]:
    """Score rows in batches of at most `batch_rows`, and find those that cannot be scored.

    `call` scores a batch within so many seconds, or raises BatchFailed. The first batch may take
    `seconds`, its parts their share, so that a row that hangs costs little more than twice that.
    `clock` gives seconds that only grow. Any other error of `call` ends it all: it is not a row's.
    """
    found: Bisected[_Result] = Bisected()
    full = min(rows, batch_rows)
    search_began, calls_before = clock(), 0

    waiting = list(_batches(rows, batch_rows))[::-1]
    for calls in count():
        if not found.first_failure:
            # Small batches of a slow market that all go well are no search.
            search_began, calls_before = clock(), calls
        is_out = calls - calls_before >= CALLS_MAX or clock() - search_began >= SECONDS_MAX
        if not waiting or is_out or _all_fail(found):
            break

        batch = _next(found, waiting)
        try:
            found.scored[batch] = call(batch, _share(batch.rows / full, seconds))
        except BatchFailed as failed:
            _note_failure(found, batch, failed, waiting)

    found.undecided += waiting

    found.scored = dict(sorted(found.scored.items(), key=lambda item: item[0].start))
    found.undecided.sort(key=lambda batch: batch.start)
    return found


def next_batch_rows(found: Bisected[_Result], batch_rows: int, rows: int, most: int) -> int:
    """Return how many rows a call may have the next time, `most` at the most.

    A batch that took too long is halved, unless a single row hung: that is the row's fault. After a
    full batch that was scored it is doubled.
    """
    if found.slow_rows is not None and found.slow_rows > 1:
        return max(1, min(batch_rows, rows) // 2)

    is_full = any(batch.rows == batch_rows for batch in found.scored)
    return min(most, batch_rows * 2 if is_full else batch_rows)


def _batches(rows: int, most: int) -> Iterator[Batch]:
    for start in range(0, rows, most):
        yield Batch(start, min(rows, start + most))


def _next(found: Bisected[_Result], waiting: list[Batch]) -> Batch:
    """Take the next batch to try.

    The left half goes first, so that a bad row is found early. Where calls take too long the
    largest batch does: the most rows are scored before time runs out. Where single rows fail and
    none is scored, it is one row from far away, to find out whether the model fails on all.
    """
    is_all_failing = bool(found.failed) and not found.scored
    if found.slow_rows is None and not is_all_failing:
        return waiting.pop()

    largest = max(waiting, key=lambda batch: batch.rows)
    waiting.remove(largest)
    if not is_all_failing:
        return largest

    left, right = largest.halves()
    waiting += [part for part in (Batch(right.start + 1, right.stop), left) if part.rows]
    return Batch(right.start, right.start + 1)


def _share(share: float, seconds: float) -> float:
    return min(seconds, max(seconds * max(share, LEAST_SHARE), LEAST_SECONDS))


def _all_fail(found: Bisected[_Result]) -> bool:
    return not found.scored and len(found.failed) >= ALL_FAIL_AFTER


def _note_failure(
    found: Bisected[_Result], batch: Batch, failed: BatchFailed, waiting: list[Batch]
) -> None:
    found.first_failure = found.first_failure or failed.why
    if failed.is_slow:
        found.slow_rows = min(batch.rows, found.slow_rows or batch.rows)

    if batch.rows == 1:
        found.failed[batch.start] = failed.why
    else:
        waiting.extend(reversed(batch.halves()))
