"""What people ask: what is used, what waits and until when, what failed and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from pipeline.core.config import Configuration
from pipeline.core.plan import last_day
from pipeline.steps.work import Work
from resources.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Status:
    """How things stand today. Counts are records; `waiting` is by object, reason and state."""

    day: date
    org_id: str | None
    limit: int
    limit_used: int
    waiting: list[dict[str, Any]]
    waiting_total: int
    failing: dict[str, int]
    last_done_on: date | None
    api_calls: dict[str, int]
    api_calls_limit: int
    objects: list[dict[str, Any]]
    integrations: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def status(work: Work) -> Status:
    """Read the whole status from the ledger; no API call."""
    ledger, configuration = work.ledger, work.configuration
    limit = configuration.settings.daily_record_limit
    use = ledger.claims.day_use(work.today, limit)
    waiting = [dict(row) for row in ledger.waiting.summary(work.now())]
    total = sum(row["records"] for row in waiting)
    return Status(
        day=work.today,
        org_id=ledger.state.org_id(),
        limit=limit,
        limit_used=use.used,
        waiting=waiting,
        waiting_total=total,
        failing=dict(Counter(row.error_code or "" for row in ledger.waiting.failures())),
        last_done_on=last_day(work.today, total, use.left, limit),
        api_calls=ledger.calls.by_kind(work.today),
        api_calls_limit=configuration.settings.daily_api_calls_limit,
        objects=_objects(ledger),
        integrations=_integrations(ledger, configuration),
    )


def _objects(ledger: Ledger) -> list[dict[str, Any]]:
    return [asdict(state) for _, state in sorted(ledger.state.objects().items())]


def _integrations(ledger: Ledger, configuration: Configuration) -> list[dict[str, Any]]:
    states = ledger.state.integrations()
    rows = []
    for integration in configuration.integrations:
        state = states.get((integration.object, integration.market))
        if not integration.enabled:
            word = "off"
        elif not integration.is_mapped:
            word = "not ready: map both input and output fields"
        elif state is None:
            word = "not checked yet"
        elif state.not_ready:
            word = "not ready"
        else:
            word = "paused" if state.paused_at else "on"
        rows.append(
            {
                "integration": integration.name,
                "state": word,
                "since": state.enabled_at if state else None,
                "market_version": configuration.markets[integration.market].version,
            }
        )
    return rows
