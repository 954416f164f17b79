"""Bulk API 2.0 over HTTP: ingest and query jobs, their results, their lists.

Forms and refusals are those of the Salesforce API notes, section 3. The jobs themselves are in
``jobs``, their work in ``bulk_worker``.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from datetime import timedelta
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

from local_org import bulk_worker
from local_org.errors import SalesforceError
from local_org.jobs import BATCH_ROWS, DELIMITERS, LINE_ENDINGS, Job
from local_org.org import Org
from local_org.query import ResultSpool
from local_org.wire import Reply, Request, Router, Spool, refuse_unknown

INGEST_OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
QUERY_OPERATIONS = ("query", "queryAll")
JOB_TYPES = {
    "ingest": ("V2Ingest", "Classic", "BigObjectIngest"),
    "query": ("V2Query", "Classic", "V2Ingest"),
}
RESULT_FILES = {
    "successfulresults": bulk_worker.SUCCESSFUL,
    "failedresults": bulk_worker.FAILED,
    "unprocessedrecords": bulk_worker.UNPROCESSED,
}
LIST_PARAMS = ("jobType", "isPkChunkingEnabled", "queryLocator")
MULTIPART_CHARACTERS_MAX = 100_000
PARALLEL_PAGES = 5
RESULT_PAGES_SINCE = 58.0
BLOCK_BYTES = 1 << 18


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
    operation = _choice(body, "operation", INGEST_OPERATIONS)
    if not body.get("object"):
        raise _invalid_job("object is required")
    _choice(body, "contentType", ("CSV",), "CSV")
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
        raise _invalid_job("externalIdFieldName is required for upsert")
    if operation != "upsert" and external_id:
        raise _invalid_job("externalIdFieldName is only valid for upsert")
    if operation == "hardDelete" and not org.store.user(request.user_id).is_admin:
        raise SalesforceError(
            400,
            "FEATURENOTENABLED",
            "hardDelete operation requires special user profile permission",
        )
    job = _blank(org, request, "ingest", operation, sobject.name, body)
    job.external_id_field = str(external_id) if external_id else None
    job.assignment_rule_id = body.get("assignmentRuleId")
    return org.jobs.create(job)


def _blank(
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
        delimiter=_choice(body, "columnDelimiter", tuple(DELIMITERS), "COMMA"),
        line_ending=_choice(body, "lineEnding", tuple(LINE_ENDINGS), "LF"),
    )


def _create_multipart(org: Org, request: Request) -> Reply:
    """Create, fill and close a job in one request (bodies under 100,000 characters)."""
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
        raise _invalid_job("a multipart request needs exactly the parts 'job' and 'content'")
    content = parts["content"]
    if len(content) > MULTIPART_CHARACTERS_MAX:
        raise SalesforceError(
            400, "EXCEEDEDQUOTA", "the data of a multipart request may have 100,000 characters"
        )
    try:
        described = json.loads(parts["job"])
    except ValueError as error:
        raise SalesforceError(400, "JSON_PARSER_ERROR", "the part 'job' is not JSON") from error
    if not isinstance(described, dict):
        raise SalesforceError(400, "JSON_PARSER_ERROR", "the part 'job' is not a JSON object")
    job = _new_ingest(org, request, described)
    target = org.jobs.folder(job) / bulk_worker.UPLOAD
    target.write_bytes(content)
    job.uploads, job.upload_bytes = 1, len(content)
    return Reply(200, _close(org, job))


_QUERY_KEYS = frozenset({"operation", "query", "contentType", "columnDelimiter", "lineEnding"})


def create_query(org: Org, request: Request) -> Reply:
    """Create a query job; what Bulk cannot select is refused here, without a job."""
    body = request.json_object(_QUERY_KEYS)
    operation = _choice(body, "operation", QUERY_OPERATIONS)
    _choice(body, "contentType", ("CSV",), "CSV")
    soql = body.get("query")
    if not isinstance(soql, str) or not soql.strip():
        raise _invalid_job("query is required")
    day_ago = org.clock.now() - timedelta(days=1)
    if len(org.jobs.created_since("query", day_ago)) >= org.options.query_jobs_max:
        raise SalesforceError(
            400,
            "EXCEEDEDQUOTA",
            f"Max bulk v2 query jobs ({org.options.query_jobs_max}) per 24 hrs has been reached",
        )
    include_deleted = operation == "queryAll"
    checked = org.query.prepare_bulk(soql, user_id=request.user_id, include_deleted=include_deleted)
    job = _blank(org, request, "query", operation, checked.object_name, body)
    job.query = soql
    job.include_deleted = include_deleted
    org.jobs.create(job)
    shown = query_json(job, polled=False)
    org.jobs.start(job)
    return Reply(200, shown)


def _choice(
    body: Mapping[str, Any], key: str, choices: tuple[str, ...], default: str | None = None
) -> str:
    """Read one of the values that a key may have."""
    value = body.get(key, default)
    if value is None:
        raise _invalid_job(f"{key} is required")
    if value not in choices:
        raise SalesforceError(
            400, "INVALIDJOB", f"Unable to find {key} '{value}'; it is one of {', '.join(choices)}"
        )
    return str(value)


def _invalid_job(message: str) -> SalesforceError:
    return SalesforceError(400, "INVALIDJOB", f"InvalidJob : {message}")


def _invalid_state(message: str) -> SalesforceError:
    return SalesforceError(400, "INVALIDJOBSTATE", message)


# Data


def upload(org: Org, request: Request) -> Reply:
    """Take the CSV of an ingest job; a second upload is taken and spoils the closing."""
    job = _own(org, request, "ingest")
    if job.state != "Open":
        raise _invalid_state(f"Job in state {job.state} does not take data")
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
    job = _own(org, request, "ingest")
    state = request.json_object({"state"}).get("state")
    if state == "Aborted":
        return Reply(200, ingest_json(_abort(org, job)))
    if state != "UploadComplete":
        raise _invalid_job(f"a job's state can be set to UploadComplete or Aborted, not {state!r}")
    if job.state != "Open":
        raise _invalid_state(f"Job must be in state Open to be closed, it is {job.state}")
    if job.uploads > 1:
        raise SalesforceError(
            400,
            "INVALIDJOB",
            f"Found multipe contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' the "
            "current Job then create a new Job and make sure you only do 'PUT' once on a given "
            "Job.",
        )
    if job.uploads == 0:
        raise _invalid_job("no data was uploaded")
    return Reply(200, _close(org, job))


def _close(org: Org, job: Job) -> dict[str, Any]:
    """Let the job be worked off and give it as it is at this moment."""
    day_ago = org.clock.now() - timedelta(days=1)
    used = sum(other.batches for other in org.jobs.created_since("ingest", day_ago))
    job.batches = _batches(org.jobs.folder(job) / bulk_worker.UPLOAD)
    if used + job.batches > org.options.batches_max:
        job.batches = 0
        raise SalesforceError(400, "EXCEEDEDQUOTA", "ExceededQuota : ApiBatchItems Limit exceeded.")
    org.jobs.move(job, "UploadComplete")
    shown = ingest_json(job)
    org.jobs.start(job)
    return shown


def _batches(path: Path) -> int:
    """Count the file's internal batches of 10,000 rows, by its lines (cells may hold some)."""
    lines = 0
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            lines += block.count(b"\n")
    return max(1, -(-(lines - 1) // BATCH_ROWS))


def patch_query(org: Org, request: Request) -> Reply:
    """Abort a query job."""
    job = _own(org, request, "query")
    state = request.json_object({"state"}).get("state")
    if state != "Aborted":
        raise _invalid_job(f"a query job's state can be set to Aborted, not {state!r}")
    return Reply(200, query_json(_abort(org, job), polled=True))


def _abort(org: Org, job: Job) -> Job:
    if job.ended:
        raise _invalid_state(f"Aborting already {job.state} Job not allowed")
    org.jobs.abort(job)
    return job


def get_ingest(org: Org, request: Request) -> Reply:
    """Give one ingest job."""
    return Reply(200, ingest_json(_own(org, request, "ingest"), polled=True))


def get_query(org: Org, request: Request) -> Reply:
    """Give one query job."""
    return Reply(200, query_json(_own(org, request, "query"), polled=True))


def delete_ingest(org: Org, request: Request) -> Reply:
    """Remove an ingest job that is closed; its data and results go too."""
    return _delete(org, _own(org, request, "ingest"))


def delete_query(org: Org, request: Request) -> Reply:
    """Remove a query job that has ended."""
    return _delete(org, _own(org, request, "query"))


def _delete(org: Org, job: Job) -> Reply:
    deletable = job.ended or (job.kind == "ingest" and job.state == "UploadComplete")
    if not deletable:
        raise _invalid_state(f"Job in state {job.state} cannot be deleted")
    if not job.ended:
        org.jobs.abort(job)
    org.jobs.forget(job)
    return Reply(204)


def _own(org: Org, request: Request, kind: str) -> Job:
    """Give the job named in the path, if it is this user's or the user may manage all jobs."""
    job = org.jobs.get(request.args["job"], kind)
    if job.created_by != request.user_id and not org.store.user(request.user_id).is_admin:
        raise SalesforceError(
            403, "INSUFFICIENT_ACCESS", "Seeing other users' jobs needs Manage Data Integrations"
        )
    return job


# What a job looks like


def _common(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "operation": job.operation,
        "object": job.object,
        "createdById": job.created_by,
        "createdDate": job.created_date,
        "systemModstamp": job.system_modstamp,
        "state": job.state,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": job.api_version,
        "lineEnding": job.line_ending,
        "columnDelimiter": job.delimiter,
    }


def ingest_json(job: Job, *, polled: bool = False) -> dict[str, Any]:
    """Give an ingest job as the API shows it; ``polled`` adds counts and times."""
    body = _common(job)
    if job.external_id_field:
        body["externalIdFieldName"] = job.external_id_field
    if job.assignment_rule_id:
        body["assignmentRuleId"] = job.assignment_rule_id
    body["contentUrl"] = f"services/data/v{job.api_version}/jobs/ingest/{job.id}/batches"
    if polled:
        body |= {
            "jobType": "V2Ingest",
            "numberRecordsProcessed": job.processed,
            "numberRecordsFailed": job.failed,
            "retries": job.retries,
            "totalProcessingTime": job.processing_ms,
            "apiActiveProcessingTime": job.processing_ms,
            "apexProcessingTime": 0,
            "isPkChunkingSupported": True,
        }
        if job.error_message:
            body["errorMessage"] = job.error_message
    return body


def query_json(job: Job, *, polled: bool) -> dict[str, Any]:
    """Give a query job as the API shows it; ``polled`` adds counts and times."""
    body = _common(job)
    if polled:
        body |= {
            "jobType": "V2Query",
            "numberRecordsProcessed": job.processed,
            "retries": job.retries,
            "totalProcessingTime": job.processing_ms,
            "isPkChunkingSupported": True,
        }
        if job.error_message:
            body["errorMessage"] = job.error_message
    return body


# Lists


def list_ingest(org: Org, request: Request) -> Reply:
    """List ingest jobs."""
    return _listed(org, request, "ingest")


def list_query(org: Org, request: Request) -> Reply:
    """List query jobs."""
    return _listed(org, request, "query")


def _listed(org: Org, request: Request, kind: str) -> Reply:
    job_type = request.params.get("jobType")
    if job_type is not None and job_type not in JOB_TYPES[kind]:
        raise _invalid_job(f"jobType is one of {', '.join(JOB_TYPES[kind])}, not {job_type!r}")
    jobs = org.jobs.all(kind)
    mode = request.params.get("concurrencyMode", "Parallel").lower()
    wanted = JOB_TYPES[kind][0]
    if job_type not in (None, wanted) or mode != "parallel":
        jobs = []
    if request.params.get("isPkChunkingEnabled", "").lower() == "true":
        jobs = []
    if not org.store.user(request.user_id).is_admin:
        jobs = [job for job in jobs if job.created_by == request.user_id]
    start = _list_start(request.params.get("queryLocator"))
    end = start + org.options.list_page_jobs
    shown = [
        ingest_json(job, polled=True) if kind == "ingest" else query_json(job, polled=True)
        for job in jobs[start:end]
    ]
    for body in shown:
        for key in ("errorMessage", "totalProcessingTime", "retries", "apexProcessingTime"):
            body.pop(key, None)
    done = end >= len(jobs)
    following = None
    if not done:
        base = f"/services/data/v{request.version}/jobs/{kind}"
        typed = f"&jobType={job_type}" if job_type else ""
        following = f"{base}?queryLocator=01g{end}{typed}"
    return Reply(200, {"done": done, "records": shown, "nextRecordsUrl": following})


def _list_start(locator: str | None) -> int:
    if locator is None:
        return 0
    number = locator.removeprefix("01g")
    if not number.isdigit():
        raise SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return int(number)


# Results of an ingest job


def ingest_results(org: Org, request: Request) -> Reply:
    """Give successfulResults, failedResults or unprocessedrecords (named in any case)."""
    name = RESULT_FILES.get(request.args["result"].lower())
    if name is None:
        raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")
    job = _own(org, request, "ingest")
    if not job.ended:
        raise _invalid_state(f"Job in state {job.state} has no results yet")
    path = org.jobs.folder(job) / name
    if not path.exists():
        header = _header_alone(org, job, name)
        return Reply(200, header, content_type=_csv_type(org))
    return Reply(200, Spool(lambda: _blocks(path)), content_type=_csv_type(org))


def _header_alone(org: Org, job: Job, name: str) -> str:
    """Give the header of a result that was never written: the job ended before its first row."""
    upload_path = org.jobs.folder(job) / bulk_worker.UPLOAD
    added = {
        bulk_worker.SUCCESSFUL: ("sf__Id", "sf__Created"),
        bulk_worker.FAILED: ("sf__Id", "sf__Error"),
    }
    if name == bulk_worker.UNPROCESSED and upload_path.exists():
        bulk_worker.write_unprocessed(org.jobs, job)
        return (org.jobs.folder(job) / name).read_text(encoding="utf-8")
    out = io.StringIO()
    writer = csv.writer(
        out,
        delimiter=DELIMITERS[job.delimiter],
        lineterminator=LINE_ENDINGS[job.line_ending],
        quoting=csv.QUOTE_ALL,
    )
    writer.writerow([*added.get(name, ()), *job.columns])
    return out.getvalue()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while block := source.read(BLOCK_BYTES):
            yield block


def _csv_type(org: Org) -> str:
    return "text/csv; charset=UTF-8" if org.options.csv_charset else "text/csv"


# Results of a query job


def query_results(org: Org, request: Request) -> Reply:
    """Give one page of a query job's rows; the locator of the next page is in the headers."""
    job = _own(org, request, "query")
    spool = _spool(org, request, job)
    if spool is None:
        return Reply(204)
    rows_max = _rows_max(org, request)
    locator = request.params.get("locator")
    if locator and org.faults.on_request(
        request.method, request.path, frozenset({"expire_locator"})
    ):
        raise SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    start = _locator_start(job, locator, spool.row_count)
    rows, blocks = spool.page(start, rows_max)
    end = start + rows
    headers = {
        "Sforce-NumberOfRecords": str(rows),
        "Sforce-Locator": make_locator(job, end) if end < spool.row_count else "null",
    }
    if spool.row_count == 0 and org.options.bulk_zero_rows != "header":
        status = 204 if org.options.bulk_zero_rows == "no_content" else 200
        return Reply(status, None if status == 204 else "", headers, _csv_type(org))  # noqa: PLR2004
    with_header = start == 0 or org.options.bulk_header_every_page

    def page() -> Iterator[bytes]:
        if with_header:
            yield spool.header
        yield from blocks

    return Reply(200, Spool(page), headers, _csv_type(org))


def _spool(org: Org, request: Request, job: Job) -> ResultSpool | None:
    """Give the job's rows; None where the org answers 204 for want of results."""
    if float(request.version) != job.api_version:
        raise SalesforceError(
            409,
            "INVALIDJOB",
            f"Results must be read with the API version of the job, {job.api_version}",
        )
    if job.state == "JobComplete":
        return ResultSpool(org.jobs.folder(job) / bulk_worker.RESULTS)
    if org.options.bulk_no_results == "no_content":
        return None
    raise _invalid_state(f"Job in state {job.state} has no results")


def _rows_max(org: Org, request: Request) -> int:
    text = request.params.get("maxRecords")
    if text is None:
        return int(org.options.bulk_page_rows)
    if not text.isdigit() or int(text) == 0:
        raise SalesforceError(400, "INVALID_QUERY_PARAMETER", f"maxRecords is invalid: {text}")
    return int(text)


def make_locator(job: Job, start: int) -> str:
    """Make the locator of the page that begins at a row; it cannot be worked out from outside."""
    digest = hmac.new(job.id.encode(), f"{job.created_date}{start}".encode(), hashlib.sha256)
    return f"{start:x}-{digest.hexdigest()[:12]}"


def _locator_start(job: Job, locator: str | None, rows: int) -> int:
    if not locator:
        return 0
    try:
        start = int(locator.partition("-")[0], 16)
    except ValueError:
        start = -1
    if not 0 < start < rows or make_locator(job, start) != locator:
        raise SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return start


def result_pages(org: Org, request: Request) -> Reply:
    """Give the URLs of up to five pages at once, for reading them side by side (58.0 and later)."""
    if float(request.version) < RESULT_PAGES_SINCE:
        raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")
    job = _own(org, request, "query")
    spool = _spool(org, request, job)
    if spool is None:
        return Reply(204)
    start = _locator_start(job, request.params.get("locator"), spool.row_count)
    step = int(org.options.bulk_page_rows)
    base = f"/services/data/v{request.version}/jobs/query/{job.id}"
    urls: list[dict[str, str]] = []
    while len(urls) < PARALLEL_PAGES and (start < spool.row_count or not urls):
        query = f"?maxRecords={step}" + (f"&locator={make_locator(job, start)}" if start else "")
        urls.append({"resultUrl": f"{base}/results{query}"})
        start += step
    done = start >= spool.row_count
    answer: dict[str, Any] = {"resultPages": urls, "done": done}
    if not done:
        answer["nextRecordsUrl"] = f"{base}/resultPages?locator={make_locator(job, start)}"
    return Reply(200, answer)
