"""What the ledger remembers of the org, the integrations, the objects and who works on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline.core.errors import LeaseLost, WrongOrg
from pipeline.core.scoring.due import Reason
from resources.ledger import tables as t
from resources.ledger.database import Database
from resources.ledger.waiting import ScoringRequests, Waiting


@dataclass(frozen=True, slots=True)
class IntegrationState:
    """One integration's rollout: `enabled_at` is renewed when its mapping or market changes (R17, R19)."""

    object: str
    market: str
    fingerprint: str
    enabled_at: datetime | None
    paused_at: datetime | None
    not_ready: str | None
    resting_since: datetime | None
    outputs: str | None
    left_fields: str | None


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One object's pulls: the watermark on the org's clock, and what the last pull saw in its window."""

    object: str
    turned_on_at: datetime
    watermark: datetime
    pulled_at: datetime | None
    asked_at: datetime | None
    seen_count: int | None
    seen_newest: datetime | None
    daily_pulled_on: date | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one object; every acquisition raises the token (D3)."""

    object: str
    owner: str
    token: int


def check_lease(connection: sa.Connection, lease: Lease) -> None:
    """Raise LeaseLost unless `lease` is still the newest on its object."""
    token = connection.scalar(sa.select(t.leases.c.token).where(t.leases.c.object == lease.object))
    if token != lease.token:
        raise LeaseLost(
            f"{lease.object}: another run has taken over (this run holds token {lease.token}, "
            f"the ledger says {token}). This run stops; the other one finishes the work."
        )


def check_rollout(
    connection: sa.Connection,
    lease: Lease,
    fingerprints: Mapping[str, str],
    resting: Collection[str] = (),
) -> None:
    """Raise LeaseLost unless the integrations of the lease's object stand as `fingerprints` say, by market.

    Those that are `resting` for the run (paused, not ready or held) must rest still: its stamps would pass for
    scorings by them.
    """
    row = t.integrations.c
    known = connection.execute(
        sa.select(row.market, row.fingerprint).where(row.object == lease.object)
    )
    others = {m for m, f in known if fingerprints.get(m, f) != f}
    others |= set(resting) - resting_markets(connection, lease.object)
    if others:
        raise LeaseLost(
            f"{lease.object}: the mapping or the model of {', '.join(sorted(others))} was changed, or it goes on again, "
            "while this run was at work. This run stops; the next one goes on with what holds now."
        )


def resting_markets(connection: sa.Connection, name: str) -> set[str]:
    """Return the markets that do not score the object now: held, or their integration is paused or not ready."""
    row = t.integrations.c
    resting = sa.select(row.market).where(row.object == name, row.resting_since.is_not(None))
    held = sa.select(t.market_holds.c.market)
    return set(connection.scalars(sa.union(resting, held)))


def read_again_from(connection: sa.Connection, name: str, since: datetime) -> None:
    """Move the object's watermark back to `since`, in the caller's transaction, where it is later.

    What the last pull saw counts no more: the sensor asks for a pull at its next tick.
    """
    connection.execute(
        t.objects.update()
        .where(t.objects.c.object == name, t.objects.c.watermark > since)
        .values(watermark=since, seen_count=-1, seen_newest=None)
    )


def let_go_on(connection: sa.Connection, market: str, until: datetime) -> None:
    """Let the records that wait for a market be claimed from `until` on, in the caller's transaction."""
    connection.execute(
        t.waiting.update()
        .where(t.waiting.c.held_for == market, t.waiting.c.segment_id.is_(None))
        .values(not_before=until)
    )


def _left_fields(
    old: IntegrationState | None, name: str, mapped: Mapping[tuple[str, str], Sequence[str]]
) -> str:
    """Return the fields that the integration once wrote and no mapping of the object names now."""
    if old is None:
        return ""
    written = dict.fromkeys(
        f for f in f"{old.left_fields or ''},{old.outputs or ''}".split(",") if f
    )
    now_mapped = {f for (of, _), fields in mapped.items() if of == name for f in fields}
    return ",".join(f for f in written if f not in now_mapped)


def _resting_since(
    old: IntegrationState | None, not_ready: str | None, read_until: datetime
) -> datetime | None:
    """Return from when on changes are read without an integration that is switched on: not ready, or paused."""
    before = old.resting_since if old else None
    if not_ready or (old and old.paused_at):
        return before or read_until
    return None


