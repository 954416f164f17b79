"""What a tick costs, what it asks for, and how it says that there is nothing to do (D7, R14, R17, R21)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from assets.step_runs import WORK_TAG
from pipeline.core.configuration.integration import OBJECTS
from pipeline.jobs import OBJECT_TAG, PRIORITY_TAG
from tests.plant import START, Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
TICKS_MAX = 6


def settle(built: Plant) -> None:
    """Tick until a tick asks for nothing."""
    for _ in range(TICKS_MAX):
        figures, why_not = built.tick()
        assert all(run["success"] for run in figures), figures
        if why_not:
            return
        built.wait(seconds=30)
    raise AssertionError(f"still busy after {TICKS_MAX} ticks: {figures}")


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant with one market on Lead, turned on, its daily pull in."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    settle(built)
    built.wait(minutes=1)
    return built


def test_a_tick_with_nothing_new_on_three_objects_costs_one_call(shared_plant: Build) -> None:
    """D7: one composite for all objects, in the org's log as in the ledger; and it says why it asks for nothing."""
    built = shared_plant(*(integration(name) for name in OBJECTS))
    built.turn_on()
    settle(built)
    built.wait(minutes=1)
    before = len(built.org.calls()["log"])
    used = built.org.calls()["used_24h"]
    counted = _counted(built)

    requests, why_not = built.ask()

    assert requests == []
    assert why_not == "Account: nothing new; Contact: nothing new; Lead: nothing new"
    assert built.calls_since(before) == ["POST /services/data/v62.0/composite"]
    assert built.org.calls()["used_24h"] == used + 1
    after = _counted(built)
    assert after["query"] == counted["query"] + 1
    assert {k for k in after if after[k] != counted.get(k)} <= {"query", "sign-in"}


@pytest.mark.slow
def test_ticks_share_one_sign_in(leads: Plant) -> None:
    """R21: a tick a minute must not be a sign-in a minute: every HTTP call counts."""
    leads.ask()
    before = _counted(leads)
    leads.wait(minutes=5)

    leads.ask()

    assert _counted(leads).get("sign-in") == before.get("sign-in")


def test_a_change_asks_for_one_pull_of_its_object_today(shared_plant: Build) -> None:
    """R14: with today's partition, and the tags that queue and asset go by."""
    built = shared_plant(*(integration(name) for name in OBJECTS))
    built.turn_on()
    settle(built)
    built.wait(minutes=1)
    built.create("Lead", ACME)
    built.wait(seconds=5)
    watermarks = _watermarks(built)

    (request,), _ = built.ask()

    assert (request.job_name, str(request.partition_key)) == ("pull", "2026-03-10|Lead")
    assert request.tags[OBJECT_TAG] == "Lead"
    assert request.tags["insights/why"] == "1 records changed lately"
    assert request.run_key
    job = built.definitions.resolve_job_def("pull")
    assert (job.tags[WORK_TAG], job.tags[PRIORITY_TAG]) == ("true", "10")
    assert _watermarks(built) == watermarks


def test_the_day_of_a_request_is_the_settings_day(leads: Plant) -> None:
    """R20: at 23:30 UTC it is tomorrow in Berlin."""
    leads.set_clock(datetime(2026, 3, 10, 23, 30, tzinfo=UTC))
    leads.create("Lead", ACME)
    leads.wait(seconds=5)

    (request,), _ = leads.ask()

    assert str(request.partition_key) == "2026-03-11|Lead"


def test_the_same_situation_is_asked_again_only_after_a_pause_that_doubles(leads: Plant) -> None:
    """D7: a run that did not help is not repeated at every tick; its run key is another one each time."""
    leads.create("Lead", ACME)
    leads.wait(seconds=5)
    (first,), _ = leads.ask()

    none, why_not = leads.ask()
    assert none == []
    assert why_not == "Lead: 1 records changed lately, tried lately; tried again after a pause"
    leads.wait(minutes=6)
    (second,), _ = leads.ask()
    leads.wait(minutes=6)
    assert leads.ask()[0] == []
    leads.wait(minutes=5)
    (third,), _ = leads.ask()

    assert len({first.run_key, second.run_key, third.run_key}) == 3


