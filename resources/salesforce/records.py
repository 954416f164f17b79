"""Single records, created and updated for setting up an org (R13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from resources.salesforce.errors import UnexpectedAnswer, understood
from resources.salesforce.session import Session

RECORDS_PER_CALL: Final = 200
"""Records that one call of the collections takes (API notes 2.6)."""


@dataclass(frozen=True, slots=True)
class SaveResult:
    """What became of one record: its id, or Salesforce's own code and message."""

    record_id: str | None
    code: str = ""
    message: str = ""


class Records:
    """Writes single records in one session."""

    def __init__(self, session: Session) -> None:
        """Make all calls in `session`."""
        self._session = session

    def create(self, object_name: str, values: Mapping[str, Any], *, tooling: bool) -> str:
        """Create one record and return its id. Not repeated where it may have been carried out."""
        path = f"{'tooling/' if tooling else ''}sobjects/{object_name}"
        what = f"create a {object_name}"
        answer = self._session.call(
            lambda sf: sf.restful(path, method="POST", json=dict(values)),
            what,
            repeatable=False,
        )

        with understood(what):
            return str((answer or {}).get("id", ""))

    def save(
        self, method: str, object_name: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[SaveResult]:
        """Create (POST) or update (PATCH) up to 200 records in one call, each on its own."""
        if not 0 < len(rows) <= RECORDS_PER_CALL:
            raise ValueError(f"{len(rows)} records: one call takes 1 to {RECORDS_PER_CALL}")
        records = [{"attributes": {"type": object_name}, **row} for row in rows]
        body = {"allOrNone": False, "records": records}
        what = f"save {len(rows)} of {object_name}"

        answer = self._session.call(
            lambda sf: sf.restful("composite/sobjects", method=method, json=body),
            what,
            repeatable=method == "PATCH",
        )

        if not isinstance(answer, list) or len(answer) != len(rows):
            raise UnexpectedAnswer(f"The org does not say what became of {len(rows)} records.")
        with understood(what):
            return [_save_result(entry) for entry in answer]


def _save_result(entry: Mapping[str, Any]) -> SaveResult:
    if entry.get("success"):
        return SaveResult(str(entry["id"]))
    first = (entry.get("errors") or [{}])[0]
    return SaveResult(None, str(first.get("statusCode", "")), str(first.get("message", "")))
