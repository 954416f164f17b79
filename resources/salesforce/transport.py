"""The one way that HTTP requests leave for the org: time-outs, counting, the org's clock.

Every attempt passes `OrgAdapter.send`, those of simple-salesforce and retries included, so this is
where they are counted. Nothing here knows of sessions, retries or Salesforce's answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from resources.salesforce.calls import ApiCall, ApiUsage, Timeouts, usage_from_header
from resources.salesforce.hosts import is_loopback

_BLOCK_BYTES: Final = 128 * 1024
"""Bytes of an upload handed to the socket at once: its time-out holds for each block."""

_READ_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class OrgClock:
    """The org's clock: the last `Date` header, carried on by this machine's monotonic clock.

    Between two answers it can only be behind the org's true time (by the answer's way and the
    header's whole seconds), never ahead: the safe side for the upper end of a window.
    """

    _org_time: datetime | None = None
    _read_at_seconds: float = 0.0

    def read(self, headers: Mapping[str, str]) -> None:
        """Take the time out of an answer's headers, if it holds one."""
        text = headers.get("Date")
        if not text:
            return
        try:
            stamp = parsedate_to_datetime(text)
            stamp = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            return
        self._org_time = stamp
        self._read_at_seconds = time.monotonic()

    def now(self) -> datetime | None:
        """Return the org's time (aware UTC), or None where no answer has held it yet."""
        if self._org_time is None:
            return None
        since = timedelta(seconds=time.monotonic() - self._read_at_seconds)
        return self._org_time + since


class OrgAdapter(HTTPAdapter):
    """Sends requests to one org; simple-salesforce speaks https only (API notes 1.7).

    With `loopback`, https to this machine itself is sent as http, and requests to any other host
    are refused, so that neither can a real org's traffic be diverted or downgraded, nor can a
    stand-in send us elsewhere.
    """

    def __init__(
        self,
        *,
        loopback: bool,
        timeouts: Timeouts,
        on_call: Callable[[ApiCall], object],
        on_usage: Callable[[ApiUsage], None],
        clock: OrgClock,
    ) -> None:
        """Call `on_call` before each request and `on_usage` with what its answer says of usage."""
        self._loopback = loopback
        self._timeouts = timeouts
        self._on_call = on_call
        self._on_usage = on_usage
        self._clock = clock
        self.give_up_at_seconds = math.inf
        """When, by `time.monotonic`, what is being done must end: no answer is awaited longer."""
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Send uploads in blocks larger than the standard 16 KiB."""
        super().init_poolmanager(*args, blocksize=_BLOCK_BYTES, **kwargs)

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **kwargs: Any
    ) -> requests.Response:
        """Send one request, counted before it leaves. One that carries rows follows no redirect.

        Raises: whatever `on_call` raises, in which case nothing was sent.
        """
        if self._loopback:
            _rewrite_to_http(request)
        url = urlsplit(str(request.url))

        remaining_seconds = self.remaining_seconds(request)
        self._on_call(ApiCall.of(method=request.method or "GET", path=url.path))
        kwargs["timeout"] = tuple(min(remaining_seconds, t) for t in self._timeouts.as_pair())
        # Streamed in any case: read in one piece, an answer that trickles in could take for ever.
        read_now = not kwargs.get("stream")
        response = super().send(request, **{**kwargs, "stream": True})
        if read_now:
            self._read(response)

        if request.body is not None and response.is_redirect:
            # What is sent goes to the org alone: without the address, nobody can follow it.
            del response.headers["Location"]

        self._clock.read(response.headers)
        usage = usage_from_header(response.headers.get("Sforce-Limit-Info", ""))
        if usage is not None:
            self._on_usage(usage)
        return response

    def _read(self, response: requests.Response) -> None:
        """Read the whole body, so that nothing more is read of it later."""
        with closing(response):
            try:
                response._content = b"".join(blocks(response))  # noqa: SLF001  as requests does
            except HTTPError as error:
                raise requests.exceptions.ConnectionError(error, request=response.request) from None
            vars(response)["_content_consumed"] = True

    def remaining_seconds(self, request: requests.PreparedRequest) -> float:
        """Return how long an answer may be awaited. Raises ReadTimeout where that is over."""
        remaining_seconds = self.give_up_at_seconds - time.monotonic()
        if remaining_seconds <= 0:
            raise requests.exceptions.ReadTimeout(
                "given up after waiting long enough", request=request
            )
        return remaining_seconds


def blocks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body of an answer that was asked for as a stream, as it comes in.

    Raises: ReadTimeout when what is being done takes too long as a whole, and whatever breaks a
    connection.
    """
    adapter = response.connection
    while block := response.raw.read1(_READ_BYTES, decode_content=True):
        yield block
        if isinstance(adapter, OrgAdapter):
            adapter.remaining_seconds(response.request)


def _rewrite_to_http(request: requests.PreparedRequest) -> None:
    """Turn https to this machine into http; refuse any other host."""
    url = urlsplit(str(request.url))
    if not is_loopback(url.hostname):
        raise requests.exceptions.InvalidURL(
            f"The org on this machine referred to another host ({url.hostname})."
        )
    request.url = url._replace(scheme="http").geturl()


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the request as it is: an `auth` of our own keeps .netrc from replacing the token."""
    return request


def open_http_session(adapter: OrgAdapter, *, loopback: bool) -> requests.Session:
    """Return a session that speaks https only, through `adapter`.

    Proxies and certificate bundles of the environment hold for a real org, not for this machine.
    """
    session = requests.Session()
    session.auth = _keep_headers
    session.trust_env = not loopback
    del session.adapters["http://"]
    session.mount("https://", adapter)
    return session
