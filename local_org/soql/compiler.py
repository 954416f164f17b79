"""A query's tree to SQLite SQL, checked against the schema and the user's rights.

Parents become LEFT JOINs. Text is compared and sorted without regard to case; nulls sort first
unless told otherwise; NOT is two-valued, so ``NOT (f = 'x')`` and ``f != 'x'`` include nulls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from local_org import ids
from local_org.clock import format_csv, parse_datetime
from local_org.database import quoted
from local_org.errors import SalesforceError
from local_org.options import Options
from local_org.permissions import Access
from local_org.schema import NUMBER_TYPES, Field, Schema, SObject

from .ast import (
    Aggregate,
    All,
    AllFields,
    Any,
    Comparison,
    Condition,
    Literal,
    Membership,
    Negation,
    Order,
    Path,
    Query,
    Unsupported,
)
from .errors import malformed, no_such_column, no_such_object, no_such_relation, soql_error
from .formula import compile_formula
from .literals import BadEscape, date_range, day_start, decode_string, is_day, like_pattern

OFFSET_MAX: Final = 2000
FIELDS_LIMIT_MAX: Final = 200
PARENT_LEVELS_MAX: Final = 5
_AGGREGATES: Final = {"COUNT", "COUNT_DISTINCT", "MAX", "MIN", "SUM", "AVG"}
_DATES: Final = {"date", "datetime"}
_TYPE_WORDS: Final = {"datetime": "dateTime", "id": "ID", "reference": "ID"}


@dataclass(frozen=True, slots=True)
class Relation:
    """A joined parent: where it stands in the row, and what it is."""

    names: tuple[str, ...]
    alias: str
    target: SObject


@dataclass(frozen=True, slots=True)
class Column:
    """One selected value: its names in the schema's case, its field, its SQL."""

    names: tuple[str, ...]
    kind: str
    sql: str


@dataclass
class Compiled:
    """SQL and what is needed to run it and to name its columns."""

    owner: SObject
    columns: list[Column]
    relations: dict[tuple[str, ...], Relation]
    source: str
    where: str
    params: list[str | int | float]
    order: list[str]
    is_ordered_fully: bool
    group: list[str]
    limit: int | None
    offset: int | None
    is_count: bool = False
    is_aggregate: bool = False
    has_compound: bool = False

    def select(self, expressions: Sequence[str], *, ordered: bool = True) -> str:
        """Give the statement that reads these expressions; its parameters are ``params``."""
        parts = [f"SELECT {', '.join(expressions)} FROM {self.source}"]  # noqa: S608
        if self.where:
            parts.append(f"WHERE {self.where}")
        if self.group:
            parts.append(f"GROUP BY {', '.join(self.group)}")
        if ordered and self.order:
            parts.append(f"ORDER BY {', '.join(self.order)}")
        if self.limit is not None or self.offset is not None:
            parts.append(f"LIMIT {-1 if self.limit is None else self.limit}")
        if self.offset is not None:
            parts.append(f"OFFSET {self.offset}")
        return " ".join(parts)


