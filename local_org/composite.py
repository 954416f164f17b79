"""Several in one: composite, composite/batch and the sObject Collections (API notes, 2.6)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local_org.errors import SalesforceError
from local_org.ids import normalise
from local_org.org import Org
from local_org.refusals import ROLLED_BACK
from local_org.row_faults import row_error
from local_org.wire import Reply, Request, Router, refuse_unknown

PARTS_MAX = 25
QUERY_PARTS_MAX = 5
COLLECTION_RECORDS_MAX = 200
COLLECTION_RUNS_MAX = 10
READ_IDS_MAX = 2000
# @{reference.path[0].field}, as later parts name what earlier ones answered.
_REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_READING = ("GET", "HEAD")


def add_routes(router: Router[Org]) -> None:
    """Put the composite resources into the table of paths."""
    router.add("GET", "/composite", list_resources)
    router.add("POST", "/composite", composite)
    router.add("POST", "/composite/batch", batch)
    router.add("POST", "/composite/sobjects", create_many)
    router.add("PATCH", "/composite/sobjects", update_many)
    router.add("DELETE", "/composite/sobjects", delete_many, "ids", "allOrNone")
    router.add("GET", "/composite/sobjects/{object}", read_many, "ids", "fields")
    router.add("POST", "/composite/sobjects/{object}", read_many)
    router.add("PATCH", "/composite/sobjects/{object}/{field}", upsert_many)


def list_resources(org: Org, request: Request) -> Reply:
    """List the composite resources that this org has."""
    del org
    base = f"/services/data/v{request.version}/composite"
    return Reply(200, {"batch": f"{base}/batch", "sobjects": f"{base}/sobjects"})


# composite and composite/batch


def _part(request: Request, method: str, url: str, body: Any) -> Request:
    """Make the request of one part."""
    split = urlsplit(url)
    return Request(
        method=method.upper(),
        path=split.path,
        params=dict(parse_qsl(split.query, keep_blank_values=True)),
        headers={"Content-Type": "application/json"},
        body=b"" if body is None else json.dumps(body).encode(),
        user_id=request.user_id,
    )


def composite(org: Org, request: Request) -> Reply:
    """Run up to 25 parts in order; the whole counts as one call."""
    body = request.json_object({"allOrNone", "compositeRequest", "collateSubrequests"})
    parts = _parts(
        body.get("compositeRequest"), {"method", "url", "body", "referenceId", "httpHeaders"}
    )

    # Queries and collections are dearer than others, so fewer of them are allowed.
    if sum(_is_query_or_collection(str(part.get("url", ""))) for part in parts) > QUERY_PARTS_MAX:
        raise SalesforceError(
            400, "LIMIT_EXCEEDED", f"at most {QUERY_PARTS_MAX} query or collections subrequests"
        )

    writes = any(str(part.get("method")).upper() not in _READING for part in parts)
    if body.get("allOrNone") and writes and len(parts) > 1:
        raise SalesforceError(
            400,
            "FUNCTIONALITY_NOT_ENABLED",
            "the local org does not roll several saving parts back together: send allOrNone false",
        )

    results: dict[str, Any] = {}
    answers = []
    for part in parts:
        reference = part.get("referenceId")
        if not isinstance(reference, str) or not re.fullmatch(r"[A-Za-z]\w*", reference):
            raise SalesforceError(400, "JSON_PARSER_ERROR", "each subrequest needs a referenceId")

        reply = _run_part(org, request, part, results)
        results[reference] = (reply.status, reply.body)
        answers.append(
            {
                "body": reply.body,
                "httpHeaders": reply.headers,
                "httpStatusCode": reply.status,
                "referenceId": reference,
            }
        )
    return Reply(200, {"compositeResponse": answers})


def _parts(value: Any, keys: set[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise SalesforceError(400, "JSON_PARSER_ERROR", "a list of subrequests is expected")
    if not 0 < len(value) <= PARTS_MAX:
        raise SalesforceError(400, "LIMIT_EXCEEDED", f"1 to {PARTS_MAX} subrequests are allowed")
    for part in value:
        refuse_unknown(part, keys)
        if not isinstance(part.get("method"), str) or not isinstance(part.get("url"), str):
            raise SalesforceError(400, "JSON_PARSER_ERROR", "a subrequest needs method and url")
    return value


def _is_query_or_collection(url: str) -> bool:
    return (
        re.search(r"/(?:query|queryAll|composite/sobjects)(?:[/?]|$)", url, re.IGNORECASE)
        is not None
    )


def _run_part(
    org: Org, request: Request, part: Mapping[str, Any], results: dict[str, Any]
) -> Reply:
    """Run one part of a composite, its references to earlier parts filled in."""
    try:
        url = _fill(part["url"], results)
        body = _fill(part.get("body"), results)
    except KeyError as error:
        return Reply(
            400,
            [
                {
                    "errorCode": "PROCESSING_HALTED",
                    "message": f"Invalid reference specified. No value for {error.args[0]} found",
                }
            ],
        )

    if not url.startswith("/services/data/"):
        return Reply(400, [{"errorCode": "INVALID_URL", "message": f"url is not valid: {url}"}])
    return org.dispatch(_part(request, part["method"], url, body))


def _fill(value: Any, results: dict[str, Any]) -> Any:
    """Replace ``@{reference.path}`` by what that part answered."""
    if isinstance(value, dict):
        return {key: _fill(inner, results) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, results) for inner in value]
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: str(_look_up(match, results)), value)
    return value


def _look_up(match: re.Match[str], results: dict[str, Any]) -> Any:
    # A part that failed has no values to refer to, nor has one that is not there.
    status, found = results.get(match[1], (0, None))
    if not 200 <= status < 300:  # noqa: PLR2004
        raise KeyError(match[0])

    for key, index in _STEP.findall(match[2]):
        try:
            found = found[key] if key else found[int(index)]
        except (KeyError, IndexError, TypeError) as error:
            raise KeyError(match[0]) from error
    return found


def batch(org: Org, request: Request) -> Reply:
    """Run up to 25 independent parts; each counts as a call of its own."""
    body = request.json_object({"batchRequests", "haltOnError"})
    parts = _parts(
        body.get("batchRequests"),
        {"method", "url", "richInput", "binaryPartName", "binaryPartNameAlias"},
    )

    halt, halted, has_errors = bool(body.get("haltOnError")), False, False
    results: list[dict[str, Any]] = []
    for part in parts:
        # The batch itself costs nothing (see _cost in server): its parts are what counts.
        org.usage.charge(1)
        if halted:
            message = "Batch processing halted per request"
            error = [{"errorCode": "BATCH_PROCESSING_HALTED", "message": message}]
            results.append({"statusCode": 412, "result": error})
            continue

        url = part["url"]
        if not url.startswith("/services/data/"):
            url = "/services/data/" + url.lstrip("/")
        reply = org.dispatch(_part(request, part["method"], url, part.get("richInput")))
        failed = reply.status >= 400  # noqa: PLR2004
        has_errors = has_errors or failed
        halted = halt and failed
        results.append({"statusCode": reply.status, "result": reply.body})
    return Reply(200, {"hasErrors": has_errors, "results": results})


# sObject Collections


def create_many(org: Org, request: Request) -> Reply:
    """Create up to 200 records."""
    return _save_many(org, request, "insert")


def update_many(org: Org, request: Request) -> Reply:
    """Change up to 200 records."""
    return _save_many(org, request, "update")


def upsert_many(org: Org, request: Request) -> Reply:
    """Create or change up to 200 records of one type by an external id."""
    return _save_many(org, request, "upsert", request.args["field"])


def _save_many(org: Org, request: Request, operation: Any, field: str | None = None) -> Reply:
    body = request.json_object({"allOrNone", "records"})
    records = body.get("records")
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise SalesforceError(400, "JSON_PARSER_ERROR", "records must be a list of objects")
    _check_count(len(records))

    runs = _runs(records)
    all_or_none = bool(body.get("allOrNone"))
    if all_or_none and len(runs) > 1:
        raise SalesforceError(
            400,
            "FUNCTIONALITY_NOT_ENABLED",
            "the local org does not roll several types back together: send one type at a time",
        )

    answers: list[dict[str, Any]] = []
    for name, run in runs:
        answers += _save_run(org, request, operation, name, run, all_or_none, field)
    return Reply(200, answers)


def _check_count(count: int) -> None:
    if count > COLLECTION_RECORDS_MAX:
        raise SalesforceError(
            400,
            "EXCEEDED_ID_LIMIT",
            f"record limit reached. cannot submit more than {COLLECTION_RECORDS_MAX} records into "
            "this call",
        )


def _runs(records: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Cut the records into runs of one type."""
    runs: list[tuple[str, list[dict[str, Any]]]] = []
    for record in records:
        attributes = record.get("attributes")
        name = attributes.get("type") if isinstance(attributes, dict) else None
        if not isinstance(name, str):
            raise SalesforceError(
                400, "INVALID_INPUT", "Include an attributes.type value in each record"
            )
        # A run ends where the type changes, even if it comes again: that is what is counted.
        if not runs or runs[-1][0].lower() != name.lower():
            runs.append((name, []))
        runs[-1][1].append(record)

    if len(runs) > COLLECTION_RUNS_MAX:
        raise SalesforceError(
            400, "LIMIT_EXCEEDED", f"at most {COLLECTION_RUNS_MAX} chunks of one type are allowed"
        )
    return runs


