"""Holds the configuration against the org, and turns on what is ready (R1, R9 to R12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.core.configuration.integration import PARENT_PREFIX, Integration
from pipeline.core.errors import ConfigurationError, NotReady
from pipeline.core.org_fit.preflight import Problem, org_problems
from pipeline.core.scoring.scope import ScoringScope
from pipeline.steps.clients import Clients
from pipeline.steps.setting_up.org import check_environment, connected_org
from resources.ledger.holds import Hold
from resources.ledger.state import IntegrationState


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found: the integrations that may run, and every problem by integration."""

    ready: tuple[Integration, ...]
    found: tuple[tuple[Integration, tuple[Problem, ...]], ...]

    def of(self, integration: Integration) -> tuple[Problem, ...]:
        """Return the problems of one integration, errors first, field types foremost."""
        return next((problems for i, problems in self.found if i.name == integration.name), ())

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return all problems."""
        return tuple(problem for _, problems in self.found for problem in problems)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Return the problems that hold an integration back."""
        return tuple(p for p in self.problems if p.severity == "error")


def check(
    clients: Clients, names: Sequence[str] | None = None, *, record: bool = True
) -> Preflight:
    """Check all integrations of the objects `names` (default: all), and record which run.

    One describe an object, whatever the number of fields. An integration that is not ready does not stop
    the others. Without `record` nothing is written: no new mapping is rolled out, no object turned on.
    """
    settings = clients.configuration.settings
    clients.models.warm()
    if clients.ledger.state.org_id() is None:
        check_environment(settings.environment, connected_org(clients.org))
    if record:
        clients.ledger.state.connect_org(
            clients.org.org_id, settings.environment, clients.now(), clients.org.instance_url
        )
    wanted = [
        i
        for i in clients.configuration.integrations
        if i.enabled and (names is None or i.object in names)
    ]
    found = tuple((integration, _problems(clients, integration)) for integration in wanted)
    reasons: dict[tuple[str, str], str | None] = {}
    for integration, problems in found:
        errors = [str(p) for p in problems if p.severity == "error"]
        reasons[integration.object, integration.market] = "\n".join(errors) or None
    if record:
        _record(clients, reasons, names)
    ready = tuple(i for i, _ in found if reasons[i.object, i.market] is None)
    return Preflight(ready, found)


def _problems(clients: Clients, integration: Integration) -> tuple[Problem, ...]:
    """Hold one integration against the org's describes, and load its model."""
    market = clients.configuration.markets[integration.market]
    needed = {integration.object, *_parents(integration)}
    problems = org_problems(integration, market, {name: clients.describe(name) for name in needed})
    try:
        clients.models.get(market)
    except ConfigurationError as error:
        remedy = "Mend the file; the other markets run."
        problems += [
            Problem("error", integration.name, problem, remedy) for problem in error.problems
        ]
    return tuple(sorted(problems, key=lambda problem: problem.order))


def _parents(integration: Integration) -> set[str]:
    paths = [*integration.inputs.values(), *integration.important_fields]
    return {"Account" for path in paths if path.startswith(PARENT_PREFIX)}


def _record(
    clients: Clients, reasons: dict[tuple[str, str], str | None], names: Sequence[str] | None
) -> None:
    """Write down fingerprints and readiness; objects that were not looked at keep theirs."""
    configuration = clients.configuration
    wanted: dict[tuple[str, str], tuple[str, str | None]] = {
        (i.object, i.market): (
            i.fingerprint(configuration.markets[i.market]),
            reasons[i.object, i.market],
        )
        for i in configuration.integrations
        if (i.object, i.market) in reasons
    }
    if names is not None:
        known = clients.ledger.state.integrations()
        wanted |= {
            (i.object, i.market): (
                known[i.object, i.market].fingerprint,
                known[i.object, i.market].not_ready,
            )
            for name in configuration.objects
            if name not in names
            for i in configuration.integrations
            if i.enabled and i.object == name and (i.object, i.market) in known
        }
    outputs: dict[tuple[str, str], Sequence[str]] = {
        (i.object, i.market): tuple(i.outputs.values())
        for i in configuration.integrations
        if i.enabled
    }
    clients.ledger.state.record_integrations(wanted, clients.now(), outputs)
    on = {name for (name, _), reason in reasons.items() if reason is None}
    missing = sorted(on - set(clients.ledger.state.objects()))
    if missing:
        clients.ledger.state.turn_on(missing, clients.org.org_now())


