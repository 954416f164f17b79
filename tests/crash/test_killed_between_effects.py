"""Kill -9 between any two effects, and a disk that is full at any of them: the next ticks finish the work (R15, R20 to R23, D3)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TRIALS: Final = {"killed": 6, "full-disk": 2, "lake-lost": 2, "ledger-restored": 2}
SEED: Final = 11
"""Which effects are tried here; the command tries others, or all."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "trials"), TRIALS.items())
def test_run_that_ends_between_any_two_effects_is_finished_by_the_next_ticks(
    kind: str, trials: int
) -> None:
    """R20, D3: scored right, pushed once, charged once, no job left open, nothing waits; all effects by command."""
    command = [sys.executable, "-m", "tests.crash", "--kind", kind, "--trials", str(trials)]

    done = subprocess.run(
        [*command, "--seed", str(SEED)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, f"seed {SEED}: {done.stdout[-6000:]}{done.stderr[-2000:]}"
    effects = re.search(r"(\d+) effects, (\d+) trials", done.stdout)
    assert effects is not None, done.stdout
    assert int(effects[1]) > 100
    assert int(effects[2]) == trials
    assert len(re.findall(r"^ok ", done.stdout, re.MULTILINE)) == trials
