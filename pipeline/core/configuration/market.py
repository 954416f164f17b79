"""Markets: what a scoring model takes in and what it gives out (docs/markets.md)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Protocol

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.core.configuration.mistakes import MODEL_PATTERN, NAME_PATTERN

SCORE_MAX: Final = 100
RANKS: Final = ("A", "B", "C", "D", "F")
REASONS_LENGTH_DEFAULT: Final = 255

InputType = Literal["text", "number", "boolean", "date", "datetime"]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Flag = Annotated[bool, Field(strict=True)]
"""True or false as YAML knows them, and nothing that could be taken for either."""

INPUT_ARROW_TYPES: Final[dict[str, pa.DataType]] = {
    "text": pa.string(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("ms", tz="UTC"),
}


BY_LOCATION: Final = (
    "location-based intent insights are not supported; allowed are fit, intent (R8)"
)


class Strict(BaseModel):
    """A model of something written by hand: an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class MarketInput(Strict):
    """One input of a market; `used_by_model` is the asterisk of the mapping screen."""

    label: str
    """What people see."""
    type: InputType
    """What the model is given."""
    used_by_model: Flag = False
    """True: the model was built on it (the asterisk); left unmapped, it is a warning (R12)."""
    required: Flag = False
    """True: an integration that does not map it does not run (R12)."""


class MarketOutput(Strict):
    """One output of a market: a score, a rank, the reasons or an insight (R8)."""

    type: Literal["score", "rank", "reasons", "insight"]
    """A score is a whole number from 0 to 100, a rank A to D or F, reasons a text."""
    label: str = ""
    """What people see."""
    enabled: Flag = True
    """False: it cannot be mapped (R8)."""
    value: Literal["boolean", "text", "number"] | None = None
    """What an insight holds; to be given for every insight."""
    category: Literal["fit", "intent"] | None = None
    """What an insight tells of; to be given for every insight. By location there is none (R8)."""
    values: tuple[str, ...] = ()
    """All values there may be; needed where the field is a restricted picklist."""
    length: Annotated[int, Field(ge=1, le=131_072, strict=True)] | None = None
    """The most characters that a text may have (255 unless given)."""

    @field_validator("category", mode="before")
    @classmethod
    def _is_not_by_location(cls, value: Any) -> Any:
        if isinstance(value, str) and "location" in value.lower():
            raise ValueError(BY_LOCATION)
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> MarketOutput:
        if self.type == "insight" and (self.value is None or self.category is None):
            raise ValueError("an insight needs value (boolean, text, number) and category")
        if self.tells_intent_by_location(self.label):
            raise ValueError(f"the label {self.label!r} says location: {BY_LOCATION}")
        if self.type == "rank" and not set(self.rank_values) <= set(RANKS):
            raise ValueError(f"a rank is one of {', '.join(RANKS)}")
        return self

    def tells_intent_by_location(self, words: str) -> bool:
        """Say whether a label or a name calls this output an intent by location (R8).

        A fit by location, such as the number of a company's locations, is none.
        """
        said = words.lower()
        is_intent = self.category == "intent" or "intent" in said
        return self.type == "insight" and is_intent and "location" in said

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
    """What people see."""
    kind: Literal["account_based", "lead_based"]
    """An account-based market may score every object, a lead-based one Contact and Lead (R5)."""
    version: Annotated[str, Field(min_length=1, max_length=60)]
    """Text, in quotes; a new one is rolled out to all records like a newly enabled market (R17)."""
    model: Annotated[str, Field(pattern=MODEL_PATTERN)]
    """`file.py:function` in the market's folder; the function returns the model."""
    inputs: dict[Name, MarketInput]
    """What the model takes in, by name, in the order of display."""
    outputs: dict[Name, MarketOutput]
    """What the model gives out, by name."""
    description: str = ""
    """What the market is for, shown in the UI."""
    owner: str = ""
    """Whom to ask, shown in the UI."""
    reference: tuple[ReferenceData, ...] = ()
    """Tables that records are enriched from, shown as sources in the lineage."""
    training: Training | None = None
    """Where the model comes from and how good it is; not read when scoring."""

    @field_validator("outputs")
    @classmethod
    def _are_not_by_location(cls, outputs: dict[str, MarketOutput]) -> dict[str, MarketOutput]:
        named = [name for name, output in outputs.items() if output.tells_intent_by_location(name)]
        if named:
            raise ValueError(f"{', '.join(named)}: {BY_LOCATION}")
        return outputs

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
        """Score each row of `inputs` (`Market.input_schema`): same order, one column an output."""
        ...
