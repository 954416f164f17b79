"""What is remembered of each integration: its rollout, its pauses, its fields (R17, R19, R28).

Whether one runs is not decided here: `pipeline.core.configuration.running` answers that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline.core.configuration.running import IntegrationKey, IntegrationState, as_checked
from pipeline.core.errors import LeaseLost
from pipeline.core.scoring.due import Reason
from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.fencing import Lease
from resources.ledger.objects import (
    make_up_daily_pull,
    move_watermark_back,
    read_until_by_object,
)
from resources.ledger.waiting import ScoringRequests, Waiting, reschedule_held, retry_failing_at

Checked = dict[IntegrationKey, tuple[str, str | None]]
"""By integration its fingerprint, and why it is not ready (None: it is)."""

Outputs = Mapping[IntegrationKey, Sequence[str]]
"""By integration the fields that it writes."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Which deployment rolled out last, and when."""

    name: str
    rolled_out_at: datetime


class Integrations:
    """Reads and writes of the integrations."""

    def __init__(self, database: Database, waiting: Waiting) -> None:
        """Work on `database`; what an integration missed while it rested goes onto `waiting`."""
        self._db = database
        self._waiting = waiting

    def all(self) -> dict[IntegrationKey, IntegrationState]:
        """Return all integrations ever seen, by object and market."""
        with self._db.read() as connection:
            return integration_states(connection)

    def last_deployment(self) -> Deployment | None:
        """Return which deployment rolled out last; None before the first."""
        row = t.deployments.c
        with self._db.read() as connection:
            found = connection.execute(sa.select(row.name, row.rolled_out_at)).one_or_none()
        return Deployment(found.name, found.rolled_out_at) if found else None

    def note_seen(self, seen: Mapping[IntegrationKey, str], now: datetime) -> None:
        """Note what was seen that differs from the rollouts in force, and since when."""
        row = t.integrations.c
        with self._db.begin() as connection:
            for key, look in seen.items():
                connection.execute(
                    t.integrations.update()
                    .where(_row_of(key), row.fingerprint_seen.is_distinct_from(look))
                    .values(fingerprint_seen=look, fingerprint_seen_at=now)
                )

    def roll_out(
        self,
        checked: Checked,
        now: datetime,
        outputs: Outputs | None = None,
        *,
        standing: Collection[IntegrationKey] = (),
        deployment: str = "",
    ) -> None:
        """Bring rollouts up to date with the configuration.

        `checked` has every enabled integration. A new, changed or returning one gets `enabled_at` =
        now once it is ready, and with it every record becomes due at the limit's pace (R17). One
        that is no longer enabled loses its `enabled_at`, unless it is one of the `standing`: of
        those nothing is known now, and nothing changes. One that was not ready for a while and is
        again has the object read anew from then on, so that no change is lost.

        `outputs` names the fields that each writes; one that an integration wrote and no mapping of
        the object names any more is kept in `dropped_fields` (R19). `deployment` is who rolls out.
        """
        written = outputs or {}
        with self._db.read() as connection:
            known, read_until = (
                integration_states(connection),
                read_until_by_object(connection, now),
            )
        # Nearly always nothing is new. Then no other run waits for the write lock.
        if not _rollout(known, checked, written, read_until, now, standing).is_needed:
            return

        with self._db.begin() as connection:
            # Read again: somebody may have paused one meanwhile.
            known, read_until = (
                integration_states(connection),
                read_until_by_object(connection, now),
            )
            rollout = _rollout(known, checked, written, read_until, now, standing)
            self._db.upsert(connection, t.integrations, [asdict(state) for state in rollout.states])
            for key in rollout.replaced:
                retry_failing_at(connection, key.object, key.market, now)
            for key, since in rollout.ready_again:
                self._catch_up(connection, key, since, now)
            for key in rollout.switched_off:
                connection.execute(
                    t.integrations.update().where(_row_of(key)).values(enabled_at=None)
                )
            if deployment and rollout.renews(known):
                row = {"id": 1, "name": deployment[:255], "rolled_out_at": now}
                self._db.upsert(connection, t.deployments, [row])

    def renew(self, chosen: Sequence[IntegrationKey], now: datetime) -> None:
        """Count these integrations as turned on now, and their daily pulls of today as to come.

        All their records become due at the limit's pace (R17, R28).
        """
        with self._db.begin() as connection:
            for key in chosen:
                connection.execute(
                    t.integrations.update().where(_row_of(key)).values(enabled_at=now)
                )

            # The daily pull lists what is due by it, so that must not wait until tomorrow.
            object_names = sorted({key.object for key in chosen})
            connection.execute(
                t.objects.update()
                .where(t.objects.c.object.in_(object_names))
                .values(daily_pulled_on=None)
            )

    def pause(self, key: IntegrationKey, now: datetime) -> None:
        """Let an integration rest from `now` on; one that rests already keeps its earlier moment.

        What pulls have not read yet is read without it: it counts as resting since then.
        """
        row = t.integrations.c
        with self._db.begin() as connection:
            since = read_until_by_object(connection, now).get(key.object, now)
            connection.execute(
                t.integrations.update()
                .where(_row_of(key))
                .values(
                    paused_at=sa.func.coalesce(row.paused_at, now),
                    resting_since=sa.func.coalesce(row.resting_since, since),
                )
            )

    def resume(self, key: IntegrationKey, now: datetime) -> datetime:
        """End a pause and return from when on the object is read again, so that no change is lost.

        Where the integration is not ready either, that waits until it is.
        """
        row = t.integrations.c
        with self._db.begin() as connection:
            query = sa.select(row.resting_since, row.not_ready).where(_row_of(key))
            state = connection.execute(query).one()
            since: datetime = state.resting_since or now

            # Not ready as well: what it misses is made up for when it is.
            values: dict[str, Any] = {"paused_at": None}
            if not state.not_ready:
                values["resting_since"] = None
                self._catch_up(connection, key, since, now)

            connection.execute(t.integrations.update().where(_row_of(key)).values(**values))
            return since

    def _catch_up(
        self, connection: sa.Connection, key: IntegrationKey, since: datetime, now: datetime
    ) -> None:
        """Let an integration that rested since then make up for it: what changed, what came of age.

        A daily pull that ran without it runs again (R17).
        A record that other markets scored meanwhile carries their stamp, younger than this market's
        scores: it is asked for again (R12). Where the market or its mapping was replaced meanwhile,
        all its records are due (R17).
        """
        move_watermark_back(connection, key.object, since)
        make_up_daily_pull(connection, key.object, since)
        reschedule_held(connection, key.market, now)

        # Turned on after it came to rest: it was another model or mapping then.
        replaced = connection.execute(
            t.integrations.update()
            .where(_row_of(key), t.integrations.c.enabled_at >= since)
            .values(enabled_at=now)
        )
        if replaced.rowcount:
            return

        # Stamps have no fraction of a second, so the second in which it stopped counts whole.
        ids = connection.scalars(_scored_or_claimed(key.object, since.replace(microsecond=0))).all()
        nothing = [None] * len(ids)
        requests = ScoringRequests(
            ids, [Reason.REDO] * len(ids), [now] * len(ids), nothing, nothing, nothing
        )
        if ids:
            self._waiting.add(connection, key.object, requests, now)


