"""Which days are complete: a day is not, while any record asked for on it, claimed on it or redone from it waits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from pipeline.core.limit.pace import in_flight_of, last_day
from pipeline.core.limit.windows import day_of
from pipeline.steps.clients import Clients

NEVER_TOLD: Final = 0
"""A day of which nothing was told is held to be complete: nothing was ever asked for on it."""


@dataclass(frozen=True, slots=True)
class DayState:
    """How one day of one object stands: records that wait, of them failing, and in a segment that has not ended.

    `done_on` is the day on which the last of all waiting records is scored at the limit's pace; None where none of
    this day's waits.
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
    """Return the day on which the last record that waits now is scored, of all objects; None where none waits."""
    limit = clients.configuration.settings.daily_record_limit
    waiting = clients.ledger.waiting.summary(clients.now())
    total = sum(row.records for row in waiting)
    left = clients.ledger.days.use(clients.today, limit).remaining
    return last_day(clients.today, total, left, limit, in_flight_of(waiting))


def day_states(clients: Clients, name: str) -> dict[date, DayState]:
    """Return the object's days that are not complete."""
    zone = clients.configuration.settings.zone
    states: dict[date, DayState] = {}
    for group in clients.ledger.completeness.groups(name):
        days = {day_of(group.since, zone), group.segment_day} - {None}
        # A redo's records are in the groups above as well, under the day on which they were first asked for.
        chosen = days if group.redone_day is None else {group.redone_day} - days
        for day in chosen:
            if day is None:
                continue
            known = states.get(day, DayState(day, name))
            states[day] = replace(
                known,
                waiting=known.waiting + group.waiting,
                failing=known.failing + group.failing,
                in_flight=known.in_flight + group.in_flight,
            )
    done_on = waiting_done_on(clients) if states else None
    return {day: replace(state, done_on=done_on) for day, state in sorted(states.items())}


def changed_since_told(clients: Clients, name: str, states: dict[date, DayState]) -> list[DayState]:
    """Return the days of which something else was told last, those that are complete now among them."""
    told = clients.ledger.completeness.reported(name)
    return [
        states.get(day, DayState(day, name))
        for day in sorted({*states, *told})
        if told.get(day, NEVER_TOLD) != (states[day].waiting if day in states else 0)
    ]
