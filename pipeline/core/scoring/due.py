"""Which records are due, and why (R14 to R17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import HASH_FIELD, Integration
from pipeline.core.scoring.digest import OUTDATED, VERSION, digests, hash_field, stored_digests
from pipeline.core.scoring.scope import ScoringScope


class Reason(StrEnum):
    """Why a record waits, in the order in which rows are claimed (D6)."""

    NEW = "new"
    CHANGED = "changed"
    NEVER_SCORED = "never_scored"
    STALE = "stale"
    CLEANUP = "left"
    REDO = "redo"


class Lane(StrEnum):
    """The two lanes of a day: new and changed records, and all the rest (R20)."""

    CHANGES = "changes"
    REFRESH = "refresh"


LANES: Final[Mapping[Reason, Lane]] = {
    Reason.NEW: Lane.CHANGES,
    Reason.CHANGED: Lane.CHANGES,
    Reason.NEVER_SCORED: Lane.REFRESH,
    Reason.STALE: Lane.REFRESH,
    Reason.CLEANUP: Lane.REFRESH,
    Reason.REDO: Lane.REFRESH,
}


@dataclass(frozen=True, slots=True)
class RowStatus:
    """What the markets have to do with the rows of a table, one entry a row in each column.

    By market, `candidates` says whether it scores the row now, and `resting_candidates` whether a
    resting one would (where that can be read). `digests` holds the digest of its important fields,
    and `stored` the digest that the hash field keeps (null = none). `cleared` says whether its old
    values are to be cleared.

    `conflicts` are rows that two integrations claim which write one field (R6).
    """

    candidates: Mapping[str, pa.ChunkedArray]
    digests: Mapping[str, pa.Array]
    stored: Mapping[str, pa.ChunkedArray]
    conflicts: pa.ChunkedArray
    cleared: Mapping[str, pa.ChunkedArray]
    resting_candidates: Mapping[str, pa.ChunkedArray]

    @property
    def is_eligible(self) -> pa.ChunkedArray:
        """Return the rows that a market scores or clears now, or would score if it did not rest.

        All others are left alone (R7, R25).
        """
        markets = (self.candidates, self.cleared, self.resting_candidates)
        return any_of([mask for by in markets for mask in by.values()], len(self.conflicts))

    def only(self, mask: pa.ChunkedArray) -> RowStatus:
        """Return the status of those rows alone that are in `mask`."""
        rows = mask.combine_chunks()

        def of(columns: Mapping[str, Any]) -> dict[str, Any]:
            return {market: column.filter(rows) for market, column in columns.items()}

        return RowStatus(
            candidates=of(self.candidates),
            digests=of(self.digests),
            stored=of(self.stored),
            conflicts=self.conflicts.filter(rows),
            cleared=of(self.cleared),
            resting_candidates=of(self.resting_candidates),
        )


def _all(value: bool, rows: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.repeat(pa.scalar(value), rows)])


def any_of(masks: Sequence[pa.ChunkedArray], rows: int) -> pa.ChunkedArray:
    """Return which of `rows` rows are in at least one of `masks`."""
    result = _all(False, rows)
    for mask in masks:
        result = pc.or_(result, mask)
    return result


def row_statuses(scope: ScoringScope, table: pa.Table) -> RowStatus:
    """Return the row status of `table`, which has the columns of `scope.schema`."""
    resting_candidates = _claims(scope.resting, table)
    claims = _claims(scope.integrations, table)
    candidates, claimed_twice = _without_conflicts(scope, claims, table.num_rows)

    hashes = table.column(HASH_FIELD)
    known = (*scope.integrations, *scope.resting, *scope.retired)
    stored = {i.market: stored_digests(hashes, i.tag) for i in known}

    # Scored once, and scored no more: a retired integration has no candidates at all.
    cleared = {i.market: pc.is_valid(stored[i.market]) for i in scope.clearing}
    for market in cleared.keys() & candidates.keys():
        cleared[market] = pc.and_(cleared[market], pc.invert(candidates[market]))

    return RowStatus(
        candidates=candidates,
        digests={i.market: digests(table, i.important_fields) for i in scope.integrations},
        stored=stored,
        conflicts=claimed_twice,
        cleared=cleared,
        resting_candidates=resting_candidates,
    )


def _claims(integrations: Sequence[Integration], table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Return by market which rows its candidate field asks for: all of them without one (R7).

    A market whose candidate field was not read is left out: the field may be what cannot be read.
    """
    return {
        i.market: pc.fill_null(table.column(i.candidate_field), False)
        if i.candidate_field
        else _all(True, table.num_rows)
        for i in integrations
        if not i.candidate_field or i.candidate_field in table.column_names
    }


