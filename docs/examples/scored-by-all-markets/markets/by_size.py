"""Three markets in one rule: 100 points inside a band of head counts, 60 fewer for each factor of ten outside."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa

RANKS = ((80, "A"), (60, "B"), (40, "C"), (0, "D"))


def smb(folder: Path) -> BySize:  # noqa: ARG001  nothing to read: the rule is all there is
    """Return the model for companies of up to 99 people."""
    return BySize(1, 99)


def mid_market(folder: Path) -> BySize:  # noqa: ARG001
    """Return the model for companies of 100 to 999 people."""
    return BySize(100, 999)


def enterprise(folder: Path) -> BySize:  # noqa: ARG001
    """Return the model for companies of 1,000 people and more."""
    return BySize(1_000, math.inf)


class BySize:
    """The rule for one band; a record without a head count gets nulls."""

    def __init__(self, least: float, most: float) -> None:
        """Keep the band."""
        self.least, self.most = least, most

    def score(self, table: pa.Table) -> pa.Table:
        """Score every row by its head count."""
        counts = table.column("employees").to_pylist()
        scores = [self.points(count) if count and count > 0 else None for count in counts]
        return pa.table(
            {
                "score": pa.array(scores, pa.int64()),
                "rank": pa.array([rank(score) for score in scores], pa.string()),
            }
        )

    def points(self, count: float) -> int:
        """Return the points of a head count."""
        outside = max(self.least / count, count / self.most, 1)
        return max(0, round(100 - 60 * math.log10(outside)))


def rank(score: int | None) -> str | None:
    """Return the letter of a score."""
    return None if score is None else next(letter for least, letter in RANKS if score >= least)
