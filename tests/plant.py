"""A whole pipeline for a test: a local org over HTTP, a real Dagster instance, and clocks that can be moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import dagster as dg
import requests
import yaml

from assets.clients_resource import ClientsResource
from assets.partitions import partition_key
from assets.step_runs import EXIT_CODE, WORK_TAG
from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg
from pipeline.definitions import build_definitions
from pipeline.jobs import JOBS, OBJECT_TAG
from resources.configurable import ClockResource
from tests.asset_runs import AssetRun, run_assets

LETTERS = Path(__file__).parent / "letters_market"
MARKETS = ("fit", "other", "wide")
START = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
TRACKING: dict[str, dict[str, Any]] = {
    "Mintigo_hash__c": {"type": "TextArea"},
    "Mintigo_update_datetime__c": {"type": "DateTime"},
}
OF_A_MARKET: dict[str, dict[str, Any]] = {
    "Score": {"type": "Number", "precision": 3, "scale": 0},
    "Rank": {"type": "Text", "length": 1},
    "Note": {"type": "Text", "length": 40},
    "Good": {"type": "Checkbox", "defaultValue": "false"},
    "Candidate": {"type": "Checkbox", "defaultValue": "false"},
}
FIELDS: dict[str, dict[str, Any]] = {
    **TRACKING,
    **{
        f"{market}_{name}__c": metadata
        for market in ("Fit", "Other", "Wide")
        for name, metadata in OF_A_MARKET.items()
    },
}
OUTPUTS = {"score": "Score", "rank": "Rank", "note": "Note", "good": "Good"}
COMPANY = {"Account": "Name", "Contact": "Account.Name", "Lead": "Company"}
PHONE_OR_TITLE = {"Account": "Site", "Contact": "Title", "Lead": "Title"}


class ManualClock(ClockResource):
    """A clock that stands where its file says."""

    file: str

    def now(self) -> datetime:
        return datetime.fromisoformat(Path(self.file).read_text())


def integration(name: str, market: str = "fit", prefix: str = "Fit", **more: Any) -> dict[str, Any]:
    """Return an integration as a person would write it: company and title in, four outputs out."""
    return {
        "object": name,
        "market": market,
        "inputs": {"company": COMPANY[name], "title": PHONE_OR_TITLE[name]},
        "outputs": {output: f"{prefix}_{word}__c" for output, word in OUTPUTS.items()},
        **more,
    }


RAISES = """
class Raises:
    def score(self, inputs):
        raise ValueError(f"cannot score {inputs.column('company')[0]}")

def load(folder):
    return Raises()
