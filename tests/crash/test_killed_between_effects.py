"""Kill -9 between any two effects, and a disk that is full at any of them: the next ticks finish the work (R15, R20 to R23, D3)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SEED: Final = 11
"""Which effects are tried at every commit; the slow ones try all, or others."""

ALL: Final = 1_000
"""More than there are effects."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trials", "options"),
    [
        ("killed", 2, ["--workers=1"]),
        *(
            pytest.param(*case, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])
            for case in (
                ("killed", ALL, []),
                ("killed", 6, ["--through-dagster"]),
                ("full-disk", 20, []),
                ("lake-lost", 12, []),
                ("ledger-restored", 12, []),
            )
        ),
    ],
)
def test_run_that_ends_between_any_two_effects_is_finished_by_the_next_ticks(
    kind: str, trials: int, options: list[str]
) -> None:
    """R20, D3: scored right, pushed once, charged once, no job left open, nothing waits."""
    command = [sys.executable, "-m", "tests.crash", "--kind", kind, "--trials", str(trials)]

    done = subprocess.run(
        [*command, "--seed", str(SEED), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, f"seed {SEED}: {done.stdout[-6000:]}{done.stderr[-2000:]}"
    effects = re.search(r"(\d+) effects, (\d+) trials", done.stdout)
    assert effects is not None, done.stdout
    assert int(effects[1]) > 100
    tried = min(trials, int(effects[1]))
    assert int(effects[2]) == tried
    assert len(re.findall(r"^ok ", done.stdout, re.MULTILINE)) == tried
