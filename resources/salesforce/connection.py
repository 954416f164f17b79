"""Where the org is and how to sign in: one type per flow, valid once it exists (R3).

Secrets come from the environment or from a file that it names, never from YAML, and never show in
a `repr`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from pipeline.core.errors import ConfigurationError
from resources.file_lock import file_lock
from resources.salesforce.errors import another_signs_in
from resources.salesforce.hosts import is_loopback

GENERIC_HOSTS: Final = frozenset({"login.salesforce.com", "test.salesforce.com"})
_HOST_AND_PORT: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]*)?", re.ASCII)
"""Without a user before the host: a password has no place in an address."""
SANDBOX_AUDIENCE: Final = "https://test.salesforce.com"
PRODUCTION_AUDIENCE: Final = "https://login.salesforce.com"


class TokenStore(Protocol):
    """Keeps one refresh token; with rotation the org replaces it at each use (API notes 1.2)."""

    def read(self) -> str:
        """Return the newest refresh token."""

    def write(self, refresh_token: str) -> None:
        """Keep `refresh_token` in place of the one before."""

    def lock(self) -> AbstractContextManager[None]:
        """Keep others from exchanging the token: with rotation, each can be exchanged once."""

    def current(self) -> str:
        """Return the token that tells this login from another one."""


@dataclass(slots=True)
class MemoryTokenStore:
    """A refresh token from a variable; a rotated one lives only in this process: prefer a file."""

    _refresh_token: str = field(repr=False)
    _given: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Remember what the variable says: rotation does not make another login of it."""
        self._given = self._refresh_token

    def lock(self) -> AbstractContextManager[None]:
        """Return no lock: nobody else has this token."""
        return nullcontext()

    def current(self) -> str:
        """Return the token that the variable holds."""
        return self._given

    def read(self) -> str:
        """Return the newest refresh token."""
        return self._refresh_token

    def write(self, refresh_token: str) -> None:
        """Keep `refresh_token` until the process ends."""
        self._refresh_token = refresh_token


@dataclass(frozen=True, slots=True)
class FileTokenStore:
    """A refresh token in a file of its own, replaced whole when the org rotates it."""

    path: Path
    named_by: str = "SALESFORCE_REFRESH_TOKEN_FILE names"

    def lock(self) -> AbstractContextManager[None]:
        """Hold the lock file beside the token's."""
        return file_lock(self.path.with_name(f"{self.path.name}.lock"), another_signs_in())

    def current(self) -> str:
        """Return the newest refresh token."""
        return self.read()

    def read(self) -> str:
        """Return the newest refresh token, which another process may have stored."""
        try:
            token = self.path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise self._unusable("read", error) from error
        except UnicodeDecodeError:
            token = ""
        if not token or not token.isprintable():
            raise ConfigurationError(
                [f"{self.named_by} {self.path}, which holds no refresh token: log in again."]
            )
        return token

    def write(self, refresh_token: str) -> None:
        """Replace the file in one step, readable by its owner only."""
        try:
            self._replace(refresh_token)
        except OSError as error:
            raise self._unusable("replaced", error) from error

    def _replace(self, refresh_token: str) -> None:
        # A file beside it, then renamed: a crash on the way leaves the old token, never half a one.
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".token-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(refresh_token)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def _unusable(self, done: str, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            [
                f"{self.named_by} {self.path}, which cannot be {done}: "
                f"{error.strerror}. Where the org rotates refresh tokens, it must be in a folder "
                "that can be written to."
            ]
        )


def checked_login_url(url: str) -> str:
    """Return `url` as a bare base without a trailing slash.

    Raises ConfigurationError unless it is https, or http to this machine itself.
    """
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError([f"SALESFORCE_LOGIN_URL is no address: {error}."]) from error
    host = parts.hostname if _HOST_AND_PORT.fullmatch(parts.netloc) else None
    problem = _login_url_problem(parts.scheme, host, parts.path)
    if problem:
        raise ConfigurationError([f"SALESFORCE_LOGIN_URL {problem}"])
    return f"{parts.scheme}://{parts.netloc}"


def _login_url_problem(scheme: str, host: str | None, path: str) -> str:
    if scheme not in {"http", "https"} or not host:
        return (
            "is not a web address: use https://ACME.my.salesforce.com with your My Domain's name, "
            "or https://login.salesforce.com, or https://test.salesforce.com for a sandbox."
        )

    if scheme == "http" and not is_loopback(host):
        return f"must begin with https:// (http is for this machine only, and {host} is not)."
    if host.endswith("lightning.force.com"):
        return "names a lightning.force.com page: use the org's ....my.salesforce.com address."
    if path.strip("/"):
        return f"must end after the host name: leave {path} out."
    return ""


