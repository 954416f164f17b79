"""Commands that connect, map and prepare: `init`, `login`, `mapping suggest`, `provision`."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, available_timezones

import click

from pipeline.commands.opening import (
    counting_zone,
    opened_admin,
    opened_ledger,
    opened_org,
    opened_work,
)
from pipeline.commands.printing import (
    JSON_OPTION,
    YES_OPTION,
    can_ask,
    confirmed,
    print_json,
    problem_row,
)
from pipeline.core.integration import OBJECTS

if TYPE_CHECKING:
    from pipeline.core.provisioning import Plan, WantedField
    from pipeline.steps.init import Answers, MarketSource, StartingSet
    from pipeline.steps.provision import Provisioned

FAILED: Final = 1
SAMPLES: Final = Path(__file__).parent.parent.parent / "config" / "local" / "markets"
PULL_TIME_HELP: Final = 'Time of the daily pull in that zone, such as "02:00".'


# --- init


@click.command()
@click.option("--environment", help="local, sandbox or production.")
@click.option("--time-zone", help="Whose calendar days the limits count, such as Europe/Berlin.")
@click.option(
    "--object",
    "objects",
    multiple=True,
    help=f"{', '.join(OBJECTS)}; may be given several times.",
)
@click.option(
    "--market", "markets", multiple=True, help="Default: every market that there is; several times."
)
@click.option("--daily-pull-time", default="02:00", show_default=True, help=PULL_TIME_HELP)
@click.option(
    "--config",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to. Default: INSIGHTS_CONFIG, else config/<environment>.",
)
@click.option("--force", is_flag=True, help="Replace settings and integrations that are there.")
@JSON_OPTION
def init(
    environment: str | None,
    time_zone: str | None,
    objects: tuple[str, ...],
    markets: tuple[str, ...],
    daily_pull_time: str,
    folder: Path | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Write a first configuration for the connected org: settings, and mappings to read and correct."""
    from pipeline.steps import init as step

    environment = environment or _asked_environment()
    where = _config_folder(folder, environment)
    known = step.markets_to_choose(where / "markets", SAMPLES)
    answers = step.checked(
        step.Answers(
            environment=environment,
            time_zone=time_zone or _asked_time_zone(),
            objects=objects or _asked_list("Objects to score", OBJECTS),
            markets=markets or _asked_markets(known),
            daily_pull_time=daily_pull_time,
        ),
        known,
    )
    written, what = _write_starting_set(answers, known, where, force=force)
    if as_json:
        print_json({"folder": str(where), "files": [str(path) for path in written]})
        return
    _say_starting_set(where, written, what)


def _write_starting_set(
    answers: Answers, known: dict[str, MarketSource], where: Path, *, force: bool
) -> tuple[list[Path], StartingSet]:
    """Ask the org what it has, and write what follows from it."""
    from pipeline.steps import init as step
    from pipeline.steps.org import check_environment, connected_org

    zone = ZoneInfo(answers.time_zone)
    with opened_ledger() as ledger, opened_org(ledger, zone) as org:
        check_environment(answers.environment, connected_org(org))
        today = datetime.now(zone).date()
        what = step.starting_set(answers, known, org.describe, today, where)
    return step.write(where, what, force=force), what


def _say_starting_set(where: Path, written: list[Path], what: StartingSet) -> None:
    for path in written:
        click.echo(f"wrote    {path}")
    for name in what.passed_over:
        click.echo(f"left out {name}")
    for suggestion in what.suggestions:
        for proposal in suggestion.inputs:
            if proposal.path is None and (proposal.used_by_model or proposal.required):
                name = f"{suggestion.object}.{suggestion.market}"
                click.echo(f"to map   {name}: no field fits {proposal.label}")
    click.echo(
        f"Next: read the mappings, then\n  export INSIGHTS_CONFIG={where}\n"
        "  insights provision --dry-run   # the fields that are missing\n"
        "  insights check                 # turns on what is ready"
    )


