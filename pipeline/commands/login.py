"""`insights login`: a person's login in the browser, kept for all other commands."""

from __future__ import annotations

import os
import webbrowser
from datetime import datetime

import click

from pipeline.commands.clients import (
    counting_zone,
    opened_ledger,
)
from pipeline.commands.terminal import say


@click.command()
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening it.")
@click.option("--port", type=click.IntRange(0, 65535), default=1717, show_default=True)
@click.option("--timeout", "seconds", type=click.FloatRange(min=1), default=300, show_default=True)
@click.option("--forget", is_flag=True, help="Delete the login that is kept.")
def login(port: int, seconds: float, *, no_browser: bool, forget: bool) -> None:
    """Log in through the browser, once; all other commands then use that login.

    SALESFORCE_LOGIN_URL names the org, SALESFORCE_CLIENT_ID the app (and SALESFORCE_CLIENT_SECRET
    where it needs one). The app's callback URL is http://localhost:PORT/callback.
    """
    from pipeline.steps.setting_up.login import forget_login, log_in
    from resources.environment import login_file
    from resources.salesforce.connection import login_app

    file = login_file()
    if forget:
        kept = forget_login(file)
        say(f"Deleted {file}." if kept else "No login is kept.")
        return

    app = login_app(os.environ, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    zone = counting_zone()

    with opened_ledger() as ledger:
        org_id = log_in(
            app,
            show=lambda url: _open_address(url, opened=not no_browser),
            on_call=lambda call: ledger.calls.count(datetime.now(zone).date(), call.kind),
            port=port,
            seconds=seconds,
        )
        remembered = ledger.org.id()

    say(f"Logged in to org {org_id or '(not told)'}. Kept in {file}, for your eyes only.")
    if remembered and org_id and remembered != org_id:
        say(
            f"Everything so far belongs to org {remembered}: nothing runs until `insights org switch`."
        )
    _warn_of_other_sign_ins()


def _open_address(url: str, *, opened: bool) -> None:
    """Open the address; print it as well, for a browser that did not come up."""
    if opened and webbrowser.open(url):
        say("Log in in the browser. If it did not open, go to:")
    else:
        say("Open this address in a browser on this machine:")
    say(url)


def _warn_of_other_sign_ins() -> None:
    names = ("REFRESH_TOKEN", "PRIVATE_KEY", "PASSWORD")
    for name in (f"SALESFORCE_{n}{suffix}" for n in names for suffix in ("", "_FILE")):
        if os.environ.get(name, "").strip():
            say(f"warning: {name} is set and comes first; unset it to use this login.")
