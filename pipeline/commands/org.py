"""Commands about the one connected org: `org show` and `org switch` (R1)."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.options import JSON_OPTION, YES_OPTION
from pipeline.commands.terminal import FAILED, confirm, print_json, say

if TYPE_CHECKING:
    from pipeline.steps.setting_up.org import OrgView
    from resources.ledger.switch import Forgotten


@click.group()
def org() -> None:
    """Show the connected org, or go over to another."""


@org.command()
@JSON_OPTION
def show(*, as_json: bool) -> None:
    """Show which org everything belongs to, and which one answers now. Two API calls."""
    from pipeline.steps.setting_up.org import view

    with opened_clients() as clients:
        seen = view(clients)
    if as_json:
        print_json({**asdict(seen), "same": seen.is_same})
    else:
        _print_orgs(seen)
    if not seen.is_same:
        sys.exit(FAILED)


@org.command()
@YES_OPTION
@JSON_OPTION
def switch(*, yes: bool, as_json: bool) -> None:
    """Let everything belong to the org that answers now.

    What is the old org's is forgotten or set aside.

    Every integration is off until it has passed preflight in the new org. The day's limits go on
    counting.
    """
    from pipeline.steps.setting_up.org import switch as step
    from pipeline.steps.setting_up.org import view, would_be_left

    with opened_clients() as clients:
        seen = view(clients)
        if seen.is_same:
            if as_json:
                print_json({"switched": False, "org_id": seen.connected.org_id})
            else:
                say(f"Org {seen.connected.org_id} is connected already: nothing to switch.")
            return

        if not as_json:
            _print_orgs(seen)
            if not yes:
                _print_left_behind("To be forgotten", would_be_left(clients))
        if not confirm("Go over to the new org?", yes=yes):
            return
        would_be_forgotten = step(clients, seen)

    new = seen.connected.org_id
    if as_json:
        print_json({"switched": True, "org_id": new, "left": asdict(would_be_forgotten)})
        return
    _print_left_behind("Forgotten", would_be_forgotten)
    say(f"Everything belongs to org {new} now. Next: insights check")


def _print_orgs(seen: OrgView) -> None:
    """Print the org that everything belongs to and the one that answers, one below the other."""
    now = seen.connected
    if seen.remembered_id is None:
        say("Nothing belongs to an org yet: the first `insights check` remembers it.")
    else:
        say(
            f"remembered  {seen.remembered_id}  {seen.remembered_environment}"
            f"  since {seen.remembered_since:%Y-%m-%d %H:%M} UTC"
        )

    kind = now.environment or "(kind not told)"
    say(f"answers     {now.org_id}  {kind}  {now.name or ''}  {now.instance_url}")
    if not seen.is_same:
        say("They are not the same: nothing runs until `insights org switch`.")


def _print_left_behind(word: str, would_be_forgotten: Forgotten) -> None:
    say(
        f"{word}: {would_be_forgotten.waiting} waiting records, {would_be_forgotten.segments} unfinished segments, all watermarks and "
        "holds. Kept: the day's limits, and the history of the old org in a folder of its own."
    )
    if would_be_forgotten.job_ids:
        say(f"Bulk jobs left to themselves in the old org: {', '.join(would_be_forgotten.job_ids)}")
