"""A step on the partitions of a run: which are worked on, which are asked for again (R28)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Final, Generic, TypeVar

import dagster as dg

from assets.clients_resource import ClientsResource
from assets.partitions import day_and_object
from pipeline.core.errors import InsightsError, LeaseLost
from pipeline.steps.clients import Clients
from pipeline.steps.redo import redo
from resources.ledger.leases import Lease

WORK_TAG: Final = "insights/work"
"""On runs that work off what waits; their partition key only says where they began (D5)."""

EXIT_CODE: Final = "exit_code"
"""On a failed step: the exit code that the command line gives for it."""

BACKFILL_TAG: Final = "dagster/backfill"

_Summary = TypeVar("_Summary")


@dataclass(frozen=True, slots=True)
class Done(Generic[_Summary]):
    """What a step did on one partition: a summary, or the number of records asked for again."""

    day: date
    object: str
    clients: Clients
    summary: _Summary | None
    asked_again: int | None = None


def partitions_of(
    context: dg.AssetExecutionContext, resource: ClientsResource
) -> Iterator[tuple[Clients, str, str]]:
    """Yield clients, object and key of each partition of the run that has an integration."""
    run_id = context.run.root_run_id or context.run.run_id
    clients = stopping_for_people(partial(resource.get, run_id))
    for key in context.partition_keys:
        _, name = day_and_object(key)
        if name in clients.configuration.objects:
            yield clients, name, key
        else:
            context.log.info("%s has no integration that is switched on: nothing to do.", name)


def stopping_for_people(step: Callable[[], _Summary]) -> _Summary:
    """Do `step`; what a person can act on ends the Dagster step with its message alone."""
    try:
        return step()
    except LeaseLost:
        raise
    except InsightsError as error:
        raise dg.Failure(
            description=str(error),
            metadata={EXIT_CODE: error.exit_code},
            allow_retries=False,
        ) from error


def run_step(
    context: dg.AssetExecutionContext,
    resource: ClientsResource,
    step: Callable[[Clients, Lease], _Summary],
) -> Iterator[Done[_Summary]]:
    """Run `step` for each partition of the run that it may work on.

    A past partition without the work tag is a redo: its records are put on the waiting list (R28).
    Where another run has the object, nothing is done and nothing yielded; the next tick tries again
    what failed.
    """
    run = context.run
    for clients, name, key in partitions_of(context, resource):
        day, _ = day_and_object(key)
        if day < clients.today and (run.tags.get(WORK_TAG) != "true" or BACKFILL_TAG in run.tags):
            request = run.tags.get(BACKFILL_TAG) or clients.run_id
            again = partial(redo, clients, request, name, day, _asked_at(context))
            asked = stopping_for_people(again)
            yield Done(day, name, clients, None, asked_again=asked)
            continue

        lease = stopping_for_people(partial(clients.lease, name))
        if lease is None:
            context.log.info("Another run works on %s; it does this run's work as well.", name)
            continue

        try:
            summary = stopping_for_people(partial(step, clients, lease))
        except LeaseLost as lost:
            context.log.info(str(lost))
            continue
        yield Done(day, name, clients, summary)


def _asked_at(context: dg.AssetExecutionContext) -> datetime:
    """Return when the run was asked for: what was scored after that has been done again already."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp.astimezone(UTC) if record else datetime.now(UTC)
