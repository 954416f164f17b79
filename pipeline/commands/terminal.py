"""How commands speak with whoever runs them: JSON for programs, tables and questions for people.

Words stand in the commands; here is only how they reach the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from pipeline.core.printable import printable, printable_line

if TYPE_CHECKING:
    from pipeline.core.org_fit.preflight import Problem

FAILED: Final = 1
"""Ends a command that did its work and found something wrong."""

UNBOUNDED: Final = 100_000
"""How wide a table may become that no terminal shows: a line is a row, whatever its length."""

GAP: Final = (0, 2, 0, 0)
"""Around a cell, in rich's order (top, right, bottom, left): columns stand two spaces apart."""


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print `text` for people: everything that commands say in words goes through here.

    What records, models and the org wrote may stand in it: nothing in it steers the terminal.
    """
    click.echo(printable(str(text)), err=err, nl=nl)


def print_json(value: Any) -> None:
    """Print `value` as JSON; times in ISO form."""
    click.echo(json.dumps(value, default=_json_text, indent=2))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows under the names of their columns; times in the zone of the machine.

    On a terminal the table keeps to its width, and long cells are wrapped. In a pipe or a file a
    row is one line of plain text. NO_COLOR is honoured.
    """
    # Here, not above: a command that prints JSON need not load it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    console = Console(
        width=None if on_terminal else UNBOUNDED, no_color=None if on_terminal else True
    )
    table = Table(box=None, pad_edge=False, padding=GAP)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        # As `Text`, so that brackets in the org's own words are not taken for rich's markup.
        table.add_row(*(Text(cell_text(row[column])) for column in columns))

    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def cell_text(value: Any) -> str:
    """Return what stands in a table's cell."""
    if isinstance(value, datetime):
        return value.astimezone().isoformat(timespec="minutes")
    return "" if value is None else printable_line(str(value))


def problem_json(problem: Problem) -> dict[str, str]:
    """Return a problem for programs."""
    return {
        "severity": problem.severity,
        "where": problem.where,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def can_ask() -> bool:
    """Say whether somebody sits at the terminal."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> bool:
    """Ask, unless `yes`; where nobody can be asked, it is a wrong usage to leave --yes out."""
    if yes:
        return True
    if not can_ask():
        raise click.UsageError("Nobody can be asked here: add --yes if you mean it.")
    return click.confirm(printable(question))


def _json_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)
