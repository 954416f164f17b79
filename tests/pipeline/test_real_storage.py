"""Sensor, checks, a backfill and alerts on Dagster's own storage, with a code server and the daemon (D12, R28, R29).

Other tests keep Dagster's runs in memory, where every query is answered; SQLite keeps events run by run and refuses some.
One plant on each storage serves all tests here, in their order.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorTick,
    InstigatorType,
    TickStatus,
)
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.event_log.base import PartitionKeyFilter

from assets.partitions import partition_key
from local_org.launch import CLIENT_ID, CLIENT_SECRET, start
from pipeline.alerts import SENSOR as ALERTS
from pipeline.alerts import WEBHOOK
from pipeline.instance import POSTGRES_URL, write_dagster_yaml
from pipeline.sensors import SENSOR
from pipeline.steps.clients import PUSHED, SCORED
from resources.environment import alerts_not_sent
from resources.ledger.database import normalised_url
from tests.plant import FIELDS, START, Plant, integration
from tests.postgres import Postgres
from tests.processes import CLOCK, code_server_and_daemon, environment, make_storage, until
from tests.receiver import Receiver, listening

pytestmark = pytest.mark.timeout(3600)
"""The first test waits for the processes to start; each wait has a bound of its own."""

STORAGES = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]
LEADS = 3
COMPLETE = dg.AssetCheckKey(dg.AssetKey(PUSHED), "complete")
SCORE_RANGE = dg.AssetCheckKey(dg.AssetKey(SCORED), "score_range")
PASSED = AssetCheckExecutionRecordStatus.SUCCEEDED
FAILED = AssetCheckExecutionRecordStatus.FAILED
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


NO_OKAFOR = {
    "object": "Lead",
    "name": "No_Okafor",
    "condition": "LastName = 'Okafor'",
    "message": "Okafor is on legal hold.",
}


@dataclass
class Running(Plant):
    """A plant on Dagster's real storage, which a code server and a daemon work on as well."""

    chat: Receiver = field(default_factory=Receiver)
    processes: Sequence[subprocess.Popen[bytes]] = ()
    alerts: list[str] = field(default_factory=list)

    def set_clock(self, now: datetime) -> None:
        """Move both clocks; in one step, since the code server may be reading."""
        self.now = now
        fresh = self.folder / "clock.new"
        fresh.write_text(now.isoformat())
        fresh.replace(self.folder / "clock")
        at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.org.control("POST", "clock", {"now": at, "frozen": True})

    def until(self, look: Any, what: str) -> Any:
        """Wait for something that the daemon does; fail at once where one of the processes has ended."""

        def alive() -> Any:
            assert all(process.poll() is None for process in self.processes), self.folder
            return look()

        return until(alive, f"{what}; see {self.folder}/*.log")

    def switch(self, name: str) -> InstigatorState | None:
        """Return the state of a sensor or schedule, once the daemon has seen it."""
        found = [s for s in self.instance.all_instigator_state() if s.instigator_name == name]
        return found[0] if found else None

    def ticks(self, name: str, after: float = 0.0) -> list[InstigatorTick]:
        """Return the sensor's ticks that began after a time and are over, newest first; none of them may fail."""
        state = self.switch(name)
        if state is None:
            return []
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        found = [t for t in ticks if t.timestamp > after and t.status is not TickStatus.STARTED]
        assert not [tick.error for tick in found if tick.error]
        return found

    def switch_off(self) -> None:
        """Switch the sensor for changes and the schedule off for good; the one for alerts goes on.

        A tick that ends at that moment puts back the state that it began with.
        """
        while on := [s for s in self._switches() if s.is_running]:
            for state in on:
                ids = (state.instigator_origin_id, state.selector_id, None)
                if state.instigator_type is InstigatorType.SCHEDULE:
                    self.instance.stop_schedule(*ids)
                else:
                    self.instance.stop_sensor(*ids)
            self.wait_for_ticks()

    def _switches(self) -> list[InstigatorState]:
        states = self.instance.all_instigator_state()
        return [state for state in states if state.instigator_name != ALERTS]

    def history(self, key: dg.AssetCheckKey, partition: str) -> list[AssetCheckExecutionRecord]:
        """Return how a check of a partition stood, newest first, as Dagster's pages ask for it."""
        return list(
            self.instance.event_log_storage.get_asset_check_execution_history(
                key, limit=10, partition_filter=PartitionKeyFilter(key=partition)
            )
        )

    def wait_for_alert(self, words: str) -> str:
        """Wait until the chat has taken an alert with those words, and return it."""

        def found() -> str | None:
            self.alerts += self.chat.texts()
            return next((text for text in self.alerts if words in text), None)

        alert: str = self.until(found, f"an alert with {words!r}")
        return alert

    def wait_for_ticks(self) -> None:
        """Wait until two more ticks are over: what had begun is then over as well."""
        now = time.time()
        self.until(lambda: len(self.ticks(ALERTS, now)) > 1, "two ticks of the alerts' sensor")
        self.alerts += self.chat.texts()


