"""The definitions as a Dagster server loads them: what is in them, and what loading must not do (D15)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.step_runs import WORK_TAG
from pipeline.core.configuration.integration import OBJECTS
from pipeline.core.errors import ConfigurationError
from pipeline.definitions import build_definitions
from pipeline.jobs import PRIORITY_TAG

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "config" / "local"
CHANGED, STALE = dg.AssetKey(["salesforce_changed_records"]), dg.AssetKey(["stale_records"])
SCORED, PUSHED = dg.AssetKey(["scored_enriched"]), dg.AssetKey(["pushed_results"])
FOUR = {CHANGED, STALE, SCORED, PUSHED}
REPORTS = {dg.AssetKey("status_report"), dg.AssetKey("plan_report")}
MARKETS = ("campaign_response", "enterprise_fit")


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """The definitions of the configuration that the project brings along."""
    return build_definitions(config=LOCAL, home=tmp_path_factory.mktemp("home"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of that configuration, to be changed."""
    return Path(shutil.copytree(LOCAL, tmp_path / "config"))


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment without any of the product's variables, but `INSIGHTS_HOME`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SALESFORCE_", "INSIGHTS_", "DAGSTER_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | {"INSIGHTS_HOME": str(home), "PATH": path} | more


def run(command: list[str], home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own in the project's folder."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(home, **more),
        text=True,
        capture_output=True,
        check=False,
    )


# -- loading ---------------------------------------------------------------------------------------

LOADER = """
import socket, sqlite3, sys

def refused(*_, **__):
    raise AssertionError("loading the definitions opened a connection")

socket.socket.connect = socket.create_connection = refused
import sqlalchemy
sqlalchemy.create_engine = sqlite3.connect = refused
from pipeline.definitions import defs
from dagster import Definitions
Definitions.validate_loadable(defs)
print(len(list(defs.resolve_all_asset_specs())), "lightgbm" in sys.modules, "sklearn" in sys.modules)
"""


def test_loading_touches_neither_network_nor_database_nor_disk(tmp_path: Path) -> None:
    """D15: without a single variable of the connection, and with nothing made below INSIGHTS_HOME."""
    home = tmp_path / "home"

    done = run([sys.executable, "-c", LOADER], home)

    assert done.returncode == 0, done.stderr
    count, *heavy = done.stdout.split()
    assert int(count) >= len(FOUR) + len(MARKETS)
    assert heavy == ["False", "False"]
    assert done.stderr == ""
    assert not home.exists()


