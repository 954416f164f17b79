"""The command `status`: the day, what waits, what failed (R27, R29)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.options import JSON_OPTION
from pipeline.commands.terminal import print_json, print_table, say
from resources.environment import alerts_not_sent, refused_sign_in

if TYPE_CHECKING:
    from pipeline.steps.asking.status import Status

WAITING_COLUMNS: Final = ("object", "reason", "state", "records")
INTEGRATION_COLUMNS: Final = ("integration", "state", "why", "market_version")
UNPUSHED_COLUMNS: Final = ("segment", "records", "tries", "next_try", "why")
HELD_COLUMNS: Final = ("market", "since", "why", "next_trial", "waiting")
SLOWED_DOWN_COLUMNS: Final = ("object", "id", "scored_24h", "last_scored", "until")


@click.command()
@JSON_OPTION
def status(as_json: bool) -> None:
    """Show what is used of the day, what waits and until when, and what failed. No API call."""
    from pipeline.steps.asking.status import status as step

    with opened_clients() as clients:
        found = step(clients, refused_sign_in(), alerts_not_sent(clients.now()))
    if as_json:
        print_json(found.as_json())
        return

    _print_day(found)
    print_table(found.integrations, INTEGRATION_COLUMNS)
    _print_next_looks(found)
    _print_waiting(found)
    _print_trouble(found)


def _print_day(found: Status) -> None:
    calls = sum(found.api_calls.values())
    say(f"{found.day}: {found.limit_used} of {found.limit} records scored or claimed")
    say(f"API calls: {calls} of {found.api_calls_limit}")
    if found.sign_in_refused:
        say(found.sign_in_refused)
    if found.alerts_not_sent:
        say(found.alerts_not_sent)
    if found.pulling_stopped:
        say(found.pulling_stopped)
    if found.no_push:
        say(found.no_push)

    for state in found.objects:
        if state["job_rows_max"]:
            say(
                f"{state['object']}: jobs of {state['job_rows_max']} records at the most for now, since others "
                "had locked many rows of the last one"
            )


def _print_next_looks(found: Status) -> None:
    """Print since when and why an integration does not run, and when it is looked at again."""
    for row in found.integrations:
        if row["next_look"]:
            say(
                f"{row['integration']}: {row['state']} since {row['not_running_since']:%Y-%m-%d %H:%M} UTC, "
                f"looked at again at {row['next_look']:%H:%M} UTC: {row['why']}"
            )


def _print_waiting(found: Status) -> None:
    if not found.waiting:
        say("Nothing waits.")
        return
    print_table(found.waiting, WAITING_COLUMNS)
    say(f"{found.waiting_total} waiting, the last done on {found.last_done_on}")


def _print_trouble(found: Status) -> None:
    """Print what is held, what fails, what was not pushed, what keeps becoming due (R15, R23)."""
    if found.markets_held:
        say("held, since it failed as a whole; its records wait for the next trial:")
        print_table(found.markets_held, HELD_COLUMNS)

    for words in found.held:
        say(words)

    for code, records in found.failing.items():
        say(f"failing: {records} with {code}; see `insights failures`")

    if found.unpushed:
        say("not pushed: scored, and pushed again by a later run as they are")
        print_table(found.unpushed, UNPUSHED_COLUMNS)

    if found.slowed_down_total:
        say(
            f"slowed down: {found.slowed_down_total} keep becoming due; look for a flow or an integration that rewrites "
            "an input at each save or soon after it, or changes a record more than 24 times in 24 hours"
        )
        print_table(found.slowed_down, SLOWED_DOWN_COLUMNS)
