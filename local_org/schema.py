"""Objects and fields as describe shows them (API notes 2.1), and how each is kept in SQLite.

A ``Field`` knows what it is; who may read or write it is in ``permissions.py``; how its values are
read and written is in ``values.py``; the standard objects themselves are in ``standard.py``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from .errors import not_found

TEXT_TYPES: Final = frozenset(
    {
        "string",
        "textarea",
        "phone",
        "email",
        "url",
        "picklist",
        "multipicklist",
        "combobox",
        "encryptedstring",
    }
)
NUMBER_TYPES: Final = frozenset({"double", "currency", "percent"})
ID_TYPES: Final = frozenset({"id", "reference"})
LONG_TEXT_LENGTH: Final = 255
"""Text areas longer than this cannot be filtered or sorted (API notes 2.3)."""

_SOAP = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "address": "urn:address",
}
# Text otherwise. Date-times too: their text sorts as time does.
_SQL_TYPE = {
    "boolean": "INTEGER",
    "int": "INTEGER",
    "double": "REAL",
    "currency": "REAL",
    "percent": "REAL",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a picklist."""

    value: str
    label: str = ""
    active: bool = True
    default: bool = False

    def describe(self) -> dict[str, object]:
        """Give it as describe does."""
        return {
            "active": self.active,
            "defaultValue": self.default,
            "label": self.label or self.value,
            "validFor": None,
            "value": self.value,
        }


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object: what describe says, and what the org needs beside it."""

    name: str
    label: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    digits: int = 0
    nillable: bool = True
    createable: bool = True
    updateable: bool = True
    defaulted_on_create: bool = False
    default_value: Any = None
    filterable: bool = True
    sortable: bool = True
    groupable: bool = True
    id_lookup: bool = False
    name_field: bool = False
    custom: bool = False
    external_id: bool = False
    unique: bool = False
    case_sensitive: bool = False
    calculated: bool = False
    formula: str | None = None
    auto_number: bool = False
    permissionable: bool = True
    compound: str | None = None
    reference_to: tuple[str, ...] = ()
    relationship_name: str | None = None
    choices: tuple[Choice, ...] = ()
    restricted: bool = False
    help_text: str | None = None
    description: str | None = None
    extra_type: str | None = None
    sql: str | None = None
    """SQL over ``{t}``, the table's alias, for a standard field that is computed (Name)."""
    when: str | None = None
    """Name of the option that makes the field exist, for instance ``person_accounts``."""
    field_id: str | None = None
    """``00N`` id of a custom field."""

    @property
    def is_stored(self) -> bool:
        """Tell whether the field has a column of its own."""
        return self.sql is None and not (self.calculated and self.formula)

    @property
    def sql_type(self) -> str:
        """Give the SQLite type of the column."""
        return _SQL_TYPE.get(self.type, "TEXT")

    @property
    def is_text(self) -> bool:
        """Tell whether values are text in which case does not count."""
        return self.type in TEXT_TYPES

    @property
    def is_required(self) -> bool:
        """Tell whether a record cannot be without a value, and none is filled in by the org."""
        return not self.nillable and not self.defaulted_on_create and self.createable

    @property
    def is_system(self) -> bool:
        """Tell whether field-level security does not apply to the field.

        A required field is seen by all. A checkbox is never null, but not therefore required.
        """
        required = not self.nillable and not (self.custom and self.type == "boolean")
        return not self.permissionable or required

    def soap_type(self) -> str:
        """Give the XML schema type, as describe and bulk errors name it."""
        return _SOAP.get(self.type, "xsd:string")

    def byte_length(self) -> int:
        """Give ``byteLength``: three bytes a character, 18 for ids, else 0 (API notes 2.1)."""
        if self.type in ID_TYPES:
            return self.length
        return self.length * 3 if self.is_text else 0

    def describe(self, *, createable: bool, updateable: bool) -> dict[str, object]:
        """Give every key that a real field has, for a user with these rights."""
        return {
            "aggregatable": self.type not in {"address", "boolean"} and self.filterable,
            "aiPredictionField": False,
            "autoNumber": self.auto_number,
            "byteLength": self.byte_length(),
            "calculated": self.calculated,
            "calculatedFormula": self.formula,
            "cascadeDelete": False,
            "caseSensitive": self.case_sensitive,
            "compoundFieldName": self.compound,
            "controllerName": None,
            "createable": createable,
            "custom": self.custom,
            "defaultValue": self.default_value,
            "defaultValueFormula": None,
            "defaultedOnCreate": self.defaulted_on_create,
            "dependentPicklist": False,
            "deprecatedAndHidden": False,
            "digits": self.digits,
            "displayLocationInDecimal": False,
            "encrypted": False,
            "externalId": self.external_id,
            "extraTypeInfo": self.extra_type,
            "filterable": self.filterable,
            "filteredLookupInfo": None,
            "formulaTreatNullNumberAsZero": self.calculated and self.type in NUMBER_TYPES,
            "groupable": self.groupable and self.type not in {"datetime", "address"},
            "highScaleNumber": False,
            "htmlFormatted": False,
            "idLookup": self.id_lookup,
            "inlineHelpText": self.help_text,
            "label": self.label,
            "length": self.length,
            "mask": None,
            "maskType": None,
            "name": self.name,
            "nameField": self.name_field,
            "namePointing": len(self.reference_to) > 1,
            "nillable": self.nillable,
            "permissionable": not self.is_system,
            "picklistValues": [choice.describe() for choice in self.choices],
            "polymorphicForeignKey": len(self.reference_to) > 1,
            "precision": self.precision,
            "queryByDistance": self.type == "address",
            "referenceTargetField": None,
            "referenceTo": list(self.reference_to),
            "relationshipName": self.relationship_name,
            "relationshipOrder": None,
            "restrictedDelete": False,
            "restrictedPicklist": self.restricted,
            "scale": self.scale,
            "searchPrefilterable": self.type in ID_TYPES,
            "soapType": self.soap_type(),
            "sortable": self.sortable,
            "type": self.type,
            "unique": self.unique,
            "updateable": updateable,
            "writeRequiresMasterRead": False,
        }

    def to_json(self) -> dict[str, Any]:
        """Give the field's own facts, to be kept in the data file."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Field:
        """Read back what ``to_json`` gave; facts that are not there get their defaults."""
        # A data file may come from another version of this program.
        known = {entry.name for entry in fields(cls)}
        kept = {name: value for name, value in facts.items() if name in known}
        kept["choices"] = tuple(Choice(**choice) for choice in kept.get("choices", ()))
        kept["reference_to"] = tuple(kept.get("reference_to", ()))
        return cls(**kept)


@dataclass
class SObject:
    """One object: its names, its fields in describe order, its relations."""

    name: str
    label: str
    label_plural: str
    key_prefix: str
    fields: dict[str, Field] = field(default_factory=dict)
    setup: bool = False
    """A setup object (users, permissions): written by admins alone, never by bulk jobs."""
    createable: bool = True
    updateable: bool = True
    deletable: bool = True
    mergeable: bool = False
    child_relationships: tuple[tuple[str, str, str | None], ...] = ()
    """(child object, its field, relationship name), filled in by the schema."""

    def field(self, name: str) -> Field | None:
        """Find a field by its API name, whatever the case."""
        return self.fields.get(name.lower())

    def required_field(self, name: str) -> Field:
        """Find a field that the org's own code relies on."""
        return self.fields[name.lower()]

    def relation(self, name: str) -> Field | None:
        """Find the lookup field behind a relationship name such as ``Account``."""
        wanted = name.lower()
        for entry in self.fields.values():
            if entry.relationship_name and entry.relationship_name.lower() == wanted:
                return entry
        return None

    def add(self, entry: Field) -> None:
        """Add a field, or put another in its place."""
        self.fields[entry.name.lower()] = entry

    @property
    def has_deleted(self) -> bool:
        """Tell whether records go to the recycle bin when deleted."""
        return "isdeleted" in self.fields