@pytest.fixture(scope="module", params=STORAGES)
def plant(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Run a plant with three Leads to score, its sensors and its schedule switched on."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        ledger = None
        if request.param == "postgres":
            server: Postgres = request.getfixturevalue("postgres")
            ledger = stack.enter_context(server.database("template1"))
        org = stack.enter_context(start(folder / "org.sqlite3"))
        org.add_fields(**FIELDS)
        chat = stack.enter_context(listening())
        variables = {
            "DAGSTER_HOME": str(folder / "dagster-home"),
            "INSIGHTS_HOME": str(folder / "home"),
            "INSIGHTS_CONFIG": str(folder / "config"),
            "INSIGHTS_RUNNING": "1",
            WEBHOOK: chat.url,
            CLOCK: str(folder / "clock"),
            "SALESFORCE_LOGIN_URL": org.base_url,
            "SALESFORCE_CLIENT_ID": CLIENT_ID,
            "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
        }
        if ledger:
            variables |= {"INSIGHTS_LEDGER_URL": ledger, POSTGRES_URL: normalised_url(ledger)}
        stack.enter_context(environment(variables))
        write_dagster_yaml(folder / "dagster-home")
        make_storage(folder / "dagster-home")

        built = Running(
            org,
            folder,
            integrations=[integration("Lead")],
            in_memory=True,
            ledger=ledger,
            chat=chat,
        )
        built.instance = stack.enter_context(
            dg.DagsterInstance.from_config(str(folder / "dagster-home"))
        )
        built.turn_on()
        built.create("Lead", *(ACME | {"Company": f"Acme {n}"} for n in range(LEADS)))
        built.wait(seconds=5)
        built.processes = stack.enter_context(code_server_and_daemon(folder, variables))
        yield built


@pytest.fixture(scope="module")
def ticked(plant: Running) -> list[InstigatorTick]:
    """Let the sensor tick until its run has ended and it has skipped once; return its ticks, newest first."""
    plant.until(lambda: plant.switch(ALERTS), "the daemon's first tick")

    def ended() -> bool:
        runs = [
            plant.instance.get_run_by_id(r) for tick in plant.ticks(SENSOR) for r in tick.run_ids
        ]
        return bool(runs) and all(run and run.is_finished for run in runs)

    def skipped() -> bool:
        return any(tick.status is TickStatus.SKIPPED for tick in plant.ticks(SENSOR))

    plant.until(lambda: ended() and skipped(), "the sensor's run to end, and a tick that skips")
    plant.switch_off()
    plant.until(ended, "the sensor's last runs to end")
    return plant.ticks(SENSOR)


@pytest.mark.slow
def test_the_sensor_has_the_daemon_launch_a_run_and_then_says_why_it_skips(
    plant: Running, ticked: list[InstigatorTick]
) -> None:
    """R14: the run is the daemon's own, in a process of the code server; what it found stands in the storage."""
    (first,) = next(tick.run_ids for tick in reversed(ticked) if tick.run_ids)
    run = plant.instance.get_run_by_id(first)

    assert run is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags["insights/why"] == "today's daily pull is not in yet"
    assert run.tags["dagster/sensor_name"] == SENSOR
    scored = plant.org.query("SELECT Id FROM Lead WHERE Mintigo_update_datetime__c != null")
    assert len(scored) == LEADS
    skips = [tick.skip_reason for tick in ticked if not tick.run_ids]
    assert skips
    assert all(skips)


@pytest.mark.slow
@pytest.mark.usefixtures("ticked")
def test_a_backfill_is_run_by_the_daemon_and_its_day_is_complete_when_all_is_done(
    plant: Running,
) -> None:
    """R28: the past day waits for its records, and the check tells it of that day without a run of its own."""
    day = plant.today
    partition = str(partition_key(day, "Lead"))
    plant.wait(days=1)
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="again",
        asset_graph=plant.definitions.resolve_asset_graph(),
        partition_names=[partition],
        asset_selection=[dg.AssetKey(SCORED), dg.AssetKey(PUSHED)],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=plant.instance,
        all_partitions=False,
        title="Score this day again",
        description=None,
        run_config=None,
    )
    plant.instance.add_backfill(backfill)

    def status() -> BulkActionStatus | None:
        found = plant.instance.get_backfill("again")
        return found.status if found and found.status is not BulkActionStatus.REQUESTED else None

    ended = plant.until(status, "the daemon to run the backfill")
    assert ended is BulkActionStatus.COMPLETED_SUCCESS
    waiting = plant.history(COMPLETE, partition)[0]
    assert waiting.status is FAILED
    assert waiting.evaluation is not None
    assert f"{LEADS} records of this day wait" in str(waiting.evaluation.description)

    plant.run("score_and_push", "Lead")

    assert plant.history(COMPLETE, partition)[0].status is PASSED


