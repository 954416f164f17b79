"""What a market may give out, and the rows that do not hold to it (R8, D8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.market import Market, MarketOutput
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


def validated(market: Market, fields: Mapping[str, Field], scored: object, rows: int) -> Validated:
    """Check what the model gave against its schema: every broken rule and row, not only the first.

    A table of the wrong length or a column of the wrong type makes the whole market unusable for
    this segment. A bad value makes only its row invalid.
    """
    if not isinstance(scored, pa.Table):
        whole = f"the model gave a {type(scored).__name__}, not a pyarrow table"
        return unusable(market, fields, rows, whole)

    if scored.num_rows != rows:
        whole = f"the model gave {scored.num_rows} rows for {rows} records"
        return unusable(market, fields, rows, whole)

    return validated_parts(market, fields, {0: scored}, rows)


def validated_parts(
    market: Market, fields: Mapping[str, Field], parts: Mapping[int, pa.Table], rows: int
) -> Validated:
    """Check the tables that the model gave, by the position of the first row of each, in order.

    Rows that are in none of them were not scored: they are not valid, and break no rule.
    """
    from pipeline.core.scoring.schemas import broken_outputs, output_schema

    columns: dict[str, pa.ChunkedArray] = {}
    for name in fields:
        chunks = []
        for part in parts.values():
            column, problem = _typed(part, name, market.outputs[name])
            if column is None:
                return unusable(market, fields, rows, problem)
            chunks.append(column)
        columns[name] = _placed(parts, chunks, market.outputs[name].arrow_type, rows)

    outputs = pa.table(columns)
    broken = [*_not_finite(outputs), *broken_outputs(output_schema(market, fields), outputs)]
    broken += _score_or_rank_missing(market, fields, outputs)
    bad = {row for rule in broken for row in rule.rows}
    scored = {row for start, part in parts.items() for row in range(start, start + part.num_rows)}
    if len(bad) >= BAD_ROWS_MIN and len(bad) > len(scored) * BAD_SHARE_MAX:
        first = f"{broken[0].output} is not {broken[0].rule}"
        return unusable(
            market, fields, rows, f"{len(bad)} of {len(scored)} records break a rule ({first})"
        )

    valid = pa.array([row in scored and row not in bad for row in range(rows)], pa.bool_())
    return Validated(outputs, valid, tuple(broken))


def _placed(
    parts: Mapping[int, pa.Table],
    columns: Sequence[pa.ChunkedArray],
    kind: pa.DataType,
    rows: int,
) -> pa.ChunkedArray:
    """Return one column of `rows` rows: each part at its place, null where there is none."""
    chunks: list[pa.Array] = []
    done = 0
    for start, column in zip(parts, columns, strict=True):
        chunks += [pa.nulls(start - done, kind), *column.chunks]
        done = start + len(column)

    return pa.chunked_array([*chunks, pa.nulls(rows - done, kind)], kind)


def unusable(
    market: Market, fields: Mapping[str, Field], rows: int, whole: str | None
) -> Validated:
    """Return the result of a market that gave nothing for `rows` rows, for the reason `whole`."""
    nothing = {name: pa.nulls(rows, market.outputs[name].arrow_type) for name in fields}
    return Validated(pa.table(nothing), pa.array([False] * rows, pa.bool_()), whole=whole)


def _typed(
    scored: pa.Table, name: str, output: MarketOutput
) -> tuple[pa.ChunkedArray | None, str | None]:
    """Return the column in its type, or why that cannot be done.

    Only lossless casts are made, and text is never taken for yes or no.
    """
    times = scored.column_names.count(name)
    if times != 1:
        given = f"{times} such columns" if times else "no such column"
        return None, f"{name}: the model gave {given}"

    try:
        return _cast(scored.column(name), name, output)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        given = scored.column(name).type
        return None, f"{name}: {given} values from the model do not fit {output.arrow_type}"


def _cast(
    column: pa.ChunkedArray, name: str, output: MarketOutput
) -> tuple[pa.ChunkedArray | None, str | None]:
    wanted = output.arrow_type
    if pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type):
        column = pc.cast(column, pa.string())

    if pa.types.is_null(column.type) or column.type == wanted:
        return pc.cast(column, wanted), None

    are_floats = pa.types.is_floating(column.type)
    if output.kind == "score" and are_floats:
        return _whole_numbers(column), None

    are_numbers = are_floats or pa.types.is_integer(column.type)
    if output.kind in ("score", "number") and are_numbers:
        return pc.cast(column, wanted), None

    return None, f"{name}: expected {output.kind}, the model gave {column.type}"


def _whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return floats as whole numbers; any other becomes -1, which the schema refuses row by row."""
    whole = pc.and_(pc.is_finite(column), pc.equal(pc.floor(column), column))
    # Beyond this, floats have gaps and the cast to whole numbers may fail for the whole column.
    small = pc.less(pc.abs(column), 1e15)
    usable = pc.and_(whole, pc.fill_null(small, False))
    return pc.cast(pc.if_else(pc.fill_null(usable, True), column, -1.0), pa.int64())


def _not_finite(outputs: pa.Table) -> list[Invalid]:
    """Return the rows with NaN or infinity, which pandas would take for missing."""
    found = []

    for name in outputs.column_names:
        column = outputs.column(name)
        if pa.types.is_floating(column.type):
            bad = pc.indices_nonzero(pc.fill_null(pc.invert(pc.is_finite(column)), False))
            if len(bad):
                found.append(Invalid(name, "a finite number", tuple(bad.to_pylist())))

    return found


def _score_or_rank_missing(
    market: Market, fields: Mapping[str, Field], outputs: pa.Table
) -> list[Invalid]:
    """Return the rows that have a score and no rank, or a rank and no score."""
    scores = [n for n in fields if market.outputs[n].kind == "score"]
    ranks = [n for n in fields if market.outputs[n].kind == "rank"]
    found = []

    for score, rank in product(scores, ranks):
        one_missing = pc.xor(pc.is_null(outputs.column(score)), pc.is_null(outputs.column(rank)))
        rows = pc.indices_nonzero(one_missing).to_pylist()
        if rows:
            found.append(Invalid(score, "score and rank together, or neither", tuple(rows)))

    return found
