"""The real clients with a point before and after every effect: what a run is given in the simulation."""

from __future__ import annotations

import csv
import errno
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urlsplit

import pyarrow as pa
import requests
import sqlalchemy as sa

import assets.clients_resource
import resources.lake
import resources.ledger.ledger
from assets.clients_resource import ClientsResource
from local_org.launch import CLIENT_ID
from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD
from pipeline.core.configuration.market import Market
from pipeline.core.errors import ModelFailed
from pipeline.core.scoring.results import UPDATE
from pipeline.steps.clients import Clients
from resources.lake import Lake, _Parts
from resources.ledger.database import Database
from resources.ledger.leases import Lease
from resources.ledger.ledger import Ledger
from resources.salesforce.calls import ApiCall, PollPolicy, RetryPolicy
from resources.salesforce.client import Salesforce
from resources.salesforce.connection import ClientCredentials
from resources.salesforce.session import Session
from resources.salesforce.transport import OrgAdapter, OrgClock
from tests.simulation.points import Killed
from tests.simulation.world import RAISES

if TYPE_CHECKING:
    from tests.simulation.schedule import Schedule

STAMP_COLUMN = UPDATE + DATETIME_FIELD
REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED)
HALF = "half of "
"""Begins the version of files that are half copied."""

_ENGINES: dict[str, sa.Engine] = {}
_NOW: list[Schedule] = []
"""The schedule that runs, for the clients that the pipeline makes itself."""


def running() -> Schedule:
    """Return the schedule that runs in this process."""
    return _NOW[-1]


# -- the ledger ------------------------------------------------------------------------------------


class PointedDatabase(Database):
    """The ledger's database with a point before and after each transaction that writes."""

    def _engine(self) -> sa.Engine:
        """Share one engine for each address: a new one would compile every statement anew."""
        if self.url not in _ENGINES:
            engine = super()._engine()
            if self.is_sqlite:
                # What a killed process has written outlives it without a sync of the disk.
                sa.event.listen(engine, "connect", _without_sync)
            _ENGINES[self.url] = engine
        return _ENGINES[self.url]

    def migrate(self) -> None:
        """Do nothing: the stage has made the tables."""

    @contextmanager
    def begin(self, lease: Lease | None = None) -> Iterator[sa.Connection]:
        """Run one write transaction between two points named after who opens it."""
        effect = f"ledger {sys._getframe(2).f_code.co_qualname}"
        schedule = running()
        with schedule.scheduler.effect(effect), super().begin(lease) as connection:
            if self.is_sqlite:
                schedule.bound_pages(connection)
            yield connection


def _without_sync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def let_go_of(url: str) -> None:
    """Close all connections to a database, so that its file can be replaced."""
    for known, engine in _ENGINES.items():
        if known == url:
            engine.dispose()


# -- the lake --------------------------------------------------------------------------------------


class PointedParts(_Parts):
    """Writes a file between two points; it may be killed half-way, or find the disk full."""

    def add(self, table: pa.Table) -> None:
        """Write one part."""
        schedule = running()
        if STAMP_COLUMN in table.column_names:
            schedule.note_scored(table)
        if schedule.disk_full:
            with self._lake.explain_write_errors():
                raise OSError(errno.ENOSPC, "No space left on device")
        super().add(table)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Put the file in its place where all went well."""
        if kind is not None or self._file is None:
            self._left(kind, *rest)
            return
        scheduler, effect = running().scheduler, self._effect()
        try:
            scheduler.point(f"before {effect}")
            scheduler.point(f"during {effect}")
        except Killed:
            self._left(Killed)
            raise
        super().__exit__(None)
        scheduler.point(f"after {effect}")

    def _left(self, kind: type[BaseException] | None, *rest: object) -> None:
        """End without the file. A process that is killed cleans nothing up: what it had half written stays."""
        super().__exit__(kind, *rest)
        if kind is Killed and self._file is not None:
            self._temporary.write_bytes(b"PAR1 half")

    def _effect(self) -> str:
        folder = self._path.relative_to(self._lake.root).parts[0]
        clients = folder == "_work"
        return (
            f"lake write_working_file {_kind(self._path.name)}"
            if clients
            else f"lake write {folder}"
        )


class PointedLake(Lake):
    """The lake with points around each delete and note; `PointedParts` are around the writes."""

    def __init__(self, root: Path, schedule: Schedule) -> None:
        """Keep files below `root`."""
        super().__init__(root)
        self._schedule = schedule

    def delete_working_file(self, name: str) -> None:
        """Delete a working file."""
        with self._schedule.scheduler.effect(f"lake delete_working_file {_kind(name)}"):
            super().delete_working_file(name)

    def delete_working_files_of(self, name: str, **more: Any) -> None:
        """Delete an object's working files."""
        with self._schedule.scheduler.effect("lake delete_working_files_of"):
            super().delete_working_files_of(name, **more)

    def note_job(self, name: str, job_id: str) -> None:
        """Note a push job."""
        with self._schedule.scheduler.effect("lake note_job"):
            super().note_job(name, job_id)

    def forget_job(self, name: str, job_id: str) -> None:
        """Take the note of a push job away."""
        with self._schedule.scheduler.effect("lake forget_job"):
            super().forget_job(name, job_id)


