"""Values: how each field type is read from CSV or JSON, kept in SQLite, and written out again.

Kept as: text, ids, dates and date-times as TEXT (date-times as ``2026-01-02T03:04:05.000Z``, which
sorts as time does), checkboxes and int fields as INTEGER, other numbers as REAL.
Sizes and error texts: API notes 5, 2.5 and 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final, TypeAlias

from . import ids
from .clock import format_csv, parse_datetime
from .errors import RowError
from .options import Options
from .schema import NUMBER_TYPES, Field

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Stored: TypeAlias = "str | int | float | None"
Converter: TypeAlias = Callable[[str], "str | int | float | None"]

BLANKS: Final = " \t\r\n\f\v\0"
"""What trimming at save removes; a no-break space is not among it (API notes 8, item 4)."""
CLEAR: Final = "#N/A"
"""Ingest CSV text that sets a field to null."""
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# The form that Salesforce takes, which is narrower than the standard's.
_EMAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*/=?^_+\-`{|}~]+(?:\.[A-Za-z0-9!#$%&'*/=?^_+\-`{|}~]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}"
)
_LENIENT_BOOLEANS = {"true": 1, "false": 0, "1": 1, "0": 0}
_STRICT_BOOLEANS = {"true": 1, "false": 0}
# Salesforce takes no date outside of these years.
_YEARS = range(1700, 4001)
# Between these Java writes a double without an exponent.
_JAVA_PLAIN_MAX = 1e7
_JAVA_PLAIN_MIN = 1e-3


class BadValue(Exception):
    """A value that its field cannot take; carries the row's error."""

    def __init__(self, error: RowError) -> None:
        """Keep the error."""
        super().__init__(error.message)
        self.error = error


class WrongType(Exception):
    """Text that cannot be read as the field's type; CSV and JSON word this differently."""


def _refuse(entry: Field, code: str, message: str) -> BadValue:
    return BadValue(RowError(code, f"{entry.label}: {message}", (entry.name,)))


# --- text to stored value, one function per type -------------------------------------------------


def _text(entry: Field, options: Options) -> Converter:
    length, trim = entry.length, options.trim_text
    crlf = entry.type == "textarea" and options.textarea_line_ending == "crlf"

    def convert(raw: str) -> Stored:
        value = raw.strip(BLANKS) if trim else raw
        if crlf:
            value = value.replace("\r\n", "\n").replace("\n", "\r\n")
        if len(value) > length:
            excerpt = value if len(value) <= _EXCERPT_MAX else value[:_EXCERPT_MAX]
            raise _refuse(
                entry, "STRING_TOO_LONG", f"data value too large: {excerpt} (max length={length})"
            )
        return value or None

    return convert


_EXCERPT_MAX = 1000


def _email(entry: Field, options: Options) -> Converter:
    plain = _text(entry, options)

    def convert(raw: str) -> Stored:
        value = plain(raw)
        if value is not None and _EMAIL.fullmatch(str(value)) is None:
            raise _refuse(entry, "INVALID_EMAIL_ADDRESS", f"invalid email address: {value}")
        return value

    return convert


def _picklist(entry: Field, options: Options) -> Converter:
    plain = _text(entry, options)
    if not entry.restricted:
        return plain
    active = frozenset(choice.value for choice in entry.choices if choice.active)
    several = entry.type == "multipicklist"

    def convert(raw: str) -> Stored:
        value = plain(raw)
        if value is None:
            return None

        parts = str(value).split(";") if several else [str(value)]
        for part in parts:
            if part not in active:
                raise _refuse(
                    entry,
                    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                    f"bad value for restricted picklist field: {part}",
                )
        return value

    return convert


def _boolean(spelled: dict[str, int], *, fold: bool) -> Converter:
    def convert(raw: str) -> Stored:
        value = spelled.get(raw.lower() if fold else raw)
        if value is None:
            raise WrongType(raw)
        return value

    return convert


def _double(entry: Field, options: Options) -> Converter:
    scale = entry.scale
    limit = 10.0 ** (entry.precision - scale) if entry.precision else float("inf")
    step = Decimal(1).scaleb(-scale)
    strict = options.number_rounding == "error"

    def convert(raw: str) -> Stored:
        raw = raw.strip(BLANKS)
        if _NUMBER.fullmatch(raw) is None:
            raise WrongType(raw)
        value = float(raw)

        # Rounded as decimals: in binary, halves are not exact.
        if scale or value % 1:
            exact = Decimal(raw)
            rounded = exact.quantize(step, ROUND_HALF_UP) if abs(value) < limit else exact
            if strict and rounded != exact:
                raise _refuse(
                    entry, "NUMBER_OUTSIDE_VALID_RANGE", f"more than {scale} decimals: {raw}"
                )
            value = float(rounded)

        if not -limit < value < limit:
            raise _refuse(
                entry,
                "NUMBER_OUTSIDE_VALID_RANGE",
                f"value outside of valid range on numeric field: {java_double(value)}",
            )
        return value

    return convert


