"""Odd values from people, bad values from models, models that harm their process: nothing lost, nothing wrong pushed.

After each run what was read, listed, claimed, pushed and set aside is held against each other, by count and by id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from tests.plant import LETTERS, Plant, integration

Build = Callable[..., Plant]

REST: Final = 4_000
BULK: Final = 0
"""How many rows a pull reads by REST at the most: none, and it reads by a bulk job."""

LONG: Final = 32_000
ECHO: Final = "note = [None if t is None else t[:40] for t in titles]"
TEXTS: Final = (
    None,
    "",
    "  \t ",
    "\u00a0",
    "  both ends  ",
    "x" * LONG,
    "😀" * (LONG // 2),
    "\u00e9" + "Zoe\u0308",
    "e\u0301" + "Zo\u00eb",
    "👩\u200d👩\u200d👧\u200d👦 family",
    "\u05e9\u05dc\u05d5\u05dd \u202eabc\u202c \u0645\u0631\u062d\u0628\u0627",
    "one\u2028two\u2029three\u0085four\u000bfive",
    "nul\0inside",
    "a\r\nb\rc\nd",
    '"quoted", and ""twice"", \'once\'',
    '"',
    "=1+1",
    "@SUM(A1)",
    "+49 30 123",
    "-1",
    "=cmd|' /C calc'!A0",
    "00042",
    "1e5",
    "87.0",
    "NaN",
    "null",
    "true",
    "#N/A",
    "\ufeffmark",
    "\\N \\u0000 %s {0} ${x} <b>&amp;</b>",
    "; DROP TABLE leads; --",
)
MODEL: Final = '''
import ctypes, math, os, sys, time
import pandas as pd
import pyarrow as pa


class Does:
    """Scores well but for what one line of code does to it."""

    def score(self, inputs):
        titles = inputs.column("title").to_pylist()
        rows = len(titles)
        score, rank, note, good = [50] * rows, ["B"] * rows, ["fine"] * rows, [True] * rows
        more = {{}}
        {does}
        columns = {{"score": score, "rank": rank, "note": note, "good": good, **more}}
        return pa.table({{name: column for name, column in columns.items() if column is not None}})


def load(folder):
    return Does()
'''


def does(plant: Plant, what: str, market: str = "fit") -> None:
    """Let a market's model do `what`."""
    (plant.market(market) / "model.py").write_text(MODEL.format(does=what))


def reading_by(monkeypatch: pytest.MonkeyPatch, rows_max: int) -> None:
    monkeypatch.setattr("pipeline.steps.pull.REST_ROWS_MAX", rows_max)


