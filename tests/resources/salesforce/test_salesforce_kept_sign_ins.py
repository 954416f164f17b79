"""What signing in gave is shared by all processes of a home, and a refusal is not repeated (R3)."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Barrier, Thread
from typing import Any

import pytest

from local_org.launch import (
    CLIENT_ID,
    CLIENT_SECRET,
    PASSWORD,
    SECURITY_TOKEN,
    USERNAME,
    RunningOrg,
)
from pipeline.core.errors import WrongOrg
from resources.salesforce.client import Salesforce
from resources.salesforce.connection import (
    ClientCredentials,
    FileTokenStore,
    MemoryTokenStore,
    RefreshToken,
    UsernamePassword,
    credentials_hash,
)
from resources.salesforce.errors import LoginRevoked, OrgUnavailable, SalesforceError, SignInRefused
from resources.salesforce.kept_sign_ins import FileSignIns, Grant
from tests.resources.salesforce.test_salesforce_sign_in import first_refresh_token

MakeClient = Callable[..., Salesforce]


def sign_ins_of(org: RunningOrg) -> int:
    return sum("/oauth2/token" in call["path"] for call in org.calls()["log"])


def with_password(org: RunningOrg, password: str) -> UsernamePassword:
    return UsernamePassword(
        org.base_url, USERNAME, password, SECURITY_TOKEN, CLIENT_ID, CLIENT_SECRET
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "salesforce-session"


def test_one_session_serves_all_clients_of_a_home(
    org: RunningOrg, client_for: MakeClient, file: Path
) -> None:
    """R3: a run or a command need not sign in where a tick has."""
    for _ in range(3):
        client_for(sign_ins=FileSignIns(file)).describe("Lead")

    assert sign_ins_of(org) == 1


def test_the_kept_session_can_be_read_by_its_owner_alone_and_shows_nowhere(
    client_for: MakeClient, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R3: the session's id is a secret, and so is what signed in."""
    caplog.set_level(logging.DEBUG)
    client_for(sign_ins=FileSignIns(file)).describe("Lead")

    for path in file.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert CLIENT_SECRET not in path.read_text()
    (entry,) = json.loads(file.read_text()).values()
    token = entry["session"]["access_token"]
    assert token not in caplog.text
    assert token not in repr(Grant(**entry["session"]))


def test_a_lost_session_is_renewed_once_for_all(
    org: RunningOrg, client_for: MakeClient, file: Path
) -> None:
    """R3: who finds it lost takes up the one that another client has signed in to meanwhile."""
    first, second = (client_for(sign_ins=FileSignIns(file)) for _ in range(2))
    first.describe("Lead")
    second.describe("Lead")
    org.control("DELETE", "sessions")

    first.describe("Contact")
    second.describe("Contact")
    client_for(sign_ins=FileSignIns(file)).describe("Account")

    assert sign_ins_of(org) == 2


def test_a_kept_session_is_checked_against_the_org_when_it_is_taken_up(
    org: RunningOrg, client_for: MakeClient, file: Path
) -> None:
    """R1: a session of another org is no way around the check at sign-in."""

    def refuse(org_id: str) -> None:
        raise WrongOrg(org_id)

    client_for(sign_ins=FileSignIns(file)).describe("Lead")
    before = len(org.calls()["log"])
    client = client_for(sign_ins=FileSignIns(file), on_sign_in=refuse)
    with pytest.raises(WrongOrg, match=org.org_id):
        client.describe("Lead")

    assert len(org.calls()["log"]) == before


def test_other_credentials_do_not_find_the_session(org: RunningOrg) -> None:
    """R3: each part of what is signed in with counts."""
    url = org.base_url
    connections = [
        ClientCredentials(url, "app", "secret"),
        ClientCredentials(url, "app", "other"),
        ClientCredentials(url.replace("127.0.0.1", "localhost"), "app", "secret"),
        RefreshToken(url, "app", None, MemoryTokenStore("one")),
        RefreshToken(url, "app", None, MemoryTokenStore("two")),
        UsernamePassword(url, "app", "secret"),
    ]

    assert len({credentials_hash(connection) for connection in connections}) == len(connections)


def test_refused_credentials_are_sent_once_by_all_processes_until_they_change(
    org: RunningOrg, client_for: MakeClient, file: Path
) -> None:
    """R3: Salesforce locks a user after some wrong sign-ins, and then nobody can sign in."""
    for _ in range(12):
        client = client_for(with_password(org, "expired"), sign_ins=FileSignIns(file))
        with pytest.raises(SignInRefused, match=r"invalid_grant.*SALESFORCE_") as caught:
            client.describe("Lead")
    assert sign_ins_of(org) == 1
    assert "not sent again" in str(caught.value)
    assert "expired" not in file.read_text()

    client_for(with_password(org, PASSWORD), sign_ins=FileSignIns(file)).describe("Lead")
    assert sign_ins_of(org) == 2


