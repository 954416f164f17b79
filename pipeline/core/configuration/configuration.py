"""The whole configuration, checked as one: settings, markets and integrations (R2, R4 to R8)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.core.configuration.integration import (
    OBJECTS,
    Integration,
    integration_mistakes,
    object_mistakes,
)
from pipeline.core.configuration.market import Market
from pipeline.core.configuration.mistakes import (
    NAME_PATTERN,
    KeyPath,
    Mistake,
    display,
    list_choices,
    mistakes_in,
)
from pipeline.core.configuration.settings import Settings
from pipeline.core.errors import ConfigurationError

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file: its path as people know it, its content, and what reading it showed.

    `lines` holds the line of each key, from 1. `mistakes` were found while reading; where they
    leave nothing to be checked, `is_read` is False. A market's content holds its folder's name as
    `name`.
    """

    path: str
    content: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()
    is_read: bool = True

    def line(self, key: KeyPath) -> int | None:
        """Return the line of `key`, or of what it is missing from; None without any lines."""
        for length in range(len(key), -1, -1):
            if key[:length] in self.lines:
                return self.lines[key[:length]]
        return None


@dataclass(frozen=True)
class Configuration:
    """Settings, markets by name, and every integration: valid as written, whatever the org says."""

    settings: Settings
    markets: Mapping[str, Market]
    integrations: tuple[Integration, ...]

    def of_object(self, object_name: str) -> tuple[Integration, ...]:
        """Return the integrations of one object that are switched on and mapped (R12)."""
        return tuple(
            i for i in self.integrations if i.object == object_name and i.enabled and i.is_mapped
        )

    def retired_of_object(self, object_name: str) -> tuple[Integration, ...]:
        """Return the integrations of one object that are off, with old values to clear (R19)."""
        return tuple(
            i
            for i in self.integrations
            if i.object == object_name and not i.enabled and i.is_mapped and i.old_values == "clear"
        )

    @property
    def objects(self) -> tuple[str, ...]:
        """Return the objects with an integration to run or to clear up after, in a fixed order."""
        return tuple(n for n in OBJECTS if self.of_object(n) or self.retired_of_object(n))


def check_configuration(
    settings: Document, markets: Sequence[Document], integrations: Sequence[Document]
) -> Configuration:
    """Check everything and return it; raise ConfigurationError with all mistakes, not the first."""
    found: list[_Found] = []
    parsed_settings = _parse(Settings, settings, found)
    parsed_markets = {
        m.name: m for document in markets if (m := _parse(Market, document, found)) is not None
    }
    named = {d.content.get("name") for d in markets if isinstance(d.content, dict)}

    parsed: list[tuple[Document, Integration]] = []
    for document in integrations:
        integration = _parse(Integration, document, found)
        if integration is not None:
            parsed.append((document, integration))
        found += _find_unknown_market(document, parsed_markets, named)

        # What is right in a file with mistakes is checked as well: one reading shows them all.
        checked = integration or _without_mistakes(document)
        if checked is not None:
            market = parsed_markets.get(checked.market)
            found += [_Found(document, m) for m in integration_mistakes(checked, market)]
    found += _find_between_integrations(parsed)

    if found or parsed_settings is None:
        order = {d.path: n for n, d in enumerate([settings, *markets, *integrations])}
        found.sort(key=lambda one: (order[one.document.path], one.line or 0))
        raise ConfigurationError([str(one) for one in found])
    return Configuration(parsed_settings, parsed_markets, tuple(i for _, i in parsed))


@dataclass(frozen=True, slots=True)
class _Found:
    """A mistake and the file it stands in."""

    document: Document
    mistake: Mistake

    @property
    def line(self) -> int | None:
        return self.mistake.line or self.document.line(self.mistake.key)

    def __str__(self) -> str:
        where = f"{self.document.path}:{self.line}" if self.line else self.document.path
        return f"{where}: {self.mistake}"


def _parse(model: type[_Model], document: Document, found: list[_Found]) -> _Model | None:
    """Return what `document` says as a `model`, or None; add its mistakes to those `found`."""
    found += [_Found(document, mistake) for mistake in document.mistakes]
    if not document.is_read:
        return None

    if not isinstance(document.content, dict):
        message = f"expected keys and values, found {display(document.content)}."
        found.append(_Found(document, Mistake((), message)))
        return None

    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        # A market's name is its folder's: the key stands in no file.
        mistakes = mistakes_in(model, error, hidden=("name",))
        found += [_Found(document, mistake) for mistake in mistakes]
        return None


def _find_unknown_market(
    document: Document, markets: Mapping[str, Market], named: Collection[Any]
) -> list[_Found]:
    """Return that an integration's market is not there.

    Of one that is `named` and could not be parsed, its own file has the mistakes.
    """
    market = document.content.get("market") if isinstance(document.content, dict) else None
    if not isinstance(market, str) or market in named or not re.match(NAME_PATTERN, market):
        return []

    message = f"there is no market {market!r}; {list_choices(market, markets, lead='there are')}"
    return [_Found(document, Mistake(("market",), message))]


def _find_between_integrations(parsed: Sequence[tuple[Document, Integration]]) -> list[_Found]:
    """Return what is wrong between integrations, each at one of them."""
    found: list[_Found] = []
    first: dict[str, tuple[Document, Integration]] = {}
    for document, integration in parsed:
        other, _ = first.setdefault(integration.name, (document, integration))
        if other is not document:
            message = f"{integration.name} is defined more than once, first in {other.path}."
            found.append(_Found(document, Mistake(("market",), message)))

    for object_name in OBJECTS:
        enabled = [i for _, i in first.values() if i.object == object_name and i.enabled]
        found += [_Found(first[m.integration][0], m) for m in object_mistakes(enabled)]
    return found


def _without_mistakes(document: Document) -> Integration | None:
    """Return what is left of an integration once its mistaken keys are taken out, if anything."""
    if not document.is_read or not isinstance(document.content, dict):
        return None
    content = {k: dict(v) if isinstance(v, dict) else v for k, v in document.content.items()}

    try:
        Integration.model_validate(content)
    except ValidationError as error:
        for mistake in mistakes_in(Integration, error):
            inside: Any = content
            for part in mistake.key[:-1]:
                inside = inside.get(part) if isinstance(inside, dict) else None
            if isinstance(inside, dict):
                inside.pop(mistake.key[-1], None)

    try:
        return Integration.model_validate(content)
    except ValidationError:
        return None
