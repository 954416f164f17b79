"""The pipeline with one of its safeguards taken out: some schedule must notice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

import pipeline.core.limit.repeats
import pipeline.core.limit.windows
import pipeline.steps.changed_files
import pipeline.steps.pull
import pipeline.steps.push
import pipeline.steps.push_segment
import pipeline.steps.row_results
import pipeline.steps.score
import pipeline.steps.score_market
import pipeline.steps.score_segment
import pipeline.steps.stop
import pipeline.steps.watch
import resources.configuration
import resources.ledger.database
import resources.ledger.leases
import resources.ledger.segments
import resources.ledger.settling
import resources.ledger.switch
import resources.salesforce.bulk_query
import resources.salesforce.ingest
import resources.salesforce.queries
import resources.salesforce.session
from assets.clients_resource import ClientsResource
from pipeline.core.configuration.configuration import Configuration, check_configuration
from pipeline.core.configuration.running import Running
from pipeline.core.limit.repeats import Scoring
from pipeline.core.scoring import due
from pipeline.core.scoring.bisection import Batch, BatchFailed, Bisected
from pipeline.core.scoring.scope import ScoringScope
from pipeline.steps.budget import Budget
from resources.ledger import tables as t
from resources.ledger.days import Days
from resources.ledger.leases import Lease, Leases
from resources.ledger.stops import Stops
from resources.salesforce.client import Salesforce
from tests.simulation.clients import SimResource


@contextmanager
def _with(*replaced: tuple[Any, str, Any]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    try:
        for owner, name, new in replaced:
            setattr(owner, name, new)
        yield
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)


def without_overlap() -> AbstractContextManager[None]:
    """Read from the watermark on, not from some minutes before it."""
    nothing = timedelta(0)
    modules = (pipeline.core.limit.windows, pipeline.steps.pull, pipeline.steps.watch)
    return _with(*((module, "OVERLAP", nothing) for module in modules))


def without_claim() -> AbstractContextManager[None]:
    """Take rows without charging the day."""
    return _with((Days, "charge", lambda *_, **__: None))


def without_lease() -> AbstractContextManager[None]:
    """Give an object to everybody who asks, and take nobody's right to it away."""

    def acquire(self: Leases, name: str, owner: str, **_: Any) -> Lease:
        return Lease(object=name, owner=owner, token=0)

    def anybody(*_: Any) -> None:
        return

    modules = (resources.ledger.database, resources.ledger.leases, resources.ledger.switch)
    return _with(
        (Leases, "acquire", acquire),
        *((module, "check_lease", anybody) for module in modules),
    )


def without_digest() -> AbstractContextManager[None]:
    """Take every record for unchanged that a market has scored once."""

    def alike(scope: ScoringScope, table: pa.Table) -> due.RowStatus:
        statuses = due.row_statuses(scope, table)
        stored = {
            market: pc.if_else(pc.is_valid(known), statuses.digests[market], known)
            for market, known in statuses.stored.items()
            if market in statuses.digests
        }
        return replace(statuses, stored={**statuses.stored, **stored})

    return _with((pipeline.steps.pull, "row_statuses", alike))


def without_stop() -> AbstractContextManager[None]:
    """Claim, and make bulk jobs, while everything is stopped."""

    def nothing(*_: Any) -> None:
        return

    modules = (pipeline.steps.score, pipeline.steps.push_segment, pipeline.steps.watch)
    return _with(
        (resources.ledger.segments, "current_stop", nothing),
        (Stops, "current", nothing),
        *((module, "why_no_push", nothing) for module in modules),
    )


def without_honest_people() -> AbstractContextManager[None]:
    """Take each scoring within eight hours of the last one for the work of a flow."""

    def comes_of_it(last: Scoring, changed_at: datetime | None) -> bool:
        return changed_at is None or changed_at - last.at < timedelta(hours=8)

    return _with((pipeline.core.limit.repeats, "comes_of_our_write", comes_of_it))


def without_waiting_list() -> AbstractContextManager[None]:
    """Keep what is due only as long as the run that found it lives."""

    def close(self: SimResource) -> None:
        for clients in self._open.values():
            with clients.ledger.database.engine.begin() as connection:
                connection.execute(t.waiting.delete().where(t.waiting.c.segment_id.is_(sa.null())))
        ClientsResource.close(self)  # type: ignore[arg-type]

    return _with((SimResource, "close", close))


SMALL_UPLOAD_BYTES: Final = 500
"""What the org takes at once where nothing is cut: a row or two."""


def without_cut() -> AbstractContextManager[None]:
    """Send a segment in one job, however much it is, to an org that takes little at once."""

    def whole(cells: pa.Table, *_: int) -> Iterator[tuple[int, int]]:
        yield 0, cells.num_rows

    return _with(
        (pipeline.steps.push_segment, "cut", whole),
        (resources.salesforce.ingest, "UPLOAD_BYTES_MAX", SMALL_UPLOAD_BYTES),
    )


def without_job_faults() -> AbstractContextManager[None]:
    """Take what a job failed with for its rows' own failure."""
    nothing = frozenset[str]()
    return _with(
        (pipeline.steps.row_results, "JOB_FAULTS", nothing),
        (resources.ledger.settling, "NOBODYS", nothing),
    )


