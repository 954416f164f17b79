"""With persist off no input and no output stays behind, wherever one looks (R24).

Every text in every record has a mark in it, and the outputs have the mark backwards. After the push both are
looked for in every file that the pipeline wrote, raw and unpacked, and in what it printed.
"""

from __future__ import annotations

import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from demo.stage import environment, insights
from pipeline.steps.clients import Clients
from resources.ledger.tables import metadata
from resources.models import RemoteModel
from tests.plant import Plant, integration

Build = Callable[..., Plant]

MODEL: Final = '''
import logging, sys, warnings
import pyarrow as pa


class Talkative:
    """Gives back what it is given, backwards; says it aloud; does as the texts badrank and raises say."""

    def __init__(self, folder):
        self.name = folder.name

    def score(self, inputs):
        companies = inputs.column("company").to_pylist()
        titles = inputs.column("title").to_pylist()
        print(companies)
        print(titles, file=sys.stderr)
        warnings.warn(f"odd: {companies}")
        logging.getLogger("model").warning("odd: %s", titles)
        if any("raises" in company for company in companies):
            raise RuntimeError(f"cannot score {companies}")
        texts = [title or company for company, title in zip(companies, titles)]
        return pa.table({
            "score": pa.array([77] * len(texts)),
            "rank": pa.array([t if "badrank" in t else "A" for t in texts]),
            "note": pa.array([f"{self.name} {text[::-1]}"[:40] for text in texts]),
            "good": pa.array([True] * len(texts)),
        })


def load(folder):
    return Talkative(folder)
'''
pytestmark = pytest.mark.filterwarnings("ignore:odd")

MARK: Final = "quetzal"
LEDGER: Final = "ledger.db"
MARKS: Final = (MARK, MARK[::-1])
RULE: Final = {
    "object": "Lead",
    "name": "Hold",
    "condition": f"Company = '{MARK}held'",
    "message": f"{MARK}held is on hold: ask '{MARK}' about {MARK}held",
}
CODES: Final = {
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "DUPLICATE_VALUE",
    "INVALID_OUTPUT",
    "MARKET_FAILED",
}
DUPLICATE: Final = f"duplicate value found: Title duplicates value on record {MARK}@acme.example"


def lead(company: str, title: str = "title") -> dict[str, Any]:
    return {"LastName": f"{MARK}name", "Company": MARK + company, "Title": MARK + title}


