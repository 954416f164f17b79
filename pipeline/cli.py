"""The command `insights`: the same jobs as sensor and schedule, and what an admin asks.

Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration, 3 nothing could be done now.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from pipeline.core.errors import InsightsError
from pipeline.core.integration import OBJECTS

if TYPE_CHECKING:
    from assets.work import WorkResource
    from pipeline.steps.work import Work

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
OBJECT_OPTION = click.option(
    "--object", "objects", type=click.Choice(OBJECTS), multiple=True, help="Only these objects."
)
FAILED: Final = 1


def main() -> None:
    """Run the command; an error that a person can act on ends it with its message alone."""
    warnings.filterwarnings("ignore", module="dagster")
    try:
        cli()
    except InsightsError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="predictive-insights-salesforce")
def cli() -> None:
    """Keep predictive scores, ranks and insights fresh in Salesforce."""


@cli.command()
@JSON_OPTION
def check(as_json: bool) -> None:
    """Hold every integration against the org, and turn on those that are ready."""
    from pipeline.steps.preflight import check as preflight

    found = _with_work(preflight)
    ready = [integration.name for integration in found.ready]
    if as_json:
        _print_json(
            {
                "ready": ready,
                "problems": [
                    {
                        "severity": p.severity,
                        "where": p.where,
                        "message": p.message,
                        "remedy": p.remedy,
                    }
                    for p in found.problems
                ],
            }
        )
    else:
        for name in ready:
            click.echo(f"passed   {name}")
        for problem in found.problems:
            click.echo(f"{problem.severity:8} {problem}")
    if found.errors:
        sys.exit(FAILED)


@cli.command()
@OBJECT_OPTION
@JSON_OPTION
def pull(objects: tuple[str, ...], as_json: bool) -> None:
    """Pull what changed, score and push what is due: the job that the sensor launches."""
    _run_job("pull", objects, as_json)


@cli.command()
@OBJECT_OPTION
@JSON_OPTION
def refresh(objects: tuple[str, ...], as_json: bool) -> None:
    """Run the daily pull now: what was never scored, then what was scored too long ago."""
    _run_job("daily_pull", objects, as_json)


@cli.command()
@JSON_OPTION
def status(as_json: bool) -> None:
    """Show what is used of the day, what waits and until when, and what failed. No API call."""
    from pipeline.steps.report import status as report

    found = _with_work(report)
    if as_json:
        _print_json(found.as_json())
        return
    click.echo(f"{found.day}: {found.limit_used} of {found.limit} records scored or claimed")
    calls = sum(found.api_calls.values())
    click.echo(f"API calls: {calls} of {found.api_calls_limit}")
    _table(found.integrations, ("integration", "state", "market_version"))
    if found.waiting:
        _table(found.waiting, ("object", "reason", "state", "records"))
        click.echo(f"{found.waiting_total} waiting, the last done on {found.last_done_on}")
    else:
        click.echo("Nothing waits.")
    for code, records in found.failing.items():
        click.echo(f"failing: {records} with {code}; see `insights failures`")


@cli.command()
@JSON_OPTION
def failures(as_json: bool) -> None:
    """List the records that failed last time, with Salesforce's own code and message."""
    rows = [
        {
            "object": row.object,
            "id": row.record_id,
            "code": row.error_code,
            "message": row.error_message,
            "tries": row.tries,
            "next_try": row.not_before,
        }
        for row in _with_work(lambda work: work.ledger.waiting.failures())
    ]
    if as_json:
        _print_json(rows)
    elif rows:
        _table(rows, ("object", "id", "code", "message", "tries", "next_try"))
    else:
        click.echo("No record is failing.")


def _with_work(step: Callable[[Work], Any]) -> Any:
    """Open the clients as a run would, do `step`, close them."""
    resource = _definitions_work()
    try:
        return step(resource.get(f"cli-{datetime.now().astimezone():%Y%m%d%H%M%S%f}"))
    finally:
        resource.close()


def _definitions_work() -> WorkResource:
    from assets.work import WorkResource
    from pipeline.definitions import defs

    resource = (defs.resources or {})["work"]
    if not isinstance(resource, WorkResource):
        raise TypeError("the definitions' resource `work` is of another kind")
    return resource


def _run_job(job: str, objects: Sequence[str], as_json: bool) -> None:
    """Run a job for each object on the shared Dagster instance, one after the other."""
    from pipeline.instance import prepare_dagster_home

    prepare_dagster_home()
    from pipeline.runs import run_now

    results = run_now(job, objects)
    if as_json:
        _print_json(results)
    else:
        for result in results:
            figures = result["figures"]
            shown = (
                "read",
                "not_due",
                "due",
                "claimed",
                "scored",
                "pushed",
                "failed",
                "gone",
                "waiting",
            )
            words = ", ".join(f"{figures[key]} {key}" for key in shown if key in figures)
            click.echo(
                f"{result['object']}: {words or result['note']} (run {result['run_id'][:8]})"
            )
            if result["error"]:
                click.echo(f"  {result['error']}", err=True)
    if any(result["error"] for result in results):
        sys.exit(FAILED)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(len(c), *(len(row[i]) for row in cells)) for i, c in enumerate(columns)]
    for line in [list(columns), *cells]:
        click.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone().isoformat(timespec="minutes")
    return "" if value is None else str(value)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, default=_plain, indent=2))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)
