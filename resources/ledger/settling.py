"""How rows of a segment end, pushed or set aside, and how the segment ends (R23, R25)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from pipeline.core.limit.row_faults import (
    MARKET_RESTS,
    NOBODYS,
    NOT_VISIBLE,
    RowFault,
    fault_of,
    market_at_fault,
)
from resources.ledger import counts as c
from resources.ledger import tables as t
from resources.ledger.counts import Counts
from resources.ledger.database import Database
from resources.ledger.fencing import Lease
from resources.ledger.holds import held_markets
from resources.ledger.scorings import Scorings
from resources.ledger.segments import Segment, Segments, SegmentState
from resources.ledger.waiting import Waiting

BACKOFF_FIRST: Final = timedelta(minutes=30)
BACKOFF_MAX: Final = timedelta(days=7)
PASSING_BACKOFF_FIRST: Final = timedelta(minutes=5)
PASSING_BACKOFF_MAX: Final = timedelta(hours=6)
LASTING_AFTER_PASSING: Final = 2
"""A row is lasting once it failed by its own fault, or more often than so in passing (R23).

What a job failed with is nobody's row's, and never lasting.
"""

NOT_VISIBLE_AGAIN: Final = timedelta(hours=24)
NOT_VISIBLE_TRIES: Final = 3
"""How often a record that the user does not see is asked for again before it is lasting (R23)."""

CODE_LENGTH_MAX: Final = 80
MESSAGE_LENGTH_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why one record was not written: Salesforce's own code and message, or ours before the push.

    With `held_for` the record itself is not to blame: it waits, as it stood, until that market
    works again.
    """

    record_id: str
    code: str
    message: str
    held_for: str | None = None

    @property
    def is_passing(self) -> bool:
        """Say whether the row itself is not to blame: by the one rule there is for codes (R23)."""
        return fault_of(self.code) is RowFault.PASSING


@dataclass(frozen=True, slots=True)
class Outcome:
    """How rows of a segment ended, each in exactly one of the lists.

    `gone` rows are left alone from now on (R25); `partial` rows were written, but a market failed
    on them: they count as failed and wait.
    """

    pushed: Sequence[str] = ()
    failed: Sequence[RowFailure] = ()
    gone: Sequence[str] = ()
    partial: Sequence[RowFailure] = ()


def backoff(tries: int, *, passing: bool) -> timedelta:
    """Return how long a row waits after its `tries`-th failure: doubling, up to a bound (R23)."""
    first, most = (
        (PASSING_BACKOFF_FIRST, PASSING_BACKOFF_MAX) if passing else (BACKOFF_FIRST, BACKOFF_MAX)
    )
    doubled: timedelta = first * (1 << min(max(tries - 1, 0), 20))
    return min(most, doubled)


