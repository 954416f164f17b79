"""What an org's admins add to a save: validation rules and flows that rewrite a field.

A rule is a SOQL condition; a row for which it is true is refused with the rule's own text. A flow
sets one field at each save. Both run as SQL on the rows of a chunk, inside its transaction.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .database import quoted
from .errors import RowError
from .schema import NUMBER_TYPES, SObject
from .soql.compiler import Compiler
from .soql.formula import compile_formula
from .soql.parser import parse_condition

if TYPE_CHECKING:
    from .store import Store

_AMONG: Final = "t0.rid IN (SELECT value FROM json_each(?))"


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
class Automations:
    """The rules and flows of one object."""

    store: Store
    owner: SObject
    rules: list[Rule] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Tell whether there is anything to do at a save."""
        return bool(self.rules or self.flows)

    def apply(self, connection: sqlite3.Connection, rids: list[int]) -> dict[int, RowError]:
        """Run the flows, then the rules, over rows just written; gives the rows refused."""
        among = json.dumps(rids)
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
        store = self.store
        return Compiler(store.schema, store.options, store.clock.now(), None)

    def _violations(self, connection: sqlite3.Connection, rule: Rule, among: str) -> list[int]:
        compiler = self._compiler()
        condition = parse_condition(rule.condition)
        source, sql = compiler.compile_condition(self.owner, condition, rule.condition)
        statement = f"SELECT t0.rid FROM {source} WHERE {_AMONG} AND {sql}"  # noqa: S608
        return [rid for (rid,) in connection.execute(statement, (among, *compiler.params))]

    def _run(self, connection: sqlite3.Connection, flow: Flow, among: str) -> None:
        source, sql = self.flow_sql(flow)
        name = quoted(flow.field)
        connection.execute(
            f"UPDATE {quoted(self.owner.name)} AS u SET {name} = "  # noqa: S608
            f"(SELECT {sql} FROM {source} WHERE t0.rid = u.rid) "
            "WHERE u.rid IN (SELECT value FROM json_each(?))",
            (among,),
        )

    def flow_sql(self, flow: Flow) -> tuple[str, str]:
        """Translate a flow's expression; gives the FROM part and the SQL."""
        entry = self.owner.required_field(flow.field)
        compiler = self._compiler()
        condition = parse_condition("Id != null")
        own = f"t0.{quoted(entry.name)}"
        compiler.compile_condition(self.owner, condition, "")
        if flow.expression == "now":
            stamp = self.store.clock.stamp()
            sql = f"'{stamp[:10] if entry.type == 'date' else stamp}'"
        elif flow.expression == "upper":
            sql = f"upper({own})"
        elif flow.expression == "append_counter":
            sql = self._counter(own, entry.type, entry.length)
        else:
            formula = flow.expression.removeprefix("=")
            sql = compile_formula(formula, entry.type, compiler, self.owner, ())
        return f"{quoted(self.owner.name)} AS t0" + "".join(compiler.joins), sql

    def _counter(self, own: str, kind: str, length: int) -> str:
        if kind in NUMBER_TYPES | {"int"}:
            return f"coalesce({own}, 0) + 1"
        serial = self.store.database.next_serial("flow")
        mark = f" #{serial}"
        return (
            f"substr(coalesce(CASE WHEN instr({own}, ' #') > 0 "
            f"THEN substr({own}, 1, instr({own}, ' #') - 1) ELSE {own} END, ''), 1, "
            f"{length - len(mark)}) || '{mark}'"
        )
