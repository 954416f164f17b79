"""The org's HTTP answers: whatever they say, the client raises nothing but InsightsError.

Everything of requests, simple-salesforce and the client is real; only the connection gives the bytes of
the fuzzer. An input is a line with status and headers, such as `200 Date: ...; Sforce-Locator: x`, and the body.
"""

# ruff: noqa: PT017 - what is asserted of a declared error; others are findings

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import requests
import simple_salesforce.api
import simple_salesforce.login
from stamina.instrumentation import set_on_retry_hooks
from urllib3 import HTTPHeaderDict, HTTPResponse

from pipeline.core.errors import InsightsError
from resources.salesforce.calls import RetryPolicy, usage_from_header
from resources.salesforce.client import Salesforce
from resources.salesforce.connection import (
    ClientCredentials,
    Connection,
    FileTokenStore,
    RefreshToken,
    UsernamePassword,
    credentials_hash,
)
from resources.salesforce.errors import SalesforceError, error_from_answer
from resources.salesforce.jobs import JobInfo
from resources.salesforce.kept_sign_ins import Grant, SignIns
from resources.salesforce.transport import OrgClock
from tests.fuzz.target import SECRET, Target, keeps_secret, text_of

set_on_retry_hooks([])
assert simple_salesforce.api  # else imported at the first call, unwatched

HOST = "acme.my.salesforce.com"
URL = f"https://{HOST}"
ANSWERS_MAX = 60
TOKEN = f"00D5e000000ABCD!{SECRET}"
SCHEMA = pa.schema(
    [
        ("Id", pa.string()),
        ("Account.Name", pa.string()),
        ("Hot__c", pa.bool_()),
        ("Score__c", pa.float64()),
        ("Employees", pa.int64()),
        ("Stamp", pa.timestamp("ms", tz="UTC")),
        ("Day", pa.date32()),
    ]
)


