"""Whether the user sees all records of an object: what sharing hides is not scored (R25)."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.soql import AllOf, Compare, In, select
from pipeline.steps.clients import Clients
from resources.salesforce.errors import CallRefused


def may_be_hidden(clients: Clients, object_names: Sequence[str]) -> list[str]:
    """Return a sentence for each object whose records sharing may hide from the user.

    Two API calls. Nothing is said where the user may not read permissions: then nobody knows.
    """
    if not object_names:
        return []
    try:
        seen = _with_view_all(clients, object_names)
    except CallRefused:
        return []

    return [
        f"{name}: sharing may hide records from the pipeline's user, and hidden ones are not scored. "
        "Give the user View All on the object, unless everybody may read all of it"
        for name in object_names
        if name not in seen
    ]


def _with_view_all(clients: Clients, object_names: Sequence[str]) -> set[str]:
    """Return the objects on which a permission set of the user has View All."""
    by_user = Compare("AssigneeId", "=", clients.org.user_id)
    assigned = clients.org.ask(
        {"sets": select(["PermissionSetId"], "PermissionSetAssignment", by_user)}
    )["sets"]
    sets = [row["PermissionSetId"] for row in assigned]
    if not sets:
        return set()

    everything = AllOf([In("Id", sets), Compare("PermissionsViewAllData", "=", True)])
    on_object = AllOf(
        [
            In("ParentId", sets),
            In("SobjectType", object_names),
            Compare("PermissionsViewAllRecords", "=", True),
        ]
    )
    answers = clients.org.ask(
        {
            "all": select(["Id"], "PermissionSet", everything),
            "objects": select(["SobjectType"], "ObjectPermissions", on_object),
        }
    )
    return (
        set(object_names) if answers["all"] else {row["SobjectType"] for row in answers["objects"]}
    )
