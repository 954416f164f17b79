"""What the two sample markets' training scripts share: fitting, held-out measuring, writing.

The model is a scorecard: boosted decision stumps (scikit-learn's gradient boosting with trees of
one split), added up per feature. So each feature gives points that do not depend on the others,
the sum of the points is the log-odds, and the reasons for a score are exact instead of estimated.
Nothing here is needed for scoring; ``model.py`` in each market reads the points from JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from sklearn.ensemble import GradientBoostingClassifier  # type: ignore[import-untyped]
from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Features = Mapping[str, npt.NDArray[Any]]
Scorecard = dict[str, Any]

SEED = 20261101
FOLDS = 10
RESAMPLES = 1000
STUMPS = 250
STUMPS_ALONE = 100  # for a rule of one input: it has one curve to draw
DECIMALS = 6
FIGURES_MARK = "  # Below this line: written by training/train.py, do not edit.\n"


@dataclass(frozen=True)
class Measured:
    """Held-out figures of one market; every row was scored by a model that had not seen it."""

    rows: int
    positives: int
    auc: float
    interval: tuple[float, float]
    rules: dict[str, float]
    gain_interval: tuple[float, float]
    probabilities: Floats

    @property
    def best_rule(self) -> tuple[str, float]:
        """The strongest rule that looks at one input only."""
        name = max(self.rules, key=lambda rule: self.rules[rule])
        return name, self.rules[name]


def fit_scorecard(features: Features, labels: Floats, *, stumps: int = STUMPS) -> Scorecard:
    """Fits boosted stumps and adds them up into points per feature.

    Points are centred on the training rows, so that 0 is the average record and a missing value,
    which gives 0 points, neither helps nor harms.

    Args:
        features: Columns; numbers (no NaN here) or texts (a category; "" is unknown).
        labels: 0 or 1 for each row.
        stumps: How many boosting rounds.

    Returns:
        ``{"intercept": ..., "features": {name: {"cuts", "points"} or {"values"}}}``.
    """
    design, owners = _design_matrix(features)
    booster = GradientBoostingClassifier(
        n_estimators=stumps,
        max_depth=1,
        learning_rate=0.05,
        subsample=0.6,
        min_samples_leaf=20,
        random_state=SEED,
    ).fit(design, labels)
    intercept = float(np.log(labels.mean() / (1 - labels.mean())))
    steps = _steps_by_column(booster, design.shape[1])
    card: Scorecard = {}
    for name, values in features.items():
        columns = [(i, value) for i, (owner, value) in enumerate(owners) if owner == name]
        if values.dtype.kind in "fiu":
            cuts, points = _add_steps(steps[columns[0][0]])
            mean = float(points[np.searchsorted(cuts, values)].mean())
            card[name] = {"cuts": _rounded(cuts), "points": _rounded(points - mean)}
        else:
            by_value = _points_by_value(columns, steps)
            mean = float(np.mean([by_value[value] for value in values if value]))
            card[name] = {
                "values": {key: round(by_value[key] - mean, DECIMALS) for key in sorted(by_value)}
            }
        intercept += mean
    return {"intercept": round(intercept, DECIMALS), "features": card}


def _design_matrix(features: Features) -> tuple[Floats, list[tuple[str, str | None]]]:
    """Numbers as they are, a category as one 0/1 column per value."""
    columns: list[npt.NDArray[Any]] = []
    owners: list[tuple[str, str | None]] = []
    for name, values in features.items():
        if values.dtype.kind in "fiu":
            columns.append(values.astype(np.float64))
            owners.append((name, None))
            continue
        for value in sorted(set(values.tolist()) - {""}):
            columns.append((values == value).astype(np.float64))
            owners.append((name, value))
    return np.column_stack(columns), owners


def _steps_by_column(
    booster: GradientBoostingClassifier, columns: int
) -> list[list[tuple[float, float, float]]]:
    """Every stump as (threshold, points at or below, points above), grouped by its column."""
    steps: list[list[tuple[float, float, float]]] = [[] for _ in range(columns)]
    for (tree,) in booster.estimators_:
        inner = tree.tree_
        if inner.node_count == 1:
            continue
        below, above = (
            float(inner.value[child, 0, 0]) * booster.learning_rate
            for child in (inner.children_left[0], inner.children_right[0])
        )
        steps[inner.feature[0]].append((float(inner.threshold[0]), below, above))
    return steps


def _add_steps(steps: Sequence[tuple[float, float, float]]) -> tuple[Floats, Floats]:
    """One step function out of many: its cuts, and the points of each stretch between them."""
    cuts = np.unique(np.round([cut for cut, _, _ in steps], DECIMALS))
    points = np.zeros(len(cuts) + 1)
    for cut, below, above in steps:
        first_above = int(np.searchsorted(cuts, round(cut, DECIMALS))) + 1
        points[:first_above] += below
        points[first_above:] += above
    return cuts, points


def _points_by_value(
    columns: Sequence[tuple[int, str | None]], steps: Sequence[list[tuple[float, float, float]]]
) -> dict[str, float]:
    """Points of each category: what its own column adds when set, and the others when not set."""
    unset = {i: sum(below for _, below, _ in steps[i]) for i, _ in columns}
    when_set = {i: sum(above for _, _, above in steps[i]) for i, _ in columns}
    everything_unset = sum(unset.values())
    return {str(value): float(everything_unset - unset[i] + when_set[i]) for i, value in columns}


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), DECIMALS) for value in values]


def points_of(card: Scorecard, features: Features) -> Floats:
    """Log-odds of each row, by the same arithmetic as the markets' ``model.py``."""
    total = np.full(len(next(iter(features.values()))), card["intercept"])
    for name, entry in card["features"].items():
        values = features[name]
        if "cuts" in entry:
            total += np.asarray(entry["points"])[np.searchsorted(entry["cuts"], values)]
        else:
            total += np.asarray([entry["values"].get(value, 0.0) for value in values])
    return total