def _kind(name: str) -> str:
    return "pulled" if name.startswith("pulled-") else "segment"


# -- the org ---------------------------------------------------------------------------------------


class SteppedClock(OrgClock):
    """The org's clock as it was heard last, carried on by the simulation's time instead of this machine's."""

    def __init__(self, schedule: Schedule) -> None:
        """Follow the schedule's time."""
        super().__init__()
        self._schedule = schedule
        self._at: datetime | None = None

    def read(self, headers: Mapping[str, str]) -> None:
        """Take the time out of an answer's headers."""
        super().read(headers)
        self._at = self._schedule.now()

    def now(self) -> datetime | None:
        """Return the org's time, or None where no answer has told it yet."""
        if self._org_time is None or self._at is None:
            return None
        return self._org_time + (self._schedule.now() - self._at)


class PointedAdapter(OrgAdapter):
    """Sends requests between two points, and notes what was uploaded."""

    schedule: Schedule

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """Send one request."""
        schedule = self.schedule
        path = urlsplit(str(request.url)).path
        kind = ApiCall.of(method=request.method or "GET", path=path).kind
        with schedule.scheduler.effect(f"org {request.method} {kind}"):
            schedule.note_call(f"{request.method} {kind}")
            schedule.let_call_take_long()
            body: Any = request.body
            if _is_unanswered(schedule, path, body):
                raise requests.ReadTimeout("Read timed out.", request=request)

            data = body.getvalue() if isinstance(body, io.BytesIO) else None
            response = super().send(request, **kwargs)
            if kind == "sign-in" and response.status_code in REFUSED:
                schedule.note_refused()
            if kind == "upload" and data is not None and response.ok:
                schedule.note_upload(path.split("/")[-2], _uploaded(data))
            if kind == "job" and request.method == "PATCH" and response.ok:
                schedule.let_jobs_run()
        return response


def _is_unanswered(schedule: Schedule, path: str, body: Any) -> bool:
    """Say whether a tick asks what changed of an object that the org is slow with."""
    process, slow = schedule.scheduler.current, schedule.conditions.unanswered
    if not slow or process is None or "run" in process.facts:
        return False
    return path.endswith("/composite") and f"FROM {slow} " in unquote_plus(str(body))


def _uploaded(data: bytes) -> list[tuple[str, str, str]]:
    """Return ids, stamps and hashes of an upload's rows."""
    rows = csv.DictReader(io.StringIO(data.decode()))
    return [(row["Id"], row[DATETIME_FIELD], row[HASH_FIELD]) for row in rows]


@dataclass
class SimSalesforce:
    """Opens clients of the local org; stands for `resources.configurable.SalesforceResource`."""

    schedule: Schedule

    def open(
        self,
        on_call: Any,
        on_usage: Any,
        on_sign_in: Any = lambda _: None,
        *,
        is_tick: bool = False,
        **more: Any,
    ) -> Salesforce:
        """Return a client whose waits take no time of this machine."""
        schedule = self.schedule
        client = Salesforce(
            ClientCredentials(schedule.stage.org.base_url, CLIENT_ID, schedule.conditions.secret),
            on_call=on_call,
            on_usage=on_usage,
            on_sign_in=on_sign_in,
            sign_ins=schedule.sign_ins if is_tick else None,
            retry=RetryPolicy().without_waiting(),
            poll=PollPolicy(first_seconds=1.0, growth=3.0, longest_seconds=120.0),
            sleep=schedule.sleep,
            rows_per_page=schedule.rows_per_page,
            **more,
        )
        session: Session = client._session
        adapter = session._http.adapters["https://"]
        assert isinstance(adapter, OrgAdapter)
        adapter.__class__ = PointedAdapter
        adapter.schedule = schedule  # type: ignore[attr-defined]
        adapter._clock = session.clock = SteppedClock(schedule)
        return client


# -- the models ------------------------------------------------------------------------------------


