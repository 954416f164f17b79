"""The process that loads and runs markets' models: `python -P -m resources.market_process`.

A model is foreign code. What it does to its process (crash, hang, memory, exit, output) it does to
this one. `resources.models` starts it, ends it when a call takes too long, and starts another one.

On standard input and output go frames: a JSON header, and behind it a table as an Arrow IPC stream
where there is one. On standard error goes what the models print. The model sees neither: while it
works, its standard input is empty, and its output goes to standard error, or nowhere if the header
says `silent` (R24).

Beside the standard library its start needs pyarrow alone: it is part of a run's time.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import importlib.util
import json
import os
import resource
import select
import signal
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

MAGIC: Final = 0x5049_4D50
FRAME: Final = struct.Struct("<IIQ")
"""Magic number, length of the header in bytes, length of the body in bytes."""

WHERE_SIGNAL: Final = signal.SIGUSR2
"""Asks where the model is: its stack goes to standard error, files and lines, even of C code."""

ORPHAN_GRACE_SECONDS: Final = 10
"""How long after its time-out a call that nobody ended ends by itself: its parent may be gone."""

_OOM_SCORE: Final = "1000"
"""Where memory runs out, the kernel ends this process first, and not the run."""


class CannotBeLoaded(Exception):
    """The market's file gives no model; the message says why, for people to read."""


class _Output:
    """Where what the process prints goes: aside, or nowhere."""

    def __init__(self, aside: int) -> None:
        """Keep `aside`, the descriptor for what may be seen, and drop everything for now."""
        self._aside = aside
        self._nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(self._nowhere, 0)
        self._point_to(self._nowhere)

    def _point_to(self, descriptor: int) -> None:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)

    @contextlib.contextmanager
    def let_through(self, *, silent: bool) -> Iterator[None]:
        """Pass on what is printed, unless `silent`; nothing is left over for the next call."""
        if not silent:
            self._point_to(self._aside)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):  # the model may have closed or replaced it
                    stream.flush()
            ctypes.CDLL(None).fflush(None)  # what libraries in C have printed
            self._point_to(self._nowhere)


class _Loaded:
    """The models of one generation, by name and version: a new generation loads everything anew."""

    def __init__(self) -> None:
        """Begin with none."""
        self._generation = ""
        self._models: dict[tuple[str, str], Any] = {}

    def get(self, header: Mapping[str, Any]) -> Any:
        """Return the model that `header` names; raise CannotBeLoaded where its file gives none."""
        if header["generation"] != self._generation:
            self._models.clear()
            self._generation = header["generation"]
        key = (header["market"], header["version"])
        if key not in self._models:
            folder = Path(header["folder"])
            self._models[key] = load(header["market"], folder, header["file"], header["function"])
        return self._models[key]


def load(market: str, folder: Path, file: str, function: str) -> Any:
    """Return what `function` of the market's `file` returns; raise CannotBeLoaded if no model."""
    path = folder / file
    name = f"insights_market_{market}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CannotBeLoaded(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    # As an import does: dataclasses, for one, look their module up by its name while it runs.
    sys.modules[name] = module

    try:
        spec.loader.exec_module(module)
        found = getattr(module, function, None)
        model = found(folder) if callable(found) else None
    except BaseException as error:  # foreign code: whatever it raises is the market's fault
        raise CannotBeLoaded(f"{type(error).__name__}: {error}.") from error

    if not callable(found):
        raise CannotBeLoaded(f"{path} has no function {function!r}.")
    if model is None or not callable(getattr(model, "score", None)):
        raise CannotBeLoaded(f"{function}() returned nothing with score().")
    return model


