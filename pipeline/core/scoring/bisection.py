"""Finds the rows that a model fails on, by halving the batch that holds them (R23, D21).

A model is asked for many rows at once. One row that makes it raise, crash or hang would stop all
the others. So a batch that fails is cut in two, and each half is tried alone, down to single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

CALLS_MAX: Final = 40
"""How many calls one segment of one market may cost. One bad row of 10,000 takes at most 29."""

SECONDS_MAX: Final = 600.0
"""How long these calls may take together."""

ALL_FAIL_AFTER: Final = 3
"""When so many single rows have failed and none was scored, the model is at fault, not the rows."""

LEAST_SHARE: Final = 0.02
"""A batch of one row is given this share of a full batch's time: a call costs something by itself."""

_Result = TypeVar("_Result")


class BatchFailed(Exception):
    """The model gave nothing for a batch; `why` says what it did, `is_slow` whether it took too long."""

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

    `scored` holds the results by batch, in the order of the rows. `failed` says by row what the model
    did with it alone. `undecided` are batches that fail and could not be cut further: calls or time
    ran out. `last_failure` is the newest failure of any batch, `slow_rows` the smallest batch that
    took too long (None where none did).
    """

    scored: dict[Batch, _Result] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    undecided: list[Batch] = field(default_factory=list)
    last_failure: str = ""
    slow_rows: int | None = None

    @property
    def scored_rows(self) -> int:
        """Return how many rows were scored."""
        return sum(batch.rows for batch in self.scored)

    @property
    def most_rows_fail(self) -> bool:
        """Say whether the model is at fault and not the rows: it failed on more than it scored (D21)."""
        return len(self.failed) > self.scored_rows or (
            bool(self.undecided) and self.scored_rows == 0
        )


def bisect(
    rows: int,
    call: Callable[[Batch, float], _Result],
    *,
    batch_rows: int,
    seconds: float,
    clock: Callable[[], float],
) -> Bisected[_Result]:
    """Score `rows` rows in batches of at most `batch_rows`, and find the rows that cannot be scored.

    `call` scores a batch within so many seconds, or raises BatchFailed. A full batch may take
    `seconds`, a smaller one its share, so that a row that hangs costs little more than twice that.
    `clock` gives seconds that only grow. Any other error of `call` ends it all: it is not a row's.
    """
    found: Bisected[_Result] = Bisected()
    ends_at = clock() + SECONDS_MAX
    calls = 0

    # Depth first, the left half first: so the first bad rows are found early, and their neighbours
    # are scored on the way.
    waiting = list(_batches(rows, batch_rows))[::-1]
    while waiting:
        batch = waiting.pop()
        tried_before = bool(found.last_failure)
        if tried_before and (calls >= CALLS_MAX or clock() >= ends_at or _all_fail(found)):
            found.undecided.append(batch)
            continue

        calls += 1
        share = max(batch.rows / batch_rows, LEAST_SHARE)
        try:
            found.scored[batch] = call(batch, seconds * min(1.0, share))
        except BatchFailed as failed:
            _note_failure(found, batch, failed, waiting)

    found.scored = dict(sorted(found.scored.items(), key=lambda item: item[0].start))
    return found


def _batches(rows: int, most: int) -> Iterator[Batch]:
    for start in range(0, rows, most):
        yield Batch(start, min(rows, start + most))


def _all_fail(found: Bisected[_Result]) -> bool:
    return not found.scored and len(found.failed) >= ALL_FAIL_AFTER


def _note_failure(
    found: Bisected[_Result], batch: Batch, failed: BatchFailed, waiting: list[Batch]
) -> None:
    found.last_failure = failed.why
    if failed.is_slow:
        found.slow_rows = min(batch.rows, found.slow_rows or batch.rows)

    if batch.rows == 1:
        found.failed[batch.start] = failed.why
    else:
        waiting.extend(reversed(batch.halves()))
