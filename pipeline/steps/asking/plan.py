"""Says what waits and until when, and what a new or changed mapping would make due (R27)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from pipeline.core.configuration.integration import Integration
from pipeline.core.configuration.running import RunState, running
from pipeline.core.limit.pace import WaitingCount, days_needed, in_flight_of, last_day, pace_warning
from pipeline.core.limit.shares import lane_of
from pipeline.core.scoring.due import Lane
from pipeline.core.scoring.scope import scorable
from pipeline.core.soql import AllOf, AnyOf, Compare, Condition, select
from pipeline.steps.clients import Clients
from pipeline.steps.pull import count_stale

QUERIES_PER_CALL: Final = 5
NOT_COUNTED: Final = "not counted: "
"""Begins the warning about a file that is wrong."""


@dataclass(frozen=True, slots=True)
class IntegrationPlan:
    """What is to come of one integration.

    `records` are its candidates in the org, `due` those that it makes due. `change` says why: new,
    changed, off (as if it were switched on now), or none.
    """

    integration: str
    change: str
    records: int
    due: int
    days: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What waits in the ledger, and all there is to do.

    `to_do` includes what daily pulls will list, and what new or changed integrations make due.
    """

    day: date
    limit: int
    left_today: int
    waiting: list[dict[str, Any]]
    waiting_total: int
    waiting_done_on: date | None
    integrations: list[IntegrationPlan]
    to_do: int
    all_done_on: date | None
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def plan(clients: Clients) -> Plan:
    """Count what waits and what is to come.

    Takes an API call for five integrations, and two or three for each object. Integrations that are
    switched off are counted as if they were switched on now.
    """
    settings = clients.configuration.settings
    limit = settings.daily_record_limit
    remaining = clients.ledger.days.use(clients.today, limit).remaining
    waiting = clients.ledger.waiting.summary(clients.now())
    total = sum(row.records for row in waiting)

    mapped = [i for i in clients.configuration.integrations if i.is_mapped]
    objects = sorted({i.object for i in mapped if i.enabled})
    candidates = _count_candidates(clients, mapped, objects)
    plans = [_integration_plan(clients, i, candidates[i.name], limit) for i in mapped]

    # Part of what waits is too old as well, so the larger of the two is what there is to do.
    to_do = max(total, sum(_to_do(clients, object_name, waiting) for object_name in objects))
    records = sum(candidates[object_name] for object_name in objects)
    pace = pace_warning(records, limit, settings.refresh_period_days)

    return Plan(
        day=clients.today,
        limit=limit,
        left_today=remaining,
        waiting=[asdict(count) for count in waiting],
        waiting_total=total,
        waiting_done_on=last_day(clients.today, total, remaining, limit, in_flight_of(waiting)),
        integrations=plans,
        to_do=to_do,
        all_done_on=last_day(clients.today, to_do, remaining, limit),
        warnings=[*([pace] if pace else []), *_not_ready(clients), *_not_counted(clients)],
    )


def _not_ready(clients: Clients) -> Iterator[str]:
    """Yield which integrations are not ready, since when, and when they are looked at again."""
    known = clients.ledger.integrations.all()
    for integration in clients.configuration.integrations:
        state = known.get(integration.key)
        answer = running(
            state, None, clients.now(), enabled=integration.enabled, mapped=integration.is_mapped
        )
        if answer.state is RunState.NOT_READY and state is not None:
            yield f"{integration.name} is {answer.describe_not_ready()}: {'; '.join(answer.why.splitlines())}"


def _not_counted(clients: Clients) -> list[str]:
    """Return the mistakes that keep integrations out of the plan, a line each."""
    return [f"{NOT_COUNTED}{problem}" for problem in clients.configuration.problems]


def _to_do(clients: Clients, object_name: str, waiting: Sequence[WaitingCount]) -> int:
    """Return how many records of the object are to be scored.

    They are what waits, or more where more is too old than waits for that.
    """
    own = [row for row in waiting if row.object == object_name]
    changes = sum(row.records for row in own if lane_of(row.reason) is Lane.CHANGES)
    refresh = sum(row.records for row in own) - changes

    return changes + max(refresh, count_stale(clients, object_name))


def _count_candidates(
    clients: Clients, integrations: Sequence[Integration], objects: Sequence[str]
) -> dict[str, int]:
    """Count the candidates of each integration by its name, and of each object by its name.

    An object's candidates are those of any of its integrations that is on.
    """
    queries = {
        i.name: select(["COUNT(Id) n"], i.object, _all_of(_conditions(clients, i)))
        for i in integrations
    }
    # Not the sum of its integrations: a record may be a candidate of several.
    for object_name in objects:
        own = [i for i in integrations if i.object == object_name and i.enabled]
        where = _any_of([_conditions(clients, i) for i in own])
        queries[object_name] = select(["COUNT(Id) n"], object_name, where)

    counted: dict[str, int] = {}
    for part in _parts(list(queries.items())):
        answers = clients.org.ask(dict(part))
        counted |= {name: int(rows[0]["n"]) for name, rows in answers.items()}
    return counted


def _parts(queries: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    for start in range(0, len(queries), QUERIES_PER_CALL):
        yield queries[start : start + QUERIES_PER_CALL]


def _conditions(clients: Clients, integration: Integration) -> list[Condition]:
    """Return the conditions on an integration's candidates, without what is left alone (R25)."""
    conditions: list[Condition] = [*scorable(clients.describe(integration.object))]
    if integration.candidate_field:
        conditions.append(Compare(integration.candidate_field, "=", True))
    return conditions


def _all_of(conditions: Sequence[Condition]) -> Condition | None:
    return AllOf(conditions) if conditions else None


def _any_of(groups: Sequence[Sequence[Condition]]) -> Condition | None:
    """Return the condition that one of the groups is met; None where a group admits all records."""
    return AnyOf([AllOf(group) for group in groups]) if all(groups) else None


def _integration_plan(
    clients: Clients, integration: Integration, records: int, limit: int
) -> IntegrationPlan:
    market = clients.configuration.markets[integration.market]
    states = clients.ledger.integrations.all()
    state = states.get(integration.key)

    if not integration.enabled:
        change, due = "off; if switched on", records
    elif state is None or state.enabled_at is None:
        change, due = "new", records
    elif state.fingerprint != integration.fingerprint(market):
        change, due = "changed mapping or model", records
    else:
        change, due = "none", 0

    return IntegrationPlan(integration.name, change, records, due, days_needed(due, limit))
