"""Ledger and Dagster's storage in PostgreSQL, by the environment, in processes as people start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import yaml
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage

from local_org.launch import RunningOrg
from pipeline.core.errors import ConfigurationError
from pipeline.instance import ON_POSTGRES, ON_SQLITE, prepare_dagster_home
from resources.ledger.ledger import Ledger
from tests.crash.test_full_disk import may_mount
from tests.plant import CLIENT_ID, CLIENT_SECRET, Plant, clean, integration
from tests.postgres import Postgres

ROOT = Path(__file__).parents[2]
START = "from pipeline.cli import main; main()"
LAG_SECONDS = 3
"""A pull leaves the newest two seconds to the next one."""


def test_the_two_instance_files_differ_in_their_storage_alone() -> None:
    """D12: Dagster's settings know no "if"."""
    on_sqlite, on_postgres = (yaml.safe_load(path.read_text()) for path in (ON_SQLITE, ON_POSTGRES))

    assert "storage" not in on_sqlite
    assert on_postgres.pop("storage") == {
        "postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}
    }
    assert on_postgres == on_sqlite


@pytest.mark.parametrize("url", ["", "postgresql://me@host/d"])
def test_the_environment_chooses_dagsters_storage(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D12: with the driver that is installed, whatever the address says."""
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    folder = prepare_dagster_home()
    written = (folder / "dagster.yaml").read_text()

    assert folder == tmp_path / "home" / "dagster"
    assert written == (ON_POSTGRES if url else ON_SQLITE).read_text()
    expected = url.replace("postgresql://", "postgresql+psycopg2://")
    assert os.environ["DAGSTER_POSTGRES_URL"] == expected


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_home_that_is_a_file_is_said_to_be_one(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable and the file are named."""
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path / "home" / below))
    monkeypatch.setenv("DAGSTER_HOME", "")

    with pytest.raises(ConfigurationError, match=r"INSIGHTS_HOME: .*home is a file"):
        prepare_dagster_home()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "mysql://me:secret@host/d", "postgresql://me:secret@host:port/d", "sqlite:///x"],
)
def test_an_address_that_is_none_of_postgresql_is_wrong_configuration(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D12: 2, with the variable and without the password, before Dagster stumbles over it."""
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)

    with pytest.raises(ConfigurationError, match="DAGSTER_POSTGRES_URL: ") as raised:
        prepare_dagster_home()

    assert "no address of a PostgreSQL database" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["nonsense", "mysql://me:secret@host/d", "postgresql://h:port/d"])
def test_a_ledger_can_be_in_sqlite_or_postgresql_alone(url: str) -> None:
    """D12: 2, with the variable and without the password, whatever drivers are installed."""
    with pytest.raises(ConfigurationError, match="INSIGHTS_LEDGER_URL: ") as raised:
        Ledger(url)

    assert raised.value.exit_code == 2
    assert "secret" not in str(raised.value)


FILL = """
import os, pathlib, sys
from pipeline.core.errors import FolderNotWritable
from pipeline.instance import write_dagster_yaml
disk = pathlib.Path(sys.argv[1])
(disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
try:
    write_dagster_yaml(disk / "dagster")
except FolderNotWritable as error:
    print(error.exit_code, error)
"""


@pytest.mark.skipif(not may_mount(), reason="no user namespaces here")
def test_a_full_disk_below_dagsters_home_is_nothing_could_be_done_now(tmp_path: Path) -> None:
    """3, and the folder: a disk of one megabyte of its own, filled to its last block (ENOSPC)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {disk} && exec {sys.executable} -c '{FILL}' {disk}"

    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert done.stdout.startswith(f"3 Dagster's home {disk / 'dagster'} cannot be written"), done
    assert "its disk is full" in done.stdout


@pytest.fixture
def variables(shared_org: RunningOrg, tmp_path: Path, postgres: Postgres) -> Any:
    """The environment of a user whose ledger and Dagster share one PostgreSQL database."""
    clean(shared_org)
    with postgres.database("template1") as url:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SALESFORCE_", "INSIGHTS_", "DAGSTER_"))
        }
        yield kept | {
            "INSIGHTS_CONFIG": str(tmp_path / "config"),
            "INSIGHTS_HOME": str(tmp_path / "home"),
            "INSIGHTS_LEDGER_URL": url,
            "DAGSTER_POSTGRES_URL": url,
            "SALESFORCE_LOGIN_URL": shared_org.base_url,
            "SALESFORCE_CLIENT_ID": CLIENT_ID,
            "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
        }


def insights(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-c", START, *arguments],
        cwd=ROOT,
        env=variables,
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.mark.slow
def test_ledger_and_runs_share_one_postgresql_database(
    variables: dict[str, str],
    shared_org: RunningOrg,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """D12: a pull scores, its run stands in Dagster's storage, and nothing is in a SQLite file."""
    plant = Plant(
        shared_org,
        tmp_path,
        integrations=[integration("Lead")],
        in_memory=True,
        now=datetime.now(UTC),
    )
    plant.let_clock_run()
    checked = insights(variables, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    lead = plant.create("Lead", {"LastName": "Ito", "Company": "Acme", "Title": "CEO"})[0]
    time.sleep(LAG_SECONDS)
    pulled = insights(variables, "pull", "--json")
    run = json.loads(pulled.stdout)[0]
    monkeypatch.setenv(
        "DAGSTER_POSTGRES_URL",
        variables["DAGSTER_POSTGRES_URL"].replace("postgresql:", "postgresql+psycopg2:"),
    )
    with dg.DagsterInstance.from_config(str(tmp_path / "home" / "dagster")) as instance:
        record = instance.get_run_by_id(run["run_id"])

        assert isinstance(instance.run_storage, PostgresRunStorage)
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        assert isinstance(instance.schedule_storage, PostgresScheduleStorage)
        assert record is not None
        assert record.status is dg.DagsterRunStatus.SUCCESS
        assert instance.run_retries_enabled
    assert run["figures"]["pushed"] == 1
    assert plant.scored_at("Lead", lead)
    assert not list((tmp_path / "home").rglob("*.db"))


@pytest.mark.slow
def test_a_database_that_is_away_ends_a_command_with_three(
    variables: dict[str, str], shared_org: RunningOrg, tmp_path: Path
) -> None:
    """Neither the ledger's nor Dagster's absence is a traceback, and no word tells a password."""
    Plant(shared_org, tmp_path, integrations=[integration("Lead")], in_memory=True)
    away = "postgresql://me:secret@127.0.0.1:1/gone"
    for change in ({"INSIGHTS_LEDGER_URL": away}, {"DAGSTER_POSTGRES_URL": away}):
        done = insights(variables | change, "pull")

        assert done.returncode == 3, done.stdout + done.stderr
        assert "127.0.0.1" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert "secret" not in done.stdout + done.stderr


def test_a_tick_and_a_run_without_their_ledger_say_why(
    shared_plant: Any, postgres: Postgres
) -> None:
    """The tick is skipped with the reason; the run fails with a message, and the next one works."""
    plant: Plant = shared_plant(integration("Lead"))
    plant.turn_on()
    with postgres.database() as url:
        plant.ledger = url
        plant._define()
        postgres.sql(f"ALTER DATABASE {name_of(url)} ALLOW_CONNECTIONS false")
        requests, why = plant.ask()
        figures = plant.execute("pull", f"{plant.now:%Y-%m-%d}|Lead", {})
        postgres.sql(f"ALTER DATABASE {name_of(url)} ALLOW_CONNECTIONS true")
        plant.turn_on()
        again = plant.pull("Lead")

    assert requests == []
    assert "cannot be used now" in why
    assert not figures["success"]
    assert again["success"]


def name_of(url: str) -> str:
    """Return the database's name."""
    return str(psycopg2.extensions.parse_dsn(url)["dbname"])
