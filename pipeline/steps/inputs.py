"""Reads the records of a segment as they are now: from this run's own pull, or else by id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD
from pipeline.core.org_fit.fields import DATETIME
from pipeline.core.scoring.scope import ScoringScope
from pipeline.core.soql import AllOf, In, select
from pipeline.steps.clients import Clients

TRACKED: Final = pa.schema(
    [("Id", pa.string()), (DATETIME_FIELD, DATETIME), (HASH_FIELD, pa.string())]
)


def pulled_working_file(clients: Clients, object_name: str) -> str:
    """Return the name of the working file with the rows that this process pulled.

    A run that is started again reads its records afresh: what its dead process read may be hours
    old (R25, R28).
    """
    return f"pulled-{object_name.lower()}-{clients.run_id}-{clients.opened_as}"


def read_inputs(clients: Clients, scope: ScoringScope, ids: Sequence[str]) -> pa.Table:
    """Return the current inputs of the records `ids`; the columns are those of `scope.schema`.

    Records that are deleted, left alone or hidden from the user have no row (R25).
    """
    wanted = pa.array(ids, pa.string())
    file = pulled_working_file(clients, scope.object)
    own = _last_of_each(clients.lake.working_file_rows(file, scope.schema, "Id", wanted))
    parts = [own]

    if own.num_rows < len(wanted):
        known = pc.is_in(wanted, value_set=own.column("Id").combine_chunks())
        others = wanted.filter(pc.invert(known)).to_pylist()
        batches = clients.org.read_by_ids(
            lambda some: select(
                scope.columns, scope.object, AllOf([In("Id", list(some)), *scope.scorable])
            ),
            others,
            scope.schema,
        )
        parts += [pa.Table.from_batches([batch]) for batch in batches]

    return pa.concat_tables([scope.schema.empty_table(), *parts]).combine_chunks()


def hidden_ids(clients: Clients, scope: ScoringScope, ids: Sequence[str]) -> list[str]:
    """Return which of `ids`, that have no current inputs, the org does not show as deleted either.

    Deleted, merged and converted records are left alone (R25). What sharing hides from the user is
    not: it is asked for again (R23).
    """
    known = clients.org.known_ids(scope.object, ids) if ids else set()
    return [record_id for record_id in ids if record_id not in known]


def tracked(
    clients: Clients, object_name: str, ids: Sequence[str]
) -> Iterator[tuple[str, datetime | None, str | None]]:
    """Yield id, update datetime and hash of the records `ids`, as they stand in the org (D3)."""

    def query(some: Sequence[str]) -> str:
        return select(TRACKED.names, object_name, In("Id", list(some)))

    for batch in clients.org.read_by_ids(query, list(ids), TRACKED):
        yield from zip(*(batch.column(name).to_pylist() for name in TRACKED.names), strict=True)


def _last_of_each(table: pa.Table) -> pa.Table:
    """Return the last row of each record: paging may read one twice while it moves."""
    if pc.count_distinct(table.column("Id")).as_py() == table.num_rows:
        return table

    last = dict(zip(table.column("Id").to_pylist(), range(table.num_rows), strict=True))
    return table.take(pa.array(sorted(last.values()), pa.int64()))
