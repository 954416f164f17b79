"""Groups the records that failed, exports them, and has them tried again (R23, R29)."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import ConfigurationError
from pipeline.core.limit.pace import last_day
from pipeline.core.limit.row_faults import RowFault, alike, fault_of, integration_at_fault
from pipeline.steps.clients import Clients
from resources.ledger.failures import Chosen, FailedCount, FailedRow
from resources.salesforce.ids import id18

_INSTANT: Final = pa.timestamp("us", tz="UTC")
EXPORTED: Final = pa.schema(
    [
        ("object", pa.string()),
        ("id", pa.string()),
        ("integration", pa.string()),
        ("code", pa.string()),
        ("kind", pa.string()),
        ("message", pa.string()),
        ("tries", pa.int64()),
        ("first_failed", _INSTANT),
        ("last_failed", _INSTANT),
        ("next_try", _INSTANT),
        ("reason", pa.string()),
        ("link", pa.string()),
    ]
)
"""The columns of an export, and the keys of a record in JSON."""

GROUPS: Final[Mapping[str, Callable[[FailedCount], str]]] = {
    "code": lambda count: count.error_code,
    "object": lambda count: count.object,
    "message": lambda count: f"{count.error_code}: {alike(count.error_message)}",
    "integration": lambda count: integration_at_fault(
        count.object, count.error_code, count.error_message, count.held_for
    ),
}
"""What failures can be grouped by."""

BY_MESSAGE: Final = frozenset({"message", "integration"})
"""The groupings that need the messages: counting without them reads far fewer rows."""

_RECORD_ID: Final = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
# The last four are full-width forms, which some spreadsheets read as the plain ones.
_FORMULA: Final = re.compile(r"(^|[;\t\r\n])(\s*)(?=[=+\-@|%\uff1d\uff0b\uff0d\uff20])")


@dataclass(frozen=True, slots=True)
class Group:
    """Failures that are alike: how many records, and how many of them permanent (`lasting`)."""

    group: str
    records: int
    lasting: int
    first_failed: datetime
    last_failed: datetime
    next_try: datetime


@dataclass(frozen=True, slots=True)
class Retry:
    """What a retry asked for, and when it will be done.

    Of `records`, some wait for `markets`, which are tried with a few records first. `resting` ones
    wait for an integration that is paused or not ready. `in_flight` ones are being tried. The last
    is done on `done_on` if nothing is more urgent; None where nothing was asked for.
    """

    records: int
    markets: tuple[str, ...]
    resting: int
    in_flight: int
    left_today: int
    done_on: date | None


def record_link(clients: Clients) -> Callable[[str], str]:
    """Return a function from a record's id to its page in the org; "" where none is known yet.

    No API call.
    """
    base = (clients.ledger.org.get() or {}).get("instance_url")
    return lambda record_id: f"{base}/{record_id}" if base else ""


def groups(clients: Clients, by: str, chosen: Chosen) -> list[Group]:
    """Return the failures counted by one of `GROUPS`, the largest group first."""
    key = GROUPS[by]
    parts: dict[str, list[FailedCount]] = {}
    # Counts of the ledger may be of one group: messages that differ in record ids alone, say.
    for count in clients.ledger.failures.counts(chosen, by_message=by in BY_MESSAGE):
        parts.setdefault(key(count), []).append(count)

    found = [_group(key_value, counts) for key_value, counts in parts.items()]
    return sorted(found, key=lambda group: (-group.records, group.group))


def _group(key_value: str, counts: Sequence[FailedCount]) -> Group:
    permanent = [count for count in counts if _is_permanent(count.lasting, count.error_code)]

    return Group(
        group=key_value,
        records=sum(count.records for count in counts),
        lasting=sum(count.records for count in permanent),
        first_failed=min(count.first_failed_at for count in counts),
        last_failed=max(count.last_failed_at for count in counts),
        next_try=min(count.next_try_at for count in counts),
    )


def records(clients: Clients, chosen: Chosen, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the failures one by one with the keys of `EXPORTED`, the latest failures first."""
    link = record_link(clients)
    return [_as_exported(row, link) for row in clients.ledger.failures.rows(chosen, limit)]


