"""The sensor: asks every few minutes what there is to do, or says why nothing is (R14, D7)."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from assets.clients_resource import TICK, ClientsResource
from assets.completeness import report_changed
from assets.figures import standing_figures
from assets.freshness import is_to_be_reported
from assets.partitions import partition_key
from pipeline.core.configuration.configuration import Configuration
from pipeline.core.errors import InsightsError
from pipeline.jobs import OBJECT_TAG
from pipeline.steps.budget import LEASE_LASTS
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, Clients
from pipeline.steps.watch import WantedRun, watch

SENSOR: Final = "salesforce_changes"
NOTHING_NEW: Final = "nothing new"
PAUSE_MAX: Final = timedelta(hours=1)
DEAD_AFTER: Final = LEASE_LASTS + timedelta(minutes=1)
"""How old a run must be before its object's lease tells that its process is gone."""

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
    configuration: Configuration,
    launched: Sequence[UnresolvedAssetJobDefinition],
    *,
    running: bool,
    keys: Mapping[str, dg.AssetKey],
) -> dg.SensorDefinition:
    """Return the sensor. One tick is one API call for all objects; a tick moves no watermark.

    `keys` are the keys that the assets are mounted at: a tick reports on some of them.
    """
    settings = configuration.settings
    interval = timedelta(minutes=settings.pull_interval_minutes)

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
        context: dg.SensorEvaluationContext, clients: ClientsResource
    ) -> dg.SensorResult | dg.SkipReason:
        busy = _objects_in_progress(context.instance)
        try:
            opened = clients.get(f"{TICK}-{SENSOR}")
            _end_dead_runs(context.instance, opened)
            watched = watch(opened)
            for name in set(opened.configuration.objects) - busy.keys():
                report_changed(context.instance, keys[PUSHED], opened, name)
        except InsightsError as error:
            return dg.SkipReason(str(error))

        cursor = _read_cursor(context.cursor)
        requests, skips = _requests(watched.wanted, busy, cursor, opened, interval)
        why_not = "; ".join(f"{name}: {why}" for name, why in {**watched.skips, **skips}.items())

        quiet = _nothing_new(
            keys[CHANGED_RECORDS], watched.unchanged, cursor, opened, settings.pull_interval_minutes
        )

        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else why_not,
            cursor=_cursor_text(cursor),
            asset_events=quiet,
        )

    return sensor


def _requests(
    wanted: Sequence[WantedRun],
    busy: Mapping[str, str],
    cursor: dict[str, _Asked],
    clients: Clients,
    interval: timedelta,
) -> tuple[list[dg.RunRequest], dict[str, str]]:
    """Return the runs to launch, one an object, and by object why there is none.

    What is asked for is remembered in `cursor`.
    """
    requests: dict[str, dg.RunRequest] = {}
    skips: dict[str, str] = {}
    for run in wanted:
        if run.object in requests:
            continue

        if run.object in busy:
            skips[run.object] = f"{run.why}, and run {busy[run.object][:8]} is on its way"
            continue

        remembered = f"{run.object} {run.job} {run.topic}".rstrip()
        attempt = _attempt(cursor.get(remembered), run, clients.now(), interval)
        if attempt is None:
            skips[run.object] = f"{run.why}, tried lately; tried again after a pause"
            continue

        cursor[remembered] = _Asked(f"{run.job} {run.situation}", attempt, clients.now())
        requests[run.object] = _request(run, attempt, clients.now(), clients.today)
    return list(requests.values()), skips


def _nothing_new(
    key: dg.AssetKey,
    unchanged: Sequence[str],
    cursor: dict[str, _Asked],
    clients: Clients,
    interval_minutes: int,
) -> list[dg.AssetMaterialization]:
    """Report now and then that the org has nothing new: the asset is as fresh as can be."""
    last, now = cursor.get(NOTHING_NEW), clients.now()
    if not unchanged or not is_to_be_reported(
        last.at.timestamp() if last else None, now.timestamp(), interval_minutes
    ):
        return []

    cursor[NOTHING_NEW] = _Asked(NOTHING_NEW, 1, now)
    return [
        dg.AssetMaterialization(
            asset_key=key,
            partition=partition_key(clients.today, name),
            description="The sensor asked the org; nothing has changed since the last pull.",
            metadata={
                "asked_at": dg.MetadataValue.timestamp(now),
                "read": 0,
                "not_due": 0,
                "due": 0,
                **standing_figures(clients, clients.today, name),
            },
        )
        for name in unchanged
    ]


def _request(run: WantedRun, attempt: int, now: datetime, day: date) -> dg.RunRequest:
    return dg.RunRequest(
        job_name=run.job,
        run_key=f"{run.object} {run.job} {run.situation} #{attempt} {now.isoformat()}",
        partition_key=partition_key(day, run.object),
        tags={OBJECT_TAG: run.object, "insights/why": run.why},
    )


def _objects_in_progress(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the objects that a run is queued for or works on, with the run's id."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS), limit=200)
    return {run.tags[OBJECT_TAG]: run.run_id for run in runs if OBJECT_TAG in run.tags}


def _end_dead_runs(instance: dg.DagsterInstance, clients: Clients) -> None:
    """Report runs as failed whose process is gone.

    After a machine has died, or a command was killed, nobody else does.

    Else they would be on their way for ever, and keep their object's place in the queue. A run that
    works holds its object's lease (D3). Dagster starts the failed run again where it can; this tick
    asks for no other.
    """
    statuses = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED]
    began_before = time.time() - DEAD_AFTER.total_seconds()
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=statuses), limit=200):
        run, name = record.dagster_run, record.dagster_run.tags.get(OBJECT_TAG)
        began = record.start_time or record.create_timestamp.timestamp()
        if name is None or began > began_before:
            continue

        if clients.ledger.leases.holder(name, clients.now()) != (run.root_run_id or run.run_id):
            instance.report_run_failed(
                run, f"The process of this run is gone: it has not held {name} for ten minutes."
            )


def _attempt(last: _Asked | None, run: WantedRun, now: datetime, interval: timedelta) -> int | None:
    """Return which attempt at the situation this is; None while its pause, which doubles, lasts."""
    situation = f"{run.job} {run.situation}"
    if last is None or last.situation != situation:
        return 1
    pause = min(PAUSE_MAX, interval * 2 ** min(last.attempts - 1, 10))
    return last.attempts + 1 if now - last.at >= pause else None


def _read_cursor(text: str | None) -> dict[str, _Asked]:
    """Return what the last ticks asked for.

    Of what another version or a person wrote, it is what can be read.
    """
    try:
        asked = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    entries = asked.items() if isinstance(asked, dict) else ()
    return {name: read for name, entry in entries if (read := _read_asked(entry)) is not None}


def _read_asked(entry: Any) -> _Asked | None:
    try:
        situation, attempts = str(entry["situation"]), int(entry["attempts"])
        at = datetime.fromisoformat(entry["at"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return _Asked(situation, attempts, at) if attempts >= 1 and at.tzinfo else None


def _cursor_text(cursor: Mapping[str, _Asked]) -> str:
    return json.dumps(
        {
            name: {"situation": a.situation, "attempts": a.attempts, "at": a.at.isoformat()}
            for name, a in cursor.items()
        }
    )
