"""One signed-in session: every call passes `Session.call`, which retries and renews.

What a call does is the caller's; here is decided only whether it is made again (API notes 1.5
and 7.4).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import stamina
from urllib3.exceptions import HTTPError

from resources.salesforce.calls import ApiCall, ApiUsage, RetryPolicy, Timeouts
from resources.salesforce.connection import Connection, credentials_hash
from resources.salesforce.errors import (
    NOT_UNDERSTOOD,
    CallRefused,
    DailyRequestLimit,
    OrgUnavailable,
    SalesforceError,
    SessionLost,
    SignInRefused,
    error_from_answer,
    error_from_broken_connection,
    is_passing,
    not_understood,
)
from resources.salesforce.hosts import as_https, is_plain_http
from resources.salesforce.ids import id18
from resources.salesforce.kept_sign_ins import Grant, SignIns, is_for_good
from resources.salesforce.sign_in import sign_in
from resources.salesforce.transport import OrgAdapter, OrgClock, open_http_session

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce as Library

T = TypeVar("T")


class Session:
    """A session of one user in one org. Not for use by several threads at once."""

    def __init__(
        self,
        connection: Connection,
        *,
        api_version: str,
        on_call: Callable[[ApiCall], object],
        on_usage: Callable[[ApiUsage], None],
        timeouts: Timeouts,
        retry: RetryPolicy,
        on_sign_in: Callable[[str], None],
        sign_ins: SignIns | None = None,
        on_limit: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """Prepare the session; nothing is sent before the first call.

        `sign_ins` outlives this object: an earlier session of the same user is used again, and
        refused credentials are not sent a second time.
        """
        self._sign_ins = sign_ins or SignIns()
        self.connection = connection
        self.on_sign_in = on_sign_in
        self._on_limit = on_limit
        self.api_version = api_version
        self.clock = OrgClock()

        loopback = is_plain_http(connection.login_url)
        self._total_seconds = timeouts.total_seconds
        self._adapter = adapter = OrgAdapter(
            loopback=loopback,
            timeouts=timeouts,
            on_call=on_call,
            on_usage=on_usage,
            clock=self.clock,
        )
        self._http = open_http_session(adapter, loopback=loopback)

        self._again = stamina.RetryingCaller(
            attempts=retry.attempts,
            timeout=timeouts.total_seconds,
            wait_initial=retry.first_wait_seconds,
            wait_max=retry.longest_wait_seconds,
            wait_jitter=retry.jitter_seconds,
        )

        self._grant: Grant | None = None
        self._library: Library | None = None

    def close(self) -> None:
        """Close the connections. The session in the org lives on: others may share it."""
        self._http.close()

    @property
    def grant(self) -> Grant:
        """The session in the org, signed in to if it is not yet."""
        return self._in_time(is_passing, self._current_grant, self._total_seconds)

    def _in_time(
        self, retried: Callable[[Exception], bool], step: Callable[[], T], seconds: float
    ) -> T:
        """Do `step` until it succeeds, fails for good, or has taken `seconds` in all."""
        give_up_at_seconds = time.monotonic() + seconds
        self._adapter.give_up_at_seconds = give_up_at_seconds

        def is_tried_again(error: Exception) -> bool:
            return time.monotonic() < give_up_at_seconds and retried(error)

        try:
            return self._again(is_tried_again, step)
        except DailyRequestLimit as error:
            error.resumes_at = self._on_limit()
            raise

    def call(
        self,
        request: Callable[[Library], T],
        what: str,
        *,
        repeatable: bool = True,
        refusal: type[CallRefused] = CallRefused,
        within_seconds: float = math.inf,
    ) -> T:
        """Return what `request` returns, called with simple-salesforce, signed in.

        Passing faults are retried with growing waits; where a repetition does harm
        (`repeatable=False`), only those after which the call cannot have been carried out. A lost
        session is renewed once and the call repeated once.

        Args:
            request: makes one HTTP request and reads the whole of its answer.
            what: the call in words, for messages, such as "describe Lead".
            repeatable: whether carrying the call out twice does no harm.
            refusal: the error for a call that Salesforce understood and refused.
            within_seconds: how long it may take with all tries, where that is less than for others.

        Raises:
            SalesforceError: one of the branches of `errors`.
        """
        retried = is_passing if repeatable else _surely_not_done
        # Without arguments: what is passed here would be written to the log at each retry.
        seconds = min(self._total_seconds, within_seconds)
        return self._in_time(retried, lambda: self._call_and_renew(request, what, refusal), seconds)

    def _call_and_renew(
        self,
        request: Callable[[Library], T],
        what: str,
        refusal: type[CallRefused],
    ) -> T:
        library = self._signed_in_library()
        try:
            return self._attempt(request, library, what, refusal)
        except SessionLost:
            self.forget_session()
            return self._attempt(request, self._signed_in_library(), what, refusal)

    @staticmethod
    def _attempt(
        request: Callable[[Library], T],
        library: Library,
        what: str,
        refusal: type[CallRefused],
    ) -> T:
        """Make the call once and translate what goes wrong."""
        from simple_salesforce.exceptions import SalesforceError as LibraryError

        try:
            return request(library)
        except LibraryError as error:
            # Not chained: the library's text is the whole body of the answer.
            raise error_from_answer(error.status, error.content, what, refusal) from None
        except (requests.RequestException, HTTPError) as error:
            raise error_from_broken_connection(error, what) from error
        except NOT_UNDERSTOOD as error:
            raise not_understood(error, what) from None

    def forget_session(self) -> None:
        """End the use of this session; a newer one of another process is taken up."""
        token = self._grant.access_token if self._grant else None
        self._sign_ins.end_session(credentials_hash(self.connection), token)
        self._grant = None
        self._library = None

    @property
    def refused(self) -> SignInRefused | None:
        """Why these credentials are not sent, where they were refused for good."""
        refusal = self._sign_ins.refusal(credentials_hash(self.connection))
        return refusal.error() if refusal else None

    def forget_refusal(self) -> None:
        """Let refused credentials be sent once more: a person says that the org was corrected."""
        self._sign_ins.forget_refusal(credentials_hash(self.connection))

    def _signed_in_library(self) -> Library:
        """Return simple-salesforce around the current session.

        It takes the token over when made, in several places: so a new token means a new object.
        """
        if self._library is None:
            from simple_salesforce.api import Salesforce

            try:
                grant = self._current_grant()
            except OrgUnavailable as error:
                error.may_have_happened = False  # the call itself was not even tried
                raise
            options: dict[str, Any] = {"object_pairs_hook": None}
            self._library = Salesforce(
                session_id=grant.access_token,
                instance_url=as_https(grant.instance_url),
                session=self._http,
                version=self.api_version,
                **options,
            )
            self._library.headers.pop("X-PrettyPrint")  # a third of the bytes of an answer
        return self._library

    def _current_grant(self) -> Grant:
        """Return the session in the org; refused credentials are not sent a second time."""
        if self._grant is None:
            self._grant = self._kept_grant() or self._new_grant()
        return self._grant

    def _kept_grant(self) -> Grant | None:
        """Return the session that is kept, checked like a new one; raise where it was refused."""
        refused = self.refused
        if refused is not None:
            raise refused

        grant = self._sign_ins.session(credentials_hash(self.connection))
        if grant is not None and grant.org_id:
            self.on_sign_in(id18(grant.org_id))
        return grant

    def _new_grant(self) -> Grant:
        """Sign in, and keep for all others what comes of it."""
        with self._sign_ins.lock():
            # While this process waited, another one may have signed in, or been refused.
            kept = self._kept_grant()
            if kept is not None:
                return kept

            credentials = credentials_hash(self.connection)
            try:
                grant = self._sign_in()
            except SignInRefused as error:
                # The token in the file may be another one already: that one was not refused.
                if is_for_good(error) and credentials == credentials_hash(self.connection):
                    at = self.clock.now() or datetime.now(UTC)
                    self._sign_ins.keep_refusal(credentials, error, at)
                raise

            # Rotated tokens are new credentials. Without the org's id, nobody could check it.
            if grant.org_id:
                self._sign_ins.keep_session(credentials_hash(self.connection), grant)
            return grant

    def _sign_in(self) -> Grant:
        now = self.clock.now() or datetime.now(UTC)
        try:
            grant = sign_in(self.connection, self._http, api_version=self.api_version, now=now)
        except (requests.RequestException, HTTPError) as error:
            # The cause is left out: it holds the request, and that the secret.
            raise error_from_broken_connection(error, "sign in") from None
        if grant.org_id:
            self.on_sign_in(id18(grant.org_id))
        return grant


def _surely_not_done(error: Exception) -> bool:
    """Tell whether the call can be made again without its happening twice."""
    return (
        isinstance(error, SalesforceError)
        and is_passing(error)
        and isinstance(error, OrgUnavailable)
        and not error.may_have_happened
    )
