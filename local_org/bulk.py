"""Bulk API 2.0 over HTTP: ingest and query jobs, their results, their lists.

Forms and refusals are those of the Salesforce API notes, section 3. The jobs themselves are in
``jobs``, their work in ``bulk_worker``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import timedelta
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

from local_org import bulk_worker
from local_org.bulk_jobs import (
    LIST_PARAMS,
    choose,
    ingest_json,
    invalid_job,
    invalid_state,
    list_ingest,
    list_query,
    own_job,
    query_json,
)
from local_org.bulk_results import ingest_results, query_results, result_pages
from local_org.errors import SalesforceError
from local_org.jobs import BATCH_ROWS, DELIMITERS, LINE_ENDINGS, Job
from local_org.org import Org
from local_org.wire import Reply, Request, Router, refuse_unknown

INGEST_OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
QUERY_OPERATIONS = ("query", "queryAll")
MULTIPART_CHARACTERS_MAX = 100_000


def add_routes(router: Router[Org]) -> None:
    """Put the job resources into the table of paths."""
    router.add("POST", "/jobs/ingest", create_ingest)
    router.add("GET", "/jobs/ingest", list_ingest, *LIST_PARAMS)
    router.add("GET", "/jobs/ingest/{job}", get_ingest)
    router.add("PATCH", "/jobs/ingest/{job}", patch_ingest)
    router.add("DELETE", "/jobs/ingest/{job}", delete_ingest)
    router.add("PUT", "/jobs/ingest/{job}/batches", upload)
    router.add("GET", "/jobs/ingest/{job}/{result}", ingest_results)

    router.add("POST", "/jobs/query", create_query)
    router.add("GET", "/jobs/query", list_query, *LIST_PARAMS, "concurrencyMode")
    router.add("GET", "/jobs/query/{job}", get_query)
    router.add("PATCH", "/jobs/query/{job}", patch_query)
    router.add("DELETE", "/jobs/query/{job}", delete_query)
    router.add("GET", "/jobs/query/{job}/results", query_results, "maxRecords", "locator")
    router.add("GET", "/jobs/query/{job}/resultPages", result_pages, "locator")


# Creating


def create_ingest(org: Org, request: Request) -> Reply:
    """Create an ingest job; as multipart, with its data at once."""
    if request.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        return _create_multipart(org, request)
    job = _new_ingest(org, request, request.json_object())
    return Reply(200, ingest_json(job))


_INGEST_KEYS = frozenset(
    {
        "object",
        "operation",
        "contentType",
        "lineEnding",
        "columnDelimiter",
        "externalIdFieldName",
        "assignmentRuleId",
    }
)


def _new_ingest(org: Org, request: Request, body: Mapping[str, Any]) -> Job:
    refuse_unknown(body, _INGEST_KEYS)
    operation = choose(body, "operation", INGEST_OPERATIONS)
    if not body.get("object"):
        raise invalid_job("object is required")
    choose(body, "contentType", ("CSV",), "CSV")

    try:
        sobject = org.store.object(str(body["object"]))
    except SalesforceError as error:
        raise SalesforceError(
            400,
            "INVALIDENTITY",
            f"InvalidEntity : Entity '{body['object']}' is not supported by the Bulk API.",
        ) from error

    external_id = body.get("externalIdFieldName")
    if operation == "upsert" and not external_id:
        raise invalid_job("externalIdFieldName is required for upsert")
    if operation != "upsert" and external_id:
        raise invalid_job("externalIdFieldName is only valid for upsert")
    if operation == "hardDelete" and not org.store.user(request.user_id).is_admin:
        raise SalesforceError(
            400,
            "FEATURENOTENABLED",
            "hardDelete operation requires special user profile permission",
        )

    job = _new_job(org, request, "ingest", operation, sobject.name, body)
    job.external_id_field = str(external_id) if external_id else None
    job.assignment_rule_id = body.get("assignmentRuleId")
    return org.jobs.create(job)


def _new_job(
    org: Org, request: Request, kind: Any, operation: str, object_name: str, body: Mapping[str, Any]
) -> Job:
    now = org.jobs.stamp()
    return Job(
        id=org.jobs.next_id(),
        kind=kind,
        operation=operation,
        object=object_name,
        created_by=request.user_id,
        created_date=now,
        api_version=float(request.version),
        state="Open" if kind == "ingest" else "UploadComplete",
        system_modstamp=now,
        delimiter=choose(body, "columnDelimiter", tuple(DELIMITERS), "COMMA"),
        line_ending=choose(body, "lineEnding", tuple(LINE_ENDINGS), "LF"),
    )


def _create_multipart(org: Org, request: Request) -> Reply:
    """Create, fill and close a job in one request (bodies under 100,000 characters)."""
    # A multipart body is a mail message whose header came with the request.
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)

    parts: dict[str, bytes] = {}
    for part in message.walk():
        name, payload = (
            part.get_param("name", header="content-disposition"),
            part.get_payload(decode=True),
        )
        if isinstance(name, str) and isinstance(payload, bytes):
            parts[name] = payload

    if set(parts) != {"job", "content"}:
        raise invalid_job("a multipart request needs exactly the parts 'job' and 'content'")
    content = parts["content"]
    if len(content) > MULTIPART_CHARACTERS_MAX:
        raise SalesforceError(
            400, "EXCEEDEDQUOTA", "the data of a multipart request may have 100,000 characters"
        )

    try:
        body = json.loads(parts["job"])
    except ValueError as error:
        raise SalesforceError(400, "JSON_PARSER_ERROR", "the part 'job' is not JSON") from error
    if not isinstance(body, dict):
        raise SalesforceError(400, "JSON_PARSER_ERROR", "the part 'job' is not a JSON object")

    job = _new_ingest(org, request, body)
    target = org.jobs.folder(job) / bulk_worker.UPLOAD
    target.write_bytes(content)
    job.uploads, job.upload_bytes = 1, len(content)
    return Reply(200, _close(org, job))


_QUERY_KEYS = frozenset({"operation", "query", "contentType", "columnDelimiter", "lineEnding"})


def create_query(org: Org, request: Request) -> Reply:
    """Create a query job; what Bulk cannot select is refused here, without a job."""
    body = request.json_object(_QUERY_KEYS)
    operation = choose(body, "operation", QUERY_OPERATIONS)
    choose(body, "contentType", ("CSV",), "CSV")
    soql = body.get("query")
    if not isinstance(soql, str) or not soql.strip():
        raise invalid_job("query is required")

    day_ago = org.clock.now() - timedelta(days=1)
    if len(org.jobs.created_since("query", day_ago)) >= org.options.query_jobs_max:
        raise SalesforceError(
            400,
            "EXCEEDEDQUOTA",
            f"Max bulk v2 query jobs ({org.options.query_jobs_max}) per 24 hrs has been reached",
        )

    include_deleted = operation == "queryAll"
    checked = org.query.prepare_bulk(soql, user_id=request.user_id, include_deleted=include_deleted)
    job = _new_job(org, request, "query", operation, checked.object_name, body)
    job.query = soql
    job.include_deleted = include_deleted
    org.jobs.create(job)

    # As it is at creation: once started, the job may move on at any time.
    answer = query_json(job, polled=False)
    org.jobs.start(job)
    return Reply(200, answer)


# Data


def upload(org: Org, request: Request) -> Reply:
    """Take the CSV of an ingest job; a second upload is taken and spoils the closing."""
    job = own_job(org, request, "ingest")
    if job.state != "Open":
        raise invalid_state(f"Job in state {job.state} does not take data")

    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "text/csv":
        raise SalesforceError(
            415, "UNSUPPORTED_MEDIA_TYPE", f"Content-Type must be text/csv, not '{media_type}'"
        )

    target = org.jobs.folder(job) / bulk_worker.UPLOAD
    source = request.body_file
    size = source.stat().st_size if source is not None else len(request.body)
    # The limit is on what base64 would make of the data (API notes 3.4).
    if size * 4 / 3 > org.options.upload_bytes_max:
        raise SalesforceError(
            413, "EXCEEDEDQUOTA", f"the upload is larger than {org.options.upload_bytes_max} bytes"
        )

    if source is not None:
        shutil.move(source, target)
    else:
        target.write_bytes(request.body)
    job.uploads += 1
    job.upload_bytes = size
    org.jobs.save(job)
    return Reply(201)


# Life


def patch_ingest(org: Org, request: Request) -> Reply:
    """Close an ingest job, or abort it."""
    job = own_job(org, request, "ingest")
    state = request.json_object({"state"}).get("state")
    if state == "Aborted":
        return Reply(200, ingest_json(_abort(org, job)))

    if state != "UploadComplete":
        raise invalid_job(f"a job's state can be set to UploadComplete or Aborted, not {state!r}")
    if job.state != "Open":
        raise invalid_state(f"Job must be in state Open to be closed, it is {job.state}")
    if job.uploads > 1:
        raise SalesforceError(
            400,
            "INVALIDJOB",
            f"Found multipe contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' the "
            "current Job then create a new Job and make sure you only do 'PUT' once on a given "
            "Job.",
        )
    if job.uploads == 0:
        raise invalid_job("no data was uploaded")

    return Reply(200, _close(org, job))


def _close(org: Org, job: Job) -> dict[str, Any]:
    """Start the job's work and give the job as it is now."""
    day_ago = org.clock.now() - timedelta(days=1)
    used = sum(other.batches for other in org.jobs.created_since("ingest", day_ago))
    job.batches = _batches(org.jobs.folder(job) / bulk_worker.UPLOAD)
    if used + job.batches > org.options.batches_max:
        # The job stays Open, and must not count in the next look at the allocation.
        job.batches = 0
        raise SalesforceError(400, "EXCEEDEDQUOTA", "ExceededQuota : ApiBatchItems Limit exceeded.")

    org.jobs.move(job, "UploadComplete")
    answer = ingest_json(job)
    org.jobs.start(job)
    return answer


