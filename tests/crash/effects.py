"""Counts what a process does to the world, and right before the effect that was chosen kills it with -9, or fills its disk.

Nothing of the code under test is replaced: Python's own audit events tell of HTTP requests and file
operations, SQLAlchemy's events of commits. Between two effects a process changes nothing that outlives it, so that to be
killed before each effect in turn is to be killed anywhere.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

AFTER_SECONDS: Final = 0.002
"""How long a process lives on that is killed while its request is on the way."""

FILE_EVENTS: Final = {
    "os.rename": "rename",
    "os.remove": "remove",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
}


@dataclass
class Effects:
    """The effects of this process below `home` and on the org, in order; `kill_at` counts from 1, 0 is never.

    With `on_the_way` the process is killed shortly after the request is sent, while the org works on it. What was
    about to be done is noted in the file `told`, since a killed process tells nothing. From `full_at` on the system
    refuses every write to a file, as on a full disk, though with EFBIG: that needs no rights and no disk of its own.
    """

    home: Path
    told: Path
    kill_at: int = 0
    on_the_way: bool = False
    full_at: int = 0
    seen: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Begin to count. An audit hook cannot be taken out again: only for processes that end soon."""
        sys.addaudithook(self._audit)
        sa.event.listen(sa.engine.Engine, "commit", self._commit)

    def _commit(self, connection: sa.Connection) -> None:
        database = connection.engine.url.database or ""
        # Dagster's own events, in memory here, are no effects; a read ends by rolling back.
        if Path(database).is_relative_to(self.home):
            self._before(f"commit {Path(database).name}")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "http.client.send":
            self._request(*arguments)
        elif event in FILE_EVENTS:
            self._file(FILE_EVENTS[event], arguments[0])
        elif event == "open" and _writes(arguments[1], arguments[2]):
            self._file("write", arguments[0])

    def _request(self, connection: HTTPConnection, data: bytes) -> None:
        head = bytes(data[:200]).split(b"\r\n", 1)[0] if isinstance(data, bytes) else b""
        is_head = head.endswith(b" HTTP/1.1")
        self._before(f"send {head.decode() if is_head else 'body'} to port {connection.port}")

    def _file(self, word: str, path: object) -> None:
        if isinstance(path, str | os.PathLike) and Path(path).is_relative_to(self.home):
            relative = Path(path).relative_to(self.home)
            if relative.suffix not in (".db-wal", ".db-shm", ".db-journal"):
                self._before(f"{word} {relative}")

    def _before(self, effect: str) -> None:
        self.seen.append(effect)
        if len(self.seen) == self.full_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        if len(self.seen) != self.kill_at:
            return
        # By its number: to open a file here would be an effect as well.
        note = os.open(self.told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(note, f"{effect}\n".encode())
        os.close(note)
        if self.on_the_way and effect.startswith("send"):
            signal.signal(signal.SIGALRM, _die)
            signal.setitimer(signal.ITIMER_REAL, AFTER_SECONDS)
            return
        os.kill(os.getpid(), signal.SIGKILL)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _writes(mode: object, flags: object) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
