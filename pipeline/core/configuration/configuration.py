"""The whole configuration, checked as one: settings, markets and integrations (R2, R4 to R8)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
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
from pipeline.core.configuration.running import IntegrationKey
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


@dataclass(frozen=True, slots=True)
class BrokenIntegration:
    """An integration whose file, or whose market's file, cannot be read or is wrong.

    `name` is what people see. `readable` is what can be read of it, its object and its market at
    least. It is None where neither the file nor its name says which integration it is. `problems`
    are lines, each with file, line and message.
    """

    name: str
    readable: Integration | None
    problems: tuple[str, ...]

    @property
    def key(self) -> IntegrationKey | None:
        """Return what tells it apart from others, where that is known."""
        return self.readable.key if self.readable else None


@dataclass(frozen=True)
class Configuration:
    """Settings, and all markets and integrations that are valid as written, whatever the org says.

    What is wrong with one integration or market does not stop the others: it is in `broken`, and
    its mistakes, with those of markets that nobody uses, in `problems`.
    """

    settings: Settings
    markets: Mapping[str, Market]
    integrations: tuple[Integration, ...]
    broken: tuple[BrokenIntegration, ...] = ()
    problems: tuple[str, ...] = ()

    def whole(self) -> Configuration:
        """Return it; raise ConfigurationError with every mistake where there is one."""
        if self.problems:
            raise ConfigurationError(self.problems)
        return self

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

    def broken_of_object(self, object_name: str) -> tuple[BrokenIntegration, ...]:
        """Return the object's integrations whose files are wrong."""
        return tuple(b for b in self.broken if b.key and b.key.object == object_name)

    @property
    def broken_keys(self) -> frozenset[IntegrationKey]:
        """Return what tells the integrations apart whose files are wrong, where that is known."""
        return frozenset(b.key for b in self.broken if b.key)

    @property
    def objects(self) -> tuple[str, ...]:
        """Return the objects with an integration to run or to clear up after, in a fixed order.

        Objects of broken integrations are among them: that they do not run has to be said.
        """
        return tuple(
            n
            for n in OBJECTS
            if self.of_object(n) or self.retired_of_object(n) or self.broken_of_object(n)
        )


def check_configuration(
    settings: Document, markets: Sequence[Document], integrations: Sequence[Document]
) -> Configuration:
    """Check everything and return it; its `problems` are all mistakes, not the first.

    Raises ConfigurationError where the settings are wrong: without them nothing can run.
    """
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

    order = {d.path: n for n, d in enumerate([settings, *markets, *integrations])}
    found.sort(key=lambda one: (order[one.document.path], one.line or 0))
    problems = tuple(str(one) for one in found)
    if parsed_settings is None or any(one.document is settings for one in found):
        raise ConfigurationError(problems)

    broken = _broken_integrations(markets, integrations, found)
    keys, bad_markets = {b.key for b in broken}, _names_with_mistakes(markets, found)
    return Configuration(
        parsed_settings,
        {name: market for name, market in parsed_markets.items() if name not in bad_markets},
        tuple(i for _, i in parsed if i.key not in keys),
        broken,
        problems,
    )


def _broken_integrations(
    markets: Sequence[Document], integrations: Sequence[Document], found: Sequence[_Found]
) -> tuple[BrokenIntegration, ...]:
    """Return the integrations that mistakes in their own files or in their markets' stop.

    Where two files are about one integration and one of them is wrong, none counts: which of them
    is meant, only a person knows.
    """
    of_market = _names_with_mistakes(markets, found)
    broken: dict[object, BrokenIntegration] = {}
    for document in integrations:
        readable = _readable(document)
        key = readable.key if readable else None
        own = [str(one) for one in found if one.document is document]
        problems = (*own, *(of_market.get(key.market, ()) if key else ()))
        if not problems:
            continue

        known_as = key or document.path
        before = broken[known_as].problems if known_as in broken else ()
        name = readable.name if readable else PurePath(document.path).name
        broken[known_as] = BrokenIntegration(name, readable, (*before, *problems))
    return tuple(broken.values())


def _names_with_mistakes(
    markets: Sequence[Document], found: Sequence[_Found]
) -> dict[str, tuple[str, ...]]:
    """Return the mistakes of each market that has any, by its name."""
    return {
        document.content["name"]: mistakes
        for document in markets
        if isinstance(document.content, dict)
        and (mistakes := tuple(str(one) for one in found if one.document is document))
    }


def _readable(document: Document) -> Integration | None:
    """Return what can be read of an integration; its file's name may say object and market."""
    content = document.content if isinstance(document.content, dict) else {}
    by_name = (*PurePath(document.path).stem.split("."), "", "")
    objects = {name.lower(): name for name in OBJECTS}
    named = {"object": objects.get(by_name[0].lower()), "market": by_name[1]}

    whole = replace(document, content={**named, **content}, is_read=True)
    return _without_mistakes(whole) or _without_mistakes(replace(whole, content=named))


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