def _id_of(record: Mapping[str, Any]) -> str | None:
    return next((str(v) for k, v in record.items() if k.lower() == "id" and v is not None), None)


def _save_run(
    org: Org,
    request: Request,
    operation: Any,
    name: str,
    records: list[dict[str, Any]],
    all_or_none: bool,
    field: str | None,
) -> list[dict[str, Any]]:
    """Save records of one type; those that an armed fault fails never reach the store."""
    answers: dict[int, dict[str, Any]] = {}
    object_name = org.store.object(name).name
    for position, record in enumerate(records):
        record_id = _id_of(record)
        error = row_error(org.faults, object_name, record_id) if record_id else None
        if error is not None:
            answers[position] = {"id": record_id, "success": False, "errors": [error.as_status()]}

    # With allOrNone one bad record fails the others too, and nothing is sent to the store.
    if answers and all_or_none:
        rolled_back = {"success": False, "errors": [ROLLED_BACK.as_status()]}
        return [answers.get(position, rolled_back) for position in range(len(records))]

    sent = [position for position in range(len(records)) if position not in answers]
    results = org.store.save_records(
        operation,
        object_name,
        [records[position] for position in sent],
        user_id=request.user_id,
        all_or_none=all_or_none,
        external_id_field=field,
    )

    for position, result in zip(sent, results, strict=True):
        answer: dict[str, Any] = {"id": result.id} if result.id else {}
        answer["success"] = result.success
        answer["errors"] = [error.as_status() for error in result.errors]
        if operation == "upsert" and result.success:
            answer["created"] = result.created
        answers[position] = answer
    return [answers[position] for position in range(len(records))]


