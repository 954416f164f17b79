"""Trains the campaign_response market.

Run it with ``python config/local/markets/campaign_response/training/train.py``.

Reads ``mailings.csv`` (made by ``extract.py``), writes ``model.json``, the peers' benchmarks, the
report and the figures in ``market.yaml``. Needs the ``training`` extra; takes ten seconds; the
same data and library versions give the same files byte for byte.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

MARKET = Path(__file__).resolve().parents[1]
RANKS = [("A", 70), ("B", 50), ("C", 30), ("D", 15), ("F", 0)]
PEER_BOUNDS = [0.0, 1.5, 2.0, 2.5, 3.0]  # mailings per year; each stretch has 400 rows or more


def _module(name: str, path: Path) -> ModuleType:
    """Imports a file that is in no package (a market's folder is configuration, not code)."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


scorecard = _module("scorecard_training", MARKET.parent / "scorecard_training.py")
market = _module("campaign_response_model", MARKET / "model.py")


def read_features() -> tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """The features and whether the mailing was answered."""
    table = pa.csv.read_csv(MARKET / "training" / "mailings.csv")
    features = {name: table[name].to_numpy().astype(np.float64) for name in market.RANGES}
    features["response_rate"] = np.round(100 * features["response_rate"], 2)
    return features, table["responded"].to_numpy().astype(np.float64)


def train(out: Path = MARKET) -> dict[str, Any]:
    """Measures, fits on all rows and writes everything below ``out``.

    Returns:
        The figures of market.yaml's training block.
    """
    features, labels = read_features()
    measured = scorecard.measure(lambda _train: features, features, labels)
    card = scorecard.fit_scorecard(features, labels)
    scorecard.write_model(out / "model.json", card, RANKS)
    _write_benchmarks(out / "reference" / "response_benchmarks.csv", features)
    figures: dict[str, Any] = scorecard.figures(measured, RANKS)
    scorecard.write_figures(out / "market.yaml", figures)
    report = (
        "# Training report: campaign_response\n\n"
        "Written by `train.py`; the text is in `docs/markets.md`.\n\n"
        + scorecard.report_tables(measured, labels, RANKS)
    )
    (out / "training" / "report.md").write_text(report, encoding="utf-8")
    return figures


def _write_benchmarks(path: Path, features: dict[str, npt.NDArray[np.float64]]) -> None:
    """Response rates of peers; the model does not see them, the insights do."""
    stretch = np.searchsorted(PEER_BOUNDS, features["mailings_per_year"], side="right") - 1
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["min_mailings_per_year", "people", "median_rate", "upper_quartile_rate"])
        for place, bound in enumerate(PEER_BOUNDS):
            rates = features["response_rate"][stretch == place]
            quartiles = np.round(np.percentile(rates, [50, 75]), 2).tolist()
            writer.writerow([bound, len(rates), *quartiles])


if __name__ == "__main__":
    print(train())
