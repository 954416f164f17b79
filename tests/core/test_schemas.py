from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.scoring.outputs import OutputsUnusable, Validated
from pipeline.core.scoring.schemas import output_schema, validate_outputs
from tests.core.support import field, market

FIELDS = {
    "score": field("Score__c", "double"),
    "rank": field("Rank__c", "string", length=1),
    "note": field("Note__c", "string", length=40),
    "size": field("Size__c", "double", precision=5, scale=2),
    "hot": field("Hot__c", "boolean"),
}
GOOD: dict[str, Any] = {"score": 50, "rank": "B", "note": "ok", "size": 1.5, "hot": True}
TYPES = {
    "score": pa.int64(),
    "rank": pa.string(),
    "note": pa.string(),
    "size": pa.float64(),
    "hot": pa.bool_(),
}


def checked(*rows: dict[str, Any], **columns: pa.Array) -> Validated:
    """Validate rows that are good but for what each says; `columns` replace whole columns."""
    full = [{**GOOD, **row} for row in rows]
    table = {n: pa.array([row[n] for row in full], kind) for n, kind in TYPES.items()}
    return validate_outputs(market(), FIELDS, {0: pa.table({**table, **columns})}, len(rows))


def broken(result: Validated) -> dict[str, tuple[int, ...]]:
    return {f"{i.output}: {i.rule}": i.rows for i in result.broken}


def test_good_rows_are_valid() -> None:
    """R8: from 0 to 100, A to D, and every output empty at once."""
    empty = dict.fromkeys(GOOD)
    result = checked({"score": 0}, {"score": 100, "rank": "A"}, {"rank": "D", "hot": False}, empty)

    assert result.valid.to_pylist() == [True] * 4
    assert result.broken == ()
    assert result.whole is None
    assert result.outputs.schema.types == [TYPES[n] for n in FIELDS]


@pytest.mark.parametrize("score", [101, -1, 10**9])
def test_a_score_outside_0_to_100_spoils_its_row_alone(score: int) -> None:
    """R8, R23."""
    result = checked({}, {"score": score}, {})

    assert broken(result) == {"score: a whole number from 0 to 100": (1,)}
    assert result.valid.to_pylist() == [True, False, True]


@pytest.mark.parametrize("score", [50.5, math.nan, math.inf, -math.inf, 1e300, -0.5])
def test_a_score_that_is_no_whole_number_spoils_its_row_alone(score: float) -> None:
    """R8: NaN is no missing value."""
    result = checked({}, {}, score=pa.array([50.0, score]))

    assert result.valid.to_pylist() == [True, False]
    assert broken(result) == {"score: a whole number from 0 to 100": (1,)}


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int8(), pa.uint64(), pa.int32()])
def test_a_score_may_come_in_any_number_type(kind: pa.DataType) -> None:
    """R8: 87.0 is 87; null stays null, where the rank is null as well."""
    result = checked({}, {"rank": None}, score=pa.array([87, None], kind))

    assert result.outputs.column("score").to_pylist() == [87, None]
    assert result.valid.to_pylist() == [True, True]


@pytest.mark.parametrize("rank", ["E", "F", "a", "AB", "", " A"])
def test_a_rank_that_the_market_does_not_have_spoils_its_row(rank: str) -> None:
    """R8: F only where the market has F."""
    result = checked({}, {"rank": rank})

    assert broken(result) == {"rank: one of A, B, C, D": (1,)}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("é" * 5, True),
        ("😀" * 5, True),
        ("😀" * 6, False),
        ("e\u0301e\u0301e", True),
        ("e\u0301" * 3, False),
        ("", True),
    ],
)
def test_a_text_is_measured_in_characters_not_bytes(text: str, fits: bool) -> None:
    """R10: five at the most here; an emoji is one, a combining mark one of its own."""
    result = checked({"note": text}, {})

    assert result.valid.to_pylist() == [fits, True]
    assert broken(result) == ({} if fits else {"note: at most 5 characters": (0,)})


def test_a_text_longer_than_its_field_spoils_its_row_even_where_the_market_allows_it() -> None:
    """R10: checked at run time too."""
    short = {"note": field("Note__c", "string", length=2)}
    result = validate_outputs(market(), short, {0: pa.table({"note": ["ab", "abc"]})}, 2)

    assert result.valid.to_pylist() == [True, False]


