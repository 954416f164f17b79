"""Which records are due, and why (R14 to R17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import HASH_FIELD
from pipeline.core.scoring.digest import VERSION, digests, hash_field, stored_digests
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
    """What the rows of a table stand at, one entry a row.

    `candidates` holds for each market whether it scores the row now, `resting_candidates` whether a resting
    one would, where that can be read; `digests` the digest of its important fields; `stored` the one that the hash field keeps (null = none); `conflicts` whether two
    integrations that write one field both claim the row (R6); `leaves` whether a market's old values are cleared.
    """

    candidates: Mapping[str, pa.ChunkedArray]
    digests: Mapping[str, pa.Array]
    stored: Mapping[str, pa.ChunkedArray]
    conflicts: pa.ChunkedArray
    leaves: Mapping[str, pa.ChunkedArray]
    resting_candidates: Mapping[str, pa.ChunkedArray]


def _all(value: bool, rows: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.repeat(pa.scalar(value), rows)])


def any_of(masks: Sequence[pa.ChunkedArray], rows: int) -> pa.ChunkedArray:
    """Return which of `rows` rows are in at least one of `masks`."""
    result = _all(False, rows)
    for mask in masks:
        result = pc.or_(result, mask)
    return result


def row_statuses(scope: ScoringScope, table: pa.Table) -> RowStatus:
    """Work out candidates, digests and conflicts of `table`, which has the columns of `setup.schema`."""
    rows = table.num_rows
    claims: dict[str, pa.ChunkedArray] = {}
    for integration in scope.integrations:
        field = integration.candidate_field
        claims[integration.market] = (
            pc.fill_null(table.column(field), False) if field else _all(True, rows)
        )
    candidates = dict(claims)
    clashes = _all(False, rows)
    for integration in scope.integrations:
        for other in scope.conflicting(integration):
            both = pc.and_(claims[integration.market], claims[other.market])
            clashes = pc.or_(clashes, both)
            candidates[integration.market] = pc.and_(
                candidates[integration.market], pc.invert(both)
            )
    hashes = table.column(HASH_FIELD)
    return RowStatus(
        candidates=candidates,
        digests={i.market: digests(table, i.important_fields) for i in scope.integrations},
        stored={
            i.market: stored_digests(hashes, i.tag)
            for i in (*scope.integrations, *scope.resting, *scope.left)
        },
        conflicts=clashes,
        leaves={
            i.market: _leaves(stored_digests(hashes, i.tag), candidates.get(i.market))
            for i in scope.clearing
        },
        resting_candidates={
            i.market: pc.fill_null(table.column(i.candidate_field), False)
            for i in scope.resting
            if i.candidate_field in table.column_names
        },
    )


def _leaves(stored: pa.ChunkedArray, candidate: pa.ChunkedArray | None) -> pa.ChunkedArray:
    """Return the rows that a market scored and does not score any more."""
    known = pc.is_valid(stored)
    return known if candidate is None else pc.and_(known, pc.invert(candidate))


def new_hashes(
    scope: ScoringScope, statuses: RowStatus, scored: Mapping[str, pa.Array] | None = None
) -> pa.Array:
    """Return the hash field's new values: the digest of each market that the row is a candidate of now.

    `scored` says by market which rows it did score in this push (all where absent); a market that did
    not, or that rests, keeps the digest it had (D1).
    """
    nothing = pa.scalar(None, pa.string())
    entries: dict[str, pa.Array] = {}
    for integration in scope.resting:
        stored = statuses.stored[integration.market]
        candidate = statuses.resting_candidates.get(integration.market)
        entries[integration.tag] = (
            stored if candidate is None else pc.if_else(candidate, stored, nothing)
        )
    for integration in scope.integrations:
        market = integration.market
        value = statuses.digests[market]
        if scored is not None and market in scored:
            value = pc.if_else(scored[market], value, statuses.stored[market])
        entries[integration.tag] = pc.if_else(statuses.candidates[market], value, nothing)
    if not entries:
        return pa.array([VERSION] * len(statuses.conflicts), pa.string())
    return hash_field(entries)


def due_after_pull(scope: ScoringScope, table: pa.Table, statuses: RowStatus) -> pa.ChunkedArray:
    """Return for each row why it is due (`new` or `changed`), null where it is not (R14 to R16).

    An empty update datetime alone makes no pulled record due: that is the daily pull's (R28).
    """
    differs = _all(False, table.num_rows)
    for integration in scope.integrations:
        market = integration.market
        same = pc.fill_null(pc.equal(statuses.digests[market], statuses.stored[market]), False)
        differs = pc.or_(differs, pc.and_(statuses.candidates[market], pc.invert(same)))
    for mask in statuses.leaves.values():
        differs = pc.or_(differs, mask)
    never = pc.equal(pc.utf8_length(pc.fill_null(table.column(HASH_FIELD), "")), 0)
    created = pc.greater_equal(
        table.column("CreatedDate"), pa.scalar(scope.turned_on_at, table.column("CreatedDate").type)
    )
    reason = pc.if_else(
        pc.fill_null(pc.and_(never, created), False), Reason.NEW.value, Reason.CHANGED.value
    )
    return pc.if_else(differs, reason, pa.scalar(None, pa.string()))


def stale_horizon(scope: ScoringScope, market: str, stale_before: datetime) -> datetime:
    """Return before which instant a scoring by `market` is too old: by age, or by the market's renewal (R17)."""
    return max(stale_before, scope.enabled_at[market])