def without_search() -> AbstractContextManager[None]:
    """Hold a market for all its records where it fails on one of them."""

    def at_once(rows: int, call: Any, *, seconds: float, **_: Any) -> Bisected[Any]:
        all_rows = Batch(0, rows)
        try:
            return Bisected(scored={all_rows: call(all_rows, seconds)})
        except BatchFailed as failed:
            return Bisected(undecided=[all_rows], first_failure=failed.why)

    return _with((pipeline.steps.score_market, "bisect", at_once))


def without_windows() -> AbstractContextManager[None]:
    """Push at any hour."""
    return _with((pipeline.steps.stop, "why_outside_windows", lambda *_: None))


def without_own_questions() -> AbstractContextManager[None]:
    """End the tick for all objects where the org refuses the question about one."""
    ask_each = Salesforce.ask_each

    def ask_all(self: Salesforce, queries: Any, **more: Any) -> Any:
        rows, errors = ask_each(self, queries, **more)
        for error in errors.values():
            raise error
        return rows, errors

    return _with((Salesforce, "ask_each", ask_all))


def without_asking_alone() -> AbstractContextManager[None]:
    """Take an answer that comes too late for an org that is away."""
    return _with((pipeline.steps.watch, "AnswerTooLate", _Never))


class _Never(Exception):
    """No error."""


def without_looks() -> AbstractContextManager[None]:
    """Leave what is not ready alone until somebody checks it."""
    return _with((Running, "look_is_due", lambda *_: False))


def without_turns() -> AbstractContextManager[None]:
    """Push no segment after one that cannot be pushed."""
    modules = (pipeline.steps.push, pipeline.steps.push_segment)
    return _with(*((module, "OF_NO_SEGMENT", (Exception,)) for module in modules))


def without_last_try() -> AbstractContextManager[None]:
    """Ask for the results of a job for ever."""
    modules = (pipeline.steps.push, pipeline.steps.push_segment)
    return _with(*((module, "RESULT_TRIES_MAX", math.inf) for module in modules))


def without_half() -> AbstractContextManager[None]:
    """Run nothing while one file of the configuration is wrong."""

    def whole(*documents: Any) -> Configuration:
        return check_configuration(*documents).whole()

    return _with((resources.configuration, "check_configuration", whole))


def without_refusals_kept() -> AbstractContextManager[None]:
    """Send credentials that were refused for good at every tick."""
    return _with((resources.salesforce.session, "is_for_good", lambda _: False))


def without_renewal() -> AbstractContextManager[None]:
    """Renew no lease when a call is counted."""
    return _with((Budget, "_renewal", lambda *_: None))


def without_rollout_kept() -> AbstractContextManager[None]:
    """Roll out whatever another deployment has just rolled out."""
    return _with((pipeline.steps.changed_files, "OTHERS_ROLLOUT_HOLDS", timedelta(0)))


def without_second_look() -> AbstractContextManager[None]:
    """Roll files out as soon as they differ."""
    return _with((pipeline.steps.changed_files, "has_stood", lambda *_: True))


def without_brake() -> AbstractContextManager[None]:
    """Push whatever scores come."""
    return _with((pipeline.steps.score_segment, "why_braked", lambda *_: None))


def without_counting() -> AbstractContextManager[None]:
    """Take an answer for whole however few rows it has."""

    def never(*_: Any) -> bool:
        return False

    modules = (resources.salesforce.queries, resources.salesforce.bulk_query)
    return _with(*((module, "is_short", never) for module in modules))


def without_own_clock() -> AbstractContextManager[None]:
    """Believe any time that the org tells."""
    return _with((pipeline.core.limit.windows, "CLOCKS_APART_MAX", timedelta(days=1000)))


def without_second_chance() -> AbstractContextManager[None]:
    """Let an edit of another field than the markets' not hurry what keeps failing."""

    def wait(*_: Any) -> None:
        return

    return _with((pipeline.steps.pull, "_retry_edited", wait))


def without_visibility() -> AbstractContextManager[None]:
    """Take a record that cannot be seen for a deleted one."""

    def nothing(*_: Any) -> list[str]:
        return []

    return _with((pipeline.steps.score_segment, "hidden_ids", nothing))


MUTANTS: Final[dict[str, Callable[[], AbstractContextManager[None]]]] = {
    "overlap": without_overlap,
    "claim": without_claim,
    "lease": without_lease,
    "digest": without_digest,
    "waiting": without_waiting_list,
    "cut": without_cut,
    "job-fault": without_job_faults,
    "bisect": without_search,
    "stop": without_stop,
    "windows": without_windows,
    "honest": without_honest_people,
    "question": without_own_questions,
    "alone": without_asking_alone,
    "look": without_looks,
    "oldest": without_turns,
    "results": without_last_try,
    "half": without_half,
    "lockout": without_refusals_kept,
    "renew": without_renewal,
    "rollout": without_rollout_kept,
    "deploy": without_second_look,
    "brake": without_brake,
    "short": without_counting,
    "clock": without_own_clock,
    "edited": without_second_chance,
    "hidden": without_visibility,
}
"""What can be taken out, by name."""
