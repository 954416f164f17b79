"""The GraphQL API of a running webserver, as far as the tests ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from tests.processes import LOCATION, until

REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
ENDED = ("SUCCESS", "FAILURE", "CANCELED")

_METADATA = """
  metadataEntries {
    label
    __typename
    ... on IntMetadataEntry { intValue }
    ... on FloatMetadataEntry { floatValue }
    ... on TextMetadataEntry { text }
    ... on TimestampMetadataEntry { timestamp }
    ... on BoolMetadataEntry { boolValue }
    ... on MarkdownMetadataEntry { mdStr }
    ... on JsonMetadataEntry { jsonString }
    ... on UrlMetadataEntry { url }
    ... on TableMetadataEntry { table { records } }
    ... on TableColumnLineageMetadataEntry {
      lineage { columnName columnDeps { assetKey { path } columnName } }
    }
  }
"""
_VALUES = (
    "intValue",
    "floatValue",
    "text",
    "timestamp",
    "boolValue",
    "mdStr",
    "jsonString",
    "url",
    "table",
    "lineage",
)


class GraphQLError(AssertionError):
    """The webserver refused what was asked; the text is its answer."""


@dataclass(frozen=True)
class GraphQL:
    """A client of one webserver."""

    url: str

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the answer's data."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                f"{self.url}/graphql",
                json={"query": query, "variables": variables},
                timeout=300,
            ).json()
        if "errors" in answer:
            raise GraphQLError(answer["errors"])
        return answer["data"]

    # -- runs ----------------------------------------------------------------------------------

    def launch(
        self,
        job: str,
        config: Mapping[str, Any] | None = None,
        assets: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Launch a job as the launchpad does; return the run's id."""
        selector: dict[str, Any] = {**REPOSITORY, "jobName": job}
        if assets:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
        found = self.ask(
            """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
              __typename ... on LaunchRunSuccess { run { runId } }
              ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }""",
            params={
                "selector": selector,
                "runConfigData": dict(config or {}),
                "executionMetadata": {
                    "tags": [{"key": k, "value": v} for k, v in (tags or {}).items()]
                },
            },
        )["launchRun"]
        if found["__typename"] != "LaunchRunSuccess":
            raise GraphQLError(found)
        return str(found["run"]["runId"])

    def ended(self, run_id: str) -> dict[str, Any]:
        """Wait until a run is over; return its `status`, its figures, and `why` a step of it failed."""

        def run() -> dict[str, Any] | None:
            found: dict[str, Any] = self.ask(
                "query($id: ID!) { runOrError(runId: $id) { ... on Run { status "
                "eventConnection { events { __typename ... on MessageEvent { message } "
                "... on ExecutionStepOutputEvent { outputName " + _METADATA + " } "
                "... on ExecutionStepFailureEvent { failureMetadata { description } } "
                "... on MaterializationEvent {" + _METADATA + "} } } } } }",
                id=run_id,
            )["runOrError"]
            return found if found["status"] in ENDED else None

        run_found = until(run, f"run {run_id} to end")
        figures: dict[str, Any] = {"status": run_found["status"], "why": ""}
        for event in run_found["eventConnection"]["events"]:
            figures |= values(event.get("metadataEntries") or ())
            figures["why"] += (event.get("failureMetadata") or {}).get("description") or ""
        return figures

    def tags(self, run_id: str) -> dict[str, str]:
        """Return a run's tags."""
        found = self.ask(
            "query($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }",
            id=run_id,
        )["runOrError"]["tags"]
        return {tag["key"]: tag["value"] for tag in found}

    # -- assets --------------------------------------------------------------------------------

    def materialization(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        """Return the figures of the newest materialization of an asset, or of one of its partitions."""
        where = f'(partitions: ["{partition}"], limit: 1)' if partition else "(limit: 1)"
        node = self.ask(
            "query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { "
            f"assetMaterializations{where} {{ runId {_METADATA} }} }} }} }}",
            key={"path": [asset]},
        )["assetNodeOrError"]
        found = node["assetMaterializations"]
        if not found:
            return {}
        return values(found[0]["metadataEntries"]) | {"run_id": found[0]["runId"]}

    def check(self, asset: str, name: str, partition: str | None) -> dict[str, Any]:
        """Return how a check stands on one partition, or over all: `passed`, its words and its figures."""
        found = self.ask(
            "query($key: AssetKeyInput!, $name: String!, $partition: String) { assetCheckExecutions("
            "assetKey: $key, checkName: $name, limit: 1, partition: $partition) { status timestamp "
            "evaluation { success severity description " + _METADATA + " } } }",
            key={"path": [asset]},
            name=name,
            partition=partition,
        )["assetCheckExecutions"]
        if not found or not found[0]["evaluation"]:
            return {}
        told = found[0]["evaluation"]
        return values(told["metadataEntries"]) | {
            "passed": told["success"],
            "severity": told["severity"],
            "words": told["description"] or "",
        }

    # -- sensor and backfills ------------------------------------------------------------------

    def sensor(self, name: str) -> dict[str, Any]:
        """Return a sensor's state and its ticks, newest first."""
        found: dict[str, Any] = self.ask(
            "query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor {"
            " id minIntervalSeconds sensorState { id status ticks(limit: 20) { id status timestamp "
            "skipReason runIds error { message } } } } } }",
            selector={**REPOSITORY, "sensorName": name},
        )["sensorOrError"]
        return found

    def switch(self, name: str, *, on: bool) -> None:
        """Switch a sensor as its toggle does. One that is switched on ticks at once."""
        if on:
            self.ask(
                "mutation($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename "
                "... on PythonError { message } } }",
                selector={**REPOSITORY, "sensorName": name},
            )
        else:
            self.ask(
                "mutation($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }",
                id=self.sensor(name)["id"],
            )

    def backfill(self, assets: Sequence[str], partitions: Sequence[str], title: str) -> str:
        """Launch a backfill as the dialog does; return its id."""
        found = self.ask(
            """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
              __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            params={
                "assetSelection": [{"path": [name]} for name in assets],
                "partitionNames": list(partitions),
                "title": title,
            },
        )["launchPartitionBackfill"]
        if found["__typename"] != "LaunchBackfillSuccess":
            raise GraphQLError(found)
        return str(found["backfillId"])

    def backfill_state(self, backfill_id: str) -> dict[str, Any]:
        """Return a backfill's status, its runs and how many partitions it has."""
        found: dict[str, Any] = self.ask(
            "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {"
            " status numPartitions runs { id status } error { message } } } }",
            id=backfill_id,
        )["partitionBackfillOrError"]
        return found


def values(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return metadata entries as a plain mapping."""
    found = {}
    for entry in entries:
        value = next((entry[key] for key in _VALUES if entry.get(key) is not None), None)
        found[str(entry["label"])] = value
    return found
