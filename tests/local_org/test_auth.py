"""Signing in, by every flow, and how long it lasts (API notes, section 1)."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from local_org import launch
from tests.local_org.support import Api, error

pytestmark = pytest.mark.slow

PASSWORD = launch.PASSWORD + launch.SECURITY_TOKEN
CALLBACK = "http://localhost:8788/callback"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def ask(org: launch.RunningOrg, **form: str) -> requests.Response:
    """Ask the token endpoint."""
    return requests.post(f"{org.base_url}/services/oauth2/token", data=form, timeout=30)


def me(org: launch.RunningOrg, token: str) -> requests.Response:
    """Ask who the token belongs to."""
    return requests.get(
        f"{org.base_url}/services/oauth2/userinfo",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )


def test_client_credentials_in_the_body_give_a_token_of_salesforces_shape(
    org: launch.RunningOrg,
) -> None:
    answer = ask(
        org,
        grant_type="client_credentials",
        client_id=launch.CLIENT_ID,
        client_secret=launch.CLIENT_SECRET,
    )
    body = answer.json()

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert body["access_token"].startswith(org.org_id[:15] + "!")
    assert body["instance_url"] == org.base_url
    assert body["token_type"] == "Bearer"
    assert body["token_format"] == "opaque"
    assert body["issued_at"].isdigit()
    assert "expires_in" not in body
    assert "refresh_token" not in body
    assert f"/id/{org.org_id}/005" in body["id"]


def test_client_credentials_in_a_basic_header_are_taken_too(org: launch.RunningOrg) -> None:
    answer = requests.post(
        f"{org.base_url}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(launch.CLIENT_ID, launch.CLIENT_SECRET),
        timeout=30,
    )

    assert answer.status_code == 200
    user = me(org, answer.json()["access_token"]).json()
    assert user["preferred_username"] == launch.USERNAME


def test_client_credentials_are_refused_on_the_generic_login_hosts(org: launch.RunningOrg) -> None:
    answer = requests.post(
        f"{org.base_url}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(launch.CLIENT_ID, launch.CLIENT_SECRET),
        headers={"Host": "login.salesforce.com"},
        timeout=30,
    )

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (
            {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"},
            "invalid_client_id",
        ),
        (
            {
                "grant_type": "client_credentials",
                "client_id": launch.CLIENT_ID,
                "client_secret": "wrong",
            },
            "invalid_client",
        ),
        ({"grant_type": "device"}, "unsupported_grant_type"),
        ({}, "invalid_request"),
        (
            {
                "grant_type": "refresh_token",
                "refresh_token": "x",
                "client_id": launch.CLIENT_ID,
                "client_secret": launch.CLIENT_SECRET,
            },
            "invalid_grant",
        ),
        (
            {
                "grant_type": "password",
                "client_id": launch.CLIENT_ID,
                "client_secret": launch.CLIENT_SECRET,
                "username": "nobody@x",
                "password": "y",
            },
            "invalid_grant",
        ),
    ],
)
def test_a_refused_sign_in_is_a_400_with_oauths_words(
    org: launch.RunningOrg, form: dict[str, str], code: str
) -> None:
    answer = ask(org, **form)

    assert answer.status_code == 400
    assert answer.json()["error"] == code
    assert answer.json()["error_description"]


def test_the_status_of_invalid_client_can_be_switched(org: launch.RunningOrg) -> None:
    org.set_options(invalid_client_status=401)

    answer = ask(
        org, grant_type="client_credentials", client_id=launch.CLIENT_ID, client_secret="wrong"
    )

    assert answer.status_code == 401


def test_user_name_and_password_need_the_security_token(org: launch.RunningOrg) -> None:
    form = {
        "grant_type": "password",
        "client_id": launch.CLIENT_ID,
        "client_secret": launch.CLIENT_SECRET,
        "username": launch.USERNAME,
    }

    assert ask(org, **form, password=PASSWORD).status_code == 200
    assert ask(org, **form, password=launch.PASSWORD).json()["error"] == "invalid_grant"


def test_the_password_flow_can_be_blocked(org: launch.RunningOrg) -> None:
    org.set_options(password_grant=False)

    answer = ask(
        org,
        grant_type="password",
        client_id=launch.CLIENT_ID,
        client_secret=launch.CLIENT_SECRET,
        username=launch.USERNAME,
        password=PASSWORD,
    )

    assert answer.json()["error"] == "invalid_grant"


def test_ten_wrong_passwords_lock_the_user_until_unlocked(org: launch.RunningOrg) -> None:
    org.control("POST", "users", {"username": "locked@local.example"})
    form = {
        "grant_type": "password",
        "client_id": launch.CLIENT_ID,
        "client_secret": launch.CLIENT_SECRET,
        "username": "locked@local.example",
    }
    for _ in range(10):
        ask(org, **form, password="wrong")

    refused = ask(org, **form, password=PASSWORD)
    assert refused.json()["error_description"] == "user is locked"

    org.control("POST", "users", {"username": "locked@local.example", "unlock": True})
    assert ask(org, **form, password=PASSWORD).status_code == 200


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """A key pair for JWT bearer."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def jwt_app(org: launch.RunningOrg, key: rsa.RSAPrivateKey) -> str:
    """An app with that key, approved for the integration user alone."""
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    org.control(
        "POST",
        "apps",
        {
            "client_id": "jwt-client",
            "client_secret": "s",
            "public_key": public.decode(),
            "approved_users": [launch.USERNAME],
        },
    )
    return "jwt-client"