def scope_of(clients: Clients, name: str, *, record: bool = True) -> ScoringScope:
    """Return how the object is scored now; raise NotReady where no integration of it may run.

    A market that failed as a whole rests until its trial is due (R23). Without `record`, what is new or changed
    is taken as turned on now, and nothing is written.
    """
    preflight = check(clients, [name], record=record)
    states = clients.ledger.state.integrations()
    holds = clients.ledger.holds.all()

    def is_paused(integration: Integration) -> bool:
        state = states.get((integration.object, integration.market))
        return state is not None and state.paused_at is not None

    def runs(integration: Integration) -> bool:
        hold = holds.get(integration.market)
        held = hold is not None and hold.retry_at > clients.now()
        return integration in preflight.ready and not is_paused(integration) and not held

    switched_on = clients.configuration.of_object(name)
    running = tuple(i for i in switched_on if runs(i))
    left = _left(clients, name, states)
    if not running and not left:
        raise NotReady(_why_none_runs(name, preflight, switched_on, holds))
    resting = tuple(i for i in switched_on if i not in running)
    known = clients.ledger.state.objects().get(name)
    return ScoringScope(
        object=name,
        integrations=running,
        resting=resting,
        held=tuple(
            i for i in resting if i in preflight.ready and i.market in holds and not is_paused(i)
        ),
        markets={i.market: clients.configuration.markets[i.market] for i in running},
        describes={**clients.describes, name: clients.describe(name)},
        turned_on_at=known.turned_on_at if known else clients.org.org_now(),
        enabled_at={i.market: _enabled_at(clients, i, states) for i in running},
        left=left,
        left_fields=_left_fields(clients, running, states),
    )


def _enabled_at(
    clients: Clients,
    integration: Integration,
    states: Mapping[tuple[str, str], IntegrationState],
) -> datetime:
    """Return when the integration as it is written was turned on: now, where the ledger does not know it yet."""
    state = states.get((integration.object, integration.market))
    fingerprint = integration.fingerprint(clients.configuration.markets[integration.market])
    if state is None or state.enabled_at is None or state.fingerprint != fingerprint:
        return clients.now()
    return state.enabled_at


def _left(
    clients: Clients, name: str, states: Mapping[tuple[str, str], IntegrationState]
) -> tuple[Integration, ...]:
    """Return the integrations that ran once, are switched off, and whose values are to be cleared (R19)."""
    once = [
        i for i in clients.configuration.retired_of_object(name) if (i.object, i.market) in states
    ]
    return tuple(i for i in once if all(_writable(clients, name, f) for f in i.outputs.values()))


def _left_fields(
    clients: Clients,
    running: Sequence[Integration],
    states: Mapping[tuple[str, str], IntegrationState],
) -> dict[str, tuple[str, ...]]:
    """Return by market the fields that its mapping has lost and that are to be cleared (R19)."""
    found: dict[str, tuple[str, ...]] = {}
    for integration in running:
        state = states.get((integration.object, integration.market))
        fields = (state.left_fields if state else None) or ""
        names = tuple(
            f for f in fields.split(",") if f and _writable(clients, integration.object, f)
        )
        if names and integration.old_values == "clear":
            found[integration.market] = names
    return found


def _writable(clients: Clients, name: str, field: str) -> bool:
    described = clients.describe(name).fields.get(field)
    return described is not None and described.updateable


def _why_none_runs(
    name: str,
    preflight: Preflight,
    switched_on: Sequence[Integration],
    holds: Mapping[str, Hold],
) -> str:
    held = [holds[i.market] for i in switched_on if i.market in holds]
    lines = [str(problem) for problem in preflight.errors]
    lines += [
        f"market {hold.market} failed as a whole ({hold.reason}); tried again at {hold.retry_at:%Y-%m-%d %H:%M} UTC."
        for hold in held
    ]
    return "\n".join([f"{name}: no integration can run.", *lines])
