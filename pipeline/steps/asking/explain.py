"""Returns one record's whole history: every scoring, why, from what, with which result (R30)."""

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
    """What one market made of the record.

    `inputs` and `outputs` are None where persist was off (R24). `changed` names the inputs that
    differ from the market's scoring before; None where either is not kept.
    """

    market: str
    version: str
    inputs: dict[str, Any] | None
    outputs: dict[str, Any] | None
    changed: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Scoring:
    """One scoring of the record, and how its push ended. It counts in the limit of `day`."""

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
    """Return what is kept of the record, for each object that knows its id (one, or none).

    Reads every file of the lake and makes no API call. `record_id` has 15 or 18 characters.
    """
    wanted = id18(record_id)
    found = []

    for object_name in OBJECTS:
        scorings = sorted(_scorings(clients, object_name, wanted), key=_chronological)
        waiting = clients.ledger.waiting.row(object_name, wanted)
        if scorings or waiting:
            found.append(Explained(object_name, wanted, _with_changes(scorings), waiting))

    return found


def _chronological(scoring: Scoring) -> tuple[datetime, str]:
    return scoring.scored_at, scoring.segment


def _scorings(clients: Clients, object_name: str, record_id: str) -> Iterator[Scoring]:
    results = dict(clients.lake.find(PUSHED, object_name, "id", record_id))

    for (day, segment), row in clients.lake.find(SCORED, object_name, "id", record_id):
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
    """Yield the markets that scored the row: those that have a version in it."""
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
    """Return the scorings with the inputs that changed since each market's last one."""
    last: dict[str, dict[str, Any] | None] = {}
    compared = []

    for scoring in scorings:
        markets = []
        for one in scoring.markets:
            changed = _changed_inputs(last.get(one.market), one.inputs)
            markets.append(replace(one, changed=changed))
            last[one.market] = one.inputs
        compared.append(replace(scoring, markets=markets))

    return compared


def _changed_inputs(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> list[str] | None:
    if before is None or after is None:
        return None

    return sorted(n for n in {*before, *after} if before.get(n) != after.get(n))
