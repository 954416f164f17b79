"""`insights init`: a first configuration for the connected org."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, available_timezones

import click

from pipeline.commands.clients import (
    opened_ledger,
    opened_org,
)
from pipeline.commands.options import JSON_OPTION
from pipeline.commands.terminal import can_ask, print_json, say
from pipeline.core.configuration.integration import OBJECTS

if TYPE_CHECKING:
    from pipeline.steps.setting_up.init import Answers, MarketSource, StartingSet

SAMPLES: Final = Path(__file__).parent.parent.parent / "config" / "local" / "markets"
PULL_TIME_HELP: Final = 'Time of the daily pull in that zone, such as "02:00".'


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
    """Write a first configuration for the connected org: settings, and mappings to correct."""
    from pipeline.steps.setting_up import init as step

    environment = environment or _ask_environment()
    where = _config_folder(folder, environment)

    known = step.markets_to_choose(where / "markets", SAMPLES)
    answers = step.check_answers(
        step.Answers(
            environment=environment,
            time_zone=time_zone or _ask_time_zone(),
            objects=objects or _ask_objects(),
            markets=markets or _ask_markets(known),
            daily_pull_time=daily_pull_time,
        ),
        known,
    )
    files, what = _write_starting_set(answers, known, where, force=force)

    if as_json:
        print_json({"folder": str(where), "files": [str(path) for path in files]})
        return
    _print_starting_set(where, files, what)


def _write_starting_set(
    answers: Answers, known: dict[str, MarketSource], where: Path, *, force: bool
) -> tuple[list[Path], StartingSet]:
    """Ask the org what it has, and write what follows from it."""
    from pipeline.steps.setting_up import init as step
    from pipeline.steps.setting_up.org import check_environment, connected_org

    zone = ZoneInfo(answers.time_zone)
    with opened_ledger() as ledger, opened_org(ledger, zone) as org:
        check_environment(answers.environment, connected_org(org))
        today = datetime.now(zone).date()
        what = step.starting_set(answers, known, org.describe, today, where)
    return step.write(where, what, force=force), what


def _print_starting_set(where: Path, files: list[Path], what: StartingSet) -> None:
    for path in files:
        say(f"wrote    {path}")
    for name in what.passed_over:
        say(f"left out {name}")

    for suggestion in what.suggestions:
        for proposal in suggestion.inputs:
            if proposal.path is None and (proposal.used_by_model or proposal.required):
                name = f"{suggestion.object}.{suggestion.market}"
                say(f"to map   {name}: no field fits {proposal.label}")

    say(
        f"Next: read the mappings, then\n  export INSIGHTS_CONFIG={where}\n"
        "  insights provision --dry-run   # the fields that are missing\n"
        "  insights check                 # turns on what is ready"
    )


def _config_folder(folder: Path | None, environment: str) -> Path:
    given = os.environ.get("INSIGHTS_CONFIG")
    return (folder or Path(given or Path("config") / environment)).resolve()


def _ask_environment() -> str:
    from pipeline.steps.setting_up.init import ENVIRONMENTS

    _require_terminal("--environment", ENVIRONMENTS)
    return str(click.prompt("Kind of org", type=click.Choice(ENVIRONMENTS)))


def _ask_time_zone() -> str:
    _require_terminal("--time-zone", ("Europe/Berlin", "America/New_York", "UTC", "…"))
    return str(click.prompt("Time zone whose days count", default=_machine_time_zone()))


def _ask_objects() -> tuple[str, ...]:
    _require_terminal("--object", OBJECTS)
    return _parts(click.prompt("Objects to score", default=", ".join(OBJECTS)))


def _ask_markets(known: dict[str, MarketSource]) -> tuple[str, ...]:
    if not can_ask():
        return tuple(known)
    return _parts(click.prompt("Markets", default=", ".join(known)))


def _parts(text: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _require_terminal(option: str, allowed: tuple[str, ...]) -> None:
    if not can_ask():
        raise click.UsageError(f"{option} is missing: one of {', '.join(allowed)}.")


def _machine_time_zone() -> str:
    """Return this machine's time zone, UTC where it does not say."""
    link = Path("/etc/localtime")
    name = os.environ.get("TZ") or (
        str(link.resolve()).rpartition("zoneinfo/")[2] if link.is_symlink() else ""
    )
    return name if name in available_timezones() else "UTC"
