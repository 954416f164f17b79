"""Getting a session out of the org, by each of the flows of `connection` (API notes 1.2, 1.3).

The OAuth flows are one form posted to the token endpoint, by our own code: simple-salesforce has no
refresh-token flow, keeps neither the org's nor the user's id from the answer, and insists on
salesforce.com hosts. SOAP login it does, whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from resources.salesforce.connection import (
    ClientCredentials,
    Connection,
    JwtBearer,
    RefreshToken,
    UsernamePassword,
)
from resources.salesforce.errors import (
    LoginRevoked,
    OrgUnavailable,
    SalesforceError,
    SignInRefused,
    UnexpectedAnswer,
    error_from_answer,
    salesforce_words,
)
from resources.salesforce.hosts import as_https, is_loopback, is_plain_http
from resources.salesforce.kept_sign_ins import Grant

_ASSERTION_LIFE: Final = timedelta(seconds=170)
"""Salesforce allows about three minutes."""
_JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_PASSING_GRANT_ERRORS: Final = frozenset({"rate_limit_exceeded", "temporarily_unavailable"})
_SOAP_VERSION_MAX: Final = 64.0
_ORG_ID: Final = re.compile(r"00D\w{12}(\w{3})?", re.ASCII)
_INSTANCE: Final = re.compile(
    r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?", re.ASCII
)
_SIGNING_IN: Final = "sign in"


def sign_in(
    connection: Connection, http: requests.Session, *, api_version: str, now: datetime
) -> Grant:
    """Return a new session.

    Raises:
        SignInRefused: wrong credentials or app settings.
        OrgUnavailable: no answer, or not from Salesforce; passing.
    """
    if isinstance(connection, UsernamePassword) and connection.client_id is None:
        return _sign_in_by_soap(connection, http, api_version)
    if isinstance(connection, RefreshToken):
        return _sign_in_by_refresh_token(connection, http)
    return _ask_for_token(connection, http, _form(connection, now))


def _form(
    connection: ClientCredentials | JwtBearer | UsernamePassword, now: datetime
) -> dict[str, str]:
    """Return the fields that the flow posts."""
    if isinstance(connection, ClientCredentials):
        return {
            "grant_type": "client_credentials",
            "client_id": connection.client_id,
            "client_secret": connection.client_secret,
        }
    if isinstance(connection, JwtBearer):
        return {"grant_type": _JWT_GRANT, "assertion": _assertion(connection, now)}

    return {
        "grant_type": "password",
        "client_id": connection.client_id or "",
        "client_secret": connection.client_secret or "",
        "username": connection.username,
        "password": connection.password + connection.security_token,
    }


def _assertion(connection: JwtBearer, now: datetime) -> str:
    """Return the signed claim that this app may act as this user."""
    import jwt

    claims = {
        "iss": connection.client_id,
        "sub": connection.username,
        "aud": connection.audience,
        "exp": int((now + _ASSERTION_LIFE).timestamp()),
    }
    try:
        return jwt.encode(claims, connection.private_key, algorithm="RS256")
    except (ValueError, TypeError, jwt.exceptions.PyJWTError):
        raise SignInRefused(
            "SALESFORCE_PRIVATE_KEY is not a private RSA key in PEM form."
        ) from None


def _sign_in_by_refresh_token(connection: RefreshToken, http: requests.Session) -> Grant:
    """Exchange the newest refresh token, and keep the one that replaces it, before anybody else."""
    with connection.token_store.lock():
        try:
            return _exchange_refresh_token(connection, http, connection.token_store.read())
        except SignInRefused as refused:
            raise _as_revoked(refused) from None


def _as_revoked(refused: SignInRefused) -> SignInRefused:
    """Say what it means where the token, and not the app, was refused."""
    if refused.code != "invalid_grant":
        return refused
    return LoginRevoked(
        "The login is no longer valid: it was revoked in Salesforce, or has expired.",
        code=refused.code,
        text=refused.text,
        status=refused.status,
    )


def sign_in_by_code(
    connection: RefreshToken, http: requests.Session, *, code: str, redirect_uri: str, verifier: str
) -> Grant:
    """Exchange the code of a login in the browser, and keep the refresh token that comes with it.

    Raises:
        SignInRefused: the code or the app; also where the app gives no refresh token.
        OrgUnavailable: no answer, or not from Salesforce.
    """
    form = {
        "grant_type": "authorization_code",
        "client_id": connection.client_id,
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    if connection.client_secret:
        form["client_secret"] = connection.client_secret
    # A process that exchanges the login before must not put its token in the place of the new one.
    with connection.token_store.lock():
        return _ask_for_token(connection, http, form, refresh_token_needed=True)


def _exchange_refresh_token(
    connection: RefreshToken, http: requests.Session, refresh_token: str
) -> Grant:
    form = {
        "grant_type": "refresh_token",
        "client_id": connection.client_id,
        "refresh_token": refresh_token,
    }
    if connection.client_secret:
        form["client_secret"] = connection.client_secret
    return _ask_for_token(connection, http, form)


def _ask_for_token(
    connection: Connection,
    http: requests.Session,
    form: Mapping[str, str],
    *,
    refresh_token_needed: bool = False,
) -> Grant:
    """Post `form` to the token endpoint and read the answer."""
    response = http.post(
        as_https(f"{connection.login_url}/services/oauth2/token"),
        data=form,
        headers={"Accept": "application/json"},
        allow_redirects=False,
    )
    answer = _json_of(response)

    if response.status_code != HTTPStatus.OK:
        raise _refusal(response.status_code, answer)
    if not isinstance(answer, dict) or not {"access_token", "instance_url"} <= answer.keys():
        raise UnexpectedAnswer("The org's token endpoint answered without a token.")
    if refresh_token_needed and not answer.get("refresh_token"):
        raise SignInRefused(
            "The app gives no refresh token: let it have the scope `Perform requests at any time "
            "(refresh_token, offline_access)`."
        )

    _keep_rotated_token(connection, answer)
    org_id, user_id = _identities(str(answer.get("id", "")))
    instance_url = checked_instance_url(str(answer["instance_url"]), connection.login_url)
    return Grant(str(answer["access_token"]), instance_url, org_id, user_id)


def _json_of(response: requests.Response) -> Any:
    """Return the parsed body, or its text where it is not JSON (a proxy, a maintenance page)."""
    try:
        return response.json()
    except requests.exceptions.JSONDecodeError:
        return response.text


def _refusal(status: int, answer: object) -> SalesforceError:
    """Return the error: refused credentials, or an org that cannot answer now (API notes 1.2)."""
    code, text = salesforce_words(answer)
    if code in _PASSING_GRANT_ERRORS or "rate exceeded" in text.lower():
        return OrgUnavailable("The org allows no more sign-ins now.", code=code, text=text)
    if isinstance(answer, dict) and code and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return SignInRefused("The org refused to sign in.", code=code, text=text, status=status)
    error = error_from_answer(status, answer, _SIGNING_IN)
    if isinstance(error, UnexpectedAnswer):
        return OrgUnavailable(f"The org's sign-in answered HTTP {status} without a reason.")
    return error


def _keep_rotated_token(connection: Connection, answer: Mapping[str, Any]) -> None:
    """Store a new refresh token before the session is used: the old one is dead already."""
    rotated = answer.get("refresh_token")
    if isinstance(connection, RefreshToken) and rotated:
        connection.token_store.write(str(rotated))


def _identities(identity_url: str) -> tuple[str | None, str | None]:
    """Return org id and user id out of `https://login.salesforce.com/id/00D.../005...`."""
    try:
        path = urlsplit(identity_url).path
    except ValueError:
        return None, None
    match path.split("/"):
        case [*_, "id", org_id, user_id] if org_id and user_id:
            return org_id, user_id
        case _:
            return None, None


def checked_instance_url(instance_url: str, login_url: str) -> str:
    """Return the base for all further calls.

    Raises UnexpectedAnswer where it is no address, or a stand-in on this machine names a host
    elsewhere.
    """
    url = instance_url.rstrip("/")
    if not _INSTANCE.fullmatch(url):
        raise UnexpectedAnswer("The org names something that is no address as its own.")
    if is_plain_http(login_url):
        if not is_loopback(urlsplit(url).hostname):
            raise UnexpectedAnswer("The org on this machine names an address elsewhere as its own.")
        return url
    return as_https(url)


def _sign_in_by_soap(
    connection: UsernamePassword, http: requests.Session, api_version: str
) -> Grant:
    """Sign in by simple-salesforce's SOAP login, which exists up to version 64.0."""
    from xml.parsers.expat import ExpatError

    from simple_salesforce.exceptions import SalesforceAuthenticationFailed
    from simple_salesforce.login import SalesforceLogin

    try:
        session_id, host = SalesforceLogin(
            username=connection.username,
            password=connection.password,
            security_token=connection.security_token,
            sf_version=str(min(float(api_version), _SOAP_VERSION_MAX)),
            session=http,
            scratch_url=as_https(connection.login_url),
        )
    except SalesforceAuthenticationFailed as error:
        raise _soap_refusal(error.code, error.auth_message) from None
    except (ExpatError, ValueError, LookupError):
        # Not XML, or in no encoding: a proxy's page, which the library takes for Salesforce's.
        raise OrgUnavailable("Something other than Salesforce answered the sign-in.") from None

    scheme = urlsplit(connection.login_url).scheme
    instance_url = checked_instance_url(f"{scheme}://{host}", connection.login_url)
    return Grant(session_id, instance_url, _org_id_in(session_id))


def _org_id_in(session_id: str) -> str | None:
    """Return the org id that a token begins with, None if it has another form (API notes 1.1)."""
    org_id, mark, _ = session_id.partition("!")
    return org_id if mark and _ORG_ID.fullmatch(org_id) else None


def _soap_refusal(code: object, text: str) -> SalesforceError:
    """Without a code of Salesforce's in the answer it was not Salesforce that answered."""
    if not isinstance(code, str) or code in {
        "SERVER_UNAVAILABLE",
        "UNKNOWN_EXCEPTION_CODE",
    }:
        return OrgUnavailable("The org's sign-in cannot answer now.")
    code = code.removeprefix("sf:")
    return SignInRefused("The org refused to sign in.", code=code, text=text)
