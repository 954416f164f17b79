"""What the front keeps between restarts beside the records: jobs, sessions, apps, call counts.

One small SQLite file of documents by (kind, key), next to the spool files of the bulk jobs. It is
apart from the records' own file so that a long save there never delays a poll here.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any


class StateFile:
    """JSON documents by kind and key, each write durable enough to outlive the process."""

    def __init__(self, folder: Path) -> None:
        """Open (or make) the file in ``folder``, which also receives the jobs' spool files."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.Lock()

        self._connection = sqlite3.connect(
            folder / "state.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        # Durable against a kill of the process, which tests do; not against a power cut.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS document"
            " (kind TEXT, key TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )

    def put(self, kind: str, key: str, body: Any) -> None:
        """Write one document, replacing an earlier one."""
        text = json.dumps(body, separators=(",", ":"))
        with self._lock:
            self._connection.execute(
                "INSERT INTO document VALUES (?, ?, ?)"
                " ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
                (kind, key, text),
            )

    def remove(self, kind: str, key: str) -> None:
        """Remove one document if it is there."""
        with self._lock:
            self._connection.execute("DELETE FROM document WHERE kind = ? AND key = ?", (kind, key))

    def all(self, kind: str) -> dict[str, Any]:
        """Read every document of one kind, by key."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT key, body FROM document WHERE kind = ?", (kind,)
            ).fetchall()
        return {key: json.loads(body) for key, body in rows}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