def _batches(path: Path) -> int:
    """Count the file's internal batches of 10,000 rows, by its lines (cells may hold some)."""
    lines = 0
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            lines += block.count(b"\n")

    # Rounded up, without the header line.
    return max(1, -(-(lines - 1) // BATCH_ROWS))


def patch_query(org: Org, request: Request) -> Reply:
    """Abort a query job."""
    job = own_job(org, request, "query")
    state = request.json_object({"state"}).get("state")
    if state != "Aborted":
        raise invalid_job(f"a query job's state can be set to Aborted, not {state!r}")
    return Reply(200, query_json(_abort(org, job), polled=True))


def _abort(org: Org, job: Job) -> Job:
    if job.ended:
        raise invalid_state(f"Aborting already {job.state} Job not allowed")
    org.jobs.abort(job)
    return job


def get_ingest(org: Org, request: Request) -> Reply:
    """Give one ingest job."""
    return Reply(200, ingest_json(own_job(org, request, "ingest"), polled=True))


def get_query(org: Org, request: Request) -> Reply:
    """Give one query job."""
    return Reply(200, query_json(own_job(org, request, "query"), polled=True))


def delete_ingest(org: Org, request: Request) -> Reply:
    """Remove an ingest job that is closed; its data and results go too."""
    return _delete(org, own_job(org, request, "ingest"))


def delete_query(org: Org, request: Request) -> Reply:
    """Remove a query job that has ended."""
    return _delete(org, own_job(org, request, "query"))


def _delete(org: Org, job: Job) -> Reply:
    deletable = job.ended or (job.kind == "ingest" and job.state == "UploadComplete")
    if not deletable:
        raise invalid_state(f"Job in state {job.state} cannot be deleted")

    if not job.ended:
        org.jobs.abort(job)
    org.jobs.forget(job)
    return Reply(204)
