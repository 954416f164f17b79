"""Asks the org, with one API call for all objects, whether there is anything to do (D7, D17)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from pipeline.core.configuration.integration import Integration
from pipeline.core.configuration.running import (
    BROKEN,
    IntegrationState,
    Running,
    RunState,
    held_in_words,
    running,
)
from pipeline.core.configuration.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.core.limit.windows import (
    LAG,
    OVERLAP,
    day_of,
    local_time_on,
    newest_daily_pull,
    read_from,
)
from pipeline.steps.brake import held_segments, in_words
from pipeline.steps.changed_files import why_it_waits
from pipeline.steps.clients import Clients
from pipeline.steps.pull import NEWEST_ROWS, newest_pages, read_page
from pipeline.steps.stop import why_no_push, why_outside_windows
from resources.ledger.objects import ObjectState, Seen
from resources.ledger.push_jobs import AT_WORK
from resources.salesforce.errors import (
    AnswerTooLate,
    QueryRefused,
    SalesforceError,
    SessionLost,
    SignInRefused,
)

JobName = Literal["pull", "daily_pull", "score_and_push"]

ASKED_ALONE_FOR: Final = timedelta(hours=1)
"""How long each object is asked about in a call of its own after one call took too long."""

ALONE_SECONDS: Final = 8.0
"""How long such a call may take: a tick with three of them stays below Dagster's 60 seconds."""

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


@dataclass(slots=True)
class _Answers:
    """What the org answered, by object.

    `pages` are the newest records. `own` are errors that tell of the object alone, `away` those of
    a call as a whole.
    """

    pages: dict[str, Seen] = field(default_factory=dict)
    own: dict[str, SalesforceError] = field(default_factory=dict)
    away: dict[str, SalesforceError] = field(default_factory=dict)


def watch(clients: Clients) -> Watched:
    """Decide for every object what to run now.

    Makes one API call, and none where the budget is used up. For an hour after that call took too
    long, it is one an object.
    """
    stopped = clients.ledger.stops.current()
    if stopped is not None:
        return _watch_stopped(clients, str(stopped))

    states = clients.ledger.objects.all()
    wanted: list[WantedRun] = []
    skips: dict[str, str] = {}
    to_ask: dict[str, ObjectState] = {}

    for object_name in clients.configuration.objects:
        state = states.get(object_name)
        why_not = _why_not_now(clients, object_name, state)
        if why_not:
            skips[object_name] = why_not
            continue

        runs = list(_runs_from_ledger(clients, object_name, state))
        wanted += runs
        why_none_runs = _why_none_runs(clients, object_name) if state else None
        if why_none_runs:
            skips[object_name] = why_none_runs
        # The org is asked even where a daily pull is wanted: should that fail again and again,
        # changes are pulled all the same.
        elif state is not None:
            to_ask[object_name] = state

    answers = _ask_org(clients, to_ask)
    refused = [error for error in answers.away.values() if isinstance(error, SignInRefused)]
    if refused:
        # Every run would meet the same refusal, and none is asked for that only fails.
        return Watched((), dict.fromkeys(clients.configuration.objects, str(refused[0])))

    if answers.pages:
        clients.ledger.objects.note_asked(list(answers.pages), clients.now())

    # What waits is asked of the ledger, whatever the org said.
    for object_name, state in to_ask.items():
        runs = list(_runs_from_answers(clients, state, answers))
        wanted += runs
        if not runs:
            why = clients.budget.why_exhausted() or answers.away.get(object_name) or "nothing new"
            skips[object_name] = _why_nothing(clients, object_name, str(why))

    changed = {run.object for run in wanted if run.job == "pull"}
    return Watched(tuple(wanted), skips, tuple(n for n in answers.pages if n not in changed))


