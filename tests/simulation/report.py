"""Plays schedules and puts together what they show."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import stamina

from tests.simulation.acts import FAULT_KINDS
from tests.simulation.clients import pointed
from tests.simulation.mutants import MUTANTS
from tests.simulation.points import POINTS
from tests.simulation.schedule import LENGTH, Schedule
from tests.simulation.script import Script
from tests.simulation.stage import Stage, stage

HUNTS_FROM: Final = 1_000_001
HUNTS_MAX: Final = 40
"""The first seed of the schedules that lie in wait for what others have missed, and how many there are at most."""


@dataclass
class Report:
    """What some schedules have shown: what went wrong by seed, and what was met on the way."""

    played: int = 0
    problems: dict[int, list[str]] = field(default_factory=dict)
    logs: dict[int, list[str]] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    killed_at: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    hunted: dict[int, frozenset[str]] = field(default_factory=dict)
    scripts: dict[int, Script] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Add what other schedules have shown."""
        self.played += other.played
        self.problems |= other.problems
        self.logs |= other.logs
        self.met += other.met
        self.killed_at += other.killed_at
        self.fired += other.fired
        self.acts += other.acts
        self.hunted |= other.hunted
        self.scripts |= other.scripts

    def take(self, schedule: Schedule) -> None:
        """Add what one schedule has shown."""
        self.played += 1
        self.met += schedule.scheduler.met
        self.killed_at += schedule.scheduler.killed_at
        self.fired += schedule.fired
        self.acts += schedule.acts
        if schedule.problems:
            self.problems[schedule.seed] = schedule.problems
            self.logs[schedule.seed] = schedule.log
            self.scripts[schedule.seed] = schedule.script_played

    @property
    def never_killed_at(self) -> list[str]:
        """Return the points at which nobody was killed."""
        return [point for point in POINTS if not self.killed_at[point]]

    @property
    def never_fired(self) -> list[str]:
        """Return the kinds of the org's faults of which none has fired."""
        return [kind for kind in FAULT_KINDS if not self.fired[kind]]

    @property
    def unknown(self) -> list[str]:
        """Return the points met that no list names."""
        return sorted(set(self.met) - set(POINTS))

    def table(self) -> str:
        """Return how often each point was passed and somebody was killed there."""
        width = max(map(len, POINTS))
        lines = [f"{'point':<{width}} {'passed':>8} {'killed':>7}"]
        lines += [f"{p:<{width}} {self.met[p]:>8} {self.killed_at[p]:>7}" for p in POINTS]
        lines += ["", "faults of the org that fired: " + _counts(self.fired)]
        return "\n".join([*lines, "acts: " + _counts(self.acts)])


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def play(
    at: Stage,
    seed: int,
    mutant: str = "",
    hunt: frozenset[str] = frozenset(),
    script: Script | None = None,
    length: int = LENGTH,
) -> Schedule:
    """Play one schedule on a stage: the one of the seed, or what stands in a script."""
    schedule = Schedule(at, seed, hunt, script, length)
    with pointed(schedule), MUTANTS[mutant]() if mutant else nullcontext():
        try:
            schedule.play()
        except Exception:  # noqa: BLE001  shown with its seed, and the others go on
            schedule.problems.append(f"the simulation itself: {traceback.format_exc()}")
    return schedule


def hunt(shown: Report, ledger: str = "") -> Report:
    """Play schedules that lie in wait where `shown` has nobody killed, and arm the faults that did not fire in it."""
    report = Report()
    with quiet(), stage(ledger) as at:
        for seed in range(HUNTS_FROM, HUNTS_FROM + HUNTS_MAX):
            missing = frozenset(
                {*shown.never_killed_at, *shown.never_fired} - {*report.killed_at, *report.fired}
            )
            if not missing:
                break
            report.take(play(at, seed, hunt=missing))
            report.hunted[seed] = missing
    return report


@contextmanager
def quiet() -> Iterator[None]:
    """Let nobody log what the faults do."""
    logging.disable(logging.WARNING)
    said = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([])
    try:
        yield
    finally:
        stamina.instrumentation.set_on_retry_hooks(said)
        logging.disable(logging.NOTSET)


def play_all(
    seeds: Sequence[int],
    ledger: str = "",
    mutant: str = "",
    *,
    first: bool = False,
    keep_logs: bool = False,
    at: frozenset[str] = frozenset(),
    length: int = LENGTH,
) -> Report:
    """Play schedules one after another on a stage of their own; with `first` stop at the first that fails.

    The logs of those that fail are kept, of all of them with `keep_logs`; with `at` they lie in wait there and nowhere
    else.
    """
    report = Report()
    with quiet(), stage(ledger) as built:
        for seed in seeds:
            schedule = play(built, seed, mutant, at, length=length)
            report.take(schedule)
            if keep_logs:
                report.logs[seed] = schedule.log
            if report.problems and first:
                break
    return report


def play_script(script: Script, mutant: str = "", ledger: str = "") -> Schedule:
    """Play a script on a stage of its own."""
    with quiet(), stage(ledger) as built:
        return play(built, script.seed, mutant, script=script)
