"""Settings, and the whole configuration checked as one (R2, R4 to R8)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, Field, ValidationError, WithJsonSchema, field_validator

from pipeline.core.configuration.integration import OBJECTS, Integration, object_problems, problems
from pipeline.core.configuration.market import Market, Strict
from pipeline.core.configuration.mistakes import (
    ASKED_BY_PATTERN,
    DATE_PATTERN,
    NAME_PATTERN,
    TIME_PATTERN,
    KeyPath,
    Mistake,
    choice,
    nearest,
    refused,
    shown,
)
from pipeline.core.errors import ConfigurationError
from pipeline.core.limit.shares import CHANGES_SHARE_PERCENT, DayPolicy

NOTICE_DAYS: Final = 366
"""How far ahead `Configuration.notices` looks: a year holds each change of the clocks once."""

MARKET_TIMEOUT_SECONDS: Final = 300
MARKET_TIMEOUT_SECONDS_MAX: Final = 480
"""A call to a market has to end well within an object's lease, which only progress prolongs (D3)."""

MARKET_MEMORY_MB: Final = 4_096

Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
_Model = TypeVar("_Model", bound=BaseModel)


@cache
def _time_zones() -> frozenset[str]:
    # "localtime" is whatever this machine is set to.
    return frozenset(available_timezones() - {"localtime"})


