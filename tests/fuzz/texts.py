"""What people and other programs write: YAML, variables, the browser's answer, hash fields, messages."""

# ruff: noqa: PT017 - what is asserted of a declared error; others are findings

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import tempfile
import threading
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import click
import pyarrow as pa
from urllib3.util import parse_url

from assets.partitions import day_and_object, partition_key
from pipeline.cli import cli
from pipeline.core.configuration.integration import OBJECTS
from pipeline.core.errors import ConfigurationError
from pipeline.core.scoring.digest import hash_field, stored_digests
from pipeline.sensors import _cursor_text, _read_cursor
from resources.configuration import read_configuration
from resources.salesforce.browser import LoginAttempt, LoginNotFinished, _Handler, _Server
from resources.salesforce.connection import (
    MemoryTokenStore,
    RefreshToken,
    admin_connection,
    checked_login_url,
    connection_from_environment,
)
from resources.salesforce.hosts import is_loopback
from resources.salesforce.ids import id18
from resources.salesforce.wording import (
    _PHRASES,
    _WORDS,
    CUT,
    EXPLANATION,
    _is_id,
    without_values,
)
from tests.fuzz.target import SECRET, Target, keeps_secret, text_of

# --- configuration

SETTINGS = b'environment: local\ntime_zone: Europe/Berlin\ndaily_pull_time: "04:00"\n'
MARKET = Path(__file__).parents[1].joinpath("letters_market", "market.yaml").read_bytes()
INTEGRATION = (
    b"market: letters\nobject: Lead\nenabled: true\ncandidate_field: Hot__c\n"
    b"inputs: {company: Company, title: Title}\noutputs: {score: Score__c, rank: Rank__c}\n"
)
FILES = {
    b"S": "settings.yaml",
    b"M": "markets/letters/market.yaml",
    b"I": "integrations/lead.letters.yaml",
}


def _configuration(data: bytes) -> None:
    """One of three files is the fuzzer's: all problems come as ConfigurationError, a line each, with the file."""
    which = FILES.get(data[:1], "settings.yaml")
    contents = dict(zip(FILES.values(), (SETTINGS, MARKET, INTEGRATION), strict=True))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        for path, content in {**contents, which: data[1:]}.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (folder / "markets/letters/model.py").touch()
        try:
            read = read_configuration(folder)
        except ConfigurationError as error:
            assert error.problems
            for problem in error.problems:
                assert problem.startswith(str(folder)), problem
                assert "\n" not in problem, problem
            return
        for problem in read.problems:
            assert problem.startswith(str(folder)), problem
            assert "\n" not in problem, problem
        assert read.settings.notices(date(2026, 1, 1)) is not None
        assert set(read.objects) <= set(OBJECTS)


# --- environment

SECRETS = ("CLIENT_SECRET", "REFRESH_TOKEN", "PRIVATE_KEY", "PASSWORD", "SECURITY_TOKEN")


def _environment(data: bytes) -> None:
    """Lines of NAME=value, as SALESFORCE_NAME: a connection or its problems, and no secret in either."""
    env: dict[str, str] = {}
    for line in text_of(data).replace("\0", "").split("\n"):
        name, equals, value = line.partition("=")
        if equals and not name.endswith("_FILE"):
            bare = name.strip().removeprefix("ADMIN_")
            env[f"SALESFORCE_{name.strip()}"] = f"{value}{SECRET}" if bare in SECRETS else value
    for describe in (connection_from_environment, admin_connection):
        try:
            keeps_secret(repr(describe(env)))
        except ConfigurationError as error:
            if not any(SECRET in v for n, v in env.items() if n.endswith(("URL", "ID", "NAME"))):
                keeps_secret(error)
            assert all(problem for problem in error.problems)


def _login_url(data: bytes) -> None:
    """What is accepted is https, or http to this machine: for us and for the library that connects."""
    try:
        url = checked_login_url(text_of(data))
    except ConfigurationError:
        return
    assert checked_login_url(url) == url
    assert SECRET not in url
    seen = parse_url(f"{url}/services/oauth2/token")
    assert seen.path == "/services/oauth2/token", seen
    assert seen.scheme == "https" or is_loopback((seen.host or "").strip("[]")), seen


