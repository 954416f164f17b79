"""Signing in to an org by each flow, and staying signed in (R3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from local_org.launch import (
    CLIENT_ID,
    CLIENT_SECRET,
    PASSWORD,
    SECURITY_TOKEN,
    USERNAME,
    RunningOrg,
)
from resources.salesforce.calls import ApiCall
from resources.salesforce.client import Salesforce
from resources.salesforce.connection import (
    ClientCredentials,
    Connection,
    FileTokenStore,
    JwtBearer,
    MemoryTokenStore,
    RefreshToken,
    UsernamePassword,
)
from resources.salesforce.errors import OrgUnavailable, SessionLost, SignInRefused

MakeClient = Callable[..., Salesforce]

REDIRECT = "http://localhost:1717/callback"


def check_signed_in(client: Salesforce, org: RunningOrg) -> None:
    """Check who and where the client is, and that it may call."""
    assert client.org_id == org.org_id
    assert len(client.org_id) == 18
    assert client.user_id.startswith("005")
    assert client.instance_url == org.base_url
    assert client.describe("Lead").name == "Lead"


def key_pair() -> tuple[str, str]:
    """Return a new private key and its public key, as PEM text."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode(), public.decode()


def first_refresh_token(org: RunningOrg) -> str:
    """Return a refresh token as a person gets one, through the browser."""
    org.control("POST", "apps", {"client_id": CLIENT_ID, "redirect_uris": [REDIRECT]})
    page = requests.post(
        f"{org.base_url}/services/oauth2/authorize",
        params={"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": REDIRECT},
        data={"username": USERNAME, "password": PASSWORD},
        allow_redirects=False,
        timeout=10,
    )
    code = parse_qs(urlsplit(page.headers["Location"]).query)["code"][0]
    answer = requests.post(
        f"{org.base_url}/services/oauth2/token",
        data={
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        },
        timeout=10,
    )
    token: str = answer.json()["refresh_token"]
    return token


def test_client_credentials_sign_in_by_one_call(org: RunningOrg, client_for: MakeClient) -> None:
    calls: list[ApiCall] = []
    client = client_for(on_call=calls.append)

    assert client.org_id == org.org_id
    assert [call.kind for call in calls] == ["sign-in"]
    check_signed_in(client, org)


def test_a_signed_assertion_signs_in(org: RunningOrg, client_for: MakeClient) -> None:
    private, public = key_pair()
    org.control(
        "POST",
        "apps",
        {"client_id": "jwt-app", "public_key": public, "approved_users": [USERNAME]},
    )

    check_signed_in(client_for(JwtBearer(org.base_url, "jwt-app", USERNAME, private)), org)


def test_an_assertion_signed_with_another_key_is_refused(
    org: RunningOrg, client_for: MakeClient
) -> None:
    org.control("POST", "apps", {"client_id": "jwt-app", "public_key": key_pair()[1]})
    client = client_for(JwtBearer(org.base_url, "jwt-app", USERNAME, key_pair()[0]))

    with pytest.raises(SignInRefused, match="invalid_grant"):
        _ = client.org_id


def test_text_that_is_no_key_is_refused_before_anything_is_sent(
    org: RunningOrg, client_for: MakeClient
) -> None:
    client = client_for(JwtBearer(org.base_url, "jwt-app", USERNAME, "not a key"))

    with pytest.raises(SignInRefused, match="SALESFORCE_PRIVATE_KEY") as caught:
        _ = client.org_id

    assert "not a key" not in str(caught.value)
    assert org.calls()["log"] == []


def test_a_refresh_token_signs_in(org: RunningOrg, client_for: MakeClient) -> None:
    store = MemoryTokenStore(first_refresh_token(org))

    check_signed_in(client_for(RefreshToken(org.base_url, CLIENT_ID, CLIENT_SECRET, store)), org)


def test_a_rotated_refresh_token_is_stored_before_it_is_needed(
    org: RunningOrg, client_for: MakeClient, token_file: Path
) -> None:
    first = first_refresh_token(org)
    token_file.write_text(first)
    org.set_options(refresh_token_rotation=True)
    connection = RefreshToken(org.base_url, CLIENT_ID, CLIENT_SECRET, FileTokenStore(token_file))

    check_signed_in(client_for(connection), org)
    assert token_file.read_text() != first
    check_signed_in(client_for(connection), org)


