"""Campaign response: how likely does this person answer the next mailing?

Reads a scorecard (``model.json``) and the tables in ``reference/``; scores whole columns with numpy
and pyarrow. ``training/train.py`` fits the scorecard on the features named in ``RANGES``.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]

TEXT_READ = 200  # characters of a title that are looked at
FOR_MAX = 3
AGAINST_MAX = 2
REASON_AT_LEAST = 0.1  # log-odds; below it a signal is not worth a reader's time
DAYS_PER_WEEK = 7.0
LAPSED_WEEKS = 104.0
# What a value can be at all; what lies outside is a typo and counts as missing.
RANGES = {
    "response_rate": (0.0, 100.0),  # per cent
    "responded_last": (0.0, 1.0),
    "weeks_since_response": (0.0, 1040.0),
    "mailings_per_year": (0.0, 366.0),
    "last_gift": (0.0, 1e7),
    "average_gift": (0.0, 1e7),
}
HISTORY = ("response_rate", "responded_last", "weeks_since_response")  # one of them is needed


@dataclass(frozen=True)
class References:
    """The tables that records are enriched from."""

    titles: dict[str, tuple[tuple[str, str], ...]]  # kind -> (pattern, value), first match wins
    recency_bands: tuple[tuple[float, str], ...]
    peer_bounds: Floats  # mailings per year from which on a row of peers applies
    peer_median: Floats  # response rate in per cent
    peer_upper_quartile: Floats


def load(folder: Path) -> Model:
    """Reads the scorecard and the reference tables of the market in ``folder``."""
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return Model(card, read_references(folder / "reference"))


def read_references(folder: Path) -> References:
    """Reads the reference tables."""
    titles = _rows(folder / "titles.csv")
    peers = _rows(folder / "response_benchmarks.csv")
    return References(
        titles={
            kind: _title_patterns([row for row in titles if row["kind"] == kind])
            for kind in ("seniority", "function")
        },
        recency_bands=tuple(
            (float(row["min_weeks"]), row["label"]) for row in _rows(folder / "recency_bands.csv")
        ),
        peer_bounds=np.array([float(row["min_mailings_per_year"]) for row in peers]),
        peer_median=np.array([float(row["median_rate"]) for row in peers]),
        peer_upper_quartile=np.array([float(row["upper_quartile_rate"]) for row in peers]),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _title_patterns(rows: list[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    """One pattern for each run of keywords of one value; a keyword must begin a word."""
    ordered = sorted(rows, key=lambda row: int(row["priority"]))
    return tuple(
        (rf"(?:^|[^\p{{L}}])(?:{'|'.join(re.escape(row['keyword']) for row in run)})", value)
        for value, run in groupby(ordered, key=lambda row: row["value"])
    )


class Model:
    """A scorecard with its reference data; see ``score``."""

    def __init__(self, card: dict[str, Any], references: References) -> None:
        """Keeps what ``load`` read."""
        self._card = card
        self._references = references

    def score(self, table: pa.Table) -> pa.Table:
        """Scores every row; a row without any past response gets nulls.

        Args:
            table: One column per input of market.yaml, null where there is no value.

        Returns:
            One column per enabled output, in the same order of rows.
        """
        features = features_of(table)
        parts = contributions(self._card, features)
        unknown = np.logical_and.reduce([np.isnan(features[name]) for name in HISTORY])
        chance = 1 / (1 + np.exp(-(self._card["intercept"] + sum(parts.values()))))
        score = np.rint(100 * chance).astype(np.int64)
        columns = {
            "score": pa.array(score),
            "rank": _by_threshold(score, [(a, r) for r, a in self._card["ranks"]]),
            "reasons": reasons(parts, _reason_texts(features)),
            **self._insights(table, features),
        }
        usable = pa.array(~unknown)
        return pa.table(
            {k: pc.if_else(usable, v, pa.scalar(None, v.type)) for k, v in columns.items()}
        )

    def _insights(self, table: pa.Table, features: dict[str, Floats]) -> dict[str, pa.Array]:
        references = self._references
        rate, weeks = features["response_rate"], features["weeks_since_response"]
        median, upper_quartile = _peers(features["mailings_per_year"], references)
        with np.errstate(invalid="ignore"):
            habitual = rate >= upper_quartile
            lapsed = weeks >= LAPSED_WEEKS
        return {
            "habitual_responder": pa.array(habitual),
            "lapsed": pa.array(lapsed),
            "recency": _by_threshold(weeks, references.recency_bands),
            "seniority": _match_title(table["title"], references.titles["seniority"]),
            "job_function": _match_title(table["title"], references.titles["function"]),
            "rate_against_peers": pa.array(np.round(rate - median, 1), from_pandas=True),
        }


def features_of(table: pa.Table) -> dict[str, Floats]:
    """What the scorecard looks at; NaN for what is missing or cannot be."""
    days = pc.subtract(
        table["next_mailing_date"].cast(pa.int32()), table["last_response_date"].cast(pa.int32())
    )
    raw = {
        "response_rate": table["response_rate"],
        "responded_last": table["responded_last"].cast(pa.float64()),
        "weeks_since_response": pc.divide(days.cast(pa.float64()), DAYS_PER_WEEK),
        "mailings_per_year": table["mailings_per_year"],
        "last_gift": table["last_gift"],
        "average_gift": table["average_gift"],
    }
    features: dict[str, Floats] = {}
    for name, (low, high) in RANGES.items():
        values = raw[name].to_numpy().astype(np.float64)
        with np.errstate(invalid="ignore"):
            features[name] = np.where((values >= low) & (values <= high), values, np.nan)
    return features


def contributions(card: dict[str, Any], features: dict[str, Floats]) -> dict[str, Floats]:
    """Log-odds that each feature adds; 0 where its value is missing."""
    parts: dict[str, Floats] = {}
    for name, entry in card["features"].items():
        values = features[name]
        points = np.asarray(entry["points"])[np.searchsorted(entry["cuts"], values)]
        parts[name] = np.where(np.isnan(values), 0.0, points)
    return parts


def _peers(mailings: Floats, references: References) -> tuple[Floats, Floats]:
    """Median and upper quartile of the response rate of those who get as many mailings."""
    position = np.searchsorted(references.peer_bounds, mailings, side="right") - 1
    position = np.clip(position, 0, None)
    missing = np.isnan(mailings)
    return (
        np.where(missing, np.nan, references.peer_median[position]),
        np.where(missing, np.nan, references.peer_upper_quartile[position]),
    )


def _match_title(column: pa.ChunkedArray, patterns: tuple[tuple[str, str], ...]) -> pa.Array:
    """What the first matching pattern stands for; null where none matches."""
    text = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(column, 0, TEXT_READ))
    encoded = pa.array(pc.utf8_lower(text).combine_chunks(), pa.string()).dictionary_encode()
    words = encoded.dictionary
    found = np.full(len(words), "", dtype=object)
    for pattern, value in patterns:
        hits = pc.match_substring_regex(words, pattern).to_numpy(zero_copy_only=False)
        found[hits & (found == "")] = value
    values = pa.array(found, pa.string(), mask=found == "")
    return values.take(encoded.indices)


def _by_threshold(values: npt.NDArray[Any], bands: Sequence[tuple[float, str]]) -> pa.Array:
    """Label of the highest band whose lower bound is reached; null below all, or for NaN."""
    ordered = sorted(bands)
    position = np.searchsorted([bound for bound, _ in ordered], values, side="right") - 1
    missing = np.isnan(values) | (position < 0)
    labels = pa.array([label for _, label in ordered], pa.string())
    return labels.take(pa.array(position, pa.int64(), mask=missing))


def _reason_texts(features: dict[str, Floats]) -> dict[str, pa.Array]:
    """What is said of each feature's value, before its sign."""
    answered = pa.array(["no answer to the last mailing", "answered the last mailing"])
    last = features["responded_last"]
    return {
        "response_rate": _sentence(
            "answered {:,.0f} % of mailings", np.round(features["response_rate"])
        ),
        "responded_last": answered.take(
            pa.array(np.nan_to_num(last).astype(np.int64), mask=np.isnan(last))
        ),
        "weeks_since_response": _sentence(
            "last answer {:,.0f} weeks before", np.round(features["weeks_since_response"])
        ),
        "mailings_per_year": _sentence(
            "{:,g} mailings a year", np.round(features["mailings_per_year"], 2)
        ),
        "last_gift": _sentence("last gift of {:,.0f}", np.round(features["last_gift"])),
        "average_gift": _sentence(
            "gifts of {:,.0f} on average", np.round(features["average_gift"])
        ),
    }


