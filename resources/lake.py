"""The lake: immutable Parquet files, one folder an asset, day and object (D4).

A record of what happened, not a recovery log: with the lake lost, history is gone and no work is.
Working files hold what a run has yet to push; they go when the push is settled.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import IO, Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import FolderNotWritable, InsightsError, LeaseLost

logger = logging.getLogger(__name__)

NOT_WRITABLE: Final = {
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "its disk quota is used up",
    errno.EFBIG: "a file would be larger than is allowed",
    errno.EROFS: "its disk is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.EIO: "its disk gives an error",
}
"""What keeps files from being written until somebody makes room or grants it."""

_WORKING_FOLDER: Final = "_work"
_UNREADABLE: Final = (pa.ArrowException, OSError, KeyError)
"""What reading a file raises that is not Parquet, is broken, or has other columns."""
_ORG_FOLDER: Final = re.compile(r"00D\w{15}", re.ASCII)


class LakeUnreadable(InsightsError):
    """A file in the lake that is not the pipeline's, or is broken."""

    def __init__(self, path: Path) -> None:
        """Say which file, and what to do."""
        super().__init__(
            f"{path} cannot be read: it is no Parquet file of the pipeline's, or it is broken. "
            "Put it back from a backup, or move it out of the lake."
        )


class Lake:
    """Whole Parquet files under `root`, written under a temporary name, synced, then renamed."""

    def __init__(self, root: Path) -> None:
        """Keep files below `root`; it is made when first written to."""
        self.root = root

    def write(self, asset: str, day: date, object_name: str, file: str, table: pa.Table) -> Path:
        """Write `table` as `<asset>/day=…/object=…/<file>.parquet` and return its path."""
        path = self._folder(asset, day, object_name) / f"{file}.parquet"
        # Half-written, it is among the working files: there the object's next run deletes it.
        self._write(path, self._working_path(f".kept-{object_name.lower()}-{file}"), table)
        return path

    def parts(self, asset: str, day: date, object_name: str, file: str) -> _Parts:
        """Return what writes the file that `write` would, part by part.

        The file is there once the block has ended without an error.
        """
        path = self._folder(asset, day, object_name) / f"{file}.parquet"
        return _Parts(self, path, self._working_path(f".kept-{object_name.lower()}-{file}"))

    def files(self, asset: str, day: date, object_name: str) -> list[Path]:
        """Return the files of one partition, by name."""
        return sorted(self._folder(asset, day, object_name).glob("*.parquet"))

    def read(
        self, asset: str, day: date, object_name: str, columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """Read one partition, a file at a time."""
        for path in self.files(asset, day, object_name):
            yield _read(path, columns)

    def read_file(
        self, asset: str, day: date, object_name: str, file: str, columns: list[str] | None = None
    ) -> pa.Table | None:
        """Read one file of a partition, or None where there is none."""
        path = self._folder(asset, day, object_name) / f"{file}.parquet"
        return _read(path, columns) if path.exists() else None

    def count_by(self, asset: str, day: date, object_name: str, column: str) -> Counter[str]:
        """Count the rows of one partition by a text column."""
        counts: Counter[str] = Counter()
        for table in self.read(asset, day, object_name, columns=[column]):
            for entry in table.column(column).value_counts().to_pylist():
                counts[entry["values"]] += entry["counts"]
        return counts

    def find(
        self, asset: str, object_name: str, column: str, value: str
    ) -> Iterator[tuple[tuple[date, str], dict[str, Any]]]:
        """Yield the rows of all days in which `column` is `value`, with their day and file's name.

        Files whose statistics rule it out are not read further.
        """
        for path in sorted((self.root / asset).glob(f"day=*/object={object_name}/*.parquet")):
            day = date.fromisoformat(path.parent.parent.name.removeprefix("day="))
            rows = pq.read_table(path, partitioning=None, filters=[(column, "=", value)])
            for row in rows.to_pylist():
                yield (day, path.stem), row

    def write_working_file(self, name: str, table: pa.Table) -> None:
        """Keep a working file for this and later steps."""
        self._write(self._working_path(name), self._working_path(f".{name}"), table)

    def working_file_parts(self, name: str) -> _Parts:
        """Return what writes a working file part by part.

        The file is there once the block has ended without an error.
        """
        return _Parts(self, self._working_path(name), self._working_path(f".{name}"))

    def working_file_rows(
        self, name: str, schema: pa.Schema, key: str, values: pa.Array
    ) -> pa.Table:
        """Return the rows of a working file whose text column `key` is one of `values`, whole.

        None of them where the file is gone, broken, or not of `schema`. Parts that cannot hold any
        are not read.
        """
        path = self._working_path(name)

        parts: list[pa.Table] = []
        try:
            if path.exists() and len(values):
                parts = list(_rows_among(path, schema, key, values))
        except _UNREADABLE as error:
            logger.warning("%s (%s)", LakeUnreadable(path), type(error).__name__)
            parts = []

        return pa.concat_tables([schema.empty_table(), *parts])

    def read_working_file(self, name: str) -> pa.Table | None:
        """Return a working file, or None where it is gone or broken."""
        path = self._working_path(name)
        try:
            return _read(path) if path.exists() else None
        except LakeUnreadable as error:
            logger.warning("%s", error)
            return None

    def delete_working_file(self, name: str) -> None:
        """Delete a working file; one that is gone already is no error."""
        with self.explain_write_errors():
            self._working_path(name).unlink(missing_ok=True)

    def delete_working_files_of(self, object_name: str, *, but: Container[str]) -> None:
        """Delete the working files of one object except `but`, half-written ones as well.

        Only for whoever has the object's lease: nobody else writes such files meanwhile.
        """
        own = re.compile(rf"(\.?)((?:pulled|kept|\d{{8}})-{object_name.lower()}-[^.]+)\.parquet.*")
        with self.explain_write_errors():
            for path in self._working_path("").parent.glob("*"):
                found = own.fullmatch(path.name)
                if found and (found[1] or found[2] not in but):
                    path.unlink(missing_ok=True)

    def note_job(self, object_name: str, job_id: str) -> None:
        """Note a push job of the object beside the ledger, which may come from a backup (D3)."""
        note = self._job_note(object_name, job_id)
        with self.explain_write_errors():
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()

    def noted_jobs(self, object_name: str) -> list[str]:
        """Return the push jobs of the object that were noted and not forgotten."""
        begin = self._job_note(object_name, "")
        return sorted(p.name.removeprefix(begin.name) for p in begin.parent.glob(f"{begin.name}*"))

    def count_job_try(self, object_name: str, job_id: str) -> int:
        """Count one more try to learn of a noted job; return how many there were."""
        note = self._job_note(object_name, job_id)
        with self.explain_write_errors(), note.open("a") as file:
            file.write(".")
        return note.stat().st_size

    def forget_job(self, object_name: str, job_id: str) -> None:
        """Take a note away; one that is gone already is no error."""
        with self.explain_write_errors():
            self._job_note(object_name, job_id).unlink(missing_ok=True)

    def set_aside(self, org_id: str) -> None:
        """Move all history to a folder named after the org that it is of (R1). Safe to repeat."""
        for entry in self._entries():
            _merge(entry, self.root / org_id / entry.name)

    def take_back(self, org_id: str) -> None:
        """Bring back the history of an org that was set aside; nothing where there is none."""
        aside = self.root / org_id
        if aside.is_dir():
            for entry in sorted(aside.iterdir()):
                _merge(entry, self.root / entry.name)
            aside.rmdir()

    def delete_working_files(self) -> None:
        """Delete all working files."""
        shutil.rmtree(self.root / _WORKING_FOLDER, ignore_errors=True)

    def _entries(self) -> list[Path]:
        """Return what belongs to the connected org: neither working files nor what is set aside."""
        if not self.root.is_dir():
            return []
        return sorted(
            entry
            for entry in self.root.iterdir()
            if entry.name != _WORKING_FOLDER and not _ORG_FOLDER.fullmatch(entry.name)
        )

    def _folder(self, asset: str, day: date, object_name: str) -> Path:
        return self.root / asset / f"day={day.isoformat()}" / f"object={object_name}"

    def _job_note(self, object_name: str, job_id: str) -> Path:
        return self.root / _WORKING_FOLDER / f"job-{object_name.lower()}-{job_id}"

    def _working_path(self, name: str) -> Path:
        return self.root / _WORKING_FOLDER / f"{name}.parquet"

    def _write(self, path: Path, temporary: Path, table: pa.Table) -> None:
        """Write `table` as `temporary`, sync it, rename it to `path`: it is whole or not there."""
        parts = _Parts(self, path, temporary)
        with parts:
            parts.add(table)

    @contextmanager
    def explain_write_errors(self) -> Iterator[None]:
        """Raise FolderNotWritable in place of a system's error that a person can do away with."""
        try:
            yield
        except OSError as error:
            why = NOT_WRITABLE.get(error.errno or 0)
            if why is None:
                raise
            raise FolderNotWritable("The lake's folder", self.root, why) from error


class _Parts:
    """Writes one file part by part, each a row group.

    The file is renamed, and so there, once the block has ended without an error. Without a part
    no file is written.
    """

    def __init__(self, lake: Lake, path: Path, temporary: Path) -> None:
        """Write `temporary`, to be renamed to `path`."""
        self._lake = lake
        self._path = path
        self._temporary = temporary.with_name(f"{temporary.name}.{uuid.uuid4().hex[:8]}")
        self._file: IO[bytes] | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        """Begin; nothing is written before the first part."""
        return self

    def add(self, table: pa.Table) -> None:
        """Write one part; all are of one schema."""
        with self._lake.explain_write_errors():
            if self._file is None:
                for folder in {self._path.parent, self._temporary.parent}:
                    folder.mkdir(parents=True, exist_ok=True)
                self._file = self._temporary.open("wb")
                # Without dictionaries: most columns hardly repeat, and writing takes half the time.
                self._writer = pq.ParquetWriter(
                    self._file, table.schema, compression="zstd", use_dictionary=False
                )

            if self._writer is not None:
                self._writer.write_table(table)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Sync and rename the file where all went well; else leave nothing behind."""
        if self._file is None:
            return

        with self._lake.explain_write_errors():
            try:
                with self._file as file:
                    self._end(file, is_well=kind is None)
                if kind is None:
                    self._put()
            finally:
                self._temporary.unlink(missing_ok=True)

    def _put(self) -> None:
        """Rename the file. Where it is gone, whoever took over the object has deleted it."""
        try:
            self._temporary.replace(self._path)
        except FileNotFoundError:
            raise LeaseLost(
                f"What was half written of {self._path.name} was cleared away: another run has taken over, or the "
                "lake was deleted. This run stops; the next one finishes the work."
            ) from None

    def _end(self, file: IO[bytes], *, is_well: bool) -> None:
        """Write the file's footer and sync it; after an error the file is deleted anyway."""
        if self._writer is None:
            return
        if is_well:
            self._writer.close()
            file.flush()
            os.fsync(file.fileno())
            return
        with suppress(OSError, pa.ArrowException):
            self._writer.close()


def _rows_among(path: Path, schema: pa.Schema, key: str, values: pa.Array) -> Iterator[pa.Table]:
    """Yield the rows whose `key` is one of `values`.

    Of each row group the key is read first, and the other columns only where a value is there.
    """
    bounds = pc.min_max(values).as_py()

    with pq.ParquetFile(path) as file:
        if not file.schema_arrow.equals(schema):
            return

        column = file.schema_arrow.get_field_index(key)
        for group in range(file.num_row_groups):
            known = file.metadata.row_group(group).column(column).statistics
            has_bounds = known is not None and known.has_min_max
            if has_bounds and (known.max < bounds["min"] or known.min > bounds["max"]):
                continue

            near = values
            if has_bounds:  # looking a value up costs the more, the more there are
                least, most = pa.scalar(known.min, values.type), pa.scalar(known.max, values.type)
                within = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
                near = values.filter(within)

            mask = pc.is_in(file.read_row_group(group, columns=[key]).column(key), near)
            if pc.any(mask).as_py():
                rows = file.read_row_group(group)
                yield rows if pc.all(mask).as_py() else rows.filter(mask)


def _merge(source: Path, target: Path) -> None:
    """Move `source` to `target`, into the folder that may stand there already."""
    if source.is_dir() and target.is_dir():
        for entry in sorted(source.iterdir()):
            _merge(entry, target / entry.name)
        source.rmdir()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a file whole, or all of the `columns` named. Raises LakeUnreadable."""
    try:
        table = pq.read_table(path, columns=columns, partitioning=None)
        for column in columns or ():
            table.column(column)
    except _UNREADABLE as error:
        raise LakeUnreadable(path) from error
    return table
