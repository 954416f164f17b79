"""The command `rescore`: a whole object or market is scored again (R28)."""

from __future__ import annotations

from dataclasses import asdict

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.options import JSON_OPTION, YES_OPTION
from pipeline.commands.terminal import confirm, print_json, say
from pipeline.core.configuration.integration import OBJECTS


@click.command()
@click.option(
    "--object", "objects", type=click.Choice(OBJECTS), multiple=True, help="Which object."
)
@click.option("--market", "markets", multiple=True, help="Which market.")
@YES_OPTION
@JSON_OPTION
def rescore(objects: tuple[str, ...], markets: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Score all records of an object or a market again, over as many days as the limit takes."""
    from pipeline.steps.rescore import rescore as step

    if not objects and not markets:
        raise click.UsageError("Say what: --object, --market, or both.")
    what = " and ".join([*objects, *(f"market {market}" for market in markets)])
    if not confirm(f"Score all records of {what} again?", yes=yes or as_json):
        return

    with opened_clients() as clients:
        asked = step(clients, objects, markets)

    if as_json:
        print_json({**asdict(asked), "total": asked.total})
        return
    say(f"{', '.join(asked.integrations)}: {asked.total} records will be scored again.")
    if asked.done_on:
        say(
            f"The sensor begins at its next tick; were nothing else due, the last is done on {asked.done_on}."
        )
