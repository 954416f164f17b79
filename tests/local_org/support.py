"""A thin client for the HTTP tests that hides nothing of the wire, and small helpers."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from local_org import launch
from tests.processes import patience

VERSION = "62.0"
FIELDS: dict[str, dict[str, Any]] = {
    "Score__c": {"type": "Number", "precision": 3, "scale": 0},
    "Rank__c": {"type": "Text", "length": 1},
    "Hot__c": {"type": "Checkbox", "defaultValue": "false"},
    "Hash__c": {"type": "TextArea"},
    "Scored__c": {"type": "DateTime"},
    "ExtKey__c": {"type": "Text", "length": 40, "externalId": True, "unique": True},
}


class Api:
    """A signed-in user's HTTP session with the org."""

    def __init__(self, org: launch.RunningOrg, client_id: str, client_secret: str) -> None:
        """Sign in with client credentials."""
        self.org = org
        self.base = org.base_url
        self.session = requests.Session()
        self.session.trust_env = False
        answer = self.token(
            grant_type="client_credentials", client_id=client_id, client_secret=client_secret
        )
        assert answer.status_code == 200, answer.text
        self.access_token: str = answer.json()["access_token"]
        self.session.headers["Authorization"] = f"Bearer {self.access_token}"

    def token(self, *, headers: Mapping[str, str] | None = None, **form: str) -> requests.Response:
        """Ask the token endpoint."""
        return requests.post(
            f"{self.base}/services/oauth2/token", data=form, headers=headers, timeout=30
        )

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request below the API's version, as it is."""
        url = f"{self.base}/services/data/v{VERSION}/{path}"
        return self.session.request(method, url, timeout=60, **arguments)

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """Send a GET."""
        return self.call("GET", path, **arguments)

    def post(self, path: str, body: Any = None, **arguments: Any) -> requests.Response:
        """Send a POST with a JSON body."""
        return self.call("POST", path, json=body, **arguments)

    def patch(self, path: str, body: Any = None, **arguments: Any) -> requests.Response:
        """Send a PATCH with a JSON body."""
        return self.call("PATCH", path, json=body, **arguments)

    def query(self, soql: str) -> Any:
        """Give the first page of a query's answer."""
        answer = self.get("query", params={"q": soql})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(self, object_name: str, **values: Any) -> str:
        """Create a record and give its id."""
        answer = self.post(f"sobjects/{object_name}", values)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    # Bulk, step by step

    def open_ingest(self, object_name: str = "Lead", operation: str = "update", **more: Any) -> Any:
        """Create an ingest job."""
        body = {"object": object_name, "operation": operation, "contentType": "CSV", **more}
        answer = self.post("jobs/ingest", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, job: Mapping[str, Any], text: str | bytes) -> requests.Response:
        """Send a job its rows."""
        data = text.encode() if isinstance(text, str) else text
        return self.session.put(
            f"{self.base}/{job['contentUrl']}",
            data=data,
            headers={"Content-Type": "text/csv"},
            timeout=120,
        )

    def close(self, job: Mapping[str, Any]) -> requests.Response:
        """Close a job, so that it is worked off."""
        return self.patch(f"jobs/ingest/{job['id']}", {"state": "UploadComplete"})

    def wait(self, job: Mapping[str, Any], kind: str = "ingest") -> Any:
        """Poll a job to its end and give it."""
        began = time.monotonic()
        while time.monotonic() - began < patience():
            state = self.get(f"jobs/{kind}/{job['id']}").json()
            if state["state"] in ("JobComplete", "Failed", "Aborted"):
                return state
            time.sleep(0.01)
        raise AssertionError(f"the job did not end: {state}")

    def ingest(
        self, text: str | bytes, object_name: str = "Lead", operation: str = "update", **more: Any
    ) -> Any:
        """Run an ingest job from its creation to its end."""
        job = self.open_ingest(object_name, operation, **more)
        assert self.upload(job, text).status_code == 201
        answer = self.close(job)
        assert answer.status_code == 200, answer.text
        return self.wait(job)

    def results(self, job: Mapping[str, Any], which: str) -> list[dict[str, str]]:
        """Read one result of an ingest job as rows."""
        answer = self.get(f"jobs/ingest/{job['id']}/{which}")
        assert answer.status_code == 200, answer.text
        return rows(answer.content)

    def bulk_query(self, soql: str, **more: Any) -> Any:
        """Run a query job to its end and give it."""
        answer = self.post("jobs/query", {"operation": "query", "query": soql, **more})
        assert answer.status_code == 200, answer.text
        return self.wait(answer.json(), "query")


def rows(content: bytes, delimiter: str = ",") -> list[dict[str, str]]:
    """Read CSV bytes into dicts."""
    text = io.StringIO(content.decode("utf-8"), newline="")
    return list(csv.DictReader(text, delimiter=delimiter))


def csv_text(columns: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Write rows as ingest CSV with LF line ends."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return out.getvalue()


def error(answer: requests.Response) -> Any:
    """Give the one error of an answer that must have exactly one."""
    body = answer.json()
    assert isinstance(body, list), body
    assert len(body) == 1, body
    return body[0]


class ToHttp(HTTPAdapter):
    """Takes the https requests of a client that knows nothing else to a loopback http address."""

    def __init__(self, base: str) -> None:
        """Send everything to ``base``."""
        self.base = base
        super().__init__()

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Send the request to the loopback address, path and query unchanged."""
        assert request.url is not None
        path = request.url.split("/", 3)[3]
        request.url = f"{self.base}/{path}"
        return super().send(request, *args, **kwargs)
