"""Checks the configuration against the org, rolls out what is ready, says how an object is scored.

Three steps that were one: `check` reads, `roll_out` writes, `scope_of` reads (R1, R9 to R12).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pipeline.core.configuration.configuration import BrokenIntegration
from pipeline.core.configuration.integration import PARENT_PREFIX, Integration
from pipeline.core.configuration.running import (
    BROKEN,
    IntegrationKey,
    IntegrationState,
    Running,
    RunState,
    as_checked,
    held_in_words,
    running,
)
from pipeline.core.errors import ConfigurationError, NotReady
from pipeline.core.org_fit.preflight import CORRECT, Preflight, Problem, org_problems
from pipeline.core.scoring.scope import ScoringScope
from pipeline.steps.changed_files import (
    MISSING,
    changes,
    has_stood,
    refuse_anothers_rollout,
    rolled_out_by_another,
    why_it_waits,
)
from pipeline.steps.clients import Clients
from pipeline.steps.setting_up.org import check_environment, connected_org


def check(clients: Clients, object_names: Sequence[str] | None = None) -> Preflight:
    """Check all integrations of the objects (default: all) against the org; nothing is written.

    One describe an object, whatever the number of fields. An integration that is not ready does not
    stop the others.
    """
    configuration = clients.configuration
    settings = configuration.settings
    clients.models.warm()
    if clients.ledger.org.id() is None:
        check_environment(settings.environment, connected_org(clients.org))

    wanted = [
        i
        for i in configuration.integrations
        if i.enabled and (object_names is None or i.object in object_names)
    ]
    broken = [
        b
        for b in configuration.broken
        if object_names is None or (b.readable and b.readable.object in object_names)
    ]
    told = {text for one in configuration.broken for text in one.problems}
    others = [text for text in configuration.problems if text not in told]

    return Preflight(
        tuple((i, _problems(clients, i)) for i in wanted),
        tuple(broken),
        tuple(others if object_names is None else ()),
    )


def _problems(clients: Clients, integration: Integration) -> tuple[Problem, ...]:
    """Check one integration against the org's describes, and load its model."""
    market = clients.configuration.markets[integration.market]
    needed = {integration.object, *_parents(integration)}
    problems = org_problems(integration, market, {name: clients.describe(name) for name in needed})

    try:
        clients.models.get(market)
    except ConfigurationError as error:
        problems += [
            Problem("error", integration.name, problem, CORRECT) for problem in error.problems
        ]

    return tuple(sorted(problems, key=lambda problem: problem.order))


def _parents(integration: Integration) -> set[str]:
    paths = [*integration.inputs.values(), *integration.important_fields]
    return {"Account" for path in paths if path.startswith(PARENT_PREFIX)}


def roll_out(clients: Clients, preflight: Preflight, *, at_once: bool = True) -> None:
    """Record what was checked: which integrations run from now on, and the org that they run on.

    A new or changed one counts as turned on now (R17). Integrations that were not checked keep
    their readiness. An object that runs for the first time begins its pulls now (R16). A person who
    asks for it means what stands in the files now (`at_once`); else one whose file is missing is
    switched off once that stood for two looks.

    Raises:
        ConfigurationError: Another deployment rolled out lately what this one would change.
    """
    ledger, now = clients.ledger, clients.now()
    ledger.org.connect(
        clients.org.org_id,
        clients.configuration.settings.environment,
        now,
        clients.org.instance_url,
    )

    known = ledger.integrations.all()
    checked = {
        integration.key: (_fingerprint(clients, integration), preflight.why_not_ready(integration))
        for integration, _ in preflight.found
    }
    seen = changes(clients, known)
    own = {k: look for k, look in seen.items() if k in checked or (at_once and look == MISSING)}
    refuse_anothers_rollout(clients, known, own)

    # What cannot be read is neither switched off nor rolled out: its state stays, and it rests.
    broken = _broken_integrations(clients, known)
    checked |= {key: (known[key].fingerprint, why) for key, why in broken.items()}
    standing = _standing(clients, known, checked.keys())
    if not at_once:
        standing |= _still_looked_for(clients, known, seen)

    outputs: dict[IntegrationKey, Sequence[str]] = {
        i.key: tuple(i.outputs.values()) for i in clients.configuration.integrations if i.enabled
    }
    outputs = {key: known[key].outputs for key in (*broken, *standing)} | outputs
    ledger.integrations.roll_out(
        checked, now, outputs, standing=standing, deployment=clients.deployment
    )

    begun = ledger.objects.all()
    missing = sorted({i.object for i in preflight.ready} - set(begun))
    if missing:
        ledger.objects.turn_on(missing, clients.org_now())


def _broken_integrations(
    clients: Clients, known: Mapping[IntegrationKey, IntegrationState]
) -> dict[IntegrationKey, str]:
    """Return the integrations that were rolled out and cannot be read now, and why."""
    on = {key for key, state in known.items() if state.enabled_at or state.not_ready}
    return {
        b.key: f"{BROKEN}{'; '.join(b.problems)}"
        for b in clients.configuration.broken
        if b.key in on
    }


def _standing(
    clients: Clients,
    known: Mapping[IntegrationKey, IntegrationState],
    checked: Collection[IntegrationKey],
) -> set[IntegrationKey]:
    """Return the integrations whose state stays as it is: they were not checked.

    Where a broken file may be any integration's, none that is missing counts as switched off.
    """
    configuration = clients.configuration
    standing = {i.key for i in configuration.integrations if i.enabled} & known.keys()
    if any(broken.key is None for broken in configuration.broken):
        standing |= known.keys() - {i.key for i in configuration.integrations}
    return standing - set(checked)