@pytest.mark.slow
def test_another_change_is_asked_for_at_once(leads: Plant) -> None:
    """D7: the pause is for one situation, not for the object."""
    leads.create("Lead", ACME)
    leads.wait(seconds=5)
    (first,), _ = leads.ask()
    leads.create("Lead", ACME)
    leads.wait(seconds=5)

    (second,), _ = leads.ask()

    assert second.run_key != first.run_key


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_run_in_progress_holds_the_next_one_back(
    leads: Plant, status: dg.DagsterRunStatus
) -> None:
    """D7: for its own object, and until it ends."""
    leads.create("Lead", ACME)
    leads.wait(seconds=5)
    job = leads.definitions.resolve_job_def("pull")
    run = leads.instance.create_run_for_job(
        job_def=job,
        status=status,
        tags={OBJECT_TAG: "Lead", "dagster/partition": "2026-03-10|Lead"},
    )

    requests, why_not = leads.ask()

    assert requests == []
    assert why_not == f"Lead: 1 records changed lately, and run {run.run_id[:8]} is on its way"
    leads.instance.report_run_canceled(run)
    assert len(leads.ask()[0]) == 1


def test_a_lease_in_other_hands_holds_the_next_run_back(leads: Plant) -> None:
    """D3: a command at work on the object, of which Dagster knows nothing; its lease runs out by itself."""
    leads.create("Lead", ACME)
    leads.wait(seconds=5)
    hold_lease(leads, "Lead", "elsewhere-1")

    assert leads.ask() == ([], "Lead: run elsewher is working on it")
    leads.wait(minutes=11)
    assert len(leads.ask()[0]) == 1


@pytest.mark.slow
def test_a_missed_daily_pull_is_made_up_after_the_grace(shared_plant: Build) -> None:
    """R17: the schedule has ten minutes to itself; then the sensor asks, once a day and object."""
    built = shared_plant(integration("Lead"), integration("Account"))
    built.set_clock(datetime(2026, 3, 10, 0, 50, tzinfo=UTC))  # 01:50 in Berlin
    built.turn_on()
    assert built.ask()[0] == []
    built.wait(minutes=19)
    assert built.ask()[0] == []

    built.wait(minutes=2)
    figures, _ = built.tick()

    assert [(run["job"], run["key"]) for run in figures] == [
        ("daily_pull", "2026-03-10|Account"),
        ("daily_pull", "2026-03-10|Lead"),
    ]
    built.wait(minutes=10)
    assert built.ask()[0] == []
    built.wait(days=1)
    assert {r.job_name for r in built.ask()[0]} == {"daily_pull"}


@pytest.mark.slow
def test_waiting_rows_that_may_be_claimed_ask_for_scoring_alone(shared_plant: Build) -> None:
    """D7: what yesterday's limit left waiting is scored after midnight, without a pull."""
    built = shared_plant(integration("Lead"), daily_record_limit=10)
    built.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(15)))
    built.wait(minutes=1)
    built.turn_on()
    built.set_clock(datetime(2026, 3, 10, 21, 30, tzinfo=UTC))
    settle(built)
    built.wait(minutes=13)
    settle(built)  # the last look for late commits
    assert built.waiting("Lead") == 5
    _, why_not = built.ask()
    assert why_not == (
        "Lead: nothing new; 5 waiting; today's limit of 10 is reached, goes on at midnight "
        "Europe/Berlin"
    )

    built.set_clock(datetime(2026, 3, 10, 23, 1, tzinfo=UTC))
    figures, _ = built.tick()

    assert [(run["job"], run["key"], run["pushed"]) for run in figures] == [
        ("score_and_push", "2026-03-11|Lead", 5)
    ]


