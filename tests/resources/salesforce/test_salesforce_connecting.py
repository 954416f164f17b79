"""Connections that cannot be made are called what they are; what is sent goes to the org alone (R3)."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from resources.salesforce.calls import ApiCall, RetryPolicy, Timeouts
from resources.salesforce.client import Salesforce
from resources.salesforce.connection import ClientCredentials
from resources.salesforce.errors import (
    CertificateUntrusted,
    HostUnknown,
    NobodyListens,
    ProxyAway,
    SalesforceError,
    is_passing,
)
from resources.salesforce.transport import OrgAdapter, OrgClock, open_http_session

SECRET = "not-to-be-seen"


def error_of(url: str) -> tuple[SalesforceError, int]:
    """Return what a first call to an address ends with, and how often it was tried."""
    calls: list[ApiCall] = []
    client = Salesforce(
        ClientCredentials(url, "client", SECRET),
        on_call=calls.append,
        retry=RetryPolicy(attempts=3).without_waiting(),
    )
    with client, pytest.raises(SalesforceError) as caught:
        client.count("SELECT COUNT() FROM Lead")
    return caught.value, len(calls)


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], certificate: Path | None = None
) -> Iterator[int]:
    """Serve on a free port of this machine, with TLS where there is a certificate."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def self_signed(folder: Path) -> Path:
    """Write a certificate for this machine that nobody has signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "certificate.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_host_that_nobody_has_is_called_unknown() -> None:
    """R3: the first mistake that people make; it is tried again, since DNS may be away."""
    error, tries = error_of("https://acme.my.salesforce.invalid")

    assert isinstance(error, HostUnknown)
    assert "https://acme.my.salesforce.invalid could not be made (sign in): no host" in str(error)
    assert "Check SALESFORCE_LOGIN_URL" in str(error)
    assert "few minutes" not in str(error)
    assert (error.exit_code, error.may_have_happened, tries) == (3, False, 3)


def test_a_port_that_is_refused_is_said_to_be() -> None:
    """R3: an org that is being started again refuses it too, so it is tried again."""
    url = f"http://127.0.0.1:{free_port()}"

    error, tries = error_of(url)

    assert isinstance(error, NobodyListens)
    assert f"{url} could not be made (sign in): nobody listens there" in str(error)
    assert "few minutes" not in str(error)
    assert (error.exit_code, error.may_have_happened, tries) == (3, False, 3)


def test_a_certificate_that_is_not_trusted_is_said_to_be_and_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3: a person has to trust it, or correct the address; the secret was not sent."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    with serving(BaseHTTPRequestHandler, self_signed(tmp_path)) as port:
        error, tries = error_of(f"https://127.0.0.1:{port}")

    assert isinstance(error, CertificateUntrusted)
    assert "its certificate is not trusted: self" in str(error)
    assert "REQUESTS_CA_BUNDLE" in str(error)
    assert SECRET not in str(error)
    assert (error.exit_code, is_passing(error), tries) == (2, False, 1)


def test_a_proxy_that_is_away_is_named_as_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    error, _ = error_of("https://acme.my.salesforce.invalid")

    assert isinstance(error, ProxyAway)
    assert "HTTPS_PROXY" in str(error)


def test_what_is_sent_follows_no_redirect() -> None:
    """R24: rows go to the org that was signed in to, wherever an answer points."""
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    nothing: Callable[[object], None] = lambda _: None  # noqa: E731
    adapter = OrgAdapter(
        loopback=True, timeouts=Timeouts(), on_call=nothing, on_usage=nothing, clock=OrgClock()
    )
    with serving(Elsewhere) as port, open_http_session(adapter, loopback=True) as http:
        answer = http.put(f"https://127.0.0.1:{port}/batches", data=b"Id\n1\n")

    assert answer.status_code == 307
    assert asked == ["/batches"]
