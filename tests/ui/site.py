"""A whole site for an operator: the local org, a code server, Dagster's webserver and daemon, each a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import dagster as dg
import requests
import yaml

from assets.clients_resource import ClientsResource
from assets.partitions import partition_key
from assets.step_runs import WORK_TAG
from demo.stage import CONFIG, ROOT
from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, start
from pipeline.definitions import build_definitions
from pipeline.instance import write_dagster_yaml
from pipeline.jobs import OBJECT_TAG
from pipeline.steps.clients import Clients
from tests.plant import ManualClock
from tests.ui.graphql import LOCATION, GraphQL, until

ZONE: Final = ZoneInfo("Europe/Berlin")
MODULE: Final = "tests.ui.definitions"
CLOCK: Final = "INSIGHTS_TEST_CLOCK"
"""Names the file that says what time it is; the code server's definitions read it."""

PARTITIONS: Final = 10
"""Days that the calendar has, up to today: few, so that a page shows all of them."""

START_SECONDS: Final = 120
STOP_SECONDS: Final = 20
_T = TypeVar("_T")


@dataclass
class Site:
    """The running site. `clock` is the file that the pipeline's clock reads; the org's clock follows it."""

    org: RunningOrg
    folder: Path
    url: str
    graphql: GraphQL
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    @property
    def clock(self) -> Path:
        """Return the file that says what time it is."""
        return self.folder / "clock"

    @property
    def now(self) -> datetime:
        """Return what time it is on both clocks."""
        return datetime.fromisoformat(self.clock.read_text())

    def set_clock(self, now: datetime) -> None:
        """Move both clocks; in one step, since the code server may be reading."""
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(now.astimezone(UTC).isoformat())
        fresh.replace(self.clock)
        self.org.control(
            "POST", "clock", {"now": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        )

    def be(self, day: date, hour: int, minute: int = 0) -> None:
        """Let it be an hour of `day` on the clocks of the settings' time zone."""
        self.set_clock(datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE))

    def wait(self, **span: float) -> None:
        """Let time pass on both clocks."""
        self.set_clock(self.now + timedelta(**span))

    def with_clients(self, step: Callable[[Clients], _T]) -> _T:
        """Run a plain step with the clients of a command."""
        resource = (self.definitions.resources or {})["clients"]
        assert isinstance(resource, ClientsResource)
        try:
            return step(resource.get("test"))
        finally:
            resource.close()

    def run(self, job: str, name: str, day: date) -> dict[str, Any]:
        """Run a job on one object in this process, on the site's instance, as a command does; return its figures."""
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=str(partition_key(day, name)),
            tags={OBJECT_TAG: name, WORK_TAG: "true"},
        )
        figures: dict[str, Any] = {}
        for event in result.get_asset_materialization_events():
            figures |= {k: v.value for k, v in event.materialization.metadata.items()}
        return figures


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Run a site in `folder` on the sample configuration; every process is ended for sure."""
    with ExitStack() as stack:
        org = stack.enter_context(start(folder / "org.sqlite3"))
        variables = _variables(org, folder)
        ports = _free_ports(2)
        _workspace(folder, ports[0])
        (folder / "clock").write_text(datetime.now(UTC).isoformat())
        _make_storage(folder / "dagster")
        python = [sys.executable, "-m"]
        where = ["-w", str(folder / "workspace.yaml")]
        server = [*python, "dagster", "api", "grpc", "--module-name", MODULE]
        server += ["--host", "127.0.0.1", "--port", str(ports[0]), "--location-name", LOCATION]
        server += ["--working-directory", str(ROOT)]
        processes = [stack.enter_context(_process(server, variables, folder / "code.log"))]
        web = [*python, "dagster_webserver", *where, "--host", "127.0.0.1", "--port", str(ports[1])]
        processes.append(stack.enter_context(_process(web, variables, folder / "webserver.log")))
        daemon = [*python, "tests.ui.daemon", *where]
        processes.append(stack.enter_context(_process(daemon, variables, folder / "daemon.log")))
        stack.enter_context(_environment(variables))
        definitions = build_definitions(
            config=folder / "config",
            home=folder / "home",
            clock=ManualClock(file=str(folder / "clock")),
        )
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(folder / "dagster")))
        url = f"http://127.0.0.1:{ports[1]}"
        site = Site(org, folder, url, GraphQL(url), definitions, instance)
        until(
            lambda: _answers(site, processes), f"the webserver; see {folder}/*.log", START_SECONDS
        )
        yield site


def _make_storage(dagster_home: Path) -> None:
    """Have Dagster make its databases: processes that begin together on none trip over each other's tables."""
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        instance.get_runs_count()
        instance.get_latest_materialization_event(dg.AssetKey("none"))
        instance.all_instigator_state()


def _answers(site: Site, processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Say whether the webserver is up, knows the definitions, and the daemon lives."""
    for process in processes:
        assert process.poll() is None, f"a process ended; see {site.folder}/*.log"
    try:
        found = site.graphql.ask(
            "{ assetNodes { id } instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"
        )
    except (requests.ConnectionError, requests.Timeout, ValueError):
        return False
    statuses = found["instance"]["daemonHealth"]["allDaemonStatuses"]
    alive = {one["daemonType"] for one in statuses if one["healthy"]}
    return bool(found["assetNodes"]) and {"SENSOR", "BACKFILL", "QUEUED_RUN_COORDINATOR"} <= alive


def _variables(org: RunningOrg, folder: Path) -> dict[str, str]:
    """Return what the processes are told: their own home, and a copy of the sample configuration."""
    shutil.copytree(CONFIG, folder / "config")
    settings = folder / "config" / "settings.yaml"
    told = yaml.safe_load(settings.read_text(encoding="utf-8"))
    start = datetime.now(ZONE).date() - timedelta(days=PARTITIONS - 1)
    changed = {"time_zone": ZONE.key, "partitions_start": start.isoformat()}
    settings.write_text(yaml.safe_dump(told | changed), encoding="utf-8")
    write_dagster_yaml(folder / "dagster")
    return {
        "DAGSTER_HOME": str(folder / "dagster"),
        "INSIGHTS_HOME": str(folder / "home"),
        "INSIGHTS_CONFIG": str(folder / "config"),
        CLOCK: str(folder / "clock"),
        "SALESFORCE_LOGIN_URL": org.base_url,
        "SALESFORCE_CLIENT_ID": CLIENT_ID,
        "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
        "FRESHNESS_DAEMON_INTERVAL_SECONDS": "2",
    }


def _workspace(folder: Path, port: int) -> None:
    server = {"host": "127.0.0.1", "port": port, "location_name": LOCATION}
    told = yaml.safe_dump({"load_from": [{"grpc_server": server}]})
    (folder / "workspace.yaml").write_text(told, encoding="utf-8")


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for this process, and put back what stood there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _process(
    command: Sequence[str], variables: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a group of its own, which ends with it: SIGINT, then SIGKILL for all that is left."""
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER_", "INSIGHTS_"))
    }
    with log.open("wb") as output:
        with _interrupts_heard():
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment | dict(variables),
                start_new_session=True,
            )
        try:
            yield process
        finally:
            _end(process)


@contextmanager
def _interrupts_heard() -> Iterator[None]:
    """Let what is started meanwhile hear SIGINT, even where this was started in the background, which ignores it (D11)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