def _watch_stopped(clients: Clients, why: str) -> Watched:
    """Finish what has begun, and nothing else; no API call."""
    states = clients.ledger.objects.all()
    wanted: list[WantedRun] = []
    skips: dict[str, str] = {}

    for object_name in clients.configuration.objects:
        is_free = _why_not_now(clients, object_name, states.get(object_name)) is None
        found = list(_scoring_wanted(clients, object_name, org_is_away=False)) if is_free else []
        wanted += found
        if not found:
            skips[object_name] = why

    return Watched(tuple(wanted), skips)


def _why_not_now(clients: Clients, object_name: str, state: ObjectState | None) -> str | None:
    """Return why nothing at all may be started on the object now, None where it may."""
    if state is None:
        exhausted = clients.budget.why_exhausted()
        return str(exhausted) if exhausted else None

    holder = clients.ledger.leases.holder(object_name, clients.now())
    if holder:
        return f"run {holder[:8]} is working on it"

    return _why_it_waits(clients, object_name)


def _runs_from_ledger(
    clients: Clients, object_name: str, state: ObjectState | None
) -> Iterator[WantedRun]:
    """Yield the runs that the ledger alone calls for, the most urgent first."""
    if state is None:
        yield WantedRun(object_name, "pull", "the object is new here", "first")
        return

    if clients.budget.why_exhausted():
        return

    if _any_readable_again(clients, object_name):
        why = "a file that was wrong can be used again"
        yield WantedRun(object_name, "pull", why, f"readable {state.watermark}", topic="readable")

    is_missed = daily_pull_missed(clients.configuration.settings, state, clients.now())
    if is_missed and not _why_none_runs(clients, object_name):
        yield WantedRun(
            object_name,
            "daily_pull",
            "today's daily pull is not in yet",
            f"daily {clients.today} after {state.daily_pulled_on}",
        )

    # Any run checks the object before it works, so the daily pull is a look as well.
    for integration, answer in _answers_of(clients, object_name):
        if answer.look_is_due(clients.now()):
            yield WantedRun(
                object_name,
                "pull",
                f"{integration.name} is not ready since {answer.since:%Y-%m-%d %H:%M} UTC: it is looked at again",
                f"look {integration.market} {answer.next_look}",
                topic="look",
            )


def _answers_of(clients: Clients, object_name: str) -> list[tuple[Integration, Running]]:
    """Return the object's integrations, each with whether it runs now."""
    known = clients.ledger.integrations.all()
    holds = clients.ledger.holds.all()
    return [
        (
            i,
            running(known.get(i.key), holds.get(i.market), clients.now(), mapped=i.is_mapped),
        )
        for i in clients.configuration.of_object(object_name)
    ]


