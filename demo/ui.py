"""Dagster's UI and daemon on the local org, with sensor and schedule on: `make ui`. Ctrl-C ends everything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Final

import click

from demo.stage import HOME, ROOT, environment, is_seeded, seed, start_org, turn_on
from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg

STOP_SECONDS: Final = 30


@click.command()
@click.option(
    "--port", default=3000, show_default=True, help="Port of the UI; 0 chooses a free one."
)
@click.option("--org-port", default=0, help="Port of the local org; 0 chooses a free one.")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=HOME,
    help="Folder of the state; by default the one that `make demo` leaves.",
)
def main(port: int, org_port: int, home: Path) -> None:
    """Start the local org, Dagster's UI and its daemon, and wait for Ctrl-C."""
    org = start_org(home, port=org_port)
    dagster: subprocess.Popen[bytes] | None = None
    for sign in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # a shell's background jobs start with SIGINT ignored
        signal.signal(sign, _interrupt)
    try:
        variables = environment(org, home) | {"INSIGHTS_RUNNING": "1"}
        if not is_seeded(org):
            click.echo("Filling the local org with companies and people ...")
            seed(org)
            checked = turn_on(org, variables)
            if checked.returncode:
                raise click.ClickException(checked.stdout + checked.stderr)
        port = port or _free_port()
        dagster = _start_dagster(variables, port, home / "dagster.log")
        _welcome(org, port, home / "dagster.log")
        code = dagster.wait()
        raise click.ClickException(
            f"Dagster ended by itself (code {code}); see {home / 'dagster.log'}"
        )
    except KeyboardInterrupt:
        click.echo("Ending.")
    finally:
        _stop(dagster)
        org.stop()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_dagster(variables: Mapping[str, str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start webserver and daemon in a process group of their own, so that Ctrl-C reaches them through us alone."""
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        return _in_own_group(command, variables, output)


def _in_own_group(
    command: list[str], variables: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  our own command
        command,
        cwd=ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**variables, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"},
        start_new_session=True,
        preexec_fn=_default_interrupts,  # noqa: PLW1509  set before exec: no threads run yet
    )


def _default_interrupts() -> None:
    """Let `dagster dev` hear SIGINT even where this was started in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _welcome(org: RunningOrg, port: int, log: Path) -> None:
    click.echo(
        f"""
  Dagster            http://127.0.0.1:{port}
  Bulk jobs page     {org.base_url}/lightning/setup/AsyncApiJobStatus/home
  Edit a lead        curl -X POST {org.base_url}/_control/save -d '{{"object": "Lead",
                     "operation": "update", "records": [{{"Id": "...", "Company": "..."}}]}}'
  Sign in yourself   client id {CLIENT_ID}, secret {CLIENT_SECRET}
  Dagster's log      {log}
  Ctrl-C ends everything.
"""
    )


def _stop(dagster: subprocess.Popen[bytes] | None) -> None:
    """Ask the whole group to end, then make it."""
    if dagster is None:
        return
    for sign, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(dagster.pid, sign)
        except ProcessLookupError:
            return
        try:
            dagster.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    main()
