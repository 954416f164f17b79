"""How far scores and ranks are from those of training, or of the days before: the PSI.

The population stability index: PSI = sum of (actual - expected) * ln(actual / expected) over the
bins, as shares. Below 0.1 nothing has moved, and up to 0.25 little. Beyond that it is worth a look:
usually the inputs have changed, not the world.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.configuration.market import Training

RECORDS_MIN: Final = 200
"""With fewer records a day, chance alone passes the threshold."""

PSI_MAX: Final = 0.25
SHARE_LEAST: Final = 0.0001
"""The share that an empty bin counts with: zero has no logarithm."""

SCORE_BINS: Final = tuple(str(start) for start in range(0, 100, 10))
"""Scores by tens, named after their lowest; the last holds 100 as well."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin: shares of what training expects and of what the day has."""

    name: str
    expected: float
    actual: float


@dataclass(frozen=True, slots=True)
class Drift:
    """One distribution compared with training's; `records` is how many the day has."""

    market: str
    output: str
    records: int
    bins: tuple[Bin, ...]

    @property
    def is_enough(self) -> bool:
        """Say whether there are enough records to judge by."""
        return self.records >= RECORDS_MIN

    @property
    def psi(self) -> float:
        """Return the population stability index."""
        return sum(_term(one.expected, one.actual) for one in self.bins)

    @property
    def has_drifted(self) -> bool:
        """Say whether it is so far from training that it is reported."""
        return self.is_enough and self.psi > PSI_MAX


def _term(expected: float, actual: float) -> float:
    expected, actual = max(expected, SHARE_LEAST), max(actual, SHARE_LEAST)
    return (actual - expected) * math.log(actual / expected)


def drifts(
    market: str, training: Training, scores: Mapping[str, int], ranks: Mapping[str, int]
) -> list[Drift]:
    """Return a day's counts of scores (by tens) and ranks beside training's shares.

    Nothing is returned of what the market has no shares of.
    """
    found = []

    if training.score_distribution:
        shares = dict(zip(SCORE_BINS, training.score_distribution, strict=False))
        found.append(_drift(market, "score", shares, scores, SCORE_BINS))

    if training.rank_distribution:
        names = sorted({*training.rank_distribution, *ranks} - {"none"})
        found.append(_drift(market, "rank", training.rank_distribution, ranks, names))

    return found


def shifts(
    output: str, before: Mapping[str, int], now: Mapping[str, int], day: Mapping[str, int]
) -> list[Drift]:
    """Return how each market's counts of `output` differ from those before.

    The counts are named `output:market:value`. Where `now` has too few of a market, those of the
    whole `day` are compared; a market of which too few are known is left out.
    """
    history, current, so_far = (_by_market(output, counts) for counts in (before, now, day))

    found = []
    for market, counts in current.items():
        for candidate in (counts, so_far.get(market, Counter())):
            compared = _shift(market, output, history.get(market, {}), candidate)
            if compared is not None:
                found.append(compared)
                break
    return found


def _by_market(output: str, counts: Mapping[str, int]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for name, records in counts.items():
        kind, _, rest = name.partition(":")
        market, _, value = rest.partition(":")
        if kind == output:
            found.setdefault(market, Counter())[value] += records
    return found


def _shift(
    market: str, output: str, before: Mapping[str, int], now: Mapping[str, int]
) -> Drift | None:
    """Return how counts of now differ from those before; None where either are too few to tell."""
    total = sum(before.values())
    if total < RECORDS_MIN or sum(now.values()) < RECORDS_MIN:
        return None

    shares = {name: records / total for name, records in before.items()}
    return _drift(market, output, shares, now, sorted({*before, *now}))


def _drift(
    market: str,
    output: str,
    expected: Mapping[str, float],
    counts: Mapping[str, int],
    names: Sequence[str],
) -> Drift:
    records = sum(counts.get(name, 0) for name in names)
    bins = tuple(
        Bin(name, expected.get(name, 0.0), counts.get(name, 0) / records if records else 0.0)
        for name in names
    )
    return Drift(market, output, records, bins)
