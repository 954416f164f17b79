"""Claims on the day's limit, the segments they make, and how a push ends (D3, R20, R23)."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from pipeline.core.limit.repeats import SCORINGS_KEPT_FOR, scored_again
from pipeline.core.limit.row_faults import RowFault, fault_of
from pipeline.core.limit.shares import Allowance, DayPolicy, DaySoFar, allowance, lane_of
from pipeline.core.scoring.due import Lane, Reason
from resources.ledger import counts as c
from resources.ledger import tables as t
from resources.ledger.counts import Counts
from resources.ledger.database import Database
from resources.ledger.state import Lease, check_lease, check_rollout
from resources.ledger.waiting import Waiting, chunks

BACKOFF_FIRST: Final = timedelta(minutes=30)
BACKOFF_MAX: Final = timedelta(days=7)
PASSING_BACKOFF_FIRST: Final = timedelta(minutes=5)
PASSING_BACKOFF_MAX: Final = timedelta(hours=6)
LASTING_AFTER_PASSING: Final = 2
"""A row is lasting once it failed by its own fault, or more often than so in passing (R23)."""

MESSAGE_LENGTH_MAX: Final = 1_000


class SegmentState(StrEnum):
    """How far a segment has come."""

    CLAIMED = "claimed"
    SCORED = "scored"
    SETTLED = "settled"
    DISSOLVED = "dissolved"


UNFINISHED: Final = (SegmentState.CLAIMED.value, SegmentState.SCORED.value)


@dataclass(frozen=True, slots=True)
class Segment:
    """Records of one object claimed together on one day, scored together and pushed in one job.

    `stamp` is fixed by the claim and is what the update datetime field receives.
    """

    segment_id: str
    object: str
    day: date
    stamp: datetime
    rows: int
    state: str
    attempts: int
    run_id: str
    pushed: int = 0
    failed: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class PushJob:
    """One bulk job of a segment: `open` (data may be missing), `closed`, `settled` or `aborted`."""

    job_id: str
    segment_id: str
    object: str
    rows: int
    state: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why one record was not written: Salesforce's own code and message, or ours before the push.

    With `held_for` the record itself is not to blame: it waits, as it stood, until that market works again.
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

    `gone` rows are left alone from now on (R25); `partial` rows were written, but a market failed on them:
    they count as failed and wait.
    """

    pushed: Sequence[str] = ()
    failed: Sequence[RowFailure] = ()
    gone: Sequence[str] = ()
    partial: Sequence[RowFailure] = ()


@dataclass(frozen=True, slots=True)
class DayUse:
    """What has been used of one day's limit (records)."""

    day: date
    cap: int
    used: int

    @property
    def left(self) -> int:
        """Return how many records may still be scored that day."""
        return max(0, self.cap - self.used)


def backoff(tries: int, *, passing: bool) -> timedelta:
    """Return how long a row waits after its `tries`-th failure: doubling, up to a bound (R23)."""
    first, most = (
        (PASSING_BACKOFF_FIRST, PASSING_BACKOFF_MAX) if passing else (BACKOFF_FIRST, BACKOFF_MAX)
    )
    doubled: timedelta = first * (1 << min(max(tries - 1, 0), 20))
    return min(most, doubled)