# --- login in the browser

STATE = "state-of-this-login"


def _callback(data: bytes) -> None:
    """Any bytes to the callback's port: no crash of the server, and only this login's state gives a code."""
    ours, theirs = socket.socketpair()
    server = SimpleNamespace(answered=threading.Event(), answer={}, server_port=1)
    with contextlib.closing(ours), contextlib.closing(theirs):
        theirs.sendall(data[:30_000])
        theirs.shutdown(socket.SHUT_WR)
        _Handler(ours, ("127.0.0.1", 1), cast("_Server", server))
    connection = RefreshToken("https://acme.my.salesforce.com", "id", None, MemoryTokenStore(""))
    attempt = LoginAttempt(connection, "http://localhost:1/callback", STATE, SECRET)
    try:
        code = attempt.code_in(server.answer)
    except LoginNotFinished as error:
        if SECRET.encode() not in data:
            keeps_secret(error)
        return
    assert code
    assert server.answer["state"] == STATE


# --- the hash field, ids, messages

TAG = "ab12"
DIGEST = "0123456789abcdef0123"


def _hash_field(data: bytes) -> None:
    """People may write anything into the hash field; it holds a digest or none."""
    hashes = pa.chunked_array([pa.array([*text_of(data).split("\x1e"), None], pa.string())])
    found = stored_digests(hashes, TAG).to_pylist()
    assert len(found) == len(hashes)
    for digest, hashed in zip(found, hashes.to_pylist(), strict=True):
        assert digest is None or (re.fullmatch("[0-9a-f]{20}", digest) and digest in hashed)
    ours = hash_field({TAG: pa.array([DIGEST]), "zz99": pa.array([DIGEST[::-1]])})
    assert stored_digests(pa.chunked_array([ours]), TAG).to_pylist() == [DIGEST]


def _ids(data: bytes) -> None:
    text = text_of(data)
    long = id18(text)
    assert long.startswith(text)
    assert len(long) == (18 if len(text) == 15 else len(text))
    assert id18(long) == long


NAMES = {"Company", "Email", "Fit_Rank__c"}


def _wording(data: bytes) -> None:
    """Nothing is left but Salesforce's words, field names, ids and marks; what was cut is not cut again."""
    kept = without_values(text_of(data), NAMES).removesuffix(EXPLANATION)
    for token in re.findall(r"\w+", _PHRASES.sub(" ", kept).replace(CUT, " ")):
        is_known = token in NAMES or token.lower() in _WORDS or _is_id(token)
        assert is_known, f"{token!r} is left in {kept!r}"
    assert without_values(kept, NAMES).removesuffix(EXPLANATION) == kept


# --- Dagster's storage

CURSOR = json.dumps(
    {
        "Lead pull": {
            "situation": "pull 2026-01-02",
            "attempts": 3,
            "at": "2026-01-02T03:04:05+00:00",
        }
    }
)


def _cursor(data: bytes) -> None:
    """A cursor of another version, or by somebody else, is forgotten in part or whole; ours comes back."""
    read = _read_cursor(text_of(data))
    for asked in read.values():
        assert asked.at.tzinfo is not None
        assert asked.attempts >= 1
    assert _read_cursor(_cursor_text(read)) == read


def _partition(data: bytes) -> None:
    """A key that is none is a ValueError; one that is has a day and an object."""
    try:
        day, name = day_and_object(text_of(data))
    except ValueError:
        return
    assert name in OBJECTS
    assert day_and_object(str(partition_key(day, name))) == (day, name)


# --- the command line


def _command_line(data: bytes) -> None:
    """Any words: wrong usage is said as click says it."""
    words = [word for word in text_of(data).replace("\0", "").split("\n") if word]
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(click.ClickException, click.exceptions.Exit),
        cli.make_context("insights", words) as context,
    ):
        rest = [*context._protected_args, *context.args]
        if rest:
            name, command, rest = cli.resolve_command(context, rest)
            assert command is not None
            command.make_context(name, rest, parent=context).close()


