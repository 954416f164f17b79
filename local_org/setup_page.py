"""Setup's page Bulk Data Load Jobs, in plain HTML: the lists, one job, and "View results".

Salesforce lists jobs in progress and those completed in the last seven days (API notes, 3.6). Here
the page asks for no sign-in, and its "View results" shows each failed row with its message.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import islice

from local_org import bulk_worker
from local_org.errors import SalesforceError
from local_org.jobs import DELIMITERS, Job
from local_org.org import Org
from local_org.wire import Reply, Request

HOME = "/lightning/setup/AsyncApiJobStatus/home"
ADDRESSED = "/lightning/setup/AsyncApiJobStatus/page"
ROWS_MAX = 200
_JOB = re.compile(re.escape("/lightning/setup/AsyncApiJobStatus/") + r"(750\w{12}(?:\w{3})?)")
_RESULTS = re.compile(_JOB.pattern + r"/results/(successful|failed|unprocessed)")
_FILES = {
    "successful": bulk_worker.SUCCESSFUL,
    "failed": bulk_worker.FAILED,
    "unprocessed": bulk_worker.UNPROCESSED,
}
_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{border-bottom:1px solid #ddd;padding:.35rem .6rem;text-align:left;vertical-align:top}
th{background:#f3f3f3}.n{text-align:right;font-variant-numeric:tabular-nums}
.Failed,.Aborted{color:#ba0517}.JobComplete{color:#2e844a}a{color:#0b5cab}
"""
_STATE_LABELS = {
    "Open": "Open",
    "UploadComplete": "Queued",
    "InProgress": "In Progress",
    "JobComplete": "Completed",
    "Failed": "Failed",
    "Aborted": "Aborted",
}


def find(path: str) -> Callable[[Org, Request], Reply] | None:
    """Give what answers a path, or None if it is not one of this page's."""
    if path.rstrip("/") == HOME:
        return home
    if path.rstrip("/") == ADDRESSED:
        return addressed_page
    if _JOB.fullmatch(path.rstrip("/")):
        return job_page
    if _RESULTS.fullmatch(path.rstrip("/")):
        return results_page
    return None


def home(org: Org, request: Request) -> Reply:
    """Show the jobs in progress and the jobs completed in the last seven days."""
    del request
    jobs = sorted(org.jobs.all(), key=lambda job: (job.created_date, job.id), reverse=True)
    running = [job for job in jobs if not job.ended]
    ended = [job for job in jobs if job.ended]
    return _page(
        "Bulk Data Load Jobs",
        "<h2>In Progress Jobs</h2>"
        + _job_table(org, running, "No jobs are in progress.", "running")
        + "<h2>Jobs Completed in the Last 7 Days</h2>"
        + _job_table(org, ended, "No jobs were completed.", "completed"),
    )


def _job_table(org: Org, jobs: Sequence[Job], none: str, name: str) -> str:
    if not jobs:
        return f"<p>{escape(none)}</p>"

    header = (
        "Job ID",
        "Object",
        "Operation",
        "Status",
        "Submitted By",
        "Start Time",
        "End Time",
        "Records Processed",
        "Records Failed",
        "Retries",
        "Time to Complete (ms)",
        "API Version",
        "Job Type",
    )

    rows = [
        [
            f'<a href="/lightning/setup/AsyncApiJobStatus/{job.id}">{job.id}</a>',
            escape(job.object),
            escape(_operation(job)),
            _status(job),
            escape(org.store.user(job.created_by).username),
            job.created_date,
            job.ended_date or "",
            str(job.processed),
            str(job.failed),
            str(job.retries),
            str(job.processing_ms),
            str(job.api_version),
            "Bulk V2 Query" if job.kind == "query" else "Bulk V2 Ingest",
        ]
        for job in jobs
    ]
    return _table(header, rows, f'id="{name}"')