@dataclass
class VersionedLetters:
    """The letters market, whose version shows in what it gives."""

    schedule: Schedule
    market: Market

    def load(self) -> None:
        """Load nothing: it is there."""

    @property
    def seconds(self) -> float:
        """Return how long a call may take; none takes any time here."""
        return 1.0

    def score(self, inputs: pa.Table, **_: Any) -> pa.Table:
        """Score as `expected` says; raise on a marked row, and while the market fails as a whole."""
        raises = RAISES in inputs.column("title").to_pylist()
        if raises or self.market.name in self.schedule.markets_down:
            raise ModelFailed("the model raised RuntimeError at model.py:30")
        if self.market.version.startswith(HALF):
            self.schedule.note_half_copied(inputs.num_rows)
        if self.market.name == self.schedule.conditions.dead_inputs:
            inputs = inputs.set_column(
                inputs.column_names.index("title"), "title", pa.array(["dead"] * inputs.num_rows)
            )
        return expected(self.schedule, inputs, self.market.version)


def expected(schedule: Schedule, inputs: pa.Table, version: str) -> pa.Table:
    """Return the letters market's outputs of company and title, by its own rule."""
    companies = inputs.column("company").to_pylist()
    marked = pa.array([f"{company or ''}{version}" for company in companies], pa.string())
    at = inputs.column_names.index("company")
    letters: pa.Table = schedule.stage.letters.score(inputs.set_column(at, "company", marked))
    return letters


@dataclass
class SimModels:
    """The markets' models; stands for `resources.models.Models`."""

    schedule: Schedule

    def warm(self) -> None:
        """Start nothing."""

    def files_digest(self, name: str) -> str:
        """Return what tells the market's files: here all is in its version."""
        return name

    def get(self, market: Market) -> VersionedLetters:
        """Return the market's model."""
        return VersionedLetters(self.schedule, market)


# -- a run's clients -------------------------------------------------------------------------------


@dataclass
class _Opens:
    """An opener of one kind of client."""

    open: Any


class SimResource:
    """Gives a run its clients as `assets.clients_resource.ClientsResource` does, by its own code."""

    _open_clients: Any = ClientsResource._open_clients
    get: Any = ClientsResource.get
    close: Any = ClientsResource.close

    def __init__(self, schedule: Schedule, folder: str) -> None:
        """Open clients for one process of `schedule`, by the configuration in `folder`."""
        self.config_folder = folder
        self.home = schedule.stage.folder
        self.clock = schedule
        self.salesforce = SimSalesforce(schedule)
        self.ledger = _Opens(lambda: Ledger(schedule.stage.url))
        self.lake = _Opens(lambda: PointedLake(schedule.lake, schedule))
        self.models = _Opens(lambda *_, **__: SimModels(schedule))
        self._open: dict[str, Clients] = {}

    @property
    def opened(self) -> list[Clients]:
        """The clients that the process works with now."""
        return list(self._open.values())


@contextmanager
def pointed(schedule: Schedule) -> Iterator[None]:
    """Let the pipeline's code make the clients of this module while `schedule` runs."""
    replaced = (
        (resources.ledger.ledger, "Database", PointedDatabase),
        (resources.lake, "_Parts", PointedParts),
        (assets.clients_resource, "read_configuration", schedule.configuration_in),
    )
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    _NOW.append(schedule)
    try:
        for module, name, new in replaced:
            setattr(module, name, new)
        yield
    finally:
        for module, name, old in before:
            setattr(module, name, old)
        _NOW.pop()


@dataclass
class Log:
    """What a run says to Dagster's log, into the schedule's."""

    say: Any

    def info(self, message: str, *args: object) -> None:
        """Take one line."""
        self.say(message % args if args else message)

    warning = info
    error = info


@dataclass
class Context:
    """What `assets.step_runs` asks of Dagster's context of a run."""

    run: Any
    partition_keys: list[str]
    log: Log
    created_at: datetime

    @property
    def instance(self) -> Context:
        """Return what knows the run's record."""
        return self

    def get_run_record_by_id(self, run_id: str) -> Any:  # noqa: ARG002
        """Return the record: when it was asked for."""
        return _Record(self.created_at)


@dataclass
class _Record:
    create_timestamp: datetime


@dataclass
class Run:
    """A run of a job as Dagster knows it."""

    job: str
    object: str
    keys: list[str]
    run_id: str
    root_run_id: str | None
    created_at: datetime
    tags: dict[str, str] = field(default_factory=dict)
    by_daemon: bool = False
    retries: int = 0
    done: set[str] = field(default_factory=set)