def _require(**secrets: str) -> None:
    """Refuse blank credentials by name."""
    blank = [f"The connection's {name} is empty." for name, value in secrets.items() if not value]
    if blank:
        raise ConfigurationError(blank)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """An External Client App with a run-as user. What we recommend."""

    login_url: str
    client_id: str
    client_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        """Check the address: this flow works on the org's own My Domain only (API notes 1.2)."""
        object.__setattr__(self, "login_url", checked_login_url(self.login_url))
        _require(client_id=self.client_id, client_secret=self.client_secret)
        if urlsplit(self.login_url).hostname in GENERIC_HOSTS:
            raise ConfigurationError(
                [
                    "SALESFORCE_LOGIN_URL must be the org's My Domain for sign-in with client id "
                    "and secret: https://ACME.my.salesforce.com, not the generic login or test."
                ]
            )


@dataclass(frozen=True, slots=True)
class JwtBearer:
    """A certificate in the app; `private_key` is the PEM text that belongs to it."""

    login_url: str
    client_id: str
    username: str
    private_key: str = field(repr=False)

    def __post_init__(self) -> None:
        """Check that nothing is missing."""
        object.__setattr__(self, "login_url", checked_login_url(self.login_url))
        _require(
            client_id=self.client_id,
            username=self.username,
            private_key=self.private_key,
        )

    @property
    def audience(self) -> str:
        """Return whom the assertion is for: the generic host of the org's kind."""
        host = urlsplit(self.login_url).hostname or ""
        if host == "test.salesforce.com" or ".sandbox." in host or ".scratch." in host:
            return SANDBOX_AUDIENCE
        return PRODUCTION_AUDIENCE


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token obtained once through the browser; some apps need no client secret."""

    login_url: str
    client_id: str
    client_secret: str | None = field(repr=False)
    token_store: TokenStore = field(repr=False)

    def __post_init__(self) -> None:
        """Check that nothing is missing."""
        object.__setattr__(self, "login_url", checked_login_url(self.login_url))
        _require(client_id=self.client_id)


@dataclass(frozen=True, slots=True)
class UsernamePassword:
    """User name, password and security token, for old orgs: Salesforce is withdrawing it.

    With client id and secret the OAuth form is used, without them SOAP login, which ends with the
    Summer '27 release (API notes 1.3).
    """

    login_url: str
    username: str
    password: str = field(repr=False)
    security_token: str = field(default="", repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check that nothing is missing, and that app credentials come in pairs."""
        object.__setattr__(self, "login_url", checked_login_url(self.login_url))
        _require(username=self.username, password=self.password)
        if bool(self.client_id) != bool(self.client_secret):
            raise ConfigurationError(
                ["SALESFORCE_CLIENT_ID and SALESFORCE_CLIENT_SECRET go together: set both or none."]
            )


Connection = ClientCredentials | JwtBearer | RefreshToken | UsernamePassword