def _operation(job: Job) -> str:
    return {"queryAll": "Query All", "hardDelete": "Hard Delete"}.get(
        job.operation, job.operation.capitalize()
    )


def _status(job: Job) -> str:
    return f'<span class="{job.state}">{_STATE_LABELS[job.state]}</span>'


def _table(header: Iterable[str], rows: Iterable[Sequence[str]], attributes: str = "") -> str:
    """Write a table whose cells are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table {attributes}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _job(org: Org, job_id: str) -> Job:
    for kind in ("ingest", "query"):
        try:
            return org.jobs.get(job_id, kind)
        except SalesforceError:
            continue
    raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")


def addressed_page(org: Org, request: Request) -> Reply:
    """Show the job that Lightning's own form of link names: ``page?address=/750...``."""
    return _one_job(org, request.params.get("address", "").strip("/"))


def job_page(org: Org, request: Request) -> Reply:
    """Show one job, with links to its results."""
    match = _JOB.fullmatch(request.path.rstrip("/"))
    return _one_job(org, match[1] if match else "")


def _one_job(org: Org, job_id: str) -> Reply:
    job = _job(org, job_id)
    facts = [
        ("Job ID", job.id),
        ("Object", escape(job.object)),
        ("Operation", escape(_operation(job))),
        ("Status", _status(job)),
        ("Submitted By", escape(org.store.user(job.created_by).username)),
        ("Start Time", job.created_date),
        ("End Time", job.ended_date or ""),
        ("API Version", str(job.api_version)),
        ("Content Type", "CSV"),
        ("External ID Field", escape(job.external_id_field or "")),
        ("Records Processed", str(job.processed)),
        ("Records Failed", str(job.failed)),
        ("Retries", str(job.retries)),
        ("Total Processing Time (ms)", str(job.processing_ms)),
        ("Error Message", escape(job.error_message or "")),
    ]

    if job.query:
        facts.append(("Query", f"<code>{escape(job.query)}</code>"))
    content = _table(("Field", "Value"), facts)

    if job.kind == "ingest" and job.ended:
        base = f"/lightning/setup/AsyncApiJobStatus/{job.id}/results"
        links = "".join(
            f'<li><a href="{base}/{name}">View results: {name} records</a></li>' for name in _FILES
        )
        content += f"<h2>Results</h2><ul>{links}</ul>"
    return _page(f"Bulk Data Load Job {job.id}", content)


def results_page(org: Org, request: Request) -> Reply:
    """Show the first rows of one result of an ingest job; failed ones with their message first."""
    match = _RESULTS.fullmatch(request.path.rstrip("/"))
    if match is None:
        raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")
    job, name = _job(org, match[1]), match[2]

    path = org.jobs.folder(job) / _FILES[name]
    if not path.exists():
        return _page(f"Results of {job.id}: {name}", "<p>There are no rows.</p>")

    with path.open(encoding="utf-8", newline="") as source:
        # Only the first rows are read: a result may have millions.
        reader = csv.reader(source, delimiter=DELIMITERS[job.delimiter])
        header = [escape(column) for column in next(reader, [])]
        rows = [[escape(cell) for cell in row] for row in islice(reader, ROWS_MAX)]

    note = f"<p>This page shows at most {ROWS_MAX} rows.</p>"
    back = f'<p><a href="/lightning/setup/AsyncApiJobStatus/{job.id}">Back to the job</a></p>'
    return _page(f"Results of {job.id}: {name}", back + _table(header, rows) + note)


def _page(title: str, content: str) -> Reply:
    home_link = f'<nav><a href="{HOME}">Setup &rsaquo; Jobs &rsaquo; Bulk Data Load Jobs</a></nav>'
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} | Salesforce</title><style>{_STYLE}</style></head>"
        f"<body>{home_link}<h1>{escape(title)}</h1>{content}</body></html>"
    )
    return Reply(200, document, content_type="text/html; charset=UTF-8")