def _without_conflicts(
    scope: ScoringScope, claims: Mapping[str, pa.ChunkedArray], rows: int
) -> tuple[dict[str, pa.ChunkedArray], pa.ChunkedArray]:
    """Return the candidates by market, and the rows that two claim and neither scores (R6)."""
    candidates = dict(claims)
    claimed_twice = _all(False, rows)

    for first, second in scope.rivals:
        both = pc.and_(claims[first.market], claims[second.market])
        claimed_twice = pc.or_(claimed_twice, both)
        for market in (first.market, second.market):
            candidates[market] = pc.and_(candidates[market], pc.invert(both))

    return candidates, claimed_twice


def new_hashes(
    scope: ScoringScope,
    status: RowStatus,
    scored: Mapping[str, pa.Array] | None = None,
    stamps: pa.ChunkedArray | None = None,
) -> pa.Array:
    """Return the hash field's new values: a digest for each market whose candidate the row is.

    `scored` says by market which rows it did score in this push (all where absent). A market that
    did not, or that rests, keeps the digest it had (D1). `stamps` are the update datetimes that the
    push replaces: where one is older than the market's renewal, the market keeps `OUTDATED`, so
    that the record stays due though its datetime is new.
    """
    nothing = pa.scalar(None, pa.string())
    entries: dict[str, pa.Array] = {}

    for integration in scope.resting:
        stored = status.stored[integration.market]
        candidate = status.resting_candidates.get(integration.market)
        entries[integration.tag] = (
            stored if candidate is None else pc.if_else(candidate, stored, nothing)
        )

    for integration in scope.integrations:
        market = integration.market
        value = status.digests[market]
        if scored is not None and market in scored:
            kept = status.stored[market]
            if stamps is not None:
                renewed = pa.scalar(scope.enabled_at[market], stamps.type)
                is_outdated = pc.fill_null(pc.less(stamps, renewed), True)
                is_outdated = pc.and_(is_outdated, pc.is_valid(kept))
                kept = pc.if_else(is_outdated, OUTDATED, kept)
            value = pc.if_else(scored[market], value, kept)
        entries[integration.tag] = pc.if_else(status.candidates[market], value, nothing)

    if not entries:
        return pa.array([VERSION] * len(status.conflicts), pa.string())
    return hash_field(entries)


def due_after_pull(scope: ScoringScope, table: pa.Table, status: RowStatus) -> pa.ChunkedArray:
    """Return for each row why it is due (`new` or `changed`), null where it is not (R14 to R16).

    An empty update datetime alone makes no pulled record due: that is the daily pull's (R28).
    """
    differs = any_of(list(status.cleared.values()), table.num_rows)
    for integration in scope.integrations:
        market = integration.market
        # A market that keeps no digest has not scored the row: null is not the same.
        same = pc.fill_null(pc.equal(status.digests[market], status.stored[market]), False)
        differs = pc.or_(differs, pc.and_(status.candidates[market], pc.invert(same)))

    never = pc.equal(pc.utf8_length(pc.fill_null(table.column(HASH_FIELD), "")), 0)
    created = pc.greater_equal(
        table.column("CreatedDate"), pa.scalar(scope.turned_on_at, table.column("CreatedDate").type)
    )
    reason = pc.if_else(
        pc.fill_null(pc.and_(never, created), False), Reason.NEW.value, Reason.CHANGED.value
    )

    return pc.if_else(differs, reason, pa.scalar(None, pa.string()))


def stale_horizon(scope: ScoringScope, market: str, stale_before: datetime) -> datetime:
    """Return the instant before which a scoring by `market` is too old.

    That is by age, or since the market was turned on, replaced or rolled out again (R17).
    """
    return max(stale_before, scope.enabled_at[market])