@pytest.mark.parametrize("number", [1000.0, -1000.0, math.nan, math.inf])
def test_a_number_that_its_field_cannot_hold_spoils_its_row(number: float) -> None:
    """R10: three digits before the point in Number(5,2)."""
    result = checked({"size": 999.99}, {"size": number}, {"size": None})

    assert result.valid.to_pylist() == [True, False, True]


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("score", pa.array(["50"]), "score: expected score, the model gave string"),
        ("score", pa.array([True]), "score: expected score, the model gave bool"),
        ("rank", pa.array([1]), "rank: expected rank, the model gave int64"),
        ("note", pa.array([1.5]), "note: expected text, the model gave double"),
        ("hot", pa.array([1]), "hot: expected boolean, the model gave int64"),
        ("hot", pa.array(["true"]), "hot: expected boolean, the model gave string"),
        ("size", pa.array(["1"]), "size: expected number, the model gave string"),
        ("size", pa.array([False]), "size: expected number, the model gave bool"),
        ("size", pa.array([2**60 + 1]), "size: int64 values from the model do not fit double"),
        (
            "score",
            pa.array([2**64 - 1], pa.uint64()),
            "score: uint64 values from the model do not fit int64",
        ),
    ],
)
def test_a_column_of_the_wrong_type_makes_the_market_unusable(
    name: str, column: pa.Array, says: str
) -> None:
    """D8: nothing is guessed, and nothing but a sentence comes of it."""
    with pytest.raises(OutputsUnusable) as raised:
        checked({}, **{name: column})

    assert str(raised.value) == says


def test_columns_as_pandas_makes_them_are_taken() -> None:
    """D8: categories, large strings and columns of nothing hold the same values."""
    result = checked(
        {},
        rank=pa.array(["A"]).dictionary_encode(),
        note=pa.array(["x"], pa.large_string()),
        hot=pa.nulls(1),
        size=pa.array([7]),
    )

    assert result.whole is None
    assert result.outputs.to_pylist() == [
        {"score": 50, "rank": "A", "note": "x", "size": 7.0, "hot": None}
    ]


def test_a_missing_column_makes_the_market_unusable() -> None:
    """D8."""
    with pytest.raises(OutputsUnusable, match="note: the model gave no such column"):
        validate_outputs(market(), FIELDS, {0: pa.table({"score": [1], "rank": ["A"]})}, 1)


def test_a_column_given_twice_makes_the_market_unusable() -> None:
    """D8: which of the two counts would be chance."""
    twice = pa.table([pa.array([1]), pa.array([2])], names=["score", "score"])
    with pytest.raises(OutputsUnusable, match="score: the model gave 2 such columns"):
        validate_outputs(market(), {"score": FIELDS["score"]}, {0: twice}, 1)


def test_columns_that_nobody_maps_are_ignored() -> None:
    """R8: whatever is in them."""
    table = pa.table({"score": [1], "secret": ["nonsense"]})

    assert validate_outputs(
        market(), {"score": FIELDS["score"]}, {0: table}, 1
    ).valid.to_pylist() == [True]


@pytest.mark.parametrize("torn", [{"score": None}, {"rank": None}])
def test_a_score_without_its_rank_spoils_the_row(torn: dict[str, None]) -> None:
    """R8: half a result is none."""
    assert checked({}, torn).valid.to_pylist() == [True, False]


def test_every_broken_rule_and_row_is_told_at_once() -> None:
    """D8: lazily, not the first."""
    result = checked({"score": 101, "rank": "E"}, {}, {"score": -1, "note": "too long"})

    assert result.valid.to_pylist() == [False, True, False]
    assert broken(result) == {
        "score: a whole number from 0 to 100": (0, 2),
        "rank: one of A, B, C, D": (0,),
        "note: at most 5 characters": (2,),
    }


def test_no_record_is_no_problem() -> None:
    """D8."""
    result = checked()

    assert (result.valid.to_pylist(), result.broken, result.whole) == ([], (), None)


def test_the_schema_names_each_output_with_its_label() -> None:
    """D8: the UI shows it."""
    schema = output_schema(market(), FIELDS)

    assert list(schema.columns) == list(FIELDS)
    assert schema.name == "fit"