def credentials_hash(connection: Connection) -> str:
    """Return a hash that is another one as soon as anything is signed in with that is another.

    Raises ConfigurationError where a file with a refresh token cannot be read.
    """
    parts = {
        part.name: getattr(connection, part.name)
        for part in fields(connection)
        if part.name != "token_store"
    }
    if isinstance(connection, RefreshToken):
        parts["refresh_token"] = connection.token_store.current()

    text = json.dumps({"flow": type(connection).__name__, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class _Variables:
    """The SALESFORCE_... variables, with every problem met on the way."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def plain(self, name: str) -> str:
        return self._env.get(f"SALESFORCE_{name}", "").strip()

    def is_set(self, name: str) -> bool:
        return bool(self.plain(name) or self.plain(f"{name}_FILE"))

    def secret(self, name: str) -> str:
        """Return the secret of the variable itself or of the file that its _FILE form names."""
        variable = f"SALESFORCE_{name}"
        value, file = self.plain(name), self.plain(f"{name}_FILE")
        if value and file:
            self.problems.append(f"{variable} and {variable}_FILE are both set: keep one of them.")
        if value or not file:
            return value

        try:
            content = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            self.problems.append(f"{variable}_FILE names {file}, which cannot be read: {reason}.")
            return ""
        if not content:
            self.problems.append(f"{variable}_FILE names {file}, which is empty.")
        return content

    def require(self, name: str, why: str) -> str:
        value = self.secret(name)
        if not value and not self.plain(f"{name}_FILE"):
            self.problems.append(f"SALESFORCE_{name} is not set: {why}.")
        return value

    def raise_problems(self) -> None:
        if self.problems:
            raise ConfigurationError(self.problems)


def connection_from_environment(
    env: Mapping[str, str], *, login_file: Path | None = None
) -> Connection:
    """Return the connection that the SALESFORCE_... variables describe.

    What is set decides the flow: a refresh token, a private key, a password, or else the token that
    `insights login` left in `login_file`, or else client id and secret. Each secret may be given as
    ..._FILE, naming a file that holds it.

    Raises ConfigurationError with every problem, each naming its variable and what to do.
    """
    variables = _Variables(env)
    login_url = _login_url(variables)
    flows = [n for n in ("REFRESH_TOKEN", "PRIVATE_KEY", "PASSWORD") if variables.is_set(n)]
    if len(flows) > 1:
        names = " and ".join(f"SALESFORCE_{flow}" for flow in flows)
        variables.problems.append(f"{names} are both set: keep the one to sign in with.")

    build = {
        "REFRESH_TOKEN": _refresh_token,
        "PRIVATE_KEY": _jwt_bearer,
        "PASSWORD": _username_password,
    }.get(flows[0] if flows else "", _client_credentials)
    if not flows and login_file is not None and login_file.is_file():
        connection: Connection | None = _browser_login(variables, login_url, login_file)
    else:
        connection = build(variables, login_url)

    variables.raise_problems()
    if connection is None:  # pragma: no cover - a builder without a result has named its problem
        raise ConfigurationError(["The SALESFORCE_... variables describe no connection."])
    return connection


ADMIN_PREFIX: Final = "SALESFORCE_ADMIN_"


def admin_connection(env: Mapping[str, str]) -> Connection | None:
    """Return the admin's connection, for setting up the org alone (R13), None where none is set.

    The same variables under SALESFORCE_ADMIN_...; the address is that of the one org.
    """
    given = {
        "SALESFORCE_" + name.removeprefix(ADMIN_PREFIX): value
        for name, value in env.items()
        if name.startswith(ADMIN_PREFIX) and value.strip()
    }
    if not given:
        return None

    try:
        return connection_from_environment(
            {"SALESFORCE_LOGIN_URL": env.get("SALESFORCE_LOGIN_URL", ""), **given}
        )
    except ConfigurationError as error:
        raise ConfigurationError(
            [f"The admin's connection (SALESFORCE_ADMIN_...): {p}" for p in error.problems]
        ) from None


def login_app(env: Mapping[str, str], login_file: Path) -> RefreshToken:
    """Return the connection that `insights login` completes: the app, and the file for its token.

    Raises ConfigurationError with every problem.
    """
    variables = _Variables(env)
    connection = _browser_login(variables, _login_url(variables), login_file)
    variables.raise_problems()
    if connection is None:  # pragma: no cover - a builder without a result has named its problem
        raise ConfigurationError(
            ["The SALESFORCE_... variables describe no app to log in through."]
        )
    return connection


def _browser_login(variables: _Variables, login_url: str, login_file: Path) -> RefreshToken | None:
    client_id = variables.require("CLIENT_ID", "the consumer key of the app to log in through")
    client_secret = variables.secret("CLIENT_SECRET") or None
    if variables.problems:
        return None
    store = FileTokenStore(login_file, named_by="The login is kept in")
    return RefreshToken(login_url, client_id, client_secret, store)


def _login_url(variables: _Variables) -> str:
    url = variables.plain("LOGIN_URL")
    if not url:
        variables.problems.append(
            "SALESFORCE_LOGIN_URL is not set: give the org's address, such as "
            "https://ACME.my.salesforce.com."
        )
        return ""

    try:
        return checked_login_url(url)
    except ConfigurationError as error:
        variables.problems.extend(error.problems)
        return ""


def _refresh_token(variables: _Variables, login_url: str) -> Connection | None:
    client_id = variables.require("CLIENT_ID", "the consumer key of the app that gave the token")
    client_secret = variables.secret("CLIENT_SECRET") or None
    token = variables.secret("REFRESH_TOKEN")
    file = variables.plain("REFRESH_TOKEN_FILE")
    if variables.problems:
        return None
    store: TokenStore = FileTokenStore(Path(file)) if file else MemoryTokenStore(token)
    return RefreshToken(login_url, client_id, client_secret, store)


def _jwt_bearer(variables: _Variables, login_url: str) -> Connection | None:
    client_id = variables.require("CLIENT_ID", "the consumer key of the app with the certificate")
    username = variables.require("USERNAME", "the user to sign in as")
    private_key = variables.secret("PRIVATE_KEY")
    if variables.problems:
        return None
    return JwtBearer(login_url, client_id, username, private_key)


def _username_password(variables: _Variables, login_url: str) -> Connection | None:
    username = variables.require("USERNAME", "the user that SALESFORCE_PASSWORD belongs to")
    password = variables.secret("PASSWORD")
    token = variables.secret("SECURITY_TOKEN")
    client_id = variables.plain("CLIENT_ID") or None
    client_secret = variables.secret("CLIENT_SECRET") or None
    if bool(client_id) != bool(client_secret):
        variables.problems.append(
            "SALESFORCE_CLIENT_ID and SALESFORCE_CLIENT_SECRET go together: set both or none."
        )

    if variables.problems:
        return None
    return UsernamePassword(login_url, username, password, token, client_id, client_secret)


def _client_credentials(variables: _Variables, login_url: str) -> Connection | None:
    why = "the External Client App to sign in with (or a private key, refresh token or password)"
    client_id = variables.require("CLIENT_ID", why)
    client_secret = variables.require("CLIENT_SECRET", why)
    if variables.problems:
        return None
    return ClientCredentials(login_url, client_id, client_secret)
