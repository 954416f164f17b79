"""The API budget: every call counts, pulling stops in time, a push that has begun finishes (R2, R21)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.steps.asking.status import status
from pipeline.steps.budget import PULL_RESERVE_CALLS
from resources.ledger.ledger import Ledger
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def leads(shared_plant: Build) -> Iterator[Plant]:
    """A plant with one market on Lead, turned on, its daily pull in."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.refresh("Lead")
    yield built
    built.org.set_options(query_page_rows=2_000)


def create(built: Plant, count: int) -> list[str]:
    """Let so many new leads be saved."""
    ids = built.org.load("Lead", [ACME | {"LastName": f"Ito {n}"} for n in range(count)])
    built.wait(seconds=5)
    return ids


def total(built: Plant) -> int:
    """Return the calls that the ledger has counted today."""
    counted: int = built.with_clients(lambda clients: clients.ledger.calls.total(clients.today))
    return counted


def limit(built: Plant, calls: int, **settings: Any) -> None:
    """Set the day's limit of calls."""
    built.configure(integration("Lead"), daily_api_calls_limit=calls, **settings)


def watermark(built: Plant) -> datetime:
    """Return where the next pull begins."""
    states = built.with_clients(lambda clients: clients.ledger.objects.all())
    found: datetime = states["Lead"].watermark
    return found


