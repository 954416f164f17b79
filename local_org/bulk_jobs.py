"""Bulk jobs as the API shows them: one, a list, and the refusals that all resources share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_org.errors import SalesforceError
from local_org.jobs import Job
from local_org.org import Org
from local_org.wire import Reply, Request

JOB_TYPES = {
    "ingest": ("V2Ingest", "Classic", "BigObjectIngest"),
    "query": ("V2Query", "Classic", "V2Ingest"),
}
LIST_PARAMS = ("jobType", "isPkChunkingEnabled", "queryLocator")


# --- finding and refusing ------------------------------------------------------------------------


def own_job(org: Org, request: Request, kind: str) -> Job:
    """Give the job named in the path, if it is this user's or the user may manage all jobs."""
    job = org.jobs.get(request.args["job"], kind)
    if job.created_by != request.user_id and not org.store.user(request.user_id).is_admin:
        raise SalesforceError(
            403, "INSUFFICIENT_ACCESS", "Seeing other users' jobs needs Manage Data Integrations"
        )
    return job


def invalid_job(message: str) -> SalesforceError:
    """Refuse what a job is asked to be."""
    return SalesforceError(400, "INVALIDJOB", f"InvalidJob : {message}")


def invalid_state(message: str) -> SalesforceError:
    """Refuse what a job in this state cannot do."""
    return SalesforceError(400, "INVALIDJOBSTATE", message)


def choose(
    body: Mapping[str, Any], key: str, choices: tuple[str, ...], default: str | None = None
) -> str:
    """Read one of the values that a key may have."""
    value = body.get(key, default)
    if value is None:
        raise invalid_job(f"{key} is required")
    if value not in choices:
        raise SalesforceError(
            400, "INVALIDJOB", f"Unable to find {key} '{value}'; it is one of {', '.join(choices)}"
        )
    return str(value)


# --- one job -------------------------------------------------------------------------------------


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


# --- lists ---------------------------------------------------------------------------------------


def list_ingest(org: Org, request: Request) -> Reply:
    """List ingest jobs."""
    return _list(org, request, "ingest")


def list_query(org: Org, request: Request) -> Reply:
    """List query jobs."""
    return _list(org, request, "query")


def _list(org: Org, request: Request, kind: str) -> Reply:
    job_type = request.params.get("jobType")
    if job_type is not None and job_type not in JOB_TYPES[kind]:
        raise invalid_job(f"jobType is one of {', '.join(JOB_TYPES[kind])}, not {job_type!r}")

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
    records = [
        ingest_json(job, polled=True) if kind == "ingest" else query_json(job, polled=True)
        for job in jobs[start:end]
    ]

    # A list says less of each job than the job's own resource does.
    for body in records:
        for key in ("errorMessage", "totalProcessingTime", "retries", "apexProcessingTime"):
            body.pop(key, None)

    done = end >= len(jobs)
    following = None
    if not done:
        base = f"/services/data/v{request.version}/jobs/{kind}"
        type_param = f"&jobType={job_type}" if job_type else ""
        following = f"{base}?queryLocator=01g{end}{type_param}"
    return Reply(200, {"done": done, "records": records, "nextRecordsUrl": following})


def _list_start(locator: str | None) -> int:
    if locator is None:
        return 0

    number = locator.removeprefix("01g")
    if not number.isdigit():
        raise SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return int(number)
