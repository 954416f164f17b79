"""Settings, and the whole configuration checked as one (R2, R4 to R8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, Field, ValidationError, field_validator

from pipeline.core.errors import ConfigurationError
from pipeline.core.integration import OBJECTS, Integration, object_problems, problems
from pipeline.core.limits import CHANGES_SHARE_PERCENT, DayPolicy
from pipeline.core.market import Market, Strict

Percent = Annotated[int, Field(ge=0, le=100)]
_Model = TypeVar("_Model", bound=BaseModel)


class Settings(Strict):
    """The settings of R2. Days are days of `time_zone`; limits are records and API calls a day."""

    environment: Literal["local", "sandbox", "production"]
    time_zone: str
    daily_pull_time: time
    pull_interval_minutes: Annotated[int, Field(ge=1, le=1440)] = 5
    refresh_period_days: Annotated[int, Field(ge=1, le=3650)] = 30
    daily_record_limit: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    daily_api_calls_limit: Annotated[int, Field(ge=1)] = 15_000
    new_and_changed_share_percent: Percent = CHANGES_SHARE_PERCENT
    segment_records_max: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    partitions_start: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2026-01-01"

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, value: str) -> str:
        """Refuse an empty or unknown zone: Dagster itself would take an empty one."""
        if value not in available_timezones():
            near = get_close_matches(value, available_timezones(), n=1)
            raise ValueError(
                f"{value!r} is no time zone" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        return value

    @field_validator("daily_pull_time", mode="before")
    @classmethod
    def _is_written_as_text(cls, value: Any) -> Any:
        """Refuse a number: YAML reads 14:00 without quotes as 840, and that would mean 00:14."""
        if isinstance(value, (int, float)):
            raise ValueError('write the time in quotes, as in "14:00"')  # noqa: TRY004  pydantic's way
        return value

    @field_validator("partitions_start")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        date.fromisoformat(value)
        return value

    @property
    def zone(self) -> ZoneInfo:
        """Return the time zone whose calendar days count."""
        return ZoneInfo(self.time_zone)

    @property
    def day_policy(self) -> DayPolicy:
        """Return how the day's limit is divided."""
        return DayPolicy(
            limit=self.daily_record_limit, changes_share_percent=self.new_and_changed_share_percent
        )


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file, read: its path as people know it and its content."""

    path: str
    content: Any


@dataclass(frozen=True)
class Configuration:
    """Settings, markets by name, and every integration: valid as written, whatever the org says."""

    settings: Settings
    markets: Mapping[str, Market]
    integrations: tuple[Integration, ...]

    def of_object(self, name: str) -> tuple[Integration, ...]:
        """Return the integrations of one object that are switched on and mapped (R12)."""
        return tuple(i for i in self.integrations if i.object == name and i.enabled and i.is_mapped)

    def left_of_object(self, name: str) -> tuple[Integration, ...]:
        """Return the integrations of one object that are switched off and whose old values are to go (R19)."""
        return tuple(
            i
            for i in self.integrations
            if i.object == name and not i.enabled and i.is_mapped and i.old_values == "clear"
        )

    @property
    def objects(self) -> tuple[str, ...]:
        """Return the objects that have an integration to run or to clear up after, in a fixed order."""
        return tuple(n for n in OBJECTS if self.of_object(n) or self.left_of_object(n))


def configuration(
    settings: Document, markets: Sequence[Document], integrations: Sequence[Document]
) -> Configuration:
    """Check everything and return it; raise ConfigurationError with all problems, not the first."""
    found: list[str] = []
    parsed_settings = _parse(Settings, settings, found)
    parsed_markets = {
        m.name: m for document in markets if (m := _parse(Market, document, found)) is not None
    }
    named = {d.content.get("name") for d in markets if isinstance(d.content, dict)}
    parsed: list[Integration] = []
    for document in integrations:
        integration = _parse(Integration, document, found)
        if integration is None:
            continue
        market = parsed_markets.get(integration.market)
        if market is None:
            if integration.market not in named:  # else its own file is at fault, and reported
                found.append(_unknown_market(document.path, integration.market, parsed_markets))
            continue
        found += [f"{document.path}: {problem}" for problem in problems(integration, market)]
        parsed.append(integration)
    for name in OBJECTS:
        found += object_problems([i for i in parsed if i.object == name and i.enabled])
    found += _twice(parsed)
    if found or parsed_settings is None:
        raise ConfigurationError(found)
    return Configuration(parsed_settings, parsed_markets, tuple(parsed))


def _parse(model: type[_Model], document: Document, found: list[str]) -> _Model | None:
    if not isinstance(document.content, dict):
        found.append(f"{document.path}: expected keys and values, found {document.content!r:.60}.")
        return None
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        found += [f"{document.path}: {_problem(model, item)}" for item in error.errors()]
        return None


def _problem(model: type[BaseModel], item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(whole file)"
    message = f"{key}: {item['msg'].removeprefix('Value error, ')}"
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, item["loc"][:-1])
        near = get_close_matches(str(item["loc"][-1]), known, n=1)
        message = f"{key}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
    elif item["type"] == "literal_error" and key == "object":
        message = f"object: {item['input']!r} is not supported: only {', '.join(OBJECTS)} are (R4)"
    return message + "."


def _keys_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys that may stand at `path`, below mappings and lists of models."""
    inside: Any = model
    for part in path:
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            inside = inside.model_fields[str(part)].annotation
        else:
            inside = get_args(inside)[-1 if isinstance(part, str) else 0]
        options = [a for a in get_args(inside) if isinstance(a, type) and issubclass(a, BaseModel)]
        if type(None) in get_args(inside) and options:
            inside = options[0]
    return list(inside.model_fields)


def _unknown_market(path: str, name: str, markets: Mapping[str, Market]) -> str:
    near = get_close_matches(name, markets, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(markets) or 'none'}."
    return f"{path}: market: there is no market {name!r}; {hint}"


def _twice(integrations: Sequence[Integration]) -> list[str]:
    names = [integration.name for integration in integrations]
    return [
        f"integration {name} is defined more than once."
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
