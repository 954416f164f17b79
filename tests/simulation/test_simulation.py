"""Schedules that kill, fault and crowd the pipeline end as promised; with a safeguard taken out they do not (R15, R20 to R25)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.report import Report, hunt, play_all, play_script
from tests.simulation.script import read_script

SCRIPTS: Final = Path(__file__).parent / "scripts"
"""Schedules stored as data, each as short as it can be: each fails without the safeguard that it is named after."""


PARTS: Final = 25
SCHEDULES: Final = 4
AT_EVERY_COMMIT: Final = 1
"""How many of the parts `make test` plays; the others are slow."""

SAFEGUARDS_AT_EVERY_COMMIT: Final = frozenset({"claim", "waiting", "bisect"})
"""Whose scripts `make test` plays."""


@pytest.fixture(scope="module")
def shown() -> Report:
    """What the schedules of this module have shown together."""
    return Report()


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(part, marks=[pytest.mark.slow] if part >= AT_EVERY_COMMIT else [])
        for part in range(PARTS)
    ],
)
def test_after_every_schedule_nothing_is_lost_twice_or_over_the_limit(
    part: int, shown: Report
) -> None:
    """Each seed's log is printed where it fails: `python -m tests.simulation --schedules 1 --seed N` repeats it."""
    first = 1 + part * SCHEDULES

    report = play_all(range(first, first + SCHEDULES))

    shown.add(report)
    print(f"seeds {first} to {first + SCHEDULES - 1}")
    assert not report.problems, _told(report)


@pytest.mark.slow
def test_somebody_was_killed_at_every_effect_and_every_fault_fired(shown: Report) -> None:
    """Some more schedules lie in wait at those that the others have missed; no effect is met that has no name."""
    report = hunt(shown)

    shown.add(report)
    print(shown.table())
    assert not report.problems, _told(report)
    assert shown.never_killed_at == []
    assert shown.never_fired == []
    assert shown.unknown == []


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_what_a_mutant_takes_out_is_still_there(mutant: str) -> None:
    """What it replaces is named in text, which a rename does not reach."""
    with MUTANTS[mutant]():
        pass


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(name, marks=[] if name in SAFEGUARDS_AT_EVERY_COMMIT else [pytest.mark.slow])
        for name in sorted(MUTANTS)
    ],
)
def test_without_a_safeguard_its_script_fails_and_with_it_does_not(mutant: str) -> None:
    """`python -m tests.simulation --mutant NAME --shrink FILE` finds another one, should it fail no more."""
    script = read_script(SCRIPTS / f"{mutant}.json")

    without, with_it = play_script(script, mutant), play_script(script)

    assert with_it.problems == [], "\n".join(with_it.log)
    assert without.problems, "\n".join(without.log)
    assert all("the simulation itself" not in problem for problem in without.problems)


@pytest.mark.slow
def test_a_seed_is_the_same_schedule_each_time() -> None:
    """What a seed shows can be repeated: the same happens in the same order."""
    one, other = (play_all([7], keep_logs=True).logs[7] for _ in range(2))

    assert one == other


@pytest.mark.slow
def test_what_a_seed_has_drawn_is_the_same_when_it_is_played_as_data(tmp_path: Path) -> None:
    """A schedule that failed can be stored, read and played: the same happens."""
    from tests.simulation.report import play, quiet
    from tests.simulation.stage import stage

    with quiet():
        # An org of its own for each: record ids go on counting.
        with stage() as first:
            drawn = play(first, 7)
        drawn.script_played.write(tmp_path / "script.json")
        with stage() as second:
            played = play(second, 7, script=read_script(tmp_path / "script.json"))

    assert played.script_played == drawn.script_played
    assert [line for line in played.log if "upload" not in line] == [
        line for line in drawn.log if "upload" not in line
    ]


def _told(report: Report) -> str:
    """Return the log of each schedule that failed, and what is wrong."""
    told: list[str] = []
    for seed, problems in sorted(report.problems.items()):
        at = sorted(report.hunted.get(seed, ()))
        told += [f"=== seed {seed} {at or ''}", *report.logs[seed], *problems]
    return "\n".join(told)
