"""Says what is used, what waits and until when, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from pipeline.core.configuration.configuration import BrokenIntegration
from pipeline.core.configuration.running import (
    BROKEN,
    NOT_CHECKED,
    NOT_MAPPED,
    IntegrationKey,
    IntegrationState,
    Running,
    RunState,
    running,
)
from pipeline.core.errors import InsightsError
from pipeline.core.limit.pace import in_flight_of, last_day
from pipeline.core.limit.repeats import SCORINGS_KEPT_FOR
from pipeline.steps.asking.failures import record_link
from pipeline.steps.brake import held_segments, in_words
from pipeline.steps.clients import Clients
from pipeline.steps.stop import why_no_push
from resources.ledger.ledger import Ledger
from resources.ledger.waiting import SlowedRow

SLOWED_SHOWN: Final = 20
"""How many of the records that keep becoming due are named; the count is of all."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of things today. Counts are records; `waiting` is by object, reason and state.

    `unpushed` shows the segments that could not be pushed whole, the oldest first.
    `slowed_down` shows records that keep becoming due, those with the longest wait first (R15).
    `pulling_stopped` says why nothing is pulled now, where too few API calls remain (R21), and
    `sign_in_refused` why the org is not signed in to, where it refused that for good (R3).
    `markets_held` says since when each is held, why, when it is tried next, and how many records
    wait for it (R23).
    `stopped` is the stop that stands, and `no_push` says why nothing is pushed now. `held` are the
    segments that wait for a yes. `alerts_not_sent` says why nobody is told of anything (R29).
    """

    day: date
    org_id: str | None
    limit: int
    limit_used: int
    waiting: list[dict[str, Any]]
    waiting_total: int
    failing: dict[str, int]
    unpushed: list[dict[str, Any]]
    last_done_on: date | None
    api_calls: dict[str, int]
    api_calls_limit: int
    pulling_stopped: str | None
    pulling_resumes_at: datetime | None
    objects: list[dict[str, Any]]
    integrations: list[dict[str, Any]]
    slowed_down_total: int
    slowed_down: list[dict[str, Any]]
    markets_held: list[dict[str, Any]]
    stopped: dict[str, Any] | None
    no_push: str | None
    held: list[str]
    sign_in_refused: str | None = None
    alerts_not_sent: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def status(
    clients: Clients,
    sign_in_refused: InsightsError | None = None,
    alerts_not_sent: str | None = None,
) -> Status:
    """Read the whole status from the ledger; no API call.

    `sign_in_refused` is why the org is not signed in to, where it refused that for good,
    `alerts_not_sent` why alerts do not go out.
    """
    ledger, configuration = clients.ledger, clients.configuration
    limit = configuration.settings.daily_record_limit
    use = ledger.days.use(clients.today, limit)
    waiting = ledger.waiting.summary(clients.now())
    total = sum(row.records for row in waiting)

    exhausted = clients.budget.why_exhausted()
    slowed = ledger.waiting.slowed_rows(clients.now())
    stopped = ledger.stops.current()

    return Status(
        day=clients.today,
        org_id=ledger.org.id(),
        limit=limit,
        limit_used=use.used,
        waiting=[asdict(count) for count in waiting],
        waiting_total=total,
        failing=_failing(ledger),
        unpushed=unpushed_segments(clients),
        last_done_on=last_day(clients.today, total, use.remaining, limit, in_flight_of(waiting)),
        api_calls=ledger.calls.by_kind(clients.today),
        api_calls_limit=configuration.settings.daily_api_calls_limit,
        pulling_stopped=str(exhausted) if exhausted else None,
        pulling_resumes_at=exhausted.resumes_at if exhausted else None,
        objects=_objects(ledger),
        integrations=_integrations(clients),
        slowed_down_total=len(slowed),
        slowed_down=slowed_records(clients, slowed[:SLOWED_SHOWN]),
        markets_held=markets_held(clients),
        stopped=asdict(stopped) if stopped else None,
        no_push=why_no_push(clients),
        held=[in_words(segment) for segment in held_segments(clients)],
        sign_in_refused=str(sign_in_refused) if sign_in_refused else None,
        alerts_not_sent=alerts_not_sent,
    )


def markets_held(clients: Clients) -> list[dict[str, Any]]:
    """Return the markets that failed as a whole and are held, with what waits for each (R23).

    One whose trial is due is held until that succeeds. No API call.
    """
    waiting = clients.ledger.waiting.waiting_by_market()
    return [
        {
            "market": market,
            "why": hold.reason,
            "since": hold.held_at,
            "next_trial": hold.retry_at,
            "trials_failed": hold.tries - 1,
            "waiting": waiting.get(market, 0),
        }
        for market, hold in sorted(clients.ledger.holds.all().items())
    ]


def slowed_records(clients: Clients, rows: Sequence[SlowedRow]) -> list[dict[str, Any]]:
    """Return how often each of these records was scored lately and until when it waits (R15).

    No API call.
    """
    now, link = clients.now(), record_link(clients)
    # One transaction for all rows, so that they show one state of the ledger.
    described = []

    with clients.ledger.database.read() as connection:
        for row in rows:
            scored = clients.ledger.scorings.scored_since(
                connection, row.object, [row.record_id], now - SCORINGS_KEPT_FOR
            ).get(row.record_id, [])
            described.append(
                {
                    "object": row.object,
                    "id": row.record_id,
                    "scored_24h": sum(one.at > now - timedelta(hours=24) for one in scored),
                    "scored_in_a_row": scored[-1].streak if scored else 0,
                    "last_scored": scored[-1].at if scored else None,
                    "until": row.until,
                    "link": link(row.record_id),
                }
            )

    return described


def unpushed_segments(clients: Clients) -> list[dict[str, Any]]:
    """Return the segments that could not be pushed whole, with why and when they are tried next."""
    return [
        {
            "segment": segment.segment_id,
            "object": segment.object,
            "scored_at": segment.stamp,
            "records": clients.ledger.waiting.count_of_segment(segment.segment_id),
            "tries": segment.push_tries,
            "next_try": segment.next_push_at,
            "why": segment.push_error,
        }
        for segment in clients.ledger.segments.unfinished()
        if segment.push_tries
    ]


def _failing(ledger: Ledger) -> dict[str, int]:
    failing: Counter[str] = Counter()
    for count in ledger.failures.counts():
        failing[count.error_code] += count.records
    return dict(failing.most_common())


def _objects(ledger: Ledger) -> list[dict[str, Any]]:
    return [asdict(state) for _, state in sorted(ledger.objects.all().items())]


def _integrations(clients: Clients) -> list[dict[str, Any]]:
    configuration = clients.configuration
    states = clients.ledger.integrations.all()
    holds = clients.ledger.holds.all()
    rows = []

    for integration in configuration.integrations:
        state = states.get(integration.key)
        answer = running(
            state,
            holds.get(integration.market),
            clients.now(),
            enabled=integration.enabled,
            mapped=integration.is_mapped,
        )
        rows.append(
            {
                "integration": integration.name,
                "state": _in_words(answer, enabled=integration.enabled),
                "why": "; ".join(answer.why.splitlines()) or None,
                "since": state.enabled_at if state else None,
                "market_version": configuration.markets[integration.market].version,
                "not_running_since": None if answer.runs else answer.since,
                "next_look": answer.next_look,
            }
        )

    return [*rows, *(_broken_row(broken, states) for broken in configuration.broken)]


def _broken_row(
    broken: BrokenIntegration, states: Mapping[IntegrationKey, IntegrationState]
) -> dict[str, Any]:
    state = states.get(broken.key) if broken.key else None
    # Nothing is looked at before a person has changed the file, and then at once.
    return {
        "integration": broken.name,
        "state": RunState.NOT_READY.value,
        "why": f"{BROKEN}{'; '.join(broken.problems)}",
        "since": state.enabled_at if state else None,
        "market_version": None,
        "not_running_since": state.not_ready_since if state else None,
        "next_look": None,
    }


def _in_words(answer: Running, *, enabled: bool) -> str:
    if answer.why == NOT_MAPPED:
        return f"{answer.state}: {answer.why}"

    # Switched on in its file and not yet rolled out: the ledger still has it as off.
    if answer.why == NOT_CHECKED or (enabled and answer.state is RunState.OFF):
        return NOT_CHECKED

    return answer.state.value
