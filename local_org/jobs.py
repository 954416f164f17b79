"""Bulk API 2.0 jobs: what a job is, where its files lie, its life from Open to its end.

States: ``Open`` (ingest only) -> ``UploadComplete`` -> ``InProgress`` -> ``JobComplete``,
``Failed`` or ``Aborted`` (Salesforce API notes, 3.1 and 3.2). Each job runs in a thread of its
own, as real jobs run side by side; saves take turns in the store. The work on the rows is in
``bulk_worker``.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from local_org.clock import format_json, parse_datetime
from local_org.errors import SalesforceError
from local_org.faults import Faults
from local_org.ids import make_id, to18
from local_org.query import QueryService
from local_org.state import StateFile
from local_org.store import Store

State = Literal["Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted"]
ENDED = ("JobComplete", "Failed", "Aborted")
DELIMITERS = {
    "BACKQUOTE": "`",
    "CARET": "^",
    "COMMA": ",",
    "PIPE": "|",
    "SEMICOLON": ";",
    "TAB": "\t",
}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
BATCH_ROWS = 10_000
# Clients may show the 15-character form; jobs are kept by the other.
ID_SHORT = 15


class JobStoppedError(Exception):
    """The job was aborted, or the org is going down, during its work."""


@dataclass
class Job:
    """One bulk job. Dates are text in the form of REST JSON; times are in milliseconds."""

    id: str
    kind: Literal["ingest", "query"]
    operation: str
    object: str
    created_by: str
    created_date: str
    api_version: float
    state: State
    system_modstamp: str
    delimiter: str = "COMMA"
    line_ending: str = "LF"
    external_id_field: str | None = None
    assignment_rule_id: str | None = None
    query: str | None = None
    include_deleted: bool = False
    processed: int = 0
    failed: int = 0
    retries: int = 0
    processing_ms: int = 0
    uploads: int = 0
    upload_bytes: int = 0
    batches: int = 0
    has_results: bool = False
    error_message: str | None = None
    ended_date: str | None = None
    columns: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to the job any more."""
        return self.state in ENDED


