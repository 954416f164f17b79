"""The commands `pull` and `refresh`: the jobs that sensor and schedule launch, run now (R26)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from pipeline.commands.options import JSON_OPTION, OBJECTS_OPTION
from pipeline.commands.terminal import print_json, print_table, say

SHOWN: Final = (
    "read",
    "not_due",
    "due",
    "claimed",
    "scored",
    "pushed",
    "failed",
    "gone",
    "waiting",
    "would_push",
    "would_set_aside",
)
"""A run's figures that a line on the terminal has room for."""

DRY_RUN_COLUMNS: Final = ("id", "reason", "field", "stands", "would_be")

DRY_RUN_OPTION = click.option(
    "--dry-run", is_flag=True, help="Show what would be pushed beside what stands; write nothing."
)
FIRST_OPTION = click.option(
    "--first",
    type=click.IntRange(min=0),
    default=0,
    help="Push no more than so many records; in a dry run, show so many.",
)


@click.command()
@OBJECTS_OPTION
@DRY_RUN_OPTION
@FIRST_OPTION
@JSON_OPTION
def pull(objects: tuple[str, ...], dry_run: bool, first: int, as_json: bool) -> None:
    """Pull what changed, score and push what is due: the job that the sensor launches."""
    _run_job("pull", objects, {"dry_run": dry_run, "first": first}, as_json)


@click.command()
@OBJECTS_OPTION
@DRY_RUN_OPTION
@FIRST_OPTION
@JSON_OPTION
def refresh(objects: tuple[str, ...], dry_run: bool, first: int, as_json: bool) -> None:
    """Run the daily pull now: what was never scored, then what was scored too long ago."""
    _run_job("daily_pull", objects, {"dry_run": dry_run, "first": first}, as_json)


def _run_job(job: str, objects: Sequence[str], options: Mapping[str, Any], as_json: bool) -> None:
    """Run a job for each object on the shared Dagster instance, one after the other."""
    from pipeline.instance import prepare_dagster_home

    # Before Dagster is imported: it reads its home from the environment.
    prepare_dagster_home()
    from pipeline.runs import run_now

    results = run_now(job, objects, options=options)
    if as_json:
        print_json(results)
    else:
        for result in results:
            _print_run(result)

    codes = {result["exit_code"] for result in results} - {0}
    if codes:
        sys.exit(min(codes))


def _print_run(result: Mapping[str, Any]) -> None:
    """Print one run's figures on a line; of a dry run, its rows as well."""
    figures = result["figures"]
    words = ", ".join(f"{figures[key]} {key.replace('_', ' ')}" for key in SHOWN if key in figures)
    say(f"{result['object']}: {words or result['note']} (run {result['run_id'][:8]})")

    if figures.get("rows"):
        print_table(figures["rows"], DRY_RUN_COLUMNS)
    if result["error"]:
        say(f"  {result['error']}", err=True)