def _why_none_runs(clients: Clients, object_name: str) -> str | None:
    """Return why no integration of the object runs; None if one does, or old values are to go."""
    answers = _answers_of(clients, object_name)
    if any(answer.runs for _, answer in answers):
        return None

    if _any_readable_again(clients, object_name):
        return None

    if clients.configuration.retired_of_object(object_name):
        return None

    held = [
        held_in_words(integration.market, answer)
        for integration, answer in answers
        if answer.state is RunState.HELD and answer.next_look
    ]
    others = [
        f"{integration.name} is "
        f"{'paused' if answer.state is RunState.PAUSED else answer.describe_not_ready()}"
        for integration, answer in answers
        if answer.state is not RunState.HELD
    ]
    others += [
        f"{b.name} is not ready ({BROKEN}{problem})"
        for b in clients.configuration.broken_of_object(object_name)
        for problem in b.problems
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


def _ask_org(clients: Clients, to_ask: Mapping[str, ObjectState]) -> _Answers:
    """Ask what is new: one call for all objects, and one each for those that are asked alone.

    Where the one call takes too long, its objects are asked alone from then on, at once and for an
    hour (D17).
    """
    answers = _Answers()
    if clients.budget.why_exhausted():
        return answers

    now = clients.now()
    alone = [s for s in to_ask.values() if s.asked_alone_until and s.asked_alone_until > now]
    together = [s for s in to_ask.values() if s not in alone]
    if together and _ask(clients, together, answers, math.inf) and len(together) > 1:
        _ask_alone_from_now(clients, together)
        alone += together

    for state in alone:
        if _ask(clients, [state], answers, ALONE_SECONDS):
            _ask_alone_from_now(clients, [state])
    return answers


def _ask(
    clients: Clients, states: Sequence[ObjectState], answers: _Answers, within_seconds: float
) -> bool:
    """Ask about some objects in one call and add to `answers`; say whether it took too long."""
    questions = {state.object: _questions(clients, state) for state in states}
    queries = {name: soql for own in questions.values() for name, soql in own.items()}
    try:
        rows, errors = clients.org.ask_each(queries, within_seconds=within_seconds)
    except AnswerTooLate as late:
        # Where nobody was signed in, the question was not even put.
        if not late.may_have_happened:
            answers.away |= dict.fromkeys(questions, late)
            return False

        answers.own |= dict.fromkeys(questions, late)
        return True
    except SalesforceError as error:
        answers.away |= dict.fromkeys(questions, error)
        return False

    for state in states:
        unanswered = [errors[name] for name in questions[state.object] if name in errors]
        if unanswered:
            answers.own[state.object] = unanswered[0]
            continue

        answers.own.pop(state.object, None)
        answers.pages[state.object] = read_page(state.object, rows, _question_start(clients, state))
    return False


def _ask_alone_from_now(clients: Clients, states: Sequence[ObjectState]) -> None:
    until = clients.now() + ASKED_ALONE_FOR
    clients.ledger.objects.ask_alone([state.object for state in states], until)


def _questions(clients: Clients, state: ObjectState) -> dict[str, str]:
    account_changes = any(i.account_changes for i in clients.configuration.of_object(state.object))
    return newest_pages(state.object, account_changes, _question_start(clients, state))


def _question_start(clients: Clients, state: ObjectState) -> datetime:
    return read_from(state.watermark, state.pulled_at, state.turned_on_at, clients.now())


def _runs_from_answers(
    clients: Clients, state: ObjectState, answers: _Answers
) -> Iterator[WantedRun]:
    """Yield the runs on what is new and on what waits, the most urgent first."""
    object_name = state.object
    if object_name in answers.own:
        yield _pull_to_find_out(state, answers.own[object_name])
    elif object_name in answers.pages:
        yield from _pull_wanted(clients, state, answers.pages[object_name])

    # A run would be refused at its sign-in as well.
    away = answers.away.get(object_name)
    if not isinstance(away, SessionLost):
        yield from _scoring_wanted(clients, object_name, org_is_away=away is not None)


def _pull_to_find_out(state: ObjectState, error: SalesforceError) -> WantedRun:
    """Return the pull of an object whose question has no answer (R44).

    Its preflight finds out what the user may no longer read, and it has more time than a tick.
    While pulls succeed, each has a situation of its own.
    """
    if isinstance(error, QueryRefused):
        why = "the org refuses the question what changed"
        return WantedRun(state.object, "pull", why, f"refused {state.watermark}")

    why = "the org does not answer the question what changed in time"
    return WantedRun(state.object, "pull", why, f"unanswered {state.watermark}")


def _pull_wanted(clients: Clients, state: ObjectState, page: Seen) -> Iterator[WantedRun]:
    """Yield the pull that the org's newest records call for, if any."""
    # Windows overlap: records that were pulled are found again, so only another page means news.
    if (page.count, page.digest) != (state.seen_count or 0, state.seen_digest):
        some = f"{page.count} or more" if page.count >= NEWEST_ROWS else page.count
        why = f"{some} records changed lately"
        yield WantedRun(state.object, "pull", why, f"{page.count} {page.digest}")
        return

    # Of more records than a page holds, a late commit may not be among the newest. So records that
    # were seen are read once more when the overlap behind them is over.
    if state.seen_count and state.pulled_at and clients.now() >= state.pulled_at + OVERLAP + LAG:
        why = "a last look for late commits"
        yield WantedRun(state.object, "pull", why, f"late {state.watermark}")


def _scoring_wanted(
    clients: Clients, object_name: str, *, org_is_away: bool
) -> Iterator[WantedRun]:
    """Yield the runs that finish segments and that score what waits; each has pauses of its own.

    A push that has begun is finished however little remains of the budget (R21), but not while the
    org itself refuses calls. While all is stopped, or outside the push windows, only the jobs at
    work are finished. What was tried while the org was away is tried at once when it answers: that
    is another situation.
    """
    suffix = " while the org is away" if org_is_away else ""
    no_push = why_no_push(clients)
    not_now = clients.budget.why_exhausted() or no_push
    unfinished = [
        segment
        for segment in clients.ledger.segments.unfinished(object_name)
        if not segment.is_put_off(clients.now()) and not segment.is_braked
    ]
    jobs = [job for s in unfinished for job in clients.ledger.push_jobs.of_segment(s.segment_id)]
    begun = any(job.state in AT_WORK for job in jobs) if no_push else bool(jobs)
    if unfinished and (not not_now or (begun and not clients.budget.org_refuses)):
        situation = unfinished[0].segment_id + suffix
        why = "a segment is unfinished"
        yield WantedRun(object_name, "score_and_push", why, situation, topic="unfinished")

    if not not_now:
        yield from _claim_wanted(clients, object_name, suffix)


def _claim_wanted(clients: Clients, object_name: str, suffix: str) -> Iterator[WantedRun]:
    """Yield the run that scores what waits, where the day's limit allows any of it."""
    allowed = clients.ledger.days.allowance(object_name, clients.day_facts())
    if allowed.total == 0:
        return

    limit = clients.configuration.settings.daily_record_limit
    used = clients.ledger.days.use(clients.today, limit).used
    yield WantedRun(
        object_name,
        "score_and_push",
        f"{allowed.total} waiting records may be scored",
        f"{clients.today} {used}{suffix}",
        topic="waiting",
    )


def _put_off(clients: Clients, object_name: str) -> Iterator[str]:
    """Yield why segments are not pushed now, and when they are tried again."""
    for segment in clients.ledger.segments.unfinished(object_name):
        if segment.next_push_at is not None and segment.is_put_off(clients.now()):
            records = clients.ledger.waiting.count_of_segment(segment.segment_id)
            yield (
                f"{records} scored records could not be pushed ({segment.push_error}); "
                f"tried again at {segment.next_push_at:%H:%M} UTC"
            )


def _why_nothing(clients: Clients, object_name: str, why: str) -> str:
    """Return why there is nothing to do, with what waits and for what, for an operator."""
    settings = clients.configuration.settings
    waiting = clients.ledger.waiting.count(object_name)
    use = clients.ledger.days.use(clients.today, settings.daily_record_limit)

    parts = [why, *_put_off(clients, object_name)]
    if waiting and use.remaining == 0:
        parts.append(
            f"{waiting} waiting; today's limit of {use.cap} is reached, goes on at midnight {settings.time_zone}"
        )
    elif waiting:
        closed = why_outside_windows(clients)
        others = "waiting for their share of the day or their next try"
        parts.append(f"{waiting} waiting: {closed}" if closed else f"{waiting} {others}")

    parts += [
        in_words(segment) for segment in held_segments(clients) if segment.object == object_name
    ]
    return "; ".join([*parts, *_held_markets(clients, object_name)])


def _held_markets(clients: Clients, object_name: str) -> list[str]:
    """Return of each market of the object that is held since when, why, and its next trial."""
    known, holds = clients.ledger.integrations.all(), clients.ledger.holds.all()
    answers = {
        i.market: running(known.get(i.key), holds.get(i.market), clients.now())
        for i in clients.configuration.of_object(object_name)
    }
    return [
        held_in_words(market, answer)
        for market, answer in sorted(answers.items())
        if answer.state is RunState.HELD
    ]
