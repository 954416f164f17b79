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
from pipeline.core.errors import ConfigurationError, MarketUnavailable, ModelFailed
from resources import market_calls
from resources.market_calls import Answer, CallFailed, NotStarted, TimedOut

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

    def load(self, *, fully: bool = False) -> None:
        """Load the model; raise ConfigurationError where it cannot be loaded as it should.

        The process goes on to import what scoring needs while the caller reads records. With
        `fully` that is waited for.
        """
        seconds = min(self._seconds, LOAD_SECONDS_MAX)
        try:
            what = {"do": "load", "silent": False, "fully": fully}
            answer = self._call(what, b"", seconds)
        except TimedOut as late:
            says = f"it was not loaded within {seconds} seconds{late}"
            raise ConfigurationError([f"{self._where}: {says}."]) from late
        except CallFailed as failed:
            raise ConfigurationError([f"{self._where}: while it loads, it {failed}."]) from failed

        self._require_loaded(answer)

    @property
    def seconds(self) -> float:
        """Return how long one call may take: `market_timeout_seconds`."""
        return self._seconds

    def score(
        self,
        inputs: pa.Table,
        *,
        silent: bool = False,
        seconds: float | None = None,
        in_search: bool = False,
    ) -> pa.Table:
        """Score `inputs` within `seconds`; with `silent` what the model prints is dropped (R24).

        A call `in_search` of the rows that the model fails on follows one that failed in a new
        process: it is not repeated in another, and the time that the model takes to load is no part
        of its time.

        Raises:
            ModelFailed: it raised, took too long, ended its process, or gave no table with as many
                rows. The message names no value.
            MarketUnavailable: its process does not start, or its file cannot be loaded any more.
        """
        limit = self._seconds if seconds is None else seconds
        if in_search:
            self._load_again()

        answer = self._score(inputs, limit, silent=silent, in_search=in_search)
        self._require_loaded_still(answer)

        scored = self._table(answer)
        if scored.num_rows != inputs.num_rows:
            raise ModelFailed(
                f"the model gave {scored.num_rows} rows for {inputs.num_rows} records"
            )
        return scored

    def _load_again(self) -> None:
        try:
            self.load(fully=True)
        except ConfigurationError as error:
            raise MarketUnavailable(str(error)) from error

    def _score(self, inputs: pa.Table, seconds: float, *, silent: bool, in_search: bool) -> Answer:
        # In a search the process of a model that raised serves on: it has served no other market.
        fails = ("not_loaded",) if in_search else ("not_loaded", "raised")
        what = {"do": "score", "silent": silent}
        try:
            return self._call(what, _stream(inputs), seconds, fails, once=in_search)
        except NotStarted as failed:
            raise MarketUnavailable(f"the model {failed}") from failed
        except TimedOut as late:
            limit = "market_timeout_seconds"
            limit = limit if seconds >= self._seconds else f"its share of {limit}"
            raise ModelFailed(
                f"the model gave no answer within {seconds:.0f} seconds ({limit}){late}",
                is_slow=True,
            ) from late
        except CallFailed as failed:
            raise ModelFailed(f"the model {failed}") from failed

    def _call(
        self,
        what: dict[str, Any],
        body: Any,
        seconds: float,
        fails: tuple[str, ...] = ("not_loaded",),
        *,
        once: bool = False,
    ) -> Answer:
        return market_calls.call(self._header | what, body, seconds, fails, once=once)

    def _require_loaded(self, answer: Answer) -> None:
        if answer.header["result"] == "not_loaded":
            raise ConfigurationError([f"{self._where}: {answer.header['message']}"])

    def _require_loaded_still(self, answer: Answer) -> None:
        if answer.header["result"] == "not_loaded":
            raise MarketUnavailable(f"{self._where}: {answer.header['message']}")

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