def assertion(key: rsa.RSAPrivateKey, **changes: object) -> str:
    """Sign claims that are right but for the changes."""
    claims: dict[str, object] = {
        "iss": "jwt-client",
        "sub": launch.USERNAME,
        "aud": "https://login.salesforce.com",
        "exp": str(int((datetime.now(UTC) + timedelta(minutes=3)).timestamp())),
    }
    return jwt.encode({**claims, **changes}, key, algorithm="RS256")


def test_a_signed_jwt_gives_a_token_without_a_refresh_token(
    org: launch.RunningOrg, key: rsa.RSAPrivateKey, jwt_app: str
) -> None:
    for audience in ("https://login.salesforce.com", "https://test.salesforce.com", org.base_url):
        answer = ask(org, grant_type=JWT_GRANT, assertion=assertion(key, aud=audience))

        assert answer.status_code == 200, answer.text
        assert "refresh_token" not in answer.json()


@pytest.mark.parametrize(
    ("changes", "description"),
    [
        ({"aud": "https://elsewhere.example"}, "audience is invalid"),
        ({"exp": 1_000_000_000}, "expired authorization code"),
        ({"exp": 9_999_999_999}, "assertion expires too far in the future"),
        ({"sub": "admin@local.example"}, "user hasn't approved this consumer"),
        ({"iss": "nobody"}, "client identifier invalid"),
    ],
)
def test_a_wrong_jwt_is_refused_with_the_reason(
    org: launch.RunningOrg,
    key: rsa.RSAPrivateKey,
    jwt_app: str,
    changes: dict[str, object],
    description: str,
) -> None:
    answer = ask(org, grant_type=JWT_GRANT, assertion=assertion(key, **changes))

    assert answer.status_code == 400
    assert answer.json()["error_description"] == description


def test_a_jwt_signed_by_another_key_is_refused(org: launch.RunningOrg, jwt_app: str) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    answer = ask(org, grant_type=JWT_GRANT, assertion=assertion(other))

    assert answer.json()["error_description"] == "invalid assertion"


def authorize(org: launch.RunningOrg, **more: str) -> requests.Response:
    """Sign in on the authorization page and give its redirect."""
    params = {
        "response_type": "code",
        "client_id": launch.CLIENT_ID,
        "redirect_uri": CALLBACK,
        "state": "abc",
        **more,
    }
    page = requests.get(f"{org.base_url}/services/oauth2/authorize", params=params, timeout=30)
    assert "<form" in page.text
    return requests.post(
        f"{org.base_url}/services/oauth2/authorize",
        params=params,
        data={"username": launch.USERNAME, "password": launch.PASSWORD},
        allow_redirects=False,
        timeout=30,
    )


def code_of(redirect: requests.Response) -> str:
    """Read the code out of a redirect."""
    values = parse_qs(urlsplit(redirect.headers["Location"]).query)
    assert values["state"] == ["abc"]
    return values["code"][0]


