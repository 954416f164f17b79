"""The HTTP front: who is asking, what it costs, which fault is armed, and how replies go out.

Handlers run in worker threads; only reading requests, writing replies and playing wire faults
happens on the event loop.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from aiohttp import web

from local_org import auth, setup_page
from local_org.control import control
from local_org.errors import SalesforceError
from local_org.faults import REQUEST_KINDS, Fault
from local_org.org import Org, error_reply
from local_org.usage import Call
from local_org.wire import VERSION_PREFIX, Reply, Request, Spool

log = logging.getLogger("local_org")
T = TypeVar("T")

# Uploads of rows go to a file and may be larger.
BODY_BYTES_MAX = 64 * 1024 * 1024
# Below this, packing costs more than it saves.
GZIP_BYTES_MIN = 1024
# Indenting is slow in Python: larger answers go out without it.
PRETTY_BYTES_MAX = 64 * 1024
# The path alone decides what costs a call, and what an option can make free.
UPLOAD_PATH = re.compile(r"/services/data/v[\d.]+/jobs/ingest/[^/]+/batches/?", re.IGNORECASE)
POLL_PATH = re.compile(r"/services/data/v[\d.]+/jobs/(?:ingest|query)/\w+/?", re.IGNORECASE)
RESULT_PATH = re.compile(
    r"/services/data/v[\d.]+/jobs/(?:ingest|query)/\w+/(?:\w*results|unprocessedrecords|resultpages)/?",
    re.IGNORECASE,
)
# The handlers of pages play these: what comes of them is an answer, not a wire fault.
WIRE_KINDS = REQUEST_KINDS - {"expire_locator", "short_result"}
ORG: web.AppKey[Org] = web.AppKey("org", Org)
POOL: web.AppKey[ThreadPoolExecutor] = web.AppKey("pool", ThreadPoolExecutor)
TOKEN_PATHS: dict[str, Callable[[Org, Request], Reply]] = {
    "/services/oauth2/token": auth.token,
    "/services/oauth2/authorize": auth.authorize,
    "/services/oauth2/userinfo": auth.userinfo,
    "/services/oauth2/introspect": auth.introspect,
    "/services/oauth2/revoke": auth.revoke,
}
_HTML_503 = (
    "<html><head><title>Service Unavailable</title></head><body><h1>503 Service Unavailable</h1>"
    "<p>We are down for maintenance. Sorry for the inconvenience. We'll be back shortly.</p>"
    "</body></html>"
)


@dataclass
class Exchange:
    """One request on its way through the front."""

    http: web.Request
    request: Request
    fault: Fault | None = None
    counted: int = 0


def build_app(org: Org) -> web.Application:
    """Make the application around an org that is open."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[ORG] = org
    # More threads than a client has connections, so that a slow save never stops a poll.
    app[POOL] = ThreadPoolExecutor(max_workers=16, thread_name_prefix="request")
    app.router.add_route("*", "/{path:.*}", _answer)
    app.cleanup_ctx.append(_lifetime)
    return app


async def _lifetime(app: web.Application) -> AsyncIterator[None]:
    """Start unfinished jobs again, save the counts every two seconds, close at the end."""
    org = app[ORG]
    org.jobs.resume()
    # A killed process loses the counts of the last two seconds at most.
    saver = asyncio.create_task(_save_now_and_then(org))
    yield
    saver.cancel()
    app[POOL].shutdown(wait=True)
    org.close()


async def _save_now_and_then(org: Org) -> None:
    while True:
        await asyncio.sleep(2)
        org.save_usage()


async def _answer(http: web.Request) -> web.StreamResponse:
    """Answer any request whatever, and log it."""
    org = http.app[ORG]
    started = time.monotonic()
    # As sent, not decoded: the router decodes the parts once, also those of composite parts.
    path = http.rel_url.raw_path
    if path.startswith("/_control"):
        return await _control(http)

    request = Request(http.method, path, dict(http.query), http.headers, b"", "")
    exchange = Exchange(http, request)
    # Asked before anything else happens: a fault may have to stop the request untouched.
    exchange.fault = org.faults.on_request(http.method, http.path_qs, WIRE_KINDS)
    response = await _play(exchange)

    org.usage.record(
        Call(
            at=org.clock.now().isoformat(timespec="milliseconds"),
            method=http.method,
            path=http.path_qs,
            status=response.status,
            counted=exchange.counted,
            kind=_kind(path),
            client=http.headers.get("User-Agent", ""),
            milliseconds=round((time.monotonic() - started) * 1000, 1),
        )
    )
    return response


_KIND_OF = {
    "sobjects": "record",
    "composite": "composite",
    "limits": "limits",
    "query": "query",
    "queryall": "query",
    "tooling": "tooling",
}


