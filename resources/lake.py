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
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import FolderNotWritable, InsightsError

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

_WORK: Final = "_work"
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

    def write(self, asset: str, day: date, name: str, file: str, table: pa.Table) -> Path:
        """Write `table` as `<asset>/day=…/object=…/<file>.parquet` and return its path."""
        path = self._folder(asset, day, name) / f"{file}.parquet"
        # Half-written files stand among the working files, where the object's next run finds and deletes them.
        self._write(path, self._work(f".kept-{name.lower()}-{file}"), table)
        return path

    def files(self, asset: str, day: date, name: str) -> list[Path]:
        """Return the files of one partition, by name."""
        return sorted(self._folder(asset, day, name).glob("*.parquet"))

    def read(
        self, asset: str, day: date, name: str, columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """Read one partition, a file at a time."""
        for path in self.files(asset, day, name):
            yield _read(path, columns)

    def read_file(self, asset: str, day: date, name: str, file: str) -> pa.Table | None:
        """Read one file of a partition, or None where there is none."""
        path = self._folder(asset, day, name) / f"{file}.parquet"
        return _read(path) if path.exists() else None

    def counted(self, asset: str, day: date, name: str, column: str) -> Counter[str]:
        """Count the rows of one partition by a text column."""
        counts: Counter[str] = Counter()
        for table in self.read(asset, day, name, columns=[column]):
            for entry in table.column(column).value_counts().to_pylist():
                counts[entry["values"]] += entry["counts"]
        return counts

    def find(
        self, asset: str, name: str, column: str, value: str
    ) -> Iterator[tuple[tuple[date, str], dict[str, Any]]]:
        """Yield the rows of all days in which `column` is `value`, each with its day and its file's name.

        Files whose statistics tell that they cannot hold it are not read further.
        """
        for path in sorted((self.root / asset).glob(f"day=*/object={name}/*.parquet")):
            day = date.fromisoformat(path.parent.parent.name.removeprefix("day="))
            rows = pq.read_table(path, partitioning=None, filters=[(column, "=", value)])
            for row in rows.to_pylist():
                yield (day, path.stem), row

    def write_work(self, name: str, table: pa.Table) -> None:
        """Keep a working file for this and later steps."""
        self._write(self._work(name), self._work(f".{name}"), table)

    def read_work(self, name: str) -> pa.Table | None:
        """Return a working file, or None where it is gone; one that is broken is as good as gone."""
        path = self._work(name)
        try:
            return _read(path) if path.exists() else None
        except LakeUnreadable as error:
            logger.warning("%s", error)
            return None

    def delete_work(self, name: str) -> None:
        """Delete a working file; one that is gone already is no error."""
        with self._told_plainly():
            self._work(name).unlink(missing_ok=True)

    def forget_work_of(self, name: str, *, but: Container[str]) -> None:
        """Delete the working files of one object but those named in `but`, half-written ones as well.

        Only for whoever has the object's lease: nobody else writes such files meanwhile.
        """
        own = re.compile(rf"(\.?)((?:pulled|kept|\d{{8}})-{name.lower()}-[^.]+)\.parquet.*")
        with self._told_plainly():
            for path in self._work("").parent.glob("*"):
                found = own.fullmatch(path.name)
                if found and (found[1] or found[2] not in but):
                    path.unlink(missing_ok=True)

    def note_job(self, name: str, job_id: str) -> None:
        """Note a push job of the object beside the ledger, which may come from a backup (D3)."""
        note = self._job_note(name, job_id)
        with self._told_plainly():
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()

    def noted_jobs(self, name: str) -> list[str]:
        """Return the push jobs of the object that were noted and not forgotten."""
        begin = self._job_note(name, "")
        return sorted(p.name.removeprefix(begin.name) for p in begin.parent.glob(f"{begin.name}*"))

    def forget_job(self, name: str, job_id: str) -> None:
        """Take a note away; one that is gone already is no error."""
        with self._told_plainly():
            self._job_note(name, job_id).unlink(missing_ok=True)

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

    def forget_work(self) -> None:
        """Delete all working files."""
        shutil.rmtree(self.root / _WORK, ignore_errors=True)

    def _entries(self) -> list[Path]:
        """Return what belongs to the connected org: neither working files nor what is set aside."""
        if not self.root.is_dir():
            return []
        return sorted(
            entry
            for entry in self.root.iterdir()
            if entry.name != _WORK and not _ORG_FOLDER.fullmatch(entry.name)
        )

    def _folder(self, asset: str, day: date, name: str) -> Path:
        return self.root / asset / f"day={day.isoformat()}" / f"object={name}"

    def _job_note(self, name: str, job_id: str) -> Path:
        return self.root / _WORK / f"job-{name.lower()}-{job_id}"

    def _work(self, name: str) -> Path:
        return self.root / _WORK / f"{name}.parquet"

    def _write(self, path: Path, temporary: Path, table: pa.Table) -> None:
        """Write `table` as `temporary`, sync it, then rename it to `path`: a file is whole or not there."""
        temporary = temporary.with_name(f"{temporary.name}.{uuid.uuid4().hex[:8]}")
        with self._told_plainly():
            for folder in {path.parent, temporary.parent}:
                folder.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    pq.write_table(table, file, compression="zstd")
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    @contextmanager
    def _told_plainly(self) -> Iterator[None]:
        """Raise FolderNotWritable in place of the system's error where a person can make room or grant it."""
        try:
            yield
        except OSError as error:
            why = NOT_WRITABLE.get(error.errno or 0)
            if why is None:
                raise
            raise FolderNotWritable("The lake's folder", self.root, why) from error


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
