"""The command `insights`: the same jobs as sensor and schedule, and what an admin asks.

Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration, 3 nothing could be done now.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.explain import explain
from pipeline.commands.failures import failures
from pipeline.commands.init import init
from pipeline.commands.login import login
from pipeline.commands.mapping import mapping
from pipeline.commands.org import org
from pipeline.commands.pause import pause, resume
from pipeline.commands.printing import JSON_OPTION, print_json, table
from pipeline.commands.provision import provision
from pipeline.commands.rescore import rescore
from pipeline.commands.schema import schema
from pipeline.core.configuration.integration import OBJECTS
from pipeline.core.errors import InsightsError

if TYPE_CHECKING:
    from pipeline.steps.clients import Clients
    from pipeline.steps.preflight import Preflight

OBJECT_OPTION = click.option(
    "--object", "objects", type=click.Choice(OBJECTS), multiple=True, help="Only these objects."
)
DRY_RUN_OPTION = click.option(
    "--dry-run", is_flag=True, help="Show what would be pushed beside what stands; write nothing."
)
FIRST_OPTION = click.option(
    "--first",
    type=click.IntRange(min=0),
    default=0,
    help="Push no more than so many records; in a dry run, show so many.",
)
FAILED: Final = 1
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


def main() -> None:
    """Run the command; an error that a person can act on ends it with its message alone."""
    warnings.filterwarnings("ignore", module="dagster")
    _keep_retries_off_stdout()
    try:
        cli()
    except InsightsError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


def _keep_retries_off_stdout() -> None:
    """Keep the retry library from printing where `--json` prints; what fails in the end says so itself."""
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks([])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="predictive-insights-salesforce")
def cli() -> None:
    """Keep predictive scores, ranks and insights fresh in Salesforce."""


@cli.command()
@JSON_OPTION
def check(as_json: bool) -> None:
    """Hold every integration against the org, and turn on those that are ready."""
    from pipeline.steps.asking.plan import plan as make_plan
    from pipeline.steps.preflight import check_and_roll_out as preflight
    from pipeline.steps.setting_up.org import check_environment, connected_org

    def step(clients: Clients) -> tuple[Preflight, list[str]]:
        settings = clients.configuration.settings
        check_environment(settings.environment, connected_org(clients.org))
        found = preflight(clients)
        too_slow = make_plan(clients).warnings if found.ready else []
        return found, [*clients.configuration.notices(clients.today), *too_slow]

    found, notices = _with_clients(step)
    ready = [integration.name for integration in found.ready]
    if as_json:
        print_json(
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
                "notices": notices,
            }
        )
    else:
        table(_check_rows(found), ("integration", "result", "where", "what", "do"))
        for notice in notices:
            click.echo(f"notice: {notice}")
    if found.errors:
        sys.exit(FAILED)


@cli.command()
@OBJECT_OPTION
@DRY_RUN_OPTION
@FIRST_OPTION
@JSON_OPTION
def pull(objects: tuple[str, ...], dry_run: bool, first: int, as_json: bool) -> None:
    """Pull what changed, score and push what is due: the job that the sensor launches."""
    _run_job("pull", objects, {"dry_run": dry_run, "first": first}, as_json)


@cli.command()
@OBJECT_OPTION
@DRY_RUN_OPTION
@FIRST_OPTION
@JSON_OPTION
def refresh(objects: tuple[str, ...], dry_run: bool, first: int, as_json: bool) -> None:
    """Run the daily pull now: what was never scored, then what was scored too long ago."""
    _run_job("daily_pull", objects, {"dry_run": dry_run, "first": first}, as_json)


@cli.command()
@JSON_OPTION
def plan(as_json: bool) -> None:
    """Say what waits and until when, and what new, changed or switched-off integrations would make due."""
    from pipeline.steps.asking.plan import plan as make_plan

    found = _with_clients(make_plan)
    if as_json:
        print_json(found.as_json())
        return
    click.echo(f"{found.day}: {found.left_today} of {found.limit} records left today")
    if found.waiting:
        table(found.waiting, ("object", "reason", "state", "records"))
        click.echo(f"{found.waiting_total} waiting, the last done on {found.waiting_done_on}")
    rows = [asdict(row) for row in found.integrations]
    if rows:
        table(rows, ("integration", "change", "records", "due", "days"))
    if found.all_done_on:
        click.echo(f"{found.to_do} to be scored in all, the last done on {found.all_done_on}")
    for warning in found.warnings:
        click.echo(f"warning: {warning}")


@cli.command()
@JSON_OPTION
def status(as_json: bool) -> None:
    """Show what is used of the day, what waits and until when, and what failed. No API call."""
    from pipeline.steps.asking.status import status as report

    found = _with_clients(report)
    if as_json:
        print_json(found.as_json())
        return
    click.echo(f"{found.day}: {found.limit_used} of {found.limit} records scored or claimed")
    calls = sum(found.api_calls.values())
    click.echo(f"API calls: {calls} of {found.api_calls_limit}")
    if found.pulling_stopped:
        click.echo(found.pulling_stopped)
    table(found.integrations, ("integration", "state", "market_version"))
    if found.waiting:
        table(found.waiting, ("object", "reason", "state", "records"))
        click.echo(f"{found.waiting_total} waiting, the last done on {found.last_done_on}")
    else:
        click.echo("Nothing waits.")
    for code, records in found.failing.items():
        click.echo(f"failing: {records} with {code}; see `insights failures`")
    if found.slowed_down_total:
        click.echo(
            f"slowed down: {found.slowed_down_total} keep becoming due; look for a flow or an integration that rewrites "
            "an input at each save"
        )
        table(found.slowed_down, ("object", "id", "scored_24h", "last_scored", "until"))


for _command in (
    init,
    login,
    mapping,
    provision,
    failures,
    org,
    pause,
    resume,
    rescore,
    explain,
    schema,
):
    cli.add_command(_command)


def _with_clients(step: Callable[[Clients], Any]) -> Any:
    """Open the clients as a run would, do `step`, close them."""
    with opened_clients() as clients:
        return step(clients)


def _run_job(job: str, objects: Sequence[str], options: Mapping[str, Any], as_json: bool) -> None:
    """Run a job for each object on the shared Dagster instance, one after the other."""
    from pipeline.instance import prepare_dagster_home

    prepare_dagster_home()
    from pipeline.runs import run_now

    results = run_now(job, objects, options=options)
    if as_json:
        print_json(results)
    else:
        for result in results:
            _show_run(result)
    codes = {result["exit_code"] for result in results} - {0}
    if codes:
        sys.exit(min(codes))


def _check_rows(found: Preflight) -> list[dict[str, str]]:
    """Return preflight as one table: a line for each integration that passed, and for each problem."""
    rows = []
    for integration, problems in found.found:
        empty = {"integration": integration.name, "where": "", "what": "", "do": ""}
        if not any(problem.severity == "error" for problem in problems):
            rows.append({**empty, "result": "passed"})
        rows += [
            {
                "integration": integration.name,
                "result": problem.severity,
                "where": problem.where.removeprefix(f"{integration.name}: "),
                "what": problem.message,
                "do": problem.remedy,
            }
            for problem in problems
        ]
    return rows


def _show_run(result: Mapping[str, Any]) -> None:
    """Print one run's figures on a line; of a dry run, its rows as well."""
    figures = result["figures"]
    words = ", ".join(f"{figures[key]} {key.replace('_', ' ')}" for key in SHOWN if key in figures)
    click.echo(f"{result['object']}: {words or result['note']} (run {result['run_id'][:8]})")
    if figures.get("rows"):
        table(figures["rows"], ("id", "reason", "field", "stands", "would_be"))
    if result["error"]:
        click.echo(f"  {result['error']}", err=True)