def _kind(path: str) -> str:
    """Name the sort of call, for the counts: sign-in, query, describe, bulk ingest ..."""
    if path.startswith(("/services/oauth2/", "/services/Soap/")):
        return "sign-in"
    match = VERSION_PREFIX.match(path)
    parts = [part for part in path[match.end() :].lower().split("/") if part] if match else []

    if not parts:
        return "discovery" if match else "other"
    if parts[0] == "jobs" and len(parts) > 1:
        return f"bulk {parts[1]}"
    if parts[0] == "sobjects" and (parts[-1] == "describe" or len(parts) == 1):
        return "describe"
    if parts[:2] == ["composite", "sobjects"]:
        return "collections"
    return _KIND_OF.get(parts[0], "other")


# Faults of the wire


async def _play(exchange: Exchange) -> web.StreamResponse:
    """Answer, with the armed fault if one fires on this request."""
    fault = exchange.fault
    if fault is None:
        return await _send(exchange, await _reply(exchange))

    org = exchange.http.app[ORG]
    if fault.kind == "drop_before":
        return _drop(exchange)
    if fault.kind in ("http_503", "http_500", "http_403_limit"):
        await _drain(exchange.http)
        return await _send(exchange, _failure(org, fault.kind, fault.params))
    if fault.kind == "expire_session":
        org.sessions.revoke(auth.bearer(exchange.http.headers))
    if fault.kind == "slow":
        await asyncio.sleep(float(fault.params["seconds"]))
    return await _send_with_fault(exchange, fault, await _reply(exchange))


async def _send_with_fault(exchange: Exchange, fault: Fault, reply: Reply) -> web.StreamResponse:
    """Send a reply whose work is done in the way that the fault wants."""
    if fault.kind == "drop_after":
        return _drop(exchange)
    if fault.kind == "truncate":
        return await _truncate(exchange, reply, int(fault.params["bytes"]))
    if fault.kind == "slow" and fault.params["chunk_bytes"]:
        return await _trickle(exchange, reply, fault)
    return await _send(exchange, reply)


def _failure(org: Org, kind: str, params: Any) -> Reply:
    if kind == "http_503":
        headers = {"Retry-After": "1"} if org.options.query_retry_after_header else {}
        if params["html"]:
            return Reply(503, _HTML_503, headers, "text/html; charset=UTF-8")
        error = SalesforceError(503, "SERVER_UNAVAILABLE", "Server temporarily unavailable")
        return Reply(503, error.body(), headers)

    if kind == "http_500":
        message = "An unexpected error occurred. Please include this ErrorId if you contact support"
        number = uuid.uuid4().int % 10**10
        return error_reply(
            SalesforceError(500, "UNKNOWN_EXCEPTION", f"{message}: {number}-12345 (-87654321)")
        )

    if params["limit"] == "concurrent":
        message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
    else:
        message = "TotalRequests Limit exceeded."
    return error_reply(SalesforceError(403, "REQUEST_LIMIT_EXCEEDED", message))


def _drop(exchange: Exchange) -> web.StreamResponse:
    """Cut the connection without a byte of an answer."""
    # abort, not close: close would send what is buffered first.
    transport = exchange.http.transport
    if transport is not None:
        transport.abort()
    return web.Response(status=500, reason="Dropped")


async def _whole(exchange: Exchange, reply: Reply) -> tuple[bytes, dict[str, str]]:
    """Give the reply's body as one piece, with its headers (never compressed)."""
    headers = _headers(exchange, reply)
    if isinstance(reply.body, Spool):
        spool = reply.body
        blocks = await _in_thread(exchange.http, lambda: list(spool.blocks()))
        return b"".join(blocks), headers
    return _encode(exchange, reply), headers


