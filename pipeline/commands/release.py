"""The command `release`: a yes or a no for segments that the brake holds (R46)."""

from __future__ import annotations

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.terminal import say


@click.command()
@click.argument("segments", nargs=-1, metavar="[SEGMENT]...")
@click.option("--all", "every", is_flag=True, help="All segments that are held.")
@click.option("--discard", is_flag=True, help="Push none of it: the records are scored again.")
def release(segments: tuple[str, ...], every: bool, discard: bool) -> None:
    """Push what is held since its scores differ from those of the last days."""
    from pipeline.steps.brake import release as step

    if bool(segments) == every:
        raise click.UsageError("Name the segments, or say --all.")

    with opened_clients() as clients:
        answered = step(clients, segments, discard=discard)
    for segment in answered:
        what = "is discarded, its records wait again" if discard else "is pushed by the next run"
        say(f"{segment.segment_id} ({segment.rows} {segment.object} records) {what}.")
    if not answered:
        say("Nothing is held.")
