"""A schedule as data: how it starts, and each event with a seed of its own.

An event draws whatever it draws from its own seed. So it stays what it is when another one is taken out, or when the
generator learns a new kind: a stored script (`scripts/`) goes on finding what it was kept for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.simulation.stage import SHAPES

TURN: Final = "turn"
"""The event in which one of the processes goes on; all others are acts."""

PLACES: Final = (
    ("Europe/Berlin", datetime(2026, 3, 10, 9, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 28, 21, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 20, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 3, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 5, 22, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 6, 1, 16, tzinfo=UTC)),
    ("UTC", datetime(2026, 6, 1, 22, tzinfo=UTC)),
)
"""Time zones and when a schedule begins in them, most of them before the clocks change."""


@dataclass(frozen=True)
class Start:
    """How a schedule starts; `switching` and `killing` are the chances of either at each effect.

    `settings` are those that differ from the stage's.
    """

    zone: str
    begins: str
    shape: str
    limit: int
    segment_max: int
    api_limit: int
    rows_per_page: int
    switching: float
    killing: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def drawn(cls, chance: Random, *, hunting: bool) -> Start:
        """Draw a start; a schedule that lies in wait kills nowhere else."""
        zone, begins = chance.choice(PLACES)
        return cls(
            zone=zone,
            begins=begins.isoformat(),
            shape=chance.choice(SHAPES),
            limit=chance.choice((8, 14, 25, 40)),
            segment_max=chance.choice((3, 6, 12)),
            api_limit=chance.choice((15_000, 15_000, 15_000, 260)),
            rows_per_page=chance.choice((2, 100)),
            switching=chance.choice((0.05, 0.15, 0.3)),
            killing=0.0 if hunting else chance.choice((0.0, 0.001, 0.004)),
        )


@dataclass(frozen=True)
class Event:
    """One thing that happens; `said` is what it did when it was recorded, for people.

    `given` is what an act of `scripted` has to know: it draws nothing.
    """

    what: str
    seed: int
    said: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return it as a line of a script."""
        written = {name: value for name, value in asdict(self).items() if value != {}}
        return json.dumps(written, ensure_ascii=False)


@dataclass(frozen=True)
class Script:
    """What is to happen between the first check and the end of all faults; `seed` draws both of these.

    `deadly` are the points at which it lies in wait. `why` says what the script was kept for.
    """

    seed: int
    start: Start
    deadly: tuple[str, ...]
    events: tuple[Event, ...]
    why: str = ""

    def only(self, events: Sequence[Event], deadly: Sequence[str]) -> Script:
        """Return the script with these events and points alone."""
        return replace(self, events=tuple(events), deadly=tuple(deadly))

    def write(self, path: Path) -> None:
        """Write it, an event a line."""
        events = [event.as_json() for event in self.events]
        about: dict[str, Any] = asdict(self)
        del about["events"]
        head = json.dumps(about, ensure_ascii=False, indent=1)[:-2]
        path.write_text(f'{head},\n "events": [\n  ' + ",\n  ".join(events) + "\n ]\n}\n")


def read_script(path: Path) -> Script:
    """Read a script that `Script.write` has written."""
    stored = json.loads(path.read_text())
    stored["start"] = Start(**stored["start"])
    stored["events"] = tuple(Event(**event) for event in stored["events"])
    stored["deadly"] = tuple(stored["deadly"])
    return Script(**stored)