class Settings(Strict):
    """The settings of R2. Days are days of `time_zone`; limits are records and API calls a day."""

    environment: Literal["local", "sandbox", "production"]
    """What kind of org it is (R1)."""
    time_zone: Annotated[str, Field(examples=["Europe/Berlin", "America/New_York", "UTC"])]
    """Whose calendar days the limits and partitions count: an IANA name."""
    daily_pull_time: Annotated[
        time, WithJsonSchema({"type": "string", "pattern": TIME_PATTERN, "examples": ["02:00"]})
    ]
    """When the daily pull runs, on the clock of time_zone: hours and minutes, in quotes (R17)."""
    pull_interval_minutes: Annotated[int, Field(strict=True, ge=1, le=1440)] = 5
    """How often changed records are asked for (R14)."""
    refresh_period_days: Annotated[int, Field(strict=True, ge=1, le=3650)] = 30
    """Scores older than this are renewed by the daily pull (R17)."""
    daily_record_limit: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = 10_000
    """Records scored a day, over all objects together (R20)."""
    daily_api_calls_limit: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] = 15_000
    """HTTP calls to the org a day, sign-in and retries included (R21)."""
    org_api_share_percent: Annotated[int, Field(strict=True, ge=1, le=100)] = 100
    """The share of the calls that the org itself has left which may be used, as it last told (R2)."""
    new_and_changed_share_percent: Percent = CHANGES_SHARE_PERCENT
    """The share of the limit that new and changed records are guaranteed (R20)."""
    segment_records_max: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 10_000
    """How many records are scored together and pushed in one job; bounds memory."""
    market_timeout_seconds: Annotated[
        int, Field(strict=True, ge=1, le=MARKET_TIMEOUT_SECONDS_MAX)
    ] = MARKET_TIMEOUT_SECONDS
    """How long a market may take to score one segment; one that takes longer fails as a whole (R23)."""
    market_memory_mb: Annotated[int, Field(strict=True, ge=256, le=1_048_576)] = MARKET_MEMORY_MB
    """How much memory, in MiB, the process may take that markets are loaded and scored in (R23)."""
    partitions_start: Annotated[str, Field(pattern=DATE_PATTERN)] = "2026-01-01"
    """The first day that has a partition: an ISO date."""

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, value: str) -> str:
        """Refuse an empty or unknown zone: Dagster itself would take an empty one."""
        if value not in _time_zones():
            near = nearest(value, _time_zones())
            raise ValueError(
                f"{shown(value)} is no time zone; "
                + (f"did you mean {near!r}?" if near else "an IANA name is, as in Europe/Berlin.")
            )
        return value

    @field_validator("daily_pull_time", mode="before")
    @classmethod
    def _is_written_as_text(cls, value: Any) -> Any:
        """Refuse a number: YAML reads 14:00 without quotes as 840, and that would mean 00:14.

        Refuse seconds and offsets too: a schedule knows neither.
        """
        if isinstance(value, (int, float)):
            raise ValueError('write the time in quotes, as in "14:00"')  # noqa: TRY004  pydantic's way
        if not isinstance(value, time) and not re.fullmatch(TIME_PATTERN, str(value), re.ASCII):
            raise ValueError(f"found {shown(value)}; {ASKED_BY_PATTERN[TIME_PATTERN]}")
        return value

    @field_validator("partitions_start")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        try:
            date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no date: {error}") from None
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
    """One YAML file: its path as people know it, its content, and what is known of it from the reading.

    `lines` tells for each key where it stands, from 1. `problems` were found while reading; where they leave
    nothing to be checked, `is_read` is False. A market's content holds its folder's name as `name`.
    """

    path: str
    content: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    problems: tuple[Mistake, ...] = ()
    is_read: bool = True

    def line(self, key: KeyPath) -> int | None:
        """Return the line of `key`, or of what it is missing from; None where nothing is known of lines."""
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

    def of_object(self, name: str) -> tuple[Integration, ...]:
        """Return the integrations of one object that are switched on and mapped (R12)."""
        return tuple(i for i in self.integrations if i.object == name and i.enabled and i.is_mapped)

    def notices(self, today: date) -> tuple[str, ...]:
        """Return what is right as written and still good to know on `today`, a day of the settings' zone."""
        settings = self.settings
        fires = _fires_in_a_gap(settings.daily_pull_time, settings.zone, today)
        if fires is None:
            return ()
        return (
            f"settings.yaml: daily_pull_time: {settings.daily_pull_time:%H:%M} does not exist on "
            f"{fires:%Y-%m-%d} in {settings.time_zone}, where the clocks go forward: the daily pull of that "
            f"day runs at {fires:%H:%M}.",
        )

    def retired_of_object(self, name: str) -> tuple[Integration, ...]:
        """Return the integrations of one object that are switched off and whose old values are to go (R19)."""
        return tuple(
            i
            for i in self.integrations
            if i.object == name and not i.enabled and i.is_mapped and i.old_values == "clear"
        )

    @property
    def objects(self) -> tuple[str, ...]:
        """Return the objects that have an integration to run or to clear up after, in a fixed order."""
        return tuple(n for n in OBJECTS if self.of_object(n) or self.retired_of_object(n))


def _fires_in_a_gap(at: time, zone: ZoneInfo, today: date) -> datetime | None:
    """Return when Dagster fires on the next day that has no `at`, on the clock of that day; None without one.

    It fires at the gap's end. A gap that begins at midnight is the exception: there it fires as far behind
    the gap's end as `at` is behind midnight.
    """
    for ahead in range(NOTICE_DAYS):
        asked = datetime.combine(today + timedelta(days=ahead), at, zone)
        if _exists(asked):
            continue
        if not _exists(asked.replace(hour=0, minute=0)):
            return asked.astimezone(UTC).astimezone(zone)
        minutes = (asked + timedelta(minutes=n) for n in range(1, 24 * 60))
        return next((minute for minute in minutes if _exists(minute)), None)
    return None


def _exists(wall: datetime) -> bool:
    """Say whether the clocks of its zone ever show `wall`."""
    there_and_back = wall.astimezone(UTC).astimezone(wall.tzinfo)
    return there_and_back.replace(tzinfo=None) == wall.replace(tzinfo=None)


