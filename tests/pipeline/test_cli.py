"""The command `insights`: exit codes, messages, JSON.

Most run `main` in this process. Four are processes as people start them: what a process alone shows is that nothing
else gets into its streams, and that what it imports at its start is enough.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from local_org.launch import RunningOrg
from pipeline.cli import main
from pipeline.instance import MADE, SQLITE
from resources.salesforce.calls import RetryPolicy
from tests.plant import CLIENT_ID, CLIENT_SECRET, Plant, clean, integration

ROOT = Path(__file__).parents[2]
ACME = {"Company": "Acme", "Title": "CEO"}
REFUSED = "Okafor is on legal hold."
RULE = {
    "object": "Lead",
    "name": "No_Okafor",
    "condition": "LastName = 'Okafor'",
    "message": REFUSED,
}
START = "from pipeline.cli import main; main()"
START_WITHOUT_WAITING = (
    "from resources.salesforce.calls import RetryPolicy; "
    "RetryPolicy.__init__.__defaults__ = (6, 0.0, 0.0, 0.0); " + START
)
"""Retries as often as ever, without the pauses between."""

HEAVY = ("dagster", "pandas", "pandera", "hypothesis", "simple_salesforce", "rich")
START_AND_NAME_WHAT_IS_LOADED = (
    "import atexit, sys; "
    f"heavy = {HEAVY}; "
    "loaded = lambda: [name for name in heavy if name in sys.modules]; "
    "atexit.register(lambda: print('loaded', *loaded(), file=sys.stderr)); " + START
)
"""Names on stderr what the process has imported at its end."""

LAG_SECONDS = 3
"""A pull leaves the newest two seconds to the next one."""

BUILT_FROM_THE_ENVIRONMENT = ("pipeline.runs", "pipeline.definitions")
"""These modules read it when they are imported: a command of a test has to import them anew."""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said where."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Site:
    """A folder with configuration and state, and the environment that commands get."""

    folder: Path
    org: RunningOrg
    plant: Plant

    def insights(self, *arguments: str, code: int = 0, **variables: str) -> Done:
        """Run the command in this process; it must end with `code`, and never with a traceback."""
        with _as_a_process_has_it(self._variables(variables), arguments):
            return self._ended(_main(), code)

    def process(self, *arguments: str, code: int = 0, start: str = START, **variables: str) -> Done:
        """Run the command as people do, in a process of its own; else like `insights`."""
        done = subprocess.run(
            [sys.executable, "-c", start, *arguments],
            cwd=ROOT,
            env=self._variables(variables),
            text=True,
            capture_output=True,
            check=False,
        )
        return self._ended(Done(done.returncode, done.stdout, done.stderr), code)

    @staticmethod
    def _ended(done: Done, code: int) -> Done:
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def _variables(self, changed: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in (self.env() | dict(changed)).items() if value}

    def json(self, *arguments: str, code: int = 0, **variables: str) -> Any:
        """Run the command with --json and return what it printed, which must be nothing but JSON."""
        return json.loads(self.insights(*arguments, "--json", code=code, **variables).stdout)

    def env(self) -> dict[str, str]:
        """Return the environment of a user who has set what the documentation asks for."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SALESFORCE_", "INSIGHTS_", "DAGSTER_"))
        }
        return kept | {
            "INSIGHTS_CONFIG": str(self.folder / "config"),
            "INSIGHTS_HOME": str(self.folder / "home"),
            "SALESFORCE_LOGIN_URL": self.org.base_url,
            "SALESFORCE_CLIENT_ID": CLIENT_ID,
            "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
        }

    def has_dagsters_storage(self) -> None:
        """Pretend that Dagster's storage is made: to make it, `check` would load Dagster."""
        (self.folder / "home" / "dagster" / "history").mkdir(parents=True)
        (self.folder / "home" / "dagster" / MADE).write_text(SQLITE)

    def settings(self, **values: Any) -> None:
        """Change settings.yaml."""
        path = self.folder / "config" / "settings.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


