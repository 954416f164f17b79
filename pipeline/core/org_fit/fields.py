"""Salesforce fields as describe reports them, and the Arrow types that hold their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

NUMBER_TYPES: Final = frozenset({"double", "currency", "percent"})
TEXT_TYPES: Final = frozenset(
    {
        "string",
        "textarea",
        "url",
        "email",
        "phone",
        "picklist",
        "multipicklist",
        "combobox",
        "id",
        "reference",
        "encryptedstring",
        "time",
    }
)
DATETIME: Final = pa.timestamp("ms", tz="UTC")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object, as describe reports it to the signed-in user (API notes 2.1).

    `length` counts characters (text), `precision`, `scale` and `digits` decimal digits (numbers).
    """

    name: str
    label: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    digits: int = 0
    updateable: bool = True
    calculated: bool = False
    auto_number: bool = False
    restricted_picklist: bool = False
    picklist_values: tuple[str, ...] = ()
    custom: bool = False

    @property
    def integer_digits(self) -> int:
        """Return how many digits fit before the decimal point."""
        return self.digits if self.type == "int" else self.precision - self.scale

    @property
    def arrow_type(self) -> pa.DataType:
        """Return the Arrow type that holds the field's values.

        REST and Bulk write one value differently (`87` and `87.0`, `+0000` and `Z`). Typed, they
        agree.
        """
        if self.type in NUMBER_TYPES:
            return pa.float64()
        if self.type == "int":
            return pa.int64()
        if self.type == "boolean":
            return pa.bool_()
        if self.type == "date":
            return pa.date32()
        if self.type == "datetime":
            return DATETIME
        return pa.string()


@dataclass(frozen=True, slots=True)
class ObjectDescribe:
    """One object as the signed-in user sees it; a field the user may not read is absent."""

    name: str
    createable: bool
    updateable: bool
    queryable: bool
    fields: Mapping[str, Field] = field(default_factory=dict)


def in_other_case(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that differs from `name` in case alone, or None."""
    return next((other for other in names if other.lower() == name.lower()), None)
