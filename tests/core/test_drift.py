"""How far a day is from training: the population stability index."""

from __future__ import annotations

import math

import pytest

from pipeline.core.configuration.market import SingleFeature, Training
from pipeline.core.scoring.drift import PSI_MAX, RECORDS_MIN, SCORE_BINS, drifts

EVEN = (0.1,) * 10


def training(**more: object) -> Training:
    """Return a training that tells how its scores and ranks were spread."""
    return Training.model_validate(
        {
            "script": "train.py",
            "data": "data.csv",
            "origin": "made",
            "rows": 1000,
            "auc": 0.8,
            "auc_interval": (0.7, 0.9),
            "best_single_feature": SingleFeature(feature="size", auc=0.6),
            "score_distribution": EVEN,
            "rank_distribution": {"A": 0.5, "B": 0.5},
            **more,
        }
    )


def test_the_spread_of_training_is_no_drift() -> None:
    """R29: the same shares give 0, however many records."""
    scores, ranks = drifts("m", training(), dict.fromkeys(SCORE_BINS, 70), {"A": 350, "B": 350})

    assert scores.psi == ranks.psi == 0
    assert not scores.has_drifted


def test_psi_of_shares_told_by_hand() -> None:
    """Half and half against 0.9 and 0.1: 0.4 ln 1.8 + 0.4 ln 5."""
    _, ranks = drifts("m", training(), {}, {"A": 900, "B": 100})

    assert ranks.psi == pytest.approx(0.4 * math.log(1.8) + 0.4 * math.log(5))
    assert ranks.psi > PSI_MAX
    assert ranks.has_drifted


def test_a_rank_that_training_never_gave_counts_as_drift() -> None:
    """A bin that is empty on one side has no logarithm; it must still count."""
    _, ranks = drifts("m", training(), {}, {"A": 200, "B": 200, "F": 100})

    assert [b.name for b in ranks.bins] == ["A", "B", "F"]
    assert ranks.has_drifted


def test_too_few_records_tell_nothing() -> None:
    """Chance alone passes the threshold; records without a score are not among them."""
    counts = {"0": RECORDS_MIN - 1, "none": 50}
    scores, ranks = drifts("m", training(), counts, {"none": 500})

    assert scores.psi > PSI_MAX
    assert not scores.has_drifted
    assert (scores.records, ranks.records) == (RECORDS_MIN - 1, 0)


def test_a_market_that_tells_no_spread_is_not_compared() -> None:
    """Both are optional in market.yaml."""
    assert drifts("m", training(score_distribution=(), rank_distribution={}), {}, {}) == []
