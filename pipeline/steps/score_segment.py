"""Scores one claimed segment: reads inputs, scores and checks them, keeps what to push."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import DATETIME_FIELD
from pipeline.core.limit.row_faults import NOT_VISIBLE, SEGMENT_GAVE_UP
from pipeline.core.scoring.due import RowStatus, due_after_pull, row_statuses
from pipeline.core.scoring.results import (
    MarketResult,
    SegmentResult,
    segment_result,
    without_broken_rows,
)
from pipeline.core.scoring.scope import ScoringScope
from pipeline.steps.brake import why_braked
from pipeline.steps.clients import SCORED, Clients
from pipeline.steps.inputs import hidden_ids, read_inputs
from pipeline.steps.score_market import Claimed, score_markets
from pipeline.steps.score_summary import THE_ROW, ScoreSummary
from resources.ledger.leases import Lease
from resources.ledger.segments import Segment
from resources.ledger.settling import Outcome, RowFailure

SEGMENT_ATTEMPTS_MAX: Final = 3
HIDDEN: Final = (
    "The org shows this record to the pipeline's user neither among its records nor among the deleted ones. "
    "Share it with the user, or give the user View All on the object."
)


@dataclass
class SegmentScoring:
    """One claimed segment on its way to be scored.

    `rows` says by record id why each was claimed. It shrinks when rows turn out to be done already.
    """

    clients: Clients
    lease: Lease
    scope: ScoringScope
    segment: Segment
    rows: dict[str, str]
    summary: ScoreSummary

    def run(self) -> None:
        """Score the segment; nothing is pushed yet.

        A segment whose scoring ended abnormally several times is given up: its rows wait, each for
        itself (R23).
        """
        self.summary.claimed += len(self.rows)
        self.summary.by_reason.update(self.rows.values())
        self.summary.segments.append(self.segment.segment_id)

        attempts = self._begin_attempt()
        if attempts > SEGMENT_ATTEMPTS_MAX:
            self._give_up()
            return

        table = read_inputs(self.clients, self.scope, list(self.rows))
        missing = sorted(self.rows.keys() - set(table.column("Id").to_pylist()))
        hidden = hidden_ids(self.clients, self.scope, missing)

        status = row_statuses(self.scope, table)
        table, status = self._rows_to_score(table, status)

        counted_before = self.summary.distribution()
        claimed = Claimed(self.segment.segment_id, self.lease)
        results = score_markets(self.clients, self.scope, table, status, self.summary, claimed)
        result = segment_result(self.scope, self.segment.stamp, table, status, results, self.rows)
        result = without_broken_rows(result)

        self._settle_what_is_not_pushed(result, hidden)
        self._write(result, is_repeated=attempts > 1)
        self._mark_scored(result, self.summary.distribution() - counted_before)
        self._hold_or_release(results)
        self.clients.renew(self.lease)

    def _begin_attempt(self) -> int:
        """Count the attempt; raise LeaseLost if another rollout came in between."""
        fingerprints = {
            i.market: i.fingerprint(self.scope.markets[i.market]) for i in self.scope.integrations
        }
        resting = {i.market for i in self.scope.resting}
        return self.clients.ledger.segments.begin_attempt(
            self.lease, self.segment, fingerprints, resting
        )

    def _give_up(self) -> None:
        message = (
            f"Scoring the segment {self.segment.segment_id} ended abnormally {SEGMENT_ATTEMPTS_MAX} "
            "times; its records are tried again later, in other segments."
        )
        self._settle(Outcome(failed=[RowFailure(i, SEGMENT_GAVE_UP, message) for i in self.rows]))
        self.clients.lake.delete_working_file(self.segment.segment_id)
        self.clients.ledger.segments.mark_scored(self.lease, self.segment)
        self.summary.count_set_aside([SEGMENT_GAVE_UP] * len(self.rows))

    def _rows_to_score(self, table: pa.Table, status: RowStatus) -> tuple[pa.Table, RowStatus]:
        """Return the rows that a market has to do with and that were not scored meanwhile.

        Those that were scored since they were asked for are taken out of the segment.
        """
        wanted = status.is_eligible
        done = self._done_since_requested(table, status)
        if done:
            self.clients.ledger.segments.withdraw(self.lease, self.segment, done)
            self.summary.claimed -= len(done)
            self.summary.by_reason.subtract(self.rows.pop(record_id) for record_id in done)
            is_done = pc.is_in(table.column("Id"), pa.array(done))
            wanted = pc.and_(wanted, pc.invert(is_done))

        # Hardly ever is a row left out: nothing is copied then.
        if pc.all(wanted).as_py():
            return table, status
        return table.filter(wanted), status.only(wanted)

    def _done_since_requested(self, table: pa.Table, status: RowStatus) -> list[str]:
        """Return the new and changed rows whose scoring the ledger had forgotten.

        It comes from a backup, or the scores were uploaded. Then the digests are those of the
        current inputs, and the record's stamp is later than the request and than every market's
        renewal (R17). A row of an earlier run of this segment, whose stamp it carries, is settled
        by the push (D3).
        """
        unchanged = pc.is_null(due_after_pull(self.scope, table, status))
        same = pc.and_(status.is_eligible, unchanged)
        # Where all markets rest, digests agree since none is compared.
        if not self.scope.integrations or not pc.any(same).as_py():
            return []

        rows = table.filter(same)
        stamps: dict[str, datetime | None] = dict(
            zip(rows.column("Id").to_pylist(), rows.column(DATETIME_FIELD).to_pylist(), strict=True)
        )
        asked = self.clients.ledger.waiting.requested_at(self.segment.segment_id, stamps)
        renewed = max(self.scope.enabled_at[i.market] for i in self.scope.integrations)

        return [
            record_id
            for record_id, requested_at in asked.items()
            if (stamp := stamps[record_id]) is not None
            and stamp >= max(requested_at, renewed)
            and stamp != self.segment.stamp
        ]

    def _settle_what_is_not_pushed(self, result: SegmentResult, hidden: Sequence[str]) -> None:
        """End the rows that no push will end: the failed ones and the gone ones (R23, R25)."""
        gone = sorted(self.rows.keys() - result.inputs.keys() - set(hidden))
        failed = [
            RowFailure(i, p.code, p.message, held_for=p.held_for) for i, p in result.failed.items()
        ]
        failed += [RowFailure(i, NOT_VISIBLE, HIDDEN) for i in hidden]

        self.clients.ledger.segments.note_inputs(self.lease, self.segment, result.inputs)
        self._settle(Outcome(failed=failed, gone=gone))

        self.summary.gone += len(gone)
        self.summary.count_set_aside(
            (failure.code for failure in failed),
            for_markets=sum(failure.held_for is not None for failure in failed),
        )
        for (output, rule), ids in result.broken.items():
            self.summary.count_broken(THE_ROW, output, rule, ids)
        if result.broken and not result.update.num_rows:
            self.summary.segments_refused += 1

    def _settle(self, outcome: Outcome) -> None:
        if outcome.failed or outcome.gone:
            now = self.clients.now()
            self.clients.ledger.settling.settle_rows(
                self.lease, self.segment, outcome, now=now, org_now=now
            )

    def _write(self, result: SegmentResult, *, is_repeated: bool) -> None:
        """Write the working file for the push, and the history of what was scored (R24).

        A repeated scoring writes the history though it is empty: the first attempt's rows go.
        """
        lake, segment = self.clients.lake, self.segment
        if result.update.num_rows:
            lake.write_working_file(segment.segment_id, result.update)
        else:
            lake.delete_working_file(segment.segment_id)

        if result.update.num_rows or is_repeated:
            lake.write(SCORED, segment.day, segment.object, segment.segment_id, result.kept)

    def _mark_scored(self, result: SegmentResult, counted: Counter[str]) -> None:
        self.summary.scored += result.update.num_rows
        counted["scored"] = result.update.num_rows
        why_held = why_braked(self.clients, self.segment, counted)
        self.clients.ledger.segments.mark_scored(self.lease, self.segment, counted, why_held)

    def _hold_or_release(self, results: Mapping[str, MarketResult]) -> None:
        """Hold the markets that failed as a whole; release held ones that work again (R23)."""
        holds = self.clients.ledger.holds
        held = holds.all()
        for market, result in results.items():
            if market in self.summary.markets_failed:
                holds.hold(
                    market,
                    self.summary.markets_failed[market],
                    self.clients.now(),
                    is_on_few_rows=market in self.summary.markets_failed_on_few_rows,
                )
            elif market in held and pc.any(result.scored).as_py():
                integrations = self.clients.configuration.integrations
                objects = [i.object for i in integrations if i.market == market]
                holds.release(market, objects, self.clients.now())
