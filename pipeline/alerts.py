"""The alert sensor: posts to a chat what somebody should know, once (R29).

It is off until a webhook is named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import dagster as dg

from assets.clients_resource import TICK, ClientsResource
from assets.completeness import COMPLETE
from pipeline.core.errors import InsightsError
from pipeline.steps.asking.alerts import Alert, remembered_backlog, situations, waiting_total
from pipeline.steps.clients import Clients
from resources.alerts_heard import note_heard
from resources.environment import ALERT_WEBHOOK
from resources.webhook import post

_End: TypeAlias = Literal[
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
]

SENSOR: Final = "alerts"
WEBHOOK: Final = ALERT_WEBHOOK
UI: Final = "INSIGHTS_UI_URL"
FAILED: Final[tuple[_End, ...]] = (dg.DagsterEventType.RUN_FAILURE,)
ENDED: Final[tuple[_End, ...]] = (
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
)
EVENTS_MAX: Final = 500
TOLD_MAX: Final = 500
HEADLINE: Final = "Predictive Insights for Salesforce"


@dataclass
class _Memory:
    """What the sensor has reported and read: open alerts, two runs' ends, the backlog by day.

    `runs` is the event up to which failed runs were reported, `checks` that for runs' checks.
    `over` has the words for the end of those alerts whose end is told, by key.
    """

    told: list[str] = field(default_factory=list)
    runs: int = -1
    checks: int = -1
    backlog: dict[str, int] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None) -> _Memory | None:
        """Read the cursor; None at the first tick, or where it cannot be read."""
        try:
            return cls(**json.loads(cursor)) if cursor else None
        except (TypeError, ValueError):
            return None

    def to_cursor(self) -> str:
        """Return the cursor that the next tick reads."""
        return json.dumps(self.__dict__)


def alerts_sensor() -> dg.SensorDefinition:
    """Return the sensor. Each failed run, failing check and standing situation is told once.

    So is the end of what somebody waits for: a stop, a stale asset, a held market, failing records.
    """

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=60,
        default_status=(
            dg.DefaultSensorStatus.RUNNING
            if os.environ.get(WEBHOOK)
            else dg.DefaultSensorStatus.STOPPED
        ),
        description=(
            "Tells a chat of failed runs, failing checks, a used-up limit or API budget, markets that are held, records "
            f"that fail, pulls that stopped and a growing backlog, and of the end of these. {WEBHOOK} names the webhook; without it nothing is sent."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext, clients: ClientsResource
    ) -> dg.SensorResult | dg.SkipReason:
        url = os.environ.get(WEBHOOK)
        if not url:
            return dg.SkipReason(f"{WEBHOOK} is not set: nobody can be told.")

        memory = _Memory.read(context.cursor)
        if memory is None:
            memory = _Memory(
                runs=_newest(context.instance, FAILED), checks=_newest(context.instance, ENDED)
            )

        try:
            opened = clients.get(f"{TICK}-{SENSOR}")
            told = _tell(context.instance, opened, memory, url)
        except InsightsError as error:
            why = f"{error} What is to be told is told at a later tick."
            note_heard(clients.home, clients.clock.now(), why)
            return dg.SkipReason(why)

        note_heard(clients.home, clients.clock.now(), None)
        words = f"told of {told}" if told else "nothing to tell"
        return dg.SensorResult(skip_reason=dg.SkipReason(words), cursor=memory.to_cursor())

    return sensor


def _tell(instance: dg.DagsterInstance, clients: Clients, memory: _Memory, url: str) -> int:
    """Post what is new and what is over; return how much that was, and remember it in `memory`.

    Raises WebhookRefused, after which nothing counts as told.
    """
    current = situations(clients, memory.backlog)
    memory.backlog = remembered_backlog(memory.backlog, clients.today, waiting_total(clients))
    found = [*_failed_runs(instance, memory), *current]
    found += _failing_checks(instance, memory, clients.today.isoformat())

    standing = {alert.key for alert in current}
    fresh = [alert for alert in found if alert.key not in memory.told]
    over = [words for key, words in memory.over.items() if key not in standing]
    if fresh or over:
        post(url, _message([*(alert.text for alert in fresh), *over]))

    # What no longer stands is forgotten, so that it is told again should it come back.
    kept = [key for key in memory.told if _is_event(key)] + [a.key for a in current]
    memory.told = [*kept, *(a.key for a in fresh if _is_event(a.key))][-TOLD_MAX:]
    memory.over = {alert.key: alert.over for alert in current if alert.over}
    return len(fresh) + len(over)


def _is_event(key: str) -> bool:
    return key.startswith(("run ", "check "))


def _message(texts: Sequence[str]) -> str:
    ui = os.environ.get(UI)
    lines = [f"*{HEADLINE}*" + (f" ({ui})" if ui else "")]
    return "\n".join([*lines, *(f"• {text}" for text in texts)])


def _newest(instance: dg.DagsterInstance, ends: Sequence[_End]) -> int:
    return max((r.storage_id for r in _end_events(instance, ends, None, limit=1)), default=-1)


def _end_events(
    instance: dg.DagsterInstance,
    ends: Sequence[_End],
    after: int | None,
    limit: int = EVENTS_MAX,
) -> list[dg.EventLogRecord]:
    """Return the first events of those kinds after `after`; without it, the newest of each kind.

    Only these events have one order over all runs on every storage: SQLite keeps the others by run.
    """
    found: list[dg.EventLogRecord] = []
    for end in ends:
        wanted = dg.RunStatusChangeRecordsFilter(event_type=end, after_storage_id=after)
        changes = instance.fetch_run_status_changes(
            wanted, limit=limit, ascending=after is not None
        )
        found += changes.records
    found.sort(key=lambda record: record.storage_id)
    return found if after is None else found[:limit]


def _failed_runs(instance: dg.DagsterInstance, memory: _Memory) -> list[Alert]:
    found = []
    for record in _end_events(instance, FAILED, memory.runs):
        memory.runs = record.storage_id
        run_id = record.event_log_entry.run_id

        run = instance.get_run_by_id(run_id)
        name = f"{run.job_name} {run.tags.get('dagster/partition', '')}".strip() if run else "a run"
        why = _why_it_failed(instance, run_id)
        found.append(
            Alert(f"run {run_id}", f"Run {run_id[:8]} of {name} failed: {why}{_link(run_id)}")
        )
    return found


def _why_it_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the failure's message where it is meant for people; else only its kind."""
    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    for entry in failures:
        data = entry.dagster_event.step_failure_data if entry.dagster_event else None
        if data and data.user_failure_data and data.user_failure_data.description:
            return str(data.user_failure_data.description)
        if data and data.error:
            cause = data.error.cause or data.error
            return f"{cause.cls_name or 'an error'}; see the run's page"
    return "its process ended; see the run's page"


