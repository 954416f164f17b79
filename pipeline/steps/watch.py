"""Asks the org, with one API call for all objects, whether there is anything to do (D7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pipeline.core.configuration.configuration import Settings
from pipeline.core.configuration.running import RunState, running
from pipeline.core.limit.windows import LAG, OVERLAP, local_time_on, newest_daily_pull
from pipeline.steps.clients import Clients
from pipeline.steps.pull import probes, seen
from resources.ledger.objects import ObjectState
from resources.salesforce.errors import QueriesRefused, SalesforceError

JobName = Literal["pull", "daily_pull", "score_and_push"]
DAILY_PULL_GRACE: Final = timedelta(minutes=10)
"""How long the schedule has the daily pull to itself before the sensor makes it up (R17)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A run that should be launched: which job on which object, and why.

    `situation` names what was seen: while it stays the same, the same run is asked for again only after a pause.
    Where one job has several occasions, `topic` tells them apart: the pause of one holds up no other.
    """

    object: str
    job: JobName
    why: str
    situation: str
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """The runs to ask for, an object's most urgent first, and for each other object why there is none."""

    asks: tuple[Ask, ...]
    skips: Mapping[str, str]
    unchanged: tuple[str, ...] = ()
    """The objects that the org was asked about and has nothing new of."""


def watch(clients: Clients) -> Watched:
    """Decide for every object what to run now; at most one API call, none where the budget is used up."""
    states = clients.ledger.objects.all()
    asks: list[Ask] = []
    skips: dict[str, str] = {}
    questions: dict[str, ObjectState] = {}
    for name in clients.configuration.objects:
        ask = _from_ledger(clients, name, states.get(name))
        if isinstance(ask, str):
            skips[name] = ask
            continue
        if ask is not None:
            asks.append(ask)
        if name in states:
            questions[name] = states[name]
    answered = _ask_org(clients, questions, asks, skips) if questions else []
    pulled = {ask.object for ask in asks if ask.job == "pull"}
    return Watched(tuple(asks), skips, tuple(n for n in answered if n not in pulled))


def _from_ledger(clients: Clients, name: str, state: ObjectState | None) -> Ask | str | None:
    """Return what the ledger alone says: a run, a reason to skip, or None.

    A daily pull that is asked for does not keep the org from being asked: should it fail, the pulls go on.
    """
    now = clients.now()
    if state is None:
        exhausted = clients.budget.exhausted()
        return str(exhausted) if exhausted else Ask(name, "pull", "the object is new here", "first")
    holder = clients.ledger.leases.holder(name, now)
    if holder:
        return f"run {holder[:8]} is working on it"
    resting = _why_none_runs(clients, name)
    if resting:
        return resting
    if (
        daily_pull_missed(clients.configuration.settings, state, now)
        and not clients.budget.exhausted()
    ):
        return Ask(
            name,
            "daily_pull",
            "today's daily pull is not in yet",
            f"daily {clients.today} after {state.daily_pulled_on}",
        )
    return None


def _why_none_runs(clients: Clients, object_name: str) -> str | None:
    """Say why no integration of the object runs now; None where one does, or old values are to go."""
    known = clients.ledger.integrations.all()
    holds = clients.ledger.holds.all()
    integrations = clients.configuration.of_object(object_name)
    answers = [running(known.get(i.key), holds.get(i.market), clients.now()) for i in integrations]
    if any(answer.runs for answer in answers):
        return None

    if clients.configuration.retired_of_object(object_name):
        return None

    held, others = [], []
    for integration, answer in zip(integrations, answers, strict=True):
        if answer.state is RunState.HELD and answer.next_look:
            held.append(
                f"market {integration.market} is held ({answer.why}) "
                f"until {answer.next_look:%H:%M} UTC"
            )
        else:
            is_paused = answer.state is RunState.PAUSED
            others.append(f"{integration.name} is {'paused' if is_paused else 'not ready'}")
    advice = "see the checks of salesforce_changed_records, or `insights check`"
    return "; ".join([*held, *others, *([advice] if others else [])])


def daily_pull_missed(settings: Settings, state: ObjectState, now: datetime) -> bool:
    """Say whether the newest daily pull that should be in is not (R17); one of before the turning on is none."""
    day = newest_daily_pull(now - DAILY_PULL_GRACE, settings.daily_pull_time, settings.zone)
    today = now.astimezone(settings.zone).date()
    at = local_time_on(day, settings.daily_pull_time, settings.zone)
    if day < today and state.turned_on_at > at:
        return False
    return state.daily_pulled_on is None or state.daily_pulled_on < day


