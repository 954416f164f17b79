"""What stands in the way of a save because somebody asked for it: locks, read-only rows, failures.

These come over the control interface and act in the store, as a trigger or another transaction
would. Faults of the connection are in ``faults``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from . import ids
from .data_file import DataFile
from .errors import RowError
from .refusals import lock_error, no_access


class Obstacles:
    """The obstacles that are set. Read-only rows outlive the process, locks and failures do not."""

    def __init__(self, data: DataFile) -> None:
        """Read which rows are read-only; nothing else stands in the way yet."""
        self._data = data
        self._guard = threading.Lock()
        self._locked: dict[str, int | None] = {}
        self._failures: list[tuple[str, str]] = []
        self._delays: list[tuple[str | None, float]] = []
        self._read_only: set[str] = self._read_only_ids()

    def _read_only_ids(self) -> set[str]:
        rows = self._data.database.read().execute("SELECT id FROM _read_only")
        return {record_id for (record_id,) in rows}

    def lock_rows(self, record_ids: Sequence[str], *, times: int | None = None) -> None:
        """Refuse the next ``times`` saves of each record (None: until unlocked)."""
        with self._guard:
            for record_id in record_ids:
                self._locked[ids.normalise(record_id)] = times

    def make_read_only(self, record_ids: Sequence[str], on: bool = True) -> None:
        """Take edit access to records from everybody (sharing), or give it back."""
        normal_ids = [ids.normalise(record_id) for record_id in record_ids]

        with self._data.write() as connection:
            for record_id in normal_ids:
                connection.execute("DELETE FROM _read_only WHERE id = ?", (record_id,))
                if on:
                    connection.execute("INSERT INTO _read_only VALUES (?)", (record_id,))
            self._read_only = self._read_only_ids()

    def hide(self, record_ids: Sequence[str], on: bool = True) -> None:
        """Hide records from all but administrators (sharing), or show them again."""
        normal_ids = [ids.normalise(record_id) for record_id in record_ids]
        change = (
            "INSERT OR IGNORE INTO _hidden VALUES (?)" if on else "DELETE FROM _hidden WHERE id = ?"
        )

        with self._data.write() as connection:
            connection.executemany(change, [(record_id,) for record_id in normal_ids])

    def of(self, record_ids: Sequence[str]) -> dict[str, RowError]:
        """Give the records that cannot be saved now, and why; counts locks down."""
        late_ids = self._data.late.record_ids
        if not (self._locked or self._read_only or late_ids):
            return {}

        errors: dict[str, RowError] = {}
        with self._guard:
            for record_id in record_ids:
                if record_id in self._read_only:
                    errors[record_id] = no_access()
                elif record_id in late_ids:
                    errors[record_id] = lock_error(record_id)
                elif record_id in self._locked:
                    errors[record_id] = lock_error(record_id)
                    self._count_down(record_id)
        return errors

    def _count_down(self, record_id: str) -> None:
        remaining = self._locked[record_id]
        if remaining is None:
            return
        if remaining <= 1:
            del self._locked[record_id]
        else:
            self._locked[record_id] = remaining - 1

    def fail_chunks(self, object_name: str, *, count: int = 1, message: str) -> None:
        """Let the next chunks of an object fail whole, as a trigger's exception does."""
        name = self._data.object(object_name).name
        with self._guard:
            self._failures += [(name, message)] * count

    def take_failure(self, object_name: str) -> str | None:
        """Take the message for a chunk that is to fail, if any."""
        # Asked without the lock first: almost every chunk finds nothing here.
        if not self._failures:
            return None

        with self._guard:
            for place, (name, message) in enumerate(self._failures):
                if name == object_name:
                    del self._failures[place]
                    return message
        return None

    def hold_next_saves(
        self, seconds: float, *, saves: int = 1, object_name: str | None = None
    ) -> None:
        """Make the next chunks visible only ``seconds`` later on the org's clock (API notes 4.2).

        They keep the stamp of their start (option ``late_commit_stamp``). Until then their rows are
        locked for others. The call itself is answered at once: in a real org it would wait.
        """
        name = self._data.object(object_name).name if object_name else None
        with self._guard:
            self._delays += [(name, seconds)] * saves

    def take_delay(self, object_name: str) -> float | None:
        """Take the seconds by which a chunk is to come late, if any."""
        if not self._delays:
            return None

        with self._guard:
            for place, (name, seconds) in enumerate(self._delays):
                if name in {None, object_name}:
                    del self._delays[place]
                    return seconds
        return None