@pytest.mark.dagster_runs
def test_ledger_counts_exactly_what_the_org_saw(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R21: sign-ins, questions, describes, pages, jobs, polls, results and retries, over several processes' work."""
    _without_waiting(monkeypatch)
    before, counted = len(leads.org.calls()["log"]), total(leads)
    create(leads, 30)
    for kind, path in (
        ("http_503", "/composite"),
        ("http_403_limit", "/describe"),
        ("expire_session", r"/jobs/ingest/\w+$"),
        ("drop_after", "/successfulResults"),
        ("drop_before", "/oauth2/token"),
    ):
        leads.org.arm(kind, path=path, **({"limit": "concurrent"} if "limit" in kind else {}))
    leads.tick()
    leads.wait(minutes=5)
    leads.pull("Lead")
    leads.refresh("Lead")
    leads.tick()

    assert leads.org.fault_count() == 5
    made = len(leads.org.calls()["log"]) - before
    assert made > 20
    assert total(leads) - counted == made


@pytest.mark.parametrize("how", ["rest", "bulk"])
def test_pull_that_comes_near_the_limit_stops_in_the_middle_and_loses_nothing(
    leads: Plant, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """R21: the watermark stays, the run says when it goes on, status and sensor as well."""
    ids = create(leads, 900)
    leads.org.set_options(query_page_rows=200)
    if how == "bulk":
        monkeypatch.setattr("pipeline.steps.pull.REST_ROWS_MAX", 0)
    stood = watermark(leads)
    # The describe, the sizes, the query or job, and one more; the session is kept.
    limit(leads, total(leads) + 4 + PULL_RESERVE_CALLS, segment_records_max=1_000)

    stopped = leads.pull("Lead")

    assert not stopped["success"]
    message, code = leads.failure()
    assert "Pulling resumes at 2026-03-11 00:00 CET" in message
    assert code == 3
    assert watermark(leads) == stood
    stands = leads.with_clients(
        lambda clients: clients.configuration.settings.daily_api_calls_limit
    )
    assert total(leads) == stands - PULL_RESERVE_CALLS
    found = leads.with_clients(status)
    assert "Pulling resumes at 2026-03-11 00:00 CET" in found.pulling_stopped
    assert found.pulling_resumes_at == datetime(2026, 3, 10, 23, 0, tzinfo=UTC)
    calls = len(leads.org.calls()["log"])
    requests, why_not = leads.ask()
    assert requests == []
    assert "Pulling resumes at 2026-03-11 00:00 CET" in why_not
    assert len(leads.org.calls()["log"]) == calls

    leads.org.set_options(query_page_rows=2_000)
    leads.set_clock(datetime(2026, 3, 10, 22, 59, 30, tzinfo=UTC))
    assert leads.ask()[0] == []
    leads.set_clock(datetime(2026, 3, 10, 23, 0, 30, tzinfo=UTC))
    limit(leads, 15_000, segment_records_max=1_000)
    assert [run["pushed"] for run in leads.tick()[0]] == [900]
    assert all(leads.scored_at("Lead", one) for one in (ids[0], ids[-1]))


def test_push_that_has_begun_finishes_beyond_the_limit(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R21: three jobs, since a row stays locked; the limit passes in the middle of them, and they finish."""
    for place in ("budget", "score"):
        monkeypatch.setattr(f"pipeline.steps.{place}.PULL_RESERVE_CALLS", 3)
    monkeypatch.setattr("pipeline.steps.push_segment.PUSH_CALLS", 1)
    (lead,) = create(leads, 1)
    leads.org.arm("lock_rows", ids=[lead], count=2)
    stands = total(leads) + 4 + 6
    limit(leads, stands)

    figures = leads.pull("Lead")

    assert (figures["pushed"], figures["failed"]) == (1, 0)
    assert total(leads) > stands
    assert leads.scored_at("Lead", lead) is not None


@pytest.mark.slow
def test_begun_push_of_a_run_that_died_is_finished_though_nothing_is_left(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R21: its job is in the org already, so its results are read."""
    monkeypatch.setattr("pipeline.steps.push_segment.JOB_DEADLINE_SECONDS", 1)
    (lead,) = create(leads, 1)
    leads.org.arm("job_stuck")
    assert leads.pull("Lead")["in_flight"] == 1
    leads.org.clear_faults()
    leads.org.control("GET", "jobs/idle")
    limit(leads, total(leads))
    leads.wait(minutes=1)

    (request,), _ = leads.ask()

    assert (request.job_name, request.tags["insights/why"]) == (
        "score_and_push",
        "a segment is unfinished",
    )
    assert leads.run("score_and_push", "Lead", resumed=1)["pushed"] == 1
    assert leads.scored_at("Lead", lead) is not None
    assert leads.ask()[0] == []


def test_processes_that_pull_at_once_never_pass_the_reserve_together(tmp_path: Path) -> None:
    """R21: a call is counted and compared in one transaction, before it leaves."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    day = date(2026, 3, 10)

    def clients(number: int) -> int:
        ledger = Ledger(url)
        try:
            allowed = [ledger.calls.count(day, f"kind {number}", most=100) for _ in range(40)]
            return sum(allowed)
        finally:
            ledger.close()

    Ledger(url).close()
    with ThreadPoolExecutor(4) as pool:
        counted = list(pool.map(clients, range(4)))

    ledger = Ledger(url)
    assert sum(counted) == ledger.calls.total(day) == 100
    ledger.calls.count(day, "push")
    assert ledger.calls.total(day) == 101
    ledger.close()


def test_tick_costs_one_call_where_an_integration_follows_its_accounts_too(
    shared_plant: Build,
) -> None:
    """D7: four questions about three objects, one call."""
    built = shared_plant(
        integration("Account"), integration("Contact", account_changes=True), integration("Lead")
    )
    built.turn_on()
    for name in ("Account", "Contact", "Lead"):
        built.refresh(name)
    built.ask()
    built.wait(minutes=5)
    before = len(built.org.calls()["log"])
    counted = total(built)

    requests, _ = built.ask()

    assert requests == []
    assert built.calls_since(before) == ["POST /services/data/v62.0/composite"]
    assert total(built) == counted + 1


@pytest.mark.slow
@pytest.mark.dagster_runs
def test_daily_limit_of_the_org_stops_everything_for_an_hour(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R21: refused between upload and results; run, status and ticks say until when, then the same job is settled."""
    _without_waiting(monkeypatch)
    (lead,) = create(leads, 1)
    leads.org.arm("http_403_limit", method="GET", path=r"/jobs/ingest/\w+$", count=None)
    jobs = len(leads.org.control("GET", "jobs"))

    stopped = leads.pull("Lead")

    assert not stopped["success"]
    message, code = leads.failure()
    assert "TotalRequests Limit exceeded" in message
    assert "It is asked again at 2026-03-10 11:00 CET" in message
    assert code == 3
    found = leads.with_clients(status)
    assert "It is asked again at 2026-03-10 11:00 CET" in found.pulling_stopped
    leads.org.clear_faults()
    before = len(leads.org.calls()["log"])
    leads.wait(minutes=5)
    requests, why_not = leads.ask()
    assert requests == []
    assert "It is asked again at 2026-03-10 11:00 CET" in why_not
    assert leads.calls_since(before) == []

    leads.wait(minutes=60)
    (figures,) = leads.tick(resumed=1)[0]
    assert (figures["pushed"], figures["in_flight"]) == (1, 0)
    assert leads.scored_at("Lead", lead) is not None
    assert leads.waiting("Lead") == 0
    assert len(leads.org.control("GET", "jobs")) == jobs + 1


def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client retry as often as ever, without the pauses between."""
    from resources.salesforce.calls import RetryPolicy

    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (6, 0.0, 0.0, 0.0))
