"""The commands `stop` and `start`: the switch for everything (R29)."""

from __future__ import annotations

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.terminal import say


@click.command()
@click.option("--why", default="", help="What it is stopped for: shown wherever somebody looks.")
def stop(why: str) -> None:
    """Let nothing new begin: no pull, no claim, no bulk job. What has begun finishes."""
    from pipeline.steps.stop import stop as step

    with opened_clients() as clients:
        stopped = step(clients, why)
    say(f"Everything is {stopped}.")


@click.command()
def start() -> None:
    """Let everything go on that `stop` has stopped."""
    from pipeline.steps.stop import start as step

    with opened_clients() as clients:
        stopped = step(clients)
    say(
        "Nothing was stopped."
        if stopped is None
        else f"It goes on; it was stopped at {stopped.stopped_at:%Y-%m-%d %H:%M} UTC."
    )