def integration_states(connection: sa.Connection) -> dict[IntegrationKey, IntegrationState]:
    """Return all integrations ever seen, in the caller's transaction."""
    columns = [t.integrations.c[name] for name in IntegrationState.__dataclass_fields__]
    rows = connection.execute(sa.select(*columns)).mappings()
    states = (IntegrationState(**row) for row in rows)
    return {state.key: state for state in states}


def resting_markets(connection: sa.Connection, object_name: str) -> set[str]:
    """Return the markets that do not score the object now: held, or paused or not ready on it.

    A held market counts until it is released, though a trial of it may be due.
    """
    row = t.integrations.c
    resting = sa.select(row.market).where(row.object == object_name, row.resting_since.is_not(None))
    held = sa.select(t.market_holds.c.market)
    return set(connection.scalars(sa.union(resting, held)))


def check_rollout(
    connection: sa.Connection,
    lease: Lease,
    fingerprints: Mapping[str, str],
    resting: Collection[str] = (),
) -> None:
    """Raise LeaseLost unless the integrations of the object stand as `fingerprints` say, by market.

    Those that are `resting` for the run (paused, not ready or held) must rest still: its stamps
    would pass for scorings by them.
    """
    row = t.integrations.c
    query = sa.select(row.market, row.fingerprint).where(row.object == lease.object)
    known = connection.execute(query)
    others = {market for market, own in known if fingerprints.get(market, own) != own}
    others |= set(resting) - resting_markets(connection, lease.object)

    if others:
        raise LeaseLost(
            f"{lease.object}: the mapping or the model of {', '.join(sorted(others))} was changed, or it goes on again, "
            "while this run was at work. This run stops; the next one goes on with what holds now."
        )


