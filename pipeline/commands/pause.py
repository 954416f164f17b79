"""The commands `pause` and `resume`: nothing that changes meanwhile is lost (R12, R29)."""

from __future__ import annotations

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.terminal import say

INTEGRATION = click.argument("integration", metavar="OBJECT.MARKET")


@click.command()
@INTEGRATION
def pause(integration: str) -> None:
    """Let an integration rest: its records are scored by the other markets only."""
    from pipeline.steps.pause import pause as step

    with opened_clients() as clients:
        step(clients, integration)
    say(f"{integration} is paused. `insights resume {integration}` lets it go on.")


@click.command()
@INTEGRATION
def resume(integration: str) -> None:
    """Let a paused integration go on; what changed meanwhile is read again."""
    from pipeline.steps.pause import resume as step

    with opened_clients() as clients:
        since = step(clients, integration)
    say(f"{integration} goes on; what changed since {since:%Y-%m-%d %H:%M} UTC is read again.")
