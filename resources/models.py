"""The markets' models: the company's own Python files, run in a process of their own (R23)."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from pipeline.core.configuration.market import Market
from pipeline.core.configuration.settings import MARKET_MEMORY_MB, MARKET_TIMEOUT_SECONDS
from pipeline.core.errors import ConfigurationError, ModelFailed
from resources import market_calls
from resources.market_calls import Answer, CallFailed, TimedOut

TRAINING_FOLDER: Final = "training"
LOAD_SECONDS_MAX: Final = 60
"""How long a model may take to load: a check loads all, one after another, within one lease."""


class RemoteModel:
    """A market's model, as the pipeline sees it: it scores elsewhere, and can do no harm here."""

    def __init__(
        self, market: Market, folder: Path, generation: str, limits: tuple[int, int]
    ) -> None:
        """Speak for the model of `market` in `folder`; `limits` are seconds a call and MiB."""
        file, function = market.model.split(":")
        self._seconds, self._memory_mb = limits
        self._where = f"market {market.name}: model: {market.model}"

        self._header: dict[str, Any] = {
            "market": market.name,
            "version": market.version,
            "folder": str(folder),
            "file": file,
            "function": function,
            "generation": generation,
            "outputs": list(market.outputs),
            "memory_mb": self._memory_mb,
        }

    def load(self) -> None:
        """Load the model; raise ConfigurationError where it cannot be loaded as it should."""
        seconds = min(self._seconds, LOAD_SECONDS_MAX)
        try:
            answer = self._call({"do": "load", "silent": False}, b"", seconds)
        except TimedOut as late:
            says = f"it was not loaded within {seconds} seconds{late}"
            raise ConfigurationError([f"{self._where}: {says}."]) from late
        except CallFailed as failed:
            raise ConfigurationError([f"{self._where}: while it loads, it {failed}."]) from failed

        self._require_loaded(answer)

    def score(self, inputs: pa.Table, *, silent: bool = False) -> pa.Table:
        """Score `inputs`; with `silent` what the model prints is dropped (R24).

        Raises:
            ModelFailed: it raised, took too long, ended its process, or gave no table. The message
                names no value.
            ConfigurationError: its file cannot be loaded any more.
        """
        try:
            answer = self._call({"do": "score", "silent": silent}, _stream(inputs), self._seconds)
        except TimedOut as late:
            raise ModelFailed(
                f"the model gave no answer within {self._seconds} seconds (market_timeout_seconds){late}"
            ) from late
        except CallFailed as failed:
            raise ModelFailed(f"the model {failed}") from failed

        self._require_loaded(answer)
        return self._table(answer)

    def _call(self, what: dict[str, Any], body: Any, seconds: int) -> Answer:
        return market_calls.call(self._header | what, body, seconds, ("not_loaded", "raised"))

    def _require_loaded(self, answer: Answer) -> None:
        if answer.header["result"] == "not_loaded":
            raise ConfigurationError([f"{self._where}: {answer.header['message']}"])

    def _table(self, answer: Answer) -> pa.Table:
        """Return the table of an answer, validated: a broken one could bring this process down."""
        header = answer.header
        if header["result"] == "raised":
            raise ModelFailed(self._describe_raised(header["type"], header["place"]))
        if header["result"] == "no_table":
            raise ModelFailed(_describe_no_table(header["type"]))

        try:
            table = pa.ipc.open_stream(pa.py_buffer(answer.body)).read_all()
            table.validate(full=True)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ModelFailed("the model gave a table that is broken inside") from error
        return table

    def _describe_raised(self, error: str, place: str) -> str:
        at = f" at {place}" if place else ""
        memory = f" (market_memory_mb: {self._memory_mb})" if error == "MemoryError" else ""
        return f"the model raised {error}{at}{memory}"


def _describe_no_table(given: str) -> str:
    remedy = (
        "; pyarrow.Table.from_pandas(frame, preserve_index=False) makes one"
        if given == "DataFrame"
        else ""
    )
    return f"the model gave a {given}, not a pyarrow table{remedy}"


def _stream(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


class Models:
    """The models of all markets, each loaded when first asked for; another instance loads anew."""

    def __init__(
        self,
        folder: Path,
        timeout_seconds: int = MARKET_TIMEOUT_SECONDS,
        memory_mb: int = MARKET_MEMORY_MB,
    ) -> None:
        """Look for `<market>/model.py` below `folder`; a call may take `timeout_seconds`."""
        self._folder = folder.resolve()
        self._limits = (timeout_seconds, memory_mb)
        self._generation = os.urandom(8).hex()
        self._loaded: dict[tuple[str, str], RemoteModel | ConfigurationError] = {}

    def warm(self) -> None:
        """Start the models' process, if none runs yet: it gets ready while the caller goes on."""
        market_calls.warm()

    def get(self, market: Market) -> RemoteModel:
        """Return the market's model.

        Raises ConfigurationError where its file cannot be loaded as it should. What cannot be
        loaded is not tried again by this instance.
        """
        key = (market.name, market.version)
        if key not in self._loaded:
            self._loaded[key] = self._load(market)

        found = self._loaded[key]
        if isinstance(found, ConfigurationError):
            raise ConfigurationError(found.problems)
        return found

    def files_digest(self, name: str) -> str:
        """Return a digest of the market's files; those of its training decide no score.

        A model must not write into its folder: the folder would never stand still.
        """
        folder, digest = self._folder / name, hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            below = path.relative_to(folder)
            is_hidden = any(part.startswith((".", "__pycache__")) for part in below.parts)
            if below.parts[0] == TRAINING_FOLDER or is_hidden or not path.is_file():
                continue

            # A file that goes while it is read is a change as well: the next look sees without it.
            with suppress(OSError):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{below.as_posix()} {content}\n".encode())
        return digest.hexdigest()

    def _load(self, market: Market) -> RemoteModel | ConfigurationError:
        folder = self._folder / market.name
        path = folder / market.model.split(":")[0]
        if not path.is_file():
            where = f"market {market.name}: model: {market.model}"
            return ConfigurationError([f"{where}: {path} does not exist."])

        model = RemoteModel(market, folder, self._generation, self._limits)
        try:
            model.load()
        except ConfigurationError as error:
            return error
        return model
