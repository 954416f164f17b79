"""`insights schema`: JSON schemas with which editors check the configuration's files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipeline.commands.terminal import say
from pipeline.core.configuration.editor_schemas import EDITOR_SCHEMA_NAMES, editor_schema


@click.command()
@click.argument("name", type=click.Choice(EDITOR_SCHEMA_NAMES), required=False)
@click.option(
    "--write",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write NAME.schema.json (all three, where no NAME is given) into this folder.",
)
def schema(name: str | None, folder: Path | None) -> None:
    """Print the JSON schema of settings, market or integration files, or write it for editors.

    A YAML file names its schema in its first line: # yaml-language-server: $schema=PATH
    """
    names = [known for known in EDITOR_SCHEMA_NAMES if name in (None, known)]
    texts = {known: json.dumps(editor_schema(known), indent=2) + "\n" for known in names}

    if folder is None and name is None:
        raise click.UsageError(
            f"Name one of {', '.join(names)}, or write all three with --write FOLDER."
        )
    if folder is None:
        say("".join(texts.values()), nl=False)
        return

    folder.mkdir(parents=True, exist_ok=True)
    for known, text in texts.items():
        path = folder / f"{known}.schema.json"
        path.write_text(text, encoding="utf-8")
        say(path)