def configuration(
    settings: Document, markets: Sequence[Document], integrations: Sequence[Document]
) -> Configuration:
    """Check everything and return it; raise ConfigurationError with all problems, not the first."""
    found: list[_Found] = []
    parsed_settings = _parsed(Settings, settings, found)
    parsed_markets = {
        m.name: m for document in markets if (m := _parsed(Market, document, found)) is not None
    }
    named = {d.content.get("name") for d in markets if isinstance(d.content, dict)}
    written: list[tuple[Document, Integration]] = []
    for document in integrations:
        integration = _parsed(Integration, document, found)
        if integration is not None:
            written.append((document, integration))
        found += _unknown_market(document, parsed_markets, named)
        checked = integration or _without_mistakes(document)
        if checked is not None:
            market = parsed_markets.get(checked.market)
            found += [_Found(document, problem) for problem in problems(checked, market)]
    found += _together(written)
    if found or parsed_settings is None:
        order = {d.path: n for n, d in enumerate([settings, *markets, *integrations])}
        found.sort(key=lambda one: (order[one.document.path], one.line or 0))
        raise ConfigurationError([str(one) for one in found])
    return Configuration(parsed_settings, parsed_markets, tuple(i for _, i in written))


@dataclass(frozen=True, slots=True)
class _Found:
    """A problem and the file it stands in."""

    document: Document
    problem: Mistake

    @property
    def line(self) -> int | None:
        return self.problem.line or self.document.line(self.problem.key)

    def __str__(self) -> str:
        where = f"{self.document.path}:{self.line}" if self.line else self.document.path
        return f"{where}: {self.problem}"


def _parsed(model: type[_Model], document: Document, into: list[_Found]) -> _Model | None:
    """Return what `document` says as a `model`, or None; add its problems `into` those found."""
    into += [_Found(document, problem) for problem in document.problems]
    if not document.is_read:
        return None
    if not isinstance(document.content, dict):
        message = f"expected keys and values, found {shown(document.content)}."
        into.append(_Found(document, Mistake((), message)))
        return None
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        # A market's name is its folder's: the key stands in no file.
        into += [_Found(document, p) for p in refused(model, error, hidden=("name",))]
        return None


def _unknown_market(
    document: Document, markets: Mapping[str, Market], named: Collection[Any]
) -> list[_Found]:
    """Return that an integration's market is not there; one that is `named` has its own file reported."""
    market = document.content.get("market") if isinstance(document.content, dict) else None
    if not isinstance(market, str) or market in named or not re.match(NAME_PATTERN, market):
        return []
    message = f"there is no market {market!r}; {choice(market, markets, lead='there are')}"
    return [_Found(document, Mistake(("market",), message))]


def _together(written: Sequence[tuple[Document, Integration]]) -> list[_Found]:
    """Return what is wrong between integrations, each at one of them."""
    found: list[_Found] = []
    first: dict[str, tuple[Document, Integration]] = {}
    for document, integration in written:
        other, _ = first.setdefault(integration.name, (document, integration))
        if other is not document:
            message = f"{integration.name} is defined more than once, first in {other.path}."
            found.append(_Found(document, Mistake(("market",), message)))
    for name in OBJECTS:
        of_object = [i for _, i in first.values() if i.object == name and i.enabled]
        found += [_Found(first[p.integration][0], p) for p in object_problems(of_object)]
    return found


def _without_mistakes(document: Document) -> Integration | None:
    """Return the rest of an integration whose mistaken keys are left out, so that it is checked as well."""
    if not document.is_read or not isinstance(document.content, dict):
        return None
    content = {k: dict(v) if isinstance(v, dict) else v for k, v in document.content.items()}
    try:
        Integration.model_validate(content)
    except ValidationError as error:
        for problem in refused(Integration, error):
            inside: Any = content
            for part in problem.key[:-1]:
                inside = inside.get(part) if isinstance(inside, dict) else None
            if isinstance(inside, dict):
                inside.pop(problem.key[-1], None)
    try:
        return Integration.model_validate(content)
    except ValidationError:
        return None
