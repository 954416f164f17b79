"""Processes of Dagster for tests: each in a group of its own, ended for sure, and waits that count the machine's load."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

import dagster as dg
import yaml

from demo.stage import ROOT

LOCATION: Final = "predictive_insights"
MODULE: Final = "tests.ui.definitions"
CLOCK: Final = "INSIGHTS_TEST_CLOCK"
"""Names the file that says what time it is; the code server's definitions read it."""

STOP_SECONDS: Final = 20
PATIENCE_SECONDS: Final = 300
POLL_SECONDS: Final = 0.3
_T = TypeVar("_T")


def patience() -> float:
    """Return how many seconds a wait may take: longer by as much as the machine has more to do than it has cores."""
    return PATIENCE_SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def until(look: Callable[[], _T | None], what: str) -> _T:
    """Look until there is something to see, and return it."""
    began = time.monotonic()
    while True:
        found = look()
        if found:
            return found
        waited = time.monotonic() - began
        if waited > patience():
            raise AssertionError(f"waited {waited:.0f} s in vain for {what}")
        time.sleep(POLL_SECONDS)


def make_storage(dagster_home: Path) -> None:
    """Have Dagster make its databases: processes that begin together on none trip over each other's tables."""
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        instance.get_runs_count()
        instance.get_latest_materialization_event(dg.AssetKey("none"))
        instance.all_instigator_state()


@contextmanager
def code_server_and_daemon(
    folder: Path, variables: Mapping[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run a code server with the definitions of `MODULE`, and a daemon on it; `workspace.yaml` tells others of it."""
    (port,) = free_ports(1)
    _write_workspace(folder, port)
    python = [sys.executable, "-m"]
    server = [*python, "dagster", "api", "grpc", "--module-name", MODULE]
    server += ["--host", "127.0.0.1", "--port", str(port), "--location-name", LOCATION]
    server += ["--working-directory", str(ROOT)]
    daemon = [*python, "tests.ui.daemon", "-w", str(folder / "workspace.yaml")]
    with (
        running_process(server, variables, folder / "code.log") as serves,
        running_process(daemon, variables, folder / "daemon.log") as works,
    ):
        yield [serves, works]


def _write_workspace(folder: Path, port: int) -> None:
    server = {"host": "127.0.0.1", "port": port, "location_name": LOCATION}
    told = yaml.safe_dump({"load_from": [{"grpc_server": server}]})
    (folder / "workspace.yaml").write_text(told, encoding="utf-8")


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
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
def running_process(
    command: Sequence[str], variables: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a group of its own, which ends with it: SIGINT, then SIGKILL for all that is left."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER_", "INSIGHTS_"))}
    with log.open("wb") as output:
        with _interrupts_heard():
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=kept | dict(variables),
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


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
