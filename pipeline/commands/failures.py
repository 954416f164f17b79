"""The command `failures`: records that failed, and trying them again (R23, R29)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.options import JSON_OPTION, OBJECTS_OPTION
from pipeline.commands.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from pipeline.steps.asking.failures import Retry
    from pipeline.steps.clients import Clients
    from resources.ledger.failures import Chosen

MESSAGE_SHOWN: Final = 120
"""Characters of a message that a line has room for; --json and --export have all."""

LISTED: Final = 20
"""How many records are listed where nothing else is said."""

COLUMNS: Final = ("object", "id", "code", "kind", "message", "tries", "last_failed", "next_try")
GROUP_COLUMNS: Final = ("records", "lasting", "first_failed", "last_failed", "next_try")
NOTHING: Final = "No record is failing."
_SPAN: Final = re.compile(r"(\d{1,5})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

CODES_OPTION = click.option(
    "--code", "codes", multiple=True, help="Only failures with these codes."
)
IDS_OPTION = click.option(
    "--id", "ids", multiple=True, help="Only these records (15 or 18 characters)."
)


@click.group(invoke_without_command=True)
@OBJECTS_OPTION
@CODES_OPTION
@click.option("--since", help="Only what failed since then: 30m, 12h, 7d, 2w, or a date or time.")
@click.option("--older", help="Only what has been failing for longer: 7d, or since before a date.")
@click.option(
    "--by",
    type=click.Choice(("code", "object", "message", "integration")),
    help="Count by this, and list no records.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LISTED,
    show_default=True,
    help="List no more records than so many.",
)
@click.option(
    "--export",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all of them to this .csv or .parquet file.",
)
@JSON_OPTION
@click.pass_context
def failures(  # noqa: PLR0917  the command line's own options
    context: click.Context,
    objects: tuple[str, ...],
    codes: tuple[str, ...],
    since: str | None,
    older: str | None,
    by: str | None,
    limit: int,
    file: Path | None,
    as_json: bool,
) -> None:
    """Show the records that failed last time, with Salesforce's own code and message.

    No API call.
    """
    if context.invoked_subcommand is not None:
        if any((objects, codes, since, older, by, file, as_json)):
            raise click.UsageError(
                f"Give options after the command: insights failures {context.invoked_subcommand} …"
            )
        return

    with opened_clients() as clients:
        chosen = _choose(clients, objects, codes, since=since, older=older)
        if file is not None:
            _export(clients, chosen, file, as_json)
        else:
            _print(clients, chosen, by, limit, as_json)


@failures.command()
@OBJECTS_OPTION
@CODES_OPTION
@IDS_OPTION
@JSON_OPTION
def retry(
    objects: tuple[str, ...], codes: tuple[str, ...], ids: tuple[str, ...], as_json: bool
) -> None:
    """Try failing records again at the next run, within the day's limit.

    Without options, all of them.
    """
    from pipeline.steps.asking.failures import ask_again

    with opened_clients() as clients:
        asked = ask_again(clients, _choose(clients, objects, codes, ids=ids))
        minutes = clients.configuration.settings.pull_interval_minutes

    if as_json:
        print_json(asdict(asked))
        return
    for line in _retry_lines(asked, minutes):
        say(line)


def parse_time(text: str, now: datetime) -> datetime:
    """Return the time that `text` names: so long before `now`, or a date or time in ISO form.

    So long before is 30m, 12h, 7d or 2w.

    A date or time without a zone is meant in the zone of `now`. Raises UsageError where it is
    neither.
    """
    span = _SPAN.fullmatch(text.strip())
    if span:
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})

    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise click.UsageError(
            f"{text!r} is no time: write 30m, 12h, 7d or 2w for so long ago, or 2026-03-10 or 2026-03-10T09:00."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=now.tzinfo)


def _choose(
    clients: Clients,
    objects: Sequence[str],
    codes: Sequence[str],
    *,
    ids: Sequence[str] = (),
    since: str | None = None,
    older: str | None = None,
) -> Chosen:
    from pipeline.steps.asking.failures import record_ids
    from resources.ledger.failures import Chosen

    return Chosen(
        objects=objects,
        codes=codes,
        ids=record_ids(ids),
        failed_since=parse_time(since, clients.local_now) if since else None,
        failing_before=parse_time(older, clients.local_now) if older else None,
    )


def _export(clients: Clients, chosen: Chosen, file: Path, as_json: bool) -> None:
    from pipeline.steps.asking.failures import export

    count = export(clients, chosen, file)
    if as_json:
        print_json({"records": count, "file": str(file)})
    else:
        say(f"{count} failing records are in {file}.")


def _print(clients: Clients, chosen: Chosen, by: str | None, limit: int, as_json: bool) -> None:
    """Show the groups, and under them, unless only groups were asked for, the newest records."""
    from pipeline.steps.asking.failures import groups, records

    total = clients.ledger.failures.count(chosen)
    grouped = [asdict(group) for group in groups(clients, by or "code", chosen)]
    listed = [] if by else records(clients, chosen, limit)

    if as_json:
        print_json({"total": total, "by": by or "code", "groups": grouped, "records": listed})
        return
    if not total:
        say(NOTHING)
        return

    print_table(
        [{by or "code": group["group"], **group} for group in grouped],
        (by or "code", *GROUP_COLUMNS),
    )
    if not by:
        say()
        print_table([row | {"message": _shortened(row["message"])} for row in listed], COLUMNS)
        if total > len(listed):
            say(f"{total - len(listed)} more: --limit {total}, or --export FILE.csv")


def _shortened(message: str) -> str:
    """Return what a line has room for of a message, which may have several."""
    line = " ".join(message.split())
    return line if len(line) <= MESSAGE_SHOWN else f"{line[: MESSAGE_SHOWN - 1]}…"


def _retry_lines(asked: Retry, minutes: int) -> list[str]:
    """Return what a person is told of a retry; `minutes` are those between two ticks."""
    if not asked.records:
        lines = ["No failing record was asked for."]
    else:
        lines = [
            f"{asked.records} records are tried again by the next run: within {minutes} minutes where the sensor is "
            "on, or now with `insights pull`.",
            f"{asked.left_today} of the day's records are left; if nothing more urgent comes, the last of them is "
            f"tried on {asked.done_on}.",
        ]

    lines += [f"Market {market} is tried with a few records first." for market in asked.markets]
    if asked.resting:
        lines.append(
            f"{asked.resting} records wait for an integration that is paused or not ready: see `insights check`."
        )
    if asked.in_flight:
        lines.append(f"{asked.in_flight} records are being tried at this moment.")
    return lines
