"""Which connection the environment describes, and what is wrong with it (R3)."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from pipeline.core.errors import ConfigurationError
from resources.salesforce.calls import Timeouts
from resources.salesforce.connection import (
    ClientCredentials,
    FileTokenStore,
    JwtBearer,
    RefreshToken,
    UsernamePassword,
    checked_login_url,
    connection_from_environment,
)
from resources.salesforce.transport import OrgAdapter, OrgClock, open_http_session

MY_DOMAIN = "https://acme.my.salesforce.com"


def environment(**variables: str) -> dict[str, str]:
    """Return variables with the prefix and the org's address."""
    return {
        "SALESFORCE_LOGIN_URL": MY_DOMAIN,
        **{f"SALESFORCE_{name}": value for name, value in variables.items()},
    }


def problems(env: dict[str, str]) -> str:
    """Return what is wrong with `env`."""
    with pytest.raises(ConfigurationError) as caught:
        connection_from_environment(env)
    return "\n".join(caught.value.problems)


def test_client_id_and_secret_are_client_credentials() -> None:
    assert connection_from_environment(
        environment(CLIENT_ID="id", CLIENT_SECRET="secret")
    ) == ClientCredentials(MY_DOMAIN, "id", "secret")


def test_a_private_key_is_the_jwt_flow(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("PEM\n")

    assert connection_from_environment(
        environment(CLIENT_ID="id", USERNAME="u", PRIVATE_KEY_FILE=str(key))
    ) == JwtBearer(MY_DOMAIN, "id", "u", "PEM")


def test_a_refresh_token_in_a_file_is_kept_in_that_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    connection = connection_from_environment(
        environment(CLIENT_ID="id", REFRESH_TOKEN_FILE=str(file))
    )
    assert isinstance(connection, RefreshToken)
    assert isinstance(connection.token_store, FileTokenStore)
    assert connection.token_store.read() == "old"

    connection.token_store.write("new")

    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [file]


def test_a_token_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    store = FileTokenStore(tmp_path / "none" / "token")
    for use in (store.read, lambda: store.write("new")):
        with pytest.raises(ConfigurationError, match="SALESFORCE_REFRESH_TOKEN_FILE names"):
            use()


def test_a_password_is_the_old_flow_with_or_without_an_app() -> None:
    assert connection_from_environment(
        environment(USERNAME="u", PASSWORD="p", SECURITY_TOKEN="t")
    ) == UsernamePassword(MY_DOMAIN, "u", "p", "t")
    assert connection_from_environment(
        environment(USERNAME="u", PASSWORD="p", CLIENT_ID="id", CLIENT_SECRET="s")
    ) == UsernamePassword(MY_DOMAIN, "u", "p", "", "id", "s")


def test_each_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from file\n")
    connection = connection_from_environment(
        environment(CLIENT_ID="id", CLIENT_SECRET_FILE=str(file))
    )

    assert isinstance(connection, ClientCredentials)
    assert connection.client_secret == "from file"


def test_secrets_never_show_in_a_repr(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hidden")
    connections = [
        ClientCredentials(MY_DOMAIN, "id", "hidden"),
        JwtBearer(MY_DOMAIN, "id", "u", "hidden"),
        UsernamePassword(MY_DOMAIN, "u", "hidden", "hidden", "id", "hidden"),
        connection_from_environment(environment(CLIENT_ID="id", REFRESH_TOKEN="hidden")),
    ]

    assert "hidden" not in repr(connections)


def test_every_problem_is_named_at_once_with_its_variable(tmp_path: Path) -> None:
    text = problems({"SALESFORCE_CLIENT_SECRET_FILE": str(tmp_path / "none")})

    assert "SALESFORCE_LOGIN_URL is not set" in text
    assert "SALESFORCE_CLIENT_ID is not set" in text
    assert f"SALESFORCE_CLIENT_SECRET_FILE names {tmp_path / 'none'}" in text


def test_an_empty_file_and_a_secret_given_twice_are_named(tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.write_text("\n")

    assert "is empty" in problems(environment(CLIENT_ID="id", CLIENT_SECRET_FILE=str(file)))
    assert "both set" in problems(
        environment(CLIENT_ID="id", CLIENT_SECRET="s", CLIENT_SECRET_FILE=str(file))
    )


def test_two_ways_to_sign_in_are_one_too_many() -> None:
    text = problems(environment(CLIENT_ID="id", REFRESH_TOKEN="r", PASSWORD="p"))

    assert "SALESFORCE_REFRESH_TOKEN and SALESFORCE_PASSWORD are both set" in text


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("acme.my.salesforce.com", "not a web address"),
        ("http://acme.my.salesforce.com", "must begin with https"),
        ("http://127.0.0.1.example.com", "must begin with https"),
        ("https://acme.lightning.force.com", "my.salesforce.com"),
        ("https://acme.my.salesforce.com/services", "leave /services out"),
    ],
)
def test_addresses_that_cannot_work_are_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        checked_login_url(url)


@pytest.mark.parametrize("host", ["127.0.0.1:8788", "localhost:8788", "[::1]:8788", "127.8.9.1"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    assert checked_login_url(f"http://{host}/") == f"http://{host}"


@pytest.mark.parametrize("host", ["login", "test"])
def test_client_credentials_need_the_my_domain(host: str) -> None:
    text = problems(
        environment(CLIENT_ID="id", CLIENT_SECRET="s")
        | {"SALESFORCE_LOGIN_URL": f"https://{host}.salesforce.com"}
    )

    assert "My Domain" in text


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("https://test.salesforce.com", "https://test.salesforce.com"),
        ("https://acme--dev.sandbox.my.salesforce.com", "https://test.salesforce.com"),
        ("https://login.salesforce.com", "https://login.salesforce.com"),
        (MY_DOMAIN, "https://login.salesforce.com"),
    ],
)
def test_a_sandbox_has_its_own_audience(url: str, audience: str) -> None:
    assert JwtBearer(url, "id", "u", "k").audience == audience


def http_session(*, loopback: bool) -> requests.Session:
    """Return a session as the client opens it."""
    adapter = OrgAdapter(
        loopback=loopback,
        timeouts=Timeouts(),
        on_call=lambda _: None,
        on_usage=lambda _: None,
        clock=OrgClock(),
    )
    return open_http_session(adapter, loopback=loopback)


def test_a_client_of_a_real_org_cannot_speak_plain_http() -> None:
    with http_session(loopback=False) as http, pytest.raises(requests.exceptions.InvalidSchema):
        http.get("http://127.0.0.1:9/")


def test_an_org_on_this_machine_cannot_send_us_elsewhere() -> None:
    with http_session(loopback=True) as http, pytest.raises(requests.exceptions.InvalidURL):
        http.get("https://acme.my.salesforce.com/")


def test_netrc_does_not_replace_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with http_session(loopback=False) as http:
        prepared = http.prepare_request(
            requests.Request("GET", MY_DOMAIN, headers={"Authorization": "Bearer token"})
        )

    assert prepared.headers["Authorization"] == "Bearer token"