def redeem(org: launch.RunningOrg, code: str, **more: str) -> requests.Response:
    """Change a code for tokens."""
    form = {
        "grant_type": "authorization_code",
        "client_id": launch.CLIENT_ID,
        "client_secret": launch.CLIENT_SECRET,
        "redirect_uri": CALLBACK,
    }
    return ask(org, **{**form, "code": code, **more})


def refresh(org: launch.RunningOrg, token: str) -> requests.Response:
    """Change a refresh token for an access token."""
    return ask(
        org,
        grant_type="refresh_token",
        refresh_token=token,
        client_id=launch.CLIENT_ID,
        client_secret=launch.CLIENT_SECRET,
    )


def test_an_authorization_code_gives_both_tokens_once(org: launch.RunningOrg) -> None:
    code = code_of(authorize(org, scope="api refresh_token"))

    first, second = redeem(org, code), redeem(org, code)

    assert first.json()["refresh_token"]
    assert first.json()["scope"] == "api refresh_token"
    assert second.json()["error"] == "invalid_grant"


def test_without_the_scope_there_is_no_refresh_token(org: launch.RunningOrg) -> None:
    tokens = redeem(org, code_of(authorize(org, scope="api"))).json()

    assert "refresh_token" not in tokens


def test_a_code_expires_after_ten_minutes_on_the_orgs_clock(org: launch.RunningOrg) -> None:
    code = code_of(authorize(org))
    org.control("POST", "clock", {"advance_seconds": 601})

    assert redeem(org, code).json()["error_description"] == "expired authorization code"


def test_a_code_with_a_challenge_needs_its_verifier_and_then_no_secret(
    org: launch.RunningOrg,
) -> None:
    verifier = "v" * 64
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    more = {"code_challenge": challenge.rstrip(b"=").decode(), "code_challenge_method": "S256"}

    wrong = redeem(org, code_of(authorize(org, **more)), code_verifier="w" * 64)
    right = ask(
        org,
        grant_type="authorization_code",
        client_id=launch.CLIENT_ID,
        redirect_uri=CALLBACK,
        code=code_of(authorize(org, **more)),
        code_verifier=verifier,
    )

    assert wrong.json()["error"] == "invalid_grant"
    assert right.status_code == 200


def test_a_redirect_uri_that_is_not_the_apps_is_refused_without_redirecting(
    org: launch.RunningOrg,
) -> None:
    answer = requests.get(
        f"{org.base_url}/services/oauth2/authorize",
        params={
            "response_type": "code",
            "client_id": launch.CLIENT_ID,
            "redirect_uri": "http://evil.example/",
        },
        allow_redirects=False,
        timeout=30,
    )

    assert answer.status_code == 400
    assert "redirect_uri_mismatch" in answer.text


def test_the_page_can_redirect_without_asking(org: launch.RunningOrg) -> None:
    org.set_options(authorize_automatically=True)

    answer = requests.get(
        f"{org.base_url}/services/oauth2/authorize",
        params={
            "response_type": "code",
            "client_id": launch.CLIENT_ID,
            "redirect_uri": CALLBACK,
            "state": "abc",
        },
        allow_redirects=False,
        timeout=30,
    )

    assert redeem(org, code_of(answer)).status_code == 200


def test_a_refresh_token_serves_again_and_again(org: launch.RunningOrg) -> None:
    token = redeem(org, code_of(authorize(org))).json()["refresh_token"]

    first, second = refresh(org, token), refresh(org, token)

    assert first.status_code == second.status_code == 200
    assert "refresh_token" not in first.json()
    assert first.json()["access_token"] != second.json()["access_token"]


def test_with_rotation_a_refresh_token_dies_when_used(org: launch.RunningOrg) -> None:
    org.set_options(refresh_token_rotation=True)
    token = redeem(org, code_of(authorize(org))).json()["refresh_token"]

    first, again = refresh(org, token), refresh(org, token)

    assert first.json()["refresh_token"] != token
    assert again.json()["error_description"] == "expired access/refresh token"
    assert refresh(org, first.json()["refresh_token"]).status_code == 200


ENVELOPE = """<?xml version="1.0" encoding="utf-8" ?>
<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body>
<n1:login xmlns:n1="urn:partner.soap.sforce.com"><n1:username>{username}</n1:username>
<n1:password>{password}</n1:password></n1:login></env:Body></env:Envelope>"""


