"""Calls to markets' models in a process of their own (`market_process`): started, timed, ended.

One process is kept warm and serves all markets of this process, one call after another. A market
is judged by what it does in a new process only. Where a call fails in one that has served before,
it is made once more in a new one: no market suffers from what another has left behind.
"""

from __future__ import annotations

import atexit
import codecs
import fcntl
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.core.printable import printable
from resources.market_process import FRAME, MAGIC, WHERE_SIGNAL

OUTPUT_BYTES_MAX: Final = 1024 * 1024
"""How much of what a model prints in one call is passed on; the rest is dropped."""

_TAIL_BYTES: Final = 64 * 1024
_PIPE_BYTES: Final = 1024 * 1024
_READ_BYTES: Final = 1024 * 1024
_POLL_SECONDS: Final = 0.25
"""How often a silent process is checked: its end goes unseen while a child holds the pipes."""

_START_SECONDS: Final = 60.0
_STACK_SECONDS: Final = 0.5
_END_SECONDS: Final = 5.0
_HEADER_BYTES_MAX: Final = 1024 * 1024

HANDED_ON: Final = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "TMPDIR",
        "TZ",
        "VIRTUAL_ENV",
    }
)
HANDED_ON_PREFIXES: Final = ("LC_", "MARKET_", "PYTHON")
"""The only variables that the process is given: what programs need to start, and `MARKET_…`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gave: the header, and the Arrow IPC stream of the table where there is one."""

    header: Mapping[str, Any]
    body: bytearray


class CallFailed(Exception):
    """A call gave no answer; the message says why, in words that go on from "the model"."""


class TimedOut(CallFailed):
    """A call took longer than it may."""


class NotStarted(CallFailed):
    """The process did not come up: no model was asked."""


class _Process:
    """One running process, and what it has served."""

    def __init__(self) -> None:
        """Start it; it gets ready while the caller goes on."""
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in HANDED_ON or name.startswith(HANDED_ON_PREFIXES)
        }

        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "resources.market_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=kept | {"PYTHONPATH": path},
        )

        self.has_served, self._is_ready = False, False
        self._requests, self._answers, self._output = (
            stream.fileno() if stream else -1
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        for descriptor in (self._requests, self._answers, self._output):
            os.set_blocking(descriptor, False)
            _widen(descriptor)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def call(self, header: Mapping[str, Any], body: Any, seconds: float) -> Answer:
        """Send one frame and return the answer within `seconds`, its own start not counted.

        Raises CallFailed, after which the process is of no more use.
        """
        if not self._is_ready:
            self._wait_until_ready()
        self.has_served = True

        header_bytes = json.dumps({**header, "seconds": seconds}).encode()
        start = FRAME.pack(MAGIC, len(header_bytes), len(body))
        parts = (start, header_bytes, body)
        unsent = deque(memoryview(part).cast("B") for part in parts if len(part))
        return self._exchange(unsent, time.monotonic() + seconds, Path(header["folder"]))

    def _wait_until_ready(self) -> None:
        try:
            self._exchange(deque(), time.monotonic() + _START_SECONDS, Path())
        except CallFailed as failed:
            raise NotStarted(f"was not asked: its process did not start ({failed})") from failed
        self._is_ready = True

    def _exchange(self, unsent: deque[memoryview], deadline: float, folder: Path) -> Answer:
        """Send what is unsent and return the frame that comes.

        All three pipes are served at once: waiting at one while another is full never ends.
        """
        output, answer = _PrintedOutput(), _IncomingAnswer()
        with selectors.DefaultSelector() as selector:
            if unsent:
                selector.register(self._requests, selectors.EVENT_WRITE)
            selector.register(self._answers, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)

            while not answer.is_whole:
                remaining_seconds = deadline - time.monotonic()
                if remaining_seconds <= 0:
                    self._ask_where(output)
                    raise TimedOut(_at(output, folder))
                wait_seconds = min(remaining_seconds, _POLL_SECONDS)
                ready = {key.fd for key, _ in selector.select(wait_seconds)}

                if self._requests in ready and not self._write(unsent):
                    selector.unregister(self._requests)
                if self._output in ready and not self._pass_on(output):
                    selector.unregister(self._output)
                closed = self._answers in ready and not answer.take(self._answers)
                if closed or (not ready and not self.is_alive):
                    self._pass_on(output)
                    raise CallFailed(self._describe_end() + _at(output, folder))

        self._pass_on(output)
        return answer.answer()

    def _write(self, unsent: deque[memoryview]) -> bool:
        """Write what the pipe takes; return whether there is more to write."""
        try:
            while unsent:
                count = os.write(self._requests, unsent[0])
                unsent[0] = unsent[0][count:]
                if not unsent[0]:
                    unsent.popleft()
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return False

    def _pass_on(self, output: _PrintedOutput) -> bool:
        """Pass on what was printed so far; return whether more can come."""
        try:
            while data := os.read(self._output, _READ_BYTES):
                output.add(data)
        except BlockingIOError:
            return True
        return False

    def _ask_where(self, output: _PrintedOutput) -> None:
        """Have the stack printed, even while the model keeps the interpreter to itself."""
        with suppress(ProcessLookupError):
            self._process.send_signal(WHERE_SIGNAL)
        until = time.monotonic() + _STACK_SECONDS
        while time.monotonic() < until and self._pass_on(output) and not output.has_stack:
            time.sleep(0.01)
        time.sleep(0.02)  # the rest of a stack whose first line is there
        self._pass_on(output)

    def _describe_end(self) -> str:
        """Say how the process ended; one that closed its end only is ended."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "broke the way that its answer takes"

        if code >= 0:
            return f"ended its process with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        memory = ": most likely the machine had no memory left" if name == "SIGKILL" else ""
        return f"ended its process by signal {name}{memory}"

    def end(self) -> None:
        """End the process and what it started, whatever it does, and leave no zombie."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:
                stream.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)