def pull(plant: Plant) -> dict[str, Any]:
    """Run a pull of leads; hold its figures against the ids in lake and ledger: each record is in one place."""
    figures = plant.pull("Lead")
    assert figures["success"], figures

    def ids(clients: Any) -> tuple[list[str], list[str]]:
        lake, today = clients.lake, clients.today
        listed = lake.read_file("salesforce_changed_records", today, "Lead", figures["run_id"])
        results = [lake.read_file("pushed_results", today, "Lead", s) for s in figures["segments"]]
        return (
            [] if listed is None else listed.column("id").to_pylist(),
            [i for table in results if table is not None for i in table.column("id").to_pylist()],
        )

    listed, sent = plant.with_clients(ids)
    aside = {failure.record_id for failure in plant.failures()} & set(listed) - set(sent)
    assert figures["read"] == figures["not_due"] + figures["due"]
    assert figures["due"] == len(listed) == len(set(listed))
    assert figures["claimed"] == len(sent) + len(aside) == len(set(sent)) + len(aside)
    assert figures["set_aside"] == len(aside)
    assert set(sent) | aside == set(listed)
    assert figures["waiting_of_this_pull"] == 0
    return figures


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on; its title is a long text area."""
    built = shared_plant(_described("Lead"))
    built.turn_on()
    return built


@pytest.fixture
def two_markets(shared_plant: Build) -> Plant:
    """A plant with two markets on Lead that write fields of their own, turned on."""
    built = shared_plant(_described("Lead"), integration("Lead", "other", "Other"))
    built.turn_on()
    return built


def _described(name: str) -> dict[str, Any]:
    entry = integration(name)
    entry["inputs"]["title"] = "Description"
    return entry


def _lead(text: str | None, number: int) -> dict[str, Any]:
    return {"LastName": f"Ito {number}", "Company": "Acme", "Description": text}


# -- odd values from people ------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "then"), [(REST, BULK), (BULK, REST)])
def test_odd_texts_are_scored_pushed_back_and_read_alike_by_both_ways(
    leads: Plant, monkeypatch: pytest.MonkeyPatch, first: int, then: int
) -> None:
    """D1, R15: what one way of reading scored, the other one finds not due."""
    does(leads, ECHO)
    ids = leads.create("Lead", *(_lead(text, n) for n, text in enumerate(TEXTS)))
    reading_by(monkeypatch, first)

    figures = pull(leads)

    assert (figures["pushed"], figures["failed"]) == (len(TEXTS), 0)
    held = _descriptions(leads, ids)
    for record_id in ids:
        assert leads.record("Lead", record_id)["Fit_Note__c"] == _kept(held[record_id])

    for number, record_id in enumerate(ids):
        leads.edit("Lead", record_id, Phone=str(number))
    reading_by(monkeypatch, then)
    again = pull(leads)
    assert (again["read"], again["not_due"], again["claimed"]) == (len(TEXTS), len(TEXTS), 0)


def _descriptions(plant: Plant, ids: Sequence[str]) -> dict[str, str | None]:
    rows = plant.org.query("SELECT Id, Description FROM Lead")
    return {row["Id"]: row["Description"] for row in rows if row["Id"] in set(ids)}


def _kept(text: str | None) -> str | None:
    """Return what a text field keeps of the first 40 characters: trimmed, one kind of line end, no NUL."""
    if text is None:
        return None
    read = text.replace("\0", "")
    cut = read[:40].replace("\r\n", "\n").replace("\r", "\n")
    return cut.strip(" \t\r\n\f\v") or None


@pytest.mark.slow
def test_composed_and_decomposed_letters_are_different_values(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1: they are hashed as they are, so that an edit from one to the other is scored."""
    (lead,) = leads.create("Lead", _lead("Zo\u00eb", 1))
    pull(leads)
    before = leads.record("Lead", lead)["Mintigo_hash__c"]
    leads.edit("Lead", lead, Description="Zoe\u0308")

    figures = pull(leads)

    assert (figures["due_changed"], figures["pushed"]) == (1, 1)
    assert leads.record("Lead", lead)["Mintigo_hash__c"] != before


# -- bad values from models ------------------------------------------------------------------------

NO_SCORE: Final = "score is not a whole number from 0 to 100"
BAD: Final = {
    "score[row] = 101": NO_SCORE,
    "score[row] = -1": NO_SCORE,
    "score[row] = 50.5": NO_SCORE,
    "score[row] = math.nan": NO_SCORE,
    "score[row] = math.inf": NO_SCORE,
    "score[row] = -math.inf": NO_SCORE,
    "score[row] = None": "score is not score and rank together, or neither",
    'rank[row] = "E"': "rank is not one of A, B, C, D, F",
    'rank[row] = "a"': "rank is not one of A, B, C, D, F",
    'note[row] = "x" * 41': "note is not at most 40 characters",
    'note[row] = "e\\u0301" * 21': "note is not at most 40 characters",
}
UNUSUAL: Final = (
    "score[row] = 50.0",
    'note[row] = "😀" * 40',
    'note[row] = "e\\u0301" * 20',
    "score[row] = rank[row] = note[row] = good[row] = None",
    'more["extra"] = [object.__name__] * rows',
    'more["Score"] = [1000] * rows',
)


def test_bad_value_sets_its_row_aside_and_the_others_are_pushed(leads: Plant) -> None:
    """R8, R10, R23: by record with the rule that it breaks; NaN is no missing value, a length counts characters."""
    does(leads, "for row, line in enumerate(titles): exec(line)")
    bad = leads.create("Lead", *(_lead(line, n) for n, line in enumerate(BAD)))
    good = leads.create("Lead", *(_lead(line, n) for n, line in enumerate(UNUSUAL)))

    figures = pull(leads)

    assert (figures["pushed"], figures["failed"]) == (len(UNUSUAL), len(BAD))
    found = {f.record_id: (f.error_code, f.error_message) for f in leads.failures()}
    rules = BAD.values()
    assert found == {
        i: ("INVALID_OUTPUT", f"fit: {rule}") for i, rule in zip(bad, rules, strict=True)
    }
    assert {i for i in (*bad, *good) if leads.scored_at("Lead", i)} == set(good)