def _int(entry: Field, options: Options) -> Converter:
    limit = 10 ** (entry.digits or 9)
    whole = options.csv_whole_ints

    def convert(raw: str) -> Stored:
        raw = raw.strip(BLANKS)
        if _NUMBER.fullmatch(raw) is None:
            raise WrongType(raw)

        exact = Decimal(raw)
        if exact != exact.to_integral_value() or (not whole and "." in raw):
            raise WrongType(raw)

        value = int(exact)
        if not -limit < value < limit:
            raise _refuse(
                entry,
                "NUMBER_OUTSIDE_VALID_RANGE",
                f"value outside of valid range on numeric field: {value}",
            )
        return value

    return convert


# The rows of a file share their dates: each is read once.
@lru_cache(maxsize=65536)
def _read_date(raw: str) -> str:
    if _DATE.fullmatch(raw) is None:
        raise WrongType(raw)
    try:
        day = date.fromisoformat(raw)
    except ValueError:
        raise WrongType(raw) from None
    if day.year not in _YEARS:
        raise WrongType(raw)
    return raw


@lru_cache(maxsize=65536)
def _read_datetime(raw: str) -> str:
    try:
        value = parse_datetime(raw)
    except (ValueError, OverflowError):
        raise WrongType(raw) from None
    if value.year not in _YEARS:
        raise WrongType(raw)
    return format_csv(value)


def read_datetime(raw: str) -> Stored:
    """Read a date-time to its stored text; seconds are kept, fractions dropped."""
    return _read_datetime(raw.strip(BLANKS))


def _date(raw: str) -> Stored:
    return _read_date(raw.strip(BLANKS)[:10] if "T" in raw else raw.strip(BLANKS))


def _reference(entry: Field) -> Converter:
    # The same parents and owners come again and again in a file.
    @lru_cache(maxsize=16384)
    def convert(raw: str) -> Stored:
        try:
            return ids.normalise(raw.strip(BLANKS))
        except ValueError:
            raise _refuse(entry, "MALFORMED_ID", f"id value of incorrect type: {raw}") from None

    return convert


def converter(entry: Field, options: Options, *, csv: bool) -> Converter:
    """Give the function that reads text of this field to what is stored.

    It raises ``BadValue`` (the value does not fit) or ``WrongType`` (it cannot be read at all).
    """
    if entry.type == "boolean":
        lenient = not csv or options.csv_booleans == "lenient"
        return _boolean(_LENIENT_BOOLEANS if lenient else _STRICT_BOOLEANS, fold=lenient)
    if entry.type in _WITHOUT_FIELD:
        return _WITHOUT_FIELD[entry.type]
    if entry.type in {"reference", "id"}:
        return _reference(entry)
    return _WITH_OPTIONS.get(entry.type, _text)(entry, options)


_WITHOUT_FIELD: Final[dict[str, Converter]] = {"date": _date, "datetime": read_datetime}
_WITH_OPTIONS: Final[dict[str, Callable[[Field, Options], Converter]]] = {
    "double": _double,
    "currency": _double,
    "percent": _double,
    "int": _int,
    "email": _email,
    "picklist": _picklist,
    "multipicklist": _picklist,
}


def deserialize_error(entry: Field, raw: str, column: int) -> RowError:
    """Build the error of a wrong type, as Bulk does (API notes 3.2)."""
    return RowError(
        "INVALID_FIELD",
        f"Failed to deserialize field at col {column}. Due to, '{raw}' is not a valid value "
        f"for the type {entry.soap_type()}",
        (entry.name,),
    )


def json_text(entry: Field, value: Json) -> str:
    """Turn a JSON value (not null) into the text that ``converter`` reads.

    Raises:
        WrongType: the JSON type cannot go into the field (a number into text, a list ...).
    """
    if isinstance(value, str):
        return value
    # Asked before int: in Python True is one.
    if isinstance(value, bool):
        if entry.type == "boolean":
            return "true" if value else "false"
    elif isinstance(value, int | float) and entry.type in NUMBER_TYPES | {"int"}:
        return repr(value)
    raise WrongType(_token(value))


_JSON_KIND = {
    "boolean": "boolean",
    "int": "int",
    "date": "date",
    "datetime": "datetime",
}


def _token(value: Json) -> str:
    if isinstance(value, bool):
        return f"VALUE_{str(value).upper()} value {str(value).lower()}"
    if isinstance(value, int):
        return f"VALUE_NUMBER_INT value {value}"
    if isinstance(value, float):
        return f"VALUE_NUMBER_FLOAT value {value}"
    if isinstance(value, str):
        return f"VALUE_STRING value {value}"
    return "START_ARRAY token" if isinstance(value, list) else "START_OBJECT token"


def parser_message(entry: Field, value: Json) -> str:
    """Give the message for a JSON value of the wrong type: JSON_PARSER_ERROR."""
    kind = "double" if entry.type in NUMBER_TYPES else _JSON_KIND.get(entry.type, "string")
    return (
        f"Cannot deserialize instance of {kind} from {_token(value)} or request may be missing "
        "a required field at [line:1, column:1]"
    )


# --- stored value to output ----------------------------------------------------------------------


def java_double(value: float) -> str:
    """Write a double as Java does: ``87.0``, ``1.6147805824397E13``, ``1.0E-4``."""
    size = abs(value)
    if _JAVA_PLAIN_MIN <= size < _JAVA_PLAIN_MAX or size == 0:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) + int(exponent) - 1
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{power}"


def json_datetime(stored: str) -> str:
    """Turn a stored date-time into the form of REST JSON (``+0000`` for ``Z``)."""
    return stored[:-1] + "+0000"