@pytest.mark.slow
def test_rows_that_wait_for_their_next_try_ask_for_nothing_until_then(leads: Plant) -> None:
    """R23: and the skip says that they wait."""
    (lead,) = leads.create("Lead", ACME)
    fault = leads.org.arm("row_error", ids=[lead], code="CUSTOM", message="no", count=None)
    leads.wait(seconds=5)
    settle(leads)
    leads.wait(minutes=13)
    settle(leads)  # the last look for late commits
    leads.wait(minutes=1)
    assert leads.ask() == (
        [],
        "Lead: nothing new; 1 waiting for their share of the day or their next try",
    )
    assert leads.org.fault_count(fault) == 1

    leads.org.clear_faults()
    leads.wait(minutes=31)
    figures, _ = leads.tick()

    assert [(run["job"], run["pushed"]) for run in figures] == [("score_and_push", 1)]


def test_an_unfinished_segment_asks_for_its_push(leads: Plant) -> None:
    """D7: a run that died between scoring and pushing is finished by the next tick's run."""
    leads.create("Lead", ACME)
    leads.run("pull", "Lead", asset_selection=[dg.AssetKey(["salesforce_changed_records"])])
    leads.run("score_and_push", "Lead", asset_selection=[dg.AssetKey(["scored_enriched"])])
    leads.wait(minutes=1)

    (request,), _ = leads.ask()

    assert request.job_name == "score_and_push"
    assert request.tags["insights/why"] == "a segment is unfinished"


@pytest.mark.slow
def test_a_used_up_budget_is_a_reason_to_skip_and_costs_no_call(leads: Plant) -> None:
    """R21: the org is not asked."""
    leads.create("Lead", ACME)
    used = _counted_total(leads)
    leads.configure(integration("Lead"), daily_api_calls_limit=used)
    leads.wait(seconds=5)
    before = len(leads.org.calls()["log"])

    requests, why_not = leads.ask()

    assert requests == []
    assert f"The daily API calls limit is nearly used up: 0 of {used} left" in why_not
    assert "Pulling resumes at 2026-03-11 00:00 CET" in why_not
    assert leads.calls_since(before) == []


def test_a_budget_that_is_nearly_used_up_stops_the_asking(leads: Plant) -> None:
    """R21: what is left is kept for pushes that have begun; the next day the change is found."""
    leads.create("Lead", ACME)
    leads.configure(integration("Lead"), daily_api_calls_limit=_counted_total(leads) + 59)
    leads.wait(seconds=5)

    requests, why_not = leads.ask()
    assert requests == []
    assert "Pulling resumes at 2026-03-11 00:00 CET" in why_not

    leads.set_clock(START.replace(day=11, hour=0))
    assert [r.job_name for r in leads.ask()[0]] == ["pull"]


def test_an_org_that_is_away_is_a_reason_to_skip(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D7: the operator reads what Salesforce answered, not a traceback; the next tick goes on."""
    _without_waiting(monkeypatch)
    leads.create("Lead", ACME)
    leads.wait(seconds=5)
    fault = leads.org.arm("http_503", path="/services/data", count=None)

    requests, why_not = leads.ask()

    assert requests == []
    assert "503" in why_not
    assert "Traceback" not in why_not
    assert leads.org.fault_count(fault) >= 2
    leads.org.clear_faults()
    assert len(leads.ask()[0]) == 1


def test_an_org_that_cannot_be_reached_is_a_reason_to_skip(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D7: nobody listens at the address."""
    _without_waiting(monkeypatch)
    monkeypatch.setenv("SALESFORCE_LOGIN_URL", "http://127.0.0.1:9")

    requests, why_not = leads.ask()

    assert requests == []
    assert why_not.startswith(
        "Lead: The connection to the org at http://127.0.0.1:9 could not be made"
    )


def test_after_a_push_one_pull_reads_the_echo_and_then_ticks_are_quiet(leads: Plant) -> None:
    """R15: the pushed records look changed once and are not due; after a last look for late commits, quiet."""
    leads.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(3)))
    leads.wait(seconds=5)

    pushes = []
    for _ in range(12):
        figures, _ = leads.tick()
        pushes += [(run["job"], run["read"], run["pushed"]) for run in figures]
        leads.wait(minutes=5)

    assert pushes == [("pull", 3, 3), ("pull", 3, 0), ("pull", 3, 0)]


