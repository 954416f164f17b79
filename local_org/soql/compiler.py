"""A query's tree to SQLite SQL, checked against the schema and the user's rights.

``scope`` says what names mean, ``conditions`` translates WHERE, and this module the rest: SELECT,
GROUP BY, ORDER BY. Text is sorted without regard to case; nulls come first unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from local_org.errors import SalesforceError
from local_org.options import Options
from local_org.permissions import Access
from local_org.schema import NUMBER_TYPES, Field, Schema, SObject

from .ast import Aggregate, AllFields, Condition, Order, Path, Query, Unsupported
from .conditions import Conditions
from .errors import malformed, no_such_object, soql_error, unsupported
from .scope import Relation, Scope

OFFSET_MAX: Final = 2000
# What FIELDS(ALL) and FIELDS(CUSTOM) must be limited to.
FIELDS_LIMIT_MAX: Final = 200
_AGGREGATES: Final = {"COUNT", "COUNT_DISTINCT", "MAX", "MIN", "SUM", "AVG"}


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
            # SQLite takes no OFFSET without a LIMIT; -1 is no limit.
            parts.append(f"LIMIT {-1 if self.limit is None else self.limit}")
        if self.offset is not None:
            parts.append(f"OFFSET {self.offset}")

        return " ".join(parts)


class Compiler:
    """Compiles one query, or one condition, for one user.

    ``access`` None means the org itself (validation rules): it sees all fields.
    """

    def __init__(
        self, schema: Schema, options: Options, now: datetime, access: Access | None
    ) -> None:
        """Prepare for one query: names and values are collected as it is translated."""
        self.options = options
        self.scope = Scope(schema, now, access)
        self._conditions = Conditions(self.scope, options)

    @property
    def params(self) -> list[str | int | float]:
        """Give the values of the question marks in the SQL, in order."""
        return self._conditions.params

    # --- the whole query -------------------------------------------------------------------------

    def compile(self, query: Query, *, include_deleted: bool) -> Compiled:
        """Check and translate a query.

        Raises:
            SalesforceError: 400, in Salesforce's words.
        """
        owner = self._object(query)
        self.scope.start(owner, query.text, query.alias)

        # The order matters: each part may join parents, and the first mistake is the one reported.
        group = [self._group_key(owner, path) for path in query.group_by]
        is_count = self._is_plain_count(query)
        aggregated = any(isinstance(item, Aggregate) for item in query.select) or bool(group)
        columns = [] if is_count else self._columns(owner, query, aggregated=aggregated)
        where = self._filter(owner, query.where, include_deleted=include_deleted)
        order, fully = self._order(owner, query, aggregated=aggregated)
        self._check_ends(query)

        return Compiled(
            owner,
            columns,
            self.scope.relations,
            self.scope.source(owner),
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
        self.scope.start(owner, text)
        sql = self._conditions.compile(owner, condition)
        return self.scope.source(owner), sql

    def _object(self, query: Query) -> SObject:
        owner = self.scope.schema.find(query.object_name)
        access = self.scope.access
        if owner is None or (access and not access.object_rights(owner).read):
            raise no_such_object(query.text, query.object_position, query.object_name)
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
                self.scope.text,
                counts[0].position,
                "COUNT() must be the only element in the SELECT list",
            )
        if query.order_by:
            raise malformed(
                self.scope.text, query.order_by[0].path.position, "COUNT() does not take ORDER BY"
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
                self.scope.text,
                len(self.scope.text),
                "Non-grouped query that uses overall aggregate functions cannot also use LIMIT",
            )

        if any(isinstance(item, AllFields) for item in query.select) and (
            query.limit is None or query.limit > FIELDS_LIMIT_MAX
        ):
            raise malformed(
                self.scope.text, 0, "The SOQL FIELDS function must have a LIMIT of at most 200"
            )

    # --- SELECT ----------------------------------------------------------------------------------

    def _columns(self, owner: SObject, query: Query, *, aggregated: bool) -> list[Column]:
        grouped = [self._column(owner, path).sql for path in query.group_by]
        columns: list[tuple[Column, int]] = []
        unnamed = 0

        for item in query.select:
            if isinstance(item, Unsupported):
                raise unsupported(self.scope.text, item)
            if isinstance(item, AllFields):
                columns += [(column, item.position) for column in self._all_fields(owner, item)]
            elif isinstance(item, Aggregate):
                columns.append((self._aggregate(owner, item, unnamed), item.position))
                unnamed += item.alias is None
            else:
                column = self._column(owner, item)
                if aggregated and column.sql not in grouped:
                    raise malformed(
                        self.scope.text,
                        item.position,
                        f"Field must be grouped or aggregated: {item.text}",
                    )
                columns.append((column, item.position))

        self._refuse_duplicates(columns)
        return [column for column, _ in columns]

    def _refuse_duplicates(self, places: list[tuple[Column, int]]) -> None:
        seen = set()
        for column, position in places:
            if column.names in seen:
                raise soql_error(
                    self.scope.text,
                    position,
                    "INVALID_FIELD",
                    f"duplicate field selected: {'.'.join(column.names)}",
                )
            seen.add(column.names)

    def _column(self, owner: SObject, path: Path) -> Column:
        names, entry, sql = self.scope.resolve(owner, path)
        return Column(names, entry.type, sql)

    def _all_fields(self, owner: SObject, item: AllFields) -> list[Column]:
        if item.kind not in {"ALL", "STANDARD", "CUSTOM"}:
            raise malformed(self.scope.text, item.position, f"unexpected token: '{item.kind}'")

        chosen = [
            entry
            for entry in owner.fields.values()
            if (item.kind == "ALL" or entry.custom == (item.kind == "CUSTOM"))
            and (self.scope.access is None or self.scope.access.readable(owner, entry))
        ]
        return [
            Column((entry.name,), entry.type, self.scope.field_sql(owner, (), entry))
            for entry in chosen
        ]

    def _aggregate(self, owner: SObject, item: Aggregate, unnamed: int) -> Column:
        if item.function not in _AGGREGATES:
            raise malformed(
                self.scope.text,
                item.position,
                f"{item.function}() is not supported by the local org",
            )
        if item.path is None:
            raise malformed(self.scope.text, item.position, "unexpected token: ')'")

        _, entry, sql = self.scope.resolve(owner, item.path)
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
                self.scope.text,
                item.position,
                "MALFORMED_QUERY",
                f"field {entry.name} does not support aggregate operator {item.function}",
            )

    def _group_key(self, owner: SObject, path: Path) -> str:
        _, entry, sql = self.scope.resolve(owner, path)
        if not entry.groupable or entry.type in {"datetime", "address"}:
            raise soql_error(
                self.scope.text,
                path.position,
                "MALFORMED_QUERY",
                f"field '{path.text}' can not be grouped in a query call",
            )
        return sql

    # --- WHERE -----------------------------------------------------------------------------------

    def _filter(self, owner: SObject, where: Condition | None, *, include_deleted: bool) -> str:
        parts = []
        if owner.has_deleted and not include_deleted:
            parts.append('t0."IsDeleted" = 0')
        if where is not None:
            parts.append(self._conditions.compile(owner, where))
        return " AND ".join(parts)

    # --- ORDER BY --------------------------------------------------------------------------------

    def _order(self, owner: SObject, query: Query, *, aggregated: bool) -> tuple[list[str], bool]:
        keys = []
        fully = False

        for key in query.order_by:
            names, entry, sql = self.scope.resolve(owner, key.path)
            if not entry.sortable or entry.type == "address":
                raise soql_error(
                    self.scope.text,
                    key.path.position,
                    "INVALID_FIELD",
                    f"field '{key.path.text}' can not be sorted in a query call",
                )
            fully = fully or names == ("Id",)
            keys += self._order_key(key, entry, sql)

        # Without it ties would come in the order of their ids, and clients would rely on that.
        if keys and not fully and not aggregated:
            keys.append(self._tie_breaker())
        return keys, fully

    def _tie_breaker(self) -> str:
        if not self.options.shuffle_ties:
            return "t0.rid"
        # A multiplicative hash of the rid: always the same order, and not the one of the ids.
        return f"((t0.rid * 2654435761 + {int(self.options.random_seed) * 97}) & 1048575)"

    def _order_key(self, key: Order, entry: Field, sql: str) -> list[str]:
        direction = "DESC" if key.descending else "ASC"
        nulls = "NULLS LAST" if key.nulls_last else "NULLS FIRST"

        if entry.type == "picklist" and entry.choices:
            # Picklists sort in the order of their values in Setup, others after them.
            cases = " ".join(
                f"WHEN '{choice.value.replace(chr(39), chr(39) * 2)}' THEN {place}"
                for place, choice in enumerate(entry.choices)
            )
            place = f"CASE {sql} {cases} ELSE {len(entry.choices)} END"
            setup_order = f"CASE WHEN {sql} IS NULL THEN NULL ELSE {place} END"
            return [f"{setup_order} {direction} {nulls}", f"fold({sql}) {direction} {nulls}"]

        if entry.is_text and not entry.case_sensitive:
            sql = f"fold({sql})"
        return [f"{sql} {direction} {nulls}"]
