"""Schedules that kill, fault and crowd the pipeline end as promised; with a safeguard taken out they do not (R15, R20 to R25)."""

from __future__ import annotations

import pytest

from tests.simulation.report import Report, play_all

pytestmark = pytest.mark.timeout(900)
PARTS = 2
SCHEDULES = 10


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
    for seed, problems in report.problems.items():
        print("\n".join([f"=== seed {seed}", *report.logs[seed], *problems]))
    assert not report.problems, sorted(report.problems)


def test_every_effect_has_a_name(shown: Report) -> None:
    """No effect is met that the list of points does not know; `make simulate` prints the table."""
    print(shown.table())
    assert shown.unknown == []


def test_a_seed_is_the_same_schedule_each_time() -> None:
    """What a seed shows can be repeated: the same happens in the same order."""
    one, other = (play_all([7], keep_logs=True).logs[7] for _ in range(2))

    assert one == other
