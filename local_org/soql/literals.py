"""Values in SOQL: string escapes, LIKE patterns, date literals (API notes 2.3)."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

_SIMPLE: Final = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "b": "\b",
    "f": "\f",
    '"': '"',
    "'": "'",
    "\\": "\\",
}
_PIECE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\(.)|([^\\]+)", re.DOTALL)
# Two escapes of four digits that together are one character beyond the first 65,536.
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class BadEscape(ValueError):
    """A backslash before something that has no meaning after one."""


def _pieces(raw: str) -> Iterator[tuple[str, bool]]:
    """Give the text in pieces, each with whether it was an escaped ``%`` or ``_``."""
    for match in _PIECE.finditer(raw):
        code, escaped, plain = match.groups()
        if plain is not None:
            yield plain, False
        elif code is not None:
            yield chr(int(code, 16)), False
        # Only LIKE gives these a meaning, so it must know that they were escaped.
        elif escaped in "%_":
            yield escaped, True
        else:
            found = _SIMPLE.get(escaped) or _SIMPLE.get(escaped.lower())
            if found is None:
                raise BadEscape(f"Illegal character sequence '\\{escaped}' in string literal")
            yield found, False


def _join_surrogates(text: str) -> str:
    return _SURROGATES.sub(
        lambda pair: pair.group().encode("utf-16", "surrogatepass").decode("utf-16"), text
    )


def decode_string(raw: str) -> str:
    r"""Undo the escapes of a string literal: ``It\'s`` is ``It's``.

    Raises:
        BadEscape: a backslash pair that SOQL does not know.
    """
    return _join_surrogates("".join(text for text, _ in _pieces(raw)))


def like_pattern(raw: str) -> str:
    r"""Turn a literal after LIKE into SQLite's pattern, whose escape is ``\``.

    Raises:
        BadEscape: as ``decode_string``.
    """
    parts = []
    for text, escaped in _pieces(raw):
        parts.append("\\" + text if escaped else text.replace("\\", "\\\\"))
    return _join_surrogates("".join(parts))


def _month(day: date, shift: int) -> date:
    index = day.year * 12 + day.month - 1 + shift
    return date(index // 12, index % 12 + 1, 1)


def _week(day: date, shift: int) -> date:
    # Weeks begin on Sunday, as in the locale en_US.
    sunday = day - timedelta(days=(day.weekday() + 1) % 7)
    return sunday + timedelta(weeks=shift)


def _quarter(day: date, shift: int) -> date:
    first = date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
    return _month(first, 3 * shift)


def _year(day: date, shift: int) -> date:
    return date(day.year + shift, 1, 1)


def _day(day: date, shift: int) -> date:
    return day + timedelta(days=shift)


_UNITS: Final[dict[str, Callable[[date, int], date]]] = {
    "DAY": _day,
    "WEEK": _week,
    "MONTH": _month,
    "QUARTER": _quarter,
    "YEAR": _year,
}
_FIXED: Final = {"TODAY": ("DAY", 0), "YESTERDAY": ("DAY", -1), "TOMORROW": ("DAY", 1)}
_NAMED = re.compile(r"(LAST|THIS|NEXT)_(WEEK|MONTH|QUARTER|YEAR)")
_COUNTED = re.compile(r"(LAST|NEXT)_N_(DAY|WEEK|MONTH|QUARTER|YEAR)S:(\d+)")
_AGO = re.compile(r"N_(DAY|WEEK|MONTH|QUARTER|YEAR)S_AGO:(\d+)")
_SHIFT: Final = {"LAST": -1, "THIS": 0, "NEXT": 1}
_COUNT_MAX: Final = 9999


def date_range(word: str, now: datetime) -> tuple[date, date] | None:
    """Give the first day of a date literal, and the day after its last; None if it is none.

    Days are those of UTC, the time zone of the org's users.
    """
    name = word.upper()
    today = now.astimezone(UTC).date()

    if name in _FIXED:
        unit, shift = _FIXED[name]
        return _UNITS[unit](today, shift), _UNITS[unit](today, shift + 1)
    if match := _NAMED.fullmatch(name):
        start, shift = _UNITS[match[2]], _SHIFT[match[1]]
        return start(today, shift), start(today, shift + 1)

    if name in {"LAST_90_DAYS", "NEXT_90_DAYS"}:
        name = f"{name[:4]}_N_DAYS:90"
    if match := _COUNTED.fullmatch(name):
        return _counted_range(match[1], match[2], min(int(match[3]), _COUNT_MAX), today)
    if match := _AGO.fullmatch(name):
        start, count = _UNITS[match[1]], min(int(match[2]), _COUNT_MAX)
        return start(today, -count), start(today, 1 - count)

    return None


def _counted_range(way: str, unit: str, count: int, today: date) -> tuple[date, date]:
    start = _UNITS[unit]
    if way == "LAST":
        # LAST_N_DAYS runs through today; the longer units end with the last whole one.
        return start(today, -count), start(today, 1 if unit == "DAY" else 0)
    return start(today, 1), start(today, count + 1)


def day_start(day: date) -> datetime:
    """Give the time at which a day begins, in UTC."""
    return datetime.combine(day, time(), tzinfo=UTC)


def is_day(text: str) -> bool:
    """Tell whether ``yyyy-mm-dd`` is a day of the calendar."""
    year, month, day = (int(part) for part in text.split("-"))
    return year >= 1 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]  # noqa: PLR2004
