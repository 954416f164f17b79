"""Segments: records claimed together, scored together and pushed in one job (D3, R20)."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from pipeline.core.limit.shares import Allowance, DayFacts, lane_of
from pipeline.core.scoring.due import Lane, Reason
from resources.ledger import counts as c
from resources.ledger import tables as t
from resources.ledger.claimable import is_claimable
from resources.ledger.counts import RANK, SCORE, Counts
from resources.ledger.database import Database
from resources.ledger.days import Days
from resources.ledger.fencing import Lease
from resources.ledger.integrations import check_rollout
from resources.ledger.stops import current_stop
from resources.ledger.waiting import Waiting


class SegmentState(StrEnum):
    """How far a segment has come."""

    CLAIMED = "claimed"
    SCORED = "scored"
    SETTLED = "settled"
    DISSOLVED = "dissolved"


RELEASED_BY_LENGTH_MAX: Final = 80
UNFINISHED: Final = (SegmentState.CLAIMED.value, SegmentState.SCORED.value)
PUSH_ERROR_LENGTH_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Segment:
    """Records of one object claimed together on one day, scored and pushed together.

    `stamp` is fixed by the claim and is what the update datetime field receives. `push_tries`
    counts the runs that could not push all of it, `push_error` says why the last of them could not,
    and before `next_push_at` none tries again.
    """

    segment_id: str
    object: str
    day: date
    stamp: datetime
    rows: int
    state: SegmentState
    attempts: int
    run_id: str
    pushed: int = 0
    failed: int = 0
    gone: int = 0
    push_tries: int = 0
    push_error: str | None = None
    next_push_at: datetime | None = None
    braked_for: str | None = None
    released_at: datetime | None = None
    released_by: str | None = None

    @property
    def is_braked(self) -> bool:
        """Say whether it is scored and waits for a person's yes or no before its push."""
        is_answered = self.braked_for is None or self.released_at is not None
        return self.state is SegmentState.SCORED and not is_answered

    def is_put_off(self, now: datetime) -> bool:
        """Say whether its next push has to wait."""
        return self.next_push_at is not None and self.next_push_at > now