def read_until_of(connection: sa.Connection, now: datetime) -> dict[str, datetime]:
    """Return by object up to when pulls have read it, `now` at the latest."""
    rows = connection.execute(sa.select(t.objects.c.object, t.objects.c.watermark))
    return {name: min(now, watermark) for name, watermark in rows}


def _integrations(connection: sa.Connection) -> dict[tuple[str, str], IntegrationState]:
    rows = connection.execute(sa.select(t.integrations)).mappings()
    return {(r["object"], r["market"]): IntegrationState(**r) for r in rows}


def _rollouts(
    known: Mapping[tuple[str, str], IntegrationState],
    wanted: Mapping[tuple[str, str], tuple[str, str | None]],
    mapped: Mapping[tuple[str, str], Sequence[str]],
    read_until: Mapping[str, datetime],
    now: datetime,
) -> tuple[list[dict[str, Any]], list[tuple[str, str, datetime]], list[tuple[str, str]]]:
    """Return the rows to write, the integrations that are ready again and since when they were not, and those gone."""
    rows = []
    back = []
    for (name, market), (fingerprint, not_ready) in wanted.items():
        old = known.get((name, market))
        keeps = old is not None and old.fingerprint == fingerprint and old.enabled_at
        enabled_at = old.enabled_at if old and keeps else (None if not_ready else now)
        row = {
            "object": name,
            "market": market,
            "fingerprint": fingerprint,
            "enabled_at": enabled_at,
            "not_ready": not_ready,
            "resting_since": _resting_since(old, not_ready, read_until.get(name, now)),
            "outputs": ",".join(mapped.get((name, market), ())),
            "left_fields": _left_fields(old, name, mapped),
        }
        if keeps and old and old.resting_since and not not_ready and not old.paused_at:
            back.append((name, market, old.resting_since))
        if old is None or any(getattr(old, key) != value for key, value in row.items()):
            rows.append(row)
    gone = [key for key, old in known.items() if key not in wanted and old.enabled_at]
    return rows, back, gone


def _wrong_org(org_id: str, known: Mapping[str, Any]) -> WrongOrg:
    return WrongOrg(
        f"The connected org is {org_id}, but the ledger belongs to org {known['org_id']} "
        f"(connected {known['connected_at']:%Y-%m-%d %H:%M} UTC). Nothing was read or written. "
        "Correct SALESFORCE_LOGIN_URL; or, if the new org is meant (a refreshed sandbox is one), run "
        "`insights org switch`, or keep both apart by another INSIGHTS_HOME."
    )


