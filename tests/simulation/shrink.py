"""Makes a script that fails as short as it can: takes events out, many at once, then fewer, while it still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from tests.simulation.report import play, quiet
from tests.simulation.schedule import Schedule
from tests.simulation.script import Event, Script
from tests.simulation.stage import stage

PLAYS_MAX: Final = 200


def shrink(
    script: Script,
    mutant: str = "",
    ledger: str = "",
    plays_max: int = PLAYS_MAX,
    on_shorter: Callable[[Script], None] = lambda _: None,
) -> tuple[Script, Schedule]:
    """Return a short script that is wrong in the way the given one is, and how it went; tell of each shorter one.

    With a `mutant` it must be right where the safeguard is in place: so the safeguard is what it is about.
    """
    with quiet(), stage(ledger) as at:
        first = play(at, script.seed, mutant, script=script)
        if not first.problems:
            raise ValueError("nothing is wrong in this script")
        kinds = _kinds(first)
        left = plays_max

        def fails(events: Sequence[Event], deadly: Sequence[str]) -> bool:
            nonlocal left
            left -= 1
            candidate = script.only(events, deadly)
            wrong = play(at, script.seed, mutant, script=candidate)
            if not kinds & _kinds(wrong):
                return False
            if mutant and play(at, script.seed, script=candidate).problems:
                return False
            on_shorter(_told(wrong, mutant))
            return True

        deadly = () if fails(script.events, ()) else script.deadly
        events = _fewest(first.happened, lambda some: left > 0 and fails(some, deadly))
        found = play(at, script.seed, mutant, script=script.only(events, deadly))
        return _told(found, mutant), found


def _told(schedule: Schedule, mutant: str) -> Script:
    why = f"{f'without {mutant}: ' if mutant else ''}{schedule.problems[0]}"
    return replace(schedule.script_played, why=why)


def _fewest(events: Sequence[Event], fails: Callable[[Sequence[Event]], bool]) -> list[Event]:
    """Return events of which none of the parts tried can be taken out (delta debugging)."""
    kept = list(events)
    size = max(1, len(kept) // 2)
    while True:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if fails(fewer):
                kept = fewer
            else:
                at += size
        if size == 1:
            return kept
        size //= 2


def _kinds(schedule: Schedule) -> set[str]:
    """Return what kinds of things are wrong: the first word of each problem."""
    return {problem.split(" ")[0] for problem in schedule.problems} - {"the"}
