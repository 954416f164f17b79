"""Sign-in over HTTP: the token endpoint, the authorization page, SOAP login, and who am I.

The forms of requests, answers and errors are those of the Salesforce API notes, section 1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qsl, urlencode

from local_org.org import Org
from local_org.sessions import App, Session, SignInError
from local_org.users import User
from local_org.wire import Reply, Request

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SOAP_VERSION_MAX = 64.0
SOAP_VERSION_MIN = 31.0
_TOKEN_FIELDS = frozenset(
    {
        "grant_type",
        "client_id",
        "client_secret",
        "assertion",
        "refresh_token",
        "username",
        "password",
        "code",
        "redirect_uri",
        "code_verifier",
        "scope",
        "format",
        "client_assertion",
    }
)


def token(org: Org, request: Request) -> Reply:
    """Answer ``POST /services/oauth2/token`` for all five flows."""
    form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
    form.update({k: v for k, v in request.params.items() if k in _TOKEN_FIELDS and k not in form})

    try:
        return _token(org, form, request.headers)
    except SignInError as error:
        status = 400
        if error.code == "invalid_client":
            status = org.options.invalid_client_status
        return Reply(
            status, {"error": error.code, "error_description": error.description}, NO_STORE
        )


NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def _token(org: Org, form: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
    grant = form.get("grant_type", "")
    flow = "jwt_bearer" if grant == JWT_GRANT else grant
    flows = {
        "client_credentials": _client_credentials,
        "jwt_bearer": _jwt_bearer,
        "refresh_token": _refresh_token,
        "password": _password,
        "authorization_code": _authorization_code,
    }

    if not grant:
        raise SignInError("invalid_request", "missing required parameter: grant_type")
    if flow not in flows:
        raise SignInError("unsupported_grant_type", "grant type not supported")
    return flows[flow](org, form, headers)


def _credentials(form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str | None]:
    """Read client id and secret from the Basic header, or from the form."""
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise SignInError("invalid_client", "invalid client credentials") from error
        client_id, _, secret = text.partition(":")
        return client_id, secret
    return form.get("client_id", ""), form.get("client_secret")


def _allow(app: App, flow: str) -> App:
    if flow not in app.flows:
        raise SignInError("invalid_grant", f"this app is not enabled for the flow {flow}")
    return app


def _client_credentials(org: Org, form: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
    client_id, secret = _credentials(form, headers)
    app = _allow(org.sessions.app(client_id, secret), "client_credentials")

    host = headers.get("Host", "").lower()
    if host in ("login.salesforce.com", "test.salesforce.com"):
        raise SignInError("invalid_grant", "request not supported on this domain")
    if app.run_as is None:
        raise SignInError("invalid_grant", "no client credentials user enabled")
    return _token_reply(org, app, org.sessions.login(app.run_as))


def _jwt_bearer(org: Org, form: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
    del headers
    audiences = ["https://login.salesforce.com", "https://test.salesforce.com", org.base_url]
    app, user = org.sessions.check_assertion(form.get("assertion", ""), audiences)
    return _token_reply(org, _allow(app, "jwt_bearer"), user)


def _password(org: Org, form: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
    if not org.options.password_grant:
        raise SignInError("invalid_grant", "authentication failure")
    client_id, secret = _credentials(form, headers)
    app = _allow(org.sessions.app(client_id, secret), "password")
    user = org.sessions.check_password(form.get("username", ""), form.get("password", ""))
    return _token_reply(org, app, user)


def _refresh_token(org: Org, form: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
    client_id, secret = _credentials(form, headers)
    # The app says whether it needs its secret here, and must be known before it is checked.
    known = org.sessions.apps.get(client_id)
    needs_secret = known.secret_required_for_refresh if known else True
    app = org.sessions.app(client_id, secret, secret_required=needs_secret)
    _allow(app, "refresh_token")

    given = form.get("refresh_token", "")
    user, scope, rotated = org.sessions.redeem_refresh_token(app, given)
    return _token_reply(org, app, user, scope, rotated)


def _authorization_code(org: Org, form: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
    client_id, secret = _credentials(form, headers)
    verifier = form.get("code_verifier")
    # PKCE: the verifier proves what the secret would, so public clients can do without.
    app = org.sessions.app(client_id, secret, secret_required=verifier is None)
    _allow(app, "authorization_code")
    user, scope = org.sessions.redeem_code(
        app, form.get("code", ""), form.get("redirect_uri", ""), verifier
    )

    wants_refresh = {"refresh_token", "offline_access"} & set(scope.split())
    refresh = org.sessions.issue_refresh_token(app, user, scope) if wants_refresh else None
    return _token_reply(org, app, user, scope, refresh)


def _token_reply(
    org: Org, app: App, user: User, scope: str = "api", refresh_token: str | None = None
) -> Reply:
    """Open a session and word the token answer."""
    session = org.sessions.open(app.client_id, user, scope)
    identity = identity_url(org, session.user_id)
    issued_at = str(int(org.clock.now().timestamp() * 1000))

    # Signed with the app's secret: a client can check that the answer was meant for its app.
    digest = hmac.new(app.client_secret.encode(), (identity + issued_at).encode(), hashlib.sha256)
    body = {
        "access_token": session.token,
        "signature": base64.b64encode(digest.digest()).decode(),
        "scope": scope,
        "instance_url": org.base_url,
        "id": identity,
        "token_type": "Bearer",
        "issued_at": issued_at,
    }

    if refresh_token is not None:
        body["refresh_token"] = refresh_token
    if org.options.token_format:
        body["token_format"] = "opaque"  # noqa: S105  a format's name
    return Reply(200, body, NO_STORE)


def identity_url(org: Org, user_id: str) -> str:
    """Give the URL that identifies a user."""
    return f"{org.base_url}/id/{org.store.org_id}/{user_id}"


# The authorization page

_AUTHORIZE_KEYS = (
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "scope",
    "code_challenge",
    "code_challenge_method",
)


def authorize(org: Org, request: Request) -> Reply:
    """Show the sign-in page, or take its form and redirect with a code."""
    values = dict(request.params)
    if request.method == "POST":
        values.update(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))

    app = org.sessions.apps.get(values.get("client_id", ""))
    if app is None:
        return _page(400, "<p>error=invalid_client_id: client identifier invalid</p>")
    # Shown here, never redirected: an unknown address must learn nothing.
    if values.get("redirect_uri", "") not in app.redirect_uris:
        problem = "redirect_uri must match configuration"
        return _page(400, f"<p>error=redirect_uri_mismatch: {problem}</p>")
    if (wrong := _request_error(values)) is not None:
        return _redirect(values, {"error": wrong})

    try:
        user = _sign_in(org, request, app, values)
    except SignInError as error:
        return _sign_in_page(values, error.description)
    if user is None:
        return _sign_in_page(values)

    challenge = values.get("code_challenge")
    scope = values.get("scope", "api refresh_token")
    code = org.sessions.issue_code(app, user, values["redirect_uri"], scope, challenge)
    return _redirect(values, {"code": code})


def _request_error(values: Mapping[str, str]) -> str | None:
    """Give the error code of a request for something else than a code; None if it is right."""
    if values.get("response_type") != "code":
        return "unsupported_response_type"
    if values.get("code_challenge_method", "S256") != "S256":
        return "invalid_request"
    return None


def _sign_in(org: Org, request: Request, app: App, values: Mapping[str, str]) -> User | None:
    """Give the user who signs in on the page; None while nobody has."""
    if request.method == "POST":
        password = values.get("password", "") + _token_of(org, values)
        return org.sessions.check_password(values.get("username", ""), password)
    if org.options.authorize_automatically:
        return org.sessions.login(app.run_as or org.store.integration.username)
    return None


def _token_of(org: Org, values: Mapping[str, str]) -> str:
    """Give the security token, which a person in a browser is not asked for."""
    user = org.store.user_by_name(values.get("username", ""))
    return user.token if user else ""


def _redirect(values: Mapping[str, str], answer: dict[str, str]) -> Reply:
    if "state" in values:
        answer["state"] = values["state"]

    joint = "&" if "?" in values["redirect_uri"] else "?"
    return Reply(302, None, {"Location": values["redirect_uri"] + joint + urlencode(answer)})


def _sign_in_page(values: Mapping[str, str], error: str = "") -> Reply:
    hidden = "".join(
        f'<input type="hidden" name="{key}" value="{escape(values[key])}">'
        for key in _AUTHORIZE_KEYS
        if key in values
    )

    problem = f'<p role="alert">{escape(error)}</p>' if error else ""
    return _page(
        200,
        f'<h1>Log in to the local org</h1>{problem}<form method="post">{hidden}'
        '<label>Username <input name="username" autocomplete="username"></label> '
        '<label>Password <input name="password" type="password"></label> '
        "<button>Log in and allow</button></form>",
    )


def _page(status: int, content: str) -> Reply:
    document = f"<!doctype html><html lang='en'><title>Login | Salesforce</title>{content}</html>"
    return Reply(status, document, content_type="text/html; charset=UTF-8")


# After signing in


def bearer(headers: Mapping[str, str]) -> str:
    """Read the token out of the Authorization header; empty when there is none."""
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() in ("bearer", "oauth") else ""


def userinfo(org: Org, request: Request) -> Reply:
    """Answer ``/services/oauth2/userinfo`` and the identity URL."""
    session = org.sessions.use(bearer(request.headers))
    if session is None:
        return Reply(403, "Bad_OAuth_Token", content_type="text/html; charset=UTF-8")

    user = org.store.user(session.user_id)
    rest = f"{org.base_url}/services/data/v{{version}}/"
    return Reply(
        200,
        {
            "sub": identity_url(org, user.id),
            "user_id": user.id,
            "organization_id": org.store.org_id,
            "preferred_username": user.username,
            "nickname": user.username.partition("@")[0],
            "name": user.name,
            "email": user.email,
            "email_verified": True,
            "active": user.is_active,
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "en_US",
            "zoneinfo": "Etc/UTC",
            "urls": {
                "rest": rest,
                "sobjects": rest + "sobjects/",
                "query": rest + "query/",
                "custom_domain": org.base_url,
            },
        },
    )


def introspect(org: Org, request: Request) -> Reply:
    """Answer ``POST /services/oauth2/introspect`` for an app that shows its credentials."""
    form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))

    try:
        org.sessions.app(*_credentials(form, request.headers))
    except SignInError as error:
        return Reply(401, {"error": error.code, "error_description": error.description})

    session = org.sessions.peek(form.get("token", ""))
    if session is None:
        return Reply(200, {"active": False})
    return Reply(200, _introspection(org, session))


def _introspection(org: Org, session: Session) -> dict[str, object]:
    return {
        "active": True,
        "scope": session.scope,
        "client_id": session.client_id,
        "username": session.username,
        "sub": identity_url(org, session.user_id),
        "token_type": "access_token",
        "exp": int(session.used_at + org.options.session_seconds),
        "iat": int(session.used_at),
        "nbf": int(session.used_at),
    }


def revoke(org: Org, request: Request) -> Reply:
    """Answer ``/services/oauth2/revoke``."""
    form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
    given = form.get("token") or request.params.get("token", "")
    if org.sessions.revoke(given):
        return Reply(200)
    return Reply(
        400, {"error": "unsupported_token_type", "error_description": "this token is not known"}
    )


# SOAP login

_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"{more}>'
    "<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
)
_FAULT_NAMESPACES = (
    ' xmlns:sf="urn:fault.partner.soap.sforce.com"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


def soap_login(org: Org, request: Request) -> Reply:
    """Answer ``login()`` at ``/services/Soap/u/{version}``; nothing else of SOAP is known."""
    try:
        number = float(request.path.rstrip("/").rpartition("/")[2])
    except ValueError:
        number = 0.0

    if not SOAP_VERSION_MIN <= number <= SOAP_VERSION_MAX:
        return _soap_fault("UNSUPPORTED_API_VERSION", "login() is in versions 31.0 to 64.0 only")

    found = _soap_credentials(request.body)
    if found is None:
        return _soap_fault("INVALID_OPERATION", "this org answers no SOAP call but login()")
    if not org.options.soap_login:
        return _soap_fault("INVALID_OPERATION", "SOAP API login() is disabled in this org")

    try:
        user = org.sessions.check_password(*found)
    except SignInError as error:
        if "locked" in error.description:
            return _soap_fault("LOGIN_MUST_USE_SECURITY_TOKEN", "user is locked out")
        return _soap_fault(
            "INVALID_LOGIN", "Invalid username, password, security token; or user locked out."
        )

    session = org.sessions.open("SOAP", user, "full")
    server_url = f"{org.base_url}/services/Soap/u/{number}/{org.store.org_id[:15]}"
    result = (
        '<loginResponse xmlns="urn:partner.soap.sforce.com"><result>'
        f"<metadataServerUrl>{server_url.replace('/u/', '/m/')}</metadataServerUrl>"
        f"<passwordExpired>false</passwordExpired><sandbox>false</sandbox>"
        f"<serverUrl>{server_url}</serverUrl><sessionId>{escape(session.token)}</sessionId>"
        f"<userId>{user.id}</userId><userInfo>"
        f"<organizationId>{org.store.org_id}</organizationId>"
        f"<userName>{escape(user.username)}</userName>"
        f"<sessionSecondsValid>{org.options.session_seconds}</sessionSecondsValid>"
        "</userInfo></result></loginResponse>"
    )
    return _xml(200, _ENVELOPE.format(more="", body=result))


def _soap_credentials(body: bytes) -> tuple[str, str] | None:
    """Read user name and password of a login envelope; None for anything else.

    Entities are refused: a login envelope has no use for a document type.
    """
    if b"<!DOCTYPE" in body:
        return None

    try:
        root = ET.fromstring(body)  # noqa: S314  no document type, see above
    except ET.ParseError:
        return None

    login = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "login"), None)
    if login is None:
        return None
    parts = {child.tag.rpartition("}")[2]: child.text or "" for child in login}
    return parts.get("username", ""), parts.get("password", "")


def _soap_fault(code: str, message: str) -> Reply:
    text = escape(f"{code}: {message}")
    fault = (
        f"<soapenv:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring>"
        '<detail><sf:LoginFault xsi:type="sf:LoginFault">'
        f"<sf:exceptionCode>{code}</sf:exceptionCode>"
        f"<sf:exceptionMessage>{escape(message)}</sf:exceptionMessage>"
        "</sf:LoginFault></detail></soapenv:Fault>"
    )
    return _xml(500, _ENVELOPE.format(more=_FAULT_NAMESPACES, body=fault))


def _xml(status: int, document: str) -> Reply:
    return Reply(status, document, content_type="text/xml; charset=UTF-8")
