"""What is wrong in the configuration as written: at which key, what was found, what is allowed.

Where a key stands (file and line) is the reader's knowledge: `configuration` puts the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

KeyPath = tuple[str | int, ...]
"""Keys and positions from the top of a file down to a value, as in `("outputs", "score")`."""

NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{0,59}$"
MODEL_PATTERN: Final = r"^[\w./-]+\.py:[A-Za-z_]\w*$"
FIELD_NAME_PATTERN: Final = r"^[A-Za-z]\w{0,79}$"
FIELD_PATH_PATTERN: Final = r"^(Account\.)?[A-Za-z]\w{0,79}$"
TIME_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
DATE_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}$"
ASKED_BY_PATTERN: Final = {
    NAME_PATTERN: "a name is up to 60 small letters, digits and _, a letter first",
    MODEL_PATTERN: "file.py:function is expected, as in model.py:load",
    FIELD_NAME_PATTERN: "the API name of a field of the object itself is expected, as in PI_Score__c",
    FIELD_PATH_PATTERN: "a field's API name is expected, as in Company, or on Contact Account.Name",
    TIME_PATTERN: "hours and minutes are expected, as in 02:00",
    DATE_PATTERN: "a date is expected, as in 2026-01-31",
}
"""The patterns of what is written, and what each asks for in words."""

CHOICES_SHOWN_MAX: Final = 40
FOUND_LENGTH_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake at one key.

    `integration` names the file where the mistake is one between integrations. `line` (from 1) is
    given where the key alone does not say it, as with a key that is there twice.
    """

    key: KeyPath
    message: str
    integration: str = ""
    line: int | None = None

    def __str__(self) -> str:
        """Say at which key, and what is wrong."""
        return f"{key_text(self.key)}: {self.message}" if self.key else self.message


def key_text(key: KeyPath) -> str:
    """Return a key as people write it, on one line: `outputs.score`, `reference.0.file`."""
    return ".".join(
        str(part) if str(part).isprintable() and part != "" else repr(part) for part in key
    )


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the right name that `name` was most likely meant to be, whatever its case, or None."""
    by_folded = {right.casefold(): right for right in allowed}
    # Cut: the comparison takes time by the square of the length, and files may hold anything.
    near = get_close_matches(name[:200].casefold(), by_folded, n=1)
    return by_folded[near[0]] if near else None


def list_choices(
    name: str,
    allowed: Iterable[str],
    *,
    lead: str = "it has",
    rule: str = "",
) -> str:
    """Return the end of a message: what is allowed, the nearest of it, and the rule (as `R8`)."""
    names = list(allowed)
    listed = ", ".join(names[:CHOICES_SHOWN_MAX]) or "none"
    more = f" and {len(names) - CHOICES_SHOWN_MAX} more" if len(names) > CHOICES_SHOWN_MAX else ""
    cited = f" ({rule})" if rule else ""

    near = nearest(name, names)
    if near:
        return f"{lead} {listed}{more}; did you mean {near!r}?{cited}"
    return f"{lead} {listed}{more}{cited}."


def near_or_all(name: str, allowed: Sequence[str], none: str = "none") -> str:
    """Return the end of a message: the nearest that is allowed, or all where nothing is near."""
    near = nearest(name, allowed)
    return f"did you mean {near!r}?" if near else f"there are {', '.join(allowed) or none}."


def display(value: Any) -> str:
    """Return a value as a message quotes it: of keys and values and of lists only that they are."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "keys and values"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= FOUND_LENGTH_MAX else f"{text[:FOUND_LENGTH_MAX]}…"


def mistakes_in(
    model: type[BaseModel], error: ValidationError, *, hidden: Sequence[str] = ()
) -> list[Mistake]:
    """Put pydantic's findings in our words; `hidden` are keys of `model` that no file may hold."""
    return [
        Mistake(key, _sentence(model, key, item, hidden))
        for item in error.errors(include_url=False)
        for key in [tuple(part for part in item["loc"] if part != "[key]")]
    ]


_EXPECTED: Final = {
    "string_type": "text is expected",
    "int_type": "a whole number is expected",
    "int_parsing": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "float_type": "a number is expected",
    "float_parsing": "a number is expected",
    "bool_type": "true or false is expected",
    "bool_parsing": "true or false is expected",
    "dict_type": "keys and values are expected",
    "model_type": "keys and values are expected",
    "model_attributes_type": "keys and values are expected",
    "list_type": "a list is expected",
    "tuple_type": "a list is expected",
    "greater_than_equal": "{ge} is the least",
    "less_than_equal": "{le} is the most",
    "string_too_short": "it may not be empty",
    "string_too_long": "{max_length} characters are the most",
}
"""What pydantic's kinds of error mean to the person who wrote the file."""


def _sentence(model: type[BaseModel], key: KeyPath, item: Any, hidden: Sequence[str]) -> str:
    kind, value, context = item["type"], item["input"], item.get("ctx", {})

    if kind == "missing":
        return "this key is missing; it must be given."
    if kind == "value_error":
        return _with_full_stop(item["msg"].removeprefix("Value error, "))
    if kind == "extra_forbidden":
        known = [name for name in _keys_at(model, key[:-1]) if name not in hidden]
        return f"unknown key; {list_choices(str(key[-1]), known, lead='allowed here are')}"
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return f"found {display(value)}; {list_choices(str(value), allowed, lead='allowed are')}"
    if kind == "string_pattern_mismatch":
        asked = ASKED_BY_PATTERN.get(context["pattern"], f"it has to match {context['pattern']}")
        return f"found {display(value)}; {asked}."

    expected = _EXPECTED.get(kind)
    if expected is None:
        return _with_full_stop(f"found {display(value)}; {item['msg']}")
    return f"found {display(value)}; {expected.format(**context)}{_hint(kind, value)}."


def _hint(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        return ": write it in quotes"
    if kind == "int_type" and isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        return ": write it without quotes"
    if kind == "bool_type" and str(value).lower() in ("true", "false"):
        return ": write it without quotes"
    if kind in ("dict_type", "model_type") and value is None:
        return ": write {} or leave the key out" if kind == "dict_type" else ""
    return ""


def _with_full_stop(text: str) -> str:
    return text if text.endswith((".", "?", ")")) else f"{text}."


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that may stand at `path`, below mappings and lists of models."""
    inside: Any = model
    for part in path:
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            field = inside.model_fields.get(str(part))
            inside = field.annotation if field else None
        else:
            arguments = get_args(inside) or (None,)
            inside = arguments[-1 if get_origin(inside) is dict else 0]

        options = [option for option in get_args(inside) if option is not NoneType]
        if len(options) < len(get_args(inside)):  # optional
            inside = options[0]
    return list(getattr(inside, "model_fields", ()))