def auc(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """Area under the ROC curve; ties count one half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    positives = float(labels.sum())
    negatives = len(labels) - positives
    return float(
        (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def held_out(
    build: Callable[[npt.NDArray[np.intp]], Features], labels: Floats, *, stumps: int = STUMPS
) -> Floats:
    """Scores every row by a model fitted on the other nine tenths.

    Args:
        build: Features of all rows, given the training rows: whatever a feature needs to know
            about the population (a sector's median) must come from those rows alone.
        labels: 0 or 1 for each row.
        stumps: How many boosting rounds.
    """
    scores = np.empty(len(labels))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    for train, test in folds.split(np.zeros(len(labels)), labels):
        features = build(train)
        known = {name: values[train] for name, values in features.items()}
        card = fit_scorecard(known, labels[train], stumps=stumps)
        scores[test] = points_of(card, {k: v[test] for k, v in features.items()})
    return scores


def measure(
    build: Callable[[npt.NDArray[np.intp]], Features], inputs: Features, labels: Floats
) -> Measured:
    """Held-out AUC, its bootstrap interval, and the same for rules that see one input.

    A number makes two rules: the number itself (higher or lower is better, whichever suits the
    labels, which favours the rule), and a held-out scorecard of it alone. A text makes the latter
    only. The best of all of them is the rival.
    """
    scores = held_out(build, labels)
    rivals: dict[str, Floats] = {}
    for name, values in inputs.items():
        rivals[name] = _rule(name, values, labels)
    rules = {name: auc(labels, rival) for name, rival in rivals.items()}
    rival = rivals[max(rules, key=lambda name: rules[name])]
    interval, gain = _bootstrap(labels, scores, rival)
    return Measured(
        rows=len(labels),
        positives=int(labels.sum()),
        auc=auc(labels, scores),
        interval=interval,
        rules=rules,
        gain_interval=gain,
        probabilities=1 / (1 + np.exp(-scores)),
    )


def _rule(name: str, values: npt.NDArray[Any], labels: Floats) -> Floats:
    """The better of the rules that one input allows, as scores."""
    candidates = [held_out(lambda _: {name: values}, labels, stumps=STUMPS_ALONE)]
    if values.dtype.kind in "fiu":
        candidates += [values.astype(np.float64), -values.astype(np.float64)]
    return max(candidates, key=lambda candidate: auc(labels, candidate))


def _bootstrap(
    labels: Floats, scores: Floats, rival: Floats
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % intervals of the AUC, and of its gain over the rival on the same resampled rows."""
    random = np.random.default_rng(SEED)
    aucs = np.empty(RESAMPLES)
    gains = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = random.integers(0, len(labels), len(labels))
        aucs[i] = auc(labels[rows], scores[rows])
        gains[i] = aucs[i] - auc(labels[rows], rival[rows])
    return _percentiles(aucs), _percentiles(gains)


def _percentiles(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def distributions(
    probabilities: Floats, ranks: Sequence[tuple[str, int]]
) -> tuple[list[float], dict[str, float]]:
    """Shares of the ten score bands (0-9 ... 90-100) and of the ranks, over held-out scores."""
    scores = np.rint(100 * probabilities)
    bands = np.histogram(scores, bins=[0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 101])[0]
    shares = [round(float(band) / len(scores), 4) for band in bands]
    by_rank: dict[str, float] = {}
    taken = np.zeros(len(scores), dtype=bool)
    for rank, at_least in ranks:
        here = (scores >= at_least) & ~taken
        by_rank[rank] = round(float(here.mean()), 4)
        taken |= here
    return shares, by_rank


def calibration(probabilities: Floats, labels: Floats) -> list[tuple[str, int, float, float]]:
    """Per fifth of the scores: (range, rows, mean predicted, share observed)."""
    order = np.argsort(probabilities, kind="stable")
    table = []
    for part in np.array_split(order, 5):
        low, high = probabilities[part[0]], probabilities[part[-1]]
        table.append(
            (
                f"{low:.2f} to {high:.2f}",
                len(part),
                float(probabilities[part].mean()),
                float(labels[part].mean()),
            )
        )
    return table


def write_model(path: Path, card: Scorecard, ranks: Sequence[tuple[str, int]]) -> None:
    """Writes the model as plain JSON, one value a line, so that a diff can be read."""
    model = {**card, "ranks": [[rank, at_least] for rank, at_least in ranks]}
    path.write_text(json.dumps(model, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def figures(measured: Measured, ranks: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """The figures for market.yaml's training block."""
    name, value = measured.best_rule
    shares, by_rank = distributions(measured.probabilities, ranks)
    return {
        "rows": measured.rows,
        "auc": round(measured.auc, 4),
        "auc_interval": [round(bound, 4) for bound in measured.interval],
        "best_single_feature": {"feature": name, "auc": round(value, 4)},
        "score_distribution": shares,
        "rank_distribution": by_rank,
    }


def write_figures(market_file: Path, values: Mapping[str, Any]) -> None:
    """Replaces what stands below the mark in market.yaml (inside its ``training`` block)."""
    text = market_file.read_text(encoding="utf-8")
    kept, mark, _ = text.partition(FIGURES_MARK)
    if not mark:
        raise ValueError(f"{market_file} lacks the line {FIGURES_MARK!r}: add it under training.")
    block = yaml.safe_dump(dict(values), sort_keys=False, default_flow_style=None, width=96)
    indented = "".join(f"  {line}\n" for line in block.splitlines())
    market_file.write_text(kept + mark + indented, encoding="utf-8")


def report_tables(measured: Measured, labels: Floats, ranks: Sequence[tuple[str, int]]) -> str:
    """The part of a report that is the same for every market, in Markdown."""
    name, value = measured.best_rule
    low, high = measured.interval
    gain_low, gain_high = measured.gain_interval
    shares, by_rank = distributions(measured.probabilities, ranks)
    lines = [
        "## Held-out figures\n",
        f"{FOLDS}-fold cross-validation: every row is scored once, by a model fitted without it.",
        f"Intervals are 95 % percentile bootstraps ({RESAMPLES} resamples of rows).\n",
        "| figure | value |",
        "|---|---|",
        f"| rows (positives) | {measured.rows} ({measured.positives}) |",
        f"| AUC | {measured.auc:.4f} ({low:.4f} to {high:.4f}) |",
        f"| best single-feature rule: {name} | {value:.4f} |",
        f"| gain over it, same rows | {measured.auc - value:.4f}"
        f" ({gain_low:.4f} to {gain_high:.4f}) |",
        "\n| single-feature rule | AUC |",
        "|---|---|",
        *(
            f"| {rule} | {score:.4f} |"
            for rule, score in sorted(measured.rules.items(), key=lambda item: -item[1])
        ),
        "\n## Is a score of 70 really 70 %?\n",
        "| predicted | rows | mean predicted | share observed |",
        "|---|---|---|---|",
        *(
            f"| {band} | {rows} | {predicted:.3f} | {observed:.3f} |"
            for band, rows, predicted, observed in calibration(measured.probabilities, labels)
        ),
        "\n## Distribution of held-out scores and ranks\n",
        "| score | share |",
        "|---|---|",
        *(
            f"| {10 * i} to {10 * i + 9 if i < len(shares) - 1 else 100} | {share:.4f} |"
            for i, share in enumerate(shares)
        ),
        "\n| rank | from score | share |",
        "|---|---|---|",
        *(f"| {rank} | {at_least} | {by_rank[rank]:.4f} |" for rank, at_least in ranks),
    ]
    return "\n".join(lines) + "\n"