class Settling:
    """Writes of how rows and segments end."""

    def __init__(
        self,
        database: Database,
        waiting: Waiting,
        segments: Segments,
        scorings: Scorings,
        counts: Counts,
    ) -> None:
        """Work on `database`: an end touches the four others at once."""
        self._db = database
        self._waiting = waiting
        self._segments = segments
        self._scorings = scorings
        self._counts = counts

    def settle_rows(
        self, lease: Lease, segment: Segment, outcome: Outcome, *, now: datetime, org_now: datetime
    ) -> datetime | None:
        """End some rows of the segment: pushed and gone rows leave the list, the others wait (R23).

        Rows that wait for a market alone were not scored: their charge is given back. Rows that
        ended before, in a run that stopped half-way, are neither ended nor counted again.

        Returns the newest stamp that a pull saw on what was pushed, None where none did.
        """
        row = t.waiting.c
        with self._db.begin(lease) as connection:
            of_segment = row.segment_id == segment.segment_id
            listed = self._db.column_lists(connection, row.record_id, row.tries, where=of_segment)
            tries: dict[str, int] = dict(zip(*listed, strict=True))
            held = tries.keys()

            # What the rows tell is read before they leave.
            newest = self._newest_change(connection, segment, outcome.pushed, held)
            written, refused = _scored_ids(outcome, tries)
            self._scorings.record(connection, segment, written, held, org_now)
            self._scorings.record(connection, segment, refused, held, None)
            for_markets = [f.record_id for f in outcome.failed if f.held_for is not None]
            self._segments.give_back(connection, segment, for_markets)

            self._fail(connection, segment, outcome.failed, now, None)
            self._fail(connection, segment, outcome.partial, now, org_now)
            self._remove(connection, segment, outcome, held)

            self._count(connection, segment, outcome, held)
            return newest

    def settle(self, lease: Lease, segment: Segment, now: datetime) -> Segment:
        """Close the segment; rows that nothing was said of wait again. Return it as it ended."""
        with self._db.begin(lease) as connection:
            return self._segments.finish(connection, segment, SegmentState.SETTLED, now)

    def _newest_change(
        self,
        connection: sa.Connection,
        segment: Segment,
        pushed: Sequence[str],
        held: Collection[str],
    ) -> datetime | None:
        row = t.waiting.c
        query = sa.select(sa.func.max(row.modstamp_seen, type_=t.UtcDateTime)).where(
            row.segment_id == segment.segment_id,
            # A row that failed before waited for its next try: its change is old.
            row.error_code.is_(None),
            self._db.among(row.record_id, pushed, held),
        )
        newest: datetime | None = connection.scalar(query)
        return newest

    def _remove(
        self,
        connection: sa.Connection,
        segment: Segment,
        outcome: Outcome,
        held: AbstractSet[str],
    ) -> None:
        """Take pushed and gone rows off the list, by the segment alone where all leave."""
        leaving = [*outcome.pushed, *outcome.gone]
        failures = (*outcome.failed, *outcome.partial)
        rest = held - {failure.record_id for failure in failures}

        named = None if rest <= set(leaving) else leaving
        self._waiting.remove(connection, segment.object, segment.segment_id, named)

    def _count(
        self,
        connection: sa.Connection,
        segment: Segment,
        outcome: Outcome,
        held: AbstractSet[str],
    ) -> None:
        row = t.segments.c
        ended = _count_ends(outcome, held)

        # Rows that ended in an earlier run are not held any more, and were counted then.
        failed = held & {f.record_id for f in (*outcome.failed, *outcome.partial)}
        connection.execute(
            t.segments.update()
            .where(row.segment_id == segment.segment_id)
            .values(
                pushed=row.pushed + ended[c.PUSHED],
                failed=row.failed + len(failed),
                gone=row.gone + ended[c.GONE],
            )
        )
        self._counts.add(connection, segment.day, segment.object, ended)

    def _fail(
        self,
        connection: sa.Connection,
        segment: Segment,
        failures: Sequence[RowFailure],
        now: datetime,
        written_at: datetime | None,
    ) -> None:
        """Let rows wait longer each time; one asked for anew meanwhile is tried at once."""
        if not failures:
            return

        by_id = {failure.record_id: failure for failure in failures}
        retry_at = {market: hold.retry_at for market, hold in held_markets(connection).items()}
        row = t.waiting.c
        query = sa.select(
            row.record_id, row.tries, row.seq, row.claimed_seq, row.error_market
        ).where(
            row.object == segment.object,
            self._db.one_of(row.record_id, list(by_id)),
            row.segment_id == segment.segment_id,
        )
        failed = [
            _failed_row(found, by_id[found.record_id], retry_at, now)
            for found in connection.execute(query)
        ]
        if failed:
            connection.execute(_let_wait(segment.object, now, written_at), failed)


