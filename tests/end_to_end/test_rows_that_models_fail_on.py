"""A record that a model raises, crashes or hangs on holds up no other (R23, R44, D21)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.steps.asking.status import status
from tests.plant import LETTERS, RAISES, Plant, integration

Build = Callable[..., Plant]
LEADS = 300
RAISE = 'raise RuntimeError("this model raises")'


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


@pytest.fixture
def two_markets(shared_plant: Build) -> Plant:
    """A plant with two markets on Lead that write fields of their own, turned on."""
    built = shared_plant(integration("Lead"), integration("Lead", "other", "Other"))
    built.turn_on()
    return built


def lead(company: str = "Acme") -> dict[str, Any]:
    return {"LastName": "Ito", "Company": company, "Title": "CEO"}


def does(plant: Plant, what: str, market: str = "fit") -> int:
    """Let the model do `what` on marked records; return the line on which it does."""
    text = (LETTERS / "model.py").read_text().replace(RAISE, what)
    (plant.market(market) / "model.py").write_text(f"import os, time\n{text}")
    return 1 + next(n for n, line in enumerate(text.splitlines(), 1) if what in line)


def scored(plant: Plant) -> set[str]:
    query = "SELECT Id, IsDeleted FROM Lead WHERE Mintigo_update_datetime__c != null"
    return {row["Id"] for row in plant.org.query(query) if not row["IsDeleted"]}


def held(plant: Plant) -> set[str]:
    return set(plant.with_clients(lambda clients: clients.ledger.holds.all()))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (RAISE, "raised RuntimeError at model.py:{line}"),
        pytest.param("os._exit(3)", "ended its process with exit code 3", marks=[pytest.mark.slow]),
        pytest.param(
            "time.sleep(600)",
            "gave no answer within 3 seconds (market_timeout_seconds), at model.py:{line}",
            marks=[pytest.mark.slow],
        ),
    ],
)
def test_one_record_among_many_that_the_model_fails_on_is_found_and_all_others_are_scored(
    leads: Plant, what: str, says: str
) -> None:
    """R23, D21: in the same run, and it is a failing row with what the model did and where."""
    leads.configure(integration("Lead"), market_timeout_seconds=3 if "sleep" in what else 60)
    line = does(leads, what)
    records = [lead(f"Company {n}") for n in range(LEADS)]
    records[137] = lead("RAISE")
    ids = leads.create("Lead", *records)

    figures = leads.pull("Lead")

    assert (figures["scored"], figures["set_aside_MODEL_FAILED"]) == (LEADS - 1, 1)
    assert "markets_failed" not in figures
    assert scored(leads) == set(ids) - {ids[137]}
    (failure,) = leads.failures()
    assert (failure.record_id, failure.error_code) == (ids[137], "MODEL_FAILED")
    assert failure.error_message == f"fit: the model {says.format(line=line)}"
    assert (failure.lasting, failure.held_for) == (True, None)
    assert (leads.waiting("Lead"), held(leads)) == (1, set())


@pytest.mark.slow
def test_record_that_the_model_fails_on_is_tried_again_alone_without_holding_its_market(
    leads: Plant,
) -> None:
    """R23, D21: what is known to fail proves nothing against the market."""
    leads.create("Lead", lead("RAISE"), lead())
    leads.pull("Lead")
    leads.wait(minutes=31)

    again = leads.run("score_and_push", "Lead")

    assert (again["claimed"], again["set_aside_MODEL_FAILED"]) == (1, 1)
    assert [row.tries for row in leads.failures()] == [2]
    assert held(leads) == set()


@pytest.mark.slow
def test_record_that_comes_alone_and_fails_keeps_the_next_one_waiting_for_minutes(
    leads: Plant,
) -> None:
    """R44: one record may be at fault as well as its market: the next one shows which."""
    (bad,) = leads.create("Lead", lead("RAISE"))
    leads.pull("Lead")
    for _ in range(2):
        leads.wait(minutes=6)
        assert leads.run("score_and_push", "Lead")["markets_failed"].keys() == {"fit"}

    (good,) = leads.create("Lead", lead())
    leads.wait(minutes=6)
    leads.pull("Lead")

    assert scored(leads) == {good}
    assert [(row.record_id, row.error_code) for row in leads.failures()] == [(bad, "MODEL_FAILED")]
    assert held(leads) == set()


@pytest.mark.slow
def test_model_that_fails_on_all_is_held_after_few_calls(leads: Plant) -> None:
    """R23, D21: no row is blamed, nothing of the day is used, and what waits stays together."""
    counted = leads.market("fit") / "calls.txt"
    text = RAISES.replace("raise ", f"open({str(counted)!r}, 'a').write('x'); raise ")
    (leads.market("fit") / "model.py").write_text(text)
    leads.create("Lead", *[lead()] * LEADS)

    figures = leads.pull("Lead")

    assert figures["markets_failed"] == {"fit": "the model raised ValueError at model.py:4"}
    assert figures["set_aside_MARKET_FAILED"] == LEADS
    assert len(counted.read_text()) < 20
    assert {(row.error_code, row.held_for) for row in leads.failures()} == {
        ("MARKET_FAILED", "fit")
    }
    assert leads.with_clients(lambda c: c.ledger.days.use(c.today, 100).used) == 0


@pytest.mark.slow
def test_records_that_fail_together_hold_their_market_for_minutes_and_once(leads: Plant) -> None:
    """R23, R44: a trial takes others beside them, and tried again they do not accuse it."""
    leads.create("Lead", *[lead("RAISE")] * 6)
    leads.pull("Lead")
    assert held(leads) == {"fit"}
    good = leads.create("Lead", *[lead()] * 6)
    leads.wait(minutes=1)
    leads.pull("Lead")

    leads.wait(minutes=6)
    leads.pull("Lead")
    assert (scored(leads), held(leads)) == (set(good), set())

    leads.wait(minutes=31)
    assert leads.run("score_and_push", "Lead")["claimed"] == 6
    assert held(leads) == set()


@pytest.mark.slow
def test_another_version_of_the_market_tries_the_records_that_it_failed_on_at_once(
    leads: Plant,
) -> None:
    """R17, R23: they do not wait out a pause of up to seven days."""
    leads.create("Lead", lead("RAISE"), lead("BAD RANK"), lead())
    leads.pull("Lead")
    assert [row.tries for row in leads.failures()] == [1, 1]

    model = leads.market("fit") / "model.py"
    model.write_text(
        (LETTERS / "model.py").read_text().replace('"RAISE"', '"-"').replace('"E"', '"A"')
    )
    _next_version(leads.market("fit") / "market.yaml")
    leads.turn_on()
    figures = leads.run("score_and_push", "Lead")

    assert (figures["claimed"], figures["pushed"]) == (2, 2)
    assert leads.failures() == []


@pytest.mark.slow
def test_record_that_one_market_fails_on_is_scored_by_the_other(two_markets: Plant) -> None:
    """R23: it is written in part, and the failing market's part waits."""
    does(two_markets, "pass", market="other")
    bad, good = two_markets.create("Lead", lead("RAISE"), lead())

    figures = two_markets.pull("Lead")

    assert (figures["scored"], figures["failed_MODEL_FAILED"]) == (2, 1)
    record = two_markets.record("Lead", bad)
    assert (record["Other_Note__c"], record["Fit_Note__c"]) == ("RAISE|CEO", None)
    assert two_markets.record("Lead", good)["Fit_Note__c"] == "Acme|CEO"
    assert two_markets.waiting("Lead") == 1


