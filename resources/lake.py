"""The lake: immutable Parquet files, one folder an asset, day and object (D4).

A record of what happened, not a recovery log: with the lake lost, history is gone and no work is.
Working files hold what a run has yet to push; they go when the push is settled.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Container, Iterator
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

_WORK: Final = "_work"
_ORG_FOLDER: Final = re.compile(r"00D\w{15}", re.ASCII)


class Lake:
    """Whole Parquet files under `root`, written under a temporary name, synced, then renamed."""

    def __init__(self, root: Path) -> None:
        """Keep files below `root`; it is made when first written to."""
        self.root = root

    def write(self, asset: str, day: date, name: str, file: str, table: pa.Table) -> Path:
        """Write `table` as `<asset>/day=…/object=…/<file>.parquet` and return its path."""
        path = self._folder(asset, day, name) / f"{file}.parquet"
        _write(path, table)
        return path

    def files(self, asset: str, day: date, name: str) -> list[Path]:
        """Return the files of one partition, by name."""
        return sorted(self._folder(asset, day, name).glob("*.parquet"))

    def read(
        self, asset: str, day: date, name: str, columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """Read one partition, a file at a time."""
        for path in self.files(asset, day, name):
            yield pq.read_table(path, columns=columns, partitioning=None)

    def read_file(self, asset: str, day: date, name: str, file: str) -> pa.Table | None:
        """Read one file of a partition, or None where there is none."""
        path = self._folder(asset, day, name) / f"{file}.parquet"
        return pq.read_table(path, partitioning=None) if path.exists() else None

    def counted(self, asset: str, day: date, name: str, column: str) -> Counter[str]:
        """Count the rows of one partition by a text column."""
        counts: Counter[str] = Counter()
        for table in self.read(asset, day, name, columns=[column]):
            for entry in table.column(column).value_counts().to_pylist():
                counts[entry["values"]] += entry["counts"]
        return counts

    def write_work(self, name: str, table: pa.Table) -> None:
        """Keep a working file for this and later steps."""
        _write(self._work(name), table)

    def read_work(self, name: str) -> pa.Table | None:
        """Return a working file, or None where it is gone."""
        path = self._work(name)
        return pq.read_table(path, partitioning=None) if path.exists() else None

    def delete_work(self, name: str) -> None:
        """Delete a working file; one that is gone already is no error."""
        self._work(name).unlink(missing_ok=True)

    def forget_work_of(self, name: str, *, but: Container[str]) -> None:
        """Delete the working files of one object but those named in `but`, half-written ones as well.

        Only for whoever has the object's lease: nobody else writes such files meanwhile.
        """
        own = re.compile(rf"(\.?)((?:pulled|\d{{8}})-{name.lower()}-[^.]+)\.parquet.*")
        for path in self._work("").parent.glob("*"):
            found = own.fullmatch(path.name)
            if found and (found[1] or found[2] not in but):
                path.unlink(missing_ok=True)

    def note_job(self, name: str, job_id: str) -> None:
        """Note a push job of the object beside the ledger, which may come from a backup (D3)."""
        note = self._job_note(name, job_id)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()

    def noted_jobs(self, name: str) -> list[str]:
        """Return the push jobs of the object that were noted and not forgotten."""
        return sorted(path.name for path in self._job_note(name, "").glob("*"))

    def forget_job(self, name: str, job_id: str) -> None:
        """Take a note away; one that is gone already is no error."""
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
        return self.root / _WORK / "jobs" / name / job_id

    def _work(self, name: str) -> Path:
        return self.root / _WORK / f"{name}.parquet"


def _merge(source: Path, target: Path) -> None:
    """Move `source` to `target`, into the folder that may stand there already."""
    if source.is_dir() and target.is_dir():
        for entry in sorted(source.iterdir()):
            _merge(entry, target / entry.name)
        source.rmdir()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