class Claims:
    """Reads and writes of days, segments, push jobs and how they end."""

    def __init__(self, database: Database, waiting: Waiting, counts: Counts) -> None:
        """Work on `database`; rows come from `waiting`, and `counts` remembers by day what happened."""
        self._db = database
        self._waiting = waiting
        self._counts = counts

    def day_use(self, day: date, cap: int) -> DayUse:
        """Return what is used of `day`; `cap` is today's setting, for a day without claims."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(t.days).where(t.days.c.day == day)).one_or_none()
        return DayUse(day=day, cap=cap, used=row.used if row else 0)

    def raise_used(self, day: date, scored: Mapping[tuple[str, str], int], cap: int) -> None:
        """Raise the day's use to what its scored files hold (`(object, lane)` to records), where that is more.

        A ledger restored from a backup must not forget what was scored since (D3).
        """
        with self._db.begin() as connection:
            self._lock_day(connection, day, cap)
            for (name, lane), records in scored.items():
                used = connection.scalar(
                    sa.select(t.day_usage.c.used).where(
                        t.day_usage.c.day == day,
                        t.day_usage.c.object == name,
                        t.day_usage.c.lane == lane,
                    )
                )
                missing = records - (used or 0)
                if missing > 0:
                    self._charge(connection, day, name, Lane(lane), missing, beyond_cap=True)

    def allowed(
        self,
        name: str,
        day: date,
        now_local: datetime,
        policy: DayPolicy,
        *,
        daily_pulls_done: bool,
        awaited: Collection[str] = (),
        now: datetime,
    ) -> Allowance:
        """Return what a claim on the object would be granted now, without claiming."""
        with self._db.read() as connection:
            so_far, failed = self._so_far(
                connection,
                day,
                now_local,
                now,
                daily_pulls_done=daily_pulls_done,
                awaited=awaited,
                policy=policy,
            )
            return _granted(policy, so_far, failed, name)

    def claim(
        self,
        lease: Lease,
        *,
        day: date,
        now: datetime,
        now_local: datetime,
        policy: DayPolicy,
        daily_pulls_done: bool,
        awaited: Collection[str] = (),
        rows_max: int,
        run_id: str,
        held_for: str | None = None,
    ) -> Segment | None:
        """Claim up to `rows_max` waiting records of the lease's object on `day`, or None where nothing may be.

        With `held_for` only records that wait for that market are claimed: the trial of a market that failed.
        One transaction counts, divides (`core.limits`), marks and charges, so that the limit holds under any
        concurrency (R20).
        """
        with self._db.begin() as connection:
            check_lease(connection, lease)
            self._lock_day(connection, day, policy.limit)
            so_far, failed = self._so_far(
                connection,
                day,
                now_local,
                now,
                daily_pulls_done=daily_pulls_done,
                awaited=awaited,
                policy=policy,
            )
            granted = _granted(policy, so_far, failed, lease.object)
            segment_id = f"{day:%Y%m%d}-{lease.object.lower()}-{uuid.uuid4().hex[:12]}"
            rows = self._mark(
                connection, lease.object, segment_id, granted, rows_max, now, held_for=held_for
            )
            if rows == 0:
                return None
            self._charge_segment(connection, segment_id, lease.object, day)
            self._counts.add(connection, day, lease.object, {c.CLAIMED: rows})
            segment = Segment(
                segment_id=segment_id,
                object=lease.object,
                day=day,
                stamp=now.replace(microsecond=0),
                rows=rows,
                state=SegmentState.CLAIMED.value,
                attempts=0,
                run_id=run_id,
            )
            connection.execute(
                t.segments.insert().values(
                    created_at=now,
                    **{key: getattr(segment, key) for key in Segment.__dataclass_fields__},
                )
            )
            return segment

    def unfinished(self, name: str | None = None) -> list[Segment]:
        """Return the segments that are claimed or scored and not settled, oldest first."""
        query = sa.select(t.segments).where(t.segments.c.state.in_(UNFINISHED))
        if name:
            query = query.where(t.segments.c.object == name)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(t.segments.c.created_at)).mappings()
            return [_segment(row) for row in rows]

    def segments(self, *, day: date | None = None, run_id: str | None = None) -> list[Segment]:
        """Return the segments of a day or of a run, oldest first."""
        query = sa.select(t.segments).order_by(t.segments.c.created_at)
        if day:
            query = query.where(t.segments.c.day == day)
        if run_id:
            query = query.where(t.segments.c.run_id == run_id)
        with self._db.read() as connection:
            return [_segment(row) for row in connection.execute(query).mappings()]

    def scored_on(self, name: str, day: date, *, before: datetime) -> list[str]:
        """Return the records of the object that were scored on `day` and not again since `before`.

        What has been claimed since is as good as scored: should that fail, the record goes on waiting anyway.
        """
        this, later = t.scorings.alias(), t.scorings.alias()
        scored_since = (
            sa.select(later.c.record_id)
            .where(
                later.c.object == name,
                later.c.record_id == this.c.record_id,
                later.c.scored_at > before,
            )
            .exists()
        )
        claimed_since = (
            sa.select(t.waiting.c.record_id)
            .join(t.segments, t.segments.c.segment_id == t.waiting.c.segment_id)
            .where(
                t.waiting.c.object == name,
                t.waiting.c.record_id == this.c.record_id,
                t.segments.c.stamp > before,
            )
            .exists()
        )
        query = (
            sa.select(this.c.record_id)
            .distinct()
            .where(this.c.day == day, this.c.object == name, ~scored_since, ~claimed_since)
        )
        with self._db.read() as connection:
            return list(connection.scalars(query.order_by(this.c.record_id)))

    def begin_attempt(
        self,
        lease: Lease,
        segment: Segment,
        fingerprints: Mapping[str, str] | None = None,
        resting: Collection[str] = (),
    ) -> int:
        """Count one more attempt at the segment and return how many there were.

        Called before the inputs are read: wishes made until now are met by this scoring, later ones are not.
        `fingerprints` tell by market what the run scores with; raise LeaseLost where another mapping or model has
        been rolled out since it read them: its stamps would pass for scorings by the new one (R17). So it is where one
        of the `resting` markets rests no more.
        """
        with self._db.begin() as connection:
            check_lease(connection, lease)
            check_rollout(connection, lease, fingerprints or {}, resting)
            connection.execute(
                t.waiting.update()
                .where(
                    t.waiting.c.segment_id == segment.segment_id,
                    t.waiting.c.claimed_seq.is_distinct_from(t.waiting.c.seq),
                )
                .values(claimed_seq=t.waiting.c.seq)
            )
            connection.execute(
                t.segments.update()
                .where(t.segments.c.segment_id == segment.segment_id)
                .values(attempts=t.segments.c.attempts + 1)
            )
            attempts = connection.scalar(
                sa.select(t.segments.c.attempts).where(
                    t.segments.c.segment_id == segment.segment_id
                )
            )
            return int(attempts or 0)

    def note_inputs(self, lease: Lease, segment: Segment, hashes: Mapping[str, str]) -> None:
        """Note the hash of the inputs that each row is scored from (record id to hash): a pull compares (R15).

        Most rows have it from the pull that listed them.
        """
        if not hashes:
            return
        row = t.waiting.c
        with self._db.begin() as connection:
            check_lease(connection, lease)
            of_segment = row.segment_id == segment.segment_id
            noted = self._db.listed(connection, row.record_id, row.hash_seen, where=of_segment)
            known = dict(zip(*noted, strict=True))
            self._db.each(
                connection,
                t.waiting.update()
                .where(row.object == segment.object, row.record_id == sa.bindparam("of_id"))
                .values(hash_seen=sa.bindparam("new_hash")),
                [
                    {"of_id": record_id, "new_hash": value}
                    for record_id, value in hashes.items() - known.items()
                    if record_id in known
                ],
            )

    def mark_scored(
        self, lease: Lease, segment: Segment, counts: Mapping[str, int] | None = None
    ) -> None:
        """Note that the segment is scored: what is to be pushed stands in its working file.

        What came out is counted for its day (`counts`), once however often the segment is scored.
        """
        with self._db.begin() as connection:
            check_lease(connection, lease)
            marked = connection.execute(
                t.segments.update()
                .where(
                    t.segments.c.segment_id == segment.segment_id,
                    t.segments.c.state != SegmentState.SCORED.value,
                )
                .values(state=SegmentState.SCORED.value)
            )
            if marked.rowcount and counts:
                self._counts.add(connection, segment.day, segment.object, counts)

    def record_job(self, lease: Lease, job: PushJob) -> None:
        """Keep a job's id before any data are sent; raise LeaseLost where another run has the object."""
        with self._db.begin() as connection:
            check_lease(connection, lease)
            connection.execute(
                t.push_jobs.insert().values(
                    **{key: getattr(job, key) for key in PushJob.__dataclass_fields__}
                )
            )

    def job_states(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Return the states of those of `job_ids` that are known."""
        columns = (t.push_jobs.c.job_id, t.push_jobs.c.state)
        states: dict[str, str] = {}
        with self._db.read() as connection:
            for part in chunks(job_ids):
                query = sa.select(*columns).where(t.push_jobs.c.job_id.in_(part))
                states |= {row.job_id: row.state for row in connection.execute(query)}
        return states

    def set_job_state(self, job_id: str, state: str, now: datetime | None = None) -> None:
        """Note how far a job has come."""
        with self._db.begin() as connection:
            connection.execute(
                t.push_jobs.update()
                .where(t.push_jobs.c.job_id == job_id)
                .values(state=state, settled_at=now)
            )

    def jobs(self, segment_id: str) -> list[PushJob]:
        """Return the jobs of a segment, oldest first."""
        columns = [t.push_jobs.c[name] for name in PushJob.__dataclass_fields__]
        query = sa.select(*columns).where(t.push_jobs.c.segment_id == segment_id)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(t.push_jobs.c.created_at)).mappings()
            return [PushJob(**row) for row in rows]

    def settle_rows(
        self, lease: Lease, segment: Segment, outcome: Outcome, *, now: datetime, org_now: datetime
    ) -> datetime | None:
        """End some rows of the segment: pushed and gone rows leave the list, the others wait (R23).

        Rows that wait for a market alone were not scored: their charge is given back.
        Rows that ended before, in a run that stopped half-way, are neither ended nor counted again. Returns the
        newest stamp that a pull saw on what was pushed, None where none did.
        """
        with self._db.begin() as connection:
            check_lease(connection, lease)
            row = t.waiting.c
            of_segment = row.segment_id == segment.segment_id
            listed = self._db.listed(connection, row.record_id, row.tries, where=of_segment)
            tries: dict[str, int] = dict(zip(*listed, strict=True))
            held = tries.keys()
            failures = (*outcome.failed, *outcome.partial)
            newest = self._newest_change(connection, segment, outcome.pushed, held)
            self._count_scorings(connection, segment, outcome, tries)
            for_markets = [f.record_id for f in outcome.failed if f.held_for is not None]
            self._give_back(connection, segment, for_markets)
            self._fail(connection, segment, outcome.failed, now, None)
            self._fail(connection, segment, outcome.partial, now, org_now)
            leaving = [*outcome.pushed, *outcome.gone]
            stay = held - {failure.record_id for failure in failures}
            self._leave(connection, segment, leaving, are_the_rest=stay <= set(leaving))
            ended = _ended(outcome, held)
            connection.execute(
                t.segments.update()
                .where(t.segments.c.segment_id == segment.segment_id)
                .values(
                    pushed=t.segments.c.pushed + ended[c.PUSHED],
                    failed=t.segments.c.failed + len(held & {f.record_id for f in failures}),
                    gone=t.segments.c.gone + ended[c.GONE],
                )
            )
            self._counts.add(connection, segment.day, segment.object, ended)
            return newest

    def settle(self, lease: Lease, segment: Segment, now: datetime) -> Segment:
        """Close the segment; rows that nothing was said of wait again. Return it as it ended."""
        with self._db.begin() as connection:
            check_lease(connection, lease)
            self._release(connection, segment)
            connection.execute(
                t.segments.update()
                .where(t.segments.c.segment_id == segment.segment_id)
                .values(state=SegmentState.SETTLED.value, settled_at=now)
            )
            row = (
                connection.execute(
                    sa.select(t.segments).where(t.segments.c.segment_id == segment.segment_id)
                )
                .mappings()
                .one()
            )
            return _segment(row)

    def dissolve(self, lease: Lease, segment: Segment, now: datetime) -> None:
        """Give the rows of a segment without a job back to the waiting list; its charge stays (D3)."""
        with self._db.begin() as connection:
            check_lease(connection, lease)
            self._release(connection, segment)
            connection.execute(
                t.segments.update()
                .where(t.segments.c.segment_id == segment.segment_id)
                .values(state=SegmentState.DISSOLVED.value, settled_at=now)
            )

    def withdraw(self, lease: Lease, segment: Segment, ids: Collection[str]) -> None:
        """Take rows of a claimed segment off the list that are due no more, and give their charge back (R20).

        A row that was wished for anew since its inputs were read waits again.
        """
        with self._db.begin() as connection:
            check_lease(connection, lease)
            leaving = self._give_back(connection, segment, ids)
            self._leave(connection, segment, leaving, are_the_rest=False)
            connection.execute(
                t.segments.update()
                .where(t.segments.c.segment_id == segment.segment_id)
                .values(rows=t.segments.c.rows - len(leaving))
            )
            withdrawn = {c.CLAIMED: -len(leaving)}
            self._counts.add(connection, segment.day, segment.object, withdrawn)

    # -- inside a transaction ------------------------------------------------------------------

    def _lock_day(self, connection: sa.Connection, day: date, cap: int) -> None:
        row = {"day": day, "cap": cap, "used": 0}
        self._db.upsert(connection, t.days, [row], changes={})
        used = connection.scalar(
            sa.select(t.days.c.used).where(t.days.c.day == day).with_for_update()
        )
        connection.execute(
            t.days.update().where(t.days.c.day == day).values(cap=max(cap, int(used or 0)))
        )

    def _so_far(
        self,
        connection: sa.Connection,
        day: date,
        now_local: datetime,
        now: datetime,
        *,
        daily_pulls_done: bool,
        awaited: Collection[str] = (),
        policy: DayPolicy,
    ) -> tuple[DaySoFar, dict[str, int]]:
        """Return how the day stands, and how many rows that failed before may be tried now, by object."""
        usage = connection.execute(sa.select(t.day_usage).where(t.day_usage.c.day == day))
        used = {(row.object, Lane(row.lane)): row.used for row in usage}
        lasting = connection.scalar(sa.select(t.days.c.lasting_used).where(t.days.c.day == day))
        claimable: dict[tuple[str, Lane], int] = {}
        new: dict[str, int] = {}
        failed: dict[str, int] = {}
        for row in self._waiting.counts(connection, now):
            name, records = row["object"], row["records"]
            if row["failed"]:
                failed[name] = failed.get(name, 0) + records
                continue
            key = (name, lane_of(row["reason"]))
            claimable[key] = claimable.get(key, 0) + records
            if row["reason"] == Reason.NEW.value:
                new[name] = new.get(name, 0) + records
        so_far = DaySoFar(
            local_time=now_local.time(),
            daily_pulls_done=daily_pulls_done,
            awaited=frozenset(awaited),
            used=used,
            claimable=claimable,
            claimable_new=new,
            lasting_used=int(lasting or 0),
        )
        left = max(0, policy.lasting_share - so_far.lasting_used)
        if (
            len(failed) > 1
            and sum(failed.values()) > left
            and so_far.local_time < policy.kept_until
        ):
            # Each in its turn, whosever it is: else the object that comes first would take it all, every day.
            failed = self._waiting.longest_overdue(connection, now, left)
        return so_far, failed

    def _mark(
        self,
        connection: sa.Connection,
        name: str,
        segment_id: str,
        granted: Allowance,
        rows_max: int,
        now: datetime,
        *,
        held_for: str | None,
    ) -> int:
        """Mark rows in claim order: new, changed, the refresh lane, then what failed before."""
        row, marked = t.waiting.c, 0
        refresh = [reason.value for reason in Reason if lane_of(reason) is Lane.REFRESH]
        oldest = (row.priority, row.order_at.nulls_first(), row.requested_at, row.record_id)
        # Each in its turn: else the same few would take the failing rows' part of every day.
        overdue = (row.not_before, row.record_id)
        kinds = (
            (granted.new, sa.and_(row.reason == Reason.NEW.value, ~row.lasting), oldest),
            (granted.changes, sa.and_(row.reason == Reason.CHANGED.value, ~row.lasting), oldest),
            (granted.refresh, sa.and_(row.reason.in_(refresh), ~row.lasting), oldest),
            (granted.lasting, row.lasting, overdue),
        )
        for most, kind, order in kinds:
            wanted = min(most, rows_max - marked)
            if wanted <= 0:
                continue
            ready = (
                row.object == name,
                row.segment_id.is_(None),
                row.not_before <= now,
                kind,
                sa.true() if held_for is None else row.held_for == held_for,
            )
            chosen = sa.select(row.record_id).where(*ready).order_by(*order).limit(wanted)
            there_are = connection.scalar(sa.select(sa.func.count()).where(*ready)) or 0
            which = (
                ready if there_are <= wanted else (row.object == name, row.record_id.in_(chosen))
            )
            result = connection.execute(
                t.waiting.update().where(*which).values(segment_id=segment_id, claimed_seq=row.seq)
            )
            marked += result.rowcount
        return marked

    def _charge_segment(
        self, connection: sa.Connection, segment_id: str, name: str, day: date
    ) -> None:
        failed = sa.case((t.waiting.c.lasting, 1), else_=0)
        query = (
            sa.select(
                t.waiting.c.reason, sa.func.count().label("n"), sa.func.sum(failed).label("f")
            )
            .where(t.waiting.c.segment_id == segment_id)
            .group_by(t.waiting.c.reason)
        )
        lasting = 0
        for row in connection.execute(query):
            self._charge(connection, day, name, lane_of(row.reason), row.n)
            lasting += row.f
        connection.execute(
            t.days.update()
            .where(t.days.c.day == day)
            .values(lasting_used=t.days.c.lasting_used + lasting)
        )

    def _charge(
        self,
        connection: sa.Connection,
        day: date,
        name: str,
        lane: Lane,
        records: int,
        *,
        beyond_cap: bool = False,
    ) -> None:
        values: dict[str, Any] = {"used": t.days.c.used + records}
        if beyond_cap:
            more = t.days.c.used + records
            values["cap"] = sa.case((more > t.days.c.cap, more), else_=t.days.c.cap)
        connection.execute(t.days.update().where(t.days.c.day == day).values(**values))
        row = {"day": day, "object": name, "lane": lane.value, "used": records}
        changes = {"used": t.day_usage.c.used + records}
        self._db.upsert(connection, t.day_usage, [row], changes=changes)

    def _give_back(
        self, connection: sa.Connection, segment: Segment, ids: Collection[str]
    ) -> list[str]:
        """Take back the day's charge for those of `ids` that the segment still holds; return them (R20)."""
        if not ids:
            return []
        row = t.waiting.c
        query = sa.select(row.record_id, row.reason, row.lasting).where(
            row.segment_id == segment.segment_id, self._db.one_of(row.record_id, list(ids))
        )
        found = connection.execute(query).all()
        for lane, records in Counter(lane_of(one.reason) for one in found).items():
            self._charge(connection, segment.day, segment.object, lane, -records)
        if lasting := sum(one.lasting for one in found):
            connection.execute(
                t.days.update()
                .where(t.days.c.day == segment.day)
                .values(lasting_used=t.days.c.lasting_used - lasting)
            )
        return [one.record_id for one in found]

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
            row.error_code.is_(None),
            self._among(row.record_id, pushed, held),
        )
        newest: datetime | None = connection.scalar(query)
        return newest

    def _count_scorings(
        self,
        connection: sa.Connection,
        segment: Segment,
        outcome: Outcome,
        tries: Mapping[str, int],
    ) -> None:
        """Note which of the segment's rows (with their tries so far) were scored, and when they were claimed.

        What was written, and what was refused for reasons of its own; of a row that keeps being refused only the
        first time since its last edit, so that the edit that mends it finds it free (R15, R23).
        """
        written = [*outcome.pushed, *(failure.record_id for failure in outcome.partial)]
        refused = [
            failure.record_id
            for failure in outcome.failed
            if fault_of(failure.code) is RowFault.LASTING and tries.get(failure.record_id) == 0
        ]
        scored = [i for i in dict.fromkeys((*written, *refused)) if i in tries]
        if not scored:
            return
        lately = self._waiting.scored_since(
            connection, segment.object, scored, segment.stamp - SCORINGS_KEPT_FOR
        )
        rows = [
            {
                "object": segment.object,
                "record_id": record_id,
                "segment_id": segment.segment_id,
                "day": segment.day,
                "scored_at": segment.stamp,
                "in_a_row": scored_again(scorings[-1], segment.stamp).in_a_row,
            }
            for record_id, scorings in lately.items()
        ]
        self._db.upsert(connection, t.scorings, rows, changes={})
        row = t.waiting.c
        first = {
            "object": row.object,
            "record_id": row.record_id,
            "segment_id": row.segment_id,
            "day": sa.literal(segment.day, sa.Date),
            "scored_at": sa.literal(segment.stamp, t.UtcDateTime),
            "in_a_row": sa.literal(scored_again(None, segment.stamp).in_a_row, sa.Integer),
        }
        of_segment = row.segment_id == segment.segment_id
        others = sa.select(*first.values()).where(
            of_segment, self._among(row.record_id, scored, tries)
        )
        connection.execute(self._db.insert_into(t.scorings).from_select(list(first), others))

    def _among(
        self, column: sa.ColumnElement[str], ids: Sequence[str], held: Collection[str]
    ) -> sa.ColumnElement[bool]:
        """Return the condition that names `ids`; none where they are all that a segment holds."""
        every = len(ids) >= len(held) and set(ids) >= set(held)
        return sa.true() if every else self._db.one_of(column, list(ids))

    def _leave(
        self,
        connection: sa.Connection,
        segment: Segment,
        ids: Sequence[str],
        *,
        are_the_rest: bool,
    ) -> None:
        """Take rows off the list; one that was wished for anew meanwhile waits again.

        Where `ids` are all rows that the segment still holds, they need not be named.
        """
        row = t.waiting.c
        rows = sa.and_(row.object == segment.object, row.segment_id == segment.segment_id)
        if not are_the_rest:
            rows = sa.and_(rows, self._db.one_of(row.record_id, ids))
        connection.execute(t.waiting.delete().where(rows, row.seq == row.claimed_seq))
        connection.execute(
            t.waiting.update()
            .where(rows)
            .values(
                segment_id=None,
                claimed_seq=None,
                tries=0,
                error_code=None,
                error_message=None,
                first_failed_at=None,
                last_failed_at=None,
                held_for=None,
                lasting=False,
                reason=sa.case(
                    (row.reason == Reason.NEW.value, Reason.CHANGED.value),
                    else_=row.reason,
                ),
            )
        )

    def _fail(
        self,
        connection: sa.Connection,
        segment: Segment,
        failures: Sequence[RowFailure],
        now: datetime,
        written_at: datetime | None,
    ) -> None:
        """Let rows wait longer each time; one that was wished for anew meanwhile tries at once."""
        if not failures:
            return
        by_id = {failure.record_id: failure for failure in failures}
        holds = sa.select(t.market_holds.c.market, t.market_holds.c.retry_at)
        retry_at = {row.market: row.retry_at for row in connection.execute(holds)}
        query = sa.select(
            t.waiting.c.record_id, t.waiting.c.tries, t.waiting.c.seq, t.waiting.c.claimed_seq
        ).where(
            t.waiting.c.object == segment.object,
            self._db.one_of(t.waiting.c.record_id, list(by_id)),
            t.waiting.c.segment_id == segment.segment_id,
        )
        rows = []
        for row in connection.execute(query):
            failure = by_id[row.record_id]
            anew = row.seq != row.claimed_seq
            held = failure.held_for is not None
            tries = 0 if anew else row.tries + (not held)
            later = (
                retry_at.get(failure.held_for, now + PASSING_BACKOFF_MAX)
                if held
                else now + backoff(tries, passing=failure.is_passing)
            )
            rows.append(
                {
                    "of_id": row.record_id,
                    "new_tries": tries,
                    "new_not_before": now if anew else later,
                    "new_code": failure.code[:80],
                    # PostgreSQL keeps no NUL in a text.
                    "new_message": failure.message[:MESSAGE_LENGTH_MAX].replace("\0", "\ufffd"),
                    "new_held_for": failure.held_for,
                    "new_lasting": not held
                    and tries > (LASTING_AFTER_PASSING if failure.is_passing else 0),
                }
            )
        if not rows:
            return
        values: dict[str, Any] = {
            "tries": sa.bindparam("new_tries"),
            "not_before": sa.bindparam("new_not_before", type_=t.UtcDateTime),
            "error_code": sa.bindparam("new_code"),
            "error_message": sa.bindparam("new_message"),
            "first_failed_at": sa.func.coalesce(
                t.waiting.c.first_failed_at, sa.literal(now, t.UtcDateTime)
            ),
            "last_failed_at": now,
            "held_for": sa.bindparam("new_held_for"),
            "lasting": sa.bindparam("new_lasting"),
            "segment_id": None,
            "claimed_seq": None,
        }
        if written_at is not None:
            values["modstamp_seen"] = written_at
        connection.execute(
            t.waiting.update()
            .where(
                t.waiting.c.object == segment.object,
                t.waiting.c.record_id == sa.bindparam("of_id"),
            )
            .values(**values),
            rows,
        )

    def _release(self, connection: sa.Connection, segment: Segment) -> None:
        connection.execute(
            t.waiting.update()
            .where(t.waiting.c.segment_id == segment.segment_id)
            .values(segment_id=None, claimed_seq=None)
        )


def _granted(
    policy: DayPolicy, so_far: DaySoFar, failed: Mapping[str, int], name: str
) -> Allowance:
    """Return the allowance cut to the rows there are, so that its total is what a claim would take."""
    granted = allowance(policy, so_far, name)
    return Allowance(
        new=granted.new,
        changes=granted.changes,
        refresh=granted.refresh,
        lasting=min(granted.lasting, failed.get(name, 0)),
    )


def _ended(outcome: Outcome, held: AbstractSet[str]) -> Counter[str]:
    """Count how those rows ended that the segment still held."""
    ended: Counter[str] = Counter(
        {
            c.PUSHED: len(held & set(outcome.pushed)),
            c.GONE: len(held & set(outcome.gone)),
        }
    )
    for failure in (*outcome.failed, *outcome.partial):
        if failure.record_id in held:
            ended[c.name_of(c.FAILED, failure.code[:80])] += 1
    return ended


def _segment(row: Any) -> Segment:
    return Segment(**{name: row[name] for name in Segment.__dataclass_fields__})