def _still_looked_for(
    clients: Clients,
    known: Mapping[IntegrationKey, IntegrationState],
    seen: Mapping[IntegrationKey, str],
) -> set[IntegrationKey]:
    """Return the integrations whose file is missing, but not for long enough yet.

    What another deployment rolled out lately is not missing there.
    """
    anothers = rolled_out_by_another(clients, known, seen)
    missing = {
        key: look
        for key, look in seen.items()
        if look == MISSING and (key in anothers or not has_stood(known[key], look, clients))
    }
    if missing:
        clients.ledger.integrations.note_seen(missing, clients.now())
    return set(missing)


def check_and_roll_out(clients: Clients, object_names: Sequence[str] | None = None) -> Preflight:
    """Check the objects (default: all) and roll out what is ready; return what was found.

    It is what a person asks for: what was changed counts at once.
    """
    found = check(clients, object_names)
    roll_out(clients, found)
    return found


def check_once(clients: Clients, object_name: str) -> Preflight:
    """Return what this run found of the object; it is checked and rolled out once a run.

    Raises:
        NotReady: Its files were changed just now, and may be changed still.
        ConfigurationError: Another deployment rolled out lately what this one would change.
    """
    if object_name not in clients.checked:
        why = why_it_waits(clients, object_name)
        if why:
            raise NotReady(f"{object_name}: {why}.")

        found = check(clients, [object_name])
        roll_out(clients, found, at_once=False)
        clients.checked[object_name] = found
    return clients.checked[object_name]


def scope_of(clients: Clients, object_name: str, preflight: Preflight) -> ScoringScope:
    """Return how the object is scored now; raise NotReady where no integration of it may run.

    Before a rollout it is the scope that the rollout would make. A market that failed as a whole
    rests until its trial is due (R23).
    """
    integrations = clients.configuration.of_object(object_name)
    known = clients.ledger.integrations.all()
    states = {i.key: _as_checked(clients, i, known.get(i.key), preflight) for i in integrations}
    holds = clients.ledger.holds.all()
    answers = {
        i.key: running(states[i.key], holds.get(i.market), clients.now()) for i in integrations
    }

    active = tuple(i for i in integrations if answers[i.key].runs)
    broken = clients.configuration.broken_of_object(object_name)
    retired = _retired_integrations(clients, object_name, known)
    if not active and not retired:
        raise NotReady(_why_none_runs(object_name, integrations, answers, broken))

    # The digests that the hash field keeps for a broken one stay.
    once = _broken_integrations(clients, known)
    unread = tuple(b.readable for b in broken if b.readable and b.key in once)

    begun = clients.ledger.objects.all().get(object_name)
    return ScoringScope(
        object=object_name,
        integrations=active,
        resting=(*(i for i in integrations if i not in active), *unread),
        held=tuple(i for i in integrations if answers[i.key].state is RunState.HELD),
        markets={i.market: clients.configuration.markets[i.market] for i in active},
        describes={**clients.describes, object_name: clients.describe(object_name)},
        turned_on_at=begun.turned_on_at if begun else clients.org_now(),
        enabled_at={i.market: states[i.key].enabled_at or clients.now() for i in active},
        retired=retired,
        dropped_fields=_dropped_fields(clients, active, known),
    )


def _as_checked(
    clients: Clients,
    integration: Integration,
    known: IntegrationState | None,
    preflight: Preflight,
) -> IntegrationState:
    return as_checked(
        known,
        object_name=integration.object,
        market=integration.market,
        fingerprint=_fingerprint(clients, integration),
        not_ready=preflight.why_not_ready(integration),
        now=clients.now(),
    )


def _fingerprint(clients: Clients, integration: Integration) -> str:
    return integration.fingerprint(clients.configuration.markets[integration.market])


def _retired_integrations(
    clients: Clients, object_name: str, known: Mapping[IntegrationKey, IntegrationState]
) -> tuple[Integration, ...]:
    """Return the integrations that ran once, are switched off, and clear their values (R19)."""
    once = [i for i in clients.configuration.retired_of_object(object_name) if i.key in known]
    return tuple(
        i for i in once if all(_is_writable(clients, object_name, f) for f in i.outputs.values())
    )


def _dropped_fields(
    clients: Clients,
    active: Sequence[Integration],
    known: Mapping[IntegrationKey, IntegrationState],
) -> dict[str, tuple[str, ...]]:
    """Return by market the fields that its mapping has lost and that are to be cleared (R19)."""
    found: dict[str, tuple[str, ...]] = {}
    for integration in active:
        state = known.get(integration.key)
        fields = state.dropped_fields if state else ()
        names = tuple(f for f in fields if _is_writable(clients, integration.object, f))
        if names and integration.old_values == "clear":
            found[integration.market] = names
    return found


def _is_writable(clients: Clients, object_name: str, field: str) -> bool:
    described = clients.describe(object_name).fields.get(field)
    return described is not None and described.updateable


def _why_none_runs(
    object_name: str,
    integrations: Sequence[Integration],
    answers: Mapping[IntegrationKey, Running],
    broken: Sequence[BrokenIntegration],
) -> str:
    lines = [_why_not(i, answers[i.key]) for i in integrations]
    lines += [f"{b.name}: {BROKEN}{problem}" for b in broken for problem in b.problems]
    return "\n".join([f"{object_name}: no integration can run.", *filter(None, lines)])


def _why_not(integration: Integration, answer: Running) -> str:
    """Return why the integration does not run, as the message of a run says it."""
    if answer.state is RunState.NOT_READY:
        return answer.why

    if answer.state is RunState.HELD and answer.next_look is not None:
        return f"{held_in_words(integration.market, answer)}."

    return f"{integration.name} is paused." if answer.state is RunState.PAUSED else ""
