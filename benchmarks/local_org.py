"""What the local org itself can do, so that nobody takes its limits for the pipeline's.

    python -m benchmarks.local_org [LEADS]

Loads LEADS leads (default 100,000), counts them, queries twelve fields in bulk and updates some, with plain
`requests` as the client, and prints seconds and the process's peak memory.
"""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import requests

from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, start

LEADS: Final = 100_000
UPDATED_MAX: Final = 100_000
PAGE_ROWS: Final = 100_000
FIELDS: Final = (
    "LastName,FirstName,Company,Email,Website,Phone,Status,AnnualRevenue,NumberOfEmployees,Industry"
)
ENDED: Final = ("JobComplete", "Failed", "Aborted")
_Value = TypeVar("_Value")


class Client:
    """A plain HTTP client of the org's API; every call raises where it is refused."""

    def __init__(self, org: RunningOrg) -> None:
        """Sign in by client credentials."""
        self.base = f"{org.base_url}/services/data/v62.0/"
        self.http = requests.Session()
        self.http.trust_env = False
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
        answer = self.http.post(f"{org.base_url}/services/oauth2/token", data=form, timeout=60)
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Make one call."""
        answer = self.http.request(method, self.base + path, timeout=600, **more)
        answer.raise_for_status()
        return answer

    def job_done(self, kind: str, job_id: str) -> dict[str, Any]:
        """Wait until a job has ended."""
        while True:
            job: dict[str, Any] = self.call("GET", f"jobs/{kind}/{job_id}").json()
            if job["state"] in ENDED:
                return job
            time.sleep(0.02)


def main(leads: int) -> None:
    """Measure, and print a line a figure."""
    with start() as org:
        org.control(
            "POST",
            "fields",
            {
                "fields": {
                    "Lead.Score__c": {
                        "label": "Score",
                        "type": "Number",
                        "precision": 3,
                        "scale": 0,
                    }
                }
            },
        )
        timed(
            "load over the control endpoint",
            lambda: org.control("POST", "load?object=Lead", made(leads), content_type="text/csv"),
        )
        client = Client(org)
        count = timed(
            "SELECT COUNT()",
            lambda: client.call("GET", "query", params={"q": "SELECT COUNT() FROM Lead"}),
        )
        print(f"{count.json()['totalSize']:>44,} leads")
        ids = bulk_query(client)
        for some in (10_000, UPDATED_MAX):
            update(client, ids[:some])
        print(f"{'peak memory of the org':44} {peak_megabytes(org)} MB")


def timed(what: str, step: Callable[[], _Value]) -> _Value:
    """Do `step` and print how long it took."""
    began = time.perf_counter()
    value = step()
    print(f"{what:44} {time.perf_counter() - began:.2f} s")
    return value


def made(leads: int) -> bytes:
    """Return so many leads as CSV."""
    rows = (
        f"Last{n},First,Company {n % 5000},a{n}@example.com,https://c{n}.example.com,555-0100,"
        f"Open - Not Contacted,{n * 10},{n % 9999},Technology"
        for n in range(leads)
    )
    return "\n".join([FIELDS, *rows]).encode()


def bulk_query(client: Client) -> list[str]:
    """Query twelve fields of all leads, and return some of their ids."""
    soql = f"SELECT Id,{FIELDS},SystemModstamp FROM Lead"  # noqa: S608  our own names
    job = client.call("POST", "jobs/query", json={"operation": "query", "query": soql}).json()
    timed("bulk query of 12 fields: the job", lambda: client.job_done("query", job["id"]))
    return timed("bulk query of 12 fields: the results", lambda: downloaded(client, job["id"]))


def downloaded(client: Client, job_id: str) -> list[str]:
    """Read all result pages; return the ids of the first."""
    ids: list[str] = []
    parameters = {"maxRecords": str(PAGE_ROWS)}
    while True:
        page = client.call("GET", f"jobs/query/{job_id}/results", params=parameters)
        ids = ids or [row[0] for row in csv.reader(io.StringIO(page.content.decode()))][1:]
        parameters["locator"] = page.headers["Sforce-Locator"]
        if parameters["locator"] == "null":
            return ids


def update(client: Client, ids: Iterable[str]) -> None:
    """Update a score on each of `ids` by a bulk job, and read its results."""
    listed = list(ids)
    body = {"object": "Lead", "operation": "update", "contentType": "CSV", "lineEnding": "LF"}
    job = client.call("POST", "jobs/ingest", json=body).json()["id"]
    text = "Id,Score__c\n" + "".join(f"{i},{n % 101}\n" for n, i in enumerate(listed))
    headers = {"Content-Type": "text/csv"}
    client.call("PUT", f"jobs/ingest/{job}/batches", data=text.encode(), headers=headers)
    client.call("PATCH", f"jobs/ingest/{job}", json={"state": "UploadComplete"})
    what = f"bulk update of {len(listed):,} rows: the job"
    done = timed(what, lambda: client.job_done("ingest", job))
    if done["numberRecordsFailed"]:
        raise RuntimeError(f"{done['numberRecordsFailed']} rows failed")
    timed("its results", lambda: client.call("GET", f"jobs/ingest/{job}/successfulResults"))


def peak_megabytes(org: RunningOrg) -> int:
    """Return the most memory that the org's process has held, where the system tells it."""
    if org.process is None:
        return 0
    status = Path(f"/proc/{org.process.pid}/status")
    text = status.read_text() if status.exists() else "VmHWM: 0"
    return int(text.split("VmHWM:")[1].split()[0]) // 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LEADS)
