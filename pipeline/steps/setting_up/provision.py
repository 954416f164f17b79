"""Creates the fields that the integrations lack, and grants them to the integration user (R13)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.core.configuration.integration import PARENT_PREFIX, Integration
from pipeline.core.errors import ConfigurationError, InsightsError, WrongOrg
from pipeline.core.org_fit.preflight import Problem, org_problems
from pipeline.core.org_fit.provisioning import ProvisioningPlan, WantedField, plan_provisioning
from pipeline.core.soql import AllOf, Compare, In, select
from pipeline.steps.clients import Clients
from resources.salesforce.client import Salesforce
from resources.salesforce.errors import CallRefused
from resources.salesforce.records import RECORDS_PER_CALL, SaveResult

PERMISSION_SET: Final = "Predictive_Insights"
PERMISSION_SET_LABEL: Final = "Predictive Insights"
ALREADY_THERE: Final = frozenset(
    {"DUPLICATE_DEVELOPER_NAME", "DUPLICATE_VALUE", "FIELD_ALREADY_EXISTS"}
)
NOT_ALLOWED: Final = frozenset(
    {
        "INSUFFICIENT_ACCESS",
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        "INVALID_TYPE",
        "NOT_FOUND",
        "API_DISABLED_FOR_ORG",
    }
)
SEEN_AFTER_TRIES: Final = 5
SEEN_AFTER_SECONDS: Final = 2.0
"""How often and at which interval a new field is looked for: a describe may lag (API notes 6.2)."""


class ProvisionRefused(InsightsError):
    """The signed-in user may not create fields, or may not grant them."""

    def __init__(self, doing: str, code: str, text: str) -> None:
        """Name the permissions that an admin needs."""
        super().__init__(
            f"The user may not {doing}. Salesforce says: {code}: {text}. An admin needs `Customize "
            "Application` (creates fields), `Manage Profiles and Permission Sets` and `Assign Permission Sets` "
            "(let the integration user use them), and `API Enabled`. Sign in as one for this command alone, "
            "by SALESFORCE_ADMIN_CLIENT_ID and SALESFORCE_ADMIN_CLIENT_SECRET (docs/connecting.md), or "
            "create the fields in Setup. What was created before this stays; run the command again to continue."
        )


@dataclass(slots=True)
class Provisioned:
    """What was done, as full names of fields.

    `refused` holds Salesforce's own words for those that failed.
    """

    created: list[str] = field(default_factory=list)
    already_there: list[str] = field(default_factory=list)
    granted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def plan(clients: Clients, object_names: Sequence[str] = ()) -> ProvisioningPlan:
    """Return what would be done for the objects' integrations (default: all), changing nothing.

    Those that are switched off count too: fields come before the switch. One describe an object.
    """
    clients.ledger.org.connect(
        clients.org.org_id, clients.configuration.settings.environment, clients.now()
    )
    return plan_provisioning(
        _integrations(clients, object_names),
        clients.configuration.markets,
        _describes(clients, object_names),
    )


def _integrations(clients: Clients, object_names: Sequence[str]) -> list[Integration]:
    return [
        i
        for i in clients.configuration.integrations
        if not object_names or i.object in object_names
    ]


def _describes(clients: Clients, object_names: Sequence[str]) -> dict[str, Any]:
    needed = set()
    for integration in _integrations(clients, object_names):
        needed.add(integration.object)
        if any(path.startswith(PARENT_PREFIX) for path in integration.inputs.values()):
            needed.add("Account")

    return {name: clients.describe(name) for name in sorted(needed)}


def provision(
    clients: Clients,
    wanted: ProvisioningPlan,
    admin: Salesforce,
    *,
    users: Sequence[str] = (),
    object_names: Sequence[str] = (),
    sleep: Callable[[float], None] = time.sleep,
) -> Provisioned:
    """Create and grant what `wanted` lists; return what was done and what preflight finds now.

    Safe to repeat: what exists already is only granted. A field that Salesforce refuses does not
    stop the others.

    Args:
        clients: the integration user's connection; fields are granted to that user.
        wanted: what `plan` returned.
        admin: the connection that creates and grants; it may be the same.
        users: user names that are to see the fields as well.
        object_names: only these objects, as given to `plan`.
        sleep: waits for the org's describe.

    Raises:
        ProvisionRefused: the admin lacks a permission.
        WrongOrg: the admin is signed in to another org.
    """
    if admin.org_id != clients.org.org_id:
        raise WrongOrg(
            f"The admin is signed in to org {admin.org_id}, the integration user to {clients.org.org_id}. "
            "Nothing was created. Correct SALESFORCE_ADMIN_LOGIN_URL or SALESFORCE_LOGIN_URL."
        )

    # Unknown users are refused before anything is created.
    done = Provisioned()
    assignees = [clients.org.user_id, *_user_ids(admin, users)]
    for entry in wanted.create:
        _create(admin, entry, done)

    to_grant = [f for f in (*wanted.create, *wanted.grant) if f.full_name not in done.refused]
    # Fields that exist already are granted too: an earlier run may have died in between.
    if to_grant:
        _grant(admin, to_grant, assignees, done)

    _describe_until_visible(clients, to_grant, object_names, sleep)
    done.problems = _problems(clients, object_names)
    return done


def _user_ids(admin: Salesforce, names: Sequence[str]) -> list[str]:
    """Return the ids of the users; raise ConfigurationError for names unknown to the org."""
    if not names:
        return []

    query = select(["Id", "Username"], "User", In("Username", list(names)))
    # Salesforce compares user names without regard to case.
    found = {row["Username"].lower(): row["Id"] for row in admin.ask({"users": query})["users"]}

    missing = [name for name in names if name.lower() not in found]
    if missing:
        raise ConfigurationError([f"--user: the org has no user {name!r}." for name in missing])

    return [found[name.lower()] for name in names]


def _create(admin: Salesforce, wanted: WantedField, done: Provisioned) -> None:
    """Create one field and note how it went; Salesforce takes them one by one."""
    values = {
        "FullName": wanted.full_name,
        "Metadata": {"label": wanted.label, **wanted.metadata},
    }

    try:
        admin.create_record("CustomField", values, tooling=True)
    except CallRefused as error:
        if error.code in ALREADY_THERE:
            done.already_there.append(wanted.full_name)
        elif error.code in NOT_ALLOWED:
            raise ProvisionRefused("create fields", error.code, error.text) from error
        else:
            done.refused[wanted.full_name] = f"{error.code}: {error.text}"
    else:
        done.created.append(wanted.full_name)


def _grant(
    admin: Salesforce, fields: Sequence[WantedField], assignees: Sequence[str], done: Provisioned
) -> None:
    """Put the fields into our permission set and give it to the users: about five calls."""
    try:
        parent = _permission_set(admin)
        for start in range(0, len(fields), RECORDS_PER_CALL):
            _grant_some(admin, parent, fields[start : start + RECORDS_PER_CALL], done)
        _assign(admin, parent, assignees)
    except CallRefused as error:
        if error.code in NOT_ALLOWED:
            raise ProvisionRefused("grant fields", error.code, error.text) from error
        raise


def _permission_set(admin: Salesforce) -> str:
    """Return our permission set, made if it is not there."""
    query = select(["Id"], "PermissionSet", Compare("Name", "=", PERMISSION_SET))
    found = admin.ask({"set": query})["set"]
    if found:
        return str(found[0]["Id"])

    return admin.create_record(
        "PermissionSet", {"Name": PERMISSION_SET, "Label": PERMISSION_SET_LABEL}
    )


def _grant_some(
    admin: Salesforce, parent: str, fields: Sequence[WantedField], done: Provisioned
) -> None:
    """Grant Read, and Edit where we write. Existing rights are only ever added to."""
    where = AllOf(
        [Compare("ParentId", "=", parent), In("Field", [wanted.full_name for wanted in fields])]
    )
    query = select(["Id", "Field", "PermissionsEdit"], "FieldPermissions", where)
    known = {row["Field"]: row for row in admin.ask({"granted": query})["granted"]}

    new = [wanted for wanted in fields if wanted.full_name not in known]
    if new:
        rows = [_field_permission(parent, wanted) for wanted in new]
        _note_granted(new, admin.create_records("FieldPermissions", rows), done)

    to_extend = [w for w in fields if w.edit and w.full_name in known and not _edits(known, w)]
    if to_extend:
        rows = [
            {"id": known[w.full_name]["Id"], "PermissionsRead": True, "PermissionsEdit": True}
            for w in to_extend
        ]
        _note_granted(to_extend, admin.update_records("FieldPermissions", rows), done)


def _field_permission(parent: str, wanted: WantedField) -> dict[str, Any]:
    return {
        "ParentId": parent,
        "SobjectType": wanted.object,
        "Field": wanted.full_name,
        "PermissionsRead": True,
        "PermissionsEdit": wanted.edit,
    }


def _edits(known: Mapping[str, Mapping[str, Any]], wanted: WantedField) -> bool:
    return bool(known[wanted.full_name]["PermissionsEdit"])


def _note_granted(
    fields: Sequence[WantedField], results: Sequence[SaveResult], done: Provisioned
) -> None:
    for wanted, result in zip(fields, results, strict=True):
        if result.record_id is not None or result.code in ALREADY_THERE:
            done.granted.append(wanted.full_name)
        elif result.code in NOT_ALLOWED:
            raise ProvisionRefused("grant fields", result.code, result.message)
        else:
            done.refused[wanted.full_name] = f"{result.code}: {result.message}"


def _assign(admin: Salesforce, parent: str, assignees: Sequence[str]) -> None:
    """Give the permission set to the users who do not have it."""
    query = select(
        ["AssigneeId"],
        "PermissionSetAssignment",
        AllOf([Compare("PermissionSetId", "=", parent), In("AssigneeId", list(assignees))]),
    )
    have = {row["AssigneeId"] for row in admin.ask({"assigned": query})["assigned"]}

    missing = [user for user in dict.fromkeys(assignees) if user not in have]
    if not missing:
        return

    rows = [{"AssigneeId": user, "PermissionSetId": parent} for user in missing]
    for result in admin.create_records("PermissionSetAssignment", rows):
        if result.record_id is None and result.code not in ALREADY_THERE:
            raise ProvisionRefused(
                "give the permission set to the user", result.code, result.message
            )


def _describe_until_visible(
    clients: Clients,
    granted: Sequence[WantedField],
    object_names: Sequence[str],
    sleep: Callable[[float], None],
) -> None:
    """Describe anew until every granted field is visible, a few times at most."""
    for tried in range(SEEN_AFTER_TRIES):
        if tried:
            sleep(SEEN_AFTER_SECONDS)

        # The run keeps its describes, and these would lack the new fields.
        clients.describes.clear()
        describes = _describes(clients, object_names)
        if all(wanted.name in describes[wanted.object].fields for wanted in granted):
            return


def _problems(clients: Clients, object_names: Sequence[str]) -> tuple[Problem, ...]:
    """Return what preflight finds now, without turning anything on: `insights check` does that."""
    describes = _describes(clients, object_names)

    return tuple(
        problem
        for integration in _integrations(clients, object_names)
        for problem in org_problems(
            integration, clients.configuration.markets[integration.market], describes
        )
    )