class Segments:
    """Reads and writes of segments, and of the rows that they hold."""

    def __init__(self, database: Database, days: Days, waiting: Waiting, counts: Counts) -> None:
        """Work on `database`; a claim charges `days` and takes rows of `waiting`.

        `counts` remembers by day what happened.
        """
        self._db = database
        self._days = days
        self._waiting = waiting
        self._counts = counts

    def claim(
        self,
        lease: Lease,
        facts: DayFacts,
        *,
        rows_max: int,
        run_id: str,
        held_for: str | None = None,
    ) -> Segment | None:
        """Claim up to `rows_max` waiting records of the object, or None where nothing may be.

        With `held_for` it is the trial of a market that failed: records that wait for it, and
        others beside them.

        One transaction counts, divides (`core.limit.shares`), marks and charges, so that the limit
        holds under any concurrency (R20). While everything is stopped, nothing is claimed.
        """
        with self._db.begin(lease) as connection:
            if current_stop(connection) is not None:
                return None

            self._days.lock(connection, facts.day, facts.policy.limit)
            granted = self._days.grant(connection, lease.object, facts)

            segment_id = f"{facts.day:%Y%m%d}-{lease.object.lower()}-{uuid.uuid4().hex[:12]}"
            # No charge is made for nothing: the id of an empty segment is never seen.
            rows = _mark(
                connection,
                lease.object,
                segment_id,
                granted,
                rows_max,
                facts.now,
                held_for=held_for,
            )
            if rows == 0:
                return None

            segment = Segment(
                segment_id=segment_id,
                object=lease.object,
                day=facts.day,
                # Salesforce keeps no fraction of a second, and the stamp is compared (D3).
                stamp=facts.now.replace(microsecond=0),
                rows=rows,
                state=SegmentState.CLAIMED,
                attempts=0,
                run_id=run_id,
            )
            connection.execute(t.segments.insert().values(created_at=facts.now, **asdict(segment)))
            self._charge(connection, segment)
            self._counts.add(connection, facts.day, lease.object, {c.CLAIMED: rows})
            return segment

    def unfinished(self, object_name: str | None = None) -> list[Segment]:
        """Return the segments that are claimed or scored and not settled, oldest first."""
        query = sa.select(t.segments).where(t.segments.c.state.in_(UNFINISHED))
        if object_name:
            query = query.where(t.segments.c.object == object_name)
        return self._read(query)

    def all(self, *, day: date | None = None, run_id: str | None = None) -> list[Segment]:
        """Return all segments, or those of a day or of a run, oldest first."""
        query = sa.select(t.segments)
        if day:
            query = query.where(t.segments.c.day == day)
        if run_id:
            query = query.where(t.segments.c.run_id == run_id)
        return self._read(query)

    def begin_attempt(
        self,
        lease: Lease,
        segment: Segment,
        fingerprints: Mapping[str, str] | None = None,
        resting: Collection[str] = (),
    ) -> int:
        """Count one more attempt at the segment and return how many there were.

        Called before the inputs are read: requests made until now are met by this scoring, later
        ones are not. `fingerprints` say by market what the run scores with.

        Raise LeaseLost where another mapping or model has been rolled out since the run read them:
        its stamps would pass for scorings by the new one (R17). So it is where one of the `resting`
        markets rests no more.
        """
        row = t.waiting.c
        with self._db.begin(lease) as connection:
            check_rollout(connection, lease, fingerprints or {}, resting)

            # Most rows stand as they were claimed: only the others are written.
            connection.execute(
                t.waiting.update()
                .where(
                    row.segment_id == segment.segment_id, row.claimed_seq.is_distinct_from(row.seq)
                )
                .values(claimed_seq=row.seq)
            )

            _update(connection, segment, attempts=t.segments.c.attempts + 1)
            attempts = sa.select(t.segments.c.attempts)
            return int(
                connection.scalar(attempts.where(t.segments.c.segment_id == segment.segment_id))
                or 0
            )

    def note_inputs(self, lease: Lease, segment: Segment, hashes: Mapping[str, str]) -> None:
        """Note by record id the hash of the inputs of each row: a pull compares them (R15).

        Most rows have it from the pull that listed them.
        """
        if not hashes:
            return

        row = t.waiting.c
        with self._db.begin(lease) as connection:
            of_segment = row.segment_id == segment.segment_id
            noted = self._db.column_lists(
                connection, row.record_id, row.hash_seen, where=of_segment
            )
            known = dict(zip(*noted, strict=True))

            # A pull has noted most of them already: one write for each that differs.
            other = [
                {"of_id": record_id, "new_hash": value}
                for record_id, value in hashes.items() - known.items()
                if record_id in known
            ]
            self._db.each(
                connection,
                t.waiting.update()
                .where(row.object == segment.object, row.record_id == sa.bindparam("of_id"))
                .values(hash_seen=sa.bindparam("new_hash")),
                other,
            )

    def mark_scored(
        self,
        lease: Lease,
        segment: Segment,
        counts: Mapping[str, int] | None = None,
        braked_for: str | None = None,
    ) -> None:
        """Note that the segment is scored: what is to be pushed stands in its working file.

        What came out is counted for its day (`counts`), once however often the segment is scored.
        With `braked_for` it is held before its push, until a person has answered. Its scores and
        ranks are not counted then: no later segment is compared with what nobody has said yes to.
        """
        if braked_for and counts:
            outputs = (f"{SCORE}:", f"{RANK}:")
            counts = {name: n for name, n in counts.items() if not name.startswith(outputs)}

        row = t.segments.c
        with self._db.begin(lease) as connection:
            # A segment scored again after a crash must not count twice.
            marked = connection.execute(
                t.segments.update()
                .where(row.segment_id == segment.segment_id, row.state != SegmentState.SCORED.value)
                .values(state=SegmentState.SCORED, braked_for=braked_for)
            )
            # One that went back from its push was counted when it was scored first.
            if marked.rowcount and counts and not segment.push_tries:
                self._counts.add(connection, segment.day, segment.object, counts)

    def note_unpushed(
        self,
        lease: Lease,
        segment: Segment,
        why: str,
        next_push_at: datetime | None = None,
        *,
        is_lost: bool = False,
    ) -> None:
        """Note that a run could not push all of the segment, and when the next one may try.

        Where what was scored `is_lost`, the segment is scored again, with the rows and the charge
        that it has (R20).
        """
        values: dict[str, Any] = {"state": SegmentState.CLAIMED} if is_lost else {}
        with self._db.begin(lease) as connection:
            _update(
                connection,
                segment,
                push_tries=t.segments.c.push_tries + 1,
                push_error=why[:PUSH_ERROR_LENGTH_MAX].replace("\0", "\ufffd"),
                next_push_at=next_push_at,
                **values,
            )

    def withdraw(self, lease: Lease, segment: Segment, ids: Collection[str]) -> None:
        """Take rows off the list that are due no more, and give their charge back.

        A row that was asked for anew since its inputs were read waits again (R20).
        """
        with self._db.begin(lease) as connection:
            leaving = self.give_back(connection, segment, ids)
            self._waiting.remove(connection, segment.object, segment.segment_id, leaving)

            _update(connection, segment, rows=t.segments.c.rows - len(leaving))
            withdrawn = {c.CLAIMED: -len(leaving)}
            self._counts.add(connection, segment.day, segment.object, withdrawn)

    def dissolve(self, lease: Lease, segment: Segment, now: datetime) -> None:
        """Give the rows of a segment without a job back to the list; its charge stays (D3)."""
        with self._db.begin(lease) as connection:
            self.finish(connection, segment, SegmentState.DISSOLVED, now)

    def last_release(self, object_name: str) -> datetime | None:
        """Return when a held segment of the object was last let go; None where none was."""
        row = t.segments.c
        query = sa.select(sa.func.max(row.released_at, type_=t.UtcDateTime))
        with self._db.read() as connection:
            newest: datetime | None = connection.scalar(query.where(row.object == object_name))
            return newest

    def release_braked(self, segment: Segment, by: str, now: datetime) -> None:
        """Let a held segment be pushed by the next run.

        No lease is asked for: runs pass over a held segment.
        """
        with self._db.begin() as connection:
            connection.execute(
                t.segments.update()
                .where(_is_braked(segment))
                .values(released_at=now, released_by=by[:RELEASED_BY_LENGTH_MAX])
            )

    def discard(self, segment: Segment, now: datetime) -> None:
        """Let the records of a held segment wait again; its charge stays."""
        with self._db.begin() as connection:
            is_held = sa.select(sa.func.count()).select_from(t.segments).where(_is_braked(segment))
            if connection.scalar(is_held):
                self.finish(connection, segment, SegmentState.DISSOLVED, now)

    # -- in the caller's transaction -----------------------------------------------------------

    def give_back(
        self, connection: sa.Connection, segment: Segment, ids: Collection[str]
    ) -> list[str]:
        """Give back the charge for those of `ids` that the segment holds; return them (R20)."""
        if not ids:
            return []

        row = t.waiting.c
        # What was charged, not what the record waits for since somebody edited it meanwhile.
        query = sa.select(row.record_id, row.claimed_reason, row.claimed_lasting).where(
            row.segment_id == segment.segment_id, self._db.one_of(row.record_id, list(ids))
        )
        found = connection.execute(query).all()
        for lane, records in Counter(lane_of(one.claimed_reason) for one in found).items():
            self._days.charge(connection, segment.day, segment.object, lane, -records)
        if lasting := sum(one.claimed_lasting for one in found):
            self._days.charge_lasting(connection, segment.day, -lasting)

        return [one.record_id for one in found]

    def finish(
        self, connection: sa.Connection, segment: Segment, state: SegmentState, now: datetime
    ) -> Segment:
        """Close the segment; rows that it still holds wait again. Return it as it ended."""
        self._waiting.release(connection, segment.segment_id)
        _update(connection, segment, state=state, settled_at=now)

        query = sa.select(t.segments).where(t.segments.c.segment_id == segment.segment_id)
        return _segment(connection.execute(query).mappings().one())

    def _charge(self, connection: sa.Connection, segment: Segment) -> None:
        row = t.waiting.c
        lasting = sa.func.sum(sa.case((row.lasting, 1), else_=0))
        query = (
            sa.select(row.reason, sa.func.count().label("records"), lasting.label("lasting"))
            .where(row.segment_id == segment.segment_id)
            .group_by(row.reason)
        )

        found = connection.execute(query).all()
        for one in found:
            lane = lane_of(one.reason)
            self._days.charge(connection, segment.day, segment.object, lane, one.records)
        self._days.charge_lasting(connection, segment.day, sum(one.lasting for one in found))

    def _read(self, query: sa.Select[Any]) -> list[Segment]:
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(t.segments.c.created_at)).mappings()
            return [_segment(row) for row in rows]


