from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.core.configuration.market import MarketOutput
from tests.core.support import market


def output(**content: Any) -> MarketOutput:
    return MarketOutput.model_validate(content)


def test_location_based_intent_is_refused_by_name() -> None:
    """R8."""
    with pytest.raises(ValidationError, match="location-based intent"):
        output(type="insight", value="text", category="location_intent")


@pytest.mark.parametrize(
    ("category", "label"),
    [
        ("intent", "Intent at this location"),
        ("intent", "LOCATIONS that search for us"),
        ("fit", "Location-based intent"),
    ],
)
def test_an_insight_labelled_as_intent_by_location_is_refused(category: str, label: str) -> None:
    """R8: by name, whatever category it is given as."""
    with pytest.raises(ValidationError, match="location-based intent insights are not supported"):
        output(type="insight", value="text", category=category, label=label)


def test_an_output_named_as_intent_by_location_is_refused() -> None:
    """R8."""
    insight = {"type": "insight", "value": "boolean", "category": "intent"}

    with pytest.raises(ValidationError, match="location_intent: location-based intent"):
        market(outputs={"location_intent": insight})


def test_a_fit_may_tell_of_locations() -> None:
    """R8: how many a company has is no intent."""
    given = output(type="insight", value="number", category="fit", label="Number of locations")

    assert given.category == "fit"


@pytest.mark.parametrize("lacking", ["value", "category"])
def test_an_insight_says_what_it_holds_and_of_which_category_it_is(lacking: str) -> None:
    """R8: fit or intent; boolean, text or number."""
    content = {"type": "insight", "value": "text", "category": "fit"}
    with pytest.raises(ValidationError, match="insight needs"):
        output(**{key: value for key, value in content.items() if key != lacking})


def test_a_rank_is_a_to_d_and_f_where_the_market_has_it() -> None:
    """R8."""
    assert output(type="rank").rank_values == ("A", "B", "C", "D")
    assert output(type="rank", values=["A", "F"]).rank_values == ("A", "F")


@pytest.mark.parametrize("bad", ["E", "a", "AB", ""])
def test_another_rank_is_refused(bad: str) -> None:
    """R8: there is no E."""
    with pytest.raises(ValidationError, match="a rank is one of A, B, C, D, F"):
        output(type="rank", values=["A", bad])


@pytest.mark.parametrize(
    ("content", "kind", "arrow"),
    [
        ({"type": "score"}, "score", pa.int64()),
        ({"type": "rank"}, "rank", pa.string()),
        ({"type": "reasons"}, "text", pa.string()),
        ({"type": "insight", "value": "text", "category": "fit"}, "text", pa.string()),
        ({"type": "insight", "value": "number", "category": "fit"}, "number", pa.float64()),
        ({"type": "insight", "value": "boolean", "category": "intent"}, "boolean", pa.bool_()),
    ],
)
def test_each_output_has_one_kind_of_values(
    content: dict[str, Any], kind: str, arrow: pa.DataType
) -> None:
    """R8."""
    assert output(**content).kind == kind
    assert output(**content).arrow_type == arrow


def test_a_text_is_as_long_as_the_market_says_and_a_rank_is_one_letter() -> None:
    """R8."""
    assert output(type="rank").text_length_max == 1
    assert output(type="reasons").text_length_max == 255
    assert output(type="reasons", length=40).text_length_max == 40


def test_disabled_outputs_are_not_offered_for_mapping() -> None:
    """R8."""
    assert "secret" in market().outputs
    assert "secret" not in market().enabled_outputs


@pytest.mark.parametrize(
    "model", ["model.py", "model:load", "model.py:", "model.py:1x", "a b.py:load"]
)
def test_a_model_names_a_python_file_and_a_function(model: str) -> None:
    """docs/markets.md."""
    with pytest.raises(ValidationError, match="model"):
        market(model=model)
