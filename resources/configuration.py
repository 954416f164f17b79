"""Reads the configuration's YAML files from a folder and has `core.config` check them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.config import Configuration, Document, configuration
from pipeline.core.errors import ConfigurationError


class _UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice: the first value would be lost in silence."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    keys = [loader.construct_object(key) for key, _ in node.value]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            mark = node.value[index][0].start_mark
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", mark)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_configuration(folder: Path) -> Configuration:
    """Read `settings.yaml`, `markets/*/market.yaml` and `integrations/*.yaml` of `folder`.

    Raises ConfigurationError with every problem found, each with its file.
    """
    found: list[str] = []
    if not (folder / "settings.yaml").is_file():
        raise ConfigurationError(
            [
                f"{folder / 'settings.yaml'} does not exist. Set INSIGHTS_CONFIG to the folder that holds it."
            ]
        )
    settings = _read(folder / "settings.yaml", found)
    markets = [
        _read(path, found, extra={"name": path.parent.name})
        for path in sorted(folder.glob("markets/*/market.yaml"))
    ]
    integrations = [_read(path, found) for path in sorted(folder.glob("integrations/*.yaml"))]
    if found:
        raise ConfigurationError(found)
    return configuration(settings, markets, integrations)


def _read(path: Path, found: list[str], extra: Mapping[str, Any] | None = None) -> Document:
    content: Any = {}
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        found.append(f"{path}{line}: {getattr(error, 'problem', None) or error}.")
    if isinstance(content, dict) and extra:
        content = {**content, **extra}
    return Document(str(path), content)