def soap(org: launch.RunningOrg, version: str, password: str) -> requests.Response:
    """Log in over SOAP."""
    return requests.post(
        f"{org.base_url}/services/Soap/u/{version}",
        data=ENVELOPE.format(username=launch.USERNAME, password=password),
        headers={"content-type": "text/xml", "SOAPAction": "login"},
        timeout=30,
    )


def test_soap_login_gives_a_session_that_rest_accepts(org: launch.RunningOrg) -> None:
    answer = soap(org, "59.0", PASSWORD)

    assert answer.status_code == 200
    assert "<serverUrl>" in answer.text
    token = answer.text.split("<sessionId>")[1].split("</sessionId>")[0]
    assert me(org, token).status_code == 200


def test_soap_login_fails_with_an_exception_code(org: launch.RunningOrg) -> None:
    answer = soap(org, "59.0", "wrong")

    assert answer.status_code == 500
    assert "<sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>" in answer.text


@pytest.mark.parametrize("version", ["30.0", "65.0"])
def test_soap_login_is_in_31_to_64_only(org: launch.RunningOrg, version: str) -> None:
    answer = soap(org, version, PASSWORD)

    assert answer.status_code == 500
    assert "UNSUPPORTED_API_VERSION" in answer.text


def test_soap_login_can_be_off(org: launch.RunningOrg) -> None:
    org.set_options(soap_login=False)

    assert soap(org, "59.0", PASSWORD).status_code == 500


def test_a_session_expires_by_inactivity_alone(org: launch.RunningOrg, api: Api) -> None:
    for _ in range(3):
        org.control("POST", "clock", {"advance_seconds": 5000})
        assert api.get("limits").status_code == 200
    org.control("POST", "clock", {"advance_seconds": 7201})

    answer = api.get("limits")

    assert answer.status_code == 401
    assert error(answer) == {
        "message": "Session expired or invalid",
        "errorCode": "INVALID_SESSION_ID",
    }


def test_use_in_the_first_half_of_the_time_out_does_not_prolong_it(
    org: launch.RunningOrg, api: Api
) -> None:
    org.control("POST", "clock", {"advance_seconds": 3000})
    assert api.get("limits").status_code == 200
    org.control("POST", "clock", {"advance_seconds": 4300})

    assert api.get("limits").status_code == 401


def test_sessions_can_be_shared_so_that_one_revocation_ends_both(org: launch.RunningOrg) -> None:
    org.set_options(shared_session=True)
    one = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
    two = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
    assert one.access_token == two.access_token

    revoked = requests.post(
        f"{org.base_url}/services/oauth2/revoke", data={"token": one.access_token}, timeout=30
    )

    assert revoked.status_code == 200
    assert two.get("limits").status_code == 401


def test_a_call_without_a_bearer_token_is_a_401(org: launch.RunningOrg) -> None:
    answer = requests.get(f"{org.base_url}/services/data/v62.0/limits", timeout=30)

    assert answer.status_code == 401
    assert error(answer)["errorCode"] == "INVALID_AUTH_HEADER"


def test_userinfo_names_user_and_org(org: launch.RunningOrg, api: Api) -> None:
    body = me(org, api.access_token).json()

    assert body["organization_id"] == org.org_id
    assert body["user_id"].startswith("005")
    assert body["preferred_username"] == launch.USERNAME


def test_introspection_says_whether_a_token_is_active(org: launch.RunningOrg, api: Api) -> None:
    url = f"{org.base_url}/services/oauth2/introspect"
    who = (launch.CLIENT_ID, launch.CLIENT_SECRET)

    live = requests.post(url, data={"token": api.access_token}, auth=who, timeout=30)
    dead = requests.post(url, data={"token": "x"}, auth=who, timeout=30)

    assert live.json()["active"] is True
    assert live.json()["username"] == launch.USERNAME
    assert dead.json() == {"active": False}


def test_the_list_of_versions_needs_no_session_and_costs_nothing(org: launch.RunningOrg) -> None:
    before = org.calls()["total"]

    answer = requests.get(f"{org.base_url}/services/data/", timeout=30)

    assert {
        "label": "Summer '14",
        "url": "/services/data/v31.0",
        "version": "31.0",
    } in answer.json()
    assert answer.json()[-1]["label"] == "Summer '26"
    assert "Sforce-Limit-Info" not in answer.headers
    assert org.calls()["total"] == before
