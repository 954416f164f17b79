"""Checks what a market gives out, and every row that is pushed, by pandera schemas (R8, D8).

Imported where rows are checked, and nowhere else at a module's top. pandera and pandas take longer
to load than a command that asks the ledger takes to answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
import pandera.pandas as pa_schema
import pyarrow as pa
import pyarrow.compute as pc
from pandera.errors import SchemaErrors

from pipeline.core.configuration.market import SCORE_MAX, Market, MarketOutput
from pipeline.core.org_fit.fields import Field
from pipeline.core.scoring.digest import DIGEST_BYTES, VERSION
from pipeline.core.scoring.outputs import (
    BAD_ROWS_MIN,
    BAD_SHARE_MAX,
    HASH_LENGTH_MAX,
    ROW_HASH,
    ROW_ID,
    TEXT_LENGTH_RULE,
    Invalid,
    OutputsUnusable,
    Validated,
)


def output_schema(market: Market, fields: Mapping[str, Field]) -> pa_schema.DataFrameSchema:
    """Return the schema of the outputs in `fields`, which maps their names to Salesforce fields."""
    columns = {
        name: pa_schema.Column(
            dtype=None,
            checks=_checks(market.outputs[name], field),
            nullable=True,
            required=True,
            description=market.outputs[name].label,
        )
        for name, field in fields.items()
    }
    return pa_schema.DataFrameSchema(columns, strict=False, name=market.name)


def _checks(output: MarketOutput, field: Field) -> list[pa_schema.Check]:
    if output.kind == "score":
        rule = f"a whole number from 0 to {SCORE_MAX}"
        return [pa_schema.Check.in_range(0, SCORE_MAX, error=rule)]
    if output.kind == "rank":
        ranks = output.rank_values
        return [pa_schema.Check.isin(ranks, error=f"one of {', '.join(ranks)}")]
    if output.kind == "text" and output.values:
        words = output.values
        return [pa_schema.Check.isin(words, error=f"one of {', '.join(words)}")]
    if output.kind == "text":
        most = min(output.text_length_max, field.length or output.text_length_max)
        rule = f"{TEXT_LENGTH_RULE} {most} characters"
        return [pa_schema.Check.str_length(max_value=most, error=rule)]
    if output.kind == "number":
        most_number = 10.0**field.integer_digits
        return [
            pa_schema.Check(
                lambda s: s.abs() < most_number,
                error=f"a number of at most {field.integer_digits} digits before the point",
            )
        ]
    return []


def row_schema() -> pa_schema.DataFrameSchema:
    """Return the schema of every row that is pushed: its id, and its hash."""
    entry = rf"\.[A-Za-z0-9_-]{{4}}[0-9a-f]{{{2 * DIGEST_BYTES}}}"
    form = rf"^{VERSION}({entry})+$"
    ids = [
        pa_schema.Check(lambda s: s.str.match("^[A-Za-z0-9]{18}$"), error="an id of 18 characters"),
        pa_schema.Check(lambda s: ~s.duplicated(keep=False), error="one row for a record"),
    ]
    hashes = [
        pa_schema.Check(
            lambda s: s.str.len() <= HASH_LENGTH_MAX, error=f"at most {HASH_LENGTH_MAX} characters"
        ),
        pa_schema.Check(
            lambda s: s.str.match(form), error="a version, then a tag and a digest for each market"
        ),
    ]
    return pa_schema.DataFrameSchema(
        {
            ROW_ID: pa_schema.Column(dtype=None, checks=ids, nullable=False),
            ROW_HASH: pa_schema.Column(dtype=None, checks=hashes, nullable=True),
        }
    )


def broken_rows(ids: pa.ChunkedArray, hashes: pa.ChunkedArray) -> tuple[Invalid, ...]:
    """Return the rules that rows about to be pushed break by their id or hash, and where."""
    if len(ids) == 0:
        return ()
    frame = pa.table({ROW_ID: ids, ROW_HASH: hashes}).to_pandas(types_mapper=pd.ArrowDtype)
    try:
        row_schema().validate(frame, lazy=True)
    except SchemaErrors as error:
        return tuple(_invalid(error.failure_cases))
    return ()


def broken_outputs(schema: pa_schema.DataFrameSchema, outputs: pa.Table) -> list[Invalid]:
    """Return the rules that typed outputs break, and on which rows: all of them, not the first."""
    frame = outputs.to_pandas(types_mapper=_nullable)
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        return _invalid(error.failure_cases)
    return []


def _nullable(kind: pa.DataType) -> Any:
    """Keep whole numbers, yes or no, and missing values apart in pandas."""
    if pa.types.is_int64(kind):
        return pd.Int64Dtype()
    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    return pd.StringDtype() if pa.types.is_string(kind) else None


def _invalid(cases: pd.DataFrame) -> list[Invalid]:
    found = []
    for (column, rule), group in cases.groupby(["column", "check"], sort=True):
        rows = tuple(int(index) for index in group["index"].dropna())
        found.append(Invalid(str(column), str(rule), rows))
    return found


def validate_outputs(
    market: Market, fields: Mapping[str, Field], parts: Mapping[int, pa.Table], rows: int
) -> Validated:
    """Check what the model gave against its schema: every broken rule and row, not only the first.

    `parts` are its tables by the position of the first row of each, in order. Rows that are in none
    of them were not scored: they are not valid, and break no rule. A bad value makes only its row
    invalid. A column of the wrong type, or too many bad rows, raise OutputsUnusable.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for name in fields:
        chunks = [_cast_output(part, name, market.outputs[name]) for part in parts.values()]
        columns[name] = _place_parts(parts, chunks, market.outputs[name].arrow_type, rows)

    outputs = pa.table(columns)
    broken = [*_not_finite(outputs), *broken_outputs(output_schema(market, fields), outputs)]
    broken += _score_or_rank_missing(market, fields, outputs)
    bad = {row for rule in broken for row in rule.rows}
    scored = {row for start, part in parts.items() for row in range(start, start + part.num_rows)}
    if len(bad) >= BAD_ROWS_MIN and len(bad) > len(scored) * BAD_SHARE_MAX:
        first = f"{broken[0].output} is not {broken[0].rule}"
        raise OutputsUnusable(f"{len(bad)} of {len(scored)} records break a rule ({first})")

    valid = pa.array([row in scored and row not in bad for row in range(rows)], pa.bool_())
    return Validated(outputs, valid, tuple(broken))


