"""Everything that parses what comes from outside, with inputs that hypothesis and atheris make up.

`python -m tests.fuzz --seconds 60` looks longer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

EXAMPLES_MAX = 25
ATHERIS_SECONDS = 1

FOUND: tuple[tuple[str, bytes], ...] = (
    # Answers that are JSON and not what the API documents.
    ("query_answer", b"200\n{}"),
    ("query_answer", b"200\n[]"),
    (
        "query_answer",
        b'200\n{"totalSize":1,"done":false,"records":[],"nextRecordsUrl":"@evil.example/"}',
    ),
    (
        "query_answer",
        b'200\n{"done":false,"records":[],"nextRecordsUrl":"/services/data/v62.0/query/01g"}',
    ),
    ("count_answer", b"200\n{}"),
    ("count_answer", b"200\n7"),
    ("composite_answer", b"200\n[[]]"),
    (
        "composite_answer",
        b'200\n{"compositeResponse":[{"body":{},"httpStatusCode":200,"referenceId":"q0"}]}',
    ),
    ("composite_answer", b'200\n{"compositeResponse":[{"referenceId":"q0"}]}'),
    ("describe_answer", b'200\n{"name":"Lead"}'),
    ("describe_answer", b"204\n"),
    ("job_answer", b"200\n{}"),
    ("job_answer", b'200\n{"id":"750A","state":"Open","createdDate":"2026-99"}'),
    ("jobs_answer", b"200\n{}"),
    ("saved_answer", b"200\n-1"),
    ("created_answer", b"200\n[]"),
    # A page that names itself as the next, and one whose number of rows is none.
    ("bulk_query_answer", b'200 Sforce-Locator: abc\n"Id"\n'),
    ("bulk_query_answer", b'200 Sforce-NumberOfRecords: \xb2\n"Id"\n'),
    ("bulk_query_answer", b"200\n{\xfd"),
    # Headers: more digits than Python reads, and a clock out of bounds.
    ("headers", b"api-usage=" + b"9" * 5000 + b"/1"),
    ("headers", b"Mon, 23 Nov 2026 15:59999999999"),
    ("headers", b"Mon, 01 Jan 0001 00:00:00 +2359"),
    # Signing in: an identity and an instance that are no addresses, XML that is none.
    (
        "token_answer",
        b'200\n{"access_token":"a","instance_url":"https://a.my.salesforce.com","id":"https://[]/"}',
    ),
    ("token_answer", b'200\n{"access_token":"a","instance_url":"1s://a"}'),
    (
        "token_answer",
        '200\n{"access_token":"\u0142","instance_url":"https://a.my.salesforce.com"}'.encode(),
    ),
    ("soap_answer", b"200\n<html>a proxy's page<br>"),
    ("soap_answer", b"500\n\xca"),
    ("token_file", b""),
    ("token_file", b"\xff"),
    ("login_url", b"https://\x0bcm"),
    ("login_url", b"https://\\"),
    ("login_url", b"https://user:password@acme.my.salesforce.com"),
    # CSV whose header is broken.
    ("query_csv", b"\r\t"),
    ("query_csv", b"\xbf"),
    ("ingest_csv", b"sf\rA\n"),
    # What was cut once is not cut again.
    ("message", b"InvalidBatch : Field name not found : Fit_Rank__c"),
    # Cursors of nobody's, keys of no partition, files that are not Parquet.
    ("cursor", b"}"),
    ("cursor", b"9"),
    ("cursor", b'{"Lead pull":{"situation":"x","attempts":1,"at":"2026-"}}'),
    ("cursor", b'{"Lead pull":{"situation":"x","attempts":1,"at":"2026-01-02T03:04:05"}}'),
    ("partition_key", b"2026-W01|Lead"),
    ("partition_key", b"2026-01-02|"),
    # A column's name that holds a line break came out without its quotes.
    ("org_upload", b'ILastName,"ompany\n,A,B\n'),
    ("lake_file", b""),
    ("lake_file", b"PAR1\0\0\0\0PAR1"),
)
"""Inputs that were findings once: each is a line of what was not thought of."""


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_stays_mended(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


# --- made-up inputs

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        ["", "x", "\ud83d", "2026-01-02T03:04:05.000+0000", "0" * 5000, "/services/data/"]
    )
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def edited_json(draw: st.DrawFn, value: Any) -> Any:
    """Return a real answer with one part of it, at any depth, replaced or left out."""
    depth = draw(st.integers(0, 4))
    if depth == 0 or not isinstance(value, dict | list) or not value:
        return draw(JSON)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(edited_json(value[at])), *value[at + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    rest = {name: part for name, part in value.items() if name != key}
    return rest if draw(st.booleans()) else {**rest, key: draw(edited_json(value[key]))}


@st.composite
def edited_bytes(draw: st.DrawFn, data: bytes, words: tuple[bytes, ...]) -> bytes:
    """Return a real input with some pieces of it cut out, doubled, or replaced by words or anything."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 4, 30])))
        piece = st.binary(max_size=4) | st.just(data[start:end] * 2)
        new = draw(st.one_of(st.just(b""), piece, *([st.sampled_from(words)] if words else [])))
        data = data[:start] + new + data[end:]
    return data


def _answer(line: bytes, value: object) -> bytes:
    return line + b"\n" + json.dumps(value).encode()


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Return real inputs of the target, edited, and a few that are anything at all."""
    choices = [st.binary(max_size=60)]
    for seed in target.seeds:
        choices.append(edited_bytes(seed, target.words))
        line, _, body = seed.partition(b"\n")
        try:
            content = json.loads(body)
        except ValueError:
            continue
        answer = edited_json(content).map(partial(_answer, line))
        choices += [answer, answer]
    return st.one_of(choices)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_declared_errors_comes_out(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES_MAX,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(target))
    def holds(data: bytes) -> None:
        target.run(data)

    holds()


@pytest.mark.parametrize("name", TARGETS)
def test_real_inputs_are_read(name: str) -> None:
    for data in TARGETS[name].seeds:
        TARGETS[name].run(data)


# --- atheris

WITH_ATHERIS = sys.platform == "linux" and sys.version_info < (3, 14)


@pytest.mark.skipif(not WITH_ATHERIS, reason="there is no atheris for this system")
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_short_guided_search_finds_nothing() -> None:
    """Every target under atheris for a second; a missing atheris fails, as does a target that never ran."""
    limits = ["--seconds", str(ATHERIS_SECONDS), "--seed", "1"]
    command = [sys.executable, "-m", "tests.fuzz", *limits]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    for name in TARGETS:
        line = next(line for line in ran.stdout.splitlines() if line.startswith(f"{name} "))
        assert int(line.split()[1].replace(",", "")) > 0, line


@pytest.mark.skipif(not WITH_ATHERIS, reason="there is no atheris for this system")
@pytest.mark.slow
def test_a_finding_is_told_with_its_input() -> None:
    """A search that could not find anything would prove nothing: here one must."""
    from tests.fuzz.__main__ import fuzz

    def falls_over(data: bytes) -> None:
        if data.startswith(b"ab"):
            raise KeyError("what nobody declared")

    target = Target("falls_over", falls_over, (b"aa", b"bb"), (b"ab",))
    (outcome,) = fuzz([target], seconds=20, seed=1, at_once=1)

    assert outcome.findings[0][0].startswith(b"ab")
    assert "what nobody declared" in str(outcome)
    assert "--target falls_over --input" in str(outcome)
