"""Custom fields: from the Tooling API's metadata to a ``Field`` (API notes 6.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .errors import SalesforceError
from .schema import LONG_TEXT_LENGTH, Choice, Field

# A letter first, no double underscore, none at the end: Setup's own rule.
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9]|_(?!_))*(?<!_)__c")
_TYPES: Final = {
    "Checkbox": "boolean",
    "Number": "double",
    "Currency": "currency",
    "Percent": "percent",
    "Text": "string",
    "TextArea": "textarea",
    "LongTextArea": "textarea",
    "Html": "textarea",
    "Url": "url",
    "Email": "email",
    "Phone": "phone",
    "Picklist": "picklist",
    "MultiselectPicklist": "multipicklist",
    "Date": "date",
    "DateTime": "datetime",
    "Lookup": "reference",
}
_LENGTHS: Final = {"TextArea": 255, "Url": 255, "Email": 80, "Phone": 40, "Picklist": 255}
_NAME_MAX: Final = 40
_NUMBER_DIGITS_MAX: Final = 18
_TEXT_MAX: Final = 255
_LONG_TEXT_MAX: Final = 131_072
# What describe gives for every multi-select picklist.
_MULTI_LENGTH: Final = 4099
_EXTERNAL_TYPES: Final = frozenset({"Text", "Number", "Email"})


def _invalid(message: str) -> SalesforceError:
    return SalesforceError(400, "FIELD_INTEGRITY_EXCEPTION", message)


def _unsupported(kind: str) -> SalesforceError:
    return SalesforceError(
        400, "INVALID_FIELD", f"Custom field type {kind!r} is not supported by the local org"
    )


def field_from_metadata(name: str, metadata: Mapping[str, Any], field_id: str) -> Field:
    """Make the field that Tooling metadata asks for.

    Raises:
        SalesforceError: the name or a property is not allowed, or the type is unknown here.
    """
    if _NAME.fullmatch(name) is None or len(name.removesuffix("__c")) > _NAME_MAX:
        raise _invalid(
            "The Custom Field Name can only contain underscores and alphanumeric characters. It "
            "must be unique, begin with a letter, not include spaces, not end with an underscore, "
            "and not contain two consecutive underscores."
        )

    kind = str(metadata.get("type", ""))
    label = metadata.get("label")
    if not label:
        raise SalesforceError(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Label]")
    if kind not in _TYPES:
        raise _unsupported(kind)

    required = bool(metadata.get("required", False))
    facts: dict[str, Any] = {
        "custom": True,
        "nillable": not required and kind != "Checkbox",
        "help_text": metadata.get("inlineHelpText"),
        "description": metadata.get("description"),
        "external_id": bool(metadata.get("externalId", False)),
        "unique": bool(metadata.get("unique", False)),
        "case_sensitive": bool(metadata.get("caseSensitive", False)),
        "field_id": field_id,
    }

    if facts["external_id"]:
        if kind not in _EXTERNAL_TYPES:
            raise _invalid(f"Can not specify 'externalId' for a CustomField of type {kind}")
        facts["id_lookup"] = True
    facts |= _size(name, kind, metadata) | _kind_facts(name, kind, metadata)

    if formula := metadata.get("formula"):
        facts |= _formula_facts(str(formula), kind)
    return Field(name, str(label), _TYPES[kind], **facts)


def _formula_facts(formula: str, kind: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "calculated": True,
        "formula": formula,
        "createable": False,
        "updateable": False,
        "nillable": kind != "Checkbox",
        "defaulted_on_create": False,
    }
    # A formula's text has this length whatever the metadata says.
    if kind == "Text":
        facts["length"] = 1300
    return facts


def _size(name: str, kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    if kind in {"Number", "Currency", "Percent"}:
        return _number_size(name, kind, metadata)
    if kind == "Text":
        return {"length": _length(name, metadata, 1, _TEXT_MAX)}

    if kind in {"LongTextArea", "Html"}:
        if "visibleLines" not in metadata:
            raise SalesforceError(
                400,
                "FIELD_INTEGRITY_EXCEPTION",
                f"Must specify 'visibleLines' for a CustomField of type {kind}",
            )
        return {
            "length": _length(name, metadata, LONG_TEXT_LENGTH + 1, _LONG_TEXT_MAX),
            "filterable": False,
            "sortable": False,
            "groupable": False,
            "extra_type": "richtextarea" if kind == "Html" else "plaintextarea",
        }

    if kind == "TextArea":
        return {"length": _LENGTHS[kind], "extra_type": "plaintextarea", "groupable": False}
    if kind == "MultiselectPicklist":
        return {"length": _MULTI_LENGTH, "sortable": False, "groupable": False}
    return {"length": _LENGTHS.get(kind, 0)}


def _number_size(name: str, kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    for part in ("precision", "scale"):
        if part not in metadata and not metadata.get("formula"):
            raise _invalid(f"Must specify '{part}' for a CustomField of type {kind}")

    precision = int(metadata.get("precision", _NUMBER_DIGITS_MAX))
    scale = int(metadata.get("scale", 0))
    if not 1 <= precision <= _NUMBER_DIGITS_MAX or not 0 <= scale < precision:
        raise _invalid(f"{name}: precision {precision} and scale {scale} do not go together")
    return {"precision": precision, "scale": scale}


def _length(name: str, metadata: Mapping[str, Any], least: int, most: int) -> int:
    if "length" not in metadata:
        if metadata.get("formula"):
            return most
        raise _invalid("Must specify 'length' for a CustomField of type " + str(metadata["type"]))

    length = int(metadata["length"])
    if not least <= length <= most:
        raise _invalid(f"{name}: length must be between {least} and {most}, not {length}")
    return length


def _kind_facts(name: str, kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "Checkbox":
        default = str(metadata.get("defaultValue", "false")).lower() == "true"
        return {"defaulted_on_create": True, "default_value": default}
    if kind in {"Picklist", "MultiselectPicklist"}:
        return _value_set(metadata)

    if kind == "Lookup":
        target = metadata.get("referenceTo")
        if not target:
            raise _invalid("Must specify 'referenceTo' for a CustomField of type Lookup")
        return {
            "length": 18,
            "reference_to": (str(target),),
            "relationship_name": name.removesuffix("__c") + "__r",
        }

    return {}


def _value_set(metadata: Mapping[str, Any]) -> dict[str, Any]:
    value_set = metadata.get("valueSet") or {}
    values = (value_set.get("valueSetDefinition") or {}).get("value") or []
    choices = tuple(
        Choice(
            str(entry.get("fullName") or entry.get("valueName")),
            str(entry.get("label") or entry.get("fullName") or entry.get("valueName")),
            entry.get("isActive") is not False,
            bool(entry.get("default", False)),
        )
        for entry in values
    )

    # At most one is the default; the first counts, as in Setup.
    default = next((choice.value for choice in choices if choice.default), None)
    return {
        "choices": choices,
        "restricted": bool(value_set.get("restricted", False)),
        "defaulted_on_create": default is not None,
        "default_value": default,
    }
