"""SOQL, built by one function and quoted by one function: never by pasting strings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal

Value = str | int | float | bool | datetime | date | None
Operator = Literal["=", "!=", "<", "<=", ">", ">="]

_NAME: Final = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)?")
_AGGREGATE: Final = re.compile(r"(COUNT\(\)|(COUNT|MAX)\([A-Za-z]\w*\)( [a-z]\w*)?)")
_ESCAPES: Final = str.maketrans(
    {
        "\\": "\\\\",
        "'": "\\'",
        '"': '\\"',
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\b": "\\b",
        "\f": "\\f",
    }
)


@dataclass(frozen=True, slots=True)
class Compare:
    """`field operator value`; null is tested with `=` and `!=`."""

    field: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """`field IN (values)`; at least one value."""

    field: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Contains:
    """The text field contains `text`, letter by letter but for case."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of `conditions` holds."""

    conditions: Sequence[Condition]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of `conditions` holds."""

    conditions: Sequence[Condition]


Condition = Compare | In | Contains | AllOf | AnyOf


def literal(value: Value) -> str:
    """Return `value` as a SOQL literal: text quoted and escaped, times in UTC (API notes 2.3).

    Raises ValueError for a naive datetime, and for a number that SOQL cannot say (NaN, infinity).
    """
    if value is None:
        return "null"
    # Before numbers and dates: to Python a bool is an int, and a datetime is a date.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in a query")
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return f"'{value.translate(_ESCAPES)}'"

    if not math.isfinite(value):
        raise ValueError(f"{value} is no number that a query can hold")
    return repr(value)


def name(text: str) -> str:
    """Return `text` if it is a field or object name, or an aggregate we use.

    Raises ValueError if not.
    """
    if _NAME.fullmatch(text) or _AGGREGATE.fullmatch(text):
        return text
    raise ValueError(f"{text!r} is no name for a query")


def condition(where: Condition) -> str:
    """Return a condition as SOQL; groups stand in parentheses.

    Raises ValueError for an empty group or list.
    """
    if isinstance(where, Compare):
        return f"{name(where.field)} {where.operator} {literal(where.value)}"
    if isinstance(where, In):
        if not where.values:
            raise ValueError("a list of no values")
        return f"{name(where.field)} IN ({', '.join(literal(v) for v in where.values)})"

    if isinstance(where, Contains):
        # In a LIKE, % and _ stand for any text: escaped, they stand for themselves.
        quoted = literal(where.text)[1:-1].replace("%", "\\%").replace("_", "\\_")
        return f"{name(where.field)} LIKE '%{quoted}%'"

    if not where.conditions:
        raise ValueError("a group of no conditions")
    word = " AND " if isinstance(where, AllOf) else " OR "
    parts = [condition(part) for part in where.conditions]
    return parts[0] if len(parts) == 1 else f"({word.join(parts)})"


def select(
    fields: Iterable[str],
    of: str,
    where: Condition | None = None,
    *,
    order_by: Sequence[str] = (),
    newest_first: bool = False,
    limit: int | None = None,
) -> str:
    """Return a SELECT.

    `order_by` entries are field names, oldest and nulls first; with `newest_first` the other way
    round.
    """
    direction = "DESC NULLS LAST" if newest_first else "ASC NULLS FIRST"
    columns = ", ".join(name(field) for field in fields)
    text = f"SELECT {columns} FROM {name(of)}"  # noqa: S608  every part is checked or quoted
    if where is not None:
        text += f" WHERE {condition(where)}"
    if order_by:
        text += " ORDER BY " + ", ".join(f"{name(field)} {direction}" for field in order_by)
    if limit is not None:
        text += f" LIMIT {int(limit)}"
    return text
