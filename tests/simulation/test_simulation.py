"""Schedules that kill, fault and crowd the pipeline end as promised; with a safeguard taken out they do not (R15, R20 to R25)."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.report import Report, hunt, play_all

pytestmark = pytest.mark.timeout(900)
PARTS = 10
SCHEDULES = 10
FOUND_BY = {"overlap": 4, "claim": 1, "lease": 30, "digest": 3, "waiting": 1}
"""The seed that shows first what is missing; where the pipeline changes, one of those after it does."""
MORE_SEEDS = 60


@pytest.fixture(scope="module")
def shown() -> Report:
    """What the schedules of this module have shown together."""
    return Report()


@pytest.mark.parametrize("part", range(PARTS))
def test_after_every_schedule_nothing_is_lost_twice_or_over_the_limit(
    part: int, shown: Report
) -> None:
    """Each seed's log is printed where it fails: `python -m tests.simulation --schedules 1 --seed N` repeats it."""
    first = 1 + part * SCHEDULES

    report = play_all(range(first, first + SCHEDULES))

    shown.add(report)
    print(f"seeds {first} to {first + SCHEDULES - 1}")
    assert not report.problems, _told(report)


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
def test_without_a_safeguard_some_schedule_fails(mutant: str) -> None:
    first = FOUND_BY[mutant]

    report = play_all(range(first, first + MORE_SEEDS), mutant=mutant, first=True)

    assert report.problems, f"no schedule from seed {first} on misses the {mutant}"


def test_a_seed_is_the_same_schedule_each_time() -> None:
    """What a seed shows can be repeated: the same happens in the same order."""
    one, other = (play_all([7], keep_logs=True).logs[7] for _ in range(2))

    assert one == other


def _told(report: Report) -> str:
    """Return the log of each schedule that failed, and what is wrong."""
    told: list[str] = []
    for seed, problems in sorted(report.problems.items()):
        at = sorted(report.hunted.get(seed, ()))
        told += [f"=== seed {seed} {at or ''}", *report.logs[seed], *problems]
    return "\n".join(told)
