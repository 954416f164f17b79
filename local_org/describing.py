"""Describe answers, as one user sees them (API notes 2.1)."""

from __future__ import annotations

from typing import Any

from .data_file import DataFile
from .permissions import Access
from .rights import Rights
from .schema import Field, SObject


class Describes:
    """The answers to describe calls."""

    def __init__(self, data: DataFile, rights: Rights) -> None:
        """Keep the schema, and who may see what of it."""
        self._data = data
        self._rights = rights

    def all(self, user_id: str, version: str) -> dict[str, Any]:
        """Give the objects that the user sees (``GET /sobjects``)."""
        access = self._rights.access(user_id)
        return {
            "encoding": "UTF-8",
            "maxBatchSize": 200,
            "sobjects": [
                summary(owner, access, version)
                for owner in self._data.objects()
                if access.object_rights(owner).read
            ],
        }

    def whole(self, object_name: str, user_id: str, version: str) -> dict[str, Any]:
        """Describe an object as the user sees it (``GET /sobjects/Lead/describe``)."""
        owner, access = self._rights.visible(object_name, user_id)
        return describe_object(owner, access, version)

    def basic(self, object_name: str, user_id: str, version: str) -> dict[str, Any]:
        """Give the answer of ``GET /sobjects/Lead``."""
        owner, access = self._rights.visible(object_name, user_id)
        return {"objectDescribe": summary(owner, access, version), "recentItems": []}


def _urls(entry: SObject, version: str) -> dict[str, str]:
    base = f"/services/data/v{version}/sobjects/{entry.name}"
    return {"sobject": base, "describe": f"{base}/describe", "rowTemplate": f"{base}/{{ID}}"}


def summary(entry: SObject, access: Access, version: str) -> dict[str, Any]:
    """Give the object's entry in global describe."""
    rights = access.object_rights(entry)
    return {
        "activateable": False,
        "associateEntityType": None,
        "associateParentEntity": None,
        "createable": entry.createable and rights.create,
        "custom": False,
        "customSetting": False,
        "deepCloneable": False,
        "deletable": entry.deletable and rights.delete,
        "deprecatedAndHidden": False,
        "feedEnabled": not entry.setup,
        "hasSubtypes": False,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": entry.key_prefix,
        "label": entry.label,
        "labelPlural": entry.label_plural,
        "layoutable": not entry.setup,
        "mergeable": entry.mergeable,
        "mruEnabled": not entry.setup,
        "name": entry.name,
        "queryable": rights.read,
        "replicateable": not entry.setup,
        "retrieveable": rights.read,
        "searchable": not entry.setup,
        "triggerable": not entry.setup,
        "undeletable": entry.has_deleted and rights.delete,
        "updateable": entry.updateable and rights.edit,
        "urls": _urls(entry, version),
    }


def describe_field(owner: SObject, entry: Field, access: Access) -> dict[str, Any]:
    """Give a field as this user sees it: who cannot edit it sees it as neither writable way."""
    return entry.describe(
        createable=access.createable(owner, entry), updateable=access.updateable(owner, entry)
    )


def describe_object(entry: SObject, access: Access, version: str) -> dict[str, Any]:
    """Give the whole describe; fields that the user cannot read are absent."""
    fields = [
        describe_field(entry, found, access)
        for found in entry.fields.values()
        if access.readable(entry, found)
    ]

    return summary(entry, access, version) | {
        "actionOverrides": [],
        "childRelationships": [
            {
                "cascadeDelete": False,
                "childSObject": child,
                "deprecatedAndHidden": False,
                "field": lookup,
                "junctionIdListNames": [],
                "junctionReferenceTo": [],
                "relationshipName": name,
                "restrictedDelete": False,
            }
            for child, lookup, name in entry.child_relationships
        ],
        "compactLayoutable": not entry.setup,
        "defaultImplementation": None,
        "extendedBy": None,
        "extendsInterfaces": None,
        "fields": fields,
        "implementedBy": None,
        "implementsInterfaces": None,
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        # The master record type alone: the org has no others.
        "recordTypeInfos": [
            {
                "active": True,
                "available": True,
                "defaultRecordTypeMapping": True,
                "developerName": "Master",
                "master": True,
                "name": "Master",
                "recordTypeId": "012000000000000AAA",
                "urls": {
                    "layout": f"{_urls(entry, version)['describe']}/layouts/012000000000000AAA"
                },
            }
        ],
        "searchLayoutable": not entry.setup,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [
            {"label": f"All {entry.label_plural.lower()}", "name": "everything"},
            {"label": f"My {entry.label_plural.lower()}", "name": "mine"},
        ],
        "urls": _urls(entry, version)
        | {
            "uiDetailTemplate": "/{ID}",
            "uiEditTemplate": "/{ID}/e",
            "uiNewRecord": f"/{entry.key_prefix}/e",
        },
    }