class _PrintedOutput:
    """What a model prints in one call: passed on to our own standard error, within bounds."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._remaining = OUTPUT_BYTES_MAX
        self._tail = b""

    def add(self, data: bytes) -> None:
        """Pass `data` on, as far as the bounds go; keep its end to find a stack in."""
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        kept, self._remaining = data[: self._remaining], max(0, self._remaining - len(data))
        if kept and sys.stderr is not None:
            sys.stderr.write(printable(self._decoder.decode(kept)))
            if not self._remaining:
                sys.stderr.write("\n(the model prints more, which is dropped)\n")
            sys.stderr.flush()

    @property
    def has_stack(self) -> bool:
        return b"  File " in self._tail

    def place_in(self, folder: Path) -> str:
        """Return file and line of the innermost frame below `folder`, of the last printed stack."""
        for path, line in re.findall(rb'^  File "(.+)", line (\d+) in ', self._tail, re.MULTILINE):
            found = Path(os.fsdecode(path))
            if found.is_relative_to(folder) and found.is_file():
                return f"{found.relative_to(folder)}:{int(line)}"
        return ""


def _at(output: _PrintedOutput, folder: Path) -> str:
    place = output.place_in(folder)
    return f", at {place}" if place else ""


class _IncomingAnswer:
    """An answer while it comes in."""

    def __init__(self) -> None:
        """Wait for the first bytes."""
        self._parts = [bytearray(FRAME.size)]
        self._filled = 0

    @property
    def is_whole(self) -> bool:
        return len(self._parts) == len(("start", "header", "body")) and self._filled == len(
            self._parts[-1]
        )

    def take(self, descriptor: int) -> bool:
        """Read what there is; return False where the other side has closed or talks nonsense."""
        try:
            while not self.is_whole:
                view = memoryview(self._parts[-1])[self._filled :]

                if len(view):
                    count = os.readv(descriptor, [view])
                    if count == 0:
                        return False
                    self._filled += count

                if self._filled == len(self._parts[-1]) and not self._begin_next():
                    return False
        except BlockingIOError:
            return True
        return True

    def _begin_next(self) -> bool:
        """Make room for the part behind one that is whole; return False where the start is none."""
        if self.is_whole:
            return True
        magic, header_length, body_length = FRAME.unpack(self._parts[0])
        if magic != MAGIC or header_length > _HEADER_BYTES_MAX:
            return False
        self._parts.append(bytearray(header_length if len(self._parts) == 1 else body_length))
        self._filled = 0
        return True

    def answer(self) -> Answer:
        """Return the answer once it is whole."""
        return Answer(json.loads(self._parts[1]), self._parts[2])


def _widen(descriptor: int) -> None:
    """Make a pipe hold more than its 64 KiB, where the system can."""
    size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if size is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, size, _PIPE_BYTES)


class _Idle:
    """The warm process between calls. Threads that call at once have one each; one is kept."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._waiting: list[_Process] = []

    def take(self, *, new: bool = False) -> _Process:
        """Return the warm process, or start one."""
        with self._lock:
            found = None if new or not self._waiting else self._waiting.pop()
        if found is not None and not found.is_alive:
            found.end()
            found = None
        return found or _Process()

    def give_back(self, process: _Process) -> None:
        """Keep `process` for the next call; end it where one is kept already."""
        with self._lock:
            kept = not self._waiting
            if kept:
                self._waiting.append(process)
        if not kept:
            process.end()

    def end(self) -> None:
        """End what is kept."""
        with self._lock:
            ended, self._waiting = self._waiting, []
        for process in ended:
            process.end()

    def forget(self) -> None:
        """Leave the process to this one's parent, after a fork."""
        self._lock = threading.Lock()
        self._waiting = []


