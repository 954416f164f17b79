"""Plays schedules: `python -m tests.simulation --schedules 2000 --seed 1 --workers 2`.

With `--shrink FILE` the first one that fails is made as short as it can be and written there; `--play FILE` plays it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Final

from tests.simulation.mutants import MUTANTS
from tests.simulation.report import Report, hunt, play_all, play_script
from tests.simulation.schedule import LENGTH, Schedule
from tests.simulation.script import Script, read_script
from tests.simulation.shrink import PLAYS_MAX, shrink

CHUNK: Final = 25
"""How many schedules a worker plays on one stage before it tells what they have shown."""


def _reports(given: argparse.Namespace) -> Iterator[Report]:
    """Yield what the schedules show, some at a time, played by as many processes as are wanted."""
    last = given.seed + given.schedules
    chunks = [range(at, min(at + CHUNK, last)) for at in range(given.seed, last, CHUNK)]
    if given.workers == 1 or given.ledger or given.first or given.at or given.length != LENGTH:
        for chunk in chunks:
            report = play_all(
                chunk,
                given.ledger,
                given.mutant,
                first=given.first,
                at=frozenset(given.at),
                length=given.length,
            )
            yield report
            if report.problems and given.first:
                return
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, mp_context=spawn) as pool:
        yield from pool.map(play_all, chunks, repeat(""), repeat(given.mutant))


def main(arguments: Sequence[str]) -> int:
    """Play what the arguments say; 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the others follow it")
    parser.add_argument("--ledger", default="", help="a PostgreSQL database's address")
    parser.add_argument(
        "--mutant", choices=sorted(MUTANTS), default="", help="take a safeguard out"
    )
    parser.add_argument("--length", type=int, default=LENGTH, help="how many events each has")
    parser.add_argument("--workers", type=int, default=1, help="how many processes play")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--hunt", action="store_true", help="go on until every point was hit")
    parser.add_argument(
        "--at", nargs="+", default=[], metavar="POINT", help="lie in wait here and nowhere else"
    )
    parser.add_argument("--shrink", type=Path, metavar="FILE", help="write the first that fails")
    parser.add_argument("--plays", type=int, default=PLAYS_MAX, help="how many tries that may take")
    parser.add_argument("--play", type=Path, metavar="FILE", help="play a script that was written")
    given = parser.parse_args(arguments)
    if given.play:
        return _played(play_script(read_script(given.play), given.mutant, given.ledger))
    given.first |= given.shrink is not None
    total, began = Report(), time.monotonic()
    for report in _reports(given):
        total.add(report)
        _show(report, given)
    if given.shrink and total.scripts:
        return _shrunk(total.scripts[min(total.scripts)], given)
    if given.hunt:
        hunted = hunt(total, given.ledger)
        total.add(hunted)
        _show(hunted, given)
    seconds = time.monotonic() - began
    print(total.table())
    print(
        f"{total.played} schedules from seed {given.seed} in {seconds:.0f} s "
        f"({total.played / seconds:.2f} a second); {len(total.problems)} failed: {sorted(total.problems)}"
    )
    if total.never_killed_at:
        print(f"never killed at: {', '.join(total.never_killed_at)}")
    if total.unknown:
        print(f"not in the list of points: {', '.join(total.unknown)}")
    return 1 if total.problems or total.unknown else 0


def _shrunk(script: Script, given: argparse.Namespace) -> int:
    """Make a script as short as it can be, and write it."""
    short, schedule = shrink(
        script,
        given.mutant,
        given.ledger,
        given.plays,
        on_shorter=lambda found: found.write(given.shrink),
    )
    short.write(given.shrink)
    print(f"{len(script.events)} events shrunk to {len(short.events)}: {given.shrink}")
    return _played(schedule)


def _played(schedule: Schedule) -> int:
    """Print what happened and what is wrong."""
    print("\n".join(schedule.log))
    for problem in schedule.problems:
        print(f"--> {problem}")
    return 1 if schedule.problems else 0


def _show(report: Report, given: argparse.Namespace) -> None:
    """Print the log of each schedule that failed, what is wrong, and how to repeat it."""
    for seed, problems in sorted(report.problems.items()):
        print(f"\n=== seed {seed}")
        print("\n".join(report.logs[seed]))
        for problem in problems:
            print(f"--> {problem}")
        more = "".join(f" --{n} {v}" for n in ("ledger", "mutant") if (v := getattr(given, n)))
        at = report.hunted.get(seed) or given.at
        more += f" --at {shlex.join(sorted(at))}" if at else ""
        print(f"=== python -m tests.simulation --schedules 1 --seed {seed}{more}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
