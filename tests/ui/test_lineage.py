"""R29: lineage from market and reference data to the pushed fields, walked as the UI walks it."""

from __future__ import annotations

from typing import Any

import pytest

from demo.stage import CONFIG
from pipeline.core.configuration.integration import Integration
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED
from resources.configuration import read_configuration
from tests.ui.graphql import values
from tests.ui.site import Site

pytestmark = pytest.mark.timeout(3600)
"""The first test of a session waits for the site to start; that wait has a bound of its own."""

Column = tuple[str, str]
"""An asset's key, its parts joined by slashes, and one of its columns."""

CONFIGURATION = read_configuration(CONFIG)
MAPPED = [
    pytest.param(one, output, id=f"{one.name}.{output}")
    for one in CONFIGURATION.integrations
    for output in one.outputs
]


@pytest.fixture(scope="module")
def sources(site: Site) -> dict[Column, list[Column]]:
    """What each column of every asset is made from, as the webserver tells it."""
    nodes = site.graphql.ask(
        "{ assetNodes { assetKey { path } metadataEntries { label __typename "
        "... on TableColumnLineageMetadataEntry { lineage { columnName columnDeps { "
        "assetKey { path } columnName } } } } } }"
    )["assetNodes"]
    found: dict[Column, list[Column]] = {}
    for node in nodes:
        entries: list[dict[str, Any]] = values(node["metadataEntries"]).get(
            "dagster/column_lineage", []
        )
        for entry in entries:
            column = ("/".join(node["assetKey"]["path"]), entry["columnName"])
            found[column] = [
                ("/".join(dep["assetKey"]["path"]), dep["columnName"])
                for dep in entry["columnDeps"]
            ]
    return found


def upstream(sources: dict[Column, list[Column]], column: Column) -> set[Column]:
    """Return all that a column is made from, near and far."""
    seen: set[Column] = set()
    left = [column]
    while left:
        for source in sources.get(left.pop(), []):
            if source not in seen:
                seen.add(source)
                left.append(source)
    return seen


@pytest.mark.parametrize(("integration", "output"), MAPPED)
def test_a_mapped_output_reaches_its_inputs_its_reference_and_its_training_data(
    sources: dict[Column, list[Column]], integration: Integration, output: str
) -> None:
    """From the field in Salesforce: every mapped input, all reference data and the training data of its market."""
    market = CONFIGURATION.markets[integration.market]
    field = f"{integration.object}.{integration.outputs[output]}"

    found = upstream(sources, (PUSHED, field))

    inputs = {(CHANGED_RECORDS, f"{integration.object}.{p}") for p in integration.inputs.values()}
    assert inputs <= found
    references = {f"reference/{market.name}/{one.name}" for one in market.reference}
    assert references
    assert references | {f"training/{market.name}"} <= {asset for asset, _ in found}
    strangers = {name for name in CONFIGURATION.markets if name != market.name}
    assert not {asset for asset, _ in found if asset.split("/")[-1] in strangers}
    assert not {asset for asset, _ in found if set(asset.split("/")) & strangers}


def test_every_column_of_lineage_is_one_that_its_asset_has(
    site: Site, sources: dict[Column, list[Column]]
) -> None:
    """No dead ends: what a column is said to be made from stands in the other asset's schema."""
    nodes = site.graphql.ask(
        "{ assetNodes { assetKey { path } metadataEntries { ... on TableSchemaMetadataEntry "
        "{ label schema { columns { name } } } } } }"
    )["assetNodes"]
    columns = {
        ("/".join(node["assetKey"]["path"]), column["name"])
        for node in nodes
        for entry in node["metadataEntries"]
        if entry
        for column in entry["schema"]["columns"]
    }
    named = set(sources) | {dep for deps in sources.values() for dep in deps}

    assert named <= columns


@pytest.mark.slow
def test_every_asset_tells_what_it_is_and_whose(site: Site) -> None:
    """Descriptions, kinds, groups and columns everywhere; an owner on all that runs."""
    nodes = site.graphql.ask(
        "{ assetNodes { assetKey { path } description groupName kinds isMaterializable "
        "owners { __typename } metadataEntries { label } } }"
    )["assetNodes"]
    for node in nodes:
        key = "/".join(node["assetKey"]["path"])
        assert node["description"], key
        assert node["kinds"], key
        assert node["groupName"] in {"salesforce", "markets", "reports"}, key
        assert node["owners"] or not node["isMaterializable"], key
        labels = {entry["label"] for entry in node["metadataEntries"]}
        assert "dagster/column_schema" in labels or node["groupName"] == "reports", key
