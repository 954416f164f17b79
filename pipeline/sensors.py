"""The sensor: asks every few minutes whether there is anything to do, and says why not (R14, D7)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from assets.partitions import partition_key
from assets.work import TICK, WorkResource
from pipeline.core.config import Configuration
from pipeline.core.errors import InsightsError
from pipeline.jobs import OBJECT_TAG
from pipeline.steps.watch import Ask, watch

SENSOR: Final = "salesforce_changes"
PAUSE_MAX: Final = timedelta(hours=1)
IN_PROGRESS: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The last run asked for on an object: for what situation, how often, and when."""

    situation: str
    attempts: int
    at: datetime


def salesforce_changes_sensor(
    configuration: Configuration, launched: Sequence[UnresolvedAssetJobDefinition], *, running: bool
) -> dg.SensorDefinition:
    """Return the sensor. One tick is one API call for all objects; a tick moves no watermark."""
    interval = timedelta(minutes=configuration.settings.pull_interval_minutes)

    @dg.sensor(
        name=SENSOR,
        jobs=launched,
        minimum_interval_seconds=int(interval.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING
        if running
        else dg.DefaultSensorStatus.STOPPED,
        description=(
            "Asks the org with one API call whether records changed, and the ledger whether anything waits; "
            "launches the runs that are needed, and makes up a missed daily pull."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext, work: WorkResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        opened = work.get(f"{TICK}-{SENSOR}")
        busy = _objects_in_progress(context.instance)
        try:
            watched = watch(opened)
        except InsightsError as error:
            yield dg.SkipReason(str(error))
            return
        skips = dict(watched.skips)
        cursor = _read_cursor(context.cursor)
        requests: dict[str, dg.RunRequest] = {}
        for ask in watched.asks:
            if ask.object in requests:
                continue
            if ask.object in busy:
                skips[ask.object] = f"{ask.why}, and run {busy[ask.object][:8]} is on its way"
                continue
            remembered = f"{ask.object} {ask.job}"
            attempt = _attempt(cursor.get(remembered), ask, opened.now(), interval)
            if attempt is None:
                skips[ask.object] = f"{ask.why}, tried lately; tried again after a pause"
                continue
            cursor[remembered] = _Asked(f"{ask.job} {ask.situation}", attempt, opened.now())
            requests[ask.object] = _request(ask, attempt, opened.now(), opened.today)
        context.update_cursor(_written(cursor))
        yield from requests.values()
        if not requests:
            yield dg.SkipReason("; ".join(f"{name}: {why}" for name, why in skips.items()))

    return sensor


def _request(ask: Ask, attempt: int, now: datetime, day: date) -> dg.RunRequest:
    return dg.RunRequest(
        job_name=ask.job,
        run_key=f"{ask.object} {ask.job} {ask.situation} #{attempt} {now.isoformat()}",
        partition_key=partition_key(day, ask.object),
        tags={OBJECT_TAG: ask.object, "insights/why": ask.why},
    )


def _objects_in_progress(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the objects that a run is queued for or works on, with the run's id."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS), limit=200)
    return {run.tags[OBJECT_TAG]: run.run_id for run in runs if OBJECT_TAG in run.tags}


def _attempt(last: _Asked | None, ask: Ask, now: datetime, interval: timedelta) -> int | None:
    """Return which attempt at the situation this is; None while its pause lasts, doubling each time."""
    situation = f"{ask.job} {ask.situation}"
    if last is None or last.situation != situation:
        return 1
    pause = min(PAUSE_MAX, interval * 2 ** min(last.attempts - 1, 10))
    return last.attempts + 1 if now - last.at >= pause else None


def _read_cursor(text: str | None) -> dict[str, _Asked]:
    asked: Mapping[str, Any] = json.loads(text) if text else {}
    return {
        name: _Asked(entry["situation"], entry["attempts"], datetime.fromisoformat(entry["at"]))
        for name, entry in asked.items()
    }


def _written(cursor: Mapping[str, _Asked]) -> str:
    return json.dumps(
        {
            name: {"situation": a.situation, "attempts": a.attempts, "at": a.at.isoformat()}
            for name, a in cursor.items()
        }
    )
