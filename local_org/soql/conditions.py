"""Conditions (WHERE) as SQL, with the values that fields are compared with.

Text is compared without regard to case. NOT is two-valued, so ``NOT (f = 'x')`` and ``f != 'x'``
include nulls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Final

from local_org import ids
from local_org.clock import format_csv, parse_datetime
from local_org.errors import SalesforceError
from local_org.options import Options
from local_org.schema import NUMBER_TYPES, Field, SObject

from .ast import All, Any, Comparison, Condition, Literal, Membership, Negation, Path, Unsupported
from .errors import malformed, soql_error, unsupported
from .literals import BadEscape, date_range, day_start, decode_string, is_day, like_pattern
from .scope import Scope

_DATES: Final = {"date", "datetime"}
_TYPE_WORDS: Final = {"datetime": "dateTime", "id": "ID", "reference": "ID"}


@dataclass
class Conditions:
    """Translates conditions; their values are collected in ``params``, in order."""

    scope: Scope
    options: Options
    params: list[str | int | float] = field(default_factory=list)

    def compile(self, owner: SObject, part: Condition) -> str:
        """Translate a condition on the records of an object."""
        if isinstance(part, All):
            return "(" + " AND ".join(self.compile(owner, entry) for entry in part.parts) + ")"
        if isinstance(part, Any):
            return "(" + " OR ".join(self.compile(owner, entry) for entry in part.parts) + ")"
        if isinstance(part, Negation):
            # SQL's NOT of unknown is unknown; SOQL's is true.
            return f"(NOT coalesce({self.compile(owner, part.part)}, 0))"
        if isinstance(part, Unsupported):
            raise unsupported(self.scope.text, part)

        _, entry, sql = self.scope.resolve(owner, part.path)
        if not entry.filterable or entry.type == "address":
            raise soql_error(
                self.scope.text,
                part.path.position,
                "INVALID_FIELD",
                f"field '{part.path.text}' can not be filtered in a query call",
            )

        if isinstance(part, Membership):
            return self._membership(part, entry, sql)
        return self._comparison(part, entry, sql)

    def _bind(self, value: str | float) -> str:
        self.params.append(value)
        return "?"

    def _comparison(self, part: Comparison, entry: Field, sql: str) -> str:
        value, operator = part.value, part.operator
        if value.kind == "word" and value.text.lower() == "null":
            return self._null_test(operator, sql)
        if operator == "like":
            return self._like(part, entry, sql)
        if entry.type in _DATES:
            return self._date_comparison(part, entry, sql)
        if entry.is_text:
            return self._text_comparison(part, entry, sql)

        operand = self._operand(part.path, entry, value)
        if operator == "!=":
            # Unlike <>, IS NOT is true of a null, as != is in SOQL.
            return f"({sql} IS NOT {self._bind(operand)})"
        return f"({sql} {operator} {self._bind(operand)})"

    @staticmethod
    def _null_test(operator: str, sql: str) -> str:
        if operator == "=":
            return f"({sql} IS NULL)"
        # Nothing is less or greater than null, nor like it.
        return f"({sql} IS NOT NULL)" if operator == "!=" else "0"

    def _text_comparison(self, part: Comparison, entry: Field, sql: str) -> str:
        text = self._string(part.path, entry, part.value)
        if not text and part.operator in {"=", "!="}:
            return self._null_test(part.operator, sql)
        symbol = "IS NOT" if part.operator == "!=" else part.operator
        if entry.case_sensitive:
            return f"({sql} {symbol} {self._bind(text)})"
        if text.isascii() and symbol in {"=", "IS NOT"}:
            return f"({sql} {symbol} {self._bind(text)} COLLATE NOCASE)"
        return f"(fold({sql}) {symbol} {self._bind(text.casefold())})"

    def _like(self, part: Comparison, entry: Field, sql: str) -> str:
        if not entry.is_text and not (
            entry.type in {"id", "reference"} and self.options.id_in_like
        ):
            kind = "id" if entry.type in {"id", "reference"} else entry.type
            raise soql_error(
                self.scope.text,
                part.path.position,
                "INVALID_QUERY_FILTER_OPERATOR",
                f"invalid operator on {kind} field",
            )

        if part.value.kind != "string":
            raise self._wrong_type(part.path, entry, part.value)
        try:
            pattern = like_pattern(part.value.text)
        except BadEscape as error:
            raise malformed(self.scope.text, part.value.position, str(error)) from None

        if pattern.isascii():
            return f"({sql} LIKE {self._bind(pattern)} ESCAPE '\\')"
        return f"(fold({sql}) LIKE {self._bind(pattern.casefold())} ESCAPE '\\')"

    def _date_comparison(self, part: Comparison, entry: Field, sql: str) -> str:
        if part.value.kind == "word":
            return self._in_range(part, entry, sql)
        operand = self._operand(part.path, entry, part.value)
        if part.operator == "!=":
            return f"({sql} IS NOT {self._bind(operand)})"
        return f"({sql} {part.operator} {self._bind(operand)})"

    def _in_range(self, part: Comparison, entry: Field, sql: str) -> str:
        found = date_range(part.value.text, self.scope.now)
        if found is None:
            raise malformed(
                self.scope.text, part.value.position, f"unexpected token: '{part.value.text}'"
            )

        first, after = (self._day_text(entry, day) for day in found)
        if part.operator in {"<", ">="}:
            return f"({sql} {part.operator} {self._bind(first)})"
        if part.operator in {">", "<="}:
            operator = ">=" if part.operator == ">" else "<"
            return f"({sql} {operator} {self._bind(after)})"

        inside = f"({sql} >= {self._bind(first)} AND {sql} < {self._bind(after)})"
        return inside if part.operator == "=" else f"(NOT coalesce({inside}, 0))"

    @staticmethod
    def _day_text(entry: Field, day: date) -> str:
        return day.isoformat() if entry.type == "date" else format_csv(day_start(day))

    def _membership(self, part: Membership, entry: Field, sql: str) -> str:
        if part.multi:
            return self._includes(part, entry, sql)
        plain = [value for value in part.values if not _is_null(value)]
        has_null = len(plain) < len(part.values)
        operands = [self._operand(part.path, entry, value) for value in plain]

        # Empty text is kept as null, so it stands for the rows without a value.
        if entry.is_text and "" in operands:
            operands = [operand for operand in operands if operand != ""]
            has_null = True

        left = sql
        # NOCASE can use an index, but it knows ASCII alone: other text is folded.
        if entry.is_text and not entry.case_sensitive:
            if all(str(operand).isascii() for operand in operands):
                left = f"{sql} COLLATE NOCASE"
            else:
                left = f"fold({sql})"
                operands = [str(operand).casefold() for operand in operands]

        marks = ", ".join(self._bind(operand) for operand in operands)
        inside = f"{left} IN ({marks})"
        if has_null:
            inside = f"({inside} OR {sql} IS NULL)"
        return f"(NOT coalesce({inside}, 0))" if part.negated else f"({inside})"

    def _includes(self, part: Membership, entry: Field, sql: str) -> str:
        if entry.type != "multipicklist":
            raise soql_error(
                self.scope.text,
                part.path.position,
                "INVALID_QUERY_FILTER_OPERATOR",
                f"invalid operator on {entry.type} field",
            )

        choices = []
        for value in part.values:
            wanted = self._string(part.path, entry, value).casefold().split(";")
            tests = [
                f"instr(';' || fold({sql}) || ';', {self._bind(f';{one};')})" for one in wanted
            ]
            choices.append("(" + " AND ".join(tests) + ")")

        inside = "(" + " OR ".join(choices) + ")"
        return f"(NOT coalesce({inside}, 0))" if part.negated else inside

    # --- values ----------------------------------------------------------------------------------

    def _string(self, path: Path, entry: Field, value: Literal) -> str:
        if value.kind != "string":
            raise self._wrong_type(path, entry, value)
        try:
            return decode_string(value.text)
        except BadEscape as error:
            raise malformed(self.scope.text, value.position, str(error)) from None

    def _operand(self, path: Path, entry: Field, value: Literal) -> str | int | float:
        kind = entry.type
        if entry.is_text:
            return self._string(path, entry, value)
        if kind in {"id", "reference"}:
            return self._id(path, entry, value)

        if kind == "boolean" and value.kind == "word" and value.text.lower() in {"true", "false"}:
            return int(value.text.lower() == "true")
        if kind == "int" and value.kind == "number":
            return float(value.text) if "." in value.text else int(value.text)
        if kind in NUMBER_TYPES and value.kind == "number":
            return float(value.text)
        if kind == "datetime" and value.kind == "datetime":
            return self._datetime_text(value)
        if kind == "date" and value.kind == "date" and is_day(value.text):
            return value.text

        raise self._wrong_type(path, entry, value)

    def _datetime_text(self, value: Literal) -> str:
        try:
            return format_csv(parse_datetime(value.text.upper()))
        except (ValueError, OverflowError):
            raise malformed(
                self.scope.text, value.position, f"unexpected token: '{value.text}'"
            ) from None

    def _id(self, path: Path, entry: Field, value: Literal) -> str:
        text = self._string(path, entry, value)
        if not text:
            return text

        try:
            return ids.normalise(text)
        except ValueError:
            raise soql_error(
                self.scope.text,
                path.position,
                "INVALID_QUERY_FILTER_OPERATOR",
                f"invalid ID field: {text}",
            ) from None

    def _wrong_type(self, path: Path, entry: Field, value: Literal) -> SalesforceError:
        if value.kind == "word" and value.text.lower() not in {"true", "false", "null"}:
            known = date_range(value.text, self.scope.now) is not None
            if not known:
                return malformed(
                    self.scope.text, value.position, f"unexpected token: '{value.text}'"
                )

        quotes = (
            "should be" if entry.is_text or entry.type in {"id", "reference"} else "should not be"
        )
        kind = "string" if entry.is_text else _TYPE_WORDS.get(entry.type, entry.type)
        return soql_error(
            self.scope.text,
            path.position,
            "INVALID_FIELD",
            f"value of filter criterion for field '{path.text}' must be of type {kind} and "
            f"{quotes} enclosed in quotes",
        )


def _is_null(value: Literal) -> bool:
    return value.kind == "word" and value.text.lower() == "null"
