"""Enterprise fit: is this company large enough for the top index of its home market?

Reads a scorecard (``model.json``) and the tables in ``reference/``; scores whole columns with numpy
and pyarrow. ``training/train.py`` fits the scorecard with the same ``employees`` and ``sectors``
that score here, so training and scoring cannot drift apart.
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

TEXT_READ = 200  # characters of a text that are looked at: a Description pasted into a name is not
EMPLOYEES_MAX = 5_000_000  # twice the largest employer there is; beyond it a figure is a typo
FOR_MAX = 3
AGAINST_MAX = 2
REASON_AT_LEAST = 0.1  # log-odds; below it a signal is not worth a reader's time
HOST = r"^(?:[a-z][a-z0-9+.-]*:/+)?[^/?#\s]*"  # at the beginning of a website as people type it


@dataclass(frozen=True)
class References:
    """The tables that records are enriched from."""

    sectors: tuple[tuple[str, str], ...]  # (pattern, sector), first match wins
    benchmarks: dict[str, Floats]  # sector -> its deciles of head count, 10 % to 90 %
    size_bands: tuple[tuple[float, str], ...]
    free_mail: str  # pattern of an address at one of the domains
    countries: dict[str, str]  # name in lower case -> top-level domain
    foreign: str  # pattern of a website under any country's domain, which it captures


def load(folder: Path) -> Model:
    """Reads the scorecard and the reference tables of the market in ``folder``."""
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return Model(card, read_references(folder / "reference"))


def read_references(folder: Path) -> References:
    """Reads the reference tables; the training script replaces the benchmarks by its own."""
    countries = _rows(folder / "countries.csv")
    benchmarks = folder / "industry_benchmarks.csv"
    deciles = {
        row["sector"]: np.array([float(row[f"p{10 * i}"]) for i in range(1, 10)])
        for row in (_rows(benchmarks) if benchmarks.exists() else [])
    }
    return References(
        sectors=_sector_patterns(_rows(folder / "industries.csv")),
        benchmarks=deciles,
        size_bands=tuple(
            (float(row["min_employees"]), row["label"]) for row in _rows(folder / "size_bands.csv")
        ),
        free_mail=f"@(?:{_any_of(_rows(folder / 'free_mail_domains.csv'), 'domain')})$",
        countries={row["alias"]: row["top_level_domain"] for row in countries},
        foreign=rf"{HOST}\.(?P<code>{_any_of(countries, 'top_level_domain')})(?:[/?#:\s]|$)",
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _any_of(rows: list[dict[str, str]], column: str) -> str:
    """A pattern that matches any of a column's values."""
    return "|".join(re.escape(value) for value in sorted({row[column] for row in rows}))


