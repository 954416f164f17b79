"""Writes a first configuration for the connected org: settings, markets, integrations (R2, R12)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import ValidationError

from pipeline.core.configuration.configuration import Document, check_configuration
from pipeline.core.configuration.integration import OBJECTS, Integration
from pipeline.core.configuration.market import Market
from pipeline.core.configuration.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.core.org_fit.fields import ObjectDescribe
from pipeline.core.org_fit.suggestions import Suggestion, as_yaml, suggest
from pipeline.steps.setting_up.suggest import checked_market, checked_object, scores

ENVIRONMENTS: Final[tuple[str, ...]] = get_args(Settings.model_fields["environment"].annotation)
DAILY_PULL_TIME: Final = "02:00"
_EXPLAINED: Final = {
    "environment": f"the kind of the one connected org: {', '.join(ENVIRONMENTS)}",
    "time_zone": "whose calendar days the limits count",
    "daily_pull_time": "on the clock of time_zone, in quotes",
    "pull_interval_minutes": "how often changes are asked for",
    "refresh_period_days": "scores older than this are renewed",
    "daily_record_limit": "records scored a day, over all objects together",
    "daily_api_calls_limit": "HTTP calls to the org a day",
    "org_api_share_percent": "of the calls that the org itself has left, how many may be used",
    "new_and_changed_share_percent": "of the record limit, kept for new and changed records",
    "partitions_start": "the first day in the calendar of partitions",
}
_ASKED: Final = ("environment", "time_zone", "daily_pull_time")
"""The settings that a person is asked for."""


@dataclass(frozen=True, slots=True)
class MarketSource:
    """A market that can be chosen, and its folder."""

    market: Market
    folder: Path


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person is asked: which kind of org, whose days, which objects, which markets."""

    environment: str
    time_zone: str
    objects: tuple[str, ...]
    markets: tuple[str, ...]
    daily_pull_time: str = DAILY_PULL_TIME


@dataclass(frozen=True, slots=True)
class StartingSet:
    """What is to be written: texts by path below the folder, and markets to copy.

    `suggestions` are what was proposed. `passed_over` names the pairs that do not go together, and
    why.
    """

    texts: Mapping[Path, str]
    copies: Mapping[Path, Path]
    suggestions: tuple[Suggestion, ...]
    passed_over: tuple[str, ...]


def markets_to_choose(*folders: Path) -> dict[str, MarketSource]:
    """Return the markets below `folders` by name; of two with one name, the first folder's.

    Raises ConfigurationError where one of them is not a market.
    """
    found: dict[str, MarketSource] = {}

    for folder in folders:
        for path in sorted(folder.glob("*/market.yaml")):
            if path.parent.name not in found:
                market = _read_market(path)
                found[market.name] = MarketSource(market, path.parent)

    return found


def _read_market(path: Path) -> Market:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Market.model_validate({**content, "name": path.parent.name})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise ConfigurationError([f"{path}: this is not a market: {first}."]) from error


def check_answers(answers: Answers, known: Mapping[str, MarketSource]) -> Answers:
    """Return the answers if all of them are valid.

    Raises ConfigurationError with each bad one and what is allowed in its place.
    """
    found: list[str] = []
    for object_name in answers.objects:
        _collect(found, partial(checked_object, object_name))
    for market_name in answers.markets:
        _collect(found, partial(checked_market, market_name, list(known)))

    if not answers.objects:
        found.append(f"object: choose at least one of {', '.join(OBJECTS)}.")
    if not answers.markets:
        found.append(
            f"market: choose at least one of {', '.join(known) or 'none: there are none'}."
        )

    if answers.environment not in ENVIRONMENTS:
        found.append(
            f"environment: {answers.environment!r} is not one of {', '.join(ENVIRONMENTS)}."
        )
    else:
        content = {key: getattr(answers, key) for key in _ASKED}
        _collect(found, partial(check_configuration, Document("settings", content), [], []))

    if found:
        raise ConfigurationError(found)
    return answers


def _collect(found: list[str], check: Callable[[], Any]) -> None:
    try:
        check()
    except ConfigurationError as error:
        found += error.problems