@contextmanager
def _as_a_process_has_it(variables: dict[str, str], arguments: Sequence[str]) -> Iterator[None]:
    """Set environment and arguments, and put back all that `main` changes in its process."""
    hooks, mask = get_on_retry_hooks(), os.umask(0o022)
    kept = {name: sys.modules.pop(name, None) for name in BUILT_FROM_THE_ENVIRONMENT}
    try:
        with (
            mock.patch.dict(os.environ, variables, clear=True),
            mock.patch.object(sys, "argv", ["insights", *arguments]),
            mock.patch.object(RetryPolicy.__init__, "__defaults__", (6, 0.0, 0.0, 0.0)),
            warnings.catch_warnings(),
        ):
            yield
    finally:
        os.umask(mask)
        set_on_retry_hooks(hooks)
        for name, module in kept.items():
            sys.modules.pop(name, None)
            if module:
                sys.modules[name] = module


def _main() -> Done:
    """Run `main` with streams of its own."""
    code = 0
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def _site(org: RunningOrg, folder: Path) -> Site:
    clean(org)
    integrations = [integration("Lead"), integration("Account", enabled=False)]
    plant = Plant(org, folder, integrations=integrations, in_memory=True, now=datetime.now(UTC))
    plant.let_clock_run()
    return Site(folder, org, plant)


@pytest.fixture
def site(shared_org: RunningOrg, tmp_path: Path) -> Site:
    """A site where nothing has run yet; one integration on Lead, one on Account switched off."""
    return _site(shared_org, tmp_path)


@dataclass
class Worked:
    """A site after `check` and one `pull` of three leads, one of which Salesforce refused."""

    site: Site
    check: Any
    pull: Any
    good: list[str]
    refused: str


@pytest.fixture(scope="module")
def worked(shared_org: RunningOrg, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worked]:
    """Run `check` and `pull` once for the tests that only look."""
    site = _site(shared_org, tmp_path_factory.mktemp("site"))
    check = json.loads(site.process("check", "--json").stdout)
    people = [ACME | {"LastName": name} for name in ("Ito", "Silva", "Okafor")]
    *good, refused = site.plant.create("Lead", *people)
    site.org.control("POST", "validation-rules", RULE)
    time.sleep(LAG_SECONDS)
    pull = json.loads(site.process("pull", "--json").stdout)
    yield Worked(site, check, pull, good, refused)
    clean(shared_org)


# -- commands that do their work -------------------------------------------------------------------


@pytest.mark.slow
def test_check_names_what_is_ready(worked: Worked) -> None:
    """R9, R12: what is switched off is neither ready nor a problem."""
    assert (worked.check["ready"], worked.check["problems"]) == (["Lead.fit"], [])
    assert "02:00 does not exist on " in worked.check["notices"][0]  # the day the clocks go forward


def test_pull_gives_the_figures_of_each_object(worked: Worked) -> None:
    """R14, R23: a refused row is no failure of the run."""
    (run,) = worked.pull

    assert (run["object"], run["error"]) == ("Lead", None)
    figures = run["figures"]
    assert (figures["read"], figures["due"], figures["claimed"]) == (3, 3, 3)
    assert (figures["pushed"], figures["failed"], figures["waiting"]) == (2, 1, 1)
    assert "/lightning/setup/AsyncApiJobStatus/" in figures["bulk_jobs"]
    for lead in worked.good:
        assert worked.site.plant.scored_at("Lead", lead) is not None


def test_run_of_a_command_stands_in_the_dagster_instance(worked: Worked) -> None:
    """R29: what the command line ran is seen in the UI, with its partition."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(worked.site.folder / "home" / "dagster")) as instance:
        runs = instance.get_runs()

    assert worked.pull[0]["run_id"] in {run.run_id for run in runs}
    assert {run.job_name for run in runs} >= {"pull"}
    assert all(run.tags["dagster/partition/object"] == "Lead" for run in runs)


def test_what_commands_keep_is_for_this_user_alone(worked: Worked) -> None:
    """R24: ledger, lake, Dagster's runs, whatever the umask of the shell was."""
    home = worked.site.folder / "home"

    kept = [home, *home.rglob("*")]

    assert len(kept) > 10
    assert [str(path) for path in kept if path.stat().st_mode & 0o077] == []


