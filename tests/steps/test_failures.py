"""`insights failures`: what failed is listed, grouped, exported and tried again (R23, R29)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local_org.launch import RunningOrg
from pipeline.commands.failures import parse_time
from pipeline.steps.asking.failures import (
    EXPORTED,
    ask_again,
    export,
    groups,
    records,
    retry,
    spreadsheet_safe,
)
from resources.ledger.failures import Chosen
from tests.conftest import PLANT_VARIABLES
from tests.plant import Plant, clean, integration
from tests.steps.conftest import Said, run_command

ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
FORMULA = '=HYPERLINK("http://x.example","see")\nsecond "line", 終'
NOW = datetime(2026, 3, 10, 9, 0, tzinfo=ZoneInfo("Europe/Berlin"))


Failed = tuple[Plant, list[str]]


def _failed(built: Plant) -> Failed:
    """Let two leads be refused, one with a text that is a formula, and one stay locked; a fourth is well."""
    built.turn_on()
    ids = built.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(4)))
    built.org.arm("row_error", ids=[ids[0]], code="CUSTOM", message=FORMULA)
    built.org.arm("row_error", ids=[ids[1]], code="CUSTOM", message=f"tripped over {ids[3]}")
    built.org.arm("lock_rows", ids=[ids[2]], count=3)
    assert built.pull("Lead")["failed"] == 3
    return built, ids


@pytest.fixture(scope="module")
def listed(shared_org: RunningOrg, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failed]:
    """Give a plant with failures to the tests that only look; they come first in this file."""
    clean(shared_org)
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("SALESFORCE_LOGIN_URL", shared_org.base_url)
        for name, value in PLANT_VARIABLES.items():
            variables.setenv(name, value)
        folder = tmp_path_factory.mktemp("failed")
        built = Plant(shared_org, folder, integrations=[integration("Lead")], in_memory=True)
        yield _failed(built)


@pytest.fixture
def failed(shared_plant: Callable[..., Plant]) -> Failed:
    """Give a plant with failures of the test's own."""
    return _failed(shared_plant(integration("Lead")))


