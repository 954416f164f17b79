"""`python -m tests.crash`: kill -9 between any two effects of a run, and see that the next ticks finish the work.

Without options every effect of a pull of two segments is tried, with a second death in the run that takes over in every
third trial. `--kind full-disk` lets the disk be full from an effect on, instead; `lake-lost` and `ledger-restored` take
what their names say away after the death. `--trials 12 --seed 4` tries so many
effects, spread over the run; the seed tells which ones. `--through-dagster` takes Dagster's engine in as well.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, start
from tests.crash.trial import Trial, disk_full, kill_twice, lake_lost, ledger_restored
from tests.plant import FIELDS

SECOND_WITHIN: Final = 100
"""The run that takes over has about so many effects."""


KINDS: Final = {
    "full-disk": disk_full,
    "lake-lost": lake_lost,
    "ledger-restored": ledger_restored,
}
"""What may happen at an effect beside a death alone."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens in one trial: at which effect, and where the second death is (0: nowhere)."""

    at: int
    second: int = 0
    on_the_way: bool = False
    kind: str = "killed"

    def play(self, trial: Trial) -> None:
        """Play one trial to its end; raise AssertionError where something is lost, twice or left over."""
        if self.kind == "killed":
            kill_twice(trial, self.at, self.second, on_the_way=self.on_the_way)
        else:
            KINDS[self.kind](trial, self.at)


def fates(effects: int, trials: int | None, seed: int, kind: str) -> list[Fate]:
    """Choose `trials` of the `effects`, one in each stretch of equal length; without `trials` all of them."""
    chance = random.Random(seed)
    trials = effects if trials is None else min(trials, effects)
    edges = [1 + effects * n // trials for n in range(trials + 1)]
    chosen = [chance.randrange(*stretch) for stretch in itertools.pairwise(edges)]
    if kind != "killed":
        return [Fate(at, kind=kind) for at in chosen]
    return [
        Fate(
            at,
            second=chance.randrange(1, SECOND_WITHIN) if chance.random() < 1 / 3 else 0,
            on_the_way=chance.random() < 1 / 3,
        )
        for at in chosen
    ]


@click.command()
@click.option("--kind", type=click.Choice(["killed", *KINDS]), default="killed", show_default=True)
@click.option("--trials", default=None, type=click.IntRange(min=1), help="By default all effects.")
@click.option("--seed", default=None, type=int, help="Says which effects.")
@click.option("--workers", default=2, show_default=True, help="Processes, each with its own org.")
@click.option("--through-dagster", is_flag=True, help="Runs of Dagster's in-process executor.")
@click.option("--at", "only", default=None, type=int, help="Only this effect.")
def main(
    kind: str,
    trials: int | None,
    seed: int | None,
    workers: int,
    through_dagster: bool,
    only: int | None,
) -> None:
    """End runs of the pipeline between any two effects."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}")
    began = time.monotonic()
    # How many effects there are is told by a run that nothing happens to, which warms the imports as well.
    with _org() as (org, folder):
        effects = kill_twice(Trial(org, folder / "0", through_dagster), 0, 0, on_the_way=False)
    todo = fates(effects, trials, seed, kind)
    if only is not None:
        todo = [Fate(only, kind=kind)]
    click.echo(f"{effects} effects, {len(todo)} trials")
    sys.stdout.flush()
    children = []
    for worker in range(workers):
        child = os.fork()
        if child == 0:
            os._exit(min(_work(todo[worker::workers], through_dagster), 1))
        children.append(child)
    failed = sum(bool(os.waitpid(child, 0)[1]) for child in children)
    click.echo(f"{time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


@contextmanager
def _org() -> Iterator[tuple[RunningOrg, Path]]:
    """Run an org with the test market's fields, and give a folder beside it."""
    with tempfile.TemporaryDirectory(prefix="crash-") as folder, start() as org:
        org.add_fields(**FIELDS)
        os.environ["SALESFORCE_LOGIN_URL"] = org.base_url
        os.environ |= {"SALESFORCE_CLIENT_ID": CLIENT_ID, "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET}
        yield org, Path(folder)


def _work(todo: list[Fate], through_dagster: bool) -> int:
    """Play `todo`; return how many failed."""
    failed = 0
    with _org() as (org, folder):
        for number, fate in enumerate(todo):
            trial = Trial(org, folder / str(number), through_dagster)
            try:
                fate.play(trial)
            except Exception:  # noqa: BLE001  the other trials go on
                failed += 1
                click.echo(f"FAILED {fate} {trial.fates}\n{traceback.format_exc()}")
            else:
                click.echo(f"ok {fate.at:4} before {', then '.join(trial.fates) or 'nothing'}")
            sys.stdout.flush()
    return failed


if __name__ == "__main__":
    main()