@dataclass(frozen=True, slots=True)
class _Rollout:
    """What a rollout changes.

    `replaced` have another market or mapping than before. `ready_again` says since when each was
    not ready.
    """

    states: list[IntegrationState]
    replaced: list[IntegrationKey]
    ready_again: list[tuple[IntegrationKey, datetime]]
    switched_off: list[IntegrationKey]

    @property
    def is_needed(self) -> bool:
        return bool(self.states or self.ready_again or self.switched_off)

    def renews(self, known: Mapping[IntegrationKey, IntegrationState]) -> bool:
        """Say whether it turns anything on or off, and not only notes what is ready."""
        turned_on = [
            s for s in self.states if s.key not in known or s.enabled_at != known[s.key].enabled_at
        ]
        return bool(turned_on or self.switched_off)


def _rollout(
    known: Mapping[IntegrationKey, IntegrationState],
    checked: Checked,
    outputs: Outputs,
    read_until: Mapping[str, datetime],
    now: datetime,
    standing: Collection[IntegrationKey],
) -> _Rollout:
    states, replaced, ready_again = [], [], []
    for key, (fingerprint, not_ready) in checked.items():
        old = known.get(key)
        # The rule says when it counts as turned on; what it missed and wrote is the ledger's own.
        state = replace(
            as_checked(
                old,
                object_name=key.object,
                market=key.market,
                fingerprint=fingerprint,
                not_ready=not_ready,
                now=now,
            ),
            resting_since=_resting_since(old, not_ready, read_until.get(key.object, now)),
            outputs=tuple(outputs.get(key, ())),
            dropped_fields=_dropped_fields(old, key.object, outputs),
        )
        if (
            old is not None
            and old.resting_since
            and not state.resting_since
            and _is_same(old, state)
        ):
            ready_again.append((key, old.resting_since))
        if state != old:
            states.append(state)
        if old is not None and old.fingerprint != fingerprint:
            replaced.append(key)

    # Their state stays: a retired integration's values may be cleared (R19).
    named = {*checked, *standing}
    gone = [key for key, old in known.items() if key not in named and old.enabled_at]
    return _Rollout(states, replaced, ready_again, gone)


def _is_same(old: IntegrationState, state: IntegrationState) -> bool:
    """Say whether it was turned on before. Of another one all records are due anyway."""
    return old.enabled_at is not None and old.fingerprint == state.fingerprint


def _resting_since(
    old: IntegrationState | None, not_ready: str | None, read_until: datetime
) -> datetime | None:
    """Return from when on changes are read without an integration: not ready, or paused."""
    before = old.resting_since if old else None
    if not_ready or (old and old.paused_at):
        return before or read_until

    return None


def _dropped_fields(
    old: IntegrationState | None, object_name: str, outputs: Outputs
) -> tuple[str, ...]:
    """Return the fields that the integration once wrote and no mapping of the object names now."""
    if old is None:
        return ()

    mapped = {
        field for key, fields in outputs.items() if key.object == object_name for field in fields
    }
    # In the order in which they were dropped, each once.
    once = dict.fromkeys((*old.dropped_fields, *old.outputs))
    return tuple(field for field in once if field not in mapped)


def _scored_or_claimed(object_name: str, since: datetime) -> sa.CompoundSelect[str]:
    """Return the query for the records that were scored since then, or are being scored now."""
    scored, waits = t.scorings.c, t.waiting.c
    return sa.union(
        sa.select(scored.record_id).where(scored.object == object_name, scored.scored_at >= since),
        sa.select(waits.record_id).where(
            waits.object == object_name, waits.segment_id.is_not(None)
        ),
    )


def _row_of(key: IntegrationKey) -> sa.ColumnElement[bool]:
    row = t.integrations.c
    return sa.and_(row.object == key.object, row.market == key.market)
