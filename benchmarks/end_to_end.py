"""From an edit in the org to the score in the org, through the real daemon, sensor and runs.

python -m benchmarks end_to_end
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from benchmarks.data import SEED, Stage, make_template, stage
from benchmarks.measuring import ROOT, Figures, fresh
from benchmarks.report import Section, seconds

LEADS: Final = 200
AT_ONCE: Final = 100
READY_SECONDS: Final = 120
SCORED_SECONDS: Final = 300
LOOK_SECONDS: Final = 0.25
STOP_SECONDS: Final = 30
WORKSPACE: Final = "workspace.yaml"


def measure(folder: Path, minutes: int) -> Section:
    """Edit leads at random moments of some minutes, then a hundred at once, and look when each is scored."""
    with (
        stage(make_template(folder / "daemon", LEADS, daily_pull_time=_long_ago())) as on,
        daemon(on),
    ):
        ids = [row["Id"] for row in on.org.query("SELECT Id FROM Lead ORDER BY Id")]
        _wait_until_scored(on, ids, READY_SECONDS)
        waits = _single_edits(on, ids, minutes)
        began = time.time()
        _edit(on, ids[:AT_ONCE])
        _wait_until_scored(on, ids[:AT_ONCE], SCORED_SECONDS)
        runs = fresh("benchmarks.end_to_end:runs", _with_dagster(on), since=began)
    ordered = sorted(waits)
    section = Section(
        "End to end: pull interval one minute",
        ("what", "median s", "95th percentile s", "longest s"),
    )
    p95 = quantiles(ordered, n=20)[-1]
    section.add(
        f"edit in the org to score in the org, {len(ordered)} edits at random moments",
        seconds(median(ordered)),
        seconds(p95),
        seconds(ordered[-1]),
    )
    section.add(
        f"a run with {AT_ONCE} due leads, launch to end", seconds(runs["seconds"]), "-", "-"
    )
    section.target("edit to score, 95th percentile, s", p95, 75, "")
    section.target(
        f"a tick's run with {AT_ONCE} due records, launch to end, s", runs["seconds"], 8, ""
    )
    section.note(
        "The floor of the median is half the interval; a tick waits for what the org may still commit late."
    )
    return section


def _long_ago() -> str:
    """Return a time of day that is not reached during the measurement: the daily pull stays away."""
    return "23:59" if time.gmtime().tm_hour < 12 else "00:01"  # noqa: PLR2004


def _with_dagster(on: Stage) -> dict[str, str]:
    home = on.folder / "dagster"
    return {**on.environment, "DAGSTER_HOME": str(home), "INSIGHTS_RUNNING": "1"}


@contextlib.contextmanager
def daemon(on: Stage) -> Iterator[None]:
    """Run Dagster's daemon with its code server, without the webserver, in a process group of its own."""
    home = on.folder / "dagster"
    home.mkdir()
    shutil.copyfile(ROOT / "config" / "dagster" / "dagster.yaml", home / "dagster.yaml")
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", WORKSPACE]
    variables = _with_dagster(on)
    path = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
    with (on.folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  our own command
            command,
            cwd=ROOT,
            env={**variables, "PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return


def _single_edits(on: Stage, ids: list[str], minutes: int) -> list[float]:
    """Edit one lead after the other, twelve a minute on average; return how long each waited for its score."""
    choose = random.Random(SEED)  # noqa: S311  moments, not secrets
    moments = sorted(choose.uniform(0, 60 * minutes) for _ in range(12 * minutes))
    began, edited, waits = time.time(), dict[str, float](), list[float]()
    upcoming = list(zip(moments, ids[AT_ONCE:], strict=False))
    deadline = began + 60 * minutes + SCORED_SECONDS
    while (upcoming or edited) and time.time() < deadline:
        if upcoming and time.time() - began >= upcoming[0][0]:
            _, record = upcoming.pop(0)
            edited[record] = time.time()
            _edit(on, [record])
        for record, row in _rows(on, list(edited)).items():
            if row["PI_Score__c"] is not None:
                waits.append(time.time() - edited.pop(record))
        time.sleep(LOOK_SECONDS)
    if edited:
        raise RuntimeError(f"{len(edited)} edits were not scored; see {on.folder / 'daemon.log'}")
    return waits


def _edit(on: Stage, ids: list[str]) -> None:
    """Save another company on each, as a user would, and take its score away."""
    now = time.time_ns()
    records = [{"Id": i, "Company": f"Edited {now} {i}", "PI_Score__c": None} for i in ids]
    on.org.control("POST", "save", {"object": "Lead", "operation": "update", "records": records})


def _rows(on: Stage, ids: list[str]) -> Mapping[str, Mapping[str, str]]:
    if not ids:
        return {}
    listed = ", ".join(f"'{i}'" for i in ids)
    soql = f"SELECT Id, PI_Score__c FROM Lead WHERE Id IN ({listed})"  # noqa: S608  our own ids
    return {row["Id"]: row for row in on.org.query(soql)}


def _wait_until_scored(on: Stage, ids: list[str], most: float) -> None:
    deadline = time.time() + most
    while time.time() < deadline:
        if all(row["PI_Score__c"] is not None for row in _rows(on, ids).values()):
            return
        time.sleep(LOOK_SECONDS)
    log = (on.folder / "daemon.log").read_text(errors="replace")[-3_000:]
    raise RuntimeError(f"the leads were not scored within {most} s; the daemon says:\n{log}")


def runs(since: float) -> Figures:
    """Return how long the longest run since then took from its launch to its end."""
    import dagster as dg

    deadline = time.time() + STOP_SECONDS
    with dg.DagsterInstance.get() as instance:
        while time.time() < deadline:
            records = instance.get_run_records(limit=20)
            late = [r for r in records if r.create_timestamp.timestamp() >= since]
            if late and all(r.end_time for r in late):
                break
            time.sleep(LOOK_SECONDS)
        spans = [r.end_time - r.create_timestamp.timestamp() for r in late if r.end_time]
    return {"seconds": max(spans), "runs": len(spans)}
