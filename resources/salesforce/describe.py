"""Reading describe answers: what the signed-in user may see and write (API notes 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.org_fit.fields import Field, ObjectDescribe


def object_from_describe(answer: Mapping[str, Any]) -> ObjectDescribe:
    """Return the object that a describe answer tells of; unreadable fields are absent."""
    fields = (_field(entry) for entry in answer["fields"])
    return ObjectDescribe(
        name=answer["name"],
        createable=answer["createable"],
        updateable=answer["updateable"],
        queryable=answer["queryable"],
        fields={field.name: field for field in fields},
    )


def _field(entry: Mapping[str, Any]) -> Field:
    """Return one field; of its picklist only the active values, as the API writes them."""
    values = entry.get("picklistValues") or ()
    return Field(
        name=entry["name"],
        label=entry["label"],
        type=entry["type"],
        length=entry.get("length") or 0,
        precision=entry.get("precision") or 0,
        scale=entry.get("scale") or 0,
        digits=entry.get("digits") or 0,
        updateable=entry["updateable"],
        calculated=entry.get("calculated", False),
        auto_number=entry.get("autoNumber", False),
        restricted_picklist=entry.get("restrictedPicklist", False),
        picklist_values=tuple(value["value"] for value in values if value.get("active", True)),
        custom=entry.get("custom", False),
    )
