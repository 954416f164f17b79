"""Loads the markets' models: Python files of the company's own, from their folders."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from pipeline.core.errors import ConfigurationError
from pipeline.core.market import Market, Model


class Models:
    """The models of all markets, each loaded when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """Look for markets below `folder` (`<folder>/<market>/model.py`)."""
        self._folder = folder
        self._loaded: dict[tuple[str, str], Model] = {}

    def get(self, market: Market) -> Model:
        """Return the market's model; raise ConfigurationError where its file cannot be loaded as it should."""
        key = (market.name, market.version)
        if key not in self._loaded:
            self._loaded[key] = self._load(market)
        return self._loaded[key]

    def _load(self, market: Market) -> Model:
        file, function = market.model.split(":")
        folder = self._folder / market.name
        path = folder / file
        where = f"market {market.name}: model: {market.model}"
        if not path.is_file():
            raise ConfigurationError([f"{where}: {path} does not exist."])
        name = f"insights_market_{market.name}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ConfigurationError([f"{where}: {path} is not a Python file."])
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
            load = getattr(module, function, None)
            model: Model | None = load(folder) if callable(load) else None
        except (
            Exception
        ) as error:  # foreign code: whatever it raises while it loads is the market's fault
            raise ConfigurationError([f"{where}: {type(error).__name__}: {error}."]) from error
        if not callable(load):
            raise ConfigurationError([f"{where}: {path} has no function {function!r}."])
        if model is None or not callable(getattr(model, "score", None)):
            raise ConfigurationError([f"{where}: {function}() returned nothing with score()."])
        return model
