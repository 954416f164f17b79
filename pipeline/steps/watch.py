"""Asks the org, with one API call for all objects, whether there is anything to do (D7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pipeline.core.configuration.running import BROKEN, IntegrationState, RunState, running
from pipeline.core.configuration.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.core.limit.windows import LAG, OVERLAP, day_of, local_time_on, newest_daily_pull
from pipeline.steps.changed_files import why_it_waits
from pipeline.steps.clients import Clients
from pipeline.steps.pull import probes, seen
from resources.ledger.objects import ObjectState
from resources.salesforce.errors import QueriesRefused, SalesforceError, SignInRefused

JobName = Literal["pull", "daily_pull", "score_and_push"]

DAILY_PULL_GRACE: Final = timedelta(minutes=10)
"""How long the schedule has the daily pull to itself before the sensor catches it up (R17)."""


@dataclass(frozen=True, slots=True)
class WantedRun:
    """A run that should be launched: which job on which object, and why.

    `situation` names what was found. While it stays the same, the same run is wanted again only
    after a pause. Where one job has several occasions, `topic` distinguishes them: the pause of one
    does not hold up another.
    """

    object: str
    job: JobName
    why: str
    situation: str
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """The runs that are wanted, an object's most urgent first.

    `skips` says for each other object why there is none. `unchanged` are the objects that the org
    was asked about and has nothing new of.
    """

    wanted: tuple[WantedRun, ...]
    skips: Mapping[str, str]
    unchanged: tuple[str, ...] = ()


def watch(clients: Clients) -> Watched:
    """Decide for every object what to run now.

    Makes one API call at most, and none where the budget is used up.
    """
    states = clients.ledger.objects.all()
    wanted: list[WantedRun] = []
    skips: dict[str, str] = {}
    to_ask: dict[str, ObjectState] = {}

    for object_name in clients.configuration.objects:
        found = _from_ledger(clients, object_name, states.get(object_name))
        if isinstance(found, str):
            skips[object_name] = found
            continue

        if found is not None:
            wanted.append(found)
        # The org is asked even where a daily pull is wanted: should that fail again and again,
        # changes are pulled all the same.
        if object_name in states:
            to_ask[object_name] = states[object_name]

    answered = _ask_org(clients, to_ask, wanted, skips) if to_ask else []
    changed = {run.object for run in wanted if run.job == "pull"}
    return Watched(tuple(wanted), skips, tuple(n for n in answered if n not in changed))


def _from_ledger(
    clients: Clients, object_name: str, state: ObjectState | None
) -> WantedRun | str | None:
    """Return what the ledger alone shows: a run, a reason to skip the object, or None."""
    now = clients.now()
    exhausted = clients.budget.exhausted()
    if state is None:
        if exhausted:
            return str(exhausted)
        return WantedRun(object_name, "pull", "the object is new here", "first")

    holder = clients.ledger.leases.holder(object_name, now)
    if holder:
        return f"run {holder[:8]} is working on it"

    why_it_waits = _why_it_waits(clients, object_name)
    if why_it_waits:
        return why_it_waits

    why_none_runs = _why_none_runs(clients, object_name)
    if why_none_runs:
        return why_none_runs

    if not exhausted and _any_readable_again(clients, object_name):
        why = "a file that was wrong can be used again"
        return WantedRun(object_name, "pull", why, f"readable {state.watermark}", topic="readable")

    if daily_pull_missed(clients.configuration.settings, state, now) and not exhausted:
        return WantedRun(
            object_name,
            "daily_pull",
            "today's daily pull is not in yet",
            f"daily {clients.today} after {state.daily_pulled_on}",
        )
    return None


def _why_none_runs(clients: Clients, object_name: str) -> str | None:
    """Return why no integration of the object runs; None if one does, or old values are to go."""
    known = clients.ledger.integrations.all()
    holds = clients.ledger.holds.all()
    integrations = clients.configuration.of_object(object_name)

    answers = [running(known.get(i.key), holds.get(i.market), clients.now()) for i in integrations]
    if any(answer.runs for answer in answers):
        return None

    if any(_is_readable_again(known.get(i.key)) for i in integrations):
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

    broken = clients.configuration.broken_of_object(object_name)
    others += [
        f"{b.name} is not ready ({BROKEN}{problem})" for b in broken for problem in b.problems
    ]
    advice = "see the checks of salesforce_changed_records, or `insights check`"
    return "; ".join([*held, *others, *([advice] if others else [])])


def _why_it_waits(clients: Clients, object_name: str) -> str | None:
    try:
        return why_it_waits(clients, object_name)
    except ConfigurationError as error:
        return str(error)


def _any_readable_again(clients: Clients, object_name: str) -> bool:
    """Say whether an integration rests only since its file was wrong, and the file is right now."""
    known = clients.ledger.integrations.all()
    integrations = clients.configuration.of_object(object_name)
    return any(_is_readable_again(known.get(i.key)) for i in integrations)


def _is_readable_again(known: IntegrationState | None) -> bool:
    # Asked of integrations that can be read: those that cannot are no part of the configuration.
    return known is not None and (known.not_ready or "").startswith(BROKEN) and not known.paused_at


def daily_pull_missed(settings: Settings, state: ObjectState, now: datetime) -> bool:
    """Say whether the newest daily pull that should be in is not (R17).

    One that was due before the object was turned on is not missed.
    """
    day = newest_daily_pull(now - DAILY_PULL_GRACE, settings.daily_pull_time, settings.zone)
    today = day_of(now, settings.zone)
    due_at = local_time_on(day, settings.daily_pull_time, settings.zone)
    if day < today and state.turned_on_at > due_at:
        return False

    return state.daily_pulled_on is None or state.daily_pulled_on < day


def _ask_org(
    clients: Clients,
    to_ask: Mapping[str, ObjectState],
    wanted: list[WantedRun],
    skips: dict[str, str],
) -> list[str]:
    """Ask what is new and add to `wanted` and `skips`.

    Returns the objects that the org answered for.
    """
    exhausted = clients.budget.exhausted()
    queries: dict[str, str] = {}
    for state in to_ask.values():
        queries |= _probes(clients, state)

    answers: Mapping[str, Any] = {}
    try:
        answers = {} if exhausted else clients.org.ask(queries)
    except QueriesRefused as refused:
        # One object's refused question does not cost the others their answers.
        answers = refused.answers
    except SignInRefused as refused:
        # Every run would meet the same refusal, and none is asked for that only fails.
        wanted.clear()
        skips |= dict.fromkeys(clients.configuration.objects, str(refused))
        return []
    except SalesforceError as error:
        # What the ledger asks for remains wanted; all else waits for the org.
        skips |= dict.fromkeys(to_ask, str(error))
        return []

    answered = [n for n in to_ask if any(q.startswith(f"{n} by ") for q in answers)]
    if answered:
        clients.ledger.objects.note_asked(answered, clients.now())

    for object_name, state in to_ask.items():
        pull = None if exhausted else _pull_wanted(clients, state, answers)
        found = [*([pull] if pull else ()), *_scoring_wanted(clients, object_name)]
        wanted += found
        if not found:
            skips[object_name] = _why_nothing(clients, object_name, str(exhausted or "nothing new"))

    return answered


def _pull_wanted(
    clients: Clients, state: ObjectState, answers: Mapping[str, Any]
) -> WantedRun | None:
    """Return the pull that the org's answers call for, if any.

    A refused question calls for one as well: its preflight finds out what the user may no longer
    read.
    """
    object_name = state.object
    if not any(question.startswith(f"{object_name} by ") for question in answers):
        why = "the org refuses the question what changed"
        return WantedRun(object_name, "pull", why, "refused")

    count, newest = seen(object_name, answers)
    # Windows overlap: records that were pulled are found again, so only other figures mean news.
    if (count, newest) != (state.seen_count or 0, state.seen_newest):
        why = f"{count} records changed lately"
        return WantedRun(object_name, "pull", why, f"{count} {newest}")

    # A late commit may change neither the count nor the newest stamp. So records that were seen are
    # read once more when the overlap behind them is over.
    if state.seen_count and state.pulled_at and clients.now() >= state.pulled_at + OVERLAP + LAG:
        why = "a last look for late commits"
        return WantedRun(object_name, "pull", why, f"late {state.watermark}")

    return None


def _probes(clients: Clients, state: ObjectState) -> dict[str, str]:
    account_changes = any(i.account_changes for i in clients.configuration.of_object(state.object))
    since = max(state.watermark - OVERLAP, state.turned_on_at)
    return probes(state.object, account_changes, since)


def _scoring_wanted(clients: Clients, object_name: str) -> Iterator[WantedRun]:
    """Yield the runs that finish segments and that score what waits; each has pauses of its own.

    A push that has begun is finished however little remains of the budget (R21), but not while the
    org itself refuses calls.
    """
    exhausted = clients.budget.exhausted()
    unfinished = clients.ledger.segments.unfinished(object_name)
    begun = any(clients.ledger.push_jobs.of_segment(segment.segment_id) for segment in unfinished)

    if unfinished and (not exhausted or (begun and not clients.budget.org_refuses)):
        situation = unfinished[0].segment_id
        why = "a segment is unfinished"
        yield WantedRun(object_name, "score_and_push", why, situation, topic="unfinished")

    if not exhausted:
        yield from _claim_wanted(clients, object_name)


def _claim_wanted(clients: Clients, object_name: str) -> Iterator[WantedRun]:
    """Yield the run that scores what waits, where the day's limit allows any of it."""
    allowed = clients.ledger.days.allowed(object_name, clients.day_facts())
    if allowed.total == 0:
        return

    limit = clients.configuration.settings.daily_record_limit
    used = clients.ledger.days.use(clients.today, limit).used
    yield WantedRun(
        object_name,
        "score_and_push",
        f"{allowed.total} waiting records may be scored",
        f"{clients.today} {used}",
        topic="waiting",
    )


def _why_nothing(clients: Clients, object_name: str, why: str) -> str:
    """Return why there is nothing to do, with what waits and for what, for an operator."""
    settings = clients.configuration.settings
    waiting = clients.ledger.waiting.count(object_name)
    use = clients.ledger.days.use(clients.today, settings.daily_record_limit)

    parts = [why]
    if waiting and use.remaining == 0:
        parts.append(
            f"{waiting} waiting; today's limit of {use.cap} is reached, goes on at midnight {settings.time_zone}"
        )
    elif waiting:
        parts.append(f"{waiting} waiting for their share of the day or their next try")
    return "; ".join(parts)
