"""Logs in through the browser and keeps the grant for all other commands (R3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from resources.salesforce.browser import CallbackServer, LoginAttempt
from resources.salesforce.calls import ApiCall
from resources.salesforce.connection import RefreshToken
from resources.salesforce.ids import id18

PORT: Final = 1717
SECONDS: Final = 300.0
"""How long a person may take to log in."""


def log_in(
    app: RefreshToken,
    *,
    show: Callable[[str], None],
    on_call: Callable[[ApiCall], object],
    port: int = PORT,
    seconds: float = SECONDS,
) -> str | None:
    """Let a person log in, keep the refresh token, and return the org's id if the org names it.

    Args:
        app: the app to log in through, and where its token is kept.
        show: brings the login's address to the person: opens a browser, or prints it.
        on_call: counts the request for the token.
        port: of the callback URL; 0 picks a free one.
        seconds: how long the person may take.

    Raises:
        LoginNotFinished: denied, not in time, or another login's answer.
        SignInRefused: the org refused the app or its code.
    """
    with CallbackServer(port) as server:
        attempt = LoginAttempt(app, server.redirect_uri)
        show(attempt.url)
        code = attempt.code_in(server.wait(seconds))

    org_id = attempt.exchange(code, on_call).org_id
    return id18(org_id) if org_id else None


def forget_login(file: Path) -> bool:
    """Delete the kept grant; return whether there was one."""
    kept = file.exists()
    file.unlink(missing_ok=True)
    return kept