_idle: Final = _Idle()
atexit.register(_idle.end)
os.register_at_fork(after_in_child=_idle.forget)


def warm() -> None:
    """Start the process if there is none, so that it gets ready meanwhile."""
    _idle.give_back(_idle.take())


def end() -> None:
    """End the process that is kept, if there is one."""
    _idle.end()


def call(
    header: Mapping[str, Any],
    body: Any,
    seconds: float,
    fails: Sequence[str],
    *,
    once: bool = False,
) -> Answer:
    """Make one call within `seconds`; answers whose `result` is in `fails` are failures as well.

    With `once` it is not repeated in a new process: the market was judged in one before.

    Raises TimedOut, NotStarted, or CallFailed where the process ended; all say so, and where the
    model was.
    """
    began = time.monotonic()
    process = _take()
    again = process.has_served and not once
    outcome = _try_call(process, header, body, seconds, fails)

    remaining_seconds = began + seconds - time.monotonic()
    is_late = isinstance(outcome, TimedOut) or remaining_seconds <= 0
    if again and _is_failure(outcome, fails) and not is_late:
        second = _try_call(_take(new=True), header, body, remaining_seconds, fails)
        # The second had less time than the market is promised: being late it proves nothing.
        outcome = outcome if isinstance(second, TimedOut) else second

    if isinstance(outcome, CallFailed):
        raise outcome
    return outcome


def _take(*, new: bool = False) -> _Process:
    try:
        return _idle.take(new=new)
    except OSError as error:
        raise NotStarted(f"was not asked: its process did not start ({error.strerror})") from error


def _is_failure(outcome: Answer | CallFailed, fails: Sequence[str]) -> bool:
    return isinstance(outcome, CallFailed) or outcome.header["result"] in fails


def _try_call(
    process: _Process,
    header: Mapping[str, Any],
    body: Any,
    seconds: float,
    fails: Sequence[str],
) -> Answer | CallFailed:
    """Make one call and return its answer or failure.

    A process that failed, or was interrupted by Ctrl-C, is ended: the next call gets a new one.
    """
    outcome: Answer | CallFailed | None = None

    try:
        outcome = process.call(header, body, seconds)
    except CallFailed as failed:
        outcome = failed
    finally:
        if outcome is None or _is_failure(outcome, fails):
            process.end()
        else:
            _idle.give_back(process)
    return outcome
