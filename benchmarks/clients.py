"""Other ways to the same org, as baselines: plain HTTP, and simple-salesforce as it is."""

from __future__ import annotations

import os
import time
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from local_org.launch import CLIENT_ID, CLIENT_SECRET

ENDED: Final = ("JobComplete", "Failed", "Aborted")
POLL_SECONDS: Final = 0.1
CALL_SECONDS: Final = 900
API: Final = "/services/data/v62.0/"


class Plain:
    """`requests` and nothing else: what any client must do at least. Every call raises where it is refused."""

    def __init__(self, base_url: str | None = None) -> None:
        """Sign in by client credentials."""
        url = base_url or os.environ["SALESFORCE_LOGIN_URL"]
        self.base = url + API
        self.http = requests.Session()
        self.http.trust_env = False
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
        answer = self.http.post(f"{url}/services/oauth2/token", data=form, timeout=CALL_SECONDS)
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Make one call."""
        answer = self.http.request(method, self.base + path, timeout=CALL_SECONDS, **more)
        answer.raise_for_status()
        return answer

    def job_done(self, kind: str, job_id: str) -> dict[str, Any]:
        """Wait until a job has ended."""
        while True:
            job: dict[str, Any] = self.call("GET", f"jobs/{kind}/{job_id}").json()
            if job["state"] in ENDED:
                return job
            time.sleep(POLL_SECONDS)

    def query_job(self, soql: str) -> str:
        """Make a bulk query, wait until it is done, and return its id."""
        body = {"operation": "query", "query": soql}
        job_id: str = self.call("POST", "jobs/query", json=body).json()["id"]
        self.job_done("query", job_id)
        return job_id

    def pages(self, job_id: str, rows: int = 100_000) -> list[bytes]:
        """Return all result pages of a bulk query."""
        found = []
        parameters = {"maxRecords": str(rows)}
        while True:
            page = self.call("GET", f"jobs/query/{job_id}/results", params=parameters)
            found.append(page.content)
            parameters["locator"] = page.headers["Sforce-Locator"]
            if parameters["locator"] == "null":
                return found

    def update_job(self, csv: bytes) -> dict[str, Any]:
        """Update leads from a ready CSV, and return the job once it has ended."""
        body = {"object": "Lead", "operation": "update", "contentType": "CSV", "lineEnding": "LF"}
        job_id = self.call("POST", "jobs/ingest", json=body).json()["id"]
        headers = {"Content-Type": "text/csv"}
        self.call("PUT", f"jobs/ingest/{job_id}/batches", data=csv, headers=headers)
        self.call("PATCH", f"jobs/ingest/{job_id}", json={"state": "UploadComplete"})
        return self.job_done("ingest", job_id)

    def results(self, job_id: str) -> bytes:
        """Return the rows that a job has written."""
        return self.call("GET", f"jobs/ingest/{job_id}/successfulResults").content


class _ToHttp(HTTPAdapter):
    """Sends what the library addresses to a https host to the org on this machine instead."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._netloc = urlsplit(base_url).netloc

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(str(request.url))
        request.url = parts._replace(scheme="http", netloc=self._netloc).geturl()
        return super().send(request, **more)


def simple_salesforce() -> Any:
    """Return the library, signed in; unchanged but for an adapter, since it speaks https only."""
    from simple_salesforce.api import Salesforce

    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _ToHttp(os.environ["SALESFORCE_LOGIN_URL"]))
    return Salesforce(
        consumer_key=CLIENT_ID,
        consumer_secret=CLIENT_SECRET,
        domain="acme.my",
        session=session,
        version="62.0",
    )