TARGETS = (
    Target(
        "configuration",
        _configuration,
        (b"S" + SETTINGS, b"M" + MARKET, b"I" + INTEGRATION),
        (
            b": ",
            b"- ",
            b"&a ",
            b"*a",
            b"!!int ",
            b"---\n",
            b"\xff",
            b"0x_",
            b"1:30",
            b"{",
            b"[",
            b"\\u",
        ),
    ),
    Target(
        "environment",
        _environment,
        (
            b"LOGIN_URL=https://acme.my.salesforce.com\nCLIENT_ID=id\nCLIENT_SECRET=x",
            b"LOGIN_URL=http://127.0.0.1:8788\nUSERNAME=u\nPASSWORD=p\nSECURITY_TOKEN=t",
            b"LOGIN_URL=https://test.salesforce.com\nCLIENT_ID=id\nREFRESH_TOKEN=t\nADMIN_PASSWORD=x",
            b"LOGIN_URL=https://acme.my.salesforce.com\nCLIENT_ID=i\nUSERNAME=u\nPRIVATE_KEY=k",
        ),
        (b"\n", b"=", b"ADMIN_", b"CLIENT_ID=", b"PASSWORD=", b"[", b"@"),
    ),
    Target(
        "login_url",
        _login_url,
        (
            b"https://acme.my.salesforce.com",
            b"http://127.0.0.1:8788/",
            b"http://[::1]:80",
            b"http://localhost",
        ),
        (b"@", b"\\", b"#", b"?", b"[", b"%00", b"127.0.0.1", b"evil.example", b"\t"),
    ),
    Target(
        "browser_answer",
        _callback,
        (
            f"GET /callback?code=c&state={STATE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
            f"GET /callback?error=access_denied&state={STATE} HTTP/1.1\r\n\r\n".encode(),
            b"GET /favicon.ico HTTP/1.1\r\n\r\n",
        ),
        (b"//[", b"%ff", b"HTTP/9.9", b"POST ", b"\r\n", b"&code="),
    ),
    Target(
        "hash_field",
        _hash_field,
        (
            f"1.{TAG}{DIGEST}.zz99{DIGEST}".encode(),
            f"1.zz99{DIGEST}.{TAG}{DIGEST}\x1ehello".encode(),
        ),
        (TAG.encode(), b"\x1e", b"1."),
    ),
    Target("record_id", _ids, (b"00Q5e000000000B", b"00Q5e000000000BEAQ", b"")),
    Target(
        "message",
        _wording,
        (
            b"data value too large: Umbrella (max length=80)",
            b"duplicate value found: Email duplicates value on record with id: 00Q5e000000000BEAQ",
            "Company \u2018the record\u2019 is “locked”, 'so': \"x\"".encode(),
            b"InvalidBatch : Field name not found : Fit_Rank__c",
        ),
        ("“".encode(), "…".encode(), b"'", b'"', b"(max length=", b": ", "\u2028".encode()),
    ),
    Target(
        "cursor",
        _cursor,
        (CURSOR.encode(), b"", b"{}", b"[]", b"cursor"),
        (b'"at"', b'"attempts":0', b"null", b"NaN", b"\\ud800"),
    ),
    Target(
        "partition_key",
        _partition,
        (b"2026-01-02|Lead", b"2026-01-02", b"Lead|2026-01-02", b"2026-W01-1|Lead"),
    ),
    Target(
        "command_line",
        _command_line,
        (
            b"pull\n--object\nLead\n--dry-run\n--first\n5",
            b"init\n--environment\nsandbox\n--time-zone\nEurope/Berlin\n--object\nLead",
            b"login\n--port\n1717",
            b"pause\nLead.letters",
            b"org\n--help",
        ),
        (b"--json", b"--", b"-h", b"--first\n", b"--port\n", b"\xff", b"=", b"mapping", b"schema"),
    ),
)
