"""What an org's admins add to a save: validation rules and flows that rewrite a field.

A rule is a SOQL condition; a row for which it is true is refused with the rule's own text. A flow
sets one field at each save. Both run as SQL on the rows of a chunk, inside its transaction.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any, Final

from .data_file import DataFile
from .database import quote
from .errors import RowError, SalesforceError
from .schema import NUMBER_TYPES, SObject
from .soql.compiler import Compiler
from .soql.formula import compile_formula
from .soql.parser import parse_condition

_AMONG: Final = "t0.rid IN (SELECT value FROM json_each(?))"
_EXPRESSIONS: Final = frozenset({"append_counter", "upper", "now"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A validation rule."""

    name: str
    condition: str
    message: str
    error_field: str | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that sets ``field`` at each save.

    ``expression`` is ``append_counter`` (text grows by ``#1``, ``#2``; numbers by one), ``upper``,
    ``now``, or ``=`` and a formula.
    """

    name: str
    field: str
    expression: str


@dataclass
class ObjectAutomation:
    """The rules and flows of one object."""

    data: DataFile
    owner: SObject
    rules: list[Rule] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Tell whether there is anything to do at a save."""
        return bool(self.rules or self.flows)

    def apply(self, connection: sqlite3.Connection, rids: list[int]) -> dict[int, RowError]:
        """Run the flows, then the rules, over rows just written; gives the rows refused."""
        among = json.dumps(rids)
        # Flows first: the rules judge what the flows leave.
        for flow in self.flows:
            self._run(connection, flow, among)

        refused: dict[int, RowError] = {}
        for rule in self.rules:
            for rid in self._violations(connection, rule, among):
                fields = (rule.error_field,) if rule.error_field else ()
                error = RowError("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, fields)
                refused.setdefault(rid, error)
        return refused

    def _compiler(self) -> Compiler:
        data = self.data
        return Compiler(data.schema, data.options, data.clock.now(), None)

    def _violations(self, connection: sqlite3.Connection, rule: Rule, among: str) -> list[int]:
        compiler = self._compiler()
        condition = parse_condition(rule.condition)
        source, sql = compiler.compile_condition(self.owner, condition, rule.condition)
        statement = f"SELECT t0.rid FROM {source} WHERE {_AMONG} AND {sql}"  # noqa: S608
        return [rid for (rid,) in connection.execute(statement, (among, *compiler.params))]

    def _run(self, connection: sqlite3.Connection, flow: Flow, among: str) -> None:
        source, sql = self.flow_sql(flow)
        name = quote(flow.field)
        connection.execute(
            f"UPDATE {quote(self.owner.name)} AS u SET {name} = "  # noqa: S608
            f"(SELECT {sql} FROM {source} WHERE t0.rid = u.rid) "
            "WHERE u.rid IN (SELECT value FROM json_each(?))",
            (among,),
        )

    def flow_sql(self, flow: Flow) -> tuple[str, str]:
        """Translate a flow's expression; gives the FROM part and the SQL."""
        entry = self.owner.required_field(flow.field)
        own = f"t0.{quote(entry.name)}"

        scope = self._compiler().scope
        scope.start(self.owner, "")

        if flow.expression == "now":
            stamp = self.data.clock.stamp()
            sql = f"'{stamp[:10] if entry.type == 'date' else stamp}'"
        elif flow.expression == "upper":
            sql = f"upper({own})"
        elif flow.expression == "append_counter":
            sql = self._counter(own, entry.type, entry.length)
        else:
            formula = flow.expression.removeprefix("=")
            sql = compile_formula(formula, entry.type, scope, self.owner, ())

        return scope.source(self.owner), sql

    def _counter(self, own: str, kind: str, length: int) -> str:
        if kind in NUMBER_TYPES | {"int"}:
            return f"coalesce({own}, 0) + 1"

        # The old mark is cut off before the new one is put on, and the text made to fit.
        serial = self.data.database.next_serial("flow")
        mark = f" #{serial}"
        return (
            f"substr(coalesce(CASE WHEN instr({own}, ' #') > 0 "
            f"THEN substr({own}, 1, instr({own}, ' #') - 1) ELSE {own} END, ''), 1, "
            f"{length - len(mark)}) || '{mark}'"
        )


class Automation:
    """The rules and flows of all objects, as the data file has them."""

    def __init__(self, data: DataFile) -> None:
        """Read nothing yet: each object's are read at its first save."""
        self._data = data
        self._by_object: dict[str, ObjectAutomation] = {}

    def of(self, owner: SObject) -> ObjectAutomation:
        """Give the rules and flows of an object."""
        known = self._by_object.get(owner.name)
        if known is not None:
            return known

        reader = self._data.database.read()
        rules = reader.execute(
            "SELECT name, condition, message, error_field FROM _rules "
            "WHERE object = ? AND active = 1",
            (owner.name,),
        ).fetchall()
        flows = reader.execute(
            "SELECT name, field, expression FROM _flows WHERE object = ?", (owner.name,)
        ).fetchall()

        automation = ObjectAutomation(
            self._data, owner, [Rule(*row) for row in rules], [Flow(*row) for row in flows]
        )
        self._by_object[owner.name] = automation
        return automation

    def add_validation_rule(
        self,
        object_name: str,
        name: str,
        condition: str,
        message: str,
        error_field: str | None = None,
        *,
        active: bool = True,
    ) -> None:
        """Refuse rows for which a SOQL condition is true, with ``message``."""
        owner = self._data.object(object_name)
        parse_condition(condition)
        # Run over no rows at all, so that a condition that cannot run is refused now.
        rule = Rule(name, condition, message, error_field)
        ObjectAutomation(self._data, owner, [rule]).apply(self._data.read(), [])

        with self._data.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO _rules VALUES (?, ?, ?, ?, ?, ?)",
                (owner.name, name, condition, message, error_field, int(active)),
            )
        self._by_object.clear()

    def remove_validation_rule(self, object_name: str, name: str) -> None:
        """Remove a rule, if it is there."""
        self._remove("_rules", object_name, name)

    def _remove(self, table: str, object_name: str, name: str) -> None:
        with self._data.write() as connection:
            connection.execute(
                f"DELETE FROM {table} WHERE object = ? AND name = ?",  # noqa: S608
                (self._data.object(object_name).name, name),
            )
        self._by_object.clear()

    def validation_rules(self) -> list[dict[str, Any]]:
        """List the rules."""
        names = ("object", "name", "condition", "message", "error_field", "active")
        rows = self._data.read().execute(f"SELECT {', '.join(names)} FROM _rules")  # noqa: S608
        return [dict(zip(names, row, strict=True)) | {"active": bool(row[-1])} for row in rows]

    def add_flow(self, object_name: str, name: str, field: str, expression: str) -> None:
        """Rewrite a field at each save; see ``Flow`` for the expressions."""
        owner, entry = self._data.field(object_name, field)
        if expression not in _EXPRESSIONS and expression[:1] != "=":
            raise SalesforceError(
                400, "INVALID_FIELD", "a flow takes append_counter, upper, now, or = and a formula"
            )
        self.check_flow(owner, Flow(name, entry.name, expression))

        with self._data.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO _flows VALUES (?, ?, ?, ?)",
                (owner.name, name, entry.name, expression),
            )
        self._by_object.clear()

    def check_flow(self, owner: SObject, flow: Flow) -> None:
        """Run a flow's expression over no rows, so that one that cannot run is refused now."""
        source, sql = ObjectAutomation(self._data, owner).flow_sql(flow)
        self._data.read().execute(f"SELECT {sql} FROM {source} LIMIT 0")  # noqa: S608

    def remove_flow(self, object_name: str, name: str) -> None:
        """Remove a flow, if it is there."""
        self._remove("_flows", object_name, name)

    def flows(self) -> list[dict[str, Any]]:
        """List the flows."""
        names = ("object", "name", "field", "expression")
        rows = self._data.read().execute(f"SELECT {', '.join(names)} FROM _flows")  # noqa: S608
        return [dict(zip(names, row, strict=True)) for row in rows]
