"""The REST resources: discovery, describes, queries, single records, changes since, limits.

Forms and refusals are those of the Salesforce API notes, sections 2 and 4.3.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from local_org.clock import format_json, parse_datetime
from local_org.errors import RowError, SalesforceError, not_found
from local_org.org import Org
from local_org.row_faults import row_error
from local_org.soql.parser import parse
from local_org.wire import Reply, Request, Router

REPLICATION_DAYS = 30
REPLICATION_IDS_MAX = 600_000
# Sforce-Query-Options: batchSize=500
_BATCH_SIZE = re.compile(r"batchSize\s*=\s*(\d+)", re.IGNORECASE)


def add_routes(router: Router[Org]) -> None:
    """Put the REST resources into the table of paths."""
    router.add("GET", "/", discovery)
    router.add("GET", "/limits", limits)

    router.add("GET", "/query", query, "q")
    router.add("GET", "/queryAll", query_all, "q")
    router.add("GET", "/query/{locator}", query_more)
    router.add("GET", "/queryAll/{locator}", query_more)

    router.add("GET", "/sobjects", global_describe)
    router.add("GET", "/sobjects/{object}", basic_describe)
    router.add("POST", "/sobjects/{object}", create)
    router.add("GET", "/sobjects/{object}/describe", describe)
    router.add("GET", "/sobjects/{object}/updated", get_updated, "start", "end")
    router.add("GET", "/sobjects/{object}/deleted", get_deleted, "start", "end")
    router.add("GET", "/sobjects/{object}/{id}", read, "fields")
    router.add("PATCH", "/sobjects/{object}/{id}", update)
    router.add("DELETE", "/sobjects/{object}/{id}", delete)
    router.add("GET", "/sobjects/{object}/{field}/{value}", read_by_external_id)
    router.add("PATCH", "/sobjects/{object}/{field}/{value}", upsert)
    router.add("DELETE", "/sobjects/{object}/{field}/{value}", delete_by_external_id)


# Discovery and describes


def discovery(org: Org, request: Request) -> Reply:
    """Map the resources' names to their paths."""
    base = f"/services/data/v{request.version}"
    names = ("sobjects", "query", "queryAll", "limits", "jobs/ingest", "jobs/query", "composite")
    body = {name: f"{base}/{name}" for name in names}
    body["tooling"] = f"{base}/tooling"
    body["identity"] = f"{org.base_url}/id/{org.store.org_id}/{request.user_id}"
    return Reply(200, body)


def global_describe(org: Org, request: Request) -> Reply:
    """Describe all objects in short."""
    return Reply(200, org.store.global_describe(request.user_id, request.version))


def basic_describe(org: Org, request: Request) -> Reply:
    """Describe one object without its fields."""
    name = request.args["object"]
    return Reply(200, org.store.basic_describe(name, request.user_id, request.version))


def describe(org: Org, request: Request) -> Reply:
    """Describe one object with the fields that this user may read."""
    name = request.args["object"]
    return Reply(200, org.store.describe(name, request.user_id, request.version))


# Queries


def query(org: Org, request: Request) -> Reply:
    """Answer a SOQL query with its first page."""
    return _query(org, request, include_deleted=False)


def query_all(org: Org, request: Request) -> Reply:
    """Answer a SOQL query over deleted rows too."""
    return _query(org, request, include_deleted=True)


def _query(org: Org, request: Request, *, include_deleted: bool) -> Reply:
    soql = request.params.get("q")
    if soql is None:
        raise SalesforceError(
            400, "MALFORMED_QUERY", "A query string has to be specified in the parameter q"
        )

    _play_query_fault(org, soql)
    answer = org.query.query(
        soql,
        user_id=request.user_id,
        version=request.version,
        include_deleted=include_deleted,
        batch_size=_batch_size(org, request),
    )
    return Reply(200, _shortened(org, request, answer))


def _play_query_fault(org: Org, soql: str) -> None:
    """Let a query wait, or end with an error, where a fault says so; part of a composite or not."""
    if not org.faults.has_query_faults:
        return

    fault = org.faults.on_query(parse(soql).object_name)
    if fault is None:
        return
    if fault.kind == "query_slow":
        time.sleep(float(fault.params["seconds"]))
        return

    params = fault.params
    raise SalesforceError(int(params["status"]), str(params["code"]), str(params["message"]))