def _ask_org(
    clients: Clients, questions: Mapping[str, ObjectState], asks: list[Ask], skips: dict[str, str]
) -> list[str]:
    """Ask what is new, add what is to be done, and return the objects that the org told of."""
    exhausted = clients.budget.exhausted()
    asked = exhausted is None
    queries: dict[str, str] = {}
    for state in questions.values():
        queries |= _probes(clients, state)
    answers: Mapping[str, Any] = {}
    try:
        answers = clients.org.ask(queries) if asked else {}
    except QueriesRefused as refused:
        answers = refused.answers
    except SalesforceError as error:
        # What the ledger asks for stands; the others wait for the org.
        skips |= dict.fromkeys(questions, str(error))
        return []
    answered = [n for n in questions if any(q.startswith(f"{n} by ") for q in answers)]
    if answered:
        clients.ledger.objects.note_asked(answered, clients.now())
    for name, state in questions.items():
        pull = _pull_ask(clients, state, answers) if asked else None
        found = [*([pull] if pull else ()), *_waiting_asks(clients, name)]
        asks += found
        if not found:
            skips[name] = _nothing(clients, name, str(exhausted or "nothing new"))
    return answered


def _pull_ask(clients: Clients, state: ObjectState, answers: Mapping[str, Any]) -> Ask | None:
    """Return the pull that the org's answers call for.

    A refused question calls for one as well: its preflight finds out what the user may no longer read. So does
    the end of the overlap after records were seen: a late commit may have changed neither count nor newest stamp.
    """
    name = state.object
    if not any(question.startswith(f"{name} by ") for question in answers):
        return Ask(name, "pull", "the org refuses the question what changed", "refused")
    count, newest = seen(name, answers)
    if (count, newest) != (state.seen_count or 0, state.seen_newest):
        return Ask(name, "pull", f"{count} records changed lately", f"{count} {newest}")
    if state.seen_count and state.pulled_at and clients.now() >= state.pulled_at + OVERLAP + LAG:
        return Ask(name, "pull", "a last look for late commits", f"late {state.watermark}")
    return None


def _probes(clients: Clients, state: ObjectState) -> dict[str, str]:
    account_changes = any(i.account_changes for i in clients.configuration.of_object(state.object))
    since = max(state.watermark - OVERLAP, state.turned_on_at)
    return probes(state.object, account_changes, since)


def _waiting_asks(clients: Clients, name: str) -> Iterator[Ask]:
    """Yield the runs that finish segments and that score what waits; each has pauses of its own.

    A push that has begun is finished whatever is left of the budget (R21), but not while the org itself refuses.
    """
    exhausted = clients.budget.exhausted()
    unfinished = clients.ledger.segments.unfinished(name)
    begun = any(clients.ledger.push_jobs.of_segment(segment.segment_id) for segment in unfinished)
    if unfinished and (not exhausted or (begun and not clients.budget.org_refuses)):
        segment_id = unfinished[0].segment_id
        yield Ask(name, "score_and_push", "a segment is unfinished", segment_id, "unfinished")
    if not exhausted:
        yield from _claimable(clients, name)


def _claimable(clients: Clients, name: str) -> Iterator[Ask]:
    """Yield the run that scores what waits, where the day's limit allows any of it."""
    allowed = clients.ledger.days.allowed(name, clients.day_facts())
    if allowed.total == 0:
        return
    used = clients.ledger.days.use(
        clients.today, clients.configuration.settings.daily_record_limit
    ).used
    yield Ask(
        name,
        "score_and_push",
        f"{allowed.total} waiting records may be scored",
        f"{clients.today} {used}",
        "waiting",
    )


def _nothing(clients: Clients, name: str, why: str) -> str:
    """Say why there is nothing to do, as an operator would want to hear it."""
    settings = clients.configuration.settings
    waiting = clients.ledger.waiting.count(name)
    use = clients.ledger.days.use(clients.today, settings.daily_record_limit)
    parts = [why]
    if waiting and use.remaining == 0:
        parts.append(
            f"{waiting} waiting; today's limit of {use.cap} is reached, goes on at midnight {settings.time_zone}"
        )
    elif waiting:
        parts.append(f"{waiting} waiting for their share of the day or their next try")
    return "; ".join(parts)
