"""The results of bulk jobs: an ingest job's three files, a query job's pages (API notes, 3)."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_org import bulk_worker
from local_org.bulk_jobs import invalid_state, own_job
from local_org.errors import SalesforceError
from local_org.jobs import DELIMITERS, LINE_ENDINGS, Job
from local_org.org import Org
from local_org.query import ResultSpool
from local_org.wire import Reply, Request, Spool

RESULT_FILES = {
    "successfulresults": bulk_worker.SUCCESSFUL,
    "failedresults": bulk_worker.FAILED,
    "unprocessedrecords": bulk_worker.UNPROCESSED,
}
PARALLEL_PAGES = 5
RESULT_PAGES_SINCE = 58.0
BLOCK_BYTES = 1 << 18


# --- an ingest job -------------------------------------------------------------------------------


def ingest_results(org: Org, request: Request) -> Reply:
    """Give successfulResults, failedResults or unprocessedrecords (named in any case)."""
    name = RESULT_FILES.get(request.args["result"].lower())
    if name is None:
        raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")
    job = own_job(org, request, "ingest")
    if not job.ended:
        raise invalid_state(f"Job in state {job.state} has no results yet")
    path = org.jobs.folder(job) / name
    if not path.exists():
        header = _header_only(org, job, name)
        return Reply(200, header, content_type=_csv_type(org))
    return Reply(200, Spool(lambda: _blocks(path)), content_type=_csv_type(org))


def _header_only(org: Org, job: Job, name: str) -> str:
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


# --- a query job ---------------------------------------------------------------------------------


def query_results(org: Org, request: Request) -> Reply:
    """Give one page of a query job's rows; the locator of the next page is in the headers."""
    job = own_job(org, request, "query")
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
    is_short = rows > 0 and org.faults.on_request(
        request.method, request.path, frozenset({"short_result"})
    )
    is_last = start + rows >= spool.row_count
    if is_short and is_last:
        rows, blocks = spool.page(start, rows - 1)
    end = start + rows
    headers = {
        "Sforce-NumberOfRecords": str(rows),
        "Sforce-Locator": "null" if is_last or is_short else make_locator(job, end),
    }

    if spool.row_count == 0 and org.options.bulk_zero_rows != "header":
        status = 204 if org.options.bulk_zero_rows == "no_content" else 200
        return Reply(status, None if status == 204 else "", headers, _csv_type(org))  # noqa: PLR2004
    # Clients that join pages must drop the header of all but the first.
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
    raise invalid_state(f"Job in state {job.state} has no results")


def _rows_max(org: Org, request: Request) -> int:
    text = request.params.get("maxRecords")
    if text is None:
        return int(org.options.bulk_page_rows)
    if not text.isdigit() or int(text) == 0:
        raise SalesforceError(400, "INVALID_QUERY_PARAMETER", f"maxRecords is invalid: {text}")
    return int(text)


def make_locator(job: Job, start: int) -> str:
    """Make the locator of the page that begins at a row; it cannot be worked out from outside."""
    # A number would do here; a client must not be able to count on that.
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

    job = own_job(org, request, "query")
    spool = _spool(org, request, job)
    if spool is None:
        return Reply(204)

    start = _locator_start(job, request.params.get("locator"), spool.row_count)
    step = int(org.options.bulk_page_rows)
    base = f"/services/data/v{request.version}/jobs/query/{job.id}"

    urls: list[dict[str, str]] = []
    # At least one page, even of a result without rows.
    while len(urls) < PARALLEL_PAGES and (start < spool.row_count or not urls):
        query = f"?maxRecords={step}" + (f"&locator={make_locator(job, start)}" if start else "")
        urls.append({"resultUrl": f"{base}/results{query}"})
        start += step

    done = start >= spool.row_count
    answer: dict[str, Any] = {"resultPages": urls, "done": done}
    if not done:
        answer["nextRecordsUrl"] = f"{base}/resultPages?locator={make_locator(job, start)}"
    return Reply(200, answer)
