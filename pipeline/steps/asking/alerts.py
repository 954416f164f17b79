"""Finds the situations that people are alerted to, in the ledger alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

from pipeline.core.errors import BudgetExhausted
from pipeline.core.limit.pace import last_day
from pipeline.steps.brake import held_segments, in_words
from pipeline.steps.clients import Clients
from pipeline.steps.watch import daily_pull_missed

SILENT_INTERVALS: Final = 6
"""How many pull intervals may pass without an answer of the org before an alert."""

HOUR: Final = timedelta(hours=1)
LATE: Final = timedelta(hours=3)
"""How late a daily pull may be before an alert: as long as its asset counts as fresh."""

SILENT_LEAST: Final = timedelta(minutes=30)
BACKLOG_DAYS: Final = 3
"""A backlog is growing when it is longer on each of so many days than on the day before."""


UNPUSHED_RUNS: Final = 3
"""How many runs may fail to push a segment before an alert."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know.

    It is reported once as long as `key` stays the same, and once more, in the words `over`, when it
    no longer stands; "" where nobody need be told of that. No record's values are in it.
    """

    key: str
    text: str
    over: str = ""


def situations(clients: Clients, backlog: Mapping[str, int]) -> list[Alert]:
    """Return the situations of now, in the order in which they are told.

    Stop, held segments, limit, budget, stale assets, held markets, failing records, pushes that
    fail again and again, a backlog that grows. `backlog` holds the records that waited at the end
    of each of the last days, by ISO date. No API call.
    """
    return [
        *_stop_alerts(clients),
        *_held_segments(clients),
        *_limit(clients),
        *_budget(clients),
        *_silence(clients),
        *_late_daily_pulls(clients),
        *_held_markets(clients),
        *_failing(clients),
        *_unpushed_alerts(clients),
        *_growing(clients, backlog),
    ]


def waiting_total(clients: Clients) -> int:
    """Return how many records wait, over all objects."""
    return sum(row.records for row in clients.ledger.waiting.summary(clients.now()))


def _stop_alerts(clients: Clients) -> Iterator[Alert]:
    stopped = clients.ledger.stops.current()
    if stopped is not None:
        yield Alert(
            f"stopped {stopped.stopped_at.isoformat()}",
            f"Everything is {stopped}.",
            over=f"Over: everything was stopped since {stopped.stopped_at:%Y-%m-%d %H:%M} UTC.",
        )


def _held_segments(clients: Clients) -> Iterator[Alert]:
    for segment in held_segments(clients):
        words = in_words(segment)
        yield Alert(f"held {segment.segment_id}", f"{words[0].upper()}{words[1:]}.")


def _limit(clients: Clients) -> Iterator[Alert]:
    settings = clients.configuration.settings
    use = clients.ledger.days.use(clients.today, settings.daily_record_limit)
    waiting = waiting_total(clients)

    if use.remaining == 0 and waiting:
        done = last_day(clients.today, waiting, 0, settings.daily_record_limit)
        yield Alert(
            f"limit {clients.today}",
            f"Today's limit of {use.cap} records is used up and {waiting} wait. Scoring resumes at midnight "
            f"{settings.time_zone}; the last of them is scored on {done}. daily_record_limit in settings.yaml sets the limit.",
        )


def _budget(clients: Clients) -> Iterator[Alert]:
    try:
        clients.budget.require()
    except BudgetExhausted as exhausted:
        yield Alert(f"budget {clients.today}", str(exhausted))


def _silence(clients: Clients) -> Iterator[Alert]:
    """Yield the objects that should run and that nothing was heard of for several intervals."""
    interval = timedelta(minutes=clients.configuration.settings.pull_interval_minutes)
    longest = max(SILENT_LEAST, SILENT_INTERVALS * interval)
    awaited = _awaited(clients)

    for object_name, state in sorted(clients.ledger.objects.all().items()):
        # A sensor that asks and finds nothing new counts as an answer.
        answered_at = max(filter(None, (state.turned_on_at, state.pulled_at, state.asked_at)))
        if object_name in awaited and clients.now() - answered_at > longest:
            yield Alert(
                f"silent {object_name} {answered_at:%Y-%m-%dT%H:%M}",
                f"{object_name}: no successful pull and no answer of the org since {answered_at:%Y-%m-%d %H:%M} UTC. "
                "The asset salesforce_changed_records is stale. Look at the sensor salesforce_changes (is it on, what "
                "does its last tick say?) and at the newest failed run.",
                over=f"Over: nothing was heard of {object_name} since {answered_at:%Y-%m-%d %H:%M} UTC.",
            )


def _late_daily_pulls(clients: Clients) -> Iterator[Alert]:
    """Yield the objects that should run and whose daily pull is hours late (R17)."""
    awaited = _awaited(clients)
    settings, then = clients.configuration.settings, clients.now() - LATE

    for object_name, state in sorted(clients.ledger.objects.all().items()):
        # One that was turned on since then is made up for by the next tick.
        is_known = object_name in awaited and state.turned_on_at <= then
        if is_known and daily_pull_missed(settings, state, then):
            last = state.daily_pulled_on or "never"
            yield Alert(
                f"late {object_name} {last}",
                f"{object_name}: the daily pull is more than {LATE // HOUR} hours late; the last one was: {last}. The "
                "asset stale_records is stale. Look at the schedule daily_pull_schedule, at the sensor "
                "salesforce_changes, and at the newest failed run.",
                over=f"Over: the daily pull of {object_name} was late; the one before was: {last}.",
            )


def _awaited(clients: Clients) -> frozenset[str]:
    """Return the objects that nobody has stopped, switched off or paused.

    One that is held or not ready is among them: its assets get stale as well, and each trial or
    look would else tell of an end that is none.
    """
    if clients.ledger.stops.current():
        return frozenset()

    known = clients.ledger.integrations.all().values()
    rolled_out = {s.object for s in known if s.enabled_at and s.paused_at is None}
    return frozenset(rolled_out) & frozenset(clients.configuration.objects)


def _held_markets(clients: Clients) -> Iterator[Alert]:
    for market, hold in sorted(clients.ledger.holds.all().items()):
        yield Alert(
            f"market {market} {hold.held_at.isoformat()}",
            f"Market {market} failed as a whole and is held: {hold.reason}. Its records wait, the other markets run. "
            f"It is tried next at {hold.retry_at:%Y-%m-%d %H:%M} UTC.",
            over=f"Over: market {market} was held since {hold.held_at:%Y-%m-%d %H:%M} UTC. What waited for it goes on.",
        )


def _failing(clients: Clients) -> Iterator[Alert]:
    """Yield by object and code the records that fail by their own fault, while others are pushed.

    What passes by itself, and what waits for a market, is told in other ways or not at all (R23).
    """
    records: Counter[tuple[str, str]] = Counter()
    for count in clients.ledger.failures.counts():
        if count.lasting and count.held_for is None:
            records[count.object, count.error_code] += count.records

    for (object_name, code), number in sorted(records.items()):
        yield Alert(
            f"failing {object_name} {code}",
            f"{object_name}: {number} records fail with {code}, the others are pushed. See `insights failures`.",
            over=f"Over: no record of {object_name} fails with {code} any more.",
        )


def _unpushed_alerts(clients: Clients) -> Iterator[Alert]:
    """Yield the segments that several runs could not push."""
    for segment in clients.ledger.segments.unfinished():
        if segment.push_tries >= UNPUSHED_RUNS:
            records = clients.ledger.waiting.count_of_segment(segment.segment_id)
            yield Alert(
                f"unpushed {segment.segment_id}",
                f"{segment.object}: {records} records scored at {segment.stamp:%Y-%m-%d %H:%M} UTC could not be "
                f"pushed by {segment.push_tries} runs: {segment.push_error} They keep their scores and are tried again.",
                over=f"Over: {segment.object} records scored at {segment.stamp:%Y-%m-%d %H:%M} UTC could not be pushed.",
            )


def _growing(clients: Clients, backlog: Mapping[str, int]) -> Iterator[Alert]:
    """Yield the backlog where it grew day by day and is more than a day's limit."""
    limit = clients.configuration.settings.daily_record_limit
    days = [clients.today - timedelta(days=back) for back in range(BACKLOG_DAYS, 0, -1)]
    known = [backlog[day.isoformat()] for day in days if day.isoformat() in backlog]
    totals = [*known, waiting_total(clients)]
    grows = all(later > earlier for earlier, later in pairwise(totals))

    if len(known) == BACKLOG_DAYS and grows and totals[-1] > limit:
        yield Alert(
            f"backlog {clients.today}",
            f"The backlog grows: {totals[-1]} records wait, on the {BACKLOG_DAYS} days before it were "
            f"{', '.join(str(n) for n in known)}. More becomes due than {limit} a day; see `insights plan`.",
        )


def remembered_backlog(backlog: Mapping[str, int], today: date, waiting: int) -> dict[str, int]:
    """Return `backlog` with today's figure, without days that no longer count."""
    first = (today - timedelta(days=BACKLOG_DAYS)).isoformat()
    kept = {day: records for day, records in backlog.items() if day >= first}
    return {**kept, today.isoformat(): waiting}
