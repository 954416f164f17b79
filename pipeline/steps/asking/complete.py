"""Says which days are complete.

A day is not complete while a record waits that was asked for on it, claimed on it or redone from
it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from pipeline.core.limit.pace import in_flight_of, last_day
from pipeline.core.limit.windows import day_of
from pipeline.steps.clients import Clients

NEVER_REPORTED: Final = 0
"""A day that was never reported counts as complete: nothing was ever asked for on it."""


@dataclass(frozen=True, slots=True)
class DayState:
    """How complete one day of one object is.

    `waiting` records wait. Of them, `failing` have failed, and `in_flight` are in a segment that
    has not ended. `done_on` is the day on which the last of all waiting records is scored at the
    limit's pace; None where none of this day's waits.
    """

    day: date
    object: str
    waiting: int = 0
    failing: int = 0
    in_flight: int = 0
    done_on: date | None = None

    @property
    def is_complete(self) -> bool:
        """Say whether nothing of the day waits."""
        return self.waiting == 0


def waiting_done_on(clients: Clients) -> date | None:
    """Return the day on which the last waiting record of all objects is scored.

    None where none waits.
    """
    limit = clients.configuration.settings.daily_record_limit
    waiting = clients.ledger.waiting.summary(clients.now())
    total = sum(row.records for row in waiting)
    remaining = clients.ledger.days.use(clients.today, limit).remaining

    return last_day(clients.today, total, remaining, limit, in_flight_of(waiting))


def day_states(clients: Clients, object_name: str) -> dict[date, DayState]:
    """Return the object's days that are not complete."""
    zone = clients.configuration.settings.zone
    states: dict[date, DayState] = {}

    for group in clients.ledger.completeness.groups(object_name):
        days = {day_of(group.since, zone), group.segment_day} - {None}
        # A redo's records are in another group too, under the day on which they were first asked
        # for: no day may count them twice.
        chosen = days if group.redone_day is None else {group.redone_day} - days

        for day in chosen:
            if day is None:
                continue
            known = states.get(day, DayState(day, object_name))
            states[day] = replace(
                known,
                waiting=known.waiting + group.waiting,
                failing=known.failing + group.failing,
                in_flight=known.in_flight + group.in_flight,
            )

    done_on = waiting_done_on(clients) if states else None
    return {day: replace(state, done_on=done_on) for day, state in sorted(states.items())}


def changed_since_reported(
    clients: Clients, object_name: str, states: dict[date, DayState]
) -> list[DayState]:
    """Return the days that were last reported with another count, complete ones included."""
    reported = clients.ledger.completeness.waiting_by_day(object_name)

    return [
        states.get(day, DayState(day, object_name))
        for day in sorted({*states, *reported})
        if reported.get(day, NEVER_REPORTED) != (states[day].waiting if day in states else 0)
    ]