def insights(built: Plant, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Said:
    """Run the command in this process, on the plant's folders."""
    monkeypatch.setenv("INSIGHTS_CONFIG", str(built.folder / "config"))
    monkeypatch.setenv("INSIGHTS_HOME", str(built.folder / "home"))
    return run_command(*arguments)


def test_records_have_salesforces_words_kind_times_and_a_link(
    listed: Failed,
) -> None:
    """R23: and what each of them waits for."""
    built, ids = listed
    found = {
        row["id"]: row for row in built.with_clients(lambda clients: records(clients, Chosen()))
    }

    assert set(found) == set(ids[:3])
    row = found[ids[0]]
    assert (row["object"], row["code"], row["message"]) == ("Lead", "CUSTOM", FORMULA)
    assert (row["kind"], row["tries"], row["integration"]) == ("lasting", 1, "Lead.*")
    assert row["first_failed"] == row["last_failed"] < row["next_try"]
    assert row["link"] == f"{built.org.base_url}/{ids[0]}"
    assert found[ids[2]]["kind"] == "passing"


def test_failures_are_counted_by_code_object_message_and_integration(
    listed: Failed,
) -> None:
    """R23: messages that differ in a record's id are one; the largest group comes first."""
    built, _ = listed

    def counted(by: str) -> list[tuple[str, int, int]]:
        found = built.with_clients(lambda clients: groups(clients, by, Chosen()))
        return [(group.group, group.records, group.lasting) for group in found]

    assert counted("code") == [("CUSTOM", 2, 2), ("UNABLE_TO_LOCK_ROW", 1, 0)]
    assert counted("object") == [("Lead", 3, 2)]
    assert counted("integration") == [("Lead.*", 3, 2)]
    assert ("CUSTOM: tripped over …", 1, 1) in counted("message")


def test_export_has_every_failure_and_no_formula(listed: Failed, tmp_path: Path) -> None:
    """R23: a spreadsheet that opens the file must not run what somebody typed into a record."""
    built, ids = listed
    file = tmp_path / "failures.csv"
    file.write_text("an older export")

    assert built.with_clients(lambda clients: export(clients, Chosen(codes=["CUSTOM"]), file)) == 2

    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = {row["id"]: row for row in csv.DictReader(opened)}
    assert set(rows) == set(ids[:2])
    row = rows[ids[0]]
    assert list(row) == EXPORTED.names
    assert row["message"] == f"'{FORMULA}"
    assert datetime.fromisoformat(row["next_try"]).utcoffset() == timedelta(0)
    assert row["link"].endswith(ids[0])
    assert [path.name for path in tmp_path.glob("*failures*")] == ["failures.csv"]


def test_export_to_parquet_keeps_texts_and_times_as_they_are(
    listed: Failed, tmp_path: Path
) -> None:
    built, ids = listed
    file = tmp_path / "failures.parquet"

    assert built.with_clients(lambda clients: export(clients, Chosen(), file)) == 3

    table = pq.read_table(file)
    assert table.schema.equals(EXPORTED)
    assert pa.types.is_timestamp(table.schema.field("next_try").type)
    messages = dict(zip(table["id"].to_pylist(), table["message"].to_pylist(), strict=True))
    assert messages[ids[0]] == FORMULA


@pytest.mark.parametrize("name", ["failures.xlsx", "no/such/folder/failures.csv"])
def test_export_that_cannot_be_written_says_why(
    listed: Failed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Exit code 2, and no half a file."""
    built, _ = listed
    said = insights(built, monkeypatch, "failures", "--export", str(tmp_path / name))

    assert said.code == 2
    assert str(tmp_path / name) in said.text
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("  +49 30", "  '+49 30"),
        ("-3", "'-3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "\t'=1"),
        ("a\r\n=1", "a\r\n'=1"),
        ('x";=1', "x\";'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("data value too large: a=b (max length=1)", "data value too large: a=b (max length=1)"),
        ("00Q5e00000000mEEAQ", "00Q5e00000000mEEAQ"),
        ("", ""),
    ],
)
def test_formulas_get_an_apostrophe(text: str, safe: str) -> None:
    """Whatever begins a cell, and where another separator would begin one."""
    assert spreadsheet_safe(text) == safe


def test_command_shows_groups_then_examples_and_how_many_more(
    listed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R23: foreign text cannot write over the terminal's lines."""
    built, ids = listed
    calls = len(built.org.calls()["log"])

    text = insights(built, monkeypatch, "failures", "--limit", "2").text
    all_of_them = insights(built, monkeypatch, "failures").text

    assert text.index("CUSTOM") < text.index("00Q")
    assert "1 more: --limit 3, or --export FILE.csv" in text
    assert '=HYPERLINK("http://x.example","see") second "line"' in all_of_them
    assert "more:" not in all_of_them
    assert ids[0] in all_of_them
    assert len(built.org.calls()["log"]) == calls


def test_command_filters_and_speaks_json(
    listed: Failed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built, ids = listed

    def said(*arguments: str) -> Any:
        return json.loads(insights(built, monkeypatch, "failures", *arguments, "--json").text)

    found = said("--code", "UNABLE_TO_LOCK_ROW", "--object", "Lead")
    assert (found["total"], [row["id"] for row in found["records"]]) == (1, [ids[2]])
    by_object = said("--by", "object")
    assert (by_object["by"], by_object["records"]) == ("object", [])
    assert [(g["group"], g["records"]) for g in by_object["groups"]] == [("Lead", 3)]
    assert said("--older", "2099-01-01")["total"] == 3
    assert said("--since", "2099-01-01")["total"] == 0
    file = str(tmp_path / "f.parquet")
    assert said("--export", file) == {"records": 3, "file": file}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "soon"], "'soon' is no time: write 30m"),
        (["retry", "--id", "Ito"], "Ito: a record's id has 15 or 18 characters"),
        (["--object", "Lead", "retry"], "insights failures retry …"),
    ],
)
def test_wrong_usage_says_what_is_right(
    listed: Failed,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    """Exit code 2."""
    said = insights(listed[0], monkeypatch, "failures", *arguments)

    assert said.code == 2
    assert words in said.text


def test_times_are_so_long_ago_or_dates_in_the_settings_zone() -> None:
    assert parse_time("90m", NOW) == NOW - timedelta(minutes=90)
    assert parse_time("2w", NOW) == NOW - timedelta(days=14)
    assert parse_time("2026-03-09", NOW) == datetime(2026, 3, 8, 23, 0, tzinfo=UTC)
    assert parse_time("2026-03-09T10:00Z", NOW) == datetime(2026, 3, 9, 10, 0, tzinfo=UTC)
    with pytest.raises(click.UsageError, match="is no time"):
        parse_time("7 days", NOW)


# -- tests that change what is waiting --------------------------------------------------------------


@pytest.mark.slow
def test_passing_failure_that_stays_is_shown_as_lasting(failed: Failed) -> None:
    """R23: as the claims treat it."""
    built, ids = failed
    built.org.arm("lock_rows", ids=[ids[2]], count=None)
    for _ in range(2):
        built.wait(hours=1)
        built.run("score_and_push", "Lead")

    (row,) = [r for r in built.with_clients(lambda w: records(w, Chosen())) if r["id"] == ids[2]]
    assert (row["code"], row["tries"], row["kind"]) == ("UNABLE_TO_LOCK_ROW", 3, "lasting")


@pytest.mark.slow
def test_retry_lets_the_next_run_try_them(failed: Failed) -> None:
    """R23, R29: at once, and only those that were asked for."""
    built, ids = failed
    assert built.run("score_and_push", "Lead")["claimed"] == 0

    assert built.with_clients(lambda clients: retry(clients, codes=["CUSTOM"], ids=ids[:1])) == 1

    figures = built.run("score_and_push", "Lead")
    assert (figures["claimed"], figures["pushed"]) == (1, 1)
    assert built.scored_at("Lead", ids[0]) is not None
    assert len(built.failures()) == 2


@pytest.mark.slow
def test_retry_never_goes_beyond_the_days_limit(shared_plant: Callable[..., Plant]) -> None:
    """R20: what does not fit is tried on the next day, and the answer says so."""
    built = shared_plant(integration("Lead"), daily_record_limit=10)
    built.refresh("Lead")
    ids = built.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(8)))
    built.org.arm("row_error", ids=ids, code="CUSTOM", message="no", count=None)
    assert built.pull("Lead")["failed"] == 8
    built.org.clear_faults()

    asked = built.with_clients(lambda clients: ask_again(clients, Chosen()))
    built.wait(hours=13)  # late in the evening any lane may take what is left
    same_day = built.run("score_and_push", "Lead")["pushed"]

    assert (asked.records, asked.left_today) == (8, 2)
    assert asked.done_on is not None
    assert asked.done_on.isoformat() == "2026-03-11"
    assert same_day == 2
    built.wait(hours=13)
    built.refresh("Lead")
    built.run("score_and_push", "Lead")
    assert built.failures() == []


def test_retry_command_says_how_many_and_when(
    failed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R29: in words and as JSON; an id of 15 characters is as good as one of 18."""
    built, ids = failed
    told = insights(built, monkeypatch, "failures", "retry", "--id", ids[0][:15]).text
    asked = json.loads(insights(built, monkeypatch, "failures", "retry", "--json").text)

    assert told.startswith("1 records are tried again by the next run: within 5 minutes")
    assert "if nothing more urgent comes, the last of them is tried on" in told
    assert (asked["records"], asked["markets"], asked["in_flight"]) == (3, [], 0)
    assert "No failing record was asked for." in (
        insights(built, monkeypatch, "failures", "retry", "--code", "NONE").text
    )