@pytest.fixture
def talkative(plant: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Give what builds a plant whose models say aloud what they see, with temporary files in its folder."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return _talkative(plant)


@pytest.fixture
def stopping(shared_plant: Build) -> Plant:
    """A plant with persist off on Lead and Account, and a lead that waits for its first pull."""
    objects = [integration(name, persist=False) for name in ("Lead", "Account")]
    built = _talkative(shared_plant)(*objects)
    built.turn_on()
    built.create("Lead", lead("company"))
    return built


def _talkative(build: Build) -> Build:
    def built(*integrations: Any, **settings: Any) -> Plant:
        plant = build(*integrations, **settings)
        for market in ("fit", "other"):
            (plant.market(market) / "model.py").write_text(MODEL)
        return plant

    return built


@pytest.mark.dagster_runs
@pytest.mark.parametrize("persist", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_values_stay_nowhere_where_persist_is_off(
    talkative: Build, persist: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """R24: refused rows, bad ranks, a failed job and models that raise included; with persist on they are found.

    What is cut out of messages are the values: codes, field names and our own words stay.
    """
    built = talkative(integration("Lead", persist=persist))
    built.turn_on()
    _fail_in_every_way(built)

    said = "".join(capfd.readouterr())
    found = _found_in(built)

    if persist:
        assert {"scored_enriched", "pushed_results", LEDGER} <= found.keys()
        assert found["scored_enriched"] == set(MARKS)
        assert MARK in said
    else:
        assert found == {}
        assert not any(mark in said.lower() for mark in MARKS)
        kept = {row.error_code: row.error_message or "" for row in built.failures()}
        assert kept.keys() == CODES
        assert kept["DUPLICATE_VALUE"].startswith("duplicate value found: Title …")
        assert kept["INVALID_OUTPUT"] == "fit: rank is not one of A, B, C, D, F"
        assert kept["MARKET_FAILED"] == "fit: the model raised RuntimeError at model.py:20"


@pytest.mark.slow
@pytest.mark.parametrize("persist", [False, True])
def test_command_leaves_no_value_in_output_logs_or_files(talkative: Build, persist: bool) -> None:
    """R24: a real process with Dagster's own storage; with persist on the model's output is in its log."""
    built = talkative(integration("Lead", persist=persist), daily_pull_time="23:59")
    built.set_clock(datetime.now(UTC))
    built.let_clock_run()
    variables = environment(built.org, built.folder / "home") | {
        "INSIGHTS_CONFIG": str(built.folder / "config"),
    }
    assert insights(["check"], variables).returncode == 0
    built.create("Lead", lead("good"), lead("held"), lead("", "badrank"))
    built.org.control("POST", "validation-rules", RULE)
    built.org.control("POST", "clock", {"advance_seconds": 30})

    pulled = insights(["pull", "--object", "Lead"], variables)
    failures = insights(["failures"], variables)

    assert "1 pushed, 2 failed" in pulled.stdout, pulled.stdout + pulled.stderr
    assert "FIELD_CUSTOM_VALIDATION_EXCEPTION" in failures.stdout
    said = pulled.stdout + pulled.stderr + failures.stdout + failures.stderr
    found = _found_in(built)
    if persist:
        assert {"scored_enriched", "compute_logs"} <= found.keys()
    else:
        assert found == {}
        assert not any(mark in said.lower() for mark in MARKS)


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_of_two_integrations_the_one_that_persists_keeps_its_own(talkative: Build) -> None:
    """R24: both read the company, and only what the persisting one read and gave is kept."""
    on = integration("Lead", persist=True)
    on["inputs"] = {"company": "Company"}
    off = integration("Lead", "other", "Other", persist=False)
    built = talkative(on, off)
    built.turn_on()
    (good, _) = built.create("Lead", lead("company"), lead("held"))
    built.org.control("POST", "validation-rules", RULE)

    assert built.pull("Lead")["pushed"] == 1

    assert built.record("Lead", good)["Other_Note__c"] == "other " + f"{MARK}title"[::-1]
    (scored,) = _tables(built, "scored_enriched")
    columns = {n for n in scored.column_names if ".input." in n or ".output." in n}
    assert columns == {
        "fit.input.company",
        *(f"fit.output.{output}" for output in ("score", "rank", "note", "good")),
    }
    assert f"{MARK}company" in scored.column("fit.input.company").to_pylist()
    assert "fit " + f"{MARK}company"[::-1] in scored.column("fit.output.note").to_pylist()
    assert _found_in(built).keys() == {"scored_enriched"}
    assert _found_in(built, f"{MARK}title", f"{MARK}title"[::-1], f"{MARK}held is") == {}


def test_working_files_of_a_run_that_stopped_half_way_are_gone_after_the_next(
    stopping: Plant,
) -> None:
    """R24: one that pulled and did not score, and one that scored and did not push."""
    _run_only(stopping, "pull", "salesforce_changed_records")
    assert _work_files(stopping)
    assert _found_in(stopping).keys() == {"_work"}

    _run_only(stopping, "score_and_push", "scored_enriched")
    _run_only(stopping, "score_and_push", "scored_enriched")
    (scored,) = _work_files(stopping)
    assert not scored.startswith("pulled-")

    assert stopping.run("score_and_push", "Lead", resumed=1)["pushed"] == 1
    assert _work_files(stopping) == []
    assert _found_in(stopping) == {}


def test_working_files_of_ended_segments_are_removed_by_the_objects_next_run(
    stopping: Plant,
) -> None:
    """R24: those of another object, which another run may be working on, stay."""
    _run_only(stopping, "pull", "salesforce_changed_records")
    _run_only(stopping, "score_and_push", "scored_enriched")
    clients = stopping.folder / "home" / "lake" / "_work"
    (segment,) = clients.glob("*.parquet")
    content = segment.read_bytes()
    stopping.run("score_and_push", "Lead", resumed=1)
    left = (segment.name, f".{segment.name}.0123abcd", "pulled-lead-cli-1.parquet")
    others = ("20260310-account-0123456789ab.parquet", "pulled-account-cli-2.parquet")
    for name in (*left, *others):
        (clients / name).write_bytes(content)

    stopping.pull("Lead")
    assert _work_files(stopping) == sorted(others)
    stopping.pull("Account")
    assert _work_files(stopping) == []


def test_pulled_rows_are_gone_when_scoring_is_interrupted(
    stopping: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R24: the claimed rows are read again by id."""

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupting:
        interrupting.setattr(RemoteModel, "score", interrupted)
        assert not stopping.pull("Lead")["success"]
    assert (_work_files(stopping), stopping.waiting("Lead")) == ([], 1)

    assert stopping.run("score_and_push", "Lead")["pushed"] == 1
    assert _found_in(stopping) == {}


# -- what happens, and where it is looked for ------------------------------------------------------


def _fail_in_every_way(built: Plant) -> None:
    """Push a good lead; let a rule, a duplicate, a bad rank, a failed job and the model itself stop others."""
    rows = (lead("good"), lead("held"), lead("twice"), lead("", "badrank"))
    twice = built.create("Lead", *rows)[2]
    built.org.control("POST", "validation-rules", RULE)
    built.org.arm("row_error", ids=[twice], code="DUPLICATE_VALUE", message=DUPLICATE)
    figures = built.pull("Lead")
    assert (figures["pushed"], figures["failed"]) == (1, 3)

    built.create("Lead", lead("unlucky"))
    job = {"object": "Lead", "operation": "update", "message": f"no room for {MARK}", "count": None}
    fault = built.org.arm("job_fail", **job)
    assert built.pull("Lead")["in_flight"] == 1
    assert built.org.fault_count(fault) > 0
    built.org.clear_faults()
    built.create("Lead", lead("raises"))
    figures = built.run("pull", "Lead", resumed=1)
    assert (figures["failed"], figures["in_flight"]) == (1, 1)
    assert len(built.failures()) == 4
    # The values of rows whose job failed wait in the working file, and go with it.
    built.wait(minutes=6)
    assert built.run("score_and_push", "Lead", resumed=1)["pushed"] == 1


def _run_only(built: Plant, job: str, asset: str) -> None:
    figures = built.run(job, "Lead", asset_selection=[dg.AssetKey([asset])])
    assert figures["success"], figures


def _work_files(built: Plant) -> list[str]:
    return sorted(path.name for path in (built.folder / "home/lake/_work").glob("*"))


def _tables(built: Plant, asset: str) -> list[Any]:
    paths = sorted((built.folder / "home" / "lake" / asset).rglob("*.parquet"))
    return [pq.read_table(path, partitioning=None) for path in paths]


def _found_in(built: Plant, *marks: str) -> dict[str, set[str]]:
    """Return which of the marks are in what the pipeline wrote, by place: the asset, the kind of log, the file, or the ledger.

    The org's own files are left out, and so is the configuration, which no run writes.
    """
    found: dict[str, set[str]] = {}
    looked_at = 0
    for path in sorted(built.folder.rglob("*")):
        top = path.relative_to(built.folder).parts[0]
        if not path.is_file() or top == "config" or top.startswith("org."):
            continue
        looked_at += 1
        seen = b"\n".join(_contents(path)).lower()
        for mark in marks or MARKS:
            if mark.encode() in seen:
                found.setdefault(_place(path), set()).add(mark)
    assert looked_at > 2
    if built.ledger is not None:
        seen = built.with_clients(_ledgers_rows)
        found |= {LEDGER: there} if (there := {m for m in marks or MARKS if m in seen}) else {}
    return found


def _ledgers_rows(clients: Clients) -> str:
    """Return all that the ledger holds, where it is no file."""
    with clients.ledger.database.read() as connection:
        tables = [connection.execute(sa.select(table)).all() for table in metadata.sorted_tables]
    return str(tables).lower()


def _place(path: Path) -> str:
    for part in ("scored_enriched", "pushed_results", "_work", "compute_logs"):
        if part in path.parts:
            return part
    return path.name


def _contents(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, and its cells where they are packed: Parquet's, and SQLite's compressed ones."""
    data = path.read_bytes()
    yield data
    if path.name.endswith(".parquet") or ".parquet." in path.name:
        for column in pq.read_table(path, partitioning=None).to_pydict().values():
            yield from (str(cell).encode() for cell in column)
    elif data.startswith(b"SQLite format 3"):
        yield from _cells(path)


def _cells(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        for (table,) in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    packed = cell if isinstance(cell, bytes) else str(cell).encode()
                    yield packed
                    with suppress(zlib.error):
                        yield zlib.decompress(packed)
