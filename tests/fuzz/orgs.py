"""The local org: whatever is asked of it, its answer is one that Salesforce gives, never a fault of its own."""

# ruff: noqa: PT017 - what is asserted of a declared error; others are findings

from __future__ import annotations

import csv
import io
import json
import tempfile
import time
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl

from local_org.__main__ import build_router
from local_org.clock import Clock
from local_org.errors import SalesforceError
from local_org.options import Options
from local_org.org import Org, open_org
from local_org.soql.parser import parse, parse_condition
from local_org.wire import Reply, Request, Spool
from tests.fuzz.target import Target, text_of

DATA = "/services/data/v62.0"
JOB_SECONDS_MAX = 120
PREFIX = "fuzz-org-"


@cache
def _org() -> Org:
    folder = tempfile.TemporaryDirectory(prefix=PREFIX)
    org = open_org(Path(folder.name) / "org.sqlite3", Options(), Clock(), build_router())
    org.__dict__["kept_folder"] = folder  # as long as the org
    reply = _asked("POST", f"{DATA}/sobjects/Lead", b'{"LastName":"A","Company":"B"}', org=org)
    assert reply.status == 201, reply.body
    return org


def _asked(
    method: str,
    path: str,
    body: bytes = b"",
    content_type: str = "application/json",
    org: Org | None = None,
) -> Reply:
    """Ask the org as its front does, and hold the answer's form against Salesforce's."""
    known = org or _org()
    path, _, query = path.partition("?")
    params = dict(parse_qsl(query, keep_blank_values=True))
    headers = {"Content-Type": content_type}
    request = Request(method, path, params, headers, body, known.store.admin.id)
    reply = known.dispatch(request)
    assert 200 <= reply.status < 500, (reply.status, reply.body)
    if isinstance(reply.body, Spool):
        reply.body = b"".join(reply.body.blocks())
    if not isinstance(reply.body, bytes | str | None):
        json.dumps(reply.body).encode()
    if reply.status >= 400:
        assert isinstance(reply.body, list), reply.body
        assert all(error["errorCode"] and "message" in error for error in reply.body), reply.body
    return reply


def _soql(data: bytes) -> None:
    """A query has rows or is refused; what the parser takes, the compiler decides on."""
    text = text_of(data)
    for read in (parse, parse_condition):
        try:
            read(text)
        except SalesforceError as error:
            assert error.status == 400
    org = _org()
    request = Request("GET", f"{DATA}/query", {"q": text}, {}, b"", org.store.admin.id)
    reply = org.dispatch(request)
    assert reply.status in (200, 400), (reply.status, reply.body)
    json.dumps(reply.body)


def _request(data: bytes) -> None:
    """A line with method and path, then the body."""
    line, _, body = data.partition(b"\n")
    method, _, path = text_of(line).partition(" ")
    _asked(method or "GET", f"{DATA}{path}", body)


def _upload(data: bytes) -> None:
    """Any upload: the job ends as Salesforce's do, and its results are CSV with a row for each."""
    operation = {b"I": "insert", b"D": "delete"}.get(data[:1], "update")
    described = {"object": "Lead", "operation": operation, "contentType": "CSV", "lineEnding": "LF"}
    job = _asked("POST", f"{DATA}/jobs/ingest", json.dumps(described).encode()).body["id"]
    path = f"{DATA}/jobs/ingest/{job}"
    assert _asked("PUT", f"{path}/batches", data[1:], "text/csv").status == 201
    closed = _asked("PATCH", path, b'{"state":"UploadComplete"}')
    assert closed.status == 200, closed.body
    deadline = time.monotonic() + JOB_SECONDS_MAX
    while (state := _asked("GET", path).body)["state"] not in ("JobComplete", "Failed"):
        assert time.monotonic() < deadline, state
        time.sleep(0.0005)
    assert "the local org failed" not in state.get("errorMessage", ""), state
    counted = 0
    for which in ("successfulResults", "failedResults"):
        text = _asked("GET", f"{path}/{which}").body
        content = text if isinstance(text, bytes) else str(text).encode()
        header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
        assert all(len(row) == len(header) for row in rows), content
        counted += len(rows)
    if state["state"] == "JobComplete":
        assert counted == state["numberRecordsProcessed"], (counted, state)
    _asked("DELETE", path)


