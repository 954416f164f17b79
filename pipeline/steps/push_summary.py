"""What one run pushed of one object, counted as it happens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime

from resources.ledger.segments import Segment


@dataclass
class PushSummary:
    """What one run pushed of one object. Counts are records; `settled` = pushed + failed + gone.

    The counts are those of the segments that ended. They include rows set aside before the push.
    `in_flight` rows are in a segment that has not ended: in a job that is at work, or to be pushed
    again by a later run. `released` ones wait again, since it could not be learned how they ended.
    `unpushed` says by segment why it could not be pushed whole.

    `jobs` maps bulk job ids to their page in the org. `by_day` counts rows written by the day of
    their claim. `segments` are those that ended, each with its day. `newest_change_seconds` is how
    old the newest change was when its score arrived, by the org's clock.
    """

    object: str
    settled: int = 0
    pushed: int = 0
    failed: int = 0
    gone: int = 0
    in_flight: int = 0
    released: int = 0
    failed_by_code: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, str] = field(default_factory=dict)
    by_day: Counter[str] = field(default_factory=Counter)
    segments: list[tuple[date, str]] = field(default_factory=list)
    unpushed: dict[str, str] = field(default_factory=dict)
    newest_change: datetime | None = None
    newest_change_seconds: float | None = None

    def count_segment(self, ended: Segment) -> None:
        """Count a segment that was settled."""
        settled = ended.pushed + ended.failed + ended.gone
        self.settled += settled
        self.pushed += ended.pushed
        self.failed += ended.failed
        self.gone += ended.gone
        self.released += ended.rows - settled

        self.segments.append((ended.day, ended.segment_id))

    def count_newest_change(self, changed: datetime, org_now: datetime) -> None:
        """Note how old the newest of the changes was whose scores have arrived at `org_now`."""
        self.newest_change = max(filter(None, (self.newest_change, changed)))
        self.newest_change_seconds = (org_now - self.newest_change).total_seconds()
