"""The command `plan`: what waits, what is to come, and until when (R27)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.options import JSON_OPTION
from pipeline.commands.status import WAITING_COLUMNS
from pipeline.commands.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from pipeline.steps.asking.plan import Plan

COLUMNS: Final = ("integration", "change", "records", "due", "days")


@click.command()
@JSON_OPTION
def plan(as_json: bool) -> None:
    """Say what waits and until when, and what new or changed integrations would make due."""
    from pipeline.steps.asking.plan import plan as step

    with opened_clients() as clients:
        found = step(clients)
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)


def _print(found: Plan) -> None:
    say(f"{found.day}: {found.left_today} of {found.limit} records left today")
    if found.waiting:
        print_table(found.waiting, WAITING_COLUMNS)
        say(f"{found.waiting_total} waiting, the last done on {found.waiting_done_on}")

    if found.integrations:
        print_table([asdict(row) for row in found.integrations], COLUMNS)
    if found.all_done_on:
        say(f"{found.to_do} to be scored in all, the last done on {found.all_done_on}")

    for warning in found.warnings:
        say(f"warning: {warning}")
