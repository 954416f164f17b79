"""`insights mapping suggest`: mappings proposed from the org's fields."""

from __future__ import annotations

from dataclasses import asdict

import click

from pipeline.commands.clients import (
    opened_clients,
)
from pipeline.commands.options import JSON_OPTION
from pipeline.commands.terminal import print_json, say


@click.group()
def mapping() -> None:
    """Map market inputs and outputs to Salesforce fields."""


@mapping.command()
@click.argument("object_name", metavar="OBJECT")
@click.argument("market")
@click.option("--write", is_flag=True, help="Write it to integrations/, where there is none yet.")
@JSON_OPTION
def suggest(object_name: str, market: str, *, write: bool, as_json: bool) -> None:
    """Propose the mappings of MARKET on OBJECT from the org's fields, as YAML to read and save.

    An asterisk marks inputs that the model was built on; `Account:` stands before fields of a
    contact's account.
    """
    from pipeline.core.org_fit.suggestions import as_yaml
    from pipeline.steps.setting_up.init import write_integration
    from pipeline.steps.setting_up.suggest import suggest_mapping
    from resources.environment import config_folder

    with opened_clients() as clients:
        found = suggest_mapping(clients, object_name, market)
    path = write_integration(config_folder(), found) if write else None
    if as_json:
        print_json({**asdict(found), "file": str(path) if path else None})
    elif path:
        say(f"wrote {path}, switched off: read it, then set enabled: true.")
    else:
        say(as_yaml(found, enabled=False), nl=False)
