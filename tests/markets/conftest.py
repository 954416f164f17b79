"""Loads the sample markets the way the pipeline does: by file, from their folders."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
import yaml

MARKETS = Path(__file__).resolve().parents[2] / "config" / "local" / "markets"
NAMES = ["enterprise_fit", "campaign_response"]
ARROW_TYPES = {
    "text": pa.string(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("ms", "UTC"),
}


def load_module(path: Path) -> ModuleType:
    """Imports a Python file that is in no package."""
    name = f"sample_{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Market:
    """A sample market: its description, its model, and a way to make its input table."""

    def __init__(self, name: str) -> None:
        """Reads market.yaml and loads the model it names."""
        self.name = name
        self.folder = MARKETS / name
        self.described: dict[str, Any] = yaml.safe_load(
            (self.folder / "market.yaml").read_text(encoding="utf-8")
        )
        file, function = self.described["model"].split(":")
        self.model = getattr(load_module(self.folder / file), function)(self.folder)

    def table(self, rows: list[dict[str, Any]]) -> pa.Table:
        """An input table with every declared column; what a row lacks is null."""
        inputs = self.described["inputs"]
        return pa.table(
            {
                name: pa.array([row.get(name) for row in rows], ARROW_TYPES[declared["type"]])
                for name, declared in inputs.items()
            }
        )

    def score(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Scored rows as dicts."""
        scored: list[dict[str, Any]] = self.model.score(self.table(rows)).to_pylist()
        return scored

    def enabled(self) -> dict[str, dict[str, Any]]:
        """Outputs that the market has enabled."""
        outputs: dict[str, dict[str, Any]] = self.described["outputs"]
        return {name: output for name, output in outputs.items() if output.get("enabled", True)}


@pytest.fixture(scope="session")
def enterprise_fit() -> Market:
    """The account-based sample."""
    return Market("enterprise_fit")


@pytest.fixture(scope="session")
def campaign_response() -> Market:
    """The lead-based sample."""
    return Market("campaign_response")


@pytest.fixture(scope="session", params=NAMES)
def market(request: pytest.FixtureRequest) -> Market:
    """Each sample market in turn."""
    loaded: Market = request.getfixturevalue(request.param)
    return loaded
