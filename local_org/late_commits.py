"""Saves that others see only later, although they carry the stamp of their start (API notes 4.2).

A real transaction that runs long is stamped when it begins and visible when it ends. Here its rows
wait as whole images in ``_late`` until the org's clock reaches their time.
"""

from __future__ import annotations

import json
import sqlite3

from .clock import Clock
from .database import Database, quote
from .options import Options
from .schema import SObject


class LateCommits:
    """The rows that are written but not visible yet."""

    def __init__(self, database: Database, clock: Clock, options: Options) -> None:
        """Start with none; ``reload`` reads those of an earlier process."""
        self._database = database
        self._clock = clock
        self._options = options
        # Kept in memory too: every read asks whether something is due.
        self._next_due: float | None = None
        self.record_ids: set[str] = set()

    def reload(self, connection: sqlite3.Connection) -> None:
        """Read anew which rows wait, and until when."""
        rows = connection.execute(
            "SELECT visible_at, json_extract(facts, '$.Id') FROM _late"
        ).fetchall()
        self._next_due = min((row[0] for row in rows), default=None)
        self.record_ids = {row[1] for row in rows}

    def postpone(
        self, connection: sqlite3.Connection, owner: SObject, rids: list[int], seconds: float
    ) -> None:
        """Take rows just written (in savepoint ``chunk``) back, to be visible later."""
        cursor = connection.execute(
            f"SELECT * FROM {quote(owner.name)} WHERE rid IN "  # noqa: S608
            "(SELECT value FROM json_each(?))",
            (json.dumps(rids),),
        )
        names = [column[0] for column in cursor.description]
        images = [dict(zip(names, row, strict=True)) for row in cursor]

        connection.execute("ROLLBACK TO chunk")
        connection.execute("RELEASE chunk")

        # The rollback took the serials back too, but the images still have them as their ids.
        last = max(rids, default=0)
        connection.execute(
            "INSERT INTO _serials VALUES (?, ?) ON CONFLICT (name) "
            "DO UPDATE SET last = max(last, excluded.last)",
            (owner.key_prefix, last),
        )

        due = self._clock.now().timestamp() + seconds
        connection.executemany(
            "INSERT INTO _late (visible_at, object, rid, facts) VALUES (?, ?, ?, ?)",
            [(due, owner.name, image["rid"], json.dumps(image)) for image in images],
        )
        self.reload(connection)

    def settle(self) -> None:
        """Make the rows visible whose time has come."""
        due = self._next_due
        if due is None:
            return

        now = self._clock.now().timestamp()
        if now < due:
            return

        with self._database.write() as connection:
            rows = connection.execute(
                "SELECT serial, object, facts FROM _late WHERE visible_at <= ? ORDER BY serial",
                (now,),
            ).fetchall()
            for serial, object_name, facts in rows:
                self._publish(connection, object_name, json.loads(facts))
                connection.execute("DELETE FROM _late WHERE serial = ?", (serial,))
            self.reload(connection)

    def _publish(
        self,
        connection: sqlite3.Connection,
        object_name: str,
        image: dict[str, str | int | float | None],
    ) -> None:
        if self._options.late_commit_stamp == "commit":
            stamp = self._clock.stamp()
            image |= {"SystemModstamp": stamp, "LastModifiedDate": stamp}

        connection.execute(
            f"INSERT OR REPLACE INTO {quote(object_name)} "  # noqa: S608
            f"({', '.join(map(quote, image))}) VALUES ({', '.join('?' * len(image))})",
            tuple(image.values()),
        )
