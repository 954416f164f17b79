"""`insights login`: a person in the browser, a code on this machine, a token for its owner's eyes only (R3)."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from local_org.launch import CLIENT_ID, CLIENT_SECRET, PASSWORD, USERNAME, RunningOrg
from pipeline.core.errors import ConfigurationError
from pipeline.steps.setting_up.login import log_in
from resources.environment import login_file
from resources.salesforce.browser import LoginNotFinished
from resources.salesforce.client import Salesforce
from resources.salesforce.connection import (
    ClientCredentials,
    RefreshToken,
    UsernamePassword,
    connection_from_environment,
    login_app,
)
from resources.salesforce.errors import LoginRevoked, SignInRefused
from tests.steps.conftest import Desk

ROOT = Path(__file__).parents[2]
Browser = Callable[[str], None]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
def port(plain_org: RunningOrg) -> Iterator[int]:
    """Give a port whose callback URL stands in the app."""
    number = free_port()
    uri = f"http://localhost:{number}/callback"
    app = {"client_id": CLIENT_ID, "redirect_uris": [uri], "secret_required_for_refresh": True}
    plain_org.control("POST", "apps", {**app, "rotate_refresh_tokens": False})
    yield number
    plain_org.control("POST", "apps", {**app, "rotate_refresh_tokens": False})


@pytest.fixture
def app(plain_desk: Desk) -> RefreshToken:
    """Describe the app as the variables do."""
    plain_desk.home.mkdir()
    return login_app(os.environ, login_file())


def person(url: str, password: str = PASSWORD) -> requests.Response:
    """Log in on the page as a person would, and follow the browser back."""
    page = requests.get(url, timeout=10)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    values = {key: value.replace("&amp;", "&") for key, value in hidden.items()}
    form = {**values, "username": USERNAME, "password": password}
    return requests.post(url.partition("?")[0], data=form, timeout=10)


def answering(**changes: str | None) -> Browser:
    """Return a browser that comes back with an answer of its own."""

    def browse(url: str) -> None:
        asked = {key: value[0] for key, value in parse_qs(urlsplit(url).query).items()}
        answer = {"code": "made-up", "state": asked["state"], **changes}
        query = urlencode({k: v for k, v in answer.items() if v is not None})
        requests.get(f"{asked['redirect_uri']}?{query}", timeout=10)

    return browse


def login(app: RefreshToken, port: int, browser: Browser, **more: Any) -> str | None:
    """Log in with `browser` as the person."""
    return log_in(app, show=browser, on_call=lambda _: None, port=port, **more)


def test_a_person_logs_in_and_the_token_is_kept_for_its_owner_alone(
    app: RefreshToken, port: int, plain_org: RunningOrg
) -> None:
    pages: list[requests.Response] = []

    org_id = login(app, port, lambda url: pages.append(person(url)))

    assert org_id == plain_org.org_id
    assert "close this page" in pages[0].text
    assert stat.S_IMODE(login_file().stat().st_mode) == 0o600


def test_other_commands_find_the_login_without_more_set_up(
    app: RefreshToken, port: int, plain_desk: Desk
) -> None:
    """Not even the app's secret, where the app needs none."""
    login(app, port, person)
    plain_desk.monkeypatch.delenv("SALESFORCE_CLIENT_SECRET")
    plain_desk.org.control(
        "POST", "apps", {"client_id": CLIENT_ID, "secret_required_for_refresh": False}
    )
    plain_desk.configure()

    shown = plain_desk.run("org", "show", "--json")

    assert shown.json()["connected"]["org_id"] == plain_desk.org.org_id


def test_the_login_page_is_asked_for_with_pkce_and_a_state(app: RefreshToken, port: int) -> None:
    seen: list[str] = []
    login(app, port, lambda url: (seen.append(url), person(url))[0])
    asked = parse_qs(urlsplit(seen[0]).query)

    assert asked["code_challenge_method"] == ["S256"]
    assert len(asked["code_challenge"][0]) == 43
    assert len(asked["state"][0]) >= 43
    assert "refresh_token" in asked["scope"][0]
    assert CLIENT_SECRET not in seen[0]


@pytest.mark.parametrize(
    ("browser", "message"),
    [
        (answering(state="another"), "does not belong to this login"),
        (answering(state=None), "does not belong to this login"),
        (answering(code=None, error="access_denied"), r"denied in the browser \(access_denied\)"),
        (
            answering(code=None, error="invalid_scope", error_description="no such scope"),
            "invalid_scope: no such scope",
        ),
    ],
)
def test_an_answer_that_is_none_is_told_and_nothing_is_kept(
    app: RefreshToken, port: int, browser: Browser, message: str
) -> None:
    with pytest.raises(LoginNotFinished, match=message):
        login(app, port, browser)

    assert not login_file().exists()