def _place_parts(
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


def _cast_output(scored: pa.Table, name: str, output: MarketOutput) -> pa.ChunkedArray:
    """Return the column in its type; raise OutputsUnusable where that cannot be done.

    Only lossless casts are made, and text is never taken for yes or no.
    """
    times = scored.column_names.count(name)
    if times != 1:
        given = f"{times} such columns" if times else "no such column"
        raise OutputsUnusable(f"{name}: the model gave {given}")

    try:
        return _cast(scored.column(name), name, output)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        given = scored.column(name).type
        raise OutputsUnusable(
            f"{name}: {given} values from the model do not fit {output.arrow_type}"
        ) from error


def _cast(column: pa.ChunkedArray, name: str, output: MarketOutput) -> pa.ChunkedArray:
    wanted = output.arrow_type
    if pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type):
        column = pc.cast(column, pa.string())

    if pa.types.is_null(column.type) or column.type == wanted:
        return pc.cast(column, wanted)

    are_floats = pa.types.is_floating(column.type)
    if output.kind == "score" and are_floats:
        return _whole_numbers(column)

    are_numbers = are_floats or pa.types.is_integer(column.type)
    if output.kind in ("score", "number") and are_numbers:
        return pc.cast(column, wanted)

    raise OutputsUnusable(f"{name}: expected {output.kind}, the model gave {column.type}")


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
