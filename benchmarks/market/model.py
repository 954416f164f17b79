"""The benchmarks' market: 30 features of seven inputs, and 100 boosted trees over them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]

TEXTS = ("company", "website", "email", "industry", "country")
INDUSTRIES = (
    "Technology",
    "Banking",
    "Retail",
    "Energy",
    "Education",
    "Healthcare",
    "Media",
    "Transportation",
)
ENDINGS = (".com", ".de", ".org", ".co.uk", ".io")
FEATURES = 30
GOOD_FROM = 50
RANKS = np.array(["D", "C", "B", "A"])
NOTES = pa.array(["Small company", "Large company"])


class Model:
    """Trees that `benchmarks.data` has trained."""

    def __init__(self, trees: Any) -> None:
        """Score with `trees`."""
        self.trees = trees

    def score(self, inputs: pa.Table) -> pa.Table:
        """Score whole columns."""
        matrix = features(inputs)
        scores = np.clip(np.rint(self.trees.predict(matrix)), 0, 100).astype(np.int64)
        large = matrix[:, 0] > np.log1p(250)
        return pa.table(
            {
                "score": scores,
                "rank": pa.array(RANKS[np.minimum(scores // 25, 3)], pa.string()),
                "note": NOTES.take(pa.array(large.astype(np.int8))),
                "good": scores >= GOOD_FROM,
            }
        )


def features(inputs: pa.Table) -> Floats:
    """Return the 30 features of each row, one row a record."""
    employees, revenue = (_numbers(inputs.column(name)) for name in ("employees", "revenue"))
    columns: list[Any] = [np.log1p(employees), np.log1p(revenue), revenue / (employees + 1)]
    columns += [pc.is_null(inputs.column(name)) for name in inputs.column_names]
    columns += [pc.fill_null(pc.utf8_length(inputs.column(name)), 0) for name in TEXTS]
    columns += [pc.ends_with(inputs.column("website"), ending) for ending in ENDINGS]
    columns += [pc.equal(inputs.column("industry"), name) for name in INDUSTRIES]
    columns += [pc.match_substring(inputs.column("email"), "info@")]
    columns += [pc.starts_with(inputs.column("company"), "The ")]
    matrix = np.empty((inputs.num_rows, FEATURES))
    for at, column in enumerate(columns):
        matrix[:, at] = column if isinstance(column, np.ndarray) else _numbers(column)
    return matrix


def _numbers(column: pa.ChunkedArray) -> Floats:
    filled: Floats = pc.fill_null(pc.cast(column, pa.float64()), 0.0).to_numpy()
    return filled


def load(folder: Path) -> Model:
    """Read the trees."""
    return Model(pickle.loads((folder / "trees.pickle").read_bytes()))  # noqa: S301  our own file
