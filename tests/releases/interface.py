"""What others build on: stored values, Dagster's names and the keys of `--json`. They may grow; none may go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pyarrow as pa
from click.testing import CliRunner

# What is the release's own stands here: its names change, what they stand for does not.
from pipeline.cli import cli
from pipeline.core.scoring.digest import VERSION, digests
from pipeline.core.scoring.due import LANES, Reason
from pipeline.runs import run_now
from resources.ledger import counts
from resources.ledger.segments import SegmentState
from tests.plant import FIELDS, integration
from tests.releases.standing import SAVES, StandingPlant, standing_org

OF_A_VALUE: Final = frozenset({"failing", "api_calls", "inputs", "outputs"})
"""Keys below which every key is a value: a code, a kind of call, a name of the mapping."""

KNOWN_ROWS: Final = pa.table(
    {
        "text": pa.array(["Acme", " Acme\r\nAG ", "Zürich", "", None]),
        "number": pa.array([1.0, -0.0, 1234567.25, 0.1, None]),
        "flag": pa.array([True, False, True, None, None]),
        "at": pa.array([0, 1_700_000_000_000, None, 1, None], pa.timestamp("ms", tz="UTC")),
    }
)
REFUSED: Final = {
    "object": "Lead",
    "name": "Legal_Hold",
    "condition": "LastName = 'Okafor'",
    "message": "This lead is on legal hold.",
}


def recorded_interface(folder: Path, environment: Callable[[str, str], None]) -> dict[str, Any]:
    """Return the interface of the code that is imported, with a plant of its own in `folder`."""
    folder.mkdir(parents=True)
    with standing_org(folder, environment) as org:
        org.add_fields(**FIELDS, **{SAVES: {"type": "Number", "precision": 9, "scale": 0}})
        plant = StandingPlant(
            org,
            folder,
            integrations=[
                integration("Account"),
                integration("Contact", inputs={"title": "Title"}),
                integration("Lead"),
            ],
            now=datetime.now(UTC).replace(microsecond=0),
            in_memory=True,
        )
        environment("INSIGHTS_CONFIG", str(folder / "config"))
        environment("INSIGHTS_HOME", str(folder / "home"))
        return {
            "values": stored_values(),
            "names": names(plant.definitions),
            **_of_a_plant(plant),
        }


def stored_values() -> dict[str, Any]:
    """Return the values that ledger, lake and org hold, by what they mean."""
    constants = {name: value for name, value in vars(counts).items() if name.isupper()}
    return {
        "reasons": [reason.value for reason in Reason],
        "lanes": {reason.value: lane.value for reason, lane in LANES.items()},
        "segment_states": sorted(state.value for state in SegmentState),
        "day_counts": sorted(v for v in constants.values() if isinstance(v, str)),
        "digest_version": VERSION,
        "digests": digests(KNOWN_ROWS, KNOWN_ROWS.column_names).to_pylist(),
    }


def names(definitions: dg.Definitions) -> dict[str, list[str]]:
    """Return the names under which Dagster keeps the history of everything."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    return {
        "jobs": sorted(job.name for job in repository.get_all_jobs()),
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        "schedules": sorted(schedule.name for schedule in repository.schedule_defs),
        "assets": sorted(key.to_user_string() for key in graph.get_all_asset_keys()),
        "checks": sorted(
            f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys
        ),
    }


def _of_a_plant(plant: StandingPlant) -> dict[str, Any]:
    """Return the hashes that known records get, and the keys of what commands print of them."""
    plant.turn_on()
    leads = plant.create(
        "Lead",
        {"LastName": "Ito", "Company": "Acme AG", "Title": "CEO"},
        {"LastName": "Sato", "Company": " Zürich Versicherung ", "Title": None},
    )
    plant.create("Lead", {"LastName": "Okafor", "Company": "Okafor AG"})
    plant.org.control("POST", "validation-rules", REFUSED)
    plant.wait(seconds=5)
    pulled = run_now("pull", ["Lead"], definitions=plant.definitions, instance=plant.instance)
    hashes = [plant.record("Lead", lead)["Mintigo_hash__c"] for lead in leads]
    printed = {
        "pull": pulled,
        **{
            " ".join(words): _printed(*words)
            for words in (("check",), ("plan",), ("status",), ("failures",))
        },
        "explain": _printed("explain", leads[0]),
    }
    return {
        "hashes": hashes,
        "keys": {command: sorted(set(_paths(found))) for command, found in printed.items()},
    }


def _printed(*words: str) -> Any:
    """Return what a command prints for programs."""
    result = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    return json.loads(result.stdout)


def _paths(value: Any, at: str = "") -> Iterator[str]:
    """Yield every key of `value` with the keys that lead to it; `[]` stands for each entry of a list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{at}{key}"
            if key not in OF_A_VALUE:
                yield from _paths(inner, f"{at}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, f"{at.rstrip('.')}[].")
