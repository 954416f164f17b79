"""Formula fields as SQL expressions: computed when read, so no stamp moves (API notes 4.1)."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from local_org.clock import format_csv
from local_org.errors import SalesforceError
from local_org.schema import NUMBER_TYPES, SObject

_TEXT: Final = frozenset({"string", "TEXT"})
# IS NOT instead of !=, so that a null is unequal to a value.
_OPERATORS: Final = {"==": "=", "<>": "IS NOT", "!=": "IS NOT"}


class Scope(Protocol):
    """What a formula needs of the query that it stands in."""

    @property
    def now(self) -> datetime:
        """Give the org's time."""

    def formula_field(
        self, owner: SObject, place: tuple[str, ...], names: tuple[str, ...]
    ) -> tuple[str, str]:
        """Resolve a field to SQL and type."""


@lru_cache(maxsize=1)
def _lark() -> Lark:
    grammar = Path(__file__).with_name("formula.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=False)


@lru_cache(maxsize=512)
def _parse(text: str) -> Tree[Token]:
    try:
        return _lark().parse(text)
    except UnexpectedInput as error:
        raise SalesforceError(
            400,
            "FIELD_INTEGRITY_EXCEPTION",
            f"Formula error: Syntax error at position {error.pos_in_stream}: {text}",
        ) from None


def compile_formula(
    text: str, kind: str, scope: Scope, owner: SObject, place: tuple[str, ...]
) -> str:
    """Translate a formula to a SQL expression of the field's type.

    Raises:
        SalesforceError: 400 FIELD_INTEGRITY_EXCEPTION, where the formula is not understood.
    """
    sql = _Compiler(scope, owner, place).sql(_parse(text))
    # A checkbox formula is never null.
    if kind == "boolean":
        return f"coalesce({sql}, 0)"
    if kind in NUMBER_TYPES:
        return f"CAST({sql} AS REAL)"
    return f"nullif({sql}, '')" if kind in _TEXT else sql


class _Compiler:
    def __init__(self, scope: Scope, owner: SObject, place: tuple[str, ...]) -> None:
        self._scope = scope
        self._owner = owner
        self._place = place

    def sql(self, node: Tree[Token] | Token) -> str:
        if isinstance(node, Token):
            raise _error(f"unexpected {node}")
        name = str(node.data)
        children = node.children

        if name in {"start", "expression"}:
            return self.sql(children[0])
        if name in _BINARY:
            left, right = (self.sql(child) for child in children)
            return f"({_BINARY[name].format(left, right)})"
        if name == "compared":
            return self._comparison(children)
        if name in {"any", "all"}:
            word = " OR " if name == "any" else " AND "
            return "(" + word.join(self.sql(child) for child in children) + ")"
        if name == "negative":
            return f"(-{self.sql(children[0])})"
        if name == "invert":
            return f"(NOT {self.sql(children[0])})"

        return self._leaf(name, children)

    def _leaf(self, name: str, children: list[Tree[Token] | Token]) -> str:
        token = cast("Token", children[0])
        if name == "number":
            # As a float, so that 1 / 2 is not integer division in SQLite.
            return f"{token}.0" if "." not in token else str(token)
        if name == "string":
            return _text_literal(re.sub(r"\\(.)", r"\1", token[1:-1]))
        if name == "call":
            return self._call(token.upper(), [self.sql(child) for child in children[1:]])
        return self._path(token)

    def _path(self, token: Token) -> str:
        word = token.upper()
        if word in {"TRUE", "FALSE"}:
            return "1" if word == "TRUE" else "0"
        if word == "NULL":
            return "NULL"
        return self._scope.formula_field(self._owner, self._place, tuple(token.split(".")))[0]

    def _comparison(self, children: list[Tree[Token] | Token]) -> str:
        left, operator, right = children
        symbol = _OPERATORS.get(str(operator), str(operator))
        return f"({self.sql(left)} {symbol} {self.sql(right)})"

    def _call(self, name: str, given: list[str]) -> str:
        if name in {"TODAY", "NOW"} and not given:
            stamp = format_csv(self._scope.now)
            return _text_literal(stamp[:10] if name == "TODAY" else stamp)
        if name in {"AND", "OR"} and given:
            return "(" + f" {name} ".join(given) + ")"
        # CASE(expression, value, result, ..., else): an even number of arguments.
        if name == "CASE" and len(given) >= _CASE_LEAST and len(given) % 2 == 0:
            pairs = zip(given[1:-1:2], given[2:-1:2], strict=True)
            cases = " ".join(f"WHEN {value} THEN {result}" for value, result in pairs)
            return f"(CASE {given[0]} {cases} ELSE {given[-1]} END)"

        template = _FUNCTIONS.get((name, len(given)))
        if template is None:
            raise _error(f"Unknown function {name} with {len(given)} arguments")
        return f"({template.format(*given)})"


_CASE_LEAST: Final = 4
_BINARY: Final = {
    "plus": "{0} + {1}",
    "minus": "{0} - {1}",
    "times": "{0} * {1}",
    "divide": "CAST({0} AS REAL) / {1}",
    "concat": "coalesce({0}, '') || coalesce({1}, '')",
}
_FUNCTIONS: Final = {
    ("IF", 3): "CASE WHEN {0} THEN {1} ELSE {2} END",
    ("NOT", 1): "NOT coalesce({0}, 0)",
    ("ISBLANK", 1): "({0}) IS NULL",
    ("ISNULL", 1): "({0}) IS NULL",
    ("ISPICKVAL", 2): "coalesce({0}, '') = {1}",
    ("BLANKVALUE", 2): "coalesce({0}, {1})",
    ("NULLVALUE", 2): "coalesce({0}, {1})",
    ("TEXT", 1): "CAST({0} AS TEXT)",
    ("VALUE", 1): "CAST({0} AS REAL)",
    ("UPPER", 1): "upper({0})",
    ("LOWER", 1): "lower({0})",
    ("LEN", 1): "length(coalesce({0}, ''))",
    ("TRIM", 1): "trim({0})",
    ("LEFT", 2): "substr({0}, 1, {1})",
    ("RIGHT", 2): "substr({0}, -({1}))",
    ("CONTAINS", 2): "instr(coalesce({0}, ''), {1}) > 0",
    ("BEGINS", 2): "substr(coalesce({0}, ''), 1, length({1})) = {1}",
    ("ABS", 1): "abs({0})",
    ("ROUND", 2): "round({0}, {1})",
    ("MAX", 2): "max({0}, {1})",
    ("MIN", 2): "min({0}, {1})",
}
"""The functions known here, by name and number of arguments."""


def _text_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _error(message: str) -> SalesforceError:
    return SalesforceError(400, "FIELD_INTEGRITY_EXCEPTION", f"Formula error: {message}")
