"""The command `insights`: its commands, and how errors end it.

Each command has a file in `commands/`.

Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration, 3 nothing could be done now.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Final

import click

from pipeline.commands.terminal import say
from pipeline.core.errors import InsightsError

COMMANDS: Final = {
    "check": "check",
    "explain": "explain",
    "failures": "failures",
    "init": "init",
    "login": "login",
    "mapping": "mapping",
    "org": "org",
    "pause": "pause",
    "plan": "plan",
    "provision": "provision",
    "pull": "runs",
    "refresh": "runs",
    "release": "release",
    "rescore": "rescore",
    "resume": "pause",
    "schema": "schema",
    "start": "stop",
    "status": "status",
    "stop": "stop",
}
"""Each command, and the module of `pipeline.commands` that has it under its own name."""


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for: what another one needs costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's own signature
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command by its name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(f"pipeline.commands.{COMMANDS[cmd_name]}"), cmd_name
        )
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="predictive-insights-salesforce")
def cli() -> None:
    """Keep predictive scores, ranks and insights fresh in Salesforce."""


def main() -> None:
    """Run the command; an error that a person can act on ends it with its message alone."""
    warnings.filterwarnings("ignore", module="dagster")
    _keep_retries_off_stdout()
    try:
        cli()
    except InsightsError as error:
        say(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


def _keep_retries_off_stdout() -> None:
    """Keep the retry library from printing where `--json` prints."""
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks([])
