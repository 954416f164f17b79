"""`python -m tests.fuzz --seconds 60 [--target NAME]...`: every target under atheris, guided by coverage.

Each target runs in a process of its own, for so many seconds at most; a finding is printed with its input
and how to repeat it, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.target import Target

WATCHED = (
    "resources",
    "pipeline.core",
    "pipeline.sensors",
    "pipeline.cli",
    "assets.partitions",
    "local_org",
    "simple_salesforce",
)
"""What is watched for coverage; the rest of the world only slows it down."""
LIMITS: dict[str, object] = {
    "max_len": 4096,
    "timeout": 10,
    "rss_limit_mb": 3072,
    "reload": 0,
}
"""libFuzzer's own options: bytes of an input, seconds after which one hangs, memory."""
GRACE_SECONDS = 30
"""For starting, for ending, and for the one input that hangs."""
SHOWN_LINES = 12
FOUND, BROKEN = 1, 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a target's time brought: how many runs, and the inputs that are findings, each with its words."""

    name: str
    runs: int
    seconds: float
    findings: tuple[tuple[bytes, str], ...]

    def __str__(self) -> str:
        """Return one line, and the findings below it."""
        line = f"{self.name:22} {self.runs:>9,} runs {self.seconds:6.1f} s"
        found = [
            f"{words}\n  input: {data!r}\n  again: python -m tests.fuzz --target {self.name} --input {shlex.quote(repr(data))}"
            for data, words in self.findings
        ]
        return "\n".join([f"{line}  {'FOUND' if found else 'nothing found'}", *found])


def watched_targets() -> dict[str, Target]:
    """Import the targets, and with them what they try, watched by atheris."""
    import atheris  # type: ignore[import-untyped]

    with (
        contextlib.redirect_stderr(io.StringIO()),  # a line for each module
        atheris.instrument_imports(include=list(WATCHED)),
    ):
        from tests.fuzz.targets import TARGETS
    return TARGETS


def fuzz(
    targets: Sequence[Target], *, seconds: float, seed: int, at_once: int
) -> Iterator[Outcome]:
    """Yield each target's outcome; `at_once` of them run at a time."""
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as name:
        waiting = list(targets)
        running: dict[int, tuple[Target, Path, float]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    target = waiting.pop(0)
                    folder = Path(name) / target.name
                    child = _start(target, folder, seconds, seed)
                    running[child] = (target, folder, time.monotonic())
                child, status = _ended(running, seconds + GRACE_SECONDS)
                target, folder, began = running.pop(child)
                yield _outcome(target, folder, status, time.monotonic() - began)
        finally:
            for child in running:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _start(target: Target, folder: Path, seconds: float, seed: int) -> int:
    """Fuzz `target` in a child process and return its id."""
    for part in ("corpus", "found"):
        (folder / part).mkdir(parents=True)
    for number, data in enumerate(target.seeds):
        (folder / "corpus" / f"seed-{number}").write_bytes(data)
    words = "".join(f'"{_escaped(word)}"\n' for word in target.words if word)
    (folder / "words").write_text(words, encoding="ascii")
    child = os.fork()
    if child:
        return child
    try:
        _fuzz_here(target, folder, seconds, seed)
    except SystemExit:
        os._exit(FOUND)  # with what was found in its folder and in its log
    except BaseException:  # noqa: BLE001  the child's end is here, whatever happens
        traceback.print_exc()
    finally:
        os._exit(BROKEN)


def _fuzz_here(target: Target, folder: Path, seconds: float, seed: int) -> None:
    import atheris

    logging.disable(logging.WARNING)  # thousands of lines on what is damaged
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    tempfile.tempdir = str(folder)
    options = {**LIMITS, "seed": seed, "artifact_prefix": f"{folder / 'found'}/"}
    if target.words:
        options["dict"] = folder / "words"
    arguments = [f"-{name}={value}" for name, value in options.items()]

    runs, ends_at_seconds = 0, time.monotonic() + GRACE_SECONDS

    def run(data: bytes) -> None:
        nonlocal runs
        if time.monotonic() >= ends_at_seconds:
            # At once: to end in order is to wait for Arrow's threads, which wait for this one.
            (folder / "runs").write_text(str(runs))
            os._exit(0)
        runs += 1
        try:
            target.run(data)
        except BaseException:
            # atheris ends the process: only a hang's input is written down by itself.
            (folder / "found" / "input").write_bytes(data)
            (folder / "runs").write_text(str(runs))
            raise

    run(target.seeds[0])  # the first time loads and opens what the others use
    ends_at_seconds = time.monotonic() + seconds
    atheris.Setup(["fuzz", *arguments, str(folder / "corpus")], run)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _ended(running: dict[int, tuple[Target, Path, float]], most_seconds: float) -> tuple[int, int]:
    """Wait for one of the children; one that outstays its time is ended."""
    while True:
        for child, (_, _, began) in running.items():
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return child, status
            if time.monotonic() - began > most_seconds:
                os.kill(child, signal.SIGKILL)
                return os.waitpid(child, 0)
        time.sleep(0.02)


def _outcome(target: Target, folder: Path, status: int, seconds: float) -> Outcome:
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    counted = folder / "runs"
    runs = int(counted.read_text()) if counted.exists() else 0
    words = _words_of(log)
    findings = [(path.read_bytes(), words) for path in sorted((folder / "found").iterdir())]
    if status != 0 and not findings:
        findings = [(b"", f"{target.name} ended with status {status} and named no input:\n{words}")]
    return Outcome(target.name, runs, seconds, tuple(findings))


def _words_of(log: str) -> str:
    """Return the end of what was said: the exception, or libFuzzer's own words."""
    _, _, exception = log.rpartition("=== Uncaught Python exception: ===")
    said = exception.partition("\n\n")[0] if exception != log else log
    lines = [f"  {line}" for line in said.strip().splitlines()]
    return "\n".join([*lines[:2], *lines[2:][-SHOWN_LINES:]])


def main() -> int:
    """Fuzz the targets asked for, or run one input again; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default 60)")
    parser.add_argument(
        "--target", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    parser.add_argument(
        "--input", metavar="BYTES", help="run the one target with this, as it was printed"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of chance; by default another each time"
    )
    parser.add_argument(
        "--at-once", type=int, default=os.cpu_count() or 1, help="processes at a time"
    )
    asked = parser.parse_args()
    targets = watched_targets()
    unknown = set(asked.target or ()) - targets.keys()
    if unknown:
        parser.error(
            f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(targets)}"
        )
    chosen = [targets[name] for name in asked.target or targets]
    if asked.input is not None:
        return _again(chosen, asked.input)
    seed = asked.seed or int(time.time()) % 2**31
    print(f"{len(chosen)} targets, {asked.seconds:g} s each, seed {seed}", flush=True)
    found = runs = 0
    for outcome in fuzz(chosen, seconds=asked.seconds, seed=seed, at_once=asked.at_once):
        print(outcome, flush=True)
        found += len(outcome.findings)
        runs += outcome.runs
    print(f"{runs:,} runs, {found} findings")
    return 1 if found else 0


def _again(chosen: Sequence[Target], written: str) -> int:
    import ast

    data = ast.literal_eval(written)
    for target in chosen:
        target.run(data)
        print(f"{target.name}: nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