class Schema:
    """All objects, found by name or key prefix."""

    def __init__(self, objects: list[SObject]) -> None:
        """Take the objects, in the order of global describe."""
        self._objects = {entry.name.lower(): entry for entry in objects}
        # An id's first three characters name its object, as in Salesforce.
        self._prefixes = {entry.key_prefix: entry for entry in objects}
        self.relate()

    def relate(self) -> None:
        """Work out the child relationships from the lookup fields."""
        children: dict[str, list[tuple[str, str, str | None]]] = {}
        for entry in self._objects.values():
            for lookup in entry.fields.values():
                for target in lookup.reference_to:
                    children.setdefault(target, []).append((entry.name, lookup.name, None))
        for entry in self._objects.values():
            entry.child_relationships = tuple(children.get(entry.name, ()))

    def find(self, name: str) -> SObject | None:
        """Find an object by its API name, whatever the case."""
        return self._objects.get(name.lower())

    def object(self, name: str) -> SObject:
        """Find an object by its API name.

        Raises:
            SalesforceError: 404 NOT_FOUND.
        """
        found = self.find(name)
        if found is None:
            raise not_found()
        return found

    def by_prefix(self, prefix: str) -> SObject | None:
        """Find the object whose ids start with these three characters."""
        return self._prefixes.get(prefix)

    def objects(self) -> list[SObject]:
        """List all objects, by name."""
        return sorted(self._objects.values(), key=lambda entry: entry.name)


def with_facts(entry: Field, **facts: Any) -> Field:
    """Give the field with some facts replaced."""
    return replace(entry, **facts)
