"""The control endpoint: what a test or a demo may do to the org from outside Salesforce's API.

Everything lives below ``/_control``, needs no session, costs no API call and is never hit by a
fault. README.md has the list with examples. Unknown keys are refused, so that a misspelt one is
noticed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from local_org.clock import parse_datetime
from local_org.errors import SalesforceError
from local_org.jobs import ENDED
from local_org.org import Org
from local_org.sessions import FLOWS, App
from local_org.wire import Reply, Request

Body = dict[str, Any]
LOG_ENTRIES = 1000


class ControlError(ValueError):
    """A request to the control endpoint that makes no sense; the text says what to do."""


def control(org: Org, request: Request) -> Reply:
    """Answer one request below ``/_control``."""
    path = request.path.removeprefix("/_control").strip("/")
    head, _, rest = path.partition("/")
    handler = _HANDLERS.get((request.method, head))
    if handler is None:
        known = ", ".join(f"{method} /_control/{name}" for method, name in known_requests())
        return Reply(
            400, {"error": f"{request.method} {request.path} does not exist. Use one of: {known}"}
        )

    try:
        return Reply(200, handler(org, request, rest))
    except ValueError as error:
        return Reply(400, {"error": str(error)})
    except SalesforceError as error:
        return Reply(error.status, {"error": error.message, "errorCode": error.code})


def _body(request: Request, required: Sequence[str], optional: Sequence[str] = ()) -> Body:
    """Read the body's keys; each must be known, the required ones there."""
    try:
        body = json.loads(request.body or b"{}")
    except ValueError as error:
        raise ControlError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ControlError("the body must be a JSON object")

    unknown = sorted(set(body) - set(required) - set(optional))
    missing = sorted(set(required) - set(body))
    if unknown or missing:
        raise ControlError(
            f"unknown keys: {unknown}; missing keys: {missing}. Required: {list(required)}. "
            f"Optional: {list(optional)}."
        )
    return body


def _user_id(org: Org, named: str | None) -> str:
    """Give the id of a user named by name or id; the integration user if nobody is named."""
    if named is None:
        return org.store.integration.id
    user = org.store.user_by_name(named)
    return user.id if user is not None else org.store.user(named).id


# The org, its clock, its options