@dataclass
class Compiler:
    """Compiles one query, or one condition, for one user.

    ``access`` None means the org itself (validation rules): it sees all fields.
    """

    schema: Schema
    options: Options
    now: datetime
    access: Access | None
    text: str = ""
    alias_name: str | None = None
    relations: dict[tuple[str, ...], Relation] = field(default_factory=dict)
    joins: list[str] = field(default_factory=list)
    params: list[str | int | float] = field(default_factory=list)

    # --- the whole query -------------------------------------------------------------------------

    def compile(self, query: Query, *, include_deleted: bool) -> Compiled:
        """Check and translate a query.

        Raises:
            SalesforceError: 400, in Salesforce's words.
        """
        self.text, self.alias_name = query.text, query.alias
        owner = self._object(query)
        self.relations[()] = Relation((), "t0", owner)
        group = [self._grouped(owner, path) for path in query.group_by]
        is_count = self._is_plain_count(query)
        aggregated = any(isinstance(item, Aggregate) for item in query.select) or bool(group)
        columns = [] if is_count else self._columns(owner, query, aggregated=aggregated)
        where = self._filter(owner, query.where, include_deleted=include_deleted)
        order, fully = self._order(owner, query, aggregated=aggregated)
        self._check_ends(query)
        return Compiled(
            owner,
            columns,
            self.relations,
            f"{quoted(owner.name)} AS t0" + "".join(self.joins),
            where,
            self.params,
            order,
            fully,
            group,
            query.limit,
            query.offset,
            is_count=is_count,
            is_aggregate=aggregated and not is_count,
            has_compound=any(column.kind == "address" for column in columns),
        )

    def compile_condition(self, owner: SObject, condition: Condition, text: str) -> tuple[str, str]:
        """Translate a bare condition; gives the FROM part and the SQL, params in ``params``."""
        self.text = text
        self.relations[()] = Relation((), "t0", owner)
        sql = self._condition(owner, condition)
        return f"{quoted(owner.name)} AS t0" + "".join(self.joins), sql

    def _object(self, query: Query) -> SObject:
        owner = self.schema.find(query.object_name)
        if owner is None or (self.access and not self.access.object_rights(owner).read):
            raise no_such_object(self.text, query.object_position, query.object_name)
        return owner

    def _is_plain_count(self, query: Query) -> bool:
        counts = [
            item
            for item in query.select
            if isinstance(item, Aggregate) and item.function == "COUNT" and item.path is None
        ]
        if not counts:
            return False
        if len(query.select) > 1 or counts[0].alias or query.group_by:
            raise malformed(
                self.text, counts[0].position, "COUNT() must be the only element in the SELECT list"
            )
        if query.order_by:
            raise malformed(
                self.text, query.order_by[0].path.position, "COUNT() does not take ORDER BY"
            )
        return True

    def _check_ends(self, query: Query) -> None:
        if query.offset is not None and query.offset > OFFSET_MAX:
            raise SalesforceError(
                400,
                "NUMBER_OUTSIDE_VALID_RANGE",
                f"Maximum SOQL offset allowed is {OFFSET_MAX}",
            )
        has_path = any(isinstance(item, Aggregate) and item.path for item in query.select)
        if has_path and query.limit is not None and not query.group_by:
            raise malformed(
                self.text,
                len(self.text),
                "Non-grouped query that uses overall aggregate functions cannot also use LIMIT",
            )
        if any(isinstance(item, AllFields) for item in query.select) and (
            query.limit is None or query.limit > FIELDS_LIMIT_MAX
        ):
            raise malformed(
                self.text, 0, "The SOQL FIELDS function must have a LIMIT of at most 200"
            )

    # --- SELECT ----------------------------------------------------------------------------------

    def _columns(self, owner: SObject, query: Query, *, aggregated: bool) -> list[Column]:
        grouped = [self._column(owner, path).sql for path in query.group_by]
        placed: list[tuple[Column, int]] = []
        unnamed = 0
        for item in query.select:
            if isinstance(item, Unsupported):
                raise _unsupported(self.text, item)
            if isinstance(item, AllFields):
                placed += [(column, item.position) for column in self._all_fields(owner, item)]
            elif isinstance(item, Aggregate):
                placed.append((self._aggregate(owner, item, unnamed), item.position))
                unnamed += item.alias is None
            else:
                column = self._column(owner, item)
                if aggregated and column.sql not in grouped:
                    raise malformed(
                        self.text,
                        item.position,
                        f"Field must be grouped or aggregated: {item.text}",
                    )
                placed.append((column, item.position))
        self._refuse_duplicates(placed)
        return [column for column, _ in placed]

    def _refuse_duplicates(self, places: list[tuple[Column, int]]) -> None:
        seen = set()
        for column, position in places:
            if column.names in seen:
                raise soql_error(
                    self.text,
                    position,
                    "INVALID_FIELD",
                    f"duplicate field selected: {'.'.join(column.names)}",
                )
            seen.add(column.names)

    def _column(self, owner: SObject, path: Path) -> Column:
        names, entry, sql = self._resolve(owner, path)
        return Column(names, entry.type, sql)

    def _all_fields(self, owner: SObject, item: AllFields) -> list[Column]:
        if item.kind not in {"ALL", "STANDARD", "CUSTOM"}:
            raise malformed(self.text, item.position, f"unexpected token: '{item.kind}'")
        chosen = [
            entry
            for entry in owner.fields.values()
            if (item.kind == "ALL" or entry.custom == (item.kind == "CUSTOM"))
            and (self.access is None or self.access.readable(owner, entry))
        ]
        return [
            Column((entry.name,), entry.type, self._field_sql(owner, (), entry)) for entry in chosen
        ]

    def _aggregate(self, owner: SObject, item: Aggregate, unnamed: int) -> Column:
        if item.function not in _AGGREGATES:
            raise malformed(
                self.text, item.position, f"{item.function}() is not supported by the local org"
            )
        if item.path is None:
            raise malformed(self.text, item.position, "unexpected token: ')'")
        _, entry, sql = self._resolve(owner, item.path)
        self._check_aggregable(item, entry)
        name = item.alias or f"expr{unnamed}"
        if item.function in {"COUNT", "COUNT_DISTINCT"}:
            distinct = "DISTINCT " if item.function == "COUNT_DISTINCT" else ""
            return Column((name,), "int", f"COUNT({distinct}{sql})")
        kind = "double" if item.function == "AVG" else entry.type
        return Column((name,), kind, f"{item.function}({sql})")

    def _check_aggregable(self, item: Aggregate, entry: Field) -> None:
        numeric = entry.type in NUMBER_TYPES | {"int"}
        fits = numeric or (
            item.function not in {"SUM", "AVG"}
            and (
                item.function.startswith("COUNT")
                or entry.type not in {"boolean", "id", "reference", "address"}
            )
        )
        if not fits or not entry.filterable:
            raise soql_error(
                self.text,
                item.position,
                "MALFORMED_QUERY",
                f"field {entry.name} does not support aggregate operator {item.function}",
            )

    def _grouped(self, owner: SObject, path: Path) -> str:
        _, entry, sql = self._resolve(owner, path)
        if not entry.groupable or entry.type in {"datetime", "address"}:
            raise soql_error(
                self.text,
                path.position,
                "MALFORMED_QUERY",
                f"field '{path.text}' can not be grouped in a query call",
            )
        return sql

    # --- fields and parents ----------------------------------------------------------------------

    def _resolve(self, owner: SObject, path: Path) -> tuple[tuple[str, ...], Field, str]:
        names = path.names
        if len(names) > 1 and names[0].lower() in {
            owner.name.lower(),
            (self.alias_name or "").lower(),
        }:
            names = names[1:]
        if len(names) > PARENT_LEVELS_MAX + 1:
            raise malformed(self.text, path.position, "more than five levels of parents")
        place: tuple[str, ...] = ()
        here = owner
        for name in names[:-1]:
            place, here = self._parent(here, place, name, path.position)
        entry = here.field(names[-1])
        if entry is None or (self.access is not None and not self.access.readable(here, entry)):
            raise no_such_column(self.text, path.position, names[-1], here.name)
        return (*place, entry.name), entry, self._field_sql(here, place, entry)

    def _parent(
        self, here: SObject, place: tuple[str, ...], name: str, position: int
    ) -> tuple[tuple[str, ...], SObject]:
        link = here.relation(name)
        target = None
        if link is not None and (self.access is None or self.access.readable(here, link)):
            target = self._target(link)
        if link is None or target is None:
            raise no_such_relation(self.text, position, name)
        if self.access is not None and not self.access.object_rights(target).read:
            raise no_such_relation(self.text, position, name)
        return self.join(place, link, target), target

    def _target(self, link: Field) -> SObject | None:
        # An owner is a user or a queue; the local org has no queues.
        return self.schema.find("User" if "User" in link.reference_to else link.reference_to[0])

    def join(self, place: tuple[str, ...], link: Field, target: SObject) -> tuple[str, ...]:
        """Join a parent once; gives its place."""
        deeper = (*place, str(link.relationship_name))
        if deeper not in self.relations:
            alias = f"t{len(self.relations)}"
            child = self.relations[place].alias
            self.joins.append(
                f" LEFT JOIN {quoted(target.name)} AS {alias}"
                f' ON {alias}."Id" = {child}.{quoted(link.name)}'
            )
            self.relations[deeper] = Relation(deeper, alias, target)
        return deeper

    def _field_sql(self, owner: SObject, place: tuple[str, ...], entry: Field) -> str:
        alias = self.relations[place].alias
        if entry.formula and entry.calculated:
            return f"({compile_formula(entry.formula, entry.type, self, owner, place)})"
        if entry.sql is not None:
            return f"({entry.sql.format(t=alias)})"
        return f"{alias}.{quoted(entry.name)}"

    def formula_field(
        self, owner: SObject, place: tuple[str, ...], names: tuple[str, ...]
    ) -> tuple[str, str]:
        """Resolve a field that a formula names; gives its SQL and type. Formulas see all fields."""
        here = owner
        for name in names[:-1]:
            link = here.relation(name)
            target = self._target(link) if link else None
            if link is None or target is None:
                raise _formula_error(f"Field {name} does not exist. Check spelling.")
            place, here = self.join(place, link, target), target
        entry = here.field(names[-1])
        if entry is None:
            raise _formula_error(f"Field {names[-1]} does not exist. Check spelling.")
        return self._field_sql(here, place, entry), entry.type

    # --- WHERE -----------------------------------------------------------------------------------

    def _filter(self, owner: SObject, where: Condition | None, *, include_deleted: bool) -> str:
        parts = []
        if owner.has_deleted and not include_deleted:
            parts.append('t0."IsDeleted" = 0')
        if where is not None:
            parts.append(self._condition(owner, where))
        return " AND ".join(parts)

    def _condition(self, owner: SObject, part: Condition) -> str:
        if isinstance(part, All):
            return "(" + " AND ".join(self._condition(owner, entry) for entry in part.parts) + ")"
        if isinstance(part, Any):
            return "(" + " OR ".join(self._condition(owner, entry) for entry in part.parts) + ")"
        if isinstance(part, Negation):
            return f"(NOT coalesce({self._condition(owner, part.part)}, 0))"
        if isinstance(part, Unsupported):
            raise _unsupported(self.text, part)
        _, entry, sql = self._resolve(owner, part.path)
        if not entry.filterable or entry.type == "address":
            raise soql_error(
                self.text,
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
                self.text,
                part.path.position,
                "INVALID_QUERY_FILTER_OPERATOR",
                f"invalid operator on {kind} field",
            )
        if part.value.kind != "string":
            raise self._wrong_type(part.path, entry, part.value)
        try:
            pattern = like_pattern(part.value.text)
        except BadEscape as error:
            raise malformed(self.text, part.value.position, str(error)) from None
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
        found = date_range(part.value.text, self.now)
        if found is None:
            raise malformed(
                self.text, part.value.position, f"unexpected token: '{part.value.text}'"
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
        if entry.is_text and "" in operands:
            operands = [operand for operand in operands if operand != ""]
            has_null = True
        left = sql
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
                self.text,
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
            raise malformed(self.text, value.position, str(error)) from None

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
            return self._moment(value)
        if kind == "date" and value.kind == "date" and is_day(value.text):
            return value.text
        raise self._wrong_type(path, entry, value)

    def _moment(self, value: Literal) -> str:
        try:
            return format_csv(parse_datetime(value.text.upper()))
        except (ValueError, OverflowError):
            raise malformed(
                self.text, value.position, f"unexpected token: '{value.text}'"
            ) from None

    def _id(self, path: Path, entry: Field, value: Literal) -> str:
        text = self._string(path, entry, value)
        if not text:
            return text
        try:
            return ids.normalise(text)
        except ValueError:
            raise soql_error(
                self.text,
                path.position,
                "INVALID_QUERY_FILTER_OPERATOR",
                f"invalid ID field: {text}",
            ) from None

    def _wrong_type(self, path: Path, entry: Field, value: Literal) -> SalesforceError:
        if value.kind == "word" and value.text.lower() not in {"true", "false", "null"}:
            known = date_range(value.text, self.now) is not None
            if not known:
                return malformed(self.text, value.position, f"unexpected token: '{value.text}'")
        quotes = (
            "should be" if entry.is_text or entry.type in {"id", "reference"} else "should not be"
        )
        kind = "string" if entry.is_text else _TYPE_WORDS.get(entry.type, entry.type)
        return soql_error(
            self.text,
            path.position,
            "INVALID_FIELD",
            f"value of filter criterion for field '{path.text}' must be of type {kind} and "
            f"{quotes} enclosed in quotes",
        )

    # --- ORDER BY --------------------------------------------------------------------------------

    def _order(self, owner: SObject, query: Query, *, aggregated: bool) -> tuple[list[str], bool]:
        made = []
        fully = False
        for key in query.order_by:
            names, entry, sql = self._resolve(owner, key.path)
            if not entry.sortable or entry.type == "address":
                raise soql_error(
                    self.text,
                    key.path.position,
                    "INVALID_FIELD",
                    f"field '{key.path.text}' can not be sorted in a query call",
                )
            fully = fully or names == ("Id",)
            made += self._order_key(key, entry, sql)
        if made and not fully and not aggregated:
            made.append(self._tie_breaker())
        return made, fully

    def _tie_breaker(self) -> str:
        if not self.options.shuffle_ties:
            return "t0.rid"
        return f"((t0.rid * 2654435761 + {int(self.options.random_seed) * 97}) & 1048575)"

    def _order_key(self, key: Order, entry: Field, sql: str) -> list[str]:
        ways = "DESC" if key.descending else "ASC"
        nulls = "NULLS LAST" if key.nulls_last else "NULLS FIRST"
        if entry.type == "picklist" and entry.choices:
            # Picklists sort in the order of their values in Setup, others after them.
            cases = " ".join(
                f"WHEN '{choice.value.replace(chr(39), chr(39) * 2)}' THEN {place}"
                for place, choice in enumerate(entry.choices)
            )
            place = f"CASE {sql} {cases} ELSE {len(entry.choices)} END"
            listed = f"CASE WHEN {sql} IS NULL THEN NULL ELSE {place} END"
            return [f"{listed} {ways} {nulls}", f"fold({sql}) {ways} {nulls}"]
        if entry.is_text and not entry.case_sensitive:
            sql = f"fold({sql})"
        return [f"{sql} {ways} {nulls}"]


def _is_null(value: Literal) -> bool:
    return value.kind == "word" and value.text.lower() == "null"


def _formula_error(message: str) -> SalesforceError:
    return SalesforceError(400, "FIELD_INTEGRITY_EXCEPTION", message)


def _unsupported(text: str, item: Unsupported) -> SalesforceError:
    what = {
        "subquery": "Child subqueries are",
        "typeof": "TYPEOF is",
        "semi-join": "Semi-joins are",
    }[item.what]
    return malformed(text, item.position, f"{what} not supported by the local org")
