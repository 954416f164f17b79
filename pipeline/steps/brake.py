"""Holds segments whose scores look like garbage until a person says yes or no (R8, R46)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from pipeline.core.errors import ConfigurationError
from pipeline.core.scoring.drift import shifts
from pipeline.steps.clients import Clients
from pipeline.steps.stop import this_user
from resources.ledger.counts import RANK, SCORE
from resources.ledger.segments import Segment

HISTORY_DAYS: Final = 7
"""With so many days before today's a segment is compared."""

YES_HOLDS_FOR: Final = timedelta(hours=24)
"""After a yes nothing of the object is held for so long: the change is known."""


def why_braked(clients: Clients, segment: Segment, counted: Mapping[str, int]) -> str | None:
    """Return why a segment is held before its push, None where it is not, or the brake is off.

    `counted` are its scores and ranks by the names under which a day counts them. A segment of few
    records is compared together with what its day has counted so far.
    """
    psi_max = clients.configuration.settings.brake_psi
    if psi_max is None:
        return None

    released_at = clients.ledger.segments.last_release(segment.object)
    if released_at is not None and clients.now() - released_at < YES_HOLDS_FOR:
        return None

    counts = clients.ledger.counts
    before = counts.of_days(
        segment.object, segment.day - timedelta(days=HISTORY_DAYS), segment.day - timedelta(days=1)
    )
    day = counts.of_day(segment.day, segment.object) + Counter(counted)
    moved = [one for kind in (SCORE, RANK) for one in shifts(kind, before, counted, day)]
    words = [f"{s.market} {s.output} PSI {s.psi:.2f}" for s in moved if s.psi > psi_max]
    return ", ".join(words) or None


def held_segments(clients: Clients) -> list[Segment]:
    """Return the segments that wait for an answer, oldest first."""
    return [segment for segment in clients.ledger.segments.unfinished() if segment.is_braked]


def in_words(segment: Segment) -> str:
    """Say which segment is held, for what, and what to do."""
    return (
        f"segment {segment.segment_id} of {segment.rows} {segment.object} records is held, since its scores differ "
        f"from those of the last {HISTORY_DAYS} days ({segment.braked_for}): `insights release` pushes it, "
        "`insights release --discard` lets its records be scored again"
    )


def release(
    clients: Clients, segment_ids: Sequence[str] = (), *, discard: bool = False, by: str = ""
) -> list[Segment]:
    """Answer for held segments, all where none is named: push them, or score their records again.

    With `discard` the records wait again at once, so mend the market or its inputs first. Returns
    the segments answered for. Raises ConfigurationError for one that is not held.
    """
    waiting = {segment.segment_id: segment for segment in held_segments(clients)}
    unknown = [i for i in segment_ids if i not in waiting]
    if unknown:
        known = ", ".join(waiting) or "none"
        raise ConfigurationError([f"Not held: {', '.join(unknown)}. Held are: {known}."])

    answered = [waiting[i] for i in segment_ids or waiting]
    for segment in answered:
        if discard:
            clients.ledger.segments.discard(segment, clients.now())
        else:
            clients.ledger.segments.release_braked(segment, by or this_user(), clients.now())
    return answered
