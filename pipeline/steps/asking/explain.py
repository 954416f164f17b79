"""Tells one record's whole history: every scoring, why, from what, with which result (R30)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Final

from pipeline.core.configuration.integration import OBJECTS
from pipeline.core.scoring.due import Reason
from pipeline.steps.clients import PUSHED, SCORED, Clients
from resources.ledger.waiting import WaitingRow
from resources.salesforce.ids import id18

INPUT: Final = ".input."
OUTPUT: Final = ".output."
VERSION: Final = ".version"
WORDS: Final[Mapping[str, str]] = {
    Reason.NEW.value: "a new record",
    Reason.CHANGED.value: "an important field changed",
    Reason.NEVER_SCORED.value: "never scored before",
    Reason.STALE.value: "the score was old, or a market was turned on or replaced",
    Reason.CLEANUP.value: "a market no longer scores it: its old values were cleared",
    Reason.REDO.value: "scoring again was asked for",
}


@dataclass(frozen=True, slots=True)
class MarketScoring:
    """What one market made of the record; `inputs` and `outputs` are None where persist was off (R24).

    `changed` names the inputs that differ from the market's scoring before; None where either is not kept.
    """

    market: str
    version: str
    inputs: dict[str, Any] | None
    outputs: dict[str, Any] | None
    changed: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Scoring:
    """One scoring of the record: the day it counts on, when, why, by which markets, and how its push ended."""

    day: date
    scored_at: datetime
    segment: str
    reason: str
    markets: list[MarketScoring]
    result: str
    code: str
    message: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A record's history, oldest first, and why it waits now, if it does."""

    object: str
    record_id: str
    scorings: list[Scoring] = field(default_factory=list)
    waiting: WaitingRow | None = None


def explain(clients: Clients, record_id: str) -> list[Explained]:
    """Return what is kept of the record, for each object that knows its id (one, or none). No API call.

    Reads every file of the lake; `record_id` has 15 or 18 characters.
    """
    wanted = id18(record_id)
    found = []
    for name in OBJECTS:
        scorings = _with_changes(sorted(_scorings(clients, name, wanted), key=_when))
        waiting = clients.ledger.waiting.row(name, wanted)
        if scorings or waiting:
            found.append(Explained(name, wanted, scorings, waiting))
    return found


def _when(scoring: Scoring) -> tuple[datetime, str]:
    return scoring.scored_at, scoring.segment


def _scorings(clients: Clients, name: str, record_id: str) -> Iterator[Scoring]:
    results = dict(clients.lake.find(PUSHED, name, "id", record_id))
    for (day, segment), row in clients.lake.find(SCORED, name, "id", record_id):
        result = results.get((day, segment), {})
        yield Scoring(
            day=day,
            scored_at=row["scored_at"],
            segment=segment,
            reason=row["reason"],
            markets=list(_markets(row)),
            result=result.get("status", "not pushed yet"),
            code=result.get("code", ""),
            message=result.get("message", ""),
            job_id=result.get("job_id", ""),
        )


def _markets(row: Mapping[str, Any]) -> Iterator[MarketScoring]:
    for column, version in row.items():
        if not column.endswith(VERSION) or version is None:
            continue
        market = column.removesuffix(VERSION)
        inputs = _part(row, market + INPUT)
        outputs = _part(row, market + OUTPUT)
        yield MarketScoring(market, version, inputs or None, outputs or None)


def _part(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {n.removeprefix(prefix): value for n, value in row.items() if n.startswith(prefix)}


def _with_changes(scorings: list[Scoring]) -> list[Scoring]:
    """Say for each market which of its inputs differ from its scoring before."""
    last: dict[str, dict[str, Any] | None] = {}
    told = []
    for scoring in scorings:
        markets = []
        for one in scoring.markets:
            before = last.get(one.market)
            changed = None
            if before is not None and one.inputs is not None:
                names = {*before, *one.inputs}
                changed = sorted(n for n in names if before.get(n) != one.inputs.get(n))
            last[one.market] = one.inputs
            markets.append(MarketScoring(one.market, one.version, one.inputs, one.outputs, changed))
        told.append(replace(scoring, markets=markets))
    return told
