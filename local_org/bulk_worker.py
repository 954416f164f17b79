"""The work of a bulk job: reading the uploaded CSV, saving its rows, writing the result files.

Rows are independent; the file is read in batches of 10,000 rows. The results of a batch are written
together, in another order than the rows were sent (Salesforce API notes, 3.2 and 3.3).
"""

from __future__ import annotations

import csv
import random
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from local_org.chunks import Operation, RowResult
from local_org.errors import RowError, SalesforceError
from local_org.faults import JOB_KINDS, Fault
from local_org.jobs import BATCH_ROWS, DELIMITERS, LINE_ENDINGS, Job, Jobs, JobStoppedError
from local_org.row_faults import row_error

UPLOAD = "upload.csv"
RESULTS = "results.csv"
SUCCESSFUL = "successful.csv"
FAILED = "failed.csv"
UNPROCESSED = "unprocessed.csv"
SCAN_BYTES = 1 << 20
COLUMNS_MAX = 5_000
# Writing chunks to disk one by one would take twice the time.
CHUNKS_TOGETHER = 25
_BOM = "\ufeff"
# Anything else in a column name could be a delimiter, a quote or a line end.
_NOT_BARE = re.compile(r"[^\w .:-]")
# Python's own limit for a cell, 128 KiB, is below a long text area with escapes.
csv.field_size_limit(200_000_000)


def work(jobs: Jobs, job: Job) -> None:
    """Do the job's work, whatever its kind, until it ends."""
    if job.kind == "query":
        _work_query(jobs, job)
    else:
        _Ingest(jobs, job).run()


def _work_query(jobs: Jobs, job: Job) -> None:
    fault = jobs.faults.on_job(job.object, job.operation, JOB_KINDS)
    if fault is not None:
        _play_before_rows(jobs, job, fault)

    def progress(rows: int) -> None:
        jobs.check(job)
        job.processed = rows

    spool = jobs.query.export(
        job.query or "",
        user_id=job.created_by,
        include_deleted=job.include_deleted,
        target=jobs.folder(job) / RESULTS,
        delimiter=DELIMITERS[job.delimiter],
        line_ending=LINE_ENDINGS[job.line_ending],
        progress=progress,
    )
    job.processed = spool.row_count
    job.has_results = True
    jobs.move(job, "JobComplete")


def _play_before_rows(jobs: Jobs, job: Job, fault: Fault) -> None:
    """Carry a job fault out on a job that has no rows of its own to commit first."""
    if fault.kind == "job_stuck":
        _stay_stuck(jobs, job, fault)
        return
    if fault.kind == "unprocessed_rows" and fault.params["state"] == "Aborted":
        jobs.move(job, "Aborted")
        jobs.check(job)
    raise SalesforceError(500, "InternalServerError", str(fault.params["message"]))


def _stay_stuck(jobs: Jobs, job: Job, fault: Fault) -> None:
    while jobs.faults.is_armed(fault):
        jobs.pause(job, 0.05)


@dataclass
class _Files:
    """The result files of one ingest job, open for appending, and the batch being collected."""

    successful: Any
    failed: Any
    unprocessed: Any
    streams: list[IO[str]]
    good: list[list[str]] = field(default_factory=list)
    bad: list[list[str]] = field(default_factory=list)