def _scored_ids(outcome: Outcome, tries: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Return which of the segment's rows count as scored: those written, and those refused.

    Refusals count that are for the row's own sake, and of a row that keeps being refused only the
    first since its last edit (R15, R23). `tries` are those so far.
    """
    ids = (*outcome.pushed, *(failure.record_id for failure in outcome.partial))
    written = dict.fromkeys(i for i in ids if i in tries)
    refused = dict.fromkeys(
        failure.record_id
        for failure in outcome.failed
        if fault_of(failure.code) is RowFault.LASTING and tries.get(failure.record_id) == 0
    )
    return list(written), [i for i in refused if i not in written]


def _failed_row(
    row: Any, failure: RowFailure, retry_at: Mapping[str, datetime], now: datetime
) -> dict[str, Any]:
    """Return what a failure makes of a row: the parameters of `_let_wait`."""
    # The number rises whenever somebody asks for the record again: the row has other inputs then.
    anew = row.seq != row.claimed_seq
    held = failure.held_for is not None
    tries = 0 if anew else row.tries + (not held)
    # Salesforce's passing errors (a locked row, say) are not the row's fault for some time.
    patience = LASTING_AFTER_PASSING if failure.is_passing else 0
    later = now + backoff(tries, passing=failure.is_passing)
    if failure.code == NOT_VISIBLE:
        patience, later = NOT_VISIBLE_TRIES, now + NOT_VISIBLE_AGAIN
    if failure.held_for is not None:
        later = retry_at.get(failure.held_for, now + _wait_for_market(failure.code))
    is_to_blame = not held and failure.code not in NOBODYS

    return {
        "of_id": row.record_id,
        "new_tries": tries,
        "new_not_before": now if anew else later,
        "new_code": failure.code[:CODE_LENGTH_MAX],
        # PostgreSQL keeps no NUL in a text.
        "new_message": failure.message[:MESSAGE_LENGTH_MAX].replace("\0", "\ufffd"),
        "new_held_for": failure.held_for,
        # A row that only waits goes on to be known as one that the market could not score.
        "new_market": market_at_fault(failure.code, failure.message)
        or (row.error_market if held else None),
        "new_lasting": is_to_blame and tries > patience,
    }


def _wait_for_market(code: str) -> timedelta:
    """Return how long a row waits for a market that is not held.

    One that rests says itself when it goes on. What the search for failing rows has not decided is
    tried again soon.
    """
    return PASSING_BACKOFF_MAX if code == MARKET_RESTS else PASSING_BACKOFF_FIRST


def _let_wait(object_name: str, now: datetime, written_at: datetime | None) -> sa.Update:
    """Return the update that gives a failed row back to the list.

    A row that was partly written changed at `written_at` by our own push: a pull must not take that
    for an edit.
    """
    row = t.waiting.c
    values: dict[str, Any] = {
        "tries": sa.bindparam("new_tries"),
        "not_before": sa.bindparam("new_not_before", type_=t.UtcDateTime),
        "error_code": sa.bindparam("new_code"),
        "error_message": sa.bindparam("new_message"),
        "first_failed_at": sa.func.coalesce(row.first_failed_at, sa.literal(now, t.UtcDateTime)),
        "last_failed_at": now,
        "held_for": sa.bindparam("new_held_for"),
        "error_market": sa.bindparam("new_market"),
        "lasting": sa.bindparam("new_lasting"),
        "segment_id": None,
        "claimed_seq": None,
    }
    if written_at is not None:
        values["modstamp_seen"] = written_at

    of_row = sa.and_(row.object == object_name, row.record_id == sa.bindparam("of_id"))
    return t.waiting.update().where(of_row).values(**values)


def _count_ends(outcome: Outcome, held: AbstractSet[str]) -> Counter[str]:
    """Count how those rows ended that the segment still held."""
    ended: Counter[str] = Counter(
        {
            c.PUSHED: len(held & set(outcome.pushed)),
            c.GONE: len(held & set(outcome.gone)),
        }
    )
    for failure in (*outcome.failed, *outcome.partial):
        if failure.record_id in held:
            ended[c.name_of(c.FAILED, failure.code[:CODE_LENGTH_MAX])] += 1

    return ended