def _link(run_id: str) -> str:
    ui = os.environ.get(UI)
    return f" {ui.rstrip('/')}/runs/{run_id}" if ui else ""


def _failing_checks(instance: dg.DagsterInstance, memory: _Memory, today: str) -> list[Alert]:
    """Return the checks that failed in runs that ended since the last tick, each once a day.

    Of several results of a check the last one counts.
    """
    newest: dict[str, tuple[bool, str]] = {}
    for record in _end_events(instance, ENDED, memory.checks):
        memory.checks = record.storage_id
        newest |= _checks_of(instance, record.event_log_entry.run_id)
    failing: Mapping[str, str] = {n: words for n, (passed, words) in newest.items() if not passed}
    return [Alert(f"check {today} {name}", words) for name, words in failing.items()]


def _checks_of(instance: dg.DagsterInstance, run_id: str) -> dict[str, tuple[bool, str]]:
    """Return how each check of a run ended, and the words to tell it with.

    `complete` is left out: waiting is told of as the limit's, and as a backlog that grows.
    """
    found = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        if entry.dagster_event is None:
            continue
        data: Any = entry.dagster_event.asset_check_evaluation_data
        if data.check_name == COMPLETE:
            continue

        where = f" of {data.partition}" if data.partition else ""
        name = f"{data.asset_key.to_user_string()}: {data.check_name}{where}"
        severity = "failed" if data.severity is dg.AssetCheckSeverity.ERROR else "warns"
        words = f"Check {name} {severity}: {data.description or 'see its page'}"
        found[name] = (bool(data.passed), words)
    return found