# -- markets that fail as a whole ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("raise ValueError(titles)", "the model raised ValueError at model.py:15"),
        pytest.param(
            "os._exit(0)",
            "the model ended its process with exit code 0",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ctypes.string_at(0)",
            "the model ended its process by signal SIGSEGV, at model.py:15",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "time.sleep(600)",
            "the model gave no answer within 3 seconds (market_timeout_seconds), at model.py:15",
            marks=pytest.mark.slow,
        ),
        ("return None", "the model gave a NoneType, not a pyarrow table"),
        (
            "score, rank, note, good = score[1:], rank[1:], note[1:], good[1:]",
            "the model gave 1 rows for 2 records",
        ),
        (
            "score, rank, note, good = score * 2, rank * 2, note * 2, good * 2",
            "the model gave 4 rows for 2 records",
        ),
        ('good = ["true"] * rows', "good: expected boolean, the model gave string"),
        ("note, more = None, {'Note': ['x'] * rows}", "note: the model gave no such column"),
    ],
)
def test_market_that_fails_as_a_whole_stops_that_market_alone(
    shared_plant: Build, what: str, says: str
) -> None:
    """R23: the neighbour's outputs are pushed in the same run, and what failed waits for its market."""
    built = shared_plant(
        _described("Lead"),
        integration("Lead", "other", "Other"),
        market_timeout_seconds=3,
    )
    built.turn_on()
    does(built, what)
    ids = built.create("Lead", *(_lead("CEO", n) for n in range(2)))

    figures = pull(built)

    assert figures["markets_failed"] == {"fit": says}
    assert (figures["scored"], figures["failed_MARKET_FAILED"]) == (2, 2)
    for record_id in ids:
        record = built.record("Lead", record_id)
        assert (record["Other_Note__c"], record["Fit_Note__c"]) == ("Acme|", None)
    assert {f.error_code for f in built.failures()} == {"MARKET_FAILED"}


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_market_that_kills_its_process_again_and_again_does_not_give_segments_up(
    two_markets: Plant,
) -> None:
    """D3, R23: a segment's attempts are for runs that end; mended, the market catches up."""
    does(two_markets, "os._exit(1)")
    (lead,) = two_markets.create("Lead", _lead("CEO", 1))
    assert pull(two_markets)["scored"] == 1
    for minutes in (6, 11, 21):
        two_markets.wait(minutes=minutes)
        trial = two_markets.run("score_and_push", "Lead")
        assert trial["success"]
        assert (trial["claimed"], trial["markets_failed"].keys()) == (1, {"fit"})

    (two_markets.market("fit") / "model.py").write_text((LETTERS / "model.py").read_text())
    two_markets.wait(minutes=41)
    assert two_markets.run("score_and_push", "Lead")["pushed"] == 1
    assert two_markets.record("Lead", lead)["Fit_Note__c"] == "Acme|CEO"
    assert (two_markets.waiting("Lead"), two_markets.failures()) == (0, [])


@pytest.mark.slow
def test_model_that_hangs_while_it_loads_rests_and_its_neighbour_goes_on(
    shared_plant: Build,
) -> None:
    """R12, R23: its integration is not ready, with why."""
    built = shared_plant(
        _described("Lead"), integration("Lead", "other", "Other"), market_timeout_seconds=2
    )
    built.turn_on()
    (built.market("fit") / "model.py").write_text("import time\ntime.sleep(600)\n")
    (lead,) = built.create("Lead", _lead("CEO", 1))

    assert pull(built)["pushed"] == 1

    assert built.record("Lead", lead)["Other_Note__c"] == "Acme|"
    states = built.with_clients(lambda clients: clients.ledger.integrations.all())
    assert "was not loaded within 2 seconds, at model.py:2" in states["Lead", "fit"].not_ready