def _sector_patterns(rows: list[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    """One pattern for each run of keywords of one sector, in order of priority.

    A keyword must begin a word: "oil" is not in "foil".
    """
    ordered = sorted(rows, key=lambda row: int(row["priority"]))
    return tuple(
        (rf"(?:^|[^\p{{L}}])(?:{'|'.join(re.escape(row['keyword']) for row in run)})", sector)
        for sector, run in groupby(ordered, key=lambda row: row["sector"])
    )


def employees(column: pa.ChunkedArray) -> Floats:
    """Head counts; NaN for what cannot be one (missing, NaN, infinite, below 1, a typo)."""
    values = column.to_numpy().astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where((values >= 1) & (values <= EMPLOYEES_MAX), values, np.nan)


def sectors(
    industry: pa.ChunkedArray, name: pa.ChunkedArray, references: References
) -> npt.NDArray[np.object_]:
    """Sector by industry, else by words in the company's name; "" where neither tells."""
    found = _match_sector(industry, references)
    unknown = found == ""
    if unknown.any():
        found[unknown] = _match_sector(name.filter(pa.array(unknown)), references)
    return found


def _match_sector(column: pa.ChunkedArray, references: References) -> npt.NDArray[np.object_]:
    encoded = _tidy(column).dictionary_encode()
    words = encoded.dictionary
    found = np.full(len(words), "", dtype=object)
    for pattern, sector in references.sectors:
        hits = pc.match_substring_regex(words, pattern).to_numpy(zero_copy_only=False)
        found[hits & (found == "")] = sector
    rows = encoded.indices.fill_null(len(words)).to_numpy()
    by_row: npt.NDArray[np.object_] = np.append(found, "")[rows]
    return by_row


def _tidy(column: pa.ChunkedArray) -> pa.Array:
    """Lower case, trimmed, cut: the form in which texts are compared."""
    text = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(column, 0, TEXT_READ))
    return pa.array(pc.utf8_lower(text).combine_chunks(), pa.string())


class Model:
    """A scorecard with its reference data; see ``score``."""

    def __init__(self, card: dict[str, Any], references: References) -> None:
        """Keeps what ``load`` read."""
        self._card = card
        self._references = references

    def score(self, table: pa.Table) -> pa.Table:
        """Scores every row; a row with neither head count nor a known sector gets nulls.

        Args:
            table: One column per input of market.yaml, null where there is no value.

        Returns:
            One column per enabled output, in the same order of rows.
        """
        heads = employees(table["employees"])
        sector = sectors(table["industry"], table["company_name"], self._references)
        features = features_of(heads, sector, self._references)
        parts = contributions(self._card, features)
        usable = pa.array(~(np.isnan(heads) & (sector == "")))
        chance = 1 / (1 + np.exp(-(self._card["intercept"] + sum(parts.values()))))
        score = np.rint(100 * chance).astype(np.int64)
        texts = _reason_texts(heads, sector, self._references)
        columns = {
            "score": pa.array(score),
            "rank": _by_threshold(score, [(a, r) for r, a in self._card["ranks"]]),
            "reasons": reasons(parts, texts),
            **self._insights(table, heads, sector),
        }
        return pa.table(
            {k: pc.if_else(usable, v, pa.scalar(None, v.type)) for k, v in columns.items()}
        )

    def _insights(
        self, table: pa.Table, heads: Floats, sector: npt.NDArray[np.object_]
    ) -> dict[str, pa.Array]:
        references = self._references
        percentile = sector_percentile(heads, sector, references)
        free = pc.match_substring_regex(_tidy(table["email"]), references.free_mail)
        known = pa.array(sector != "")
        with np.errstate(invalid="ignore"):
            above = percentile >= 50  # noqa: PLR2004 (the median)
        return {
            "sector": pc.if_else(
                known, pa.array(sector, pa.string()), pa.scalar(None, pa.string())
            ),
            "size_band": _by_threshold(heads, references.size_bands),
            "above_sector_median": pa.array(above),
            "free_mail": pc.fill_null(free, fill_value=False),
            "foreign_domain": pa.array(_is_foreign(table["website"], table["country"], references)),
            "sector_percentile": pa.array(percentile, from_pandas=True),
        }


def features_of(
    heads: Floats, sector: npt.NDArray[np.object_], references: References
) -> dict[str, npt.NDArray[Any]]:
    """What the scorecard looks at: size, size against the sector, the sector."""
    medians = {name: deciles[4] for name, deciles in references.benchmarks.items()}
    names, codes = _codes(sector)
    median = np.array([medians.get(name, np.nan) for name in names])[codes]
    return {
        "employees": np.log10(heads),
        "employees_against_sector": np.log10(heads / median),
        "sector": sector,
    }


def _codes(values: npt.NDArray[np.object_]) -> tuple[list[str], npt.NDArray[np.int64]]:
    encoded = pa.array(values, pa.string()).dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def contributions(card: dict[str, Any], features: dict[str, npt.NDArray[Any]]) -> dict[str, Floats]:
    """Log-odds that each feature adds; 0 where its value is missing or unknown."""
    parts: dict[str, Floats] = {}
    for name, entry in card["features"].items():
        values = features[name]
        if "cuts" in entry:
            points = np.asarray(entry["points"])[np.searchsorted(entry["cuts"], values)]
            parts[name] = np.where(np.isnan(values), 0.0, points)
        else:
            names, codes = _codes(values)
            parts[name] = np.array([entry["values"].get(value, 0.0) for value in names])[codes]
    return parts


def sector_percentile(
    heads: Floats, sector: npt.NDArray[np.object_], references: References
) -> Floats:
    """Share of the sector's companies, in steps of 10 %, that this one is larger than."""
    names, codes = _codes(sector)
    result = np.full(len(heads), np.nan)
    for code, name in enumerate(names):
        deciles = references.benchmarks.get(name)
        here = (codes == code) & ~np.isnan(heads)
        if deciles is not None:
            result[here] = 10.0 * np.searchsorted(deciles, heads[here], side="right")
    return result


def _is_foreign(
    website: pa.ChunkedArray, country: pa.ChunkedArray, references: References
) -> npt.NDArray[np.bool_]:
    """True where the website stands under the domain of another country than the record's.

    False where it stands under none, or where the record's country is unknown.
    """
    text = _tidy(website)
    # Capturing is ten times as slow as matching, and most websites end in .com.
    hits = pc.fill_null(pc.match_substring_regex(text, references.foreign), fill_value=False)
    there = pc.struct_field(pc.extract_regex(text.filter(hits), references.foreign), "code")
    aliases = pa.array(references.countries.keys())
    position = pc.index_in(_tidy(country.filter(hits)), value_set=aliases)
    home = pa.array(references.countries.values()).take(position)
    result: npt.NDArray[np.bool_] = hits.to_numpy(zero_copy_only=False).copy()
    differs = pc.fill_null(pc.not_equal(there, home), fill_value=False)
    result[result] = differs.to_numpy(zero_copy_only=False)
    return result


def _by_threshold(values: npt.NDArray[Any], bands: Sequence[tuple[float, str]]) -> pa.Array:
    """Label of the highest band whose lower bound is reached; null below all, or for NaN."""
    ordered = sorted(bands)
    position = np.searchsorted([bound for bound, _ in ordered], values, side="right") - 1
    missing = np.isnan(values) | (position < 0)
    labels = pa.array([label for _, label in ordered], pa.string())
    return labels.take(pa.array(position, pa.int64(), mask=missing))


def _reason_texts(
    heads: Floats, sector: npt.NDArray[np.object_], references: References
) -> dict[str, pa.Array]:
    """What is said of each feature's value, before its sign."""
    medians = {name: deciles[4] for name, deciles in references.benchmarks.items()}
    names, codes = _codes(sector)
    median = np.array([medians.get(name, np.nan) for name in names])[codes]
    ratio = heads / median
    with np.errstate(invalid="ignore"):
        rounded = np.where(ratio < 1, np.round(ratio, 3), np.round(ratio, 1))
    times = _formatted(rounded, "{:,g}")
    labels = pa.array(names, pa.string()).take(pa.array(codes))
    return {
        "employees": _joined(_formatted(heads, "{:,.0f}"), " employees"),
        "employees_against_sector": _joined(times, " times the ", labels, " median"),
        "sector": _joined(labels, " sector"),
    }


def _formatted(values: Floats, pattern: str) -> pa.Array:
    """Numbers as text; each distinct one is formatted once, NaN becomes null."""
    distinct, where = np.unique(values, return_inverse=True)
    texts = [None if np.isnan(value) else pattern.format(value) for value in distinct.tolist()]
    return pa.array(texts, pa.string()).take(pa.array(where))


def _joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def reasons(parts: dict[str, Floats], texts: dict[str, pa.Array]) -> pa.Array:
    """The strongest signals for and against, strongest first: "+ 12,000 employees; - ..."."""
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
            pieces.append(_joined(sign, picked))
    # The join drops rows in which every piece is null, so such rows get a piece of their own.
    silent = pa.array(_all_null(pieces))
    pieces.append(pc.if_else(silent, "an average company", pa.scalar(None, pa.string())))
    return pc.binary_join_element_wise(*pieces, "; ", null_handling="skip")


def _all_null(pieces: list[pa.Array]) -> npt.NDArray[np.bool_]:
    nulls = [piece.is_null().to_numpy(zero_copy_only=False) for piece in pieces]
    result: npt.NDArray[np.bool_] = np.logical_and.reduce(nulls)
    return result
