"""The command `explain`: one record's whole history (R30)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.options import JSON_OPTION
from pipeline.commands.terminal import print_json, say
from pipeline.core.printable import printable_line

if TYPE_CHECKING:
    from pipeline.steps.asking.explain import Explained, MarketScoring, Scoring


@click.command()
@click.argument("record_id", metavar="ID")
@JSON_OPTION
def explain(record_id: str, as_json: bool) -> None:
    """Tell every scoring of a record: when, why, from what, by which models, and its push.

    No API call.
    """
    from pipeline.steps.asking.explain import explain as step

    with opened_clients() as clients:
        found = step(clients, record_id)
    if as_json:
        print_json([asdict(one) for one in found])
        return

    if not found:
        say(
            f"Nothing is kept of {record_id}: it was not scored from here, or the lake that told of it is gone."
        )
    for one in found:
        _print(one)


def _print(found: Explained) -> None:
    """Print every scoring of one record, and why it waits where it does."""
    from pipeline.steps.asking.explain import WORDS

    say(f"{found.object} {found.record_id}: {len(found.scorings)} scorings")
    for scoring in found.scorings:
        say(
            f"{scoring.scored_at:%Y-%m-%d %H:%M:%S} UTC, day {scoring.day}: {WORDS[scoring.reason]}"
        )
        for market in scoring.markets:
            _print_market(market)
        say(f"  {_result_text(scoring)}")

    if found.waiting:
        row = found.waiting
        why = (
            f"; last failure {row.error_code}: {printable_line(row.error_message or '')}"
            if row.error_code
            else ""
        )
        say(
            f"waits since {row.requested_at:%Y-%m-%d %H:%M} UTC ({WORDS[row.reason]}), "
            f"not before {row.not_before:%Y-%m-%d %H:%M} UTC{why}"
        )


def _print_market(market: MarketScoring) -> None:
    say(f"  market {market.market}, version {market.version}")
    if market.changed:
        say(f"    changed: {', '.join(market.changed)}")
    for label, values in (("inputs", market.inputs), ("outputs", market.outputs)):
        words = (
            ", ".join(f"{name} = {printable_line(str(value))}" for name, value in values.items())
            if values
            else "not kept (persist was off)"
        )
        say(f"    {label}: {words}")


def _result_text(scoring: Scoring) -> str:
    words = f"{scoring.result}, bulk job {scoring.job_id}" if scoring.job_id else scoring.result
    return (
        f"{words}: {scoring.code} {printable_line(scoring.message or '')}"
        if scoring.code
        else words
    )
