"""The command `check`: preflight of every integration against the org (R10, R12)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pipeline.commands.clients import opened_clients
from pipeline.commands.options import JSON_OPTION
from pipeline.commands.terminal import FAILED, print_json, print_table, problem_json, say
from pipeline.core.configuration.running import Running, RunState, held_in_words
from resources.environment import home_folder, open_to_others

if TYPE_CHECKING:
    from pipeline.core.org_fit.preflight import Preflight
    from pipeline.steps.clients import Clients

COLUMNS = ("integration", "result", "where", "what", "do")


@click.command()
@JSON_OPTION
def check(as_json: bool) -> None:
    """Hold every integration against the org, and turn on those that are ready.

    Where Dagster has no storage yet, it is made: processes of Dagster that begin at once on none
    break it.
    """
    from pipeline.instance import make_storage

    with opened_clients() as clients:
        found, notices = _check_and_roll_out(clients)

    if as_json:
        print_json(
            {
                "ready": [integration.name for integration in found.ready],
                "problems": [problem_json(problem) for problem in found.problems],
                "notices": notices,
            }
        )
    else:
        print_table(_rows(found), COLUMNS)
        for notice in notices:
            say(f"notice: {notice}")

    make_storage()
    if found.errors:
        sys.exit(FAILED)


def _check_and_roll_out(clients: Clients) -> tuple[Preflight, list[str]]:
    """Turn on what is ready; return what preflight found, and what else a person should know."""
    from pipeline.steps.asking.plan import NOT_COUNTED, plan
    from pipeline.steps.asking.visibility import may_be_hidden
    from pipeline.steps.brake import held_segments, in_words
    from pipeline.steps.preflight import check as preflight
    from pipeline.steps.preflight import roll_out
    from pipeline.steps.setting_up.org import check_environment, connected_org
    from pipeline.steps.stop import why_no_push

    # A person asks: what was refused may have been corrected in Salesforce.
    clients.org.try_refused_again()
    check_environment(clients.configuration.settings.environment, connected_org(clients.org))
    found = preflight(clients)
    roll_out(clients, found)
    # What is wrong in files, preflight has said already.
    warnings = plan(clients).warnings if found.ready else []
    too_slow = [warning for warning in warnings if not warning.startswith(NOT_COUNTED)]
    not_now = [why for why in (why_no_push(clients), clients.clock_difference()) if why]
    waits = [in_words(segment) for segment in held_segments(clients)]
    hidden = may_be_hidden(clients, sorted({integration.object for integration in found.ready}))
    notices = clients.configuration.settings.notices(clients.today)
    is_open = [why for why in (open_to_others(home_folder()),) if why]
    return found, [
        *notices,
        *is_open,
        *too_slow,
        *_held_markets(clients),
        *not_now,
        *waits,
        *hidden,
    ]


def _held_markets(clients: Clients) -> list[str]:
    """Return of each held market since when, why, and its next trial (R23)."""
    return [
        held_in_words(market, Running(RunState.HELD, hold.reason, hold.held_at, hold.retry_at))
        for market, hold in sorted(clients.ledger.holds.all().items())
    ]


def _rows(found: Preflight) -> list[dict[str, str]]:
    """Return a row for each integration that passed, and for each problem."""
    rows = []
    for integration, problems in found.found:
        empty = {"integration": integration.name, "where": "", "what": "", "do": ""}
        if not any(problem.severity == "error" for problem in problems):
            rows.append({**empty, "result": "passed"})

        rows += [
            {
                "integration": integration.name,
                "result": problem.severity,
                "where": problem.where.removeprefix(f"{integration.name}: "),
                "what": problem.message,
                "do": problem.remedy,
            }
            for problem in problems
        ]

    unread = [p for p in found.problems if p not in {q for _, own in found.found for q in own}]
    rows += [
        {
            "integration": problem.where,
            "result": problem.severity,
            "where": "",
            "what": problem.message,
            "do": problem.remedy,
        }
        for problem in unread
    ]
    return rows