class _Ingest:
    """One ingest job at work."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self.jobs = jobs
        self.job = job
        self.options = jobs.store.options
        self.folder = jobs.folder(job)
        self.line_ending = LINE_ENDINGS[job.line_ending]
        self.delimiter = DELIMITERS[job.delimiter]

        self.fault = jobs.faults.on_job(job.object, job.operation, JOB_KINDS)
        # The order only has to differ from the order sent; it need not be unpredictable.
        self.random = random.Random(f"{self.options.random_seed}:{job.id}")  # noqa: S311

        self.sent: deque[list[str]] = deque()
        self.rows_read = 0
        self.stopped: Exception | None = None
        self.misshapen_row: list[str] | None = None

    def run(self) -> None:
        """Save every row, or stop where a fault, an abort or a bad file says so."""
        upload = self.folder / UPLOAD
        if self.options.check_line_ending:
            check_line_ending(upload, self.job.line_ending, self.options.check_newlines_in_cells)

        with ExitStack() as stack:
            source = stack.enter_context(upload.open(encoding="utf-8", newline=""))
            reader = csv.reader(source, delimiter=self.delimiter)
            self.job.columns = self._columns(reader)
            files = self._open_files(stack)
            # Whatever ends the job, every row gets into one of the three files.
            try:
                self._save_all(reader, files)
            finally:
                self._finish(reader, files)

        self.jobs.move(self.job, "JobComplete")

    def _columns(self, reader: Iterator[list[str]]) -> list[str]:
        try:
            columns = next(reader)
        except StopIteration as error:
            raise SalesforceError(
                400, "InvalidBatch", "InvalidBatch : The file is empty"
            ) from error
        except UnicodeDecodeError as error:
            raise _client_input("the header line is not UTF-8") from error

        # The mark glues itself to the first name, quotes included.
        if columns and columns[0].startswith(_BOM) and self.options.bulk_bom == "accept":
            columns[0] = columns[0].removeprefix(_BOM).strip('"')
        if len(columns) > COLUMNS_MAX:
            raise SalesforceError(
                400, "InvalidBatch", f"InvalidBatch : More than {COLUMNS_MAX} columns"
            )
        if self.job.operation in ("delete", "hardDelete") and columns != ["Id"]:
            raise SalesforceError(
                400,
                "InvalidBatch",
                f"InvalidBatch : The '{self.job.operation}' batch must contain only ids",
            )
        return columns

    def _open_files(self, stack: ExitStack) -> _Files:
        quoted = self.options.result_headers_quoted
        header = self.job.columns
        streams: list[IO[str]] = []

        def open_result(name: str, added: Sequence[str]) -> Any:
            target = stack.enter_context(
                (self.folder / name).open("w", encoding="utf-8", newline="")
            )
            streams.append(target)

            target.write(
                self.delimiter.join([*(f'"{a}"' for a in added), *_names(header, quoted)])
                + self.line_ending
            )

            return csv.writer(
                target,
                delimiter=self.delimiter,
                lineterminator=self.line_ending,
                quoting=csv.QUOTE_ALL,
            )

        files = _Files(
            open_result(SUCCESSFUL, ("sf__Id", "sf__Created")),
            open_result(FAILED, ("sf__Id", "sf__Error")),
            open_result(UNPROCESSED, ()),
            streams,
        )
        self.job.has_results = True
        return files

    # Rows

    def _save_all(self, reader: Iterator[list[str]], files: _Files) -> None:
        """Save every row; with a job fault, those before it first."""
        if self.fault is not None:
            after_rows = int(self.fault.params["after_rows"])
            if after_rows:
                self._save(self._rows(reader, files, after_rows), files)
            self._play(self.fault, files)
        self._save(self._rows(reader, files, None), files)

    def _save(self, rows: Iterator[list[str]], files: _Files) -> None:
        """Save rows chunk by chunk and keep count."""
        seconds = self.options.job_chunk_seconds
        chunks = self.jobs.store.save_table(
            cast("Operation", self.job.operation),
            self.job.object,
            self.job.columns,
            rows,
            user_id=self.job.created_by,
            external_id_field=self.job.external_id_field,
            # Where chunks take their time, each must be seen before the next begins.
            chunks_together=1 if seconds else CHUNKS_TOGETHER,
        )

        for chunk in chunks:
            self._take(chunk, files)
            if self.stopped is None:
                try:
                    self.jobs.pause(self.job, seconds)
                except JobStoppedError as error:
                    # What the store has saved by now has results too; no further row is sent.
                    self.stopped = error

        if self.stopped is not None:
            raise self.stopped

    def _rows(
        self, reader: Iterator[list[str]], files: _Files, limit: int | None
    ) -> Iterator[list[str]]:
        """Give the store the rows that no armed fault fails, and remember them in their order."""
        width = len(self.job.columns)
        id_column = self.job.columns.index("Id") if "Id" in self.job.columns else None
        while (limit is None or self.rows_read < limit) and self.stopped is None:
            # An error ends the rows instead of breaking through the store: those read so far count.
            try:
                row = next(reader, None)
            except UnicodeDecodeError:
                self.stopped = _client_input("the file is not UTF-8")
                return
            except csv.Error as error:
                self.stopped = _client_input(f"the file is not CSV: {error}")
                return

            if row is None:
                return
            # A blank line is no row.
            if not row:
                continue

            self.rows_read += 1
            if len(row) != width:
                self.misshapen_row = row
                self.stopped = _client_input(
                    f"row {self.rows_read} has {len(row)} columns, the header has {width}"
                )
                return

            if id_column is not None and self.jobs.faults.has_row_faults:
                refusal = row_error(self.jobs.faults, self.job.object, row[id_column])
                if refusal is not None:
                    self._reject(row, row[id_column], refusal, files)
                    continue

            # The store answers in the order sent: _take matches its answers with this queue.
            self.sent.append(row)
            yield row

    def _play(self, fault: Fault, files: _Files) -> None:
        """Carry the fault out on the job; returns when a stuck job is released."""
        if fault.kind == "job_stuck":
            self._flush(files)
            _stay_stuck(self.jobs, self.job, fault)
            return

        if fault.kind == "unprocessed_rows" and fault.params["state"] == "Aborted":
            self.jobs.move(self.job, "Aborted", fault.params["message"] or None)
            self.jobs.check(self.job)
        message = fault.params["message"] or "InternalServerError : not all rows were processed"
        raise SalesforceError(500, "InternalServerError", str(message))

    # Results

    def _take(self, chunk: Sequence[RowResult], files: _Files) -> None:
        """Match one chunk of results to the rows that were sent."""
        for result in chunk:
            row = self.sent.popleft()
            if result.success:
                files.good.append([result.id, "true" if result.created else "false", *row])
            else:
                record_id = result.id if self.options.failed_results_have_id else ""
                files.bad.append([record_id or "", result.errors[0].as_csv(), *row])
                self.job.failed += 1

        self.job.processed += len(chunk)
        if len(files.good) + len(files.bad) >= BATCH_ROWS:
            self._flush(files)

    def _reject(self, row: list[str], record_id: str, error: RowError, files: _Files) -> None:
        id_cell = record_id if self.options.failed_results_have_id else ""
        files.bad.append([id_cell, error.as_csv(), *row])
        self.job.failed += 1
        self.job.processed += 1

    def _flush(self, files: _Files) -> None:
        """Write the collected batch in another order than it was sent, and the counts with it."""
        for writer, rows in ((files.successful, files.good), (files.failed, files.bad)):
            if self.options.shuffle_results:
                self.random.shuffle(rows)
            writer.writerows(rows)
            rows.clear()

        # The counts on disk must never be ahead of the results on disk.
        for stream in files.streams:
            stream.flush()
        self.jobs.save(self.job)

    def _finish(self, reader: Iterator[list[str]], files: _Files) -> None:
        """Write what has results, and after it every row that has none."""
        self._flush(files)
        # Handed over but never answered: these rows may not count as saved.
        files.unprocessed.writerows(self.sent)
        if self.misshapen_row is not None:
            files.unprocessed.writerow(self.misshapen_row)

        try:
            files.unprocessed.writerows(row for row in reader if row)
        except (UnicodeDecodeError, csv.Error):
            return  # the rest of the file cannot be read, which is why the job failed


def write_unprocessed(jobs: Jobs, job: Job) -> None:
    """List the rows of an interrupted job that have no result: all but the first ``processed``."""
    folder = jobs.folder(job)
    delimiter, line_ending = DELIMITERS[job.delimiter], LINE_ENDINGS[job.line_ending]

    with (
        (folder / UPLOAD).open(encoding="utf-8", newline="") as source,
        (folder / UNPROCESSED).open("w", encoding="utf-8", newline="") as target,
    ):
        reader = csv.reader(source, delimiter=delimiter)
        writer = csv.writer(
            target, delimiter=delimiter, lineterminator=line_ending, quoting=csv.QUOTE_ALL
        )
        writer.writerow(next(reader, []))
        for number, row in enumerate(row for row in reader if row):
            if number >= job.processed:
                writer.writerow(row)


def check_line_ending(upload: Path, setting: str, cells_too: bool) -> None:
    """Compare the file's line ends with the job's setting.

    Raises:
        SalesforceError: they differ; newlines inside quoted cells count only if ``cells_too``.
    """
    with upload.open("rb") as source:
        blocks = iter(lambda: source.read(SCAN_BYTES), b"")
        found = _line_endings(blocks, cells_too)

    if found - {setting}:
        raise _client_input(
            f"LineEnding is invalid on user data. Current LineEnding setting is {setting}"
        )


def _line_endings(blocks: Iterator[bytes], cells_too: bool) -> set[str]:
    """Give the kinds of line ends in the data: LF, CRLF."""
    found: set[str] = set()
    quoted = False
    last = b""

    for block in blocks:
        data = last + block
        # A CR at the very end of a block belongs to what follows.
        last = b"\r" if data.endswith(b"\r") else b""
        data = data.removesuffix(b"\r") if last else data
        # Every second piece is inside quotes, where a newline belongs to a cell and ends no row.
        for number, part in enumerate(data.split(b'"')):
            if number:
                quoted = not quoted
            if quoted and not cells_too:
                continue

            crlf = part.count(b"\r\n")
            if crlf:
                found.add("CRLF")
            if part.count(b"\n") > crlf:
                found.add("LF")
    return found


def _names(header: Sequence[str], quoted: bool) -> list[str]:
    """Write uploaded column names as they came, or quoted where CSV or an option needs it."""
    escaped = [name.replace('"', '""') for name in header]
    return [f'"{name}"' if quoted or _NOT_BARE.search(name) else name for name in escaped]


def _client_input(message: str) -> SalesforceError:
    return SalesforceError(400, "ClientInputError", f"ClientInputError : {message}")
