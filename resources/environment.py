"""What the environment says: where configuration and state live, and which org. No Dagster (D15).

Variables are read when they are asked for, never at import. Secrets are read where a client first
needs them.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.core.errors import ConfigurationError

if TYPE_CHECKING:
    from resources.salesforce.calls import ApiCall, ApiUsage
    from resources.salesforce.client import Salesforce
    from resources.salesforce.errors import SignInRefused

API_VERSION: Final = "62.0"
ALERT_WEBHOOK: Final = "INSIGHTS_ALERT_WEBHOOK"
ONLY_THIS_USER: Final = 0o077
"""The rights that nobody else has: folders are 0700, files 0600."""

LEDGER_FILE: Final = "ledger.db"
LAKE_FOLDER: Final = "lake"
"""Below the home folder: the lake's Parquet files."""

MARKETS_FOLDER: Final = "markets"
"""Below the configuration's folder: one folder a market."""

DAGSTER_FOLDER: Final = "dagster"
"""Below the home folder: Dagster's own home, where DAGSTER_HOME names no other."""

SESSION_FILE: Final = "salesforce-session"
"""Below the home folder: the session that all processes share, or that it was refused."""


def config_folder() -> Path:
    """Return where the configuration lives: INSIGHTS_CONFIG, or config/local below the project."""
    default = Path(__file__).parent.parent / "config" / "local"
    return Path(os.environ.get("INSIGHTS_CONFIG") or default).resolve()


def deployment_name(config: Path) -> str:
    """Return what tells this deployment from others: INSIGHTS_DEPLOYMENT, or host and folder."""
    given = os.environ.get("INSIGHTS_DEPLOYMENT", "").strip()
    return given or f"{socket.gethostname()}:{config.resolve()}"


def home_folder() -> Path:
    """Return where state lives: INSIGHTS_HOME, or .insights in the current folder.

    Raises:
        ConfigurationError: A file stands there.
    """
    folder = Path(os.environ.get("INSIGHTS_HOME") or ".insights").resolve()

    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ConfigurationError(
                [
                    f"INSIGHTS_HOME: {path} is a file, and state needs a folder. Name another one, or move the file."
                ]
            )
    return folder


def keep_private(home: Path) -> None:
    """Let nobody but this user read what this process writes, nor look into the home folder.

    It is made where it is not there yet. One that was open to others is closed, with the files in
    it, where it is this user's and holds state of ours.
    """
    os.umask(ONLY_THIS_USER)
    # Where nothing can be written, whoever first writes there says so, and what it is for.
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        if _is_ours(home):
            for path in (home, *(path for path in home.iterdir() if path.is_file())):
                _close(path)


def open_to_others(home: Path) -> str | None:
    """Say that other users of this machine can look into the home folder; None where none can."""
    mode = stat.S_IMODE(home.stat().st_mode) if home.is_dir() else 0
    if not mode & ONLY_THIS_USER:
        return None
    return (
        f"INSIGHTS_HOME: other users of this machine can look into {home} (mode {mode:04o}), which holds what records "
        f"were scored from. Close it: chmod 700 {home}"
    )


def _is_ours(home: Path) -> bool:
    """Say whether a folder may be closed: this user's, empty or with state, and no common place."""
    found = home.stat()
    names = {path.name for path in home.iterdir()}
    holds_state = not names or names & {LEDGER_FILE, LAKE_FOLDER, DAGSTER_FOLDER, SESSION_FILE}
    return found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX and bool(holds_state)


def _close(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & ONLY_THIS_USER:
        path.chmod(mode & ~ONLY_THIS_USER)


def login_file(home: Path | None = None) -> Path:
    """Return where `insights login` keeps its refresh token: in the home folder."""
    return (home or home_folder()) / "salesforce-login"


def ledger_url(home: Path | None = None) -> str:
    """Return the ledger's database: INSIGHTS_LEDGER_URL, or a SQLite file in the home folder.

    Where `home` is given, it is the file in that folder, whatever the environment says.
    """
    given = os.environ.get("INSIGHTS_LEDGER_URL") if home is None else None
    return given or f"sqlite:///{(home or home_folder()) / LEDGER_FILE}"


def key_prefix() -> list[str]:
    """Return the key that assets are mounted below: INSIGHTS_KEY_PREFIX, divided by `/`."""
    return [part for part in os.environ.get("INSIGHTS_KEY_PREFIX", "").split("/") if part]


def starts_switched_on() -> bool:
    """Say whether sensor and schedule are switched on from the start: INSIGHTS_RUNNING=1."""
    return os.environ.get("INSIGHTS_RUNNING") == "1"


def open_salesforce(
    on_call: Callable[[ApiCall], object],
    on_usage: Callable[[ApiUsage], None],
    on_sign_in: Callable[[str], None] = lambda _: None,
    *,
    api_version: str = API_VERSION,
    is_tick: bool = False,
    on_limit: Callable[[], datetime | None] = lambda: None,
    home: Path | None = None,
) -> Salesforce:
    """Return a client of the org that SALESFORCE_… variables describe (R3).

    It signs in when it is first asked something, where no other process of the home folder has. A
    tick waits less for the org.
    """
    # Here, not above: a command that asks the org nothing need not load the HTTP libraries.
    from resources.salesforce.calls import (
        TICK_ATTEMPTS,
        TICK_LONGEST_WAIT_SECONDS,
        TICK_TIMEOUTS,
        RetryPolicy,
    )
    from resources.salesforce.client import Salesforce
    from resources.salesforce.connection import connection_from_environment
    from resources.salesforce.kept_sign_ins import FileSignIns

    patience = RetryPolicy(attempts=TICK_ATTEMPTS, longest_wait_seconds=TICK_LONGEST_WAIT_SECONDS)
    return Salesforce(
        connection_from_environment(os.environ, login_file=login_file(home)),
        api_version=api_version,
        on_call=on_call,
        on_usage=on_usage,
        on_sign_in=on_sign_in,
        on_limit=on_limit,
        sign_ins=FileSignIns((home or home_folder()) / SESSION_FILE),
        timeouts=TICK_TIMEOUTS if is_tick else None,
        retry=patience if is_tick else None,
    )


def alerts_not_sent(now: datetime, home: Path | None = None) -> str | None:
    """Return why alerts do not go out; None where they do, or where nobody asked for any (R29)."""
    from resources.alerts_heard import why_alerts_are_not_sent

    asked = bool(os.environ.get(ALERT_WEBHOOK))
    return why_alerts_are_not_sent(home or home_folder(), now, is_asked_for=asked)


def refused_sign_in() -> SignInRefused | None:
    """Return why the org is not signed in to, where its answer was a refusal for good (R3).

    No call. Where nothing describes a connection, nothing was refused.
    """
    from resources.salesforce.connection import connection_from_environment, credentials_hash
    from resources.salesforce.kept_sign_ins import FileSignIns

    try:
        connection = connection_from_environment(os.environ, login_file=login_file())
        credentials = credentials_hash(connection)
    except ConfigurationError:
        return None

    refusal = FileSignIns(home_folder() / SESSION_FILE).refusal(credentials)
    return refusal.error() if refusal else None
