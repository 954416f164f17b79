"""Runs a function in a process forked from this one: imports are paid once, and a kill takes nothing else along."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

TIMEOUT_SECONDS: Final = 600


class ChildFailed(RuntimeError):
    """The child raised; the text is its traceback."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: what it returned, or by which signal it died."""

    value: Any = None
    signal: int | None = None

    @property
    def was_killed(self) -> bool:
        """Say whether it died of kill -9."""
        return self.signal == signal.SIGKILL


def forked(step: Callable[[], Any], log: Path) -> Ended:
    """Run `step` in a child whose output goes to the file `log`, and wait for its end.

    Raises:
        ChildFailed: it raised, or took longer than ten minutes: it hangs.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(step, log, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        alarm = _Alarm(child)
        with alarm:
            answer = pipe.read()
            _, status = os.waitpid(child, 0)
    if alarm.fired:
        raise ChildFailed(f"not done after {TIMEOUT_SECONDS} s: {log.read_text()[-4000:]}")
    if os.WIFSIGNALED(status):
        return Ended(signal=os.WTERMSIG(status))
    raised, value = pickle.loads(answer)
    if raised:
        raise ChildFailed(value)
    return Ended(value=value)


def _child(step: Callable[[], Any], log: Path, writing: int) -> NoReturn:
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    raised = False
    try:
        value = step()
    except BaseException:  # noqa: BLE001  the parent raises it
        raised, value = True, traceback.format_exc()
    with os.fdopen(writing, "wb") as pipe:
        pickle.dump((raised, value), pipe)
    os._exit(0)


class _Alarm:
    """Kills the child when it takes too long."""

    def __init__(self, child: int) -> None:
        self.child = child
        self.began = time.monotonic()
        self.fired = False

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGALRM, self._fire)
        signal.alarm(TIMEOUT_SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self.before)

    def _fire(self, *_: object) -> None:
        self.fired = True
        os.kill(self.child, signal.SIGKILL)