"""
"""A model that fails as a whole, with a value of its inputs in its words."""


@dataclass
class Plant:
    """The pipeline under test; `now` is the pipeline's clock, and the org's clock follows it.

    With `in_memory` Dagster keeps its runs in memory: the same instance, and a run takes a quarter of the time.
    Without `through_dagster` work runs do without Dagster's engine (`tests.asset_runs`); whatever else a person or
    the daemon may launch goes through it all the same.
    `ledger` is its database's address, where it is not a file in the home folder. `last` is the last run's result.
    """

    org: RunningOrg
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    integrations: Sequence[Mapping[str, Any]] = ()
    now: datetime = START
    in_memory: bool = False
    through_dagster: bool = True
    ledger: str | None = None
    instance: dg.DagsterInstance = field(init=False)
    definitions: dg.Definitions = field(init=False)
    cursor: str | None = None
    last: dg.ExecuteInProcessResult | AssetRun = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "dagster").mkdir()
        self.instance = self._instance()
        self.configure(*self.integrations)
        self.set_clock(self.now)

    def _instance(self) -> dg.DagsterInstance:
        folder = str(self.folder / "dagster")
        if not self.in_memory:
            return dg.DagsterInstance.local_temp(
                folder, overrides={"telemetry": {"enabled": False}}
            )
        return dg.DagsterInstance.ephemeral(tempdir=folder) if self.through_dagster else _emptied()

    def configure(self, *integrations: Mapping[str, Any], **settings: Any) -> None:
        """Write the configuration anew and build the definitions from it."""
        config = self.folder / "config"
        shutil.rmtree(config / "integrations", ignore_errors=True)
        for market in MARKETS:
            shutil.copytree(LETTERS, config / "markets" / market, dirs_exist_ok=True)
        (config / "integrations").mkdir(parents=True)
        self.settings |= settings
        written = {
            "environment": "local",
            "time_zone": "Europe/Berlin",
            "daily_pull_time": "02:00",
            **self.settings,
        }
        (config / "settings.yaml").write_text(yaml.safe_dump(written))
        for entry in integrations:
            path = config / "integrations" / f"{entry['object']}.{entry['market']}.yaml"
            path.write_text(yaml.safe_dump(dict(entry)))
        self._define()

    def _define(self) -> None:
        self.definitions = build_definitions(
            config=self.folder / "config",
            home=self.folder / "home",
            ledger=self.ledger,
            clock=ManualClock(file=str(self.folder / "clock")),
        )

    def market(self, name: str) -> Path:
        """Return the folder of this plant's copy of a market."""
        return self.folder / "config" / "markets" / name

    # -- time ----------------------------------------------------------------------------------

    def set_clock(self, now: datetime) -> None:
        """Move both clocks to `now`, where they stand: on a busy machine the org's would run ahead."""
        self.now = now
        (self.folder / "clock").write_text(now.isoformat())
        at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.org.control("POST", "clock", {"now": at, "frozen": True})

    def wait(self, **span: float) -> None:
        """Let time pass on both clocks."""
        self.set_clock(self.now + timedelta(**span))

    def let_clock_run(self) -> None:
        """Give the org this machine's time, which goes on: commands and daemons that work on it have no other."""
        self.org.control("POST", "clock", {"offset_seconds": 0, "frozen": False})

    # -- the org's people ----------------------------------------------------------------------

    def create(self, name: str, *records: Mapping[str, Any]) -> list[str]:
        """Save new records as a user would; return their ids."""
        answers = self._save("insert", name, records)
        return [answer["id"] for answer in answers]

    def edit(self, name: str, record_id: str, **changes: Any) -> None:
        """Save a change of one record as a user would."""
        self._save("update", name, [{"Id": record_id, **changes}])

    def delete(self, name: str, record_id: str) -> None:
        """Delete a record as a user would."""
        self._save("delete", name, [{"Id": record_id}])

    def delete_job(self, job_id: str) -> None:
        """Delete a bulk job as an admin would on the Bulk Data Load Jobs page."""
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
        url = self.org.base_url
        token = requests.post(f"{url}/services/oauth2/token", data=form, timeout=30).json()
        answer = requests.delete(
            f"{url}/services/data/v62.0/jobs/ingest/{job_id}",
            headers={"Authorization": f"Bearer {token['access_token']}"},
            timeout=30,
        )
        assert answer.status_code == HTTPStatus.NO_CONTENT, answer.text

    def _save(self, operation: str, name: str, records: Sequence[Mapping[str, Any]]) -> Any:
        body = {"object": name, "operation": operation, "records": [dict(r) for r in records]}
        answers = self.org.control("POST", "save", body)
        assert all(answer["success"] for answer in answers), answers
        return answers

    def record_of(self, name: str, record_id: str, without: Sequence[str] = ()) -> dict[str, Any]:
        """Return the record as the org holds it, `without` some fields that are gone."""
        known = [field for field in FIELDS if field not in without]
        fields = ", ".join(["Id", "IsDeleted", "SystemModstamp", *known])
        rows = self.org.query(f"SELECT {fields} FROM {name} WHERE Id = '{record_id}'")
        return rows[0]

    def record(self, name: str, record_id: str) -> dict[str, Any]:
        """Return the record as the org holds it."""
        return self.record_of(name, record_id)

    def scored_at(self, name: str, record_id: str) -> str | None:
        """Return the record's update datetime as the org holds it."""
        value: str | None = self.record(name, record_id)["Mintigo_update_datetime__c"]
        return value

    # -- the pipeline --------------------------------------------------------------------------

    def turn_on(self) -> None:
        """Do what `insights check` does: hold the configuration against the org and begin."""
        from pipeline.steps.preflight import check_and_roll_out

        found = self.with_clients(check_and_roll_out)
        assert not found.errors, [str(problem) for problem in found.errors]
        self.wait(seconds=5)

    def with_clients(self, step: Any) -> Any:
        """Run a plain step with the clients of a command."""
        resource = (self.definitions.resources or {})["clients"]
        assert isinstance(resource, ClientsResource)
        try:
            return step(resource.get("test"))
        finally:
            resource.close()

    def run(self, job: str, name: str, *, resumed: int = 0, **more: Any) -> dict[str, Any]:
        """Run a job on one object through Dagster and return its figures, which must add up.

        `resumed` is how many records it takes over that an earlier run claimed.
        """
        self.wait(seconds=5)
        key = str(partition_key(self.today, name))
        tags = {OBJECT_TAG: name, WORK_TAG: "true"}
        figures = self.execute(job, key, tags, resumed=resumed, **more)
        self.wait(seconds=5)
        return figures

    def execute(
        self, job: str, key: str, tags: Mapping[str, str], *, resumed: int | None = 0, **more: Any
    ) -> dict[str, Any]:
        """Run a job on one partition as Dagster would launch it, and return its figures.

        With `resumed` None the run may take over as much as it says.
        """
        is_work = (
            job in JOBS and tags.get(WORK_TAG) == "true" and more.keys() <= {"asset_selection"}
        )
        if is_work and not self.through_dagster:
            figures = self._run_assets(job, key, tags, more.get("asset_selection", ()))
        else:
            figures = self._run_in_process(job, key, tags, **more)
        if figures["success"] and {"claimed", "pushed"} <= figures.keys():
            taken_over = figures["resumed"] if resumed is None else resumed
            adds_up(figures, taken_over)
        return figures

    def _run_assets(
        self, job: str, key: str, tags: Mapping[str, str], selected: Sequence[dg.AssetKey]
    ) -> dict[str, Any]:
        ran = run_assets(self.definitions, self.instance, job, key, tags, selected)
        self.last = ran
        return {"success": ran.success, "run_id": ran.run_id, **ran.figures}

    def _run_in_process(
        self, job: str, key: str, tags: Mapping[str, str], **more: Any
    ) -> dict[str, Any]:
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=key,
            tags=dict(tags),
            raise_on_error=False,
            **more,
        )
        self.last = result
        figures: dict[str, Any] = {"success": result.success, "run_id": result.run_id}
        for event in result.get_asset_materialization_events():
            figures |= {k: v.value for k, v in event.materialization.metadata.items()}
        return figures

    @property
    def today(self) -> Any:
        """Return the current day of the settings' time zone."""
        return self.with_clients(lambda clients: clients.today)

    def ask(self) -> tuple[list[dg.RunRequest], str]:
        """Evaluate the sensor once; return the runs that it asks for, or why there are none."""
        sensor = self.definitions.resolve_sensor_def("salesforce_changes")
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            definitions=self.definitions,
            resources=self.definitions.resources,
        ) as context:
            asked = sensor.evaluate_tick(context)
        self.cursor = asked.cursor
        return list(asked.run_requests or ()), asked.skip_message or ""

    def tick(self, resumed: int | None = 0) -> tuple[list[dict[str, Any]], str]:
        """Evaluate the sensor once and run what it asks for; return the runs' figures, or why there are none."""
        requests, why_not = self.ask()
        figures = []
        for request in requests:
            job, key = str(request.job_name), str(request.partition_key)
            # The daemon gives a run the tags of its job as well.
            tags = self.definitions.resolve_job_def(job).tags | request.tags
            figures.append(
                {"job": job, "key": key, **self.execute(job, key, tags, resumed=resumed)}
            )
        return figures, why_not

    def calls_since(self, before: int) -> list[str]:
        """Return what the org was asked after its `before`-th request: method and path, token requests left out."""
        log = self.org.calls()["log"][before:]
        return [f"{c['method']} {c['path']}" for c in log if "/oauth2/" not in c["path"]]

    def checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        """Return the last run's asset checks by name."""
        assert isinstance(self.last, dg.ExecuteInProcessResult), (
            "checks are Dagster's: dagster_runs"
        )
        return {e.check_name: e for e in self.last.get_asset_check_evaluations()}

    def failure(self) -> tuple[str, int]:
        """Return why the last run failed, and its exit code: a message and no traceback."""
        if isinstance(self.last, AssetRun):
            message, exit_code = self.last.failure
        else:
            (event,) = [e for e in self.last.all_events if e.is_step_failure]
            data = event.step_failure_data.user_failure_data
            assert data is not None
            message, exit_code = str(data.description), int(str(data.metadata[EXIT_CODE].value))
        assert message
        assert "Traceback" not in message
        return message, exit_code

    def pull(self, name: str) -> dict[str, Any]:
        """Run the pull of one object."""
        return self.run("pull", name)

    def refresh(self, name: str) -> dict[str, Any]:
        """Run the daily pull of one object."""
        return self.run("daily_pull", name)

    def waiting(self, name: str) -> int:
        """Return how many records of the object wait."""
        count: int = self.with_clients(lambda clients: clients.ledger.waiting.count(name))
        return count

    def failures(self) -> list[Any]:
        """Return the records that failed last time."""
        rows: list[Any] = self.with_clients(lambda clients: clients.ledger.failures.rows())
        return rows


