"""The sample models are really trained, the same way each time, and honestly measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.ensemble import GradientBoostingClassifier  # type: ignore[import-untyped]

from .conftest import MARKETS, NAMES, load_module

WRITTEN = {
    "enterprise_fit": ["model.json", "market.yaml", "reference/industry_benchmarks.csv"],
    "campaign_response": ["model.json", "market.yaml", "reference/response_benchmarks.csv"],
}
REPORT = "training/report.md"


@pytest.fixture(scope="module", params=NAMES)
def retrained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A market's name, the folder of a fresh training, and the figures it gave."""
    name = request.param
    out = tmp_path_factory.mktemp(name)
    (out / "reference").mkdir()
    (out / "training").mkdir()
    shutil.copy(MARKETS / name / "market.yaml", out / "market.yaml")
    figures = load_module(MARKETS / name / "training" / "train.py").train(out)
    return name, out, figures


@pytest.mark.slow
def test_training_again_gives_the_committed_files_byte_for_byte(
    retrained: tuple[str, Path, dict[str, Any]],
) -> None:
    name, out, _ = retrained

    for file in [*WRITTEN[name], REPORT]:
        assert (out / file).read_bytes() == (MARKETS / name / file).read_bytes(), file


@pytest.mark.slow
def test_figures_in_the_market_file_are_those_of_the_training(
    retrained: tuple[str, Path, dict[str, Any]],
) -> None:
    name, _, figures = retrained
    described = yaml.safe_load((MARKETS / name / "market.yaml").read_text(encoding="utf-8"))

    assert {key: described["training"][key] for key in figures} == figures


@pytest.mark.slow
def test_held_out_auc_is_better_than_the_best_single_feature_rule_beyond_chance(
    retrained: tuple[str, Path, dict[str, Any]],
) -> None:
    _, _, figures = retrained
    low, high = figures["auc_interval"]

    assert figures["best_single_feature"]["auc"] < low < figures["auc"] < high


@pytest.mark.slow
def test_shares_of_scores_and_ranks_add_up_to_one(
    retrained: tuple[str, Path, dict[str, Any]],
) -> None:
    _, _, figures = retrained

    assert len(figures["score_distribution"]) == 10
    assert sum(figures["score_distribution"]) == pytest.approx(1, abs=0.001)
    assert list(figures["rank_distribution"]) == ["A", "B", "C", "D", "F"]
    assert sum(figures["rank_distribution"].values()) == pytest.approx(1, abs=0.001)
    assert min(figures["rank_distribution"].values()) > 0.05


@pytest.mark.slow
def test_held_out_scores_of_meaningless_labels_are_worth_nothing() -> None:
    """A leak from the held-out rows into the training would show as an AUC above one half."""
    tools = load_module(MARKETS / "scorecard_training.py")
    random = np.random.default_rng(5)
    features = {
        "number": random.normal(size=2000),
        "text": np.array([f"t{i % 400}" for i in range(2000)], dtype=object),
    }
    labels = random.integers(0, 2, 2000).astype(np.float64)

    scores = tools.held_out(lambda _train: features, labels, stumps=50)

    assert tools.auc(labels, scores) == pytest.approx(0.5, abs=0.05)


def test_a_feature_is_built_from_the_training_rows_alone() -> None:
    tools = load_module(MARKETS / "scorecard_training.py")
    labels = np.array([0.0, 1.0] * 100)
    seen: list[set[int]] = []

    def build(train: Any) -> dict[str, Any]:
        seen.append(set(train.tolist()))
        return {"number": np.arange(200.0)}

    tools.held_out(build, labels, stumps=5)

    assert len(seen) == tools.FOLDS
    assert {len(rows) for rows in seen} == {180}
    held_out = [set(range(200)) - rows for rows in seen]
    assert set.union(*held_out) == set(range(200))
    assert sum(map(len, held_out)) == 200


def test_auc_counts_ties_as_one_half() -> None:
    tools = load_module(MARKETS / "scorecard_training.py")

    assert tools.auc(np.array([0, 1, 0, 1]), np.array([1.0, 1.0, 1.0, 1.0])) == 0.5
    assert tools.auc(np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 2.0, 3.0])) == 0.875
    assert tools.auc(np.array([0, 0, 1, 1]), np.array([4.0, 3.0, 2.0, 1.0])) == 0.0


def test_points_of_a_scorecard_are_the_log_odds_of_the_boosted_stumps() -> None:
    tools = load_module(MARKETS / "scorecard_training.py")
    random = np.random.default_rng(9)
    number = random.normal(size=500).astype(np.float32).astype(np.float64)
    text = np.array(["a", "b", "c"], dtype=object)[random.integers(0, 3, 500)]
    labels = ((number > 0.3) ^ (text == "b")).astype(np.float64)
    card = tools.fit_scorecard({"number": number, "text": text}, labels, stumps=40)
    booster = GradientBoostingClassifier(
        n_estimators=40,
        max_depth=1,
        learning_rate=0.05,
        subsample=0.6,
        min_samples_leaf=20,
        random_state=tools.SEED,
    )
    design = np.column_stack([number, *(text == value for value in "abc")])

    expected = booster.fit(design, labels).decision_function(design)

    assert tools.points_of(card, {"number": number, "text": text}) == pytest.approx(
        expected, abs=1e-4
    )


def test_the_label_is_not_among_the_inputs_and_no_input_tells_it_alone() -> None:
    for name in NAMES:
        described = yaml.safe_load((MARKETS / name / "market.yaml").read_text(encoding="utf-8"))
        rules = described["training"]["best_single_feature"]["auc"]

        assert not {"large_cap", "responded", "gift", "label"} & set(described["inputs"])
        assert rules < 0.9
