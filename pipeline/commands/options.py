"""The options that several commands share."""

from __future__ import annotations

import click

from pipeline.core.configuration.integration import OBJECTS

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
YES_OPTION = click.option("--yes", is_flag=True, help="Do not ask.")
OBJECTS_OPTION = click.option(
    "--object", "objects", type=click.Choice(OBJECTS), multiple=True, help="Only these objects."
)