def test_status_says_what_is_used_waits_and_fails_without_a_call(worked: Worked) -> None:
    """R29: as text and as JSON."""
    before = len(worked.site.org.calls()["log"])

    found = worked.site.json("status")
    text = worked.site.insights("status").stdout

    assert len(worked.site.org.calls()["log"]) == before
    assert (found["limit"], found["limit_used"]) == (10_000, 3)
    assert (found["waiting_total"], found["failing"]) == (
        1,
        {"FIELD_CUSTOM_VALIDATION_EXCEPTION": 1},
    )
    states = {row["integration"]: row["state"] for row in found["integrations"]}
    assert states == {"Account.fit": "off", "Lead.fit": "on"}
    assert sum(found["api_calls"].values()) > 0
    assert f"{found['day']}: 3 of 10000 records scored or claimed" in text
    assert "1 waiting, the last done on" in text
    assert "failing: 1 with FIELD_CUSTOM_VALIDATION_EXCEPTION; see `insights failures`" in text


def test_failures_have_salesforces_own_words(worked: Worked) -> None:
    """R23: as text and as JSON."""
    (failure,) = worked.site.json("failures")["records"]
    text = worked.site.insights("failures").stdout

    assert (failure["object"], failure["id"]) == ("Lead", worked.refused)
    assert failure["code"] == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert (failure["message"], failure["tries"]) == (REFUSED, 1)
    assert datetime.fromisoformat(failure["next_try"]) > datetime.now(UTC)
    for words in ("id", worked.refused, "FIELD_CUSTOM_VALIDATION_EXCEPTION", REFUSED):
        assert words in text


@pytest.mark.slow
def test_refresh_of_one_object_scores_what_was_never_scored(worked: Worked) -> None:
    """R17: said in words a person reads."""
    text = worked.site.insights("refresh", "--object", "Lead").stdout

    assert text.startswith("Lead: 1 read, 1 due, ") or ", 1 due, " in text
    assert "(run " in text


ORG_CLIENT = frozenset({"simple_salesforce", "rich"})
"""What speaks with the org, and what it loads itself."""

BY_PYARROW = frozenset({"pandas"})
"""Loaded by pyarrow where it makes an array: nothing of ours asks for it."""


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("status", "--json"), frozenset()),
        pytest.param(("failures", "--json"), frozenset(), marks=pytest.mark.slow),
        pytest.param(("pause", "Lead.fit"), frozenset(), marks=pytest.mark.slow),
        pytest.param(("resume", "Lead.fit"), frozenset(), marks=pytest.mark.slow),
        pytest.param(("schema", "market"), frozenset(), marks=pytest.mark.slow),
        pytest.param(
            ("explain", "00Q000000000001AAA", "--json"), BY_PYARROW, marks=pytest.mark.slow
        ),
        (("check", "--json"), ORG_CLIENT | BY_PYARROW),
        pytest.param(("plan", "--json"), ORG_CLIENT | BY_PYARROW, marks=pytest.mark.slow),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_load_neither_dagster_nor_what_scores(
    worked: Worked, arguments: tuple[str, ...], needed: frozenset[str]
) -> None:
    """D15: what asks the ledger alone loads no HTTP client either."""
    done = worked.site.process(*arguments, start=START_AND_NAME_WHAT_IS_LOADED)

    loaded = set(done.stderr.splitlines()[-1].split()[1:])
    assert loaded <= needed


# -- commands that cannot --------------------------------------------------------------------------


@pytest.mark.slow
def test_missing_variables_are_named_and_nothing_else_is_said(site: Site) -> None:
    """R3: wrong configuration: 2; which variables, all of them, and nothing on stdout."""
    done = site.process("check", code=2, SALESFORCE_LOGIN_URL="", SALESFORCE_CLIENT_SECRET="")

    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "SALESFORCE_LOGIN_URL" in done.stderr
    assert "SALESFORCE_CLIENT_SECRET" in done.stderr


def test_wrong_secret_is_salesforces_refusal(site: Site) -> None:
    """R3: 2, with Salesforce's words, the secret left out."""
    done = site.insights("check", code=2, SALESFORCE_CLIENT_SECRET="not-the-secret")

    assert "invalid_client" in done.stderr
    assert "not-the-secret" not in done.stderr + done.stdout


def test_unknown_object_and_unknown_command_are_wrong_usage(site: Site) -> None:
    """R4: 2, and what there is to choose from."""
    done = site.insights("pull", "--object", "Opportunity", code=2)
    assert "'Opportunity' is not one of 'Account', 'Contact', 'Lead'" in done.stderr
    done = site.insights("pulll", code=2)
    assert "No such command 'pulll'" in done.stderr


def test_object_without_an_integration_is_wrong_usage(site: Site) -> None:
    """R12: 2, and where to look; an integration that is switched off is none."""
    done = site.insights("pull", "--object", "Account", code=2)

    assert "Account: no integration is switched on for it" in done.stderr
    assert str(site.folder / "config") in done.stderr


