"""The settings: what kind of org it is, whose days count, and how much may be done a day (R2)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, WithJsonSchema, field_validator

from pipeline.core.configuration.market import Strict
from pipeline.core.configuration.mistakes import (
    ASKED_BY_PATTERN,
    DATE_PATTERN,
    TIME_PATTERN,
    display,
    nearest,
)
from pipeline.core.limit.push_windows import PATTERN as WINDOW_PATTERN
from pipeline.core.limit.push_windows import PushWindow
from pipeline.core.limit.shares import CHANGES_SHARE_PERCENT, DayPolicy

NOTICE_DAYS: Final = 366
"""How far ahead `Settings.notices` looks: a year holds each change of the clocks once."""

MARKET_TIMEOUT_SECONDS: Final = 300
MARKET_TIMEOUT_SECONDS_MAX: Final = 480
"""A call to a market must end well within an object's lease, which only progress prolongs (D3)."""

MARKET_MEMORY_MB: Final = 4_096

Percent = Annotated[int, Field(strict=True, ge=0, le=100)]


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
    """How much may be used of the calls that the org itself has remaining (R2)."""
    new_and_changed_share_percent: Percent = CHANGES_SHARE_PERCENT
    """The share of the limit that new and changed records are guaranteed (R20)."""
    segment_records_max: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 10_000
    """How many records are scored together and pushed in one job; bounds memory."""
    market_timeout_seconds: Annotated[
        int, Field(strict=True, ge=1, le=MARKET_TIMEOUT_SECONDS_MAX)
    ] = MARKET_TIMEOUT_SECONDS
    """How long a market may take to score a segment; one that takes longer fails whole (R23)."""
    market_memory_mb: Annotated[int, Field(strict=True, ge=256, le=1_048_576)] = MARKET_MEMORY_MB
    """How much memory, in MiB, the process may take that markets are loaded and scored in (R23)."""
    push_windows: tuple[
        Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{WINDOW_PATTERN}$"})], ...
    ] = ()
    """When records may be scored and pushed, on the clock of time_zone; always where not given."""
    brake_psi: Annotated[float, Field(gt=0, le=10)] | None = None
    """Scores that differ by more from the last 7 days' wait for a yes (PSI); off if not given."""
    partitions_start: Annotated[str, Field(pattern=DATE_PATTERN)] = "2026-01-01"
    """The first day that has a partition: an ISO date."""

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, value: str) -> str:
        """Refuse an empty or unknown zone: Dagster itself would take an empty one."""
        if value not in _time_zones():
            near = nearest(value, _time_zones())
            raise ValueError(
                f"{display(value)} is no time zone; "
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
            raise ValueError(f"found {display(value)}; {ASKED_BY_PATTERN[TIME_PATTERN]}")
        return value

    @field_validator("push_windows")
    @classmethod
    def _are_windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            PushWindow.parse(text)
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
    def windows(self) -> tuple[PushWindow, ...]:
        """Return when pushes may begin; always where there is none."""
        return tuple(PushWindow.parse(text) for text in self.push_windows)

    @property
    def day_policy(self) -> DayPolicy:
        """Return how the day's limit is divided."""
        return DayPolicy(
            limit=self.daily_record_limit, changes_share_percent=self.new_and_changed_share_percent
        )

    def notices(self, today: date) -> tuple[str, ...]:
        """Return what is right as written and good to know on `today`, a day of `time_zone`."""
        runs_at = _first_run_in_a_gap(self.daily_pull_time, self.zone, today)
        if runs_at is None:
            return ()

        return (
            f"settings.yaml: daily_pull_time: {self.daily_pull_time:%H:%M} does not exist on "
            f"{runs_at:%Y-%m-%d} in {self.time_zone}, where the clocks go forward: the daily pull of that "
            f"day runs at {runs_at:%H:%M}.",
        )


def _first_run_in_a_gap(at: time, zone: ZoneInfo, today: date) -> datetime | None:
    """Return when Dagster fires on the next day that has no `at`, on the clock of that day.

    None where every day within `NOTICE_DAYS` has it. Dagster fires at the gap's end. A gap that
    begins at midnight is the exception: there it fires as far behind the gap's end as `at` is
    behind midnight.
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
    """Say whether the clocks of its zone ever read `wall`."""
    # A time inside a gap comes back from UTC as another one.
    there_and_back = wall.astimezone(UTC).astimezone(wall.tzinfo)
    return there_and_back.replace(tzinfo=None) == wall.replace(tzinfo=None)
