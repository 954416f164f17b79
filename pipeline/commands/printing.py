"""What commands print: JSON for programs, and questions to a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import click

from pipeline.core.org_fit.preflight import Problem

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
YES_OPTION = click.option("--yes", is_flag=True, help="Do not ask.")


def print_json(value: Any) -> None:
    """Print `value` as JSON; times in ISO form."""
    click.echo(json.dumps(value, default=_plain, indent=2))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows under the names of their columns; times in the zone of the machine."""
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(len(c), *(len(row[i]) for row in cells)) for i, c in enumerate(columns)]
    for line in [list(columns), *cells]:
        click.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone().isoformat(timespec="minutes")
    return "" if value is None else str(value)


def problem_row(problem: Problem) -> dict[str, str]:
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


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask, unless `yes`; where nobody can be asked, it is a wrong usage to leave --yes out."""
    if yes:
        return True
    if not can_ask():
        raise click.UsageError("Nobody can be asked here: add --yes if you mean it.")
    return click.confirm(question)