def place_of(error: BaseException, folder: Path) -> str:
    """Return file and line of the model's own frame that raised; "" where none of its files did."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(folder):
            place = f"{path.relative_to(folder)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _answer(
    loaded: _Loaded, header: Mapping[str, Any], body: bytearray
) -> tuple[dict[str, Any], Any]:
    """Do what a frame asks; return header and body of the answer."""
    folder = Path(header["folder"])
    try:
        model = loaded.get(header)
    except CannotBeLoaded as error:
        return {"result": "not_loaded", "message": str(error)}, b""
    if header["do"] == "load":
        return {"result": "loaded"}, b""

    try:
        scored = model.score(pa.ipc.open_stream(pa.py_buffer(body)).read_all())
        if not isinstance(scored, pa.Table):
            return {"result": "no_table", "type": type(scored).__name__}, b""
        return {"result": "scored"}, _stream(_declared_columns(scored, header["outputs"]))
    except BaseException as error:  # noqa: BLE001  foreign code: whatever it raises stops that market alone
        place = place_of(error, folder)
        return {"result": "raised", "type": type(error).__name__, "place": place}, b""


def _declared_columns(scored: pa.Table, outputs: list[str]) -> pa.Table:
    """Return the columns that the market declares: what else there is, is not asked for.

    A table without columns has no rows either: where none is left, a nameless one keeps the count.
    """
    kept = [at for at, name in enumerate(scored.column_names) if name in outputs]
    return scored.select(kept) if kept else pa.table({"": pa.nulls(scored.num_rows)})


def _stream(table: pa.Table) -> Any:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _receive(requests: Any) -> tuple[dict[str, Any], bytearray] | None:
    """Return the next frame; None where the other side has closed."""
    start = _read(requests, FRAME.size)
    if start is None:
        return None
    _, header_length, body_length = FRAME.unpack(start)
    header, body = _read(requests, header_length), _read(requests, body_length)
    return None if header is None or body is None else (json.loads(header), body)


def _read(requests: Any, length: int) -> bytearray | None:
    data = bytearray(length)
    view, done = memoryview(data), 0
    while done < length:
        got = requests.readinto(view[done:])
        if not got:
            return None
        done += got
    return data


def _send(answers: int, header: Mapping[str, Any], body: Any) -> None:
    header_bytes = json.dumps(header).encode()
    for part in (FRAME.pack(MAGIC, len(header_bytes), len(body)), header_bytes, body):
        rest = memoryview(part).cast("B") if len(part) else memoryview(b"")
        while rest:
            rest = rest[os.write(answers, rest) :]


def _limit_memory(megabytes: int) -> None:
    """Let the process have so much memory of its own: past it a model gets a MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with contextlib.suppress(ValueError, OSError):  # a lower limit holds already
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 1024 * 1024, hard))


def _offer_to_the_oom_killer() -> None:
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def _end_with_parent(requests: int) -> None:
    """End this process, and what a model started, once the other side is gone."""

    def watch() -> None:
        gone = select.poll()
        gone.register(requests, 0)
        gone.poll()
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _import_ahead() -> None:
    """Import what `pyarrow.array` will need (0.4 s), while the caller reads the records."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pandas")


def main() -> None:
    """Say that it is ready, and answer frames until the other side closes."""
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers, aside = os.dup(1), os.dup(2)
    output, loaded = _Output(aside), _Loaded()

    _offer_to_the_oom_killer()
    faulthandler.enable(aside)
    faulthandler.register(WHERE_SIGNAL, file=aside, all_threads=True)
    _end_with_parent(requests.fileno())
    _send(answers, {"result": "ready"}, b"")

    while (frame := _receive(requests)) is not None:
        header, body = frame
        _limit_memory(header["memory_mb"])
        faulthandler.dump_traceback_later(
            header["seconds"] + ORPHAN_GRACE_SECONDS, exit=True, file=aside
        )
        with output.let_through(silent=header["silent"]):
            answer, table = _answer(loaded, header, body)

        faulthandler.cancel_dump_traceback_later()
        del frame, body  # frees the records' memory while the answer is sent
        if header["do"] == "load" and header["fully"]:
            _import_ahead()
        _send(answers, answer, table)
        if header["do"] == "load":
            _import_ahead()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