def _config_folder(folder: Path | None, environment: str) -> Path:
    given = os.environ.get("INSIGHTS_CONFIG")
    return (folder or Path(given or Path("config") / environment)).resolve()


def _asked_environment() -> str:
    from pipeline.steps.init import ENVIRONMENTS

    _require_terminal("--environment", ENVIRONMENTS)
    return str(click.prompt("Kind of org", type=click.Choice(ENVIRONMENTS)))


def _asked_time_zone() -> str:
    _require_terminal("--time-zone", ("Europe/Berlin", "America/New_York", "UTC", "…"))
    return str(click.prompt("Time zone whose days count", default=_time_zone_here()))


def _asked_list(question: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    _require_terminal("--object", allowed)
    text = str(click.prompt(question, default=", ".join(allowed)))
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _asked_markets(known: dict[str, MarketSource]) -> tuple[str, ...]:
    if not can_ask():
        return tuple(known)
    text = str(click.prompt("Markets", default=", ".join(known)))
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _require_terminal(option: str, allowed: tuple[str, ...]) -> None:
    if not can_ask():
        raise click.UsageError(f"{option} is missing: one of {', '.join(allowed)}.")


def _time_zone_here() -> str:
    """Return this machine's time zone, UTC where it does not say."""
    link = Path("/etc/localtime")
    name = os.environ.get("TZ") or (
        str(link.resolve()).rpartition("zoneinfo/")[2] if link.is_symlink() else ""
    )
    return name if name in available_timezones() else "UTC"


# --- login


@click.command()
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening it.")
@click.option("--port", type=click.IntRange(0, 65535), default=1717, show_default=True)
@click.option("--timeout", "seconds", type=click.FloatRange(min=1), default=300, show_default=True)
@click.option("--forget", is_flag=True, help="Delete the login that is kept.")
def login(port: int, seconds: float, *, no_browser: bool, forget: bool) -> None:
    """Log in through the browser, once; all other commands then use that login.

    SALESFORCE_LOGIN_URL names the org, SALESFORCE_CLIENT_ID the app (and SALESFORCE_CLIENT_SECRET where it
    needs one). The app's callback URL is http://localhost:PORT/callback.
    """
    from pipeline.steps.login import forget_login, log_in
    from resources.configurable import login_file
    from resources.salesforce.connection import login_app

    file = login_file()
    if forget:
        kept = forget_login(file)
        click.echo(f"Deleted {file}." if kept else "No login is kept.")
        return
    app = login_app(os.environ, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    zone = counting_zone()
    with opened_ledger() as ledger:
        org_id = log_in(
            app,
            show=lambda url: _show_login(url, opened=not no_browser),
            on_call=lambda call: ledger.calls.count(datetime.now(zone).date(), call.kind),
            port=port,
            seconds=seconds,
        )
        remembered = ledger.state.org_id()
    click.echo(f"Logged in to org {org_id or '(not told)'}. Kept in {file}, for your eyes only.")
    if remembered and org_id and remembered != org_id:
        click.echo(
            f"Everything so far belongs to org {remembered}: nothing runs until `insights org switch`."
        )
    _warn_of_other_ways()


def _show_login(url: str, *, opened: bool) -> None:
    """Open the address; print it as well, for a browser that did not come up."""
    if opened and webbrowser.open(url):
        click.echo("Log in in the browser. If it did not open, go to:")
    else:
        click.echo("Open this address in a browser on this machine:")
    click.echo(url)


def _warn_of_other_ways() -> None:
    names = ("REFRESH_TOKEN", "PRIVATE_KEY", "PASSWORD")
    for name in (f"SALESFORCE_{n}{suffix}" for n in names for suffix in ("", "_FILE")):
        if os.environ.get(name, "").strip():
            click.echo(f"warning: {name} is set and comes first; unset it to use this login.")


# --- mapping


@click.group()
def mapping() -> None:
    """Map market inputs and outputs to Salesforce fields."""


@mapping.command()
@click.argument("object_name", metavar="OBJECT")
@click.argument("market")
@click.option("--write", is_flag=True, help="Write it to integrations/, where there is none yet.")
@JSON_OPTION
def suggest(object_name: str, market: str, *, write: bool, as_json: bool) -> None:
    """Propose the mappings of MARKET on OBJECT from the org's fields, as YAML to read and save.

    An asterisk marks inputs that the model was built on; `Account:` stands before fields of a contact's account.
    """
    from pipeline.core.suggest import as_yaml
    from pipeline.steps.init import write_integration
    from pipeline.steps.suggest import suggest_mapping
    from resources.configurable import config_folder

    with opened_work() as work:
        found = suggest_mapping(work, object_name, market)
    path = write_integration(config_folder(), found) if write else None
    if as_json:
        print_json({**asdict(found), "file": str(path) if path else None})
    elif path:
        click.echo(f"wrote {path}, switched off: read it, then set enabled: true.")
    else:
        click.echo(as_yaml(found, enabled=False), nl=False)


# --- provision


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option(
    "--object", "objects", type=click.Choice(OBJECTS), multiple=True, help="Only these objects."
)
@click.option(
    "--user", "users", multiple=True, help="Let this user (by user name) see the fields as well."
)
@YES_OPTION
@JSON_OPTION
def provision(
    objects: tuple[str, ...], users: tuple[str, ...], *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Create the missing fields in the org and let the integration user use them, after showing them.

    Fields that are there are never changed. Needs an admin: by SALESFORCE_ADMIN_... variables for this command
    alone, or where the integration user is one.
    """
    from pipeline.steps import provision as step

    with opened_work() as work:
        plan = step.plan(work, objects)
        if not as_json:
            _show_plan(plan)
        act = not plan.is_empty and not dry_run
        if act and confirmed("Create and grant these fields?", yes=yes):
            with opened_admin(work) as admin:
                done = step.provision(work, plan, admin, users=users, names=objects)
        else:
            done = None
    if as_json:
        print_json(_plan_json(plan, done))
    elif done:
        _show_done(done)
    if plan.wrong or (done and (done.refused or any(p.severity == "error" for p in done.problems))):
        sys.exit(FAILED)


def _show_plan(plan: Plan) -> None:
    for wanted in plan.create:
        click.echo(f"create   {wanted.full_name:<60} {wanted.words:<16} {wanted.label}")
    for wanted in plan.grant:
        click.echo(f"grant    {wanted.full_name:<60} Edit")
    for line in plan.wrong:
        click.echo(f"wrong    {line}")
    if plan.is_empty:
        click.echo("Nothing to create or grant.")
    else:
        count = len(plan.create) + len(plan.grant)
        click.echo(
            f"{count} fields, granted by the permission set Predictive_Insights; "
            f"about {len(plan.create) + 8} API calls."
        )


def _show_done(done: Provisioned) -> None:
    click.echo(
        f"{len(done.created)} created, {len(done.already_there)} there already but hidden, "
        f"{len(done.granted)} granted"
    )
    for name, why in done.refused.items():
        click.echo(f"refused  {name}: {why}")
    for problem in done.problems:
        click.echo(f"{problem.severity:8} {problem}")
    if not done.problems:
        click.echo("Preflight finds nothing wrong. Next: insights check")


def _plan_json(plan: Plan, done: Provisioned | None) -> dict[str, object]:
    def rows(fields: Sequence[WantedField]) -> list[dict[str, str]]:
        return [{"field": w.full_name, "label": w.label, "type": w.words} for w in fields]

    return {
        "create": rows(plan.create),
        "grant": rows(plan.grant),
        "wrong": list(plan.wrong),
        "done": None
        if done is None
        else {
            "created": done.created,
            "already_there": done.already_there,
            "granted": done.granted,
            "refused": done.refused,
            "problems": [problem_row(problem) for problem in done.problems],
        },
    }