def export(clients: Clients, chosen: Chosen, path: Path) -> int:
    """Write the failures to `path`, a .csv or .parquet file, and return how many they are.

    An existing file is replaced. In CSV, texts that a spreadsheet would take for a formula get an
    apostrophe before them. Parquet has them as they are.

    Raises ConfigurationError for another kind of file, and for one that cannot be written.
    """
    writers = {".csv": _write_csv, ".parquet": _write_parquet}
    if path.suffix.lower() not in writers:
        raise ConfigurationError([f"{path}: the file's name must end in .csv or .parquet."])

    link = record_link(clients)
    pages = (
        [_as_exported(row, link) for row in page] for page in clients.ledger.failures.pages(chosen)
    )

    # Written beside it, then renamed: nobody finds half a file, and a full disk costs no old one.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        written = writers[path.suffix.lower()](unfinished, pages)
        unfinished.replace(path)
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be written ({error.strerror})."]) from error
    finally:
        unfinished.unlink(missing_ok=True)

    return written


def retry(
    clients: Clients,
    objects: Sequence[str] = (),
    codes: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> int:
    """Let these failures be tried at once and return how many; an empty part means all.

    Raises ConfigurationError for an id that cannot be one.
    """
    return ask_again(clients, Chosen(objects=objects, codes=codes, ids=record_ids(ids))).records


def record_ids(ids: Sequence[str]) -> list[str]:
    """Return the ids in their 18 characters, as the ledger has them.

    Raises ConfigurationError for an id that cannot be one.
    """
    wrong = [record_id for record_id in ids if not _RECORD_ID.fullmatch(record_id)]
    if wrong:
        raise ConfigurationError([f"{', '.join(wrong)}: a record's id has 15 or 18 characters."])

    return [id18(record_id) for record_id in ids]


def ask_again(clients: Clients, chosen: Chosen) -> Retry:
    """Let the chosen failures be tried by the next run, within the day's limit.

    Returns what was asked for, and when it will be done. Safe to repeat: nothing is claimed or
    charged here.
    """
    asked = clients.ledger.failures.retry(chosen, clients.now())
    limit = clients.configuration.settings.daily_record_limit
    remaining = clients.ledger.days.use(clients.today, limit).remaining

    return Retry(
        records=asked.records,
        markets=asked.markets,
        resting=asked.resting,
        in_flight=asked.in_flight,
        left_today=remaining,
        done_on=last_day(clients.today, asked.records, remaining, limit),
    )


def spreadsheet_safe(text: str) -> str:
    """Return `text` with an apostrophe before whatever a spreadsheet would begin a formula with.

    Also after a semicolon, a tab or a line's end: with other separators than the comma, a cell
    would begin there.

    >>> spreadsheet_safe("=HYPERLINK(1)")
    "'=HYPERLINK(1)"
    """
    return _FORMULA.sub(r"\1\2'", text)


def _is_permanent(lasting: bool, code: str) -> bool:
    """Say whether a failure is permanent: by its code, or after too many temporary ones (R23)."""
    return lasting or fault_of(code) is RowFault.LASTING


def _as_exported(row: FailedRow, link: Callable[[str], str]) -> dict[str, Any]:
    is_permanent = _is_permanent(row.lasting, row.error_code)

    return {
        "object": row.object,
        "id": row.record_id,
        "integration": integration_at_fault(
            row.object, row.error_code, row.error_message, row.held_for
        ),
        "code": row.error_code,
        "kind": (RowFault.LASTING if is_permanent else RowFault.PASSING).value,
        "message": row.error_message,
        "tries": row.tries,
        "first_failed": row.first_failed_at,
        "last_failed": row.last_failed_at,
        "next_try": row.not_before,
        "reason": row.reason,
        "link": link(row.record_id),
    }


def _write_csv(path: Path, pages: Iterable[list[dict[str, Any]]]) -> int:
    """Write every cell in quotes, in UTF-8 with the mark by which spreadsheets recognise it."""
    written = 0

    with path.open("w", encoding="utf-8-sig", newline="") as file:
        out = csv.writer(file, quoting=csv.QUOTE_ALL)
        out.writerow(EXPORTED.names)
        for page in pages:
            out.writerows([_cell(record[name]) for name in EXPORTED.names] for record in page)
            written += len(page)

    return written


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")

    return spreadsheet_safe(str(value))


def _write_parquet(path: Path, pages: Iterator[list[dict[str, Any]]]) -> int:
    written = 0
    with pq.ParquetWriter(path, EXPORTED) as out:
        for page in pages:
            out.write_table(pa.Table.from_pylist(page, schema=EXPORTED))
            written += len(page)
    return written
