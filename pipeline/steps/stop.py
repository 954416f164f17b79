"""Stops everything and lets it go on; says why nothing new may begin now (R22, R29)."""

from __future__ import annotations

import getpass

from pipeline.core.errors import CannotProceedNow
from pipeline.core.limit.push_windows import is_open, opens_at
from pipeline.steps.clients import Clients
from resources.ledger.stops import Stop


def stop(clients: Clients, why: str = "", by: str = "") -> Stop:
    """Let nothing new begin from now on: no pull, no claim, no bulk job.

    What has begun finishes: a bulk job that holds data is waited for, and its rows are settled.
    Where everything is stopped already, the first stop stays.
    """
    return clients.ledger.stops.stop(by or this_user(), why, clients.now())


def start(clients: Clients) -> Stop | None:
    """Let everything go on; return the stop that stood, None where there was none."""
    return clients.ledger.stops.start()


def require_started(clients: Clients) -> None:
    """Raise CannotProceedNow where everything is stopped."""
    stopped = clients.ledger.stops.current()
    if stopped is not None:
        raise CannotProceedNow(f"Nothing was begun: {stopped}.")


def why_no_push(clients: Clients) -> str | None:
    """Return why no claim and no bulk job may begin now; None where they may."""
    stopped = clients.ledger.stops.current()
    return str(stopped) if stopped is not None else why_outside_windows(clients)


def why_outside_windows(clients: Clients) -> str | None:
    """Return that the push windows are closed and when the next one opens; None in a window."""
    windows = clients.configuration.settings.windows
    if is_open(windows, clients.local_now.time()):
        return None

    opens = opens_at(windows, clients.local_now)
    when = f"the next one opens at {opens:%H:%M}" if opens else "none opens"
    zone = clients.configuration.settings.time_zone
    return f"outside push_windows; {when} {zone}"


def this_user() -> str:
    """Return who runs this process, as the machine calls them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