def test_a_person_may_let_refused_credentials_be_tried_once_more(
    org: RunningOrg, client_for: MakeClient, file: Path
) -> None:
    """R3: the org may have been corrected, and not the credentials."""
    org.control("POST", "options", {"password_grant": False})
    with pytest.raises(SignInRefused):
        client_for(with_password(org, PASSWORD), sign_ins=FileSignIns(file)).describe("Lead")

    org.control("POST", "options", {"password_grant": True})
    client = client_for(with_password(org, PASSWORD), sign_ins=FileSignIns(file))
    with pytest.raises(SignInRefused):
        client.describe("Lead")
    client.try_refused_again()

    assert client.describe("Lead").name == "Lead"


def test_a_revoked_login_stays_revoked_until_somebody_logs_in_anew(
    org: RunningOrg, client_for: MakeClient, file: Path, tmp_path: Path
) -> None:
    """R3: the new token is another login, and tried at once."""
    token = tmp_path / "token"
    token.write_text("revoked")
    connection = RefreshToken(org.base_url, CLIENT_ID, CLIENT_SECRET, FileTokenStore(token))
    for _ in range(3):
        with pytest.raises(LoginRevoked, match="insights login"):
            client_for(connection, sign_ins=FileSignIns(file)).describe("Lead")
    assert sign_ins_of(org) == 1

    token.write_text(first_refresh_token(org))
    assert client_for(connection, sign_ins=FileSignIns(file)).describe("Lead").name == "Lead"


def test_a_passing_fault_is_no_refusal(org: RunningOrg, client_for: MakeClient, file: Path) -> None:
    """R3: rate limits and servers that are away end by themselves."""
    org.arm("http_503", path="/services/oauth2/token", count=None)
    with pytest.raises(OrgUnavailable):
        client_for(sign_ins=FileSignIns(file)).describe("Lead")

    org.clear_faults()
    assert client_for(sign_ins=FileSignIns(file)).describe("Lead").name == "Lead"


def test_what_nobody_can_read_is_made_anew(
    org: RunningOrg, client_for: MakeClient, file: Path
) -> None:
    """R44: a damaged file stops nothing."""
    file.parent.mkdir()
    for content in (b"\xff", b"{", b"[]", b'{"x": 1}', b'{"x": {"session": 1, "refusal": null}}'):
        file.write_bytes(content)
        client_for(sign_ins=FileSignIns(file)).describe("Lead")
    assert sign_ins_of(org) == 5


def test_without_a_place_to_keep_it_everybody_signs_in(
    org: RunningOrg, client_for: MakeClient, tmp_path: Path
) -> None:
    """R44: a disk that takes nothing stops nothing."""
    (tmp_path / "file").write_text("")
    for _ in range(2):
        client_for(sign_ins=FileSignIns(tmp_path / "file" / "x")).describe("Lead")

    assert sign_ins_of(org) == 2


def test_only_the_latest_credentials_are_remembered(file: Path) -> None:
    """R45: what is kept is bounded."""
    kept = FileSignIns(file)
    for n in range(30):
        kept.keep_session(str(n), Grant(f"t{n}", "https://a.my.salesforce.com", "00D1"))

    assert kept.session("9") is None
    assert kept.session("10") == Grant("t10", "https://a.my.salesforce.com", "00D1")


def _sign_in(url: str, token: str, start: Any, answers: Any) -> None:
    """Be a process that exchanges the token of a file, whose home nobody shares."""
    connection = RefreshToken(url, CLIENT_ID, CLIENT_SECRET, FileTokenStore(Path(token)))
    start.wait()
    try:
        with Salesforce(connection) as client:
            answers.put("signed in" if client.org_id else "nobody")
    except SalesforceError as error:
        answers.put(f"{os.getpid()}: {error}")


def _exchange_at_once(org: RunningOrg, file: Path, processes: int) -> Counter[str]:
    spawned = multiprocessing.get_context("spawn")
    start, answers = spawned.Barrier(processes), spawned.SimpleQueue()
    made = [
        spawned.Process(target=_sign_in, args=(org.base_url, str(file), start, answers))
        for _ in range(processes)
    ]
    for process in made:
        process.start()
    found = Counter(answers.get() for _ in made)
    for process in made:
        process.join()
    return found


@pytest.mark.slow
def test_60_processes_that_exchange_a_rotating_token_at_once_all_sign_in(
    org: RunningOrg, tmp_path: Path
) -> None:
    """R3: with rotation each token can be exchanged once, and who comes second takes the next."""
    file = tmp_path / "token"
    file.write_text(first_refresh_token(org))
    org.control("POST", "options", {"refresh_token_rotation": True})

    found = sum((_exchange_at_once(org, file, 15) for _ in range(4)), Counter())

    assert found == {"signed in": 60}


def test_clients_that_exchange_a_rotating_token_at_once_all_sign_in(
    org: RunningOrg, tmp_path: Path
) -> None:
    """R3: the same in one process, where each client takes the lock for itself."""
    file = tmp_path / "token"
    file.write_text(first_refresh_token(org))
    org.control("POST", "options", {"refresh_token_rotation": True})
    answers: SimpleQueue[str] = SimpleQueue()
    start = Barrier(4)

    made = [
        Thread(target=_sign_in, args=(org.base_url, str(file), start, answers)) for _ in range(4)
    ]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()

    assert Counter(answers.get() for _ in made) == {"signed in": 4}
