"""A lock between processes: one of them does something at a time, such as sign in."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

WAIT_SECONDS_MAX: Final = 60.0
"""How long another process may take: what is done under a lock ends by itself long before."""

_POLL_SECONDS: Final = 0.02


@contextmanager
def file_lock(path: Path, busy: Exception) -> Iterator[None]:
    """Hold the lock file `path`; it ends with the process, whatever becomes of it.

    Where no file can be made (a full or read-only disk), there is no lock: done twice is better
    than not at all. Raises `busy` where another process holds it for a minute.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return

    try:
        _wait_for(handle, busy)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, busy: Exception) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                raise busy from None
            time.sleep(_POLL_SECONDS)
        except OSError:
            return  # a file system without locks
        else:
            return