def _batch_size(org: Org, request: Request) -> int:
    """Read the requested page size, limited to what the org serves."""
    match = _BATCH_SIZE.search(request.headers.get("Sforce-Query-Options", ""))
    most = int(org.options.query_page_rows)
    if match is None:
        return most
    return min(most, max(int(org.options.query_page_rows_min), int(match[1])))


def query_more(org: Org, request: Request) -> Reply:
    """Answer with the next page of a query."""
    if org.faults.on_request(request.method, request.path, frozenset({"expire_locator"})):
        raise SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    answer = org.query.query_more(
        request.args["locator"],
        user_id=request.user_id,
        version=request.version,
        batch_size=_batch_size(org, request),
    )
    return Reply(200, _shortened(org, request, answer))


def _shortened(org: Org, request: Request, answer: dict[str, Any]) -> dict[str, Any]:
    """Let a page lack its last row and say that it is the last one, where a fault says so."""
    rows = answer["records"]
    if not rows or not org.faults.on_request(
        request.method, request.path, frozenset({"short_result"})
    ):
        return answer
    short = {**answer, "records": rows[:-1], "done": True}
    short.pop("nextRecordsUrl", None)
    return short


# Records


def row_failure(org: Org, error: RowError) -> Reply:
    """Build the answer for the one record of a request that failed."""
    status = {
        "ENTITY_IS_DELETED": org.options.entity_is_deleted_status,
        "INSUFFICIENT_ACCESS_OR_READONLY": org.options.error_insufficient_access_status,
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": (
            org.options.error_insufficient_access_status
        ),
    }.get(error.code, 400)
    return Reply(status, [error.as_error_code()])


def _record_body(request: Request) -> dict[str, Any]:
    body = request.json_object()
    return {key: value for key, value in body.items() if key != "attributes"}


def _save_one(
    org: Org,
    request: Request,
    operation: Any,
    record: Mapping[str, Any],
    done: Callable[[str, bool], Reply],
    external_id_field: str | None = None,
) -> Reply:
    """Save one record; ``done`` words the success from its id and whether it was created."""
    name = org.store.object(request.args["object"]).name
    record_id = record.get("Id")
    if isinstance(record_id, str):
        error = row_error(org.faults, name, record_id)
        if error is not None:
            return row_failure(org, error)

    result = org.store.save_records(
        operation,
        name,
        [record],
        user_id=request.user_id,
        external_id_field=external_id_field,
    )[0]

    if not result.success:
        first = result.errors[0]
        # The id in the path names nothing: that is a 404 of the request, not an error of a row.
        own_id = first.code == "INVALID_CROSS_REFERENCE_KEY" and not first.fields
        if own_id and record_id is not None:
            raise not_found("Provided external ID field does not exist or is not accessible")
        return row_failure(org, first)

    return done(result.id, result.created)


def _upsert_reply(record_id: str, created: bool) -> Reply:
    body = {"id": record_id, "success": True, "errors": [], "created": created}
    return Reply(201 if created else 200, body)


def create(org: Org, request: Request) -> Reply:
    """Create a record."""

    def done(record_id: str, _created: bool) -> Reply:
        return Reply(201, {"id": record_id, "success": True, "errors": []})

    return _save_one(org, request, "insert", _record_body(request), done)


def _no_content(_record_id: str, _created: bool) -> Reply:
    return Reply(204)


def update(org: Org, request: Request) -> Reply:
    """Change a record; the id is in the path and may not be in the body."""
    record = _record_body(request)
    # Refused even when both ids agree.
    for key in record:
        if key.lower() == "id":
            raise SalesforceError(
                400,
                "INVALID_FIELD",
                "The Id field should not be specified in the sobject data.",
                ("Id",),
            )
    return _save_one(org, request, "update", {"Id": request.args["id"], **record}, _no_content)


def delete(org: Org, request: Request) -> Reply:
    """Delete a record."""
    return _save_one(org, request, "delete", {"Id": request.args["id"]}, _no_content)


def _fields(request: Request) -> list[str] | None:
    text = request.params.get("fields")
    return None if text is None else [part.strip() for part in text.split(",")]


def read(org: Org, request: Request) -> Reply:
    """Read a record, with all fields or those asked for."""
    record = org.store.get_record(
        request.args["object"],
        request.args["id"],
        request.user_id,
        request.version,
        _fields(request),
    )
    return Reply(200, record)