def starting_set(
    answers: Answers,
    known: Mapping[str, MarketSource],
    describe: Callable[[str], ObjectDescribe],
    today: date,
    folder: Path,
) -> StartingSet:
    """Return a whole configuration for `folder`, proposed from the org and valid; write nothing."""
    suggestions, passed_over = _suggest_all(answers, known, describe)

    texts = {Path("settings.yaml"): settings_yaml(answers, today)}
    texts |= {integration_path(s): as_yaml(s, enabled=True) for s in suggestions}
    copies = {
        Path("markets") / name: known[name].folder
        for name in answers.markets
        if known[name].folder != folder / "markets" / name
    }

    _check(texts, [known[name].market for name in answers.markets])
    return StartingSet(texts, copies, tuple(suggestions), tuple(passed_over))


def _suggest_all(
    answers: Answers,
    known: Mapping[str, MarketSource],
    describe: Callable[[str], ObjectDescribe],
) -> tuple[list[Suggestion], list[str]]:
    """Propose an integration for each object and market; return also the pairs passed over."""
    described = {*answers.objects, *(["Account"] if "Contact" in answers.objects else [])}
    describes = {object_name: describe(object_name) for object_name in sorted(described)}
    suggestions: list[Suggestion] = []
    passed_over: list[str] = []

    for object_name in dict.fromkeys(answers.objects):
        # Each proposal sees the earlier ones, so that no two of an object write one field (R6).
        others: list[Integration] = []
        for market_name in dict.fromkeys(answers.markets):
            market = known[market_name].market
            if not scores(market, object_name):
                passed_over.append(
                    f"{object_name}.{market_name}: a lead-based market does not score {object_name} (R5)"
                )
                continue

            suggestion = suggest(object_name, market, describes, others)
            suggestions.append(suggestion)
            others.append(_integration(suggestion))

    return suggestions, passed_over


def _integration(suggestion: Suggestion) -> Integration:
    return Integration.model_validate(
        {
            "object": suggestion.object,
            "market": suggestion.market,
            "inputs": suggestion.input_mapping,
            "outputs": suggestion.output_mapping,
        }
    )


def _check(texts: Mapping[Path, str], markets: Sequence[Market]) -> None:
    """Check what is to be written by the same rules as what a person writes."""
    documents = {path: Document(str(path), yaml.safe_load(text)) for path, text in texts.items()}
    settings = documents.pop(Path("settings.yaml"))
    described = [Document(m.name, m.model_dump(mode="json")) for m in markets]
    check_configuration(settings, described, list(documents.values()))


def integration_path(suggestion: Suggestion) -> Path:
    """Return the path of an integration's file below the configuration's folder."""
    return Path("integrations") / f"{suggestion.object.lower()}.{suggestion.market}.yaml"


def settings_yaml(answers: Answers, today: date) -> str:
    """Return the settings with every key: those asked for, and the others at their defaults."""
    values: dict[str, Any] = {key: getattr(answers, key) for key in _ASKED}
    values["partitions_start"] = today.isoformat()
    lines = ["# The settings. A key behind a comment sign shows the value that applies without it."]

    for key, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        # Flow style gives "{key: value}" on one line, however the value has to be quoted.
        text = yaml.safe_dump({key: values.get(key, default)}, default_flow_style=True, width=1000)
        entry = text.strip().removeprefix("{").removesuffix("}")

        mark = "" if key in values or key in _EXPLAINED else "# "
        comment = f"  # {_EXPLAINED[key]}" if key in _EXPLAINED else ""
        lines.append(f"{mark}{entry:<38}{comment}".rstrip())

    return "\n".join(lines) + "\n"


def write(folder: Path, starting_set: StartingSet, *, force: bool = False) -> list[Path]:
    """Write the set below `folder` and return the files.

    Nothing is written if one of them exists already. With `force`, settings and integrations are
    replaced. A market that exists never is.

    Raises ConfigurationError with every file that exists.
    """
    existing = [folder / path for path in starting_set.texts if (folder / path).exists()]
    if existing and not force:
        raise ConfigurationError(
            [f"{path} exists already: nothing was written." for path in existing]
            + ["Choose another folder with --config, or replace these files with --force."]
        )

    for target, source in starting_set.copies.items():
        if not (folder / target).exists():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / target, ignore=ignored)

    for path, text in starting_set.texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")

    return [folder / path for path in starting_set.texts]


def write_integration(folder: Path, suggestion: Suggestion) -> Path:
    """Write one proposal, switched off, and return its path.

    Raises ConfigurationError where the integration has a file already.
    """
    path = folder / integration_path(suggestion)
    path.parent.mkdir(parents=True, exist_ok=True)

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(as_yaml(suggestion, enabled=False))
    except FileExistsError:
        raise ConfigurationError(
            [f"{path} exists already: nothing was written. Without --write the proposal is shown."]
        ) from None

    return path