def parted(data: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of an input."""
    line, _, body = data.partition(b"\n")
    status, _, rest = line.partition(b" ")
    number = int(status) if len(status) == 3 and status.isdigit() else 200
    headers = [
        (name.strip(), value.strip())
        for name, colon, value in (
            part.partition(":") for part in rest.decode("latin-1").split(";") if part
        )
        if colon and name.strip().isascii() and name.strip().replace("-", "").isalnum()
    ]
    return number if number >= 200 else 200, headers, body


class Connected:
    """Stands for the connection: gives the same answer to all requests, and not without end."""

    def __init__(self, data: bytes) -> None:
        self.status, self.headers, self.body = parted(data)
        self.asked = 0

    def urlopen(self, **_: Any) -> HTTPResponse:
        """Give the answer, in the place of a connection of urllib3's."""
        self.asked += 1
        assert self.asked <= ANSWERS_MAX, "the client asks without end"
        # A place to go on to is the transport's business, not the parsers'.
        headers = HTTPHeaderDict(h for h in self.headers if h[0].lower() != "location")
        return HTTPResponse(
            body=io.BytesIO(self.body), status=self.status, headers=headers, preload_content=False
        )


def connect(http: requests.Session, data: bytes, *, anywhere: bool) -> None:
    """Let `http` hear `data` at each request; only a sign-in may say where to go on (`anywhere`)."""
    connected = Connected(data)

    def chosen(request: requests.PreparedRequest, *_: Any, **__: Any) -> Connected:
        host = urlsplit(str(request.url)).hostname
        assert host == HOST or (anywhere and host), f"a request goes to {host}"
        return connected

    http.get_adapter(URL).get_connection_with_tls_context = chosen  # type: ignore[attr-defined]


@contextlib.contextmanager
def client(data: bytes, connection: Connection, *, signed_in: bool) -> Iterator[Salesforce]:
    """Open a client on a connection that answers `data`."""
    grant = Grant(TOKEN, URL, "00D5e000000ABCDEAA", "0055e000000ABCDEAA")
    retry = RetryPolicy(attempts=2).without_waiting()
    kept = SignIns()
    if signed_in:
        kept.keep_session(credentials_hash(connection), grant)
    with Salesforce(connection, sign_ins=kept, retry=retry, sleep=lambda _: None) as org:
        connect(org._session._http, data, anywhere=not signed_in)
        yield org


def asking(name: str, ask: Callable[[Salesforce], object], *answers: bytes) -> Target:
    """Return the target that makes one method of the client read an answer."""

    def run(data: bytes) -> None:
        connection = ClientCredentials(URL, "id", SECRET)
        with client(data, connection, signed_in=True) as org:
            try:
                ask(org)
            except InsightsError as error:
                own_words = 200 <= parted(data)[0] < 300 and name in QUIET
                if own_words or SECRET.encode() not in data:
                    keeps_secret(error)

    return Target(name, run, tuple(answers) + REFUSALS, WORDS)


QUIET = ("query_answer", "describe_answer", "bulk_query_answer")
"""Their answers hold records' values, which no message of ours may repeat."""

REFUSALS = (
    b'401\n[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]',
    b"503 Content-Type: text/html\n<html><body><h1>Down</h1></body></html>",
    b'403\n[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]',
    b'400\n[{"message":"no such column","errorCode":"INVALID_FIELD","fields":[]}]',
    b"200 Content-Type: text/html\n<html>a proxy's page</html>",
    b"200\nnull",
    b"200\n[]",
    b"200\n{}",
    b"204\n",
)
WORDS = (
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"1e999",
    b"NaN",
    b"-1",
    b'"\\ud83d"',
    b"99999999999999999999",
    b'"nextRecordsUrl":"@evil.example/"',
    b'"done":false',
    b"\xff\xfe",
    b"2026-01-02T03:04:05.000+0000",
)

RECORD = {
    "attributes": {"type": "Contact", "url": "/services/data/v62.0/sobjects/Contact/003A"},
    "Id": "0035e000000ABCDEAA",
    "Account": {"attributes": {"type": "Account"}, "Name": SECRET},
    "Hot__c": True,
    "Score__c": 87.0,
    "Employees": 12,
    "Stamp": "2026-01-02T03:04:05.000+0000",
    "Day": "2026-01-02",
}
PAGE = {"totalSize": 1, "done": True, "records": [RECORD]}
JOB = {
    "id": "7505e000000ABCDEAA",
    "state": "JobComplete",
    "object": "Lead",
    "numberRecordsProcessed": 2,
    "numberRecordsFailed": 1,
    "errorMessage": None,
    "createdDate": "2026-01-02T03:04:05.000+0000",
    "createdById": "0055e000000ABCDEAA",
}
FIELD = {
    "name": "Rank__c",
    "label": SECRET,
    "type": "picklist",
    "length": 1,
    "precision": 0,
    "scale": 0,
    "digits": 0,
    "nillable": True,
    "createable": True,
    "updateable": True,
    "picklistValues": [{"value": "A", "active": True}],
    "referenceTo": ["Account"],
    "relationshipName": None,
}
OBJECT = {
    "name": "Lead",
    "label": "Lead",
    "createable": True,
    "updateable": True,
    "queryable": True,
    "deletable": False,
    "fields": [FIELD],
}


def ok(body: object, headers: str = "", status: int = 200) -> bytes:
    """Return the input of a JSON answer."""
    return f"{status} {headers}\n{json.dumps(body)}".encode()


def part(body: object, status: int = 200) -> dict[str, object]:
    """Return one part of a composite answer."""
    return {"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": "q0"}


def _drained(batches: Iterator[pa.RecordBatch]) -> None:
    for batch in batches:
        batch.validate(full=True)
        assert batch.schema.equals(SCHEMA)


def _results(org: Salesforce) -> None:
    results = org.results(org.job("7505e000000ABCDEAA"), sent=2)
    assert results.failed.column_names == ["id", "error_code", "error_message", "fields"]


def _refused_words(data: bytes) -> None:
    status, _, body = parted(data)
    with contextlib.suppress(ValueError, RecursionError):
        error = error_from_answer(status, json.loads(body), "ask")
        assert isinstance(error, SalesforceError)
        assert "ask" in str(error)
    assert isinstance(error_from_answer(status, text_of(body), "ask"), SalesforceError)


def _headers(data: bytes) -> None:
    """What headers tell is taken or left, and never stops the call."""
    text = data.decode("latin-1")
    usage = usage_from_header(text)
    assert usage is None or (usage.used >= 0 and usage.allotted >= 0)
    clock = OrgClock()
    clock.read({"Date": text})
    now = clock.now()
    assert now is None or now.tzinfo is UTC


def _signing_in(data: bytes) -> None:
    _sign_in(data, ClientCredentials(URL, "id", SECRET))


def _signing_in_by_soap(data: bytes) -> None:
    _sign_in(data, UsernamePassword(URL, "user@acme.example", SECRET, SECRET))


def _sign_in(data: bytes, connection: Connection) -> None:
    with client(data, connection, signed_in=False) as org:
        try:
            # What was signed in to has to serve for a call.
            assert org.instance_url
            org.count("SELECT COUNT() FROM Lead")
        except InsightsError as error:
            if SECRET.encode() not in data:
                keeps_secret(error)


def _token_file(data: bytes) -> None:
    """A file that holds no token is refused by name; a token comes back as it was kept."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "token"
        path.write_bytes(data)
        store = FileTokenStore(path)
        try:
            token = store.read()
        except InsightsError as error:
            assert str(path) in str(error)
            keeps_secret(error)
            return
        assert token.strip() == token
        assert token
        with client(b"200\n{}", RefreshToken(URL, "id", None, store), signed_in=False) as org:
            try:
                org.describe("Lead")
            except InsightsError as error:
                keeps_secret(error)
        store.write(token)
        assert store.read() == token


TOKEN_ANSWER = {
    "access_token": TOKEN,
    "instance_url": URL,
    "id": "https://login.salesforce.com/id/00D5e000000ABCDEAA/0055e000000ABCDEAA",
    "token_type": "Bearer",
    "totalSize": 3,
}
SOAP_ANSWER = (
    b'200 Content-Type: text/xml\n<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
    b'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com">'
    b"<soapenv:Body><loginResponse><result><serverUrl>https://acme.my.salesforce.com/services/Soap/u/62.0"
    b"</serverUrl><sessionId>00D5e000000ABCD!AQ</sessionId></result></loginResponse></soapenv:Body>"
    b"</soapenv:Envelope>"
)
SOAP_FAULT = (
    b'500 Content-Type: text/xml\n<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
    b'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="urn:fault.partner.soap.sforce.com">'
    b"<soapenv:Body><soapenv:Fault><detail><sf:LoginFault><sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>"
    b"<sf:exceptionMessage>Invalid username</sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault>"
    b"</soapenv:Body></soapenv:Envelope>"
)
NEXT = {**PAGE, "done": False, "nextRecordsUrl": "/services/data/v62.0/query/01g-2000"}
CSV = (
    f'"Id","Account.Name","Hot__c","Score__c","Employees","Stamp","Day"\n"003A","{SECRET}","true",'
    '"87.0","87","2026-01-02T03:04:05.000Z","2026-01-02"\n'
)
RESULT_CSV = (
    b'"sf__Id","sf__Error","Id","Company"\n"","UNABLE_TO_LOCK_ROW:locked:Company --","00QA","A"\n'
)

TARGETS = (
    asking(
        "query_answer",
        lambda org: _drained(org.query("SELECT Id FROM Contact", SCHEMA)),
        ok(PAGE),
        ok(NEXT),
    ),
    asking("count_answer", lambda org: org.count("SELECT COUNT() FROM Lead"), ok({"totalSize": 3})),
    asking(
        "composite_answer",
        lambda org: org.ask({"newest": "SELECT MAX(SystemModstamp) n FROM Lead"}),
        ok({"compositeResponse": [part(PAGE)]}),
        ok({"compositeResponse": [part(NEXT)]}),
        ok({"compositeResponse": [part([{"errorCode": "INVALID_FIELD", "message": "no"}], 400)]}),
        ok({"compositeResponse": [part({"totalSize": 3, "done": True, "records": []})]}),
    ),
    asking("describe_answer", lambda org: org.describe("Lead"), ok(OBJECT)),
    asking(
        "identity_answer",
        lambda org: org._ask_identities(),
        ok({"organization_id": "00D5e000000ABCDEAA", "user_id": "0055e000000ABCDEAA"}),
    ),
    asking("job_answer", lambda org: org.job("7505e000000ABCDEAA"), ok(JOB)),
    asking(
        "jobs_answer",
        lambda org: org._ingest_jobs.open_jobs("Lead"),
        ok({"done": True, "records": [JOB], "nextRecordsUrl": None}),
        ok({"done": False, "records": [JOB], "nextRecordsUrl": "/services/data/v62.0/jobs/x"}),
    ),
    asking("new_job_answer", lambda org: org.create_ingest_job("Lead"), ok(JOB)),
    asking("close_job_answer", lambda org: org.close_job("7505e000000ABCDEAA"), ok(JOB)),
    asking(
        "saved_answer",
        lambda org: org.update_records("Lead", [{"id": "00QA"}]),
        ok([{"id": "00QA", "success": True, "errors": []}]),
        ok([{"success": False, "errors": [{"statusCode": "X", "message": "no", "fields": []}]}]),
    ),
    asking(
        "created_answer",
        lambda org: org.create_record("CustomField", {}, tooling=True),
        ok({"id": "00N5e000000ABCDEAA", "success": True, "errors": []}, status=201),
    ),
    asking("bulk_results_answer", _results, ok(JOB), b"200\n" + RESULT_CSV),
    asking(
        "bulk_query_answer",
        lambda org: _drained(org._bulk_queries.results(_complete(), SCHEMA)),
        f"200 Sforce-NumberOfRecords: 1; Sforce-Locator: null\n{CSV}".encode(),
        f"200 Sforce-NumberOfRecords: 1; Sforce-Locator: abc\n{CSV}".encode(),
    ),
    Target("refusal", _refused_words, REFUSALS, WORDS),
    Target(
        "headers",
        _headers,
        (
            b"api-usage=18/15000; per-app-api-usage=17/250(appName=local)",
            b"Mon, 23 Nov 2026 15:51:35 GMT",
            b"Mon, 23 Nov 2026 15:51:35 -0800",
        ),
        (b"api-usage=", b"9" * 40, b"GMT", b"+9999", b"-2359"),
    ),
    Target("token_answer", _signing_in, (ok(TOKEN_ANSWER), *REFUSALS), WORDS),
    Target(
        "soap_answer",
        _signing_in_by_soap,
        (SOAP_ANSWER, SOAP_FAULT, *REFUSALS),
        (b"<sessionId>", b"</sessionId>", b"<!DOCTYPE a>", b"&#10;", b"\xff"),
    ),
    Target(
        "token_file",
        _token_file,
        (b"5Aep861" + SECRET.encode(), b" token\n", b""),
        (b"\xff", b"\n"),
    ),
)


def _complete() -> JobInfo:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return JobInfo("750A", "query", "JobComplete", "Contact", 1, 0, "", at)
