"""A deployment that mounts the assets below a key: runs, checks, ticks, alerts and commands stand there (D15)."""

from __future__ import annotations

import dagster as dg
import pytest

from pipeline.runs import run_now
from tests.pipeline.test_alerts import Build, Receiver, Watcher, chat
from tests.plant import Plant, integration

__all__ = ["chat"]

PREFIX = ["crm", "insights"]
ACME = {"Company": "Acme", "Title": "CEO", "LastName": "Ito"}


def _key(*parts: str) -> dg.AssetKey:
    return dg.AssetKey([*PREFIX, *parts])


@pytest.fixture
def mounted(shared_plant: Build, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """A plant with one integration on Lead, whose assets are mounted below `crm/insights`."""
    monkeypatch.setenv("INSIGHTS_KEY_PREFIX", "/".join(PREFIX))
    built = shared_plant(integration("Lead"))
    built.turn_on()
    return built


def test_a_run_materializes_and_checks_below_the_prefix(mounted: Plant) -> None:
    """Assets, their checks, and what a run says of a market's model."""
    mounted.create("Lead", ACME)

    figures = mounted.pull("Lead")

    assert (figures["success"], figures["pushed"]) == (True, 1)
    materialized = {e.asset_key for e in mounted.last.get_asset_materialization_events()}
    assert materialized == {
        _key("salesforce_changed_records"),
        _key("scored_enriched"),
        _key("pushed_results"),
        _key("market", "fit"),
    }
    evaluations = mounted.last.get_asset_check_evaluations()
    assert {tuple(e.asset_key.path[:2]) for e in evaluations} == {tuple(PREFIX)}
    assert {e.check_name for e in evaluations} >= {"lead_fit_ready", "score_range", "complete"}


@pytest.mark.slow
def test_a_model_version_is_told_once_below_the_prefix(mounted: Plant) -> None:
    """R29: the run finds what an earlier one said there."""
    for name in ("Ito", "Silva"):
        mounted.create("Lead", ACME | {"LastName": name})
        mounted.pull("Lead")

    told = mounted.instance.fetch_materializations(_key("market", "fit"), limit=10).records
    assert len(told) == 1


def test_a_quiet_tick_reports_below_the_prefix(mounted: Plant) -> None:
    """R29: the asset that is mounted stays fresh."""
    mounted.pull("Lead")
    mounted.wait(minutes=30)
    sensor = mounted.definitions.resolve_sensor_def("salesforce_changes")

    with dg.build_sensor_context(
        instance=mounted.instance,
        definitions=mounted.definitions,
        resources=mounted.definitions.resources,
    ) as context:
        events = sensor.evaluate_tick(context).asset_events

    assert [event.asset_key for event in events] == [_key("salesforce_changed_records")]


@pytest.mark.slow
def test_an_alert_names_the_check_where_it_stands(mounted: Plant, chat: Receiver) -> None:
    """R29: a failing check of a mounted asset is told."""
    watcher = Watcher(mounted)
    watcher.tick()
    mounted.create("Lead", ACME | {"Company": "Secret BAD SCORE"})
    mounted.pull("Lead")

    watcher.tick()

    (told,) = [text for text in chat.texts() if "score_range" in text]
    assert "Check crm/insights/scored_enriched: score_range of" in told


@pytest.mark.slow
def test_a_command_runs_the_mounted_assets_with_its_options(mounted: Plant) -> None:
    """R31: what `insights pull --first 1` does; options reach the ops, which are named after their keys."""
    mounted.create("Lead", ACME, ACME | {"LastName": "Silva"})
    mounted.wait(seconds=5)

    (result,) = run_now(
        "pull",
        ["Lead"],
        options={"first": 1},
        definitions=mounted.definitions,
        instance=mounted.instance,
    )

    assert (result["error"], result["figures"]["claimed"]) == (None, 1)
    newest = mounted.instance.get_latest_materialization_event(_key("pushed_results"))
    assert newest is not None
    assert newest.run_id == result["run_id"]


def test_operator_jobs_run_the_mounted_assets(mounted: Plant) -> None:
    """R31: the jobs' own options name the ops below the prefix."""
    mounted.create("Lead", ACME)

    figures = mounted.run("push_first", "Lead")

    assert (figures["success"], figures["pushed"]) == (True, 1)


def test_an_asset_of_the_same_name_may_stand_beside_them(mounted: Plant) -> None:
    """Neither keys nor ops collide with another team's."""

    @dg.asset
    def pushed_results() -> None: ...

    other = dg.Definitions(assets=[pushed_results])

    dg.Definitions.validate_loadable(dg.Definitions.merge(mounted.definitions, other))
