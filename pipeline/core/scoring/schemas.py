"""What a market may give out, and what every pushed row must be, as pandera schemas (R8, D8).

Imported where rows are checked, and nowhere else at a module's top. pandera and pandas take longer
to load than a command that asks the ledger takes to answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pandera.pandas as pa_schema
import pyarrow as pa
from pandera.errors import SchemaErrors

from pipeline.core.configuration.market import SCORE_MAX, Market, MarketOutput
from pipeline.core.org_fit.fields import Field
from pipeline.core.scoring.digest import DIGEST_BYTES, VERSION
from pipeline.core.scoring.outputs import (
    HASH_LENGTH_MAX,
    ROW_HASH,
    ROW_ID,
    TEXT_LENGTH_RULE,
    Invalid,
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