def _sentence(pattern: str, values: Floats) -> pa.Array:
    """A pattern filled with numbers; each distinct one is formatted once, NaN becomes null."""
    distinct, where = np.unique(values, return_inverse=True)
    texts = [None if np.isnan(value) else pattern.format(value) for value in distinct.tolist()]
    return pa.array(texts, pa.string()).take(pa.array(where))


def reasons(parts: dict[str, Floats], texts: dict[str, pa.Array]) -> pa.Array:
    """The strongest signals for and against, strongest first: "+ answered 67 % ...; - ..."."""
    weights = np.column_stack(list(parts.values()))
    rows = np.arange(len(weights))
    said = pa.concat_arrays([texts[name] for name in parts])
    pieces: list[pa.Array] = []
    for sign, order, count in (
        ("+ ", np.argsort(-weights, axis=1, kind="stable"), FOR_MAX),
        ("- ", np.argsort(weights, axis=1, kind="stable"), AGAINST_MAX),
    ):
        for place in range(min(count, weights.shape[1])):
            column = order[:, place]
            weight = weights[rows, column] * (1 if sign == "+ " else -1)
            picked = said.take(pa.array(column * len(rows) + rows, mask=weight < REASON_AT_LEAST))
            pieces.append(pc.binary_join_element_wise(sign, picked, ""))
    # The join drops rows in which every piece is null, so such rows get a piece of their own.
    silent = pa.array(_all_null(pieces))
    pieces.append(pc.if_else(silent, "an average record", pa.scalar(None, pa.string())))
    return pc.binary_join_element_wise(*pieces, "; ", null_handling="skip")


def _all_null(pieces: list[pa.Array]) -> npt.NDArray[np.bool_]:
    nulls = [piece.is_null().to_numpy(zero_copy_only=False) for piece in pieces]
    result: npt.NDArray[np.bool_] = np.logical_and.reduce(nulls)
    return result
