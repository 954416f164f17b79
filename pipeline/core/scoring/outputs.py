"""What came of checking a market's outputs: the rules that rows broke (R8, D8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from pipeline.core.configuration.market import Market
from pipeline.core.org_fit.fields import Field

EXAMPLES_MAX: Final = 5
ROW_ID: Final = "id"
ROW_HASH: Final = "hash"
HASH_LENGTH_MAX: Final = 255
TEXT_LENGTH_RULE: Final = "at most"
"""Begins the rule of a text's length, in words; no other rule of an insight begins so."""

BAD_ROWS_MIN: Final = 20
BAD_SHARE_MAX: Final = 0.5
"""Past this share of invalid rows, of at least so many, nothing of the market's is pushed (D8)."""


class OutputsUnusable(ValueError):
    """Nothing of what a market gave out can be pushed; the message says why (D8)."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """One rule that rows broke: the output, the rule in words, and the rows' positions."""

    output: str
    rule: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Validated:
    """A market's outputs after validation.

    `outputs` has typed columns. `valid` says by row whether every output is valid. `broken` names
    the rules that rows broke. `whole` says why the market failed as a whole, `is_on_few_rows`
    whether that is told from a handful of rows, which may be at fault themselves.

    `failed` says by row what the model did with it alone. Of the `undecided` rows it is not known
    yet whether the model can score them; `why_undecided` says what it did with them together.
    """

    outputs: pa.Table
    valid: pa.Array
    broken: tuple[Invalid, ...] = ()
    whole: str | None = None
    is_on_few_rows: bool = False
    failed: Mapping[int, str] = field(default_factory=dict)
    undecided: tuple[int, ...] = ()
    why_undecided: str = ""


def unusable(
    market: Market, fields: Mapping[str, Field], rows: int, whole: str | None
) -> Validated:
    """Return the result of a market that gave nothing to push for `rows` rows, and why: `whole`."""
    nothing = {name: pa.nulls(rows, market.outputs[name].arrow_type) for name in fields}
    return Validated(pa.table(nothing), pa.array([False] * rows, pa.bool_()), whole=whole)
