"""Reads the configuration's YAML files from a folder and has `core.configuration` check them.

Of YAML only what settings need is read: keys and values, lists, text, numbers, true and false.
Anchors, aliases, tags and keys given twice are refused, so that a file means what it looks like,
whoever reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.core.configuration.configuration import Configuration, Document, check_configuration
from pipeline.core.configuration.mistakes import (
    MODEL_PATTERN,
    KeyPath,
    Mistake,
    display,
    list_choices,
)

FILE_BYTES_MAX: Final = 1_000_000
DEPTH_MAX: Final = 20
NUMBER_LENGTH_MAX: Final = 30

_TAG: Final = "tag:yaml.org,2002:"
_YAML_ENDINGS: Final = (".yaml", ".yml")


def read_configuration(folder: Path) -> Configuration:
    """Read `settings.yaml`, `markets/*/market.yaml` and `integrations/*.yaml` of `folder`.

    What is wrong with one integration or one market stops that one alone: it is in `broken`, and
    every mistake in `problems`, with its file and, if it has one, its line.

    Raises ConfigurationError with every mistake where `settings.yaml` has one.
    """
    path = folder / "settings.yaml"
    settings = _document(path)
    if not path.is_file():
        missing = "settings.yaml does not exist. Set INSIGHTS_CONFIG to the folder that holds it."
        settings = _unread(path, f"{missing}{_other_ending(path)}")

    markets = [
        _market(path / "market.yaml")
        for path in sorted(folder.glob("markets/*/"))
        if path.is_dir() and not path.name.startswith((".", "_"))
    ]
    integrations = [
        _document(path) if path.suffix == ".yaml" else _unread(path, "its name must end in .yaml.")
        for path in sorted(folder.glob("integrations/*"))
        if path.suffix.lower() in _YAML_ENDINGS and not path.name.startswith(".")
    ]

    return check_configuration(settings, markets, integrations)


def _unread(path: Path, message: str, line: int | None = None) -> Document:
    return Document(str(path), None, mistakes=(Mistake((), message, line=line),), is_read=False)


def _other_ending(path: Path) -> str:
    other = path.with_suffix(".yml")
    return f" There is a {other.name}: rename it." if other.is_file() else ""


def _market(path: Path) -> Document:
    """Return a market's document, named after its folder; its model's file has to be there."""
    name = {"name": path.parent.name}
    document = _document(path)
    if not path.exists():
        message = "the market's folder has no market.yaml: add it, or remove the folder."
        document = _unread(path, f"{message}{_other_ending(path)}")

    if document.is_read and not isinstance(document.content, dict):
        document = _unread(path, f"expected keys and values, found {display(document.content)}.", 1)
    if not document.is_read:
        return replace(document, content=name)

    found = list(document.mistakes)
    if "name" in document.content:
        message = f"remove this key: a market is named by its folder, {path.parent.name!r}."
        found.append(Mistake(("name",), message))
    found += _model_mistakes(path.parent, document.content.get("model"))
    return replace(document, content={**document.content, **name}, mistakes=tuple(found))


def _model_mistakes(folder: Path, model: Any) -> list[Mistake]:
    if not isinstance(model, str) or not re.match(MODEL_PATTERN, model):
        return []
    file = model.split(":")[0]
    try:
        is_there = (folder / file).is_file()
    except OSError:  # too long a name for the file system
        is_there = False
    if is_there:
        return []

    others = sorted(path.name for path in folder.glob("*.py"))
    message = (
        f"there is no file {file!r} in {folder}; {list_choices(file, others, lead='there are')}"
    )
    return [Mistake(("model",), message)]


def _document(path: Path) -> Document:
    """Read one file; what is wrong with it as YAML is in the document's mistakes."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        return _unread(path, f"the file cannot be read: {error.strerror}.")
    if len(content) > FILE_BYTES_MAX:
        return _unread(path, f"the file is larger than {FILE_BYTES_MAX:,} bytes.")

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _unread(path, "the file is not in UTF-8: save it in that encoding.", line)
    return replace(_parse(text), path=str(path))