def _overview(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    return {
        "org_id": org.store.org_id,
        "base_url": org.base_url,
        "data": str(org.store.path),
        "clock": org.clock.state(),
        "options_changed": org.options.changed(),
        "users": [user.username for user in org.store.users()],
        "apps": sorted(org.sessions.apps),
    }


def _clock(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    return org.clock.state()


def _set_clock(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, (), ("offset_seconds", "now", "frozen", "advance_seconds"))
    if "offset_seconds" in body:
        org.clock.set_offset(float(body["offset_seconds"]))
    if "now" in body:
        org.clock.set_now(parse_datetime(str(body["now"])))
    if "advance_seconds" in body:
        org.clock.advance(float(body["advance_seconds"]))
    if "frozen" in body:
        org.clock.freeze(bool(body["frozen"]))
    return org.clock.state()


def _options(org: Org, request: Request, rest: str) -> Any:
    del request
    return org.options.describe() if rest == "describe" else org.options.as_dict()


def _set_options(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, (), tuple(org.options.as_dict()))
    for name, value in body.items():
        org.options.set(name, value)
    return org.options.as_dict()


# Faults, calls, jobs


def _faults(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    return org.faults.as_json()


def _arm(org: Org, request: Request, rest: str) -> Any:
    del rest
    try:
        spec = json.loads(request.body)
    except ValueError as error:
        raise ControlError(f"the body is not JSON: {error}") from error
    if not isinstance(spec, dict):
        raise ControlError("a fault must be a JSON object")
    return org.faults.arm(spec).to_json()


def _clear_faults(org: Org, request: Request, rest: str) -> Any:
    del request
    return {"cleared": org.faults.clear(int(rest) if rest else None)}


def _calls(org: Org, request: Request, rest: str) -> Any:
    del rest
    usage = org.usage
    last = int(request.params.get("last", LOG_ENTRIES))
    return {
        "used_24h": usage.used(),
        "total": usage.total,
        "by_kind": dict(usage.by_kind),
        "log": usage.log(last),
    }


def _reset_calls(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    org.usage.reset()
    return {"used_24h": 0}


def _jobs(org: Org, request: Request, rest: str) -> Any:
    if rest == "idle":
        return {"idle": org.jobs.wait_idle(float(request.params.get("timeout_seconds", 30)))}
    return [asdict(job) | {"ended": job.state in ENDED} for job in org.jobs.all()]


# Users, apps, sessions


def _apps(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    return [asdict(app) for app in org.sessions.apps.values()]


_APP_KEYS = tuple(App.__dataclass_fields__)


def _put_app(org: Org, request: Request, rest: str) -> Any:
    """Add an app or change one; keys not given stay as they are."""
    del rest
    body = _body(request, ("client_id",), _APP_KEYS)
    flows = body.get("flows", [])
    if not set(flows) <= set(FLOWS):
        raise ControlError(f"flows must be among {list(FLOWS)}")

    known = org.sessions.apps.get(body["client_id"])
    # A new app without a secret has the empty one: flows without a secret need none.
    base = asdict(known) if known else {"client_secret": ""}
    app = App(**{**base, **body})
    org.sessions.put_app(app)
    return asdict(app)


def _users(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    return [asdict(user) for user in org.store.users()]


def _put_user(org: Org, request: Request, rest: str) -> Any:
    """Add a user, or change one (unlocking included)."""
    del rest
    keys = ("password", "token", "is_admin", "is_active", "email", "unlock")
    body = _body(request, ("username",), keys)
    username = body.pop("username")
    unlock = body.pop("unlock", False)

    user = org.store.user_by_name(username)
    if user is None:
        body.setdefault("password", "local-password")
        body.setdefault("token", "local-token")
        user = org.store.create_user(username, **body)
    elif body:
        user = org.store.update_user(user.id, **body)

    if unlock:
        org.sessions.unlock(user.id)
    return asdict(user)


def _expire_sessions(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    return {"expired": org.sessions.expire_all()}


# Records


def _load(org: Org, request: Request, rest: str) -> Any:
    """Load rows fast: CSV, or NDJSON, whatever stamps they carry."""
    del rest
    name = request.params.get("object")
    if name is None or request.body_file is None:
        raise ControlError("send POST /_control/load?object=Lead with the rows as the body")

    ndjson = "json" in request.headers.get("Content-Type", "")
    with request.body_file.open(encoding="utf-8-sig", newline="") as source:
        columns, rows = _ndjson(source, request.body_file) if ndjson else _csv(source)
        report = org.store.load(name, columns, rows)

    answer: Body = {
        "count": report.count,
        "first_id": report.first_id,
        "last_id": report.last_id,
    }
    if request.params.get("ids") == "true" and report.first_id and report.last_id:
        answer["ids"] = list(org.store.load_ids(name, report.first_id, report.last_id))
    return answer


def _csv(source: IO[str]) -> tuple[list[str], Iterator[Sequence[str | None]]]:
    # Blank lines are skipped, as Bulk does.
    reader = csv.reader(source)
    return next(reader, []), (row for row in reader if row)


def _ndjson(source: IO[str], path: Path) -> tuple[list[str], Iterator[Sequence[str | None]]]:
    """Read JSON lines; the columns are all keys that occur, in the order in which they do."""
    columns: dict[str, None] = {}
    # The file is read twice, as only its end tells which keys there are.
    with path.open(encoding="utf-8-sig") as first_pass:
        for line in first_pass:
            if line.strip():
                columns.update(dict.fromkeys(json.loads(line)))

    def rows() -> Iterator[Sequence[str | None]]:
        for line in source:
            if line.strip():
                record = json.loads(line)
                yield [_text(record.get(name)) for name in columns]

    return list(columns), rows()


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _query(org: Org, request: Request, rest: str) -> Any:
    """Run SOQL as the admin without its being counted, all rows in one answer."""
    del rest
    body = _body(request, ("soql",), ("user", "include_deleted", "version"))
    user = body.get("user") or org.store.admin.username
    page = org.query.query(
        body["soql"],
        user_id=_user_id(org, user),
        version=body.get("version", "62.0"),
        include_deleted=bool(body.get("include_deleted", True)),
        batch_size=1_000_000,
    )
    return {"totalSize": page["totalSize"], "records": page["records"]}


def _save(org: Org, request: Request, rest: str) -> Any:
    """Save records as a user would in the browser, without its being counted."""
    del rest
    body = _body(request, ("object", "operation", "records"), ("user", "external_id_field"))
    results = org.store.save_records(
        body["operation"],
        body["object"],
        body["records"],
        user_id=_user_id(org, body.get("user") or org.store.admin.username),
        external_id_field=body.get("external_id_field"),
    )

    return [
        {
            "id": result.id,
            "success": result.success,
            "errors": [error.as_status() for error in result.errors],
        }
        for result in results
    ]


def _convert(org: Org, request: Request, rest: str) -> Any:
    del rest
    optional = ("user", "create_opportunity", "account_id", "contact_id")
    body = _body(request, ("lead_id",), optional)
    user_id = _user_id(org, body.pop("user", None) or org.store.admin.username)
    return org.store.convert_lead(body.pop("lead_id"), user_id=user_id, **body)


def _merge(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, ("object", "master_id", "loser_ids"), ("user",))
    user_id = _user_id(org, body.get("user") or org.store.admin.username)
    org.store.merge(body["object"], body["master_id"], body["loser_ids"], user_id=user_id)
    return {"merged": len(body["loser_ids"])}


def _person_account(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, ("values",), ("user",))
    user_id = _user_id(org, body.get("user") or org.store.admin.username)
    account_id, contact_id = org.store.create_person_account(body["values"], user_id=user_id)
    return {"account_id": account_id, "contact_id": contact_id}


# How saves behave


def _hold_saves(org: Org, request: Request, rest: str) -> Any:
    """Make the next saves visible only later, with their earlier stamp (late commits)."""
    del rest
    body = _body(request, ("seconds",), ("saves", "object"))
    org.store.hold_next_saves(
        float(body["seconds"]), saves=int(body.get("saves", 1)), object_name=body.get("object")
    )
    return body


def _read_only(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, ("ids",), ("on",))
    org.store.make_read_only(body["ids"], bool(body.get("on", True)))
    return body


def _hidden(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, ("ids",), ("on",))
    org.store.hide(body["ids"], bool(body.get("on", True)))
    return body


def _fail_chunks(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, ("object", "message"), ("count",))
    org.store.fail_chunks(body["object"], count=int(body.get("count", 1)), message=body["message"])
    return body


def _rules(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    return org.store.validation_rules()


def _add_rule(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, ("object", "name", "condition", "message"), ("error_field", "active"))
    org.store.add_validation_rule(
        body["object"],
        body["name"],
        body["condition"],
        body["message"],
        error_field=body.get("error_field"),
        active=bool(body.get("active", True)),
    )
    return org.store.validation_rules()


def _remove_rule(org: Org, request: Request, rest: str) -> Any:
    del request
    object_name, _, name = rest.partition("/")
    org.store.remove_validation_rule(object_name, name)
    return org.store.validation_rules()


def _flows(org: Org, request: Request, rest: str) -> Any:
    del request, rest
    return org.store.flows()


def _add_flow(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, ("object", "name", "field", "expression"))
    org.store.add_flow(body["object"], body["name"], body["field"], body["expression"])
    return org.store.flows()


def _remove_flow(org: Org, request: Request, rest: str) -> Any:
    del request
    object_name, _, name = rest.partition("/")
    org.store.remove_flow(object_name, name)
    return org.store.flows()


# Schema and permissions


def _add_fields(org: Org, request: Request, rest: str) -> Any:
    """Create custom fields, visible to both default users unless ``grant`` says otherwise."""
    del rest
    body = _body(request, ("fields",), ("grant",))
    user_names = body.get("grant", [org.store.integration.username, org.store.admin.username])
    grant_to = [_user_id(org, name) for name in user_names]
    field_ids = {}
    for full_name, metadata in body["fields"].items():
        field_ids[full_name] = org.store.create_custom_field(
            full_name, metadata, user_id=org.store.admin.id, grant_to=grant_to
        )
    return field_ids


def _remove_field(org: Org, request: Request, rest: str) -> Any:
    del request
    org.store.delete_custom_field(rest)
    return {"removed": rest}


def _field_property(org: Org, request: Request, rest: str) -> Any:
    del rest
    body = _body(request, ("object", "field", "properties"))
    properties: Mapping[str, Any] = body["properties"]
    org.store.set_field_property(body["object"], body["field"], **properties)
    return body


_PERMISSION_KEYS = ("user", "field", "read", "edit", "create", "delete", "clear")


def _permissions(org: Org, request: Request, rest: str) -> Any:
    """Give or take a user's rights on an object, or on one field of it."""
    del rest
    body = _body(request, ("object",), _PERMISSION_KEYS)
    user_id = _user_id(org, body.get("user"))
    clear = bool(body.get("clear", False))
    read, edit = bool(body.get("read", True)), bool(body.get("edit", True))

    if "field" in body:
        org.store.set_field_permission(
            user_id, body["object"], body["field"], read=read, edit=edit and read, clear=clear
        )
        return body

    org.store.set_object_permission(
        user_id,
        body["object"],
        read=read,
        create=bool(body.get("create", True)),
        edit=edit,
        delete=bool(body.get("delete", False)),
        clear=clear,
    )
    return body


_HANDLERS: dict[tuple[str, str], Callable[[Org, Request, str], Any]] = {
    ("GET", ""): _overview,
    ("GET", "clock"): _clock,
    ("POST", "clock"): _set_clock,
    ("GET", "options"): _options,
    ("POST", "options"): _set_options,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _arm,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "calls"): _calls,
    ("DELETE", "calls"): _reset_calls,
    ("GET", "jobs"): _jobs,
    ("GET", "apps"): _apps,
    ("POST", "apps"): _put_app,
    ("GET", "users"): _users,
    ("POST", "users"): _put_user,
    ("DELETE", "sessions"): _expire_sessions,
    ("POST", "load"): _load,
    ("POST", "query"): _query,
    ("POST", "save"): _save,
    ("POST", "convert-lead"): _convert,
    ("POST", "merge"): _merge,
    ("POST", "person-account"): _person_account,
    ("POST", "hold-saves"): _hold_saves,
    ("POST", "read-only"): _read_only,
    ("POST", "hidden"): _hidden,
    ("POST", "fail-chunks"): _fail_chunks,
    ("GET", "validation-rules"): _rules,
    ("POST", "validation-rules"): _add_rule,
    ("DELETE", "validation-rules"): _remove_rule,
    ("GET", "flows"): _flows,
    ("POST", "flows"): _add_flow,
    ("DELETE", "flows"): _remove_flow,
    ("POST", "fields"): _add_fields,
    ("DELETE", "fields"): _remove_field,
    ("POST", "field-properties"): _field_property,
    ("POST", "permissions"): _permissions,
}


def known_requests() -> list[tuple[str, str]]:
    """List method and first part of the path of every control request."""
    return sorted(_HANDLERS)