async def _truncate(exchange: Exchange, reply: Reply, cut: int) -> web.StreamResponse:
    """Promise the whole body and send its first part only (0 bytes: half of it)."""
    body, headers = await _whole(exchange, reply)

    response = web.StreamResponse(status=reply.status, headers=headers)
    response.content_length = len(body)
    # The client must not wait for the rest on a connection that is kept open.
    response.force_close()
    await response.prepare(exchange.http)
    await response.write(body[: cut or len(body) // 2])

    transport = exchange.http.transport
    if transport is not None:
        transport.close()
    return response


async def _trickle(exchange: Exchange, reply: Reply, fault: Fault) -> web.StreamResponse:
    """Send the body in small pieces with a wait before each."""
    body, headers = await _whole(exchange, reply)
    size = int(fault.params["chunk_bytes"])
    response = web.StreamResponse(status=reply.status, headers=headers)
    response.content_length = len(body)
    await response.prepare(exchange.http)

    for start in range(0, len(body), size):
        await asyncio.sleep(float(fault.params["chunk_seconds"]))
        await response.write(body[start : start + size])
    await response.write_eof()
    return response


# Replies


async def _reply(exchange: Exchange) -> Reply:
    """Work out the reply; errors of Salesforce's kind are replies too."""
    http, request = exchange.http, exchange.request
    org = http.app[ORG]

    try:
        if len(http.path_qs) > org.options.soql_url_characters:
            return error_reply(SalesforceError(414, "URI_TOO_LONG", "The request URI is too long"))
        if request.path.rstrip("/") == "/services/data" and request.method == "GET":
            return Reply(200, versions(org))
        if request.path.startswith("/services/data/"):
            return await _api(exchange)
        return await _elsewhere(exchange)
    except SalesforceError as error:
        return error_reply(error)
    finally:
        if request.body_file is not None:
            request.body_file.unlink(missing_ok=True)


async def _api(exchange: Exchange) -> Reply:
    """Answer a request below ``/services/data``: session, allocation, body, handler."""
    http, request = exchange.http, exchange.request
    org = http.app[ORG]
    session = _session(org, request)
    exchange.counted = _cost(org, request.path)

    # A refused call costs nothing, so the count stays at the limit instead of growing past it.
    if org.options.enforce_api_limit and exchange.counted:
        if org.usage.used() >= org.options.api_calls_max:
            exchange.counted = 0
            await _drain(http)
            raise SalesforceError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        org.usage.charge(exchange.counted)
    elif exchange.counted:
        org.usage.charge(exchange.counted)

    request.user_id = session
    # The body is read last: a call that is refused need not wait for its upload.
    await _read_body(exchange)
    return await _in_thread(http, lambda: org.dispatch(request))


def _session(org: Org, request: Request) -> str:
    """Give the id of the user who is asking.

    Raises:
        SalesforceError: 401, in either of the forms that Salesforce uses.
    """
    if "Authorization" not in request.headers:
        raise SalesforceError(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")
    session = org.sessions.use(auth.bearer(request.headers))
    if session is None:
        raise SalesforceError(401, "INVALID_SESSION_ID", "Session expired or invalid")
    return session.user_id


def _cost(org: Org, path: str) -> int:
    """Give what a request costs of the day's calls; a batch's parts are charged as they run."""
    if not org.options.count_polls and POLL_PATH.fullmatch(path):
        return 0
    if not org.options.count_result_pages and RESULT_PATH.fullmatch(path):
        return 0
    if path.rstrip("/").lower().endswith("/composite/batch"):
        return 0
    return 1


async def _read_body(exchange: Exchange) -> None:
    """Read the body into memory, or for an upload of rows into a file."""
    http, request = exchange.http, exchange.request
    try:
        if request.method == "PUT" and UPLOAD_PATH.fullmatch(request.path):
            request.body_file = await _to_file(http)
        else:
            request.body = await http.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise SalesforceError(413, "REQUEST_TOO_LARGE", "the request body is too large") from error
    except (web.RequestPayloadError, zlib.error) as error:
        raise SalesforceError(400, "BAD_REQUEST", "the request body was cut off") from error


async def _to_file(http: web.Request) -> Path:
    org = http.app[ORG]
    folder = org.state.folder / "incoming"
    folder.mkdir(exist_ok=True)
    path = folder / uuid.uuid4().hex

    try:
        with path.open("wb") as target:
            async for block in http.content.iter_chunked(1 << 20):
                target.write(block)
    # Cancellation too: a client that hangs up must leave no half file.
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


async def _drain(http: web.Request) -> None:
    """Read a body that nobody wants, so that the connection can be used again."""
    async for _ in http.content.iter_chunked(1 << 20):
        pass


async def _elsewhere(exchange: Exchange) -> Reply:
    """Answer sign-in, the identity URL and the Setup page; refuse the rest."""
    http, request = exchange.http, exchange.request
    org = http.app[ORG]
    request.body = await http.read()
    path = request.path.rstrip("/")

    handler = TOKEN_PATHS.get(path)
    if handler is not None:
        if org.options.count_token_calls and path.endswith("/token"):
            exchange.counted = 1
            org.usage.charge(1)
        return await _in_thread(http, lambda: handler(org, request))

    if path.startswith("/id/"):
        return await _in_thread(http, lambda: auth.userinfo(org, request))
    if re.match(r"/services/Soap/[uc]/", path) and request.method == "POST":
        return await _in_thread(http, lambda: auth.soap_login(org, request))
    if request.method == "GET" and (page := setup_page.find(path)) is not None:
        return await _in_thread(http, lambda: page(org, request))
    raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")


def versions(org: Org) -> list[dict[str, str]]:
    """List the API versions that this org speaks (no session is needed for it)."""
    seasons = ("Winter", "Spring", "Summer")
    versions_known = []

    for number in range(int(org.options.version_min), int(org.options.version_max) + 1):
        # 31.0 was Summer '14; three releases a year; Winter is named after the year to come.
        year, season = divmod(number - 31 + 2, 3)
        text = f"{number}.0"
        versions_known.append(
            {
                "label": f"{seasons[season]} '{14 + year:02d}",
                "url": f"/services/data/v{text}",
                "version": text,
            }
        )
    return versions_known


async def _control(http: web.Request) -> web.StreamResponse:
    """Answer the control endpoint: no session, no count, no faults."""
    org = http.app[ORG]
    body_file = None
    request = Request(http.method, http.path, dict(http.query), http.headers, b"", "")

    try:
        if http.path.rstrip("/") == "/_control/load":
            body_file = await _to_file(http)
            request.body_file = body_file
        else:
            request.body = await http.read()
        reply = await _in_thread(http, lambda: control(org, request))
    finally:
        if body_file is not None:
            body_file.unlink(missing_ok=True)

    return await _send(Exchange(http, request), reply)


# Sending


def _headers(exchange: Exchange, reply: Reply) -> dict[str, str]:
    org = exchange.http.app[ORG]
    now = org.clock.now().replace(microsecond=0)
    if exchange.fault and exchange.fault.kind == "wrong_date":
        now += timedelta(seconds=float(exchange.fault.params["seconds"]))
    headers = {
        "Date": format_datetime(now, usegmt=True),
        "Vary": "Accept-Encoding",
        **reply.headers,
    }

    if reply.body is not None:
        headers["Content-Type"] = reply.content_type

    path = exchange.request.path
    if path.startswith("/services/data/") and path.rstrip("/") != "/services/data":
        used = max(0, org.usage.used() - org.options.limit_info_lag)
        usage = f"api-usage={used}/{org.options.api_calls_max}"
        if org.options.per_app_usage:
            usage += f"; per-app-api-usage={used}/{org.options.api_calls_max}(appName=local)"
        headers["Sforce-Limit-Info"] = usage
    return headers


def _encode(exchange: Exchange, reply: Reply) -> bytes:
    """Write the body out as bytes."""
    body = reply.body
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()

    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    # Indenting is slow in Python, so only small answers are; parsers do not care (API notes 2.2).
    if exchange.request.headers.get("X-PrettyPrint") == "1" and len(text) < PRETTY_BYTES_MAX:
        text = json.dumps(body, ensure_ascii=False, indent=2)
    # A lone surrogate cannot be UTF-8; Salesforce could not hold it either.
    return text.encode("utf-8", "replace")


def _may_gzip(exchange: Exchange) -> bool:
    accepted = exchange.request.headers.get("Accept-Encoding", "").lower()
    return exchange.http.app[ORG].options.gzip and "gzip" in accepted


async def _send(exchange: Exchange, reply: Reply) -> web.StreamResponse:
    """Send the reply, compressed where the client accepts it."""
    if isinstance(reply.body, Spool):
        return await _send_spool(exchange, reply)
    body = await _in_thread(exchange.http, lambda: _encode(exchange, reply))
    headers = _headers(exchange, reply)

    if len(body) >= GZIP_BYTES_MIN and _may_gzip(exchange):
        body = await _in_thread(exchange.http, lambda: gzip.compress(body, compresslevel=1))
        headers["Content-Encoding"] = "gzip"
    return web.Response(status=reply.status, body=body, headers=headers)


async def _send_spool(exchange: Exchange, reply: Reply) -> web.StreamResponse:
    """Send a body block by block, so that memory does not grow with it."""
    headers = _headers(exchange, reply)
    packer = None
    if _may_gzip(exchange):
        headers["Content-Encoding"] = "gzip"
        # 16 asks zlib for a gzip header; level 1, as the time of tests matters more than bytes.
        packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    response = web.StreamResponse(status=reply.status, headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(exchange.http)

    blocks = _compress(cast("Spool", reply.body).blocks(), packer)
    while (block := await _in_thread(exchange.http, lambda: next(blocks, None))) is not None:
        await response.write(block)
    await response.write_eof()
    return response


def _compress(blocks: Iterator[bytes], packer: Any) -> Iterator[bytes]:
    """Compress the blocks (none of them is empty when it comes out)."""
    for block in blocks:
        packed = packer.compress(block) if packer else block
        if packed:
            yield packed
    if packer:
        yield packer.flush()


async def _in_thread(http: web.Request, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(http.app[POOL], work)
