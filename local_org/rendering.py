"""Rows to JSON records: typed values, parents nested with their own attributes (API notes 2.2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from .options import Options
from .schema import NUMBER_TYPES
from .soql.compiler import Compiled
from .values import json_datetime

Record: TypeAlias = dict[str, Any]
_Renderer: TypeAlias = Callable[[Any], Any]


def _boolean(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _datetime(value: str | None) -> str | None:
    return None if value is None else json_datetime(value)


def _address(value: str | None) -> Any:
    return None if value is None else json.loads(value)


def _whole(value: float | None) -> float | int | None:
    return int(value) if value is not None and value.is_integer() else value


_BY_KIND: Final[dict[str, _Renderer]] = {
    "boolean": _boolean,
    "datetime": _datetime,
    "address": _address,
}


def _renderer(kind: str, options: Options) -> _Renderer | None:
    if kind in NUMBER_TYPES and options.json_double_form == "integer":
        return _whole
    return _BY_KIND.get(kind)


class JsonRows:
    """Turns the rows of a compiled query into the records of a REST answer.

    Rows hold the expressions of ``expressions``: the Id of each object in the row (itself, then
    its parents), then the columns.
    """

    def __init__(self, compiled: Compiled, options: Options, version: str) -> None:
        """Work out once where each value goes."""
        self._compiled = compiled
        self._places = list(compiled.relations.values())
        self._base = f"/services/data/v{version}/sobjects/"
        self._columns = [
            (column.names[:-1], column.names[-1], _renderer(column.kind, options))
            for column in compiled.columns
        ]

        # Parents that have a selected column; others are joined for conditions alone.
        used = {
            column.names[:depth]
            for column in compiled.columns
            for depth in range(1, len(column.names))
        }

        self._nested = [
            (place, relation)
            for place, relation in enumerate(self._places)
            if relation.names in used
        ]

    def expressions(self) -> list[str]:
        """Give the SQL of a row."""
        own = [f'{relation.alias}."Id"' for relation in self._places]
        return own + [column.sql for column in self._compiled.columns]

    def aggregate(self, row: Sequence[Any]) -> Record:
        """Give a row of aggregates; the row holds the columns alone."""
        record: Record = {"attributes": {"type": "AggregateResult"}}
        for (_, name, render), value in zip(self._columns, row, strict=True):
            record[name] = render(value) if render else value
        return record

    def record(self, row: Sequence[Any]) -> Record:
        """Give one record."""
        # The row begins with one Id for each object in it.
        head = len(self._places)
        owner = self._places[0].target.name
        record: Record = {"attributes": {"type": owner, "url": f"{self._base}{owner}/{row[0]}"}}
        holders: dict[tuple[str, ...], Record | None] = {(): record}

        for place, relation in self._nested:
            name, one = relation.target.name, row[place]
            holders[relation.names] = (
                None
                if one is None
                else {"attributes": {"type": name, "url": f"{self._base}{name}/{one}"}}
            )

        for (place_names, name, render), value in zip(self._columns, row[head:], strict=True):
            holder = holders[place_names]
            # A parent is hung in when its first column comes, so that keys keep the query's order.
            if place_names:
                self._attach(holders, place_names)
            if holder is not None:
                holder[name] = render(value) if render else value
        return record

    @staticmethod
    def _attach(holders: dict[tuple[str, ...], Record | None], names: tuple[str, ...]) -> None:
        """Hang a parent, and the parents on the way to it, into the record; once each."""
        for depth in range(1, len(names) + 1):
            above = holders.get(names[: depth - 1])
            if above is not None and names[depth - 1] not in above:
                above[names[depth - 1]] = holders[names[:depth]]
