"""market.yaml, the integrations and the custom fields of the sample fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.configuration.integration import (
    TRACKING_FIELDS,
    Integration,
    conflicts,
    integration_mistakes,
)
from pipeline.core.configuration.market import Market as DescribedMarket

from .conftest import MARKETS, NAMES, Market

LOCAL = MARKETS.parent
STANDARD = {
    "Account": {"Name", "Website", "Industry", "NumberOfEmployees", "BillingCountry"},
    "Contact": {"Email"},
    "Lead": {"Company", "Website", "Industry", "NumberOfEmployees", "Country", "Email", "Title"},
}


def read(path: Path) -> Any:
    """One YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def described(name: str) -> DescribedMarket:
    """A market as the pipeline reads it."""
    return DescribedMarket.model_validate({"name": name, **read(MARKETS / name / "market.yaml")})


def integrations() -> list[Integration]:
    """All integrations of the sample."""
    files = sorted((LOCAL / "integrations").glob("*.yaml"))
    return [Integration.model_validate(read(file)) for file in files]


def custom_fields() -> dict[str, dict[str, dict[str, Any]]]:
    """Custom fields by object and name."""
    return {
        name: {field["name"]: field for field in fields}
        for name, fields in read(LOCAL / "schema.yaml").items()
    }


def test_one_sample_market_is_account_based_and_one_lead_based() -> None:
    assert [described(name).kind for name in NAMES] == ["account_based", "lead_based"]


def test_each_market_has_boolean_and_text_insights_one_disabled_and_none_by_location(
    market: Market,
) -> None:
    outputs = described(market.name).outputs
    enabled = [o.value for o in outputs.values() if o.type == "insight" and o.enabled]

    assert enabled.count("boolean") >= 2
    assert enabled.count("text") >= 2
    assert [o for o in outputs.values() if not o.enabled]
    assert {o.category for o in outputs.values() if o.type == "insight"} == {"fit", "intent"}


def test_files_named_in_the_description_are_there_and_all_reference_files_are_named(
    market: Market,
) -> None:
    description = described(market.name)
    assert description.training is not None

    named = {reference.file for reference in description.reference}
    there = {f"reference/{path.name}" for path in (market.folder / "reference").iterdir()}
    assert named == there
    assert (market.folder / description.training.script).is_file()
    assert (market.folder / description.training.data).is_file()
    assert "licence" in description.training.origin


def test_the_samples_stay_small() -> None:
    files = [p for p in MARKETS.rglob("*") if p.is_file() and "__pycache__" not in p.parts]

    assert sum(path.stat().st_size for path in files) < 2_000_000


@pytest.mark.parametrize("integration", integrations(), ids=lambda i: i.name)
def test_an_integration_has_no_problems_as_written(integration: Integration) -> None:
    assert integration_mistakes(integration, described(integration.market)) == []


def test_no_two_integrations_of_an_object_write_the_same_field() -> None:
    assert conflicts(integrations()) == []


def test_every_object_is_integrated_and_one_integration_has_a_candidate_field() -> None:
    assert {i.object for i in integrations()} == {"Account", "Contact", "Lead"}
    assert [i.name for i in integrations() if i.candidate_field] == ["Lead.campaign_response"]


@pytest.mark.parametrize("integration", integrations(), ids=lambda i: i.name)
def test_every_mapped_field_is_standard_or_in_the_schema(integration: Integration) -> None:
    fields = custom_fields()
    for path in [*integration.inputs.values(), *filter(None, [integration.candidate_field])]:
        name, leaf = ("Account", path[8:]) if path[:8] == "Account." else (integration.object, path)
        assert leaf in STANDARD[name] | set(fields[name]), path
    assert set(integration.outputs.values()) <= set(fields[integration.object])


@pytest.mark.parametrize("integration", integrations(), ids=lambda i: i.name)
def test_every_output_fits_the_field_it_is_mapped_to(integration: Integration) -> None:
    fields = custom_fields()[integration.object]
    outputs = described(integration.market).outputs
    for name, field_name in integration.outputs.items():
        output, field = outputs[name], fields[field_name]
        if output.kind == "boolean":
            assert field["type"] == "Checkbox", name
        elif output.kind in ("score", "number"):
            assert field["type"] == "Number"
            assert field["precision"] - field["scale"] >= 3, name
        else:
            assert field["type"] in ("Text", "TextArea")
            assert field.get("length", 255) >= output.text_length_max, name


def test_every_object_has_the_tracking_fields_and_no_field_that_nothing_uses() -> None:
    for name, fields in custom_fields().items():
        used = set(TRACKING_FIELDS)
        for integration in integrations():
            if integration.object == name:
                used |= {*integration.inputs.values(), *integration.outputs.values()}
                used |= set(filter(None, [integration.candidate_field]))
        assert set(fields) == used & set(fields)
        assert set(TRACKING_FIELDS) <= set(fields)
