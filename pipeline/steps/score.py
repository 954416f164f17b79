"""Finishes what was claimed, then claims and scores what the limit allows (R14, R20, R23)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import OBJECTS
from pipeline.core.errors import NotReady
from pipeline.core.scoring.due import LANES, Reason
from pipeline.core.scoring.scope import ScoringScope
from pipeline.steps.budget import PULL_RESERVE_CALLS
from pipeline.steps.clients import CHANGED_RECORDS, SCORED, STALE_RECORDS, Clients
from pipeline.steps.inputs import pulled_working_file
from pipeline.steps.preflight import check_once, scope_of
from pipeline.steps.score_segment import SegmentScoring
from pipeline.steps.score_summary import ScoreSummary
from pipeline.steps.stop import why_no_push
from resources.ledger.leases import Lease
from resources.ledger.segments import Segment, SegmentState

TRIAL_RECORDS: Final = 50
"""How many records a market that failed as a whole is tried with (R23)."""


def score(clients: Clients, lease: Lease, first: int | None = None) -> ScoreSummary:
    """Score what an earlier run left claimed, then claim and score all that may be.

    With `first`, no more than so many records are claimed; the others wait (R31). Raises NotReady
    where no integration of the object runs, and the client's errors.
    """
    _forget_leftovers(clients, lease.object)
    try:
        return _ObjectScoring(clients, lease, first).run()
    finally:
        clients.lake.delete_working_file(pulled_working_file(clients, lease.object))


def _forget_leftovers(clients: Clients, object_name: str) -> None:
    """Delete the working files of runs that died: they hold inputs and outputs (R24)."""
    unfinished = {s.segment_id for s in clients.ledger.segments.unfinished(object_name)}
    kept = unfinished | {pulled_working_file(clients, object_name)}
    clients.lake.delete_working_files_of(object_name, but=kept)


@dataclass
class _ObjectScoring:
    """One run's scoring of one object, segment by segment.

    `pulled` holds the due records that this run's own pull listed. `summary` counts.
    """

    clients: Clients
    lease: Lease
    first: int | None
    scope: ScoringScope = field(init=False)
    pulled: pa.Array = field(init=False)
    summary: ScoreSummary = field(init=False)

    def run(self) -> ScoreSummary:
        """Resume, try held markets, then claim and score."""
        self._begin()

        for segment in self.clients.ledger.segments.unfinished(self.lease.object):
            self._resume(segment)
        self._remember_scored_files()

        for market in self._markets_on_trial():
            self._score_claimed(self._claim(held_for=market))

        while self._leave_out_failed_markets() and self._score_claimed(self._claim()):
            pass

        self.summary.pulled_waiting = len(self.pulled) - self.summary.pulled_claimed
        return self.summary

    def _begin(self) -> None:
        object_name = self.lease.object
        preflight = check_once(self.clients, object_name)
        self.scope = scope_of(self.clients, object_name, preflight)
        self.pulled = _pulled_ids(self.clients, object_name)
        versions = {name: market.version for name, market in self.scope.markets.items()}
        self.summary = ScoreSummary(object=object_name, markets=versions)

    def _resume(self, segment: Segment) -> None:
        """Continue a segment of an earlier run from where it stopped (D3).

        One that has a job is the push's, and so is one that could not be pushed: it keeps its day
        and its values. One that was held before its push waits for its answer, however long, and
        then is pushed. Any other of a day gone by is dissolved: its rows wait again.
        """
        ledger, lake = self.clients.ledger, self.clients.lake
        if ledger.push_jobs.of_segment(segment.segment_id) or self._is_unpushed(segment):
            self.summary.resumed += segment.rows
            return

        is_scored = segment.state == SegmentState.SCORED
        file_is_there = is_scored and lake.read_working_file(segment.segment_id) is not None
        if segment.day < self.clients.today and not (segment.braked_for and file_is_there):
            ledger.segments.dissolve(self.lease, segment, self.clients.now())
            lake.delete_working_file(segment.segment_id)
            return

        if file_is_there:
            self.summary.segments.append(segment.segment_id)
            self.summary.resumed += segment.rows
        elif not why_no_push(self.clients):
            self._score(segment, self._rows(segment))

    def _is_unpushed(self, segment: Segment) -> bool:
        """Say whether a run could not push what is scored and still at hand."""
        return (
            segment.push_tries > 0
            and self.clients.lake.read_working_file(segment.segment_id) is not None
        )

    def _unpushed_rows(self) -> int:
        """Return how many records of the object are scored and could not be pushed."""
        ledger = self.clients.ledger
        return sum(
            ledger.waiting.count_of_segment(segment.segment_id)
            for segment in ledger.segments.unfinished(self.lease.object)
            if segment.push_tries
        )

    def _remember_scored_files(self) -> None:
        """Raise the day's use to what the scored files of all objects hold.

        The ledger may come from a backup, and must not forget what was scored since (D3).
        """
        today = self.clients.today
        by_lane: Counter[tuple[str, str]] = Counter()
        for object_name in OBJECTS:
            counted = self.clients.lake.count_by(SCORED, today, object_name, "reason")
            for reason, rows in counted.items():
                by_lane[object_name, LANES[Reason(reason)].value] += rows

        if by_lane:
            limit = self.clients.configuration.settings.daily_record_limit
            self.clients.ledger.days.raise_used(today, by_lane, limit)

    def _markets_on_trial(self) -> list[str]:
        """Return the held markets whose trial is due and that a record of the object waits for."""
        ledger = self.clients.ledger
        return [
            market
            for market in sorted(set(ledger.holds.all()) & set(self.scope.markets))
            if ledger.waiting.waiting_for(market, self.lease.object)
        ]

    def _leave_out_failed_markets(self) -> bool:
        """Take the markets that failed in this run out of the scope; False where none remains."""
        if not self.summary.markets_failed.keys() & self.scope.markets.keys():
            return True

        preflight = check_once(self.clients, self.lease.object)
        try:
            self.scope = scope_of(self.clients, self.lease.object, preflight)
        except NotReady:
            return False
        return True

    def _claim(self, held_for: str | None = None) -> Segment | None:
        """Claim one segment; with `held_for`, a few of the records that wait for that market."""
        rows_max = self._segment_rows_max()
        if held_for is not None:
            rows_max = min(rows_max, TRIAL_RECORDS)
        elif self.first is not None:
            rows_max = min(rows_max, self.first - self.summary.claimed)

        # A push that cannot end within the budget is not begun (R21).
        if rows_max <= 0 or self.clients.budget.remaining() < PULL_RESERVE_CALLS:
            return None
        if why_no_push(self.clients):
            return None

        # Where a whole day's limit could not be pushed, another one would be charged in vain.
        if self._unpushed_rows() >= self.clients.configuration.settings.daily_record_limit:
            return None

        return self.clients.ledger.segments.claim(
            self.lease,
            self.clients.day_facts(),
            rows_max=rows_max,
            run_id=self.clients.run_id,
            held_for=held_for,
        )

    def _segment_rows_max(self) -> int:
        """Return how large a segment may be: less where rows of the last job were locked."""
        most = self.clients.configuration.settings.segment_records_max
        state = self.clients.ledger.objects.all().get(self.lease.object)
        return min(most, state.job_rows_max or most) if state else most

    def _score_claimed(self, segment: Segment | None) -> bool:
        """Score a segment that was just claimed; False where there is no more to claim."""
        if segment is None:
            return False

        scored, for_markets = self.summary.scored, self.summary.waits_for_markets
        rows = self._rows(segment)
        of_pull = pc.is_in(pa.array(list(rows), pa.string()), value_set=self.pulled)
        self.summary.pulled_claimed += pc.sum(of_pull).as_py() or 0
        self._score(segment, rows)

        # Nothing is charged for rows that wait for a resting market: without an end here, one run
        # might read all that wait for it.
        only_waiting = self.summary.scored == scored and self.scope.resting
        return not (only_waiting and self.summary.waits_for_markets > for_markets)

    def _score(self, segment: Segment, rows: dict[str, str]) -> None:
        SegmentScoring(self.clients, self.lease, self.scope, segment, rows, self.summary).run()

    def _rows(self, segment: Segment) -> dict[str, str]:
        return self.clients.ledger.waiting.reasons_of_segment(segment.segment_id)


def _pulled_ids(clients: Clients, object_name: str) -> pa.Array:
    """Return the due records that this run's own pull listed, each once; none without a pull."""
    parts = [pa.chunked_array([], pa.string())]
    for asset in (CHANGED_RECORDS, STALE_RECORDS):
        listed = clients.lake.read_file(
            asset, clients.today, object_name, clients.run_id, columns=["id"]
        )
        if listed is not None:
            parts.append(listed.column("id"))

    chunks = [chunk for part in parts for chunk in part.chunks]
    return pc.unique(pa.chunked_array(chunks, pa.string()))
