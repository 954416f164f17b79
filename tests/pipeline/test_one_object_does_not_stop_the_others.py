"""One object's question that is slow, refused or in error: the others are pulled, and what waits is scored (D17, R44)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from pipeline.core.scoring.due import Reason
from pipeline.steps.clients import Clients
from pipeline.steps.pull import read_page
from resources.ledger.objects import Seen
from resources.ledger.waiting import ScoringRequest
from resources.salesforce.calls import RetryPolicy, Timeouts
from tests.plant import Plant, integration

Build = Callable[..., Plant]
LEAD = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
CONTACT = {"LastName": "Abe", "Title": "CTO"}
COMPOSITE = "POST /services/data/v62.0/composite"


@pytest.fixture
def both(shared_plant: Build, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """A plant with Lead and Contact turned on, a new record of each, and a client that retries without pauses."""
    built = shared_plant(integration("Lead"), integration("Contact"))
    built.turn_on()
    built.with_clients(note_daily_pulls)
    built.create("Lead", LEAD)
    built.create("Contact", CONTACT)
    built.wait(seconds=5)
    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (6, 0.0, 0.0, 0.0))
    return built


def note_daily_pulls(clients: Clients) -> None:
    """Let today's daily pulls be in, so that none is asked for."""
    for name in ("Lead", "Contact"):
        lease = clients.lease(name)
        assert lease is not None
        clients.ledger.record_daily_pull(lease, [], day=clients.today, now=clients.now())


def wanted(requests: Sequence[dg.RunRequest]) -> dict[str, tuple[str, str]]:
    """Return by object the job that is asked for, and why."""
    return {r.tags["insights/object"]: (str(r.job_name), r.tags["insights/why"]) for r in requests}


def let_wait(built: Plant, *ids: str) -> None:
    """Put Leads on the waiting list."""

    def request(clients: Clients) -> None:
        lease = clients.lease("Lead")
        assert lease is not None
        rows = [ScoringRequest(i, Reason.CHANGED, not_before=clients.now()) for i in ids]
        clients.ledger.add_requests(lease, rows, clients.now())

    built.with_clients(request)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ({"status": 400, "code": "INVALID_FIELD"}, "the org refuses the question what changed"),
        (
            {"status": 500, "code": "QUERY_TIMEOUT"},
            "the org does not answer the question what changed in time",
        ),
    ],
)
def test_a_part_without_an_answer_has_its_object_pulled_and_the_others_as_ever(
    both: Plant, error: dict[str, Any], why: str
) -> None:
    """D17: the answers of the same call count, and the pull's preflight finds out what is wrong."""
    fault = both.org.arm("query_error", object="Lead", message="no", count=None, **error)

    requests, _ = both.ask()

    assert wanted(requests) == {
        "Contact": ("pull", "1 records changed lately"),
        "Lead": ("pull", why),
    }
    assert both.org.fault_count(fault) >= 1


def test_a_slow_part_has_each_object_asked_alone_for_an_hour(
    both: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D17: at once, in the same tick; the slow object is pulled all the same, and remains alone while it is slow."""
    monkeypatch.setattr("resources.salesforce.calls.TICK_TIMEOUTS", Timeouts(5.0, 2.0, 2.0))
    monkeypatch.setattr("pipeline.steps.watch.ALONE_SECONDS", 2.0)
    slow = both.org.arm("query_slow", object="Lead", seconds=4.0, count=None)

    requests, _ = both.ask()

    assert wanted(requests) == {
        "Contact": ("pull", "1 records changed lately"),
        "Lead": ("pull", "the org does not answer the question what changed in time"),
    }
    both.org.control("DELETE", f"faults/{slow['id']}")
    assert calls_of_a_tick(both) == [COMPOSITE, COMPOSITE]
    both.wait(minutes=61)
    assert calls_of_a_tick(both) == [COMPOSITE]


def calls_of_a_tick(built: Plant) -> list[str]:
    """Return what a tick asks the org."""
    before = len(built.org.calls()["log"])
    built.ask()
    return built.calls_since(before)


def test_a_call_without_an_answer_leaves_what_waits_to_be_scored(both: Plant) -> None:
    """R44: what waits is asked of the ledger, whatever the org said; once it answers, at once again."""
    let_wait(both, "00Q000000000001AAA")
    fault = both.org.arm("http_503", path="/composite", count=None)

    requests, _ = both.ask()

    assert wanted(requests) == {"Lead": ("score_and_push", "1 waiting records may be scored")}
    assert both.org.fault_count(fault) >= 1
    assert both.ask()[0] == []
    both.org.clear_faults()
    assert {name: job for name, (job, _) in wanted(both.ask()[0]).items()} == {
        "Contact": "pull",
        "Lead": "pull",
    }


def test_an_object_whose_question_is_refused_has_its_waiting_records_scored(both: Plant) -> None:
    """R44: while its pull pauses, the next most urgent run of the object is asked for."""
    let_wait(both, "00Q000000000001AAA")
    both.org.arm("query_error", object="Lead", count=None)
    both.ask()

    requests, _ = both.ask()

    assert wanted(requests) == {"Lead": ("score_and_push", "1 waiting records may be scored")}


def test_a_refused_sign_in_asks_for_no_run(both: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """R3: a run would be refused as well, and count against the user."""
    let_wait(both, "00Q000000000001AAA")
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "wrong")

    assert both.ask()[0] == []


START = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


def page(*records: tuple[str, datetime]) -> dict[str, list[dict[str, str]]]:
    """Return the org's answer about Leads."""
    rows = [{"Id": key, "SystemModstamp": at.isoformat()} for key, at in records]
    return {"Lead by Lead": rows}


def test_another_record_of_the_same_second_is_another_page() -> None:
    """D17: count and newest stamp alone would miss a late commit."""
    before = read_page("Lead", page(("b", START), ("a", START)), START)
    after = read_page("Lead", page(("c", START), ("a", START)), START)

    assert (before.count, before.newest) == (after.count, after.newest) == (2, START)
    assert before.digest != after.digest


def test_a_page_is_compared_as_it_would_be_from_a_later_moment_on() -> None:
    """D17: a pull asks from its window's start, the next tick from the end of its overlap."""
    old, new = ("a", START - timedelta(seconds=1)), ("b", START)

    assert read_page("Lead", page(new, old), START) == read_page("Lead", page(new), START)
    assert read_page("Lead", page(old), START) == Seen(0, None, None)