@pytest.mark.slow
def test_dagster_validates_the_workspace(tmp_path: Path) -> None:
    """D15: what `dagster dev -w workspace.yaml` loads, loaded by Dagster itself."""
    (tmp_path / "dagster").mkdir()
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]

    done = run(command, tmp_path / "home", DAGSTER_HOME=str(tmp_path / "dagster"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location predictive_insights" in (
        done.stdout + done.stderr
    )
    assert not (tmp_path / "home").exists()


def test_workspace_and_project_name_the_same_module_and_location() -> None:
    """D15: where both are read, pyproject.toml silently wins; so they must agree."""
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (entry,) = workspace["load_from"]

    assert entry["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }
    assert project["root_module"] == "pipeline"


def test_dagster_yaml_is_an_instance_that_starts(tmp_path: Path) -> None:
    """D11: settings that Dagster does not know, or that exclude one another, are start-up errors."""
    shutil.copyfile(ROOT / "config" / "dagster" / "dagster.yaml", tmp_path / "dagster.yaml")

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_retries_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_concurrency_config().run_queue_config is not None


# -- assets ----------------------------------------------------------------------------------------


def test_assets_are_the_four_and_what_the_scores_come_from(defs: dg.Definitions) -> None:
    """R29: the four of the pipeline, and for each market its model, training and reference data."""
    keys = {spec.key for spec in defs.resolve_all_asset_specs()}

    assert keys >= FOUR
    assert keys >= REPORTS
    rest = {key.path[0] for key in keys - FOUR - REPORTS}
    assert rest == {"market", "reference", "training"}
    for market in MARKETS:
        assert dg.AssetKey(["market", market]) in keys
        assert dg.AssetKey(["training", market]) in keys


def test_lineage_runs_from_training_to_pushed_fields(defs: dg.Definitions) -> None:
    """R29: training and reference -> market -> scored_enriched -> pushed_results, and both pulls into scoring."""
    graph = defs.resolve_asset_graph()

    assert graph.get(PUSHED).parent_keys == {SCORED}
    models = {dg.AssetKey(["market", market]) for market in MARKETS}
    assert graph.get(SCORED).parent_keys == {CHANGED, STALE} | models
    for market in MARKETS:
        parents = graph.get(dg.AssetKey(["market", market])).parent_keys
        assert dg.AssetKey(["training", market]) in parents
        references = {key for key in parents if key.path[0] == "reference"}
        assert references
        assert {key.path[1] for key in references} == {market}
    assert not graph.get(CHANGED).parent_keys
    assert not graph.get(STALE).parent_keys


def test_assets_stand_in_groups_with_words_that_explain_them(defs: dg.Definitions) -> None:
    """R29: every asset has a description; the sources are external, the four are not."""
    graph = defs.resolve_asset_graph()
    for spec in defs.resolve_all_asset_specs():
        ours = spec.key in FOUR | REPORTS
        group = "reports" if spec.key in REPORTS else "salesforce" if ours else "markets"
        assert spec.group_name == group, spec.key
        assert spec.description, spec.key
        assert spec.kinds, spec.key
        assert graph.get(spec.key).is_materializable == ours


def test_partitions_are_the_settings_days_by_object(defs: dg.Definitions) -> None:
    """R20: one partitioning for the four and their checks; a day is a day of the settings' time zone."""
    graph = defs.resolve_asset_graph()
    found = {graph.get(key).partitions_def for key in FOUR}
    (partitions,) = found
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    days = partitions.get_partitions_def_for_dimension("day")
    assert isinstance(days, dg.DailyPartitionsDefinition)
    assert days.timezone == "Europe/Berlin"
    assert days.start.date().isoformat() == "2026-01-01"
    objects = partitions.get_partitions_def_for_dimension("object")
    assert objects.get_partition_keys() == list(OBJECTS)


def test_checks_of_outputs_and_limit_stand_by_partition(defs: dg.Definitions) -> None:
    """D8: a result of one day says nothing of another day."""
    checks = {s.name: s for s in _check_specs(defs) if not s.name.endswith("_ready")}
    partitions = defs.resolve_asset_graph().get(SCORED).partitions_def

    outputs = {"rank_values", "score_range", "insight_types", "text_lengths", "score_drift"}
    rows = {"record_ids", "hash_form"}
    pushed = {"daily_limit", "complete"}
    assert checks.keys() == outputs | rows | pushed
    assert {spec.partitions_def for spec in checks.values()} == {partitions}
    assert {n for n, s in checks.items() if s.asset_key == PUSHED} == pushed
    assert {n for n, s in checks.items() if s.asset_key == SCORED} == outputs | rows
    assert {n for n, s in checks.items() if s.blocking} == rows


def test_every_integration_has_a_check_whether_it_is_ready(defs: dg.Definitions) -> None:
    """R12, R29: on the asset that pulls, over all partitions."""
    ready = {s.name: s for s in _check_specs(defs) if s.name.endswith("_ready")}

    files = (path.stem for path in (LOCAL / "integrations").glob("*.yaml"))
    assert ready.keys() == {f"{stem.replace('.', '_')}_ready" for stem in files}
    assert {spec.asset_key for spec in ready.values()} == {CHANGED}
    assert {spec.partitions_def for spec in ready.values()} == {None}


def test_backfills_of_assets_are_one_run(defs: dg.Definitions) -> None:
    """D5: one run for a range of partitions, not one for each key."""
    graph = defs.resolve_asset_graph()

    assert {graph.get(key).backfill_policy for key in FOUR} == {dg.BackfillPolicy.single_run()}


# -- jobs, sensor, schedule ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "assets"),
    [
        ("pull", {CHANGED, SCORED, PUSHED}),
        ("daily_pull", {STALE, SCORED, PUSHED}),
        ("score_and_push", {SCORED, PUSHED}),
    ],
)
def test_jobs_include_these_assets_and_go_before_backfills(
    defs: dg.Definitions, name: str, assets: set[dg.AssetKey]
) -> None:
    """D5, D7: their runs are work runs, and the queue takes them first."""
    job = defs.resolve_job_def(name)

    assert job.asset_layer.selected_asset_keys == assets
    assert job.tags[WORK_TAG] == "true"
    assert int(job.tags[PRIORITY_TAG]) > 0
    assert job.description
    assert job.executor_def is dg.in_process_executor


def test_sensor_has_the_settings_interval_and_starts_switched_off(copied: Path) -> None:
    """R2: pull_interval_minutes; INSIGHTS_RUNNING or `running` switches sensor and schedule on."""
    _change(copied / "settings.yaml", pull_interval_minutes=7)
    off = build_definitions(config=copied, home=copied, running=False)
    on = build_definitions(config=copied, home=copied, running=True)

    sensor = off.resolve_sensor_def("salesforce_changes")
    assert sensor.minimum_interval_seconds == 7 * 60
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert {target.job_name for target in sensor.targets} == {
        "pull",
        "daily_pull",
        "score_and_push",
    }
    assert (
        on.resolve_sensor_def("salesforce_changes").default_status is dg.DefaultSensorStatus.RUNNING
    )
    assert (
        on.resolve_schedule_def("daily_pull_schedule").default_status
        is dg.DefaultScheduleStatus.RUNNING
    )


def test_schedule_runs_daily_at_the_settings_time_in_the_settings_zone(copied: Path) -> None:
    """R2, R17."""
    _change(copied / "settings.yaml", daily_pull_time="14:05", time_zone="America/New_York")

    schedule = build_definitions(config=copied, home=copied).resolve_schedule_def(
        "daily_pull_schedule"
    )

    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.cron_schedule == "5 14 * * *"
    assert schedule.execution_timezone == "America/New_York"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_schedule_asks_for_every_object_on_the_day_of_its_zone(copied: Path) -> None:
    """R17, R20: at 23:30 in New York it is the next day in UTC, and still today."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    _change(copied / "settings.yaml", daily_pull_time="23:30", time_zone="America/New_York")
    definitions = build_definitions(config=copied, home=copied)
    schedule = definitions.resolve_schedule_def("daily_pull_schedule")
    at = datetime(2026, 3, 10, 23, 30, tzinfo=ZoneInfo("America/New_York"))

    with dg.build_schedule_context(
        scheduled_execution_time=at,
        repository_def=definitions.get_repository_def(),
        resources=dict(definitions.resources or {}),
    ) as context:
        requests = schedule.evaluate_tick(context).run_requests or []

    assert [str(request.partition_key) for request in requests] == [
        f"2026-03-10|{name}" for name in OBJECTS
    ]
    assert len({request.run_key for request in requests}) == len(OBJECTS)


# -- mounting, switching off -----------------------------------------------------------------------


def test_key_prefix_mounts_everything_below_it(tmp_path: Path) -> None:
    """D15: beside the assets of a team that has a deployment already."""
    mounted = build_definitions(config=LOCAL, home=tmp_path, key_prefix=["crm", "insights"])

    @dg.asset
    def scored_enriched() -> None: ...

    merged = dg.Definitions.merge(mounted, dg.Definitions(assets=[scored_enriched]))
    specs = list(mounted.resolve_all_asset_specs())
    assert {tuple(spec.key.path[:2]) for spec in specs} == {("crm", "insights")}
    assert {tuple(d.asset_key.path[:2]) for s in specs for d in s.deps} <= {("crm", "insights")}
    pushed = dg.AssetKey(["crm", "insights", "pushed_results"])
    assert pushed in merged.resolve_job_def("pull").asset_layer.selected_asset_keys
    dg.Definitions.validate_loadable(merged)


def test_markets_without_an_integration_are_left_out(copied: Path) -> None:
    """R12: what no integration names is not shown as if it scored something."""
    for path in (copied / "integrations").glob("*.campaign_response.yaml"):
        path.unlink()

    keys = {
        spec.key for spec in build_definitions(config=copied, home=copied).resolve_all_asset_specs()
    }

    assert not [key for key in keys if "campaign_response" in key.path]


def test_configuration_without_integrations_loads(copied: Path) -> None:
    """R12: a first start before anything is mapped shows the four assets and asks for nothing."""
    shutil.rmtree(copied / "integrations")

    definitions = build_definitions(config=copied, home=copied)

    assert {spec.key for spec in definitions.resolve_all_asset_specs()} == FOUR | REPORTS
    dg.Definitions.validate_loadable(definitions)


# -- broken configurations -------------------------------------------------------------------------


def test_broken_configuration_is_refused_with_every_problem(copied: Path) -> None:
    """House rule: all problems at once, each with its file and what would be right."""
    _change(copied / "settings.yaml", time_zone="Europe/Berlim", pull_interval_minutes=0, limit=1)
    integration = copied / "integrations" / "lead.enterprise_fit.yaml"
    _change(integration, object="Opportunity")
    _change(copied / "integrations" / "contact.enterprise_fit.yaml", market="enterprise_fitt")

    with pytest.raises(ConfigurationError) as caught:
        build_definitions(config=copied, home=copied)

    problems = caught.value.problems
    assert len(problems) == 5
    text = "\n".join(problems)
    for words in (
        "did you mean 'Europe/Berlin'?",
        "pull_interval_minutes",
        "limit: unknown key",
        "'Opportunity' is not supported",
        "enterprise_fitt",
    ):
        assert words in text
    assert text.count(str(copied)) >= 5


def test_broken_yaml_is_refused_with_file_and_line(copied: Path) -> None:
    """House rule: where, and what is wrong."""
    path = copied / "settings.yaml"
    path.write_text("environment: local\ntime_zone: [Europe\nx: 1\n")

    with pytest.raises(ConfigurationError, match=rf"{path}:\d+: ") as caught:
        build_definitions(config=copied, home=copied)

    assert len(caught.value.problems) == 1


def test_an_integration_whose_file_is_wrong_does_not_keep_the_others_from_loading(
    copied: Path,
) -> None:
    """R44: the location loads, and the broken one has its check, which says what is wrong."""
    whole = build_definitions(config=copied, home=copied)
    path = copied / "integrations" / "contact.enterprise_fit.yaml"
    _change(path, market="enterprise_fit", scroe="Score__c")

    definitions = build_definitions(config=copied, home=copied)

    checks, before = (
        {check.name for a in one.assets or () for check in getattr(a, "check_specs", ())}
        for one in (definitions, whole)
    )
    assert checks == before
    assert "contact_enterprise_fit_ready" in checks
    dg.Definitions.validate_loadable(definitions)


# -- the ladder of imports -------------------------------------------------------------------------

BREACHES = {
    "Imports go down the ladder, never up": (
        "pipeline/core/scoring/due.py",
        "import pipeline.steps.pull",
    ),
    "Rules, steps, clients and commands know no Dagster": (
        "pipeline/steps/redo.py",
        "import dagster",
    ),
    "Rules know no network and no database": ("pipeline/core/limit/shares.py", "import sqlalchemy"),
    "Production never imports the local org": ("resources/lake.py", "import local_org.launch"),
    "The local org never imports production": (
        "local_org/ids.py",
        "import pipeline.core.scoring.digest",
    ),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with each contract broken once, and the contracts as the project has them."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("pipeline", "assets", "resources", "local_org"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*command, "--no-cache"],
        cwd=folder,
        env=environment(folder, PYTHONPATH=str(folder)),
        text=True,
        capture_output=True,
        check=False,
    )


def test_every_import_contract_catches_its_breach(tree: Path) -> None:
    """D14: kept as the code stands, and each one broken by one line that should break it."""
    kept = _lint_imports(tree)
    assert kept.returncode == 0, kept.stdout
    contracts = tomllib.loads((tree / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert {contract["name"] for contract in contracts["contracts"]} == BREACHES.keys()

    for file, line in BREACHES.values():
        path = tree / file
        path.write_text(path.read_text() + f"\n{line}\n")
    broken = _lint_imports(tree)

    assert broken.returncode == 1
    for name in BREACHES:
        assert f"{name} BROKEN" in broken.stdout
    assert "0 kept, 5 broken" in broken.stdout


def _change(path: Path, **values: Any) -> None:
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | values))


def _check_specs(defs: dg.Definitions) -> list[dg.AssetCheckSpec]:
    graph = defs.resolve_asset_graph()
    return [graph.get_check_spec(key) for key in graph.asset_check_keys]