def _mark(
    connection: sa.Connection,
    object_name: str,
    segment_id: str,
    granted: Allowance,
    rows_max: int,
    now: datetime,
    *,
    held_for: str | None,
) -> int:
    """Mark rows in claim order and count them: new, changed, refresh, what keeps failing.

    Up to half of a trial are rows that wait for the market `held_for`, the others wait for none:
    rows that fail together must not be all that the market is judged by (D21).
    """
    row, marked = t.waiting.c, 0
    ready = sa.and_(row.object == object_name, is_claimable(connection, now))
    parts: list[tuple[sa.ColumnElement[bool], int]] = [(sa.true(), rows_max)]
    if held_for is not None:
        half = rows_max - rows_max // 2
        parts = [(row.held_for == held_for, half), (row.held_for.is_(None), rows_max)]

    for most, kind, order in _kinds(granted, in_turn=held_for is not None):
        remaining = most
        for part, part_max in parts:
            of_kind = sa.and_(ready, kind, part)
            taken = _mark_some(
                connection,
                object_name,
                segment_id,
                of_kind,
                order,
                min(remaining, part_max - marked),
            )
            marked, remaining = marked + taken, remaining - taken

    return marked


def _mark_some(
    connection: sa.Connection,
    object_name: str,
    segment_id: str,
    of_kind: sa.ColumnElement[bool],
    order: tuple[sa.ColumnElement[Any], ...],
    wanted: int,
) -> int:
    """Mark the first `wanted` rows of a kind in their order, and count them."""
    if wanted <= 0:
        return 0

    row = t.waiting.c
    # The grant may be less than what is ready: then the first in order are taken.
    there_are = connection.scalar(sa.select(sa.func.count()).where(of_kind)) or 0
    chosen = sa.select(row.record_id).where(of_kind).order_by(*order).limit(wanted)
    # Where all of a kind are taken, nothing need be sorted: that is most claims of a quiet day.
    which = (
        of_kind
        if there_are <= wanted
        else sa.and_(row.object == object_name, row.record_id.in_(chosen))
    )
    result = connection.execute(
        t.waiting.update()
        .where(which)
        .values(
            segment_id=segment_id,
            claimed_seq=row.seq,
            claimed_reason=row.reason,
            claimed_lasting=row.lasting,
        )
    )
    return result.rowcount


