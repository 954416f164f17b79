"""The part of the Tooling API that a set-up command needs: custom fields (API notes, 6.2).

Permission sets and their grants are ordinary records and go through ``rest``.
"""

from __future__ import annotations

from typing import Any

from local_org.errors import SalesforceError
from local_org.org import Org
from local_org.wire import Reply, Request, Router


def add_routes(router: Router[Org]) -> None:
    """Put the Tooling resources into the table of paths."""
    router.add("POST", "/tooling/sobjects/CustomField", create_custom_field)


def create_custom_field(org: Org, request: Request) -> Reply:
    """Create a custom field; nobody sees it until a permission set grants it."""
    body: dict[str, Any] = request.json_object({"FullName", "Metadata", "attributes"})
    # Asked first: who may not create fields learns nothing about their names.
    if not org.store.user(request.user_id).is_admin:
        raise SalesforceError(
            403,
            "INSUFFICIENT_ACCESS",
            "insufficient access rights on object: creating fields needs Customize Application",
        )

    full_name, metadata = body.get("FullName"), body.get("Metadata")
    if not isinstance(full_name, str) or not isinstance(metadata, dict):
        raise SalesforceError(
            400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [FullName, Metadata]"
        )

    field_id = org.store.create_custom_field(full_name, metadata, user_id=request.user_id)
    return Reply(201, {"id": field_id, "success": True, "errors": [], "warnings": [], "infos": []})