def test_a_paused_object_asks_for_nothing(leads: Plant) -> None:
    """R29: nobody may claim its rows, so nothing is asked."""
    _pause(leads, "Lead", "fit")
    leads.create("Lead", ACME)
    leads.wait(seconds=5)

    assert leads.ask() == (
        [],
        "Lead: Lead.fit is paused; see the checks of salesforce_changed_records, or `insights check`",
    )


def test_a_new_object_is_turned_on_by_the_sensors_first_run(shared_plant: Build) -> None:
    """R16: without `insights check` the first tick asks for a pull, which turns the object on."""
    built = shared_plant(integration("Lead"))

    figures, _ = built.tick()

    assert [(run["job"], run["success"]) for run in figures] == [("pull", True)]
    assert set(_watermarks(built)) == {"Lead"}


# -- reading the ledger ----------------------------------------------------------------------------


def hold_lease(built: Plant, name: str, owner: str) -> None:
    """Take the object's lease as another process would."""
    from pipeline.steps.budget import LEASE_LASTS

    taken = built.with_clients(
        lambda clients: clients.ledger.leases.acquire(
            name, owner, now=clients.now(), lasts=LEASE_LASTS
        )
    )
    assert taken is not None


def _pause(built: Plant, name: str, market: str) -> None:
    import sqlalchemy as sa

    from resources.ledger import tables as t

    def pause(clients: Any) -> None:
        with clients.ledger.database.begin() as connection:
            connection.execute(
                sa.update(t.integrations)
                .where(t.integrations.c.object == name, t.integrations.c.market == market)
                .values(paused_at=clients.now())
            )

    built.with_clients(pause)


def _counted(built: Plant) -> dict[str, int]:
    counted: dict[str, int] = built.with_clients(
        lambda clients: clients.ledger.calls.by_kind(clients.today)
    )
    return counted


def _counted_total(built: Plant) -> int:
    return sum(_counted(built).values())


def _watermarks(built: Plant) -> dict[str, datetime]:
    return {
        name: state.watermark
        for name, state in built.with_clients(lambda clients: clients.ledger.objects.all()).items()
    }


def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client retry as often as ever, without the pauses between."""
    from resources.salesforce.calls import RetryPolicy

    monkeypatch.setattr(RetryPolicy.__init__, "__defaults__", (6, 0.0, 0.0, 0.0))


@pytest.mark.slow
def test_a_quiet_org_is_reported_now_and_then_so_that_the_asset_stays_fresh(leads: Plant) -> None:
    """Nothing new for hours is no reason to turn red; a tick that asks says so every quarter of an hour."""
    key = dg.AssetKey("salesforce_changed_records")
    reports = []
    for _ in range(9):
        leads.wait(minutes=5)
        reports.append(_asset_events(leads))

    counts = [len(events) for events in reports]
    assert sum(counts) in (3, 4)
    assert set(counts) == {0, 1}
    (event,) = next(events for events in reports if events)
    assert (event.asset_key, event.partition) == (key, "2026-03-10|Lead")
    assert event.metadata["read"].value == 0


@pytest.mark.slow
def test_an_org_that_does_not_answer_is_not_reported_as_quiet(leads: Plant) -> None:
    leads.wait(hours=2)
    leads.org.arm("http_503", path="/composite", count=None)
    assert _asset_events(leads) == []


def _asset_events(built: Plant) -> list[dg.AssetMaterialization]:
    """Evaluate the sensor once and return the asset events that it reports."""
    sensor = built.definitions.resolve_sensor_def("salesforce_changes")
    with dg.build_sensor_context(
        instance=built.instance,
        cursor=built.cursor,
        definitions=built.definitions,
        resources=built.definitions.resources,
    ) as context:
        found = sensor.evaluate_tick(context)
    built.cursor = found.cursor
    return [event for event in found.asset_events if isinstance(event, dg.AssetMaterialization)]