class Jobs:
    """All jobs of the org, with their files, over restarts."""

    def __init__(
        self,
        store: Store,
        query: QueryService,
        state: StateFile,
        faults: Faults,
        *,
        work: Callable[[Jobs, Job], None],
        write_unprocessed: Callable[[Jobs, Job], None],
    ) -> None:
        """Read the jobs of an earlier process; ``resume`` starts the unfinished ones again.

        Args:
            store: where rows are saved.
            query: what query jobs ask.
            state: where jobs are written down.
            faults: what is armed.
            work: does a job's work, whatever its kind.
            write_unprocessed: lists the rows of a job that was cut off.
        """
        self.store = store
        self.query = query
        self.faults = faults
        self._work = work
        self._write_unprocessed = write_unprocessed
        self._state = state
        self._lock = threading.RLock()
        self._jobs = {key: Job(**body) for key, body in state.all("job").items()}
        self._threads: dict[str, threading.Thread] = {}
        self._aborts: dict[str, threading.Event] = {}
        self._stopping = threading.Event()

    # Finding

    def get(self, job_id: str, kind: str) -> Job:
        """Give a job by its 15- or 18-character id.

        Raises:
            SalesforceError: 404 NOT_FOUND, also for a job of the other kind.
        """
        with self._lock:
            known = self._jobs.get(to18(job_id) if len(job_id) == ID_SHORT else job_id)
        if known is not None and known.kind == kind:
            return known
        raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")

    def all(self, kind: str | None = None) -> list[Job]:
        """Give every job that is kept, oldest first."""
        self._forget_old()
        with self._lock:
            return [job for job in self._jobs.values() if kind is None or job.kind == kind]

    def _forget_old(self) -> None:
        """Remove what ended longer ago than jobs are kept."""
        oldest = self.store.clock.now() - timedelta(seconds=self.store.options.jobs_kept_seconds)
        with self._lock:
            old = [j for j in self._jobs.values() if j.ended_date and _at(j.ended_date) < oldest]
        for job in old:
            self.forget(job)

    def folder(self, job: Job) -> Path:
        """Give the folder of the job's files."""
        return self._state.folder / "jobs" / job.id

    def created_since(self, kind: str, since: datetime) -> list[Job]:
        """Give the jobs created at or after a time, for the daily allocations."""
        return [job for job in self.all(kind) if _at(job.created_date) >= since]

    # Changing

    def create(self, job: Job) -> Job:
        """Keep a new job and make its folder."""
        self.folder(job).mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._jobs[job.id] = job
        self.save(job)
        return job

    def next_id(self) -> str:
        """Give the id of the next job."""
        return make_id("750", self.store.next_serial("job"))

    def stamp(self) -> str:
        """Give the org's time as jobs show it."""
        return format_json(self.store.clock.now())

    def save(self, job: Job) -> None:
        """Write the job down."""
        self._state.put("job", job.id, asdict(job))

    def move(self, job: Job, state: State, error_message: str | None = None) -> None:
        """Bring the job into a state; an ended job stays as it ended."""
        with self._lock:
            # An abort may come while the last rows are saved: the state that came first stays.
            if job.ended:
                return
            job.state = state
            job.system_modstamp = self.stamp()
            if error_message is not None:
                job.error_message = error_message
            if state in ENDED:
                job.ended_date = job.system_modstamp
        self.save(job)

    def start(self, job: Job) -> None:
        """Let the job's work begin, in its own thread."""
        with self._lock:
            self._aborts[job.id] = threading.Event()
            thread = threading.Thread(
                target=self._run, args=(job,), name=f"job-{job.id}", daemon=True
            )
            self._threads[job.id] = thread
        thread.start()

    def _run(self, job: Job) -> None:
        started = time.monotonic()
        try:
            self.pause(job, self.store.options.job_queue_seconds)
            self.move(job, "InProgress")
            self._work(self, job)
        except JobStoppedError:
            pass
        except SalesforceError as error:
            self.move(job, "Failed", error.message)
        finally:
            job.processing_ms = round((time.monotonic() - started) * 1000)
            if not self._stopping.is_set():
                # Still running here means a fault of the org itself, which the thread reports.
                self.move(job, "Failed", "InternalServerError : the local org failed, see its log")
                self.save(job)

            with self._lock:
                self._threads.pop(job.id, None)

    def pause(self, job: Job, seconds: float) -> None:
        """Wait, unless the job is stopped meanwhile.

        Raises:
            JobStoppedError: the job was aborted or the org is going down.
        """
        self.check(job)
        deadline = time.monotonic() + seconds
        abort = self._aborts[job.id]
        while (remaining := deadline - time.monotonic()) > 0:
            # Short naps: a stopping org is noticed too, and it sets no event of the job.
            abort.wait(min(remaining, 0.2))
            self.check(job)

    def check(self, job: Job) -> None:
        """Raise ``JobStoppedError`` if the job was aborted or the org is going down."""
        if job.ended or self._aborts[job.id].is_set() or self._stopping.is_set():
            raise JobStoppedError

    def abort(self, job: Job) -> None:
        """Abort the job; rows already committed stay (API notes 3.2)."""
        with self._lock:
            self.move(job, "Aborted")
            event = self._aborts.get(job.id)
            thread = self._threads.get(job.id)
        if event is not None:
            event.set()
        # Waited for, so that rows are not still being saved after the answer says Aborted.
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)

    def forget(self, job: Job) -> None:
        """Remove the job with its files."""
        with self._lock:
            self._jobs.pop(job.id, None)
        self._state.remove("job", job.id)
        shutil.rmtree(self.folder(job), ignore_errors=True)

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no job is running; false if one still is."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with self._lock:
                if not self._threads:
                    return True
            time.sleep(0.01)
        return False

    # Coming and going

    def resume(self) -> None:
        """Start again what an earlier process left unfinished.

        A query starts again. An ingest job that was in the middle of its rows is Failed, with the
        rest unprocessed: which of the last rows were saved is not known for certain.
        """
        for job in list(self._jobs.values()):
            if job.state == "UploadComplete" or (job.kind == "query" and job.state == "InProgress"):
                job.state = "UploadComplete"
                self.start(job)
            elif job.state == "InProgress":
                self._write_unprocessed(self, job)
                self.move(job, "Failed", "InternalServerError : the org was restarted")

    def stop(self) -> None:
        """Stop all work and wait for the threads."""
        self._stopping.set()
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(timeout=10)


def _at(text: str) -> datetime:
    return parse_datetime(text)
