"""What the lake says when its disk takes nothing, told by the system itself (D4)."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.errors import FolderNotWritable
from resources.lake import Lake
from tests.crash.forked import forked

DAY = date(2026, 3, 10)
TABLE = pa.table({"id": [f"00Q{n:015}" for n in range(1000)]})
FILL = """
import os, sys, pathlib
import pyarrow as pa
from resources.lake import Lake
from pipeline.core.errors import FolderNotWritable
root = pathlib.Path(sys.argv[1])
(root / "ballast").write_bytes(bytes(os.statvfs(root).f_bavail * os.statvfs(root).f_bsize))
table = pa.table({"id": [str(n) for n in range(1000)]})
try:
    Lake(root / "lake").write_working_file("20260310-lead-x", table)
except FolderNotWritable as error:
    print(error)
(root / "ballast").unlink()
Lake(root / "lake").write_working_file("20260310-lead-x", table)
print([path.name for path in (root / "lake" / "_work").iterdir()])
"""


def test_lake_that_may_write_no_more_names_its_folder_and_leaves_no_half_file(
    tmp_path: Path,
) -> None:
    """The system refuses the write itself: a file may be no longer than nothing."""
    lake = Lake(tmp_path / "lake")

    def write() -> tuple[str, int]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        with pytest.raises(FolderNotWritable) as raised:
            lake.write("scored_enriched", DAY, "Lead", "20260310-lead-x", TABLE)
        return str(raised.value), raised.value.exit_code

    message, exit_code = forked(write, Path(os.devnull)).value

    assert f"The lake's folder {tmp_path / 'lake'} cannot be written" in message
    assert "the next run goes on from there. Make room on that disk" in message
    assert exit_code == 3
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_half_written_file_of_a_run_that_was_killed_is_swept_by_the_objects_next_run(
    tmp_path: Path,
) -> None:
    """R24: it holds inputs and outputs, and stands among the working files whatever it was to become."""
    lake = Lake(tmp_path)
    lake.write("scored_enriched", DAY, "Lead", "20260310-lead-x", TABLE)
    half = tmp_path / "_work" / ".kept-lead-20260310-lead-x.parquet.12345678"
    other = tmp_path / "_work" / ".kept-contact-20260310-contact-x.parquet.12345678"
    for path in (half, other):
        path.write_bytes(b"PAR1")

    lake.delete_working_files_of("Lead", but=set())

    assert not half.exists()
    assert other.exists()
    assert len(lake.files("scored_enriched", DAY, "Lead")) == 1


def may_mount() -> bool:
    """Say whether a process may mount a disk of its own here."""
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not may_mount(), reason="no user namespaces here; the test above needs none")
def test_lake_on_a_disk_that_is_full_says_so_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    """A disk of one megabyte of its own, filled to its last block (ENOSPC)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {disk} && exec {sys.executable} - {disk}"

    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount],
        input=FILL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    message, names = done.stdout.splitlines()
    assert f"The lake's folder {disk / 'lake'} cannot be written (its disk is full)" in message
    assert names == "['20260310-lead-x.parquet']"
