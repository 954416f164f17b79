"""The daily schedule: the daily pull of every object at the settings' time (R17)."""

from collections.abc import Iterator

import dagster as dg

from assets.clients_resource import TICK, ClientsResource
from assets.partitions import partition_key
from pipeline.core.configuration.configuration import Configuration
from pipeline.core.errors import InsightsError
from pipeline.jobs import OBJECT_TAG


def daily_pull_schedule(configuration: Configuration, *, running: bool) -> dg.ScheduleDefinition:
    """Return the schedule.

    A time that a clock change skips fires once, when the gap ends; one that it repeats fires once.
    """
    settings = configuration.settings
    at = settings.daily_pull_time

    @dg.schedule(
        name="daily_pull_schedule",
        job_name="daily_pull",
        cron_schedule=f"{at.minute} {at.hour} * * *",
        execution_timezone=settings.time_zone,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED
        ),
        description="Lists what was never scored or too long ago, once a day. A missed one is made up by the sensor.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, clients: ClientsResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        stopped = _why_stopped(clients)
        if stopped:
            yield dg.SkipReason(stopped)
            return

        day = context.scheduled_execution_time.astimezone(settings.zone).date()
        for name in configuration.objects:
            yield dg.RunRequest(
                run_key=f"daily {day} {name}",
                partition_key=partition_key(day, name),
                tags={OBJECT_TAG: name},
            )

    return schedule


def _why_stopped(clients: ClientsResource) -> str | None:
    """Return why everything is stopped; None where it is not, or where a run will tell better."""
    try:
        return str(clients.get(f"{TICK}-daily").ledger.stops.current() or "") or None
    except InsightsError:
        return None
    finally:
        clients.close()
