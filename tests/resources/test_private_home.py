"""The home folder is closed to other users, and what is written into it (R24)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.environment import keep_private, open_to_others


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """Begin as a shell does, and give the process its own back."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """Return a file's or folder's rights."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_and_what_is_written_there_is_this_users_alone(tmp_path: Path) -> None:
    home = tmp_path / "deeper" / "home"

    keep_private(home)
    (home / "lake").mkdir()
    (home / "lake" / "file").write_text("scores")

    assert [mode(p) for p in (home, home / "lake", home / "lake" / "file")] == [0o700, 0o700, 0o600]
    assert open_to_others(home) is None


def test_a_home_of_an_older_release_is_closed_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "ledger.db").write_text("ids")
    tmp_path.chmod(0o755)

    keep_private(tmp_path)

    assert (mode(tmp_path), mode(tmp_path / "ledger.db")) == (0o700, 0o600)


@pytest.mark.parametrize(("rights", "holds"), [(0o755, "something else"), (0o1777, "ledger.db")])
def test_a_folder_that_is_not_ours_alone_is_left_as_it_is_and_named(
    tmp_path: Path, rights: int, holds: str
) -> None:
    """Somebody's documents, or a common place such as /tmp: closing it would lock others out."""
    (tmp_path / holds).write_text("")
    tmp_path.chmod(rights)

    keep_private(tmp_path)

    assert mode(tmp_path) == rights
    assert f"chmod 700 {tmp_path}" in (open_to_others(tmp_path) or "")
