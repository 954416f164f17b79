"""Trains the enterprise_fit market.

Run it with ``python config/local/markets/enterprise_fit/training/train.py``.

Reads ``companies.csv`` (made by ``extract.py``), writes ``model.json``, the sector benchmarks, the
report and the figures in ``market.yaml``. Needs the ``training`` extra; takes a few seconds; the
same data and library versions give the same files byte for byte.
"""

from __future__ import annotations

import csv
import dataclasses
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
RANKS = [("A", 80), ("B", 60), ("C", 40), ("D", 20), ("F", 0)]
SECTOR_COMPANIES_MIN = 5  # of a training fold; fewer give no median worth comparing with


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
market = _module("enterprise_fit_model", MARKET / "model.py")


def benchmarks(
    heads: npt.NDArray[np.float64], sector: npt.NDArray[np.object_]
) -> dict[str, npt.NDArray[np.float64]]:
    """Deciles of head count per sector, of the rows given (training rows only)."""
    return {
        name: np.round(np.percentile(heads[sector == name], range(10, 100, 10)), 1)
        for name in sorted(set(sector.tolist()) - {""})
        if (sector == name).sum() >= SECTOR_COMPANIES_MIN
    }


def train(out: Path = MARKET) -> dict[str, Any]:
    """Measures, fits on all rows and writes everything below ``out``.

    Returns:
        The figures of market.yaml's training block.
    """
    table = pa.csv.read_csv(MARKET / "training" / "companies.csv")
    references = market.read_references(MARKET / "reference")
    labels = table["large_cap"].to_numpy().astype(np.float64)
    heads = market.employees(table["employees"].cast(pa.float64()))
    sector = market.sectors(table["industry"], table["name"], references)

    def build(train_rows: npt.NDArray[np.intp]) -> dict[str, npt.NDArray[Any]]:
        of_fold = benchmarks(heads[train_rows], sector[train_rows])
        known = dataclasses.replace(references, benchmarks=of_fold)
        features: dict[str, npt.NDArray[Any]] = market.features_of(heads, sector, known)
        against = features["employees_against_sector"]
        return {**features, "employees_against_sector": np.nan_to_num(against, nan=0.0)}

    country = np.array(table["country"].to_pylist(), dtype=object)
    inputs = {"employees": np.log10(heads), "industry": sector, "country": country}
    measured = scorecard.measure(build, inputs, labels)
    everything = np.arange(len(labels))
    card = scorecard.fit_scorecard(build(everything), labels)
    scorecard.write_model(out / "model.json", card, RANKS)
    _write_benchmarks(out / "reference" / "industry_benchmarks.csv", heads, sector)
    figures: dict[str, Any] = scorecard.figures(measured, RANKS)
    scorecard.write_figures(out / "market.yaml", figures)
    report = _report(measured, labels, country, sector)
    (out / "training" / "report.md").write_text(report, encoding="utf-8")
    return figures


def _write_benchmarks(
    path: Path, heads: npt.NDArray[np.float64], sector: npt.NDArray[np.object_]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sector", "companies", *(f"p{10 * i}" for i in range(1, 10))])
        for name, deciles in benchmarks(heads, sector).items():
            writer.writerow([name, int((sector == name).sum()), *deciles.tolist()])


def _report(
    measured: Any,
    labels: npt.NDArray[np.float64],
    country: npt.NDArray[np.object_],
    sector: npt.NDArray[np.object_],
) -> str:
    within = "\n".join(
        f"| {name} | {int((country == name).sum())} | {labels[country == name].mean():.2f} | "
        f"{scorecard.auc(labels[country == name], measured.probabilities[country == name]):.4f} |"
        for name in sorted(set(country.tolist()))
    )
    return f"""# Training report: enterprise_fit

Written by `train.py`; the text is in `docs/markets.md`.

{scorecard.report_tables(measured, labels, RANKS)}
## Within one home market

The country is no feature: its share of positives is only how many companies each index takes.

| home market of the index | rows | share positive | AUC |
|---|---|---|---|
{within}

Rows whose industry and name match no sector: {int((sector == "").sum())}.
"""


if __name__ == "__main__":
    print(train())