def _body(path: str, body: object, method: str = "POST") -> bytes:
    return f"{method} {path}\n{json.dumps(body)}".encode()


TARGETS = (
    Target(
        "org_soql",
        _soql,
        (
            b"SELECT Id, Name, Owner.Name FROM Lead WHERE Company != null AND (NOT Email LIKE '%a\\'b%') "
            b"ORDER BY CreatedDate DESC NULLS LAST LIMIT 10 OFFSET 2",
            b"SELECT COUNT(Id) n, MAX(SystemModstamp) m FROM Contact WHERE CreatedDate >= LAST_N_DAYS:3",
            b"SELECT COUNT() FROM Account WHERE NumberOfEmployees IN (1, 2.5e3) AND IsDeleted = FALSE",
            b"SELECT Company, COUNT(Id) FROM Lead WHERE CreatedDate < 2026-01-02T03:04:05Z GROUP BY Company",
            b"SELECT FIELDS(ALL) FROM Lead LIMIT 200",
            b"Company = 'A' OR Company = null",
        ),
        (
            b"SELECT ",
            b" FROM ",
            b" WHERE ",
            b"\\u0000",
            b"'",
            b"(",
            b" IN ",
            b"99999999999999999999",
            b"1e999",
        ),
    ),
    Target(
        "org_request",
        _request,
        (
            _body("/sobjects/Lead", {"LastName": "A", "Company": "B", "NumberOfEmployees": 1}),
            _body(
                "/composite",
                {
                    "compositeRequest": [
                        {"method": "GET", "url": f"{DATA}/limits", "referenceId": "a"}
                    ]
                },
            ),
            _body(
                "/composite/batch", {"batchRequests": [{"method": "GET", "url": "v62.0/limits"}]}
            ),
            _body(
                "/composite/sobjects",
                {"records": [{"attributes": {"type": "Lead"}, "LastName": "A"}]},
            ),
            _body(
                "/composite/sobjects/Lead",
                {"ids": ["00Q5e000000000BEAQ"], "fields": ["Id", "Owner.Name"]},
            ),
            _body(
                "/composite/sobjects/Lead/Id",
                {"records": [{"attributes": {"type": "Lead"}}]},
                "PATCH",
            ),
            _body("/jobs/ingest", {"object": "Lead", "operation": "update", "contentType": "CSV"}),
            _body("/jobs/query", {"operation": "query", "query": "SELECT Id FROM Lead"}),
            _body(
                "/tooling/sobjects/CustomField",
                {
                    "FullName": "Lead.A__c",
                    "Metadata": {"type": "Checkbox", "label": "A", "defaultValue": False},
                },
            ),
            b"GET /sobjects/Lead/updated?start=2026-01-02T03:04:05Z&end=2026-01-03T03:04:05Z",
            b"GET /query/01g-2000",
            b"GET /jobs/ingest?jobType=V2Ingest&queryLocator=01g1",
            b"GET /sobjects/Lead/describe",
            b"DELETE /sobjects/Lead/00Q5e000000000BEAQ",
            b"GET /tooling/query?q=SELECT+Id+FROM+CustomField",
        ),
        (
            b"null",
            b"[]",
            b"{}",
            b"1e999",
            b'"@{a.b[0]}"',
            b'"\\ud800"',
            b"%00",
            b"%FF",
            b"99999999999999999999",
            b"//[",
        ),
    ),
    Target(
        "org_upload",
        _upload,
        (
            b"IId,LastName,Company\n,A,B\n",
            b'ILastName,Company,Email\n"A ""q""","B\nC",x@acme.example\nD,E,no\n',
            b"UId,Company\n00Q5e000000000BEAQ,#N/A\n",
            b"DId\n00Q5e000000000BEAQ\n",
        ),
        (
            b'"',
            b"\r\n",
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b"#N/A",
            b",,,",
            b"Owner.Id",
            b"NumberOfEmployees",
        ),
    ),
)
