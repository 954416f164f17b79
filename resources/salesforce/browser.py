"""Login in the browser: the authorization code flow with PKCE, answered here (API notes 1.2).

The code comes back to a server on 127.0.0.1 that lives for one login. Verifier, code and token stay
in memory until the refresh token is stored; nothing of them is printed or logged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from urllib3.exceptions import HTTPError

from pipeline.core.errors import ConfigurationError, InsightsError
from resources.salesforce.calls import ApiCall, ApiUsage, Timeouts
from resources.salesforce.connection import RefreshToken
from resources.salesforce.errors import error_from_broken_connection
from resources.salesforce.hosts import is_plain_http
from resources.salesforce.kept_sign_ins import Grant
from resources.salesforce.sign_in import sign_in_by_code
from resources.salesforce.transport import OrgAdapter, OrgClock, open_http_session

SCOPES: Final = "api refresh_token"
CALLBACK_PATH: Final = "/callback"
DENIED: Final = frozenset({"access_denied", "OAUTH_APPROVAL_ERROR_GENERIC"})
_SOCKET_SECONDS: Final = 10
"""A browser may open connections ahead and say nothing on them."""


class LoginNotFinished(InsightsError):
    """The login in the browser failed: denied, not in time, or answered by somebody else."""


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """One login: its address, and what its answer must match. Each has secrets of its own."""

    connection: RefreshToken
    redirect_uri: str
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)

    @property
    def url(self) -> str:
        """Return the address to open in a browser."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        parameters = {
            "response_type": "code",
            "client_id": self.connection.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPES,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{self.connection.login_url}/services/oauth2/authorize?{urlencode(parameters)}"

    def code_in(self, answer: dict[str, str]) -> str:
        """Return the code out of the browser's answer.

        Raises LoginNotFinished where it is no answer to this attempt, or holds no code.
        """
        # Compared in constant time: how long it takes must not help to guess the state.
        if not hmac.compare_digest(answer.get("state", "").encode(), self.state.encode()):
            raise LoginNotFinished(
                "The answer in the browser does not belong to this login (another state): nothing was "
                "kept. Close older login pages, and run `insights login` again."
            )

        error = answer.get("error", "")
        if error in DENIED:
            raise LoginNotFinished(
                f"Access was denied in the browser ({error}): nothing was kept. Run `insights login` "
                "again and allow it, or have an admin let this user use the app."
            )
        if error or not answer.get("code"):
            raise LoginNotFinished(
                "The org did not let the login through. Salesforce says: "
                f"{error or 'no code'}: {answer.get('error_description', '')}".rstrip(": ")
            )

        return answer["code"]

    def exchange(self, code: str, on_call: Callable[[ApiCall], object]) -> Grant:
        """Exchange the code, and keep the refresh token where the connection keeps it.

        `on_call` counts the request (R21).

        Raises SignInRefused or OrgUnavailable.
        """
        loopback = is_plain_http(self.connection.login_url)
        adapter = OrgAdapter(
            loopback=loopback,
            timeouts=Timeouts(),
            on_call=on_call,
            on_usage=_ignore_usage,
            clock=OrgClock(),
        )

        with open_http_session(adapter, loopback=loopback) as http:
            try:
                return sign_in_by_code(
                    self.connection,
                    http,
                    code=code,
                    redirect_uri=self.redirect_uri,
                    verifier=self.verifier,
                )
            except (requests.RequestException, HTTPError) as error:
                # The cause is left out: it holds the request, and that the code.
                raise error_from_broken_connection(error, "log in") from None


def _ignore_usage(_: ApiUsage) -> None:
    """Do nothing: the token endpoint's answers hold no figures."""


class CallbackServer:
    """Waits on 127.0.0.1 for the browser to come back; a context manager."""

    def __init__(self, port: int) -> None:
        """Take `port`; 0 picks a free one.

        Raises ConfigurationError where it is taken.
        """
        try:
            self._server = _Server(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise ConfigurationError(
                [
                    f"Port {port} on this machine cannot be used: {error.strerror}. Choose another with "
                    "--port, and enter its callback URL in the app."
                ]
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def redirect_uri(self) -> str:
        """Return the callback URL, which must stand in the app character for character."""
        return f"http://localhost:{self._server.server_port}{CALLBACK_PATH}"

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self, seconds: float) -> dict[str, str]:
        """Return the parameters that the browser came back with.

        Raises LoginNotFinished when `seconds` have passed.
        """
        if not self._server.answered.wait(seconds):
            raise LoginNotFinished(
                f"Nobody finished the login within {seconds:g} s. Run `insights login` again; if the "
                f"browser showed an error, compare the app's callback URL with {self.redirect_uri}."
            )
        return self._server.answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.answered = threading.Event()
        self.answer: dict[str, str] = {}


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SOCKET_SECONDS

    def do_GET(self) -> None:
        """Take the first answer at the callback path; anything else is not found."""
        url = urlsplit(self.path)
        if url.path != CALLBACK_PATH or self.server.answered.is_set():
            self._say(HTTPStatus.NOT_FOUND, "There is nothing here.")
            return
        values = parse_qs(url.query, keep_blank_values=True)
        self.server.answer = {key: value[0] for key, value in values.items()}
        self._say(HTTPStatus.OK, "You can close this page and go back to the terminal.")
        self.server.answered.set()

    def _say(self, status: HTTPStatus, text: str) -> None:
        body = f"<!doctype html><html lang='en'><title>insights login</title><p>{text}</p></html>"
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Log nothing: the request line holds the code."""