def delete_many(org: Org, request: Request) -> Reply:
    """Delete up to 200 records by their ids."""
    ids = [part for part in request.params.get("ids", "").split(",") if part]
    if not ids:
        raise SalesforceError(400, "INVALID_QUERY_PARAMETER", "ids is required")
    _check_count(len(ids))

    all_or_none = request.params.get("allOrNone", "false").lower() == "true"
    records = [{"attributes": {"type": _type_of(org, one)}, "Id": one} for one in ids]
    runs = _runs(records)
    if all_or_none and len(runs) > 1:
        raise SalesforceError(
            400,
            "FUNCTIONALITY_NOT_ENABLED",
            "the local org does not roll several types back together: send one type at a time",
        )

    answers: list[dict[str, Any]] = []
    for name, run in runs:
        answers += _save_run(org, request, "delete", name, run, all_or_none, None)
    return Reply(200, answers)


def _type_of(org: Org, record_id: str) -> str:
    """Name the object that an id belongs to."""
    try:
        prefix = normalise(record_id)[:3]
    except ValueError as error:
        raise SalesforceError(400, "MALFORMED_ID", f"bad id {record_id}") from error
    for known in org.store.objects():
        if known.key_prefix == prefix:
            return known.name
    raise SalesforceError(400, "MALFORMED_ID", f"bad id {record_id}")


def read_many(org: Org, request: Request) -> Reply:
    """Read records of one type by their ids, in that order; null for what cannot be seen."""
    if request.method == "POST":
        body = request.json_object({"ids", "fields"})
        ids, fields = body.get("ids"), body.get("fields")
    else:
        ids = [part for part in request.params.get("ids", "").split(",") if part]
        fields = [part for part in request.params.get("fields", "").split(",") if part]

    if not isinstance(ids, list) or not isinstance(fields, list) or not ids or not fields:
        raise SalesforceError(400, "JSON_PARSER_ERROR", "ids and fields must be lists with entries")
    if len(ids) > READ_IDS_MAX:
        raise SalesforceError(400, "EXCEEDED_ID_LIMIT", f"at most {READ_IDS_MAX} ids are allowed")

    records = org.store.get_records(
        request.args["object"],
        [str(one) for one in ids],
        [str(one) for one in fields],
        request.user_id,
        request.version,
    )
    return Reply(200, records)
