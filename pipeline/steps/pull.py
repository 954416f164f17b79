"""The two pulls: what changed (every few minutes) and what is old (daily).

Both put records on the waiting list.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.integration import (
    DATETIME_FIELD,
    HASH_FIELD,
    Integration,
)
from pipeline.core.errors import NotReady
from pipeline.core.limit.repeats import (
    SCORINGS_KEPT_FOR,
    Scoring,
    comes_of_our_write,
    slowed_until,
)
from pipeline.core.limit.windows import (
    OVERLAP,
    Window,
    newest_daily_pull,
    pull_window,
    stale_before,
)
from pipeline.core.scoring.due import (
    Reason,
    due_after_pull,
    new_hashes,
    row_statuses,
    stale_horizon,
)
from pipeline.core.scoring.outputs import EXAMPLES_MAX
from pipeline.core.scoring.scope import ACCOUNT_CHANGED_AT, ScoringScope
from pipeline.core.soql import AllOf, AnyOf, Compare, Condition, Contains, select
from pipeline.steps.clients import CHANGED_RECORDS, STALE_RECORDS, Clients
from pipeline.steps.inputs import pulled_working_file
from pipeline.steps.preflight import check, check_once, scope_of
from pipeline.steps.stop import require_started
from resources.ledger.leases import Lease
from resources.ledger.objects import Seen
from resources.ledger.waiting import ScoringRequest, ScoringRequests
from resources.salesforce.errors import AnswerShort
from resources.salesforce.query_answers import parse_datetime, rows_beyond

logger = logging.getLogger(__name__)

NEWEST_ROWS: Final = 200
"""How many of the newest records tell whether something changed (D17)."""

REST_ROWS_MAX: Final = 4_000
"""Up to here a REST query costs no more calls than a bulk job (API notes 3.5)."""

JOB_DEADLINE_SECONDS: Final = 1_800
"""How long a bulk query may take: the org tries one for about half an hour (API notes 3.4)."""

HORIZON_DAYS: Final = 30
TRACKED: Final = pa.schema([("Id", pa.string()), (DATETIME_FIELD, pa.timestamp("ms", tz="UTC"))])


@dataclass
class PullSummary:
    """What one pull of one object read and decided; counts are records.

    `edited_failing` keep failing, and are tried at once since somebody edited them.
    """

    object: str
    window: Window | None = None
    watermark_from: datetime | None = None
    read: int = 0
    not_due: int = 0
    due: Counter[str] = field(default_factory=Counter)
    conflicts: int = 0
    edited_failing: int = 0
    slowed_down: int = 0
    slowed_examples: list[str] = field(default_factory=list)
    newest_change: datetime | None = None
    clock_difference: str | None = None
    calls: int = 0

    @property
    def due_total(self) -> int:
        """Return how many of the records read are due."""
        return sum(self.due.values())


def pull(clients: Clients, lease: Lease) -> PullSummary:
    """Read what changed since the watermark and put what is due on the waiting list (R14).

    Then the watermark moves. It does not where CannotProceedNow (everything is stopped, the budget
    is used up), NotReady or an error of the client is raised.
    """
    require_started(clients)
    with clients.budget.pulling():
        return _pull(clients, lease)


def _pull(clients: Clients, lease: Lease) -> PullSummary:
    scope = scope_of(clients, lease.object, check_once(clients, lease.object))
    state = clients.ledger.objects.all()[lease.object]
    window = pull_window(
        watermark=state.watermark,
        pulled_at=state.pulled_at,
        turned_on_at=state.turned_on_at,
        org_now=clients.org.org_now(),
        now=clients.now(),
    )
    summary = PullSummary(object=lease.object, window=window, watermark_from=state.watermark)
    summary.clock_difference = clients.clock_difference()
    if summary.clock_difference:
        logger.warning("%s: %s.", lease.object, summary.clock_difference)

    # The window is fixed before anything is read: what changes meanwhile is the next pull's.
    tables, seen_now = read_changed(clients, scope, window)
    with (
        clients.lake.parts(CHANGED_RECORDS, clients.today, lease.object, clients.run_id) as listed,
        clients.lake.working_file_parts(pulled_working_file(clients, lease.object)) as kept,
    ):
        for table in tables:
            # More than a day's limit cannot be scored by this run: those are read again by id.
            is_kept = summary.due_total < clients.configuration.settings.daily_record_limit
            due, decided = _decide(clients, lease, scope, table, summary)
            _retry_edited(clients, lease, table, due, summary)
            if due.num_rows:
                listed.add(decided)
                if is_kept:
                    kept.add(due)

    clients.ledger.record_pull(
        lease,
        watermark=window.end,
        seen=seen_now,
        now=clients.now(),
        expected=state.watermark,
        resting={i.market for i in scope.resting},
        day=clients.today,
        counts={"read": summary.read, "not_due": summary.not_due, "due": summary.due_total},
    )

    return summary


def read_changed(
    clients: Clients, scope: ScoringScope, window: Window
) -> tuple[Iterator[pa.Table], Seen]:
    """Return the rows of the window, and what the sensor's next question should find.

    Where an integration opted in, a contact is also read when its account changed (R18).
    """
    # Asked first: what is committed between the two questions is found by the sensor's next one.
    questions = newest_pages(scope.object, scope.account_changes, window.start, window.end)
    answers = clients.org.ask(questions)
    next_start = max(window.end - OVERLAP, scope.turned_on_at)
    seen_now = read_page(scope.object, answers, next_start)
    if not any(answers.values()):
        return iter(()), seen_now

    stamps = ["SystemModstamp"] + [ACCOUNT_CHANGED_AT] * scope.account_changes
    inside = AnyOf(
        [
            AllOf([Compare(stamp, ">=", window.start), Compare(stamp, "<", window.end)])
            for stamp in stamps
        ]
    )
    where = AllOf([inside, *scope.scorable])
    soql = select(scope.columns, scope.object, where)
    return _read(clients, soql, scope.schema), seen_now


def newest_pages(
    object_name: str, account_changes: bool, start: datetime, end: datetime | None = None
) -> dict[str, str]:
    """Return the queries for the newest records from `start` on, by name (D17).

    The stamp is indexed, and so many rows are read at most: they take no longer after a mass
    update, where a COUNT would.
    """
    bounds = [Compare("SystemModstamp", ">=", start)]
    if end is not None:
        bounds.append(Compare("SystemModstamp", "<", end))

    asked = [object_name, "Account"] if account_changes else [object_name]
    return {
        f"{object_name} by {of}": select(
            ["Id", "SystemModstamp"],
            of,
            AllOf(bounds),
            order_by=("SystemModstamp", "Id"),
            newest_first=True,
            limit=NEWEST_ROWS,
        )
        for of in asked
    }


def read_page(
    object_name: str, answers: Mapping[str, Sequence[Mapping[str, Any]]], start: datetime
) -> Seen:
    """Read the answers to an object's `newest_pages`, as they would be if asked from `start` on."""
    since = start.replace(microsecond=start.microsecond // 1000 * 1000)  # as SOQL says it
    stamps = {
        row["Id"]: stamp
        for question, rows in answers.items()
        if question.startswith(f"{object_name} by ")
        for row in rows
        if (stamp := parse_datetime(row["SystemModstamp"])) and stamp >= since
    }
    if not stamps:
        return Seen(0, None, None)

    listed = "\n".join(f"{key} {stamp.isoformat()}" for key, stamp in sorted(stamps.items()))
    return Seen(len(stamps), max(stamps.values()), sha256(listed.encode()).hexdigest())


def _read(clients: Clients, soql: str, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read by REST what is small, and by a bulk job what is large: the first page says which.

    A job reads as well what REST gives fewer rows of than it promises.
    """
    rows, batches = clients.org.begin_query(soql, schema)
    given: list[pa.Array] = []
    try:
        for batch in batches if rows <= REST_ROWS_MAX else ():
            given.append(batch["Id"])
            if batch.num_rows:
                yield pa.Table.from_batches([batch])
        if rows <= REST_ROWS_MAX:
            return
    except AnswerShort as short:
        logger.warning("%s A bulk query job decides.", short.sentence)

    for batch in clients.org.bulk_query(soql, schema, deadline_seconds=JOB_DEADLINE_SECONDS):
        fresh = rows_beyond(batch, given)
        if fresh.num_rows:
            yield pa.Table.from_batches([fresh])


def _decide(
    clients: Clients, lease: Lease, scope: ScoringScope, table: pa.Table, summary: PullSummary
) -> tuple[pa.Table, pa.Table]:
    """Put the rows that are due on the list; return them whole, and as they are recorded."""
    status = row_statuses(scope, table)
    reasons = due_after_pull(scope, table, status)
    mask = pc.is_valid(reasons)
    due = table.filter(mask)
    due_reasons = pc.drop_null(reasons)
    hashes = pa.chunked_array([new_hashes(scope, status)]).filter(mask)

    summary.read += table.num_rows
    summary.not_due += table.num_rows - due.num_rows
    summary.conflicts += int(pc.sum(status.conflicts).as_py() or 0)
    newest = pc.max(table.column("SystemModstamp")).as_py()
    summary.newest_change = max(filter(None, (summary.newest_change, newest)), default=None)

    requests = _requests(clients, lease.object, due, due_reasons, hashes, summary)
    summary.due.update(requests.reasons)
    clients.ledger.add_requests(lease, requests, clients.now())
    clients.renew(lease)

    recorded = pa.table(
        {
            "id": due.column("Id"),
            "reason": due_reasons,
            "system_modstamp": due.column("SystemModstamp"),
        }
    )
    return due, recorded


def _retry_edited(
    clients: Clients,
    lease: Lease,
    table: pa.Table,
    due: pa.Table,
    summary: PullSummary,
) -> None:
    """Let failing records be tried at once that somebody has edited, in whatever field (R23).

    What Salesforce refused may be corrected in a field that no model reads. Our own write of a
    record that still fails at one of its markets is no such edit.
    """
    others = table.filter(pc.invert(pc.is_in(table.column("Id"), value_set=due.column("Id"))))
    ids = others.column("Id")
    failing = clients.ledger.waiting.failing_reasons(lease.object, ids.to_pylist())
    if not failing:
        return

    edited = others.filter(pc.is_in(ids, value_set=pa.array(failing, pa.string())))

    changed_at = dict(
        zip(edited.column("Id").to_pylist(), _values(_changed_at(edited)), strict=True)
    )
    scored = _scored_lately(clients, lease.object, list(changed_at))
    by_others = [
        record_id
        for record_id, at in changed_at.items()
        if record_id not in scored or not comes_of_our_write(scored[record_id][-1], at)
    ]

    now = clients.now()
    requests = [
        ScoringRequest(record_id, failing[record_id], now, modstamp=changed_at[record_id])
        for record_id in by_others
    ]
    if requests:
        clients.ledger.add_requests(lease, ScoringRequests.of(requests), now)
        summary.edited_failing += len(requests)


def _scored_lately(
    clients: Clients, object_name: str, ids: Sequence[str]
) -> dict[str, list[Scoring]]:
    """Return for each of `ids` that was scored lately when, oldest first (R15)."""
    since = clients.now() - SCORINGS_KEPT_FOR
    with clients.ledger.database.read() as connection:
        return clients.ledger.scorings.scored_since(connection, object_name, ids, since)


def _requests(
    clients: Clients,
    object_name: str,
    due: pa.Table,
    reasons: pa.ChunkedArray,
    hashes: pa.ChunkedArray,
    summary: PullSummary,
) -> ScoringRequests:
    """Return the requests; a record that is scored again and again waits longer each time (R15)."""
    now = clients.now()
    ids = due.column("Id").to_pylist()
    scored = _scored_lately(clients, object_name, ids)
    changed_at = _values(_changed_at(due))
    # Hardly any record was scored lately: most calls skip the loop.
    not_before = [now] * len(ids)
    for at, record_id in enumerate(ids) if scored else ():
        until = slowed_until(scored.get(record_id, ()), changed_at[at])
        not_before[at] = max(now, until or now)
        if not_before[at] > now:
            summary.slowed_down += 1
            if len(summary.slowed_examples) < EXAMPLES_MAX:
                summary.slowed_examples.append(record_id)

    return ScoringRequests(
        ids, _values(reasons), not_before, changed_at, hashes.to_pylist(), changed_at
    )


def _changed_at(table: pa.Table) -> pa.ChunkedArray:
    """Return when each record changed: where its account counts, the later of both (R18)."""
    own = table.column("SystemModstamp")
    if ACCOUNT_CHANGED_AT not in table.column_names:
        return own
    of_account = pc.coalesce(table.column(ACCOUNT_CHANGED_AT), own)
    return pc.if_else(pc.greater(of_account, own), of_account, own)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values, each different one made once: many records share one."""
    encoded = column.combine_chunks().dictionary_encode()
    different = encoded.dictionary.to_pylist()
    return [None if at is None else different[at] for at in encoded.indices.to_pylist()]


def daily_pull(clients: Clients, lease: Lease) -> PullSummary:
    """List the candidates never scored, then those scored too long ago, oldest first (R17).

    Lists up to a horizon of days beyond what waits already, so that an org of millions does not
    fill the ledger, and rows that always fail do not head the query for ever (D6).

    Raises what `pull` raises.
    """
    require_started(clients)
    with clients.budget.pulling():
        return _daily_pull(clients, lease)


def _daily_pull(clients: Clients, lease: Lease) -> PullSummary:
    scope = scope_of(clients, lease.object, check_once(clients, lease.object))
    summary = PullSummary(object=lease.object)
    now = clients.now()
    ids: list[str] = []
    reasons: list[str] = []
    scored_at: list[datetime | None] = []

    with clients.lake.parts(STALE_RECORDS, clients.today, lease.object, clients.run_id) as listed:
        for table in stale_rows(clients, scope):
            listed.add(table)
            ids += table.column("id").to_pylist()
            reasons += _values(table.column("reason"))
            scored_at += _values(table.column("scored_at"))
            clients.renew(lease)

    # A daily pull knows neither stamps nor hashes: it asks for ids and datetimes alone.
    nothing = [None] * len(ids)
    requests = ScoringRequests(ids, reasons, [now] * len(ids), nothing, nothing, scored_at)
    summary.read = len(requests)
    summary.due.update(reasons)

    settings = clients.configuration.settings
    day = newest_daily_pull(now, settings.daily_pull_time, settings.zone)
    clients.ledger.record_daily_pull(lease, requests, day=day, now=now, today=clients.today)
    return summary


def stale_rows(clients: Clients, scope: ScoringScope) -> Iterator[pa.Table]:
    """Read the records of a daily pull, those never scored first, then the oldest.

    The columns are `id`, `reason` and `scored_at`.
    """
    settings = clients.configuration.settings
    waiting = clients.ledger.waiting.count(scope.object)
    most = settings.daily_record_limit * HORIZON_DAYS + waiting
    yield from _rows_to_clear(clients, scope, most)
    if not scope.integrations:
        return

    where = stale_condition(scope, clients.now(), settings.refresh_period_days)
    soql = select(TRACKED.names, scope.object, where, order_by=(DATETIME_FIELD, "Id"), limit=most)
    for table in _read(clients, soql, TRACKED):
        scored_at = table.column(DATETIME_FIELD)
        never, old = Reason.NEVER_SCORED.value, Reason.STALE.value
        reasons = pc.if_else(pc.is_null(scored_at), never, old)
        yield pa.table({"id": table.column("Id"), "reason": reasons, "scored_at": scored_at})


def _rows_to_clear(clients: Clients, scope: ScoringScope, most: int) -> Iterator[pa.Table]:
    """Read the records with values of a retired integration, which are to be cleared (R19)."""
    for integration in scope.retired:
        # A dot begins each entry of the hash field, so the tag is not found inside a digest.
        marked = Contains(HASH_FIELD, f".{integration.tag}")
        where = AllOf([marked, *scope.scorable])
        soql = select(TRACKED.names, scope.object, where, order_by=("Id",), limit=most)
        for table in _read(clients, soql, TRACKED):
            reasons = pa.array([Reason.CLEANUP.value] * table.num_rows, pa.string())
            yield pa.table(
                {
                    "id": table.column("Id"),
                    "reason": pa.chunked_array([reasons]),
                    "scored_at": table.column(DATETIME_FIELD),
                }
            )


def stale_condition(scope: ScoringScope, now: datetime, refresh_period_days: int) -> Condition:
    """Return the condition on candidates that were never scored, or too long ago."""
    before = stale_before(now, refresh_period_days)
    per_market: list[Condition] = []

    for integration in scope.integrations:
        age = AnyOf(
            [
                Compare(DATETIME_FIELD, "=", None),
                Compare(
                    DATETIME_FIELD,
                    "<",
                    _next_second(stale_horizon(scope, integration.market, before)),
                ),
            ]
        )
        per_market.append(AllOf([*_candidate_conditions(scope, integration), age]))

    return AllOf([*scope.scorable, AnyOf(per_market)])


def count_stale(clients: Clients, object_name: str) -> int:
    """Count what daily pulls would list of the object now, had they no horizon.

    0 where none of its integrations runs. One API call.
    """
    try:
        scope = scope_of(clients, object_name, check(clients, [object_name]))
    except NotReady:
        return 0

    settings = clients.configuration.settings
    where = stale_condition(scope, clients.now(), settings.refresh_period_days)
    return clients.org.count(select(["COUNT()"], object_name, where))


def _next_second(at: datetime) -> datetime:
    """Return the whole second that follows, unless `at` is one.

    Stamps are whole seconds and rounded down: one of the second in which a market was rolled out
    may be older.
    """
    whole = at.replace(microsecond=0)
    return whole if whole == at else whole + timedelta(seconds=1)


def _candidate_conditions(scope: ScoringScope, integration: Integration) -> list[Condition]:
    """Return what makes a record a candidate of this integration and of no conflicting one (R6)."""
    conditions: list[Condition] = []
    if integration.candidate_field:
        conditions.append(Compare(integration.candidate_field, "=", True))
    conditions += [
        Compare(other.candidate_field, "=", False)
        for other in scope.conflicting(integration)
        if other.candidate_field
    ]
    return conditions


def counts(summary: PullSummary) -> dict[str, Any]:
    """Return a summary's figures by the names that people are shown."""
    return {
        "read": summary.read,
        "not_due": summary.not_due,
        "due": summary.due_total,
        **{f"due_{reason}": n for reason, n in sorted(summary.due.items())},
        "claimed_by_two_markets": summary.conflicts,
        **({"edited_failing": summary.edited_failing} if summary.edited_failing else {}),
        "slowed_down": summary.slowed_down,
        **({"clock_difference": summary.clock_difference} if summary.clock_difference else {}),
        **({"slowed_down_records": summary.slowed_examples} if summary.slowed_examples else {}),
    }