def _kinds(
    granted: Allowance, *, in_turn: bool
) -> tuple[tuple[int, sa.ColumnElement[bool], tuple[sa.ColumnElement[Any], ...]], ...]:
    """Return for each kind of row how many are granted, its condition, and who comes first.

    A trial takes the rows `in_turn`: first those that were not tried for longest, so that each
    trial sees others (R23).
    """
    row = t.waiting.c
    refresh = [reason.value for reason in Reason if lane_of(reason) is Lane.REFRESH]
    oldest: tuple[sa.ColumnElement[Any], ...] = (
        row.priority,
        row.order_at.nulls_first(),
        row.requested_at,
        row.record_id,
    )
    if in_turn:
        oldest = (row.last_failed_at.nulls_first(), row.record_id)
    # Each in its turn: else the same few would take the failing rows' part of every day.
    overdue = (row.not_before, row.record_id)

    return (
        (granted.new, sa.and_(row.reason == Reason.NEW.value, ~row.lasting), oldest),
        (granted.changes, sa.and_(row.reason == Reason.CHANGED.value, ~row.lasting), oldest),
        (granted.refresh, sa.and_(row.reason.in_(refresh), ~row.lasting), oldest),
        (granted.lasting, row.lasting, overdue),
    )


def _is_braked(segment: Segment) -> sa.ColumnElement[bool]:
    row = t.segments.c
    return sa.and_(
        row.segment_id == segment.segment_id,
        row.state == SegmentState.SCORED.value,
        row.braked_for.is_not(None),
        row.released_at.is_(None),
    )


def _update(connection: sa.Connection, segment: Segment, **values: Any) -> None:
    connection.execute(
        t.segments.update().where(t.segments.c.segment_id == segment.segment_id).values(**values)
    )


def _segment(row: Mapping[Any, Any]) -> Segment:
    known = {field.name: row[field.name] for field in fields(Segment)}
    return Segment(**known | {"state": SegmentState(row["state"])})
