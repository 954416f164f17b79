"""A market in one rule: 100 points inside a band of head counts, 60 fewer for each factor of ten outside."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa

LEAST, MOST = 100, 999
POINTS_MAX = 100
RANKS = ((80, "A"), (60, "B"), (40, "C"), (0, "D"))


def load(folder: Path) -> Model:  # noqa: ARG001  nothing to read: the rule is all there is
    """Return the model."""
    return Model()


class Model:
    """The rule; a record without a head count gets nulls."""

    def score(self, table: pa.Table) -> pa.Table:
        """Score every row by its head count."""
        counts = table.column("employees").to_pylist()
        scores = [points(count) if count and count > 0 else None for count in counts]
        return pa.table(
            {
                "score": pa.array(scores, pa.int64()),
                "rank": pa.array([rank(score) for score in scores], pa.string()),
                "in_band": pa.array([score == POINTS_MAX for score in scores], pa.bool_()),
            }
        )


def points(count: float) -> int:
    """Return the points of a head count."""
    outside = max(LEAST / count, count / MOST, 1)
    return max(0, round(POINTS_MAX - 60 * math.log10(outside)))


def rank(score: int | None) -> str | None:
    """Return the letter of a score."""
    return None if score is None else next(letter for least, letter in RANKS if score >= least)