def test_a_made_up_code_is_refused(app: RefreshToken, port: int) -> None:
    with pytest.raises(SignInRefused, match="invalid_grant"):
        login(app, port, answering())

    assert not login_file().exists()


def test_nobody_comes_in_time(app: RefreshToken, port: int) -> None:
    with pytest.raises(LoginNotFinished, match=rf"within 0.2 s.*http://localhost:{port}/callback"):
        login(app, port, lambda _: None, seconds=0.2)


def test_requests_for_other_pages_do_not_end_the_wait(app: RefreshToken, port: int) -> None:
    def browse(url: str) -> None:
        missing = requests.get(f"http://localhost:{port}/favicon.ico", timeout=10)
        assert missing.status_code == 404
        person(url)

    assert login(app, port, browse)


def test_a_port_that_is_taken_is_told(app: RefreshToken) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="--port"):
            login(app, taken.getsockname()[1], lambda _: None)


def test_an_app_that_gives_no_refresh_token_is_told_which_scope_it_lacks(
    app: RefreshToken, port: int
) -> None:
    def without_scope(url: str) -> None:
        person(url.replace("api+refresh_token", "api"))

    with pytest.raises(SignInRefused, match="refresh_token, offline_access"):
        login(app, port, without_scope)


def test_a_revoked_login_gives_one_clear_message(
    app: RefreshToken, port: int, plain_desk: Desk
) -> None:
    """And is asked once, for refused tokens are never tried again by themselves."""
    login(app, port, person)
    plain_desk.configure()
    token = login_file().read_text()
    requests.post(
        f"{plain_desk.org.base_url}/services/oauth2/revoke", data={"token": token}, timeout=10
    )
    plain_desk.org.control("DELETE", "calls")

    said = plain_desk.run("org", "show")

    assert said.code == 2
    assert said.text.count("Error:") == 1
    assert "The login is no longer valid" in said.text
    assert "insights login" in said.text
    assert token not in said.text


def test_a_rotated_token_replaces_the_one_that_is_kept(
    app: RefreshToken, port: int, plain_org: RunningOrg
) -> None:
    plain_org.control("POST", "apps", {"client_id": CLIENT_ID, "rotate_refresh_tokens": True})
    login(app, port, person)
    first = login_file().read_text()
    for _ in range(2):
        with Salesforce(connection_from_environment(os.environ, login_file=login_file())) as org:
            assert org.org_id == plain_org.org_id

    assert login_file().read_text() != first
    assert stat.S_IMODE(login_file().stat().st_mode) == 0o600


def test_a_revoked_token_of_a_variable_is_told_in_the_same_way(plain_desk: Desk) -> None:
    plain_desk.set(SALESFORCE_REFRESH_TOKEN="gone")
    with (
        Salesforce(connection_from_environment(os.environ)) as org,
        pytest.raises(LoginRevoked),
    ):
        _ = org.org_id


def test_variables_of_another_way_to_sign_in_come_before_the_login(plain_desk: Desk) -> None:
    """Client id and secret alone do not: the login needs them too."""
    plain_desk.home.mkdir()
    login_file().write_text("token")

    assert isinstance(
        connection_from_environment(os.environ, login_file=login_file()), RefreshToken
    )
    plain_desk.set(SALESFORCE_USERNAME="u", SALESFORCE_PASSWORD="p")
    assert isinstance(
        connection_from_environment(os.environ, login_file=login_file()), UsernamePassword
    )


def test_forget_deletes_the_login(plain_desk: Desk) -> None:
    plain_desk.home.mkdir()
    login_file().write_text("token")

    assert plain_desk.run("login", "--forget").text == f"Deleted {login_file()}.\n"
    assert isinstance(
        connection_from_environment(os.environ, login_file=login_file()), ClientCredentials
    )


def test_without_an_app_login_says_what_is_missing(plain_desk: Desk) -> None:
    plain_desk.monkeypatch.delenv("SALESFORCE_CLIENT_ID")
    said = plain_desk.run("login")

    assert said.code == 2
    assert "SALESFORCE_CLIENT_ID is not set" in said.text


def test_the_command_prints_the_address_and_no_secret(plain_desk: Desk, port: int) -> None:
    """As a process of its own: with --no-browser the address is for another browser."""
    process = subprocess.Popen(
        [
            sys.executable,
            *("-c", "from pipeline.cli import main; main()", "login", "--no-browser"),
            *("--port", str(port), "--timeout", "280"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    watchdog = threading.Timer(280, process.kill)
    watchdog.start()
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("http"):
            person(line.strip())
    process.wait()
    watchdog.cancel()
    text = "".join(printed)

    assert process.returncode == 0, text
    assert f"Logged in to org {plain_desk.org.org_id}" in text
    assert login_file().read_text() not in text
    assert CLIENT_SECRET not in text