def test_broken_yaml_names_file_and_line(site: Site) -> None:
    """House rule: 2, and nothing but the message."""
    path = site.folder / "config" / "settings.yaml"
    path.write_text("environment: local\ntime_zone: [Europe\nx: 1\n")

    done = site.insights("status", code=2)

    assert done.stderr.startswith(f"Error: {path}:3: ")
    assert done.stderr.count("\n") == 1


def test_every_problem_of_a_configuration_is_told_at_once(site: Site) -> None:
    """House rule: not the first alone."""
    site.settings(time_zone="Europe/Berlim", limit=5)

    done = site.insights("check", code=2)

    assert "did you mean 'Europe/Berlin'?" in done.stderr
    assert "limit: unknown key" in done.stderr


def test_check_of_an_org_that_lacks_a_field_fails_with_what_to_do(site: Site) -> None:
    """R9: 1; the integration is not ready and is not run."""
    path = site.folder / "config" / "integrations" / "Lead.fit.yaml"
    wrong = yaml.safe_load(path.read_text())
    wrong["outputs"]["score"] = "No_Such_Score__c"
    path.write_text(yaml.safe_dump(wrong))

    found = site.json("check", code=1)

    assert found["ready"] == []
    (problem,) = [p for p in found["problems"] if p["severity"] == "error"]
    assert "No_Such_Score__c" in problem["where"] + problem["message"]
    assert problem["remedy"]
    done = site.insights("pull", code=1)
    assert "No_Such_Score__c" in done.stderr


def test_used_up_budget_is_nothing_could_be_done_now(site: Site) -> None:
    """R21: 3, and when pulling resumes."""
    site.insights("check")
    site.settings(daily_api_calls_limit=3)

    (run,) = site.json("pull", code=3)

    assert "The daily API calls limit is nearly used up" in run["error"]
    assert "Pulling resumes at" in run["error"]


def test_run_that_cannot_says_so_without_a_stack(site: Site) -> None:
    """R21: the message alone, as for every other error that a person can act on."""
    site.insights("check")
    site.settings(daily_api_calls_limit=3)

    done = site.insights("pull", code=3)

    assert "The daily API calls limit is nearly used up" in done.stderr
    assert "Stack Trace" not in done.stderr


def test_org_that_cannot_be_reached_is_nothing_could_be_done_now(site: Site) -> None:
    """Exit code 3, after the retries."""
    address = "http://127.0.0.1:9"

    done = site.insights("check", code=3, SALESFORCE_LOGIN_URL=address)

    assert done.stderr.startswith("Error: The connection to the org at")


def test_org_that_cannot_be_reached_is_named(site: Site) -> None:
    """House rule: where; a wrong SALESFORCE_LOGIN_URL is the first mistake that people make."""
    address = "http://127.0.0.1:9"

    done = site.insights("check", code=3, SALESFORCE_LOGIN_URL=address)

    assert address in done.stderr


def test_json_is_nothing_but_json_when_a_call_was_tried_again(site: Site) -> None:
    """A program that reads stdout must not stumble over a retry."""
    site.has_dagsters_storage()
    fault = site.org.arm("http_503", path="/describe", count=1)

    done = site.process("check", "--json", start=START_WITHOUT_WAITING)

    assert site.org.fault_count(fault) == 1
    assert json.loads(done.stdout)["ready"] == ["Lead.fit"]


def test_site_where_nothing_ran_says_that_nothing_waits_or_fails(site: Site) -> None:
    """Said so, not left blank."""
    assert site.insights("failures").stdout == "No record is failing.\n"
    text = site.insights("status").stdout
    assert "0 of 10000 records scored or claimed" in text
    assert "Nothing waits." in text


@pytest.mark.slow
def test_installed_command_says_its_version_and_helps() -> None:
    """The entry point of the package, as installed."""
    insights = shutil.which("insights", path=str(Path(sys.executable).parent))
    assert insights is not None

    def said(*arguments: str) -> str:
        return subprocess.run(
            [insights, *arguments], text=True, capture_output=True, check=True
        ).stdout

    assert "version" in said("--version")
    for command in ("check", "pull", "refresh", "status", "failures"):
        assert f"  {command} " in said("--help")
    assert "--json" in said("pull", "--help")
