"""The stop switch: while it is set, nothing new begins, whoever asks (R29)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from resources.ledger import tables as t
from resources.ledger.database import Database

BY_LENGTH_MAX: Final = 80
WHY_LENGTH_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Stop:
    """Since when everything is stopped, by whom and why; `why` may be empty."""

    stopped_at: datetime
    stopped_by: str
    why: str

    def __str__(self) -> str:
        """Return it as a sentence that also says how to go on."""
        why = f": {self.why}" if self.why else ""
        return (
            f"stopped since {self.stopped_at:%Y-%m-%d %H:%M} UTC by {self.stopped_by}{why}; "
            "`insights start` or the job start_all lets it go on"
        )


class Stops:
    """Reads and writes of the stop switch."""

    def __init__(self, database: Database) -> None:
        """Work on `database`."""
        self._db = database

    def current(self) -> Stop | None:
        """Return the stop that stands, None where there is none."""
        with self._db.read() as connection:
            return current_stop(connection)

    def stop(self, by: str, why: str, now: datetime) -> Stop:
        """Stop everything from `now` on and return the stop; one that stands already stays."""
        with self._db.begin() as connection:
            known = current_stop(connection)
            if known is not None:
                return known

            stop = Stop(now, by[:BY_LENGTH_MAX], why[:WHY_LENGTH_MAX])
            connection.execute(t.stops.insert().values(id=1, **asdict(stop)))
            return stop

    def start(self) -> Stop | None:
        """Let everything go on; return the stop that stood, None where there was none."""
        with self._db.begin() as connection:
            known = current_stop(connection)
            connection.execute(t.stops.delete())
            return known


def current_stop(connection: sa.Connection) -> Stop | None:
    """Return the stop that stands, in the caller's transaction."""
    stop = t.stops.c
    found = connection.execute(sa.select(stop.stopped_at, stop.stopped_by, stop.why)).one_or_none()
    return Stop(*found) if found else None
