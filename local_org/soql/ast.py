"""The tree of a query. Positions are offsets into the text, for the errors' caret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as Choice
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Path:
    """A field, through parents where there are dots."""

    names: tuple[str, ...]
    position: int

    @property
    def text(self) -> str:
        """Give it as written."""
        return ".".join(self.names)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """COUNT(), COUNT(f), MAX(f) and so on."""

    function: str
    path: Path | None
    alias: str | None
    position: int


@dataclass(frozen=True, slots=True)
class AllFields:
    """FIELDS(ALL), FIELDS(STANDARD) or FIELDS(CUSTOM)."""

    kind: str
    position: int


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Something of SOQL that is known by name and not answered: a subquery, TYPEOF."""

    what: Choice["subquery", "typeof", "semi-join"]
    position: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as written; a string keeps its escapes until it is known what it is compared with."""

    kind: Choice["string", "number", "date", "datetime", "word"]
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field, an operator (``= != < <= > >= like``) and a value."""

    path: Path
    operator: str
    value: Literal


@dataclass(frozen=True, slots=True)
class Membership:
    """IN and NOT IN a list of values; INCLUDES and EXCLUDES for multi-select picklists."""

    path: Path
    values: tuple[Literal, ...]
    negated: bool
    multi: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """AND."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """OR."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT."""

    part: Condition


Condition: TypeAlias = "Comparison | Membership | All | Any | Negation | Unsupported"
SelectItem: TypeAlias = "Path | Aggregate | AllFields | Unsupported"


@dataclass(frozen=True, slots=True)
class Order:
    """One key of ORDER BY; nulls come first by default, also with DESC."""

    path: Path
    descending: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query and its text."""

    text: str
    select: tuple[SelectItem, ...]
    object_name: str
    object_position: int
    alias: str | None
    where: Condition | None
    group_by: tuple[Path, ...]
    order_by: tuple[Order, ...]
    limit: int | None
    offset: int | None