def read_by_external_id(org: Org, request: Request) -> Reply:
    """Read a record by the value of an external id."""
    args = request.args
    record = org.store.get_by_external_id(
        args["object"], args["field"], args["value"], request.user_id, request.version
    )
    return Reply(200, record)


def upsert(org: Org, request: Request) -> Reply:
    """Create or change the record with this value of an external id."""
    field, value = request.args["field"], request.args["value"]
    record = _record_body(request)
    # By Id an upsert never creates: it is an update under another path.
    if field.lower() == "id":
        return _save_one(org, request, "update", {"Id": value, **record}, _no_content)
    return _save_one(org, request, "upsert", {**record, field: value}, _upsert_reply, field)


def delete_by_external_id(org: Org, request: Request) -> Reply:
    """Delete the record with this value of an external id."""
    args = request.args
    record = org.store.get_by_external_id(
        args["object"], args["field"], args["value"], request.user_id, request.version
    )
    return _save_one(org, request, "delete", {"Id": record["Id"]}, _no_content)


# Changes since


def _span(org: Org, request: Request) -> tuple[datetime, datetime]:
    """Read start and end, seconds dropped, and check them."""
    try:
        # A plus sign that was not escaped arrives as a blank.
        start, end = (
            parse_datetime(request.params[key].replace(" ", "+")).replace(second=0, microsecond=0)
            for key in ("start", "end")
        )
    except KeyError as error:
        raise SalesforceError(400, "MISSING_ARGUMENT", f"{error.args[0]} is required") from error
    except ValueError as error:
        raise SalesforceError(400, "INVALID_REPLICATION_DATE", str(error)) from error

    if start < org.clock.now() - timedelta(days=REPLICATION_DAYS):
        raise SalesforceError(
            400, "INVALID_REPLICATION_DATE", "startDate cannot be more than 30 days ago"
        )
    if end <= start:
        raise SalesforceError(
            400, "INVALID_REPLICATION_DATE", "endDate must be at least one minute after startDate"
        )

    return start, end


def _date_covered(org: Org, end: datetime) -> str:
    return format_json(min(end, org.clock.now().replace(second=0, microsecond=0)))


def get_updated(org: Org, request: Request) -> Reply:
    """Give the ids of records changed in a span of time."""
    start, end = _span(org, request)
    ids = org.store.updated_ids(request.args["object"], start, end, request.user_id)
    if len(ids) > REPLICATION_IDS_MAX:
        raise SalesforceError(400, "EXCEEDED_ID_LIMIT", "too many ids: choose a shorter span")
    return Reply(200, {"ids": ids, "latestDateCovered": _date_covered(org, end)})


def get_deleted(org: Org, request: Request) -> Reply:
    """Give the ids of records deleted in a span of time, and when."""
    start, end = _span(org, request)
    rows = org.store.deleted_ids(request.args["object"], start, end, request.user_id)
    if len(rows) > REPLICATION_IDS_MAX:
        raise SalesforceError(400, "EXCEEDED_ID_LIMIT", "too many ids: choose a shorter span")

    oldest = org.clock.now() - timedelta(days=REPLICATION_DAYS)
    body = {
        "deletedRecords": [{"id": record_id, "deletedDate": when} for record_id, when in rows],
        "earliestDateAvailable": format_json(oldest),
        "latestDateCovered": _date_covered(org, end),
    }
    return Reply(200, body)


# Limits


def limits(org: Org, request: Request) -> Reply:
    """Give the allocations and what is left of them."""
    del request
    day_ago = org.clock.now() - timedelta(days=1)
    options = org.options
    batches = sum(job.batches for job in org.jobs.created_since("ingest", day_ago))
    queries = len(org.jobs.created_since("query", day_ago))

    def allocation(most: int, used: int) -> dict[str, int]:
        return {"Max": most, "Remaining": max(0, most - used)}

    body = {
        "DailyApiRequests": allocation(options.api_calls_max, org.usage.used()),
        "DailyBulkApiBatches": allocation(options.batches_max, batches),
        "DailyBulkV2QueryJobs": allocation(options.query_jobs_max, queries),
        "DailyBulkV2QueryFileStorageMB": allocation(976_562, 0),
        "DataStorageMB": allocation(1_073_741, 0),
        "FileStorageMB": allocation(1_073_741, 0),
    }
    return Reply(200, body)
