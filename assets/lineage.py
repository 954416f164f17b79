"""Columns and their sources, from a market's training data to the field in Salesforce (R29).

One asset holds three objects, so a column is named after both: `Lead.Company`,
`Lead.enterprise_fit.score`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dagster as dg

from pipeline.core.configuration.integration import (
    DATETIME_FIELD,
    HASH_FIELD,
    PARENT_PREFIX,
    Integration,
)
from pipeline.core.configuration.market import Market
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED, STALE_RECORDS

HEADER_CHARACTERS_MAX: Final = 10_000


@dataclass
class _Columns:
    """An asset's columns in order, and what each is made from."""

    columns: list[dg.TableColumn] = field(default_factory=list)
    deps: dict[str, list[dg.TableColumnDep]] = field(default_factory=dict)

    def add(self, name: str, kind: str, words: str, deps: Sequence[dg.TableColumnDep] = ()) -> None:
        """Add a column, or further sources of one that stands already."""
        if name not in self.deps:
            self.columns.append(dg.TableColumn(name, kind, description=words))
            self.deps[name] = []
        self.deps[name] += [dep for dep in deps if dep not in self.deps[name]]

    def metadata(self) -> dict[str, Any]:
        """Return schema and lineage under the names that Dagster knows."""
        sourced = {name: deps for name, deps in self.deps.items() if deps}
        metadata: dict[str, Any] = {"dagster/column_schema": dg.TableSchema(self.columns)}
        if sourced:
            metadata["dagster/column_lineage"] = dg.TableColumnLineage(sourced)
        return metadata


@dataclass(frozen=True)
class Lineage:
    """The columns of all assets; `integrations` are those that are switched on."""

    integrations: Sequence[Integration]
    markets: Mapping[str, Market]
    folder: Path

    def of(self, asset: str) -> dict[str, Any]:
        """Return the metadata of one of the four assets."""
        builders: dict[str, Callable[[], _Columns]] = {
            CHANGED_RECORDS: self._pulled_columns,
            STALE_RECORDS: self._stale,
            SCORED: self._scored_columns,
            PUSHED: self._pushed_columns,
        }
        return builders[asset]().metadata()

    def of_market(self, market: Market) -> dict[str, Any]:
        """Return the metadata of a market: its outputs, made from reference and training data."""
        sources = [
            dg.TableColumnDep(dg.AssetKey(["reference", market.name, reference.name]), column)
            for reference in market.reference
            for column in self.header(market, reference.file)
        ]
        if market.training is not None:
            key = dg.AssetKey(["training", market.name])
            header = self.header(market, market.training.data)
            sources += [dg.TableColumnDep(key, column) for column in header]

        columns = _Columns()
        for name, output in market.outputs.items():
            words = (output.label or name) + ("" if output.enabled else " (not enabled)")
            columns.add(name, output.kind, words, sources)
        return columns.metadata()

    def of_file(self, market: Market, file: str) -> dict[str, Any]:
        """Return the metadata of a reference or training file: the columns of its header."""
        columns = _Columns()
        for name in self.header(market, file):
            columns.add(name, "string", f"Column of {file}")
        return columns.metadata()

    def header(self, market: Market, file: str) -> list[str]:
        """Return a CSV file's column names; its own name where it has no readable header."""
        path = self.folder / market.name / file
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                header = next(csv.reader([lines.readline(HEADER_CHARACTERS_MAX)]), [])
        except (OSError, UnicodeDecodeError, csv.Error):
            header = []
        return [name for name in header if name] or [file]

    def _pulled_columns(self) -> _Columns:
        columns = _Columns()
        for one in self.integrations:
            columns.add(f"{one.object}.Id", "id", "The record's id")

            for name, path in one.inputs.items():
                label = self.markets[one.market].inputs[name].label
                kind = self.markets[one.market].inputs[name].type
                words = f"{_display(path)}: input {label} of market {one.market}"
                columns.add(f"{one.object}.{path}", kind, words)

            if one.candidate_field:
                words = f"Whether the record is a candidate of market {one.market}"
                columns.add(f"{one.object}.{one.candidate_field}", "boolean", words)
            columns.add(f"{one.object}.{HASH_FIELD}", "text", "What was scored last, by market")
        return columns

    def _stale(self) -> _Columns:
        columns = _Columns()
        for name in dict.fromkeys(one.object for one in self.integrations):
            columns.add(f"{name}.Id", "id", "The record's id")
            columns.add(f"{name}.{DATETIME_FIELD}", "datetime", "When it was scored last")
        return columns

    def _scored_columns(self) -> _Columns:
        columns = _Columns()
        pulled, stale = dg.AssetKey(CHANGED_RECORDS), dg.AssetKey(STALE_RECORDS)
        for one in self.integrations:
            market = self.markets[one.market]
            ids = [dg.TableColumnDep(key, f"{one.object}.Id") for key in (pulled, stale)]
            columns.add(f"{one.object}.Id", "id", "The record's id", ids)

            inputs = [
                dg.TableColumnDep(pulled, f"{one.object}.{path}") for path in one.inputs.values()
            ]
            for name in one.outputs:
                output = market.outputs[name]
                model = dg.TableColumnDep(dg.AssetKey(["market", one.market]), name)
                words = f"{output.label or name} by market {one.market}"
                columns.add(_output(one, name), output.kind, words, [*inputs, model])
        return columns

    def _pushed_columns(self) -> _Columns:
        columns = _Columns()
        pulled, scored = dg.AssetKey(CHANGED_RECORDS), dg.AssetKey(SCORED)
        for one in self.integrations:
            market = self.markets[one.market]
            record = [dg.TableColumnDep(scored, f"{one.object}.Id")]
            columns.add(f"{one.object}.Id", "id", "The record's id", record)

            for name, path in one.outputs.items():
                output = market.outputs[name]
                words = f"{output.label or name} of market {one.market}, in Salesforce"
                source = [dg.TableColumnDep(scored, _output(one, name))]
                columns.add(f"{one.object}.{path}", output.kind, words, source)

            important = [
                dg.TableColumnDep(pulled, f"{one.object}.{path}")
                for path in one.important_fields
                if path in one.inputs.values()
            ]
            words = "Digest of the important fields, by market"
            columns.add(f"{one.object}.{HASH_FIELD}", "text", words, important)
            columns.add(f"{one.object}.{DATETIME_FIELD}", "datetime", "When it was scored")
        return columns


def _output(integration: Integration, name: str) -> str:
    return f"{integration.object}.{integration.market}.{name}"


def _display(path: str) -> str:
    """Return a field as people are shown it: the parent account's with a prefix (R11)."""
    parent = path.startswith(PARENT_PREFIX)
    return f"Account: {path.removeprefix(PARENT_PREFIX)}" if parent else path