@dataclass
class ConfiguredPlant(Plant):
    """A plant on a configuration folder as it stands (one of `docs/examples`), copied and not written to."""

    source: Path = Path()

    def configure(self, *integrations: Mapping[str, Any], **settings: Any) -> None:
        """Build the definitions from a copy of the folder."""
        if integrations or settings:
            raise ValueError("the configuration is the folder's own")
        shutil.copytree(self.source, self.folder / "config")
        self._define()


@cache
def _instance_of_all() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def _emptied() -> dg.DagsterInstance:
    """Return the one instance of all plants whose runs are not Dagster's: a new one costs 0.1 CPU seconds."""
    instance = _instance_of_all()
    instance.event_log_storage.wipe()
    instance.run_storage.wipe()
    return instance


def clean(org: RunningOrg) -> None:
    """Take from a running org what an earlier test left: records, faults, rules, flows, sessions, counts."""
    org.clear_faults()
    for kind in ("validation-rules", "flows"):
        for left in org.control("GET", kind):
            org.control("DELETE", f"{kind}/{left['object']}/{left['name']}")
    for name in ("Lead", "Contact", "Account"):
        found = org.control(
            "POST", "query", {"soql": f"SELECT Id FROM {name}", "include_deleted": False}
        )["records"]
        body = {"object": name, "operation": "delete", "records": [{"Id": r["Id"]} for r in found]}
        if found:
            assert all(answer["success"] for answer in org.control("POST", "save", body))
    org.control("DELETE", "sessions")
    org.control("DELETE", "calls")


def adds_up(figures: Mapping[str, Any], resumed: int = 0) -> None:
    """Hold one run's figures against each other: nothing is lost between two of them."""
    if "read" in figures:
        assert figures["read"] == figures["not_due"] + figures["due"], figures
        of_pull = figures["waiting_of_this_pull"] + figures["claimed_of_this_pull"]
        assert figures["due"] == of_pull, figures
    assert figures["settled"] == figures["pushed"] + figures["failed"] + figures["gone"], figures
    ended = figures["settled"] + figures["in_flight"] + figures["released"]
    assert figures["claimed"] + resumed == ended, figures


def write_edit(market: Path, org: RunningOrg, name: str, record: Mapping[str, Any]) -> None:
    """Let the market's model save `record` once while it scores: an edit between pull and push."""
    body = {"object": name, "operation": "update", "records": [dict(record)]}
    (market / "edit.json").write_text(
        json.dumps({"url": f"{org.base_url}/_control/save", "body": body})
    )


__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "FIELDS",
    "ConfiguredPlant",
    "Plant",
    "clean",
    "integration",
    "write_edit",
]
