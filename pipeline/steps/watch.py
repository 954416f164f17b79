"""Asks the org, with one API call for all objects, whether there is anything to do (D7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pipeline.core.config import Settings
from pipeline.core.errors import BudgetExhausted
from pipeline.core.windows import LAG, OVERLAP, local_time_on, newest_daily_pull
from pipeline.steps.pull import probes, seen
from pipeline.steps.work import Work
from resources.ledger.state import ObjectState
from resources.salesforce.errors import QueriesRefused, SalesforceError

JobName = Literal["pull", "daily_pull", "score_and_push"]
DAILY_PULL_GRACE: Final = timedelta(minutes=10)
"""How long the schedule has the daily pull to itself before the sensor makes it up (R17)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A run that should be launched: which job on which object, and why.

    `situation` names what was seen: while it stays the same, the same run is asked for again only after a pause.
    """

    object: str
    job: JobName
    why: str
    situation: str


@dataclass(frozen=True, slots=True)
class Watched:
    """The runs to ask for, and for each other object why there is none."""

    asks: tuple[Ask, ...]
    skips: Mapping[str, str]


def watch(work: Work) -> Watched:
    """Decide for every object what to run now; at most one API call, none where the budget is used up."""
    states = work.ledger.state.objects()
    asks: list[Ask] = []
    skips: dict[str, str] = {}
    questions: dict[str, ObjectState] = {}
    for name in work.configuration.objects:
        ask = _from_ledger(work, name, states.get(name))
        if isinstance(ask, str):
            skips[name] = ask
            continue
        if ask is not None:
            asks.append(ask)
        if name in states:
            questions[name] = states[name]
    if questions:
        _ask_org(work, questions, asks, skips)
    return Watched(tuple(asks), skips)


def _from_ledger(work: Work, name: str, state: ObjectState | None) -> Ask | str | None:
    """Return what the ledger alone says: a run, a reason to skip, or None.

    A daily pull that is asked for does not keep the org from being asked: should it fail, the pulls go on.
    """
    now = work.now()
    if state is None:
        return Ask(name, "pull", "the object is new here", "first")
    holder = work.ledger.state.lease_holder(name, now)
    if holder:
        return f"run {holder[:8]} is working on it"
    resting = _why_none_runs(work, name)
    if resting:
        return resting
    if work.calls_left() == 0:
        return f"the daily API calls limit of {work.configuration.settings.daily_api_calls_limit} is used up"
    if daily_pull_missed(work.configuration.settings, state, now) and _may_pull(work):
        return Ask(name, "daily_pull", "today's daily pull is not in yet", f"daily {work.today}")
    return None


def _why_none_runs(work: Work, name: str) -> str | None:
    """Say why no integration of the object runs now; None where one does."""
    states = work.ledger.state.integrations()
    holds = work.ledger.holds.all()
    held = []
    for integration in work.configuration.of_object(name):
        state = states.get((integration.object, integration.market))
        if state is None or state.paused_at or state.not_ready or state.enabled_at is None:
            continue
        hold = holds.get(integration.market)
        if hold is None or hold.retry_at <= work.now():
            return None
        held.append(f"market {hold.market} is held ({hold.reason}) until {hold.retry_at:%H:%M} UTC")
    if work.configuration.left_of_object(name):
        return None
    return "; ".join(held) or "no integration is ready and not paused; see `insights check`"


def _may_pull(work: Work) -> bool:
    try:
        work.require_budget()
    except BudgetExhausted:
        return False
    return True


def daily_pull_missed(settings: Settings, state: ObjectState, now: datetime) -> bool:
    """Say whether the newest daily pull that should be in is not (R17); one of before the turning on is none."""
    day = newest_daily_pull(now - DAILY_PULL_GRACE, settings.daily_pull_time, settings.zone)
    today = now.astimezone(settings.zone).date()
    at = local_time_on(day, settings.daily_pull_time, settings.zone)
    if day < today and state.turned_on_at > at:
        return False
    return state.daily_pulled_on is None or state.daily_pulled_on < day


def _ask_org(
    work: Work, questions: Mapping[str, ObjectState], asks: list[Ask], skips: dict[str, str]
) -> None:
    asked = _may_pull(work)
    queries: dict[str, str] = {}
    for state in questions.values():
        queries |= _probes(work, state)
    answers: Mapping[str, Any] = {}
    try:
        answers = work.org.ask(queries) if asked else {}
    except QueriesRefused as refused:
        answers = refused.answers
    except SalesforceError as error:
        # What the ledger asks for stands; the others wait for the org.
        skips |= dict.fromkeys(questions, str(error))
        return
    for name, state in questions.items():
        ask = _pull_ask(work, state, answers) if asked else None
        ask = ask or _waiting_ask(work, name)
        if ask is not None:
            asks.append(ask)
        else:
            skips[name] = _nothing(work, name, asked=asked)


def _pull_ask(work: Work, state: ObjectState, answers: Mapping[str, Any]) -> Ask | None:
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
    if state.seen_count and state.pulled_at and work.now() >= state.pulled_at + OVERLAP + LAG:
        return Ask(name, "pull", "a last look for late commits", f"late {state.watermark}")
    return None


def _probes(work: Work, state: ObjectState) -> dict[str, str]:
    account_changes = any(i.account_changes for i in work.configuration.of_object(state.object))
    since = max(state.watermark - OVERLAP, state.turned_on_at)
    return probes(state.object, account_changes, since)


def _waiting_ask(work: Work, name: str) -> Ask | None:
    unfinished = work.ledger.claims.unfinished(name)
    begun = any(work.ledger.claims.jobs(segment.segment_id) for segment in unfinished)
    if unfinished and (begun or _may_pull(work)):
        return Ask(name, "score_and_push", "a segment is unfinished", unfinished[0].segment_id)
    if not _may_pull(work):
        return None
    awaited = work.daily_pulls_awaited()
    allowed = work.ledger.claims.allowed(
        name,
        work.today,
        work.local_now,
        work.configuration.settings.day_policy,
        daily_pulls_done=not awaited,
        awaited=awaited,
        now=work.now(),
    )
    if allowed.total == 0:
        return None
    used = work.ledger.claims.day_use(
        work.today, work.configuration.settings.daily_record_limit
    ).used
    return Ask(
        name,
        "score_and_push",
        f"{allowed.total} waiting records may be scored",
        f"{work.today} {used}",
    )


def _nothing(work: Work, name: str, *, asked: bool) -> str:
    """Say why there is nothing to do, as an operator would want to hear it."""
    settings = work.configuration.settings
    waiting = work.ledger.waiting.ids_waiting(name)
    use = work.ledger.claims.day_use(work.today, settings.daily_record_limit)
    parts = ["nothing new" if asked else "not asked: the daily API calls limit is nearly used up"]
    if waiting and use.left == 0:
        parts.append(
            f"{waiting} waiting; today's limit of {use.cap} is reached, goes on at midnight {settings.time_zone}"
        )
    elif waiting:
        parts.append(f"{waiting} waiting for their share of the day or their next try")
    return "; ".join(parts)