def test_name_and_password_sign_in_with_an_app(org: RunningOrg, client_for: MakeClient) -> None:
    connection = UsernamePassword(
        org.base_url, USERNAME, PASSWORD, SECURITY_TOKEN, CLIENT_ID, CLIENT_SECRET
    )

    check_signed_in(client_for(connection), org)


def test_soap_login_signs_in_and_asks_for_the_org_by_one_more_call(
    org: RunningOrg, client_for: MakeClient
) -> None:
    calls: list[ApiCall] = []
    client = client_for(
        UsernamePassword(org.base_url, USERNAME, PASSWORD, SECURITY_TOKEN), on_call=calls.append
    )

    assert client.org_id == org.org_id
    assert [call.kind for call in calls] == ["sign-in", "identity"]
    check_signed_in(client, org)


def wrong_connections(org: RunningOrg) -> list[Connection]:
    """Return connections whose secrets the org does not know."""
    return [
        ClientCredentials(org.base_url, CLIENT_ID, "wr0ng"),
        ClientCredentials(org.base_url, "nobody", "wr0ng"),
        RefreshToken(org.base_url, CLIENT_ID, CLIENT_SECRET, MemoryTokenStore("wr0ng")),
        UsernamePassword(org.base_url, USERNAME, "wr0ng", SECURITY_TOKEN),
        UsernamePassword(org.base_url, USERNAME, "wr0ng", "", CLIENT_ID, CLIENT_SECRET),
    ]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("status", [400, 401])
def test_wrong_credentials_are_sent_once_and_never_shown(
    org: RunningOrg, client_for: MakeClient, number: int, status: int
) -> None:
    org.set_options(invalid_client_status=status)
    client = client_for(wrong_connections(org)[number])

    for _ in range(2):
        with pytest.raises(SignInRefused) as caught:
            client.describe("Lead")

    assert len(org.calls()["log"]) == 1
    assert caught.value.code
    assert caught.value.exit_code == 2
    assert "SALESFORCE_" in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    org.control("POST", "users", {"username": USERNAME, "unlock": True})


@pytest.mark.parametrize("kind", ["http_503", "drop_before", "drop_after", "truncate", "http_500"])
def test_a_passing_fault_at_sign_in_is_tried_again(
    org: RunningOrg, client: Salesforce, kind: str
) -> None:
    org.arm(kind, path="/oauth2/token", count=2)

    check_signed_in(client, org)
    assert org.fault_count() == 2


def test_soap_login_is_tried_again_when_the_org_is_down(
    org: RunningOrg, client_for: MakeClient
) -> None:
    org.arm("http_503", path="/services/Soap", count=2)

    check_signed_in(
        client_for(UsernamePassword(org.base_url, USERNAME, PASSWORD, SECURITY_TOKEN)), org
    )
    assert org.fault_count() == 2


def test_an_org_that_stays_away_is_given_up_with_its_reason(client_for: MakeClient) -> None:
    client = client_for(ClientCredentials("http://127.0.0.1:9", "id", "secret"))

    with pytest.raises(
        OrgUnavailable, match=r"connection to the org at .* could not be made"
    ) as caught:
        client.describe("Lead")

    assert caught.value.exit_code == 3
    assert not caught.value.may_have_happened


def test_a_lost_session_is_renewed_and_the_call_repeated(
    org: RunningOrg, client: Salesforce
) -> None:
    client.describe("Lead")
    org.control("DELETE", "sessions")
    org.control("DELETE", "calls")

    assert client.describe("Contact").name == "Contact"
    assert [call["status"] for call in org.calls()["log"]] == [401, 200, 200]


def test_a_session_that_is_lost_again_at_once_is_given_up(
    org: RunningOrg, client: Salesforce
) -> None:
    org.arm("expire_session", path="/describe", count=2)

    with pytest.raises(SessionLost) as caught:
        client.describe("Lead")

    assert caught.value.code == "INVALID_SESSION_ID"
    assert [call["status"] for call in org.calls()["log"]] == [200, 401, 200, 401]