@pytest.mark.slow
@pytest.mark.usefixtures("ticked")
def test_checks_are_told_by_partition(plant: Running) -> None:
    """R29: how each stood last, of the daemon's run and of one that sets a record aside."""
    first = str(partition_key(START.date(), "Lead"))
    today = str(partition_key(plant.today, "Lead"))
    plant.create("Lead", ACME | {"Company": "BAD SCORE"})
    plant.pull("Lead")

    assert plant.history(SCORE_RANGE, first)[-1].status is PASSED
    newest = plant.history(SCORE_RANGE, today)[0]
    assert newest.status is FAILED
    assert newest.evaluation is not None
    assert newest.evaluation.severity is dg.AssetCheckSeverity.WARN
    assert "1 records were set aside" in str(newest.evaluation.description)


def _alerts_not_sent(plant: Running) -> str | None:
    """Return what `insights status` says of alerts."""
    return alerts_not_sent(plant.now, plant.folder / "home")


@pytest.mark.slow
@pytest.mark.usefixtures("ticked")
def test_alerts_come_out_once_each(plant: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """R29: a failed run, a failing check, failing records, a held market and silence; a chat that refuses loses none.

    What ends is told once more. Meanwhile `status` says that nobody can be told.
    """
    plant.chat.status, plant.chat.refused = 500, 0
    with monkeypatch.context() as wrong:
        wrong.setenv("SALESFORCE_CLIENT_SECRET", "not-it")
        assert not plant.pull("Lead")["success"]
    plant.until(lambda: plant.chat.refused, "the chat to refuse an alert")
    not_sent = plant.until(lambda: _alerts_not_sent(plant), "status to say that nobody is told")
    plant.chat.status = 200
    failed = plant.wait_for_alert(f"of pull {plant.today}|Lead failed")
    plant.create("Lead", ACME | {"Company": "BAD RANK"})
    plant.pull("Lead")
    aside = plant.wait_for_alert("rank_values")
    plant.create("Lead", ACME | {"LastName": "Okafor"})
    plant.org.control("POST", "validation-rules", NO_OKAFOR)
    plant.pull("Lead")
    failing = plant.wait_for_alert("fail with FIELD_CUSTOM_VALIDATION_EXCEPTION")
    plant.create("Lead", ACME | {"Company": "RAISE"})
    plant.pull("Lead")
    held = plant.wait_for_alert("Market fit failed as a whole")
    plant.set_clock(plant.now + timedelta(minutes=35))
    silent = plant.wait_for_alert("no successful pull")
    plant.org.control("DELETE", "validation-rules/Lead/No_Okafor")
    plant.with_clients(lambda clients: clients.ledger.holds.release("fit", ["Lead"], plant.now))
    released = plant.wait_for_alert("Over: market fit was held")
    plant.pull("Lead")
    heard = plant.wait_for_alert("Over: nothing was heard of Lead")
    mended = plant.wait_for_alert("Over: no record of Lead fails with FIELD_CUSTOM_VALIDATION")
    plant.wait_for_ticks()

    assert "Check the SALESFORCE_... variables" in failed
    assert "warns: 1 records were set aside" in aside
    assert "The webhook at 127.0.0.1 cannot be reached" in not_sent
    assert _alerts_not_sent(plant) is None
    for alert in (failed, aside, failing, held, silent, released, heard, mended):
        assert plant.alerts.count(alert) == 1
    assert [alert for alert in plant.alerts if plant.alerts.count(alert) > 1] == []