@pytest.mark.slow
def test_market_that_takes_too_long_is_given_fewer_records_the_next_time(leads: Plant) -> None:
    """D21: slow by the number of records, it is given half as many, and more again when it can."""

    def noted() -> int | None:
        rows: int | None = leads.with_clients(lambda c: c.ledger.market_batches.rows("fit"))
        return rows

    leads.configure(integration("Lead"), market_timeout_seconds=3)
    model = leads.market("fit") / "model.py"
    model.write_text(
        "import time\n"
        + (LETTERS / "model.py")
        .read_text()
        .replace("self._edit_once()", "time.sleep(600 if len(inputs) > 12 else 0)", 1)
    )
    leads.create("Lead", *[lead()] * 20)

    assert leads.pull("Lead")["pushed"] == 20
    assert noted() == 10

    leads.create("Lead", *[lead()] * 20)
    assert leads.pull("Lead")["pushed"] == 20
    assert noted() == 20


@pytest.mark.slow
def test_status_says_which_market_is_held_since_when_why_and_its_next_trial(leads: Plant) -> None:
    """R23, R29: and so do the skip reason of the sensor and the check."""
    (Path(leads.market("fit")) / "model.py").write_text(RAISES)
    leads.create("Lead", *[lead()] * 6)
    leads.pull("Lead")
    leads.refresh("Lead")

    found = leads.with_clients(status)

    why = "the model raised ValueError at model.py:4"
    (entry,) = found.markets_held
    assert (entry["market"], entry["why"], entry["waiting"]) == ("fit", why, 6)
    assert entry["next_trial"] - entry["since"] == timedelta(minutes=5)
    (row,) = found.integrations
    assert (row["state"], row["why"]) == ("held", why)
    _, skipped = leads.ask()
    assert f"market fit is held since 2026-03-10 09:00 UTC ({why})" in skipped
    assert "next trial at 2026-03-10 09:05 UTC" in skipped


def _next_version(path: Path) -> None:
    text = path.read_text()
    old = next(line for line in text.splitlines() if line.startswith("version:"))
    path.write_text(text.replace(old, 'version: "next"'))