# A code server reads the same files at each tick, and parsing YAML is most of what that takes.
@lru_cache(maxsize=256)
def _parse(text: str) -> Document:
    """Return the document that `text` is, without a path."""
    nowhere = Path()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character U+{error.character:04X} is not allowed in YAML."
        return _unread(nowhere, message, line)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _unread(nowhere, _syntax(error), mark.line + 1 if mark else None)
    except (ValueError, OverflowError):
        # PyYAML's own, from escapes and version numbers that no file needs.
        message = "the file is not YAML: it holds an escape or a number out of bounds."
        return _unread(nowhere, message)

    if loader.refused:
        return Document("", None, mistakes=tuple(loader.refused), is_read=False)
    if node is None:
        return Document("", None, lines={(): 1})
    built = _Building(loader)
    content = built.value(node, ())
    return Document("", content, built.lines, tuple(built.mistakes))


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "the file is not YAML"
    hint = ""
    if "'\\t'" in problem:
        hint = ": write spaces in place of tabs"
    elif "mapping values are not allowed" in problem:
        hint = ": put text that holds a colon in quotes, and keys of one level in one column"
    elif "but found another document" in problem or "single document" in (error.context or ""):
        hint = ": one file holds one document, so leave out ---"
    return f"{problem}{hint}."


class _Loader(yaml.SafeLoader):
    """Composes nodes, and notes what is YAML and yet not read here, each with its line."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.refused: list[Mistake] = []
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose the next node; an alias becomes an empty one, so that none holds itself."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            self._refuse(event, "an alias (*name) is not read here: write the value itself")
            return yaml.ScalarNode(f"{_TAG}null", "")

        if event.anchor is not None:
            self._refuse(event, "an anchor (&name) is not read here: leave it out")
            event.anchor = None
        if event.tag is not None:
            self._refuse(event, "a tag (!name) is not read here: leave it out")
            event.tag, event.implicit = None, (True, True)
        if isinstance(event, yaml.ScalarEvent) and not _is_text(event.value):
            self._refuse(event, "half a character (a lone surrogate) is not text: leave it out")

        # Bounded: each level is a call of this function, and Python's stack is finite.
        if self._depth == DEPTH_MAX:
            problem = f"more than {DEPTH_MAX} levels stand inside each other"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, event: Any, message: str) -> None:
        text = f"{message}, or put text that begins so in quotes."
        self.refused.append(Mistake((), text, line=event.start_mark.line + 1))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Building:
    """Makes plain values of nodes, and notes the line of each key and the keys given twice."""

    loader: _Loader
    lines: dict[KeyPath, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def value(self, node: yaml.Node, key: KeyPath) -> Any:
        """Return the value of `node`, which stands at `key`."""
        self.lines.setdefault(key, _line(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node.value, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*key, n)) for n, item in enumerate(node.value)]
        return self._scalar(node) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(
        self, pairs: Sequence[tuple[yaml.Node, yaml.Node]], above: KeyPath
    ) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, node in pairs:
            if not isinstance(key_node, yaml.ScalarNode):
                message = "a key is one word, not a list or keys and values."
                self.mistakes.append(Mistake(above, message, line=_line(key_node)))
                continue

            key = (*above, str(key_node.value))
            if key[-1] in content:
                message = f"this key is given twice, first in line {self.lines[key]}."
                self.mistakes.append(Mistake(key, message, line=_line(key_node)))
                continue

            self.lines[key] = _line(key_node)
            content[str(key_node.value)] = self.value(node, key)
        return content

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        """Return text, number, true, false or nothing; a date stays the text that it is."""
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind == "null":
            return None
        if kind == "bool":
            return self.loader.construct_yaml_bool(node)

        # Longer ones stay text, which no number takes: turning them takes time by their square.
        if kind in ("int", "float") and len(text) <= NUMBER_LENGTH_MAX:
            try:
                return (
                    self.loader.construct_yaml_int(node)
                    if kind == "int"
                    else self.loader.construct_yaml_float(node)
                )
            except ValueError:  # "0x_" and the like look like numbers to YAML 1.1
                return text
        return text


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
