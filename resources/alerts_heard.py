"""Whether alerts go out: what the sensor last came to, in a file of the home folder (R29).

Commands that ask the ledger alone read it; they neither load Dagster nor call the webhook.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

FILE: Final = "alerts.json"
SILENT_AFTER: Final = timedelta(minutes=10)
"""The sensor ticks once a minute: after so long it does not, or ends with an error."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The sensor's last tick: when, and since when and why it could tell nobody."""

    at: datetime
    failing_since: datetime | None = None
    why: str | None = None


def note_heard(home: Path, at: datetime, why_not_sent: str | None) -> None:
    """Keep that a tick ended at `at`, and why it could tell nobody where it could not.

    Where nothing can be written, the last tick that is known stays, and grows old.
    """
    before = heard(home)
    since = before.failing_since if before and before.why else None
    now = Heard(at, (since or at) if why_not_sent else None, why_not_sent)

    path = home / FILE
    fresh = path.with_suffix(".new")
    with suppress(OSError):
        fresh.write_text(json.dumps(asdict(now), default=str), encoding="utf-8")
        fresh.replace(path)


def heard(home: Path) -> Heard | None:
    """Return the last tick that is known of; None where there is none, or nobody can read it."""
    try:
        found = Heard(**json.loads((home / FILE).read_text(encoding="utf-8")))
        since = datetime.fromisoformat(str(found.failing_since)) if found.failing_since else None
        return replace(found, at=datetime.fromisoformat(str(found.at)), failing_since=since)
    except (OSError, ValueError, TypeError):
        return None


def why_alerts_are_not_sent(home: Path, now: datetime, *, is_asked_for: bool) -> str | None:
    """Say why alerts do not go out; None where they do, or nobody asked for any.

    `is_asked_for`: the environment names a webhook.
    """
    last = heard(home)
    if last and last.why and last.failing_since:
        return f"Alerts cannot be sent since {last.failing_since:%Y-%m-%d %H:%M} UTC: {last.why}"
    if not is_asked_for or (last and now - last.at <= SILENT_AFTER):
        return None

    since = f"since {last.at:%Y-%m-%d %H:%M} UTC" if last else "from this home folder yet"
    return (
        f"Alerts are not sent: no tick of the sensor alerts has ended well {since}. See in the UI (Automation) whether "
        "it is on and what its last tick says, and whether Dagster's daemon runs."
    )
