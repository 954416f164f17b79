"""Measures steps in fresh processes: wall time, the process's own CPU seconds, its peak memory.

    python -m benchmarks.measuring benchmarks.pull:ours '{"soql": "..."}'

is what `fresh` runs: it calls the function with the parameters and prints its figures as one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest.mock import patch

ROOT: Final = Path(__file__).parent.parent
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
Figures = dict[str, Any]

in_this_process = False
"""True: `fresh` calls its function here, which spares a test the imports. Never true where figures count."""


@dataclass(slots=True)
class Cost:
    """What a step took: seconds on the wall, and CPU seconds of this process and the ones it started."""

    wall: float = 0.0
    cpu: float = 0.0

    def figures(self, name: str = "") -> Figures:
        """Return it by the names under which processes hand it over."""
        prefix = f"{name}_" if name else ""
        return {f"{prefix}wall": self.wall, f"{prefix}cpu": self.cpu}


@contextmanager
def timed() -> Iterator[Cost]:
    """Measure the block; the figures stand in what it gives once the block is done."""
    cost = Cost()
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield cost
    cost.wall, cost.cpu = time.perf_counter() - wall, cpu_seconds() - cpu


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, of those it started and that ended, and of those that still run."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    return used + sum(_cpu_of(pid) for pid in children(os.getpid()))


def children(of: int) -> list[int]:
    """Return the processes below `of` that run now (Linux; elsewhere none)."""
    listed = Path(f"/proc/{of}/task/{of}/children")
    found: list[int] = []
    for pid in listed.read_text().split() if listed.exists() else ():
        found += [int(pid), *children(int(pid))]
    return found


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS_A_SECOND


def peak_megabytes(pid: int | None = None) -> float:
    """Return the most memory that a process (default: this one) has held, in MB of a million bytes.

    Linux's own high-water mark of the address space: `ru_maxrss` also knows of the process that started this one.
    """
    status = Path(f"/proc/{pid or os.getpid()}/status")
    if status.exists():
        text = status.read_text()
        return int(text.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    in_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * in_bytes / 1e6


def fresh(
    function: str, environment: Mapping[str, str] | None = None, **parameters: Any
) -> Figures:
    """Call `module:function` with `parameters` in a process of its own and return its figures.

    Raises RuntimeError with what the process wrote where it fails.
    """
    if in_this_process:
        with patch.dict(os.environ, environment or {}):
            return {"peak_mb": 0.0, **_called(function, parameters)}
    command = [sys.executable, "-m", "benchmarks.measuring", function, json.dumps(parameters)]
    variables = {**os.environ, "PYTHONWARNINGS": "ignore", **(environment or {})}
    done = subprocess.run(  # noqa: S603  our own command
        command, env=variables, cwd=ROOT, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{function} failed: {done.stdout[-2_000:]}{done.stderr[-4_000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def best(
    times: int, function: str, environment: Mapping[str, str] | None = None, **parameters: Any
) -> Figures:
    """Call `function` so many times, each in a fresh process; see `together`."""
    return together([fresh(function, environment, **parameters) for _ in range(times)])


def together(runs: list[Figures]) -> Figures:
    """Return the smallest of each figure over several runs, and the median as `median_<name>`.

    The smallest is what the work costs; what lies above it is the neighbours'. Anything else is the last run's.
    """
    found: Figures = dict(runs[-1])
    for name, value in runs[0].items():
        if isinstance(value, float):
            found[name] = min(run[name] for run in runs)
            found[f"median_{name}"] = median(run[name] for run in runs)
    return found


def _called(named: str, parameters: Mapping[str, Any]) -> Figures:
    module, _, name = named.partition(":")
    function: Callable[..., Figures] = getattr(importlib.import_module(module), name)
    return function(**parameters)


def main() -> None:
    """Call the function that the command line names, and print its figures."""
    figures = _called(sys.argv[1], json.loads(sys.argv[2]))
    print(json.dumps({"peak_mb": peak_megabytes(), **figures}))


if __name__ == "__main__":
    main()
