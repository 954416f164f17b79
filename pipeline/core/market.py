"""Markets: what a scoring model takes in and what it gives out (docs/markets.md)."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Protocol

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

SCORE_MAX: Final = 100
RANKS: Final = ("A", "B", "C", "D", "F")
REASONS_LENGTH_DEFAULT: Final = 255

InputType = Literal["text", "number", "boolean", "date", "datetime"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]

INPUT_ARROW_TYPES: Final[dict[str, pa.DataType]] = {
    "text": pa.string(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("ms", tz="UTC"),
}


class Strict(BaseModel):
    """A model of something written by hand: an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MarketInput(Strict):
    """One input of a market; `used_by_model` is the asterisk of the mapping screen."""

    label: str
    type: InputType
    used_by_model: bool = False
    required: bool = False


class MarketOutput(Strict):
    """One output of a market: a score, a rank, the reasons or an insight (R8)."""

    type: Literal["score", "rank", "reasons", "insight"]
    label: str = ""
    enabled: bool = True
    value: Literal["boolean", "text", "number"] | None = None
    category: Literal["fit", "intent", "location_intent"] | None = None
    values: tuple[str, ...] = ()
    length: Annotated[int, Field(ge=1, le=131_072)] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> MarketOutput:
        if self.category == "location_intent":
            raise ValueError("location-based intent insights are not supported")
        if self.type == "insight" and (self.value is None or self.category is None):
            raise ValueError("an insight needs value (boolean, text, number) and category")
        if self.type == "rank" and not set(self.rank_values) <= set(RANKS):
            raise ValueError(f"a rank is one of {', '.join(RANKS)}")
        return self

    @property
    def rank_values(self) -> tuple[str, ...]:
        """Return the ranks that may come out: A to D, and F where the market has F."""
        return self.values or RANKS[:-1]

    @property
    def kind(self) -> Literal["score", "rank", "boolean", "text", "number"]:
        """Return what values look like, whatever the output is called."""
        if self.type in ("score", "rank"):
            return "score" if self.type == "score" else "rank"
        return "text" if self.type == "reasons" else (self.value or "text")

    @property
    def text_length_max(self) -> int:
        """Return how many characters a value of this output may have at the most."""
        if self.type == "rank":
            return 1
        return self.length or REASONS_LENGTH_DEFAULT

    @property
    def arrow_type(self) -> pa.DataType:
        """Return the Arrow type of this output's column."""
        return {
            "score": pa.int64(),
            "rank": pa.string(),
            "boolean": pa.bool_(),
            "text": pa.string(),
            "number": pa.float64(),
        }[self.kind]


class ReferenceData(Strict):
    """A table that the market enriches records from; shown as a source in the lineage."""

    name: Name
    file: str
    description: str = ""


class SingleFeature(Strict):
    """The best rule that looks at one input only: what the model has to beat."""

    feature: str
    auc: float


class Training(Strict):
    """Where the model comes from, and how well it did on records it had not seen."""

    script: str
    data: str
    origin: str
    rows: int
    auc: float
    auc_interval: tuple[float, float]
    best_single_feature: SingleFeature
    score_distribution: tuple[float, ...] = ()
    rank_distribution: dict[str, float] = Field(default_factory=dict)


class Market(Strict):
    """A scoring model as the pipeline sees it; `name` is its folder's name."""

    name: Name
    label: str
    kind: Literal["account_based", "lead_based"]
    version: Annotated[str, Field(min_length=1, max_length=60)]
    model: Annotated[str, Field(pattern=r"^[\w./-]+\.py:[A-Za-z_]\w*$")]
    inputs: dict[Name, MarketInput]
    outputs: dict[Name, MarketOutput]
    description: str = ""
    owner: str = ""
    reference: tuple[ReferenceData, ...] = ()
    training: Training | None = None

    @property
    def enabled_outputs(self) -> dict[str, MarketOutput]:
        """Return the outputs that may be mapped to Salesforce fields."""
        return {name: output for name, output in self.outputs.items() if output.enabled}

    @property
    def input_schema(self) -> pa.Schema:
        """Return the schema of the table that the model is given."""
        return pa.schema([(n, INPUT_ARROW_TYPES[i.type]) for n, i in self.inputs.items()])


class Model(Protocol):
    """What a market's `load(folder)` returns."""

    def score(self, inputs: pa.Table) -> pa.Table:
        """Score each row of `inputs` (`Market.input_schema`); same rows, same order, one column an output."""
        ...