class State:
    """Reads and writes of org, integrations, objects and leases."""

    def __init__(self, database: Database, waiting: Waiting) -> None:
        """Work on `database`; what an integration missed while it rested goes onto `waiting`."""
        self._db = database
        self._waiting = waiting

    def connect_org(
        self, org_id: str, environment: str, now: datetime, instance_url: str | None = None
    ) -> None:
        """Remember the org at first sight; raise WrongOrg when another one answers later (R1).

        Its address is kept for links to records, and follows the org where that moves.
        """
        with self._db.begin() as connection:
            known = connection.execute(sa.select(t.org)).mappings().one_or_none()
            if known is None:
                connection.execute(
                    t.org.insert().values(
                        id=1,
                        org_id=org_id,
                        environment=environment,
                        connected_at=now,
                        instance_url=instance_url,
                    )
                )
            elif known["org_id"] != org_id:
                raise _wrong_org(org_id, dict(known))
            elif instance_url and known["instance_url"] != instance_url:
                connection.execute(t.org.update().values(instance_url=instance_url))

    def check_org(self, org_id: str) -> None:
        """Raise WrongOrg where `org_id` is not the remembered org; before the first, any will do (R1)."""
        with self._db.read() as connection:
            known = connection.execute(sa.select(t.org)).mappings().one_or_none()
        if known is not None and known["org_id"] != org_id:
            raise _wrong_org(org_id, dict(known))

    def org(self) -> Mapping[str, Any] | None:
        """Return the remembered org: `org_id`, `environment` and `connected_at`."""
        with self._db.read() as connection:
            known = connection.execute(sa.select(t.org)).mappings().one_or_none()
        return dict(known) if known else None

    def org_id(self) -> str | None:
        """Return the id of the org that the state belongs to."""
        with self._db.read() as connection:
            org_id: str | None = connection.scalar(sa.select(t.org.c.org_id))
            return org_id

    def integrations(self) -> dict[tuple[str, str], IntegrationState]:
        """Return all integrations ever seen, by object and market."""
        with self._db.read() as connection:
            return _integrations(connection)

    def record_integrations(
        self,
        wanted: Mapping[tuple[str, str], tuple[str, str | None]],
        now: datetime,
        outputs: Mapping[tuple[str, str], Sequence[str]] | None = None,
    ) -> None:
        """Bring rollouts up to date with the configuration.

        `wanted` holds for each enabled integration its fingerprint and why it is not ready (None = ready).
        A new, changed or returning one gets `enabled_at` = now once it is ready, and with it every record
        becomes due at the limit's pace (R17). One that is no longer wanted loses its `enabled_at`. One that was
        not ready for a while and is again has the object read anew from then on, so that no change is lost.

        `outputs` names the fields that each writes; one that an integration wrote and no mapping of the object
        names any more is kept in `left_fields` (R19).
        """
        mapped = outputs or {}
        with self._db.read() as connection:
            known, read_until = _integrations(connection), read_until_of(connection, now)
        if not any(_rollouts(known, wanted, mapped, read_until, now)):
            return
        with self._db.begin() as connection:
            # Read again: somebody may have paused one meanwhile.
            known, read_until = _integrations(connection), read_until_of(connection, now)
            rows, back, gone = _rollouts(known, wanted, mapped, read_until, now)
            self._db.upsert(connection, t.integrations, rows)
            for name, market, since in back:
                self._catch_up(connection, name, market, since, now)
            for name, market in gone:
                connection.execute(
                    t.integrations.update()
                    .where(t.integrations.c.object == name, t.integrations.c.market == market)
                    .values(enabled_at=None)
                )

    def renew_rollout(self, chosen: Sequence[tuple[str, str]], now: datetime) -> None:
        """Count these integrations (object and market) as turned on now, and their daily pulls of today as to come.

        All their records become due at the limit's pace (R17, R28).
        """
        row = t.integrations.c
        with self._db.begin() as connection:
            for name, market in chosen:
                connection.execute(
                    t.integrations.update()
                    .where(row.object == name, row.market == market)
                    .values(enabled_at=now)
                )
            names = sorted({name for name, _ in chosen})
            connection.execute(
                t.objects.update().where(t.objects.c.object.in_(names)).values(daily_pulled_on=None)
            )

    def pause(self, name: str, market: str, now: datetime) -> None:
        """Let an integration rest from `now` on; one that rests already keeps its earlier moment.

        What pulls have not read yet is read without it: it counts as resting since then.
        """
        row = t.integrations.c
        with self._db.begin() as connection:
            since = read_until_of(connection, now).get(name, now)
            connection.execute(
                t.integrations.update()
                .where(row.object == name, row.market == market)
                .values(
                    paused_at=sa.func.coalesce(row.paused_at, now),
                    resting_since=sa.func.coalesce(row.resting_since, since),
                )
            )

    def resume(self, name: str, market: str, now: datetime) -> datetime:
        """End a pause and return from when on the object is read again, so that no change is lost.

        Where the integration is not ready either, that waits until it is.
        """
        row = t.integrations.c
        with self._db.begin() as connection:
            state = connection.execute(
                sa.select(row.resting_since, row.not_ready).where(
                    row.object == name, row.market == market
                )
            ).one()
            since: datetime = state.resting_since or now
            values: dict[str, Any] = {"paused_at": None}
            if not state.not_ready:
                values["resting_since"] = None
                self._catch_up(connection, name, market, since, now)
            connection.execute(
                t.integrations.update()
                .where(row.object == name, row.market == market)
                .values(**values)
            )
            return since

    def _catch_up(
        self, connection: sa.Connection, name: str, market: str, since: datetime, now: datetime
    ) -> None:
        """Let an integration that rested since then make up for it: what changed, and what came of age (R12, R17).

        A record that other markets scored meanwhile carries their stamp, younger than this market's scores: it is
        asked for again. Where the market or its mapping was replaced meanwhile, all its records are due (R17).
        """
        read_again_from(connection, name, since)
        let_go_on(connection, market, now)
        row = t.integrations.c
        here = sa.and_(row.object == name, row.market == market)
        replaced = connection.execute(
            t.integrations.update().where(here, row.enabled_at >= since).values(enabled_at=now)
        )
        if replaced.rowcount:
            return
        scored, waits = t.scorings.c, t.waiting.c
        stamps_from = since.replace(microsecond=0)
        ids = connection.scalars(
            sa.union(
                sa.select(scored.record_id).where(
                    scored.object == name, scored.scored_at >= stamps_from
                ),
                sa.select(waits.record_id).where(
                    waits.object == name, waits.segment_id.is_not(None)
                ),
            )
        ).all()
        nothing = [None] * len(ids)
        requests = ScoringRequests(
            ids, [Reason.REDO] * len(ids), [now] * len(ids), nothing, nothing, nothing
        )
        if ids:
            self._waiting.add(connection, name, requests, now)

    def objects(self) -> dict[str, ObjectState]:
        """Return the objects that have been turned on, by name."""
        with self._db.read() as connection:
            rows = connection.execute(sa.select(t.objects)).mappings()
            return {r["object"]: ObjectState(**r) for r in rows}

    def turn_on(self, names: Sequence[str], org_now: datetime) -> None:
        """Begin the pulls of objects that have none yet: from this moment on the org's clock (R16)."""
        with self._db.begin() as connection:
            self._db.upsert(
                connection,
                t.objects,
                [{"object": n, "turned_on_at": org_now, "watermark": org_now} for n in names],
                changes={},
            )

    def note_asked(self, names: Sequence[str], now: datetime) -> None:
        """Note that the org answered whether these objects have changed."""
        with self._db.begin() as connection:
            connection.execute(
                t.objects.update().where(t.objects.c.object.in_(names)).values(asked_at=now)
            )

    def mark_daily_pull(self, connection: sa.Connection, name: str, day: date) -> None:
        """Note, in the caller's transaction, that `day`'s daily pull of the object is in."""
        connection.execute(
            t.objects.update().where(t.objects.c.object == name).values(daily_pulled_on=day)
        )

    def acquire_lease(
        self, name: str, owner: str, *, now: datetime, lasts: timedelta
    ) -> Lease | None:
        """Take the object, or None while another owner's lease runs; every acquisition raises the token.

        The same owner may take it anew: a step of the same run, or the run started again after its process died.
        """
        with self._db.begin() as connection:
            self._db.upsert(connection, t.leases, [{"object": name, "token": 0}], changes={})
            held = (
                connection.execute(
                    sa.select(t.leases).where(t.leases.c.object == name).with_for_update()
                )
                .mappings()
                .one()
            )
            running = held["owner"] is not None and held["expires_at"] > now
            if running and held["owner"] != owner:
                return None
            token = held["token"] + 1
            connection.execute(
                t.leases.update()
                .where(t.leases.c.object == name)
                .values(owner=owner, token=token, expires_at=now + lasts)
            )
            return Lease(object=name, owner=owner, token=token)

    def renew_lease(self, lease: Lease, *, now: datetime, lasts: timedelta) -> None:
        """Prolong the lease after progress; raise LeaseLost when another run has it."""
        with self._db.begin() as connection:
            check_lease(connection, lease)
            connection.execute(
                t.leases.update()
                .where(t.leases.c.object == lease.object)
                .values(expires_at=now + lasts)
            )

    def release_lease(self, name: str, owner: str) -> None:
        """Give the object free if `owner` holds it."""
        with self._db.begin() as connection:
            connection.execute(
                t.leases.update()
                .where(t.leases.c.object == name, t.leases.c.owner == owner)
                .values(owner=None, expires_at=None)
            )

    def lease_holder(self, name: str, now: datetime) -> str | None:
        """Return who works on the object now."""
        with self._db.read() as connection:
            row = connection.execute(
                sa.select(t.leases.c.owner, t.leases.c.expires_at).where(t.leases.c.object == name)
            ).one_or_none()
        return row.owner if row and row.owner and row.expires_at > now else None
