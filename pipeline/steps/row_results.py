"""How a segment's rows ended, as the jobs' results tell it (R22, R23)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.limit.row_faults import (
    JOB_FAULTS,
    TRIED_AGAIN_AT_ONCE,
    RowFault,
    fault_of,
)
from pipeline.steps.clients import PUSHED
from resources.lake import Lake
from resources.ledger.segments import Segment
from resources.ledger.settling import Outcome, RowFailure


@dataclass
class RowResults:
    """How a segment's rows ended, by record id. Each row is in one of the two.

    `pushed` holds the job that wrote the row. `others` were not written, or not by all their
    markets: status, failure and job.
    """

    pushed: dict[str, str] = field(default_factory=dict)
    others: dict[str, tuple[str, RowFailure, str]] = field(default_factory=dict)

    def __contains__(self, record_id: str) -> bool:
        """Say whether it is known how the row ended."""
        return record_id in self.pushed or record_id in self.others

    def note_failed(self, record_id: str, code: str, message: str, job_id: str) -> None:
        """Note a row that was not written."""
        status = "gone" if fault_of(code) is RowFault.GONE else "failed"
        self._note_other(status, RowFailure(record_id, code, message), job_id)

    def note_written(
        self, ids: Sequence[str], partial: Mapping[str, RowFailure], job_id: str
    ) -> None:
        """Note rows that were written, those of `partial` not by all their markets."""
        self.pushed.update(dict.fromkeys(ids, job_id))

        # A row that failed in an earlier job and was written in this one has not failed.
        for record_id in self.others.keys() & ids if self.others else ():
            del self.others[record_id]

        for record_id in partial.keys() & ids if partial else ():
            self._note_other("partial", partial[record_id], job_id)

    def _note_other(self, status: str, failure: RowFailure, job_id: str) -> None:
        self.pushed.pop(failure.record_id, None)
        self.others[failure.record_id] = (status, failure, job_id)

    def outcome(self) -> Outcome:
        """Return the rows in the form in which the ledger settles them."""

        def failures(status: str) -> list[RowFailure]:
            return [failure for of, failure, _ in self.others.values() if of == status]

        return Outcome(
            pushed=list(self.pushed),
            gone=[failure.record_id for failure in failures("gone")],
            failed=failures("failed"),
            partial=failures("partial"),
        )

    def ended_ids(self) -> list[str]:
        """Return the rows that need no further job: all but those worth another try at once."""
        others = [
            record_id
            for record_id, (status, failure, _) in self.others.items()
            if not (status == "failed" and failure.code in TRIED_AGAIN_AT_ONCE)
        ]
        return [*self.pushed, *others]

    def left_by_jobs(self) -> dict[str, tuple[RowFailure, str]]:
        """Return the rows that no job has worked off, each with why and the job's id."""
        return {
            record_id: (failure, job_id)
            for record_id, (status, failure, job_id) in self.others.items()
            if status == "failed" and failure.code in JOB_FAULTS
        }

    def without(self, ids: Collection[str]) -> RowResults:
        """Return the results of all rows but `ids`."""
        return RowResults(
            {i: job_id for i, job_id in self.pushed.items() if i not in ids},
            {i: other for i, other in self.others.items() if i not in ids},
        )

    def table(self) -> pa.Table:
        """Return the rows as the lake keeps them: ids, results, codes and messages (R24)."""
        others = list(self.others.values())
        pushed = len(self.pushed)

        columns = {
            "id": [*self.pushed, *self.others],
            "status": ["pushed"] * pushed + [status for status, _, _ in others],
            "code": [""] * pushed + [failure.code for _, failure, _ in others],
            "message": [""] * pushed + [failure.message for _, failure, _ in others],
            "job_id": [*self.pushed.values(), *(job_id for _, _, job_id in others)],
        }
        return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})

    def keep(self, lake: Lake, segment: Segment) -> None:
        """Keep ids, results, codes and messages, beside what an earlier run has kept (R24)."""
        table = self.table()
        if table.num_rows == 0:
            return

        kept = lake.read_file(PUSHED, segment.day, segment.object, segment.segment_id)
        if kept is not None:
            others = pc.invert(pc.is_in(kept.column("id"), value_set=table.column("id")))
            table = pa.concat_tables([kept.filter(others), table])
        lake.write(PUSHED, segment.day, segment.object, segment.segment_id, table)
