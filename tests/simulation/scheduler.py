"""Several processes that take turns by seed: a switch or a kill may come at every effect, and nowhere else.

Each process is a thread, of which one at a time runs. None is switched away from while it is inside a transaction:
there is no effect inside one.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.points import Killed


@dataclass
class Process:
    """One process: a run, a tick, a command. `serial` orders what has happened in the simulation."""

    name: str
    body: Callable[[Process], None]
    serial: int
    facts: dict[str, Any] = field(default_factory=dict)
    started: bool = False
    finished: bool = False
    killed: bool = False
    step: str = ""
    error: BaseException | None = None
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None


class Scheduler:
    """Hands the turn around. The next process that comes past one of the points `deadly` is killed there."""

    def __init__(
        self,
        chance: random.Random,
        *,
        switching: float,
        killing: float,
        on_kill: Callable[[Process, str], None],
    ) -> None:
        """Switch with probability `switching` at each point, and kill with `killing`."""
        self.chance = chance
        self.deadly: set[str] = set()
        self.switching = switching
        self.killing = killing
        self.on_kill = on_kill
        self.quiet = True
        self.current: Process | None = None
        self.alive: list[Process] = []
        self.met: Counter[str] = Counter()
        self.killed_at: Counter[str] = Counter()
        self._back = threading.Semaphore(0)

    def spawn(self, process: Process) -> Process:
        """Let a process take part; it does nothing before its first turn."""
        self.alive.append(process)
        return process

    def turn(self, process: Process) -> None:
        """Let the process go on until it gives the turn back or ends."""
        self.current = process
        if process.started:
            process.go.release()
        else:
            process.started = True
            process.thread = threading.Thread(target=self._live, args=(process,), daemon=True)
            process.thread.start()
        self._back.acquire()
        self.current = None
        if process.finished and process.thread is not None:
            process.thread.join()
            self.alive.remove(process)

    def run(self, process: Process) -> None:
        """Let the process do all its work in one turn."""
        self.current = process
        try:
            process.body(process)
        except Killed:
            process.killed = True
        finally:
            process.finished = True
            self.current = None

    def _live(self, process: Process) -> None:
        try:
            process.body(process)
        except Killed:
            process.killed = True
        except BaseException as error:  # noqa: BLE001  shown to whoever looks at the process
            process.error = error
        finally:
            process.finished = True
            self._back.release()

    def kill(self, process: Process) -> None:
        """Kill a process wherever it is: it does nothing more."""
        process.killed = True
        if not process.started:
            self.alive.remove(process)
            return
        while not process.finished:
            self.turn(process)

    def point(self, name: str) -> None:
        """Come past an effect: be killed, give the turn away, or go on."""
        process = self.current
        if process is None:
            return
        if process.killed:
            raise Killed
        self.met[name] += 1
        if self.quiet:
            return
        if name in self.deadly or self.chance.random() < self.killing:
            self.die(process, name)
        if process.thread is not None and self.chance.random() < self.switching:
            self._back.release()
            process.go.acquire()
            if process.killed:
                raise Killed

    def die(self, process: Process, name: str) -> None:
        """Kill the process at this point."""
        process.killed = True
        self.deadly.discard(name)
        self.killed_at[name] += 1
        self.on_kill(process, name)
        raise Killed

    @contextmanager
    def effect(self, name: str) -> Iterator[None]:
        """Have an effect of the current process between two points."""
        self.point(f"before {name}")
        yield
        self.point(f"after {name}")
