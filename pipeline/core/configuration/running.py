"""Does an integration run now, and if not: why, since when, and when is it looked at again?

The one answer (D16). Claims, shares of the day, the sensor, preflight, plan and status all ask
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

NOT_MAPPED: Final = "map both input and output fields"
NOT_CHECKED: Final = "not checked yet"
BROKEN: Final = "its configuration is wrong: "
"""Begins why an integration is not ready whose file, or whose market's file, is wrong."""

LOOK_FIRST: Final = timedelta(minutes=5)
LOOK_MAX: Final = timedelta(hours=1)
"""How long until what is not ready is looked at again: it doubles from the first to the longest."""


class IntegrationKey(NamedTuple):
    """What tells integrations apart: one market on one object."""

    object: str
    market: str


@dataclass(frozen=True, slots=True)
class IntegrationState:
    """What is remembered of one integration.

    `enabled_at` is renewed when its mapping or its market changes (R17, R19), and None while it is
    switched off. `not_ready` says what preflight found wrong. `resting_since` is up to when pulls
    had read its object when it stopped. `outputs` are the fields that it writes, `dropped_fields`
    those that it once wrote and that no mapping of the object names any more. `fingerprint_seen`
    is what a look saw that differs from the rollout in force, since `fingerprint_seen_at`.

    Since `not_ready_since` checks found it not ready, the last ones at `looks` looks in a streak;
    the next one is due at `next_look_at`, None where only a person's check can help (R1).
    """

    object: str
    market: str
    fingerprint: str
    enabled_at: datetime | None
    paused_at: datetime | None
    not_ready: str | None
    resting_since: datetime | None
    outputs: tuple[str, ...]
    dropped_fields: tuple[str, ...]
    not_ready_since: datetime | None
    looks: int
    next_look_at: datetime | None
    fingerprint_seen: str | None = None
    fingerprint_seen_at: datetime | None = None

    @property
    def key(self) -> IntegrationKey:
        """Return what tells it apart from others."""
        return IntegrationKey(self.object, self.market)


@dataclass(frozen=True, slots=True)
class Hold:
    """A market that failed as a whole: why, how often in a streak, and when it is tried next (R23).

    `read_from` is up to when pulls had read its objects when it was held. Changes after that were
    not compared with its digests.
    """

    market: str
    reason: str
    tries: int
    held_at: datetime
    read_from: datetime
    retry_at: datetime


class RunState(StrEnum):
    """What an integration does now."""

    ON = "on"
    OFF = "off"
    NOT_READY = "not ready"
    PAUSED = "paused"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Running:
    """The answer for one integration; `next_look` is None where only a person can change it."""

    state: RunState
    why: str = ""
    since: datetime | None = None
    next_look: datetime | None = None

    @property
    def runs(self) -> bool:
        """Say whether it scores records now."""
        return self.state is RunState.ON

    def describe_not_ready(self) -> str:
        """Return since when it is not ready and when it is looked at again, for people."""
        since = f" since {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        look = f", looked at again at {self.next_look:%H:%M} UTC" if self.next_look else ""
        return f"not ready{since}{look}"

    def look_is_due(self, now: datetime) -> bool:
        """Say whether it is time to check again whether it is ready."""
        if self.state is not RunState.NOT_READY or self.next_look is None:
            return False
        return self.next_look <= now


def running(
    known: IntegrationState | None,
    hold: Hold | None,
    now: datetime,
    *,
    enabled: bool = True,
    mapped: bool = True,
) -> Running:
    """Return whether an integration runs at `now`.

    `known` is what is remembered of it and `hold` the hold of its market, None where there is
    none. `enabled` and `mapped` are what its file says; they stay True where only the ledger is
    asked. A held market whose trial is due counts as running: the trial is its run (R23).
    """
    if not enabled:
        return Running(RunState.OFF)

    if not mapped:
        return Running(RunState.NOT_READY, NOT_MAPPED)

    if known is None:
        return Running(RunState.NOT_READY, NOT_CHECKED)

    if known.paused_at is not None:
        return Running(RunState.PAUSED, since=known.paused_at)

    if known.not_ready:
        since = known.not_ready_since or known.resting_since
        return Running(RunState.NOT_READY, known.not_ready, since, known.next_look_at)

    if known.enabled_at is None:
        return Running(RunState.OFF)

    if hold is not None and hold.retry_at > now:
        return Running(RunState.HELD, hold.reason, hold.held_at, hold.retry_at)

    return Running(RunState.ON, since=known.enabled_at)


def held_in_words(market: str, answer: Running) -> str:
    """Say for people that a market is held: since when, why, and when it is tried next (R23)."""
    since, trial = (
        f"{at:%Y-%m-%d %H:%M} UTC" if at else "" for at in (answer.since, answer.next_look)
    )
    return f"market {market} is held since {since} ({answer.why}); next trial at {trial}"


def running_objects(
    states: Iterable[IntegrationState], holds: Mapping[str, Hold], now: datetime
) -> frozenset[str]:
    """Return the objects that have an integration which runs at `now`."""
    return frozenset(
        state.object for state in states if running(state, holds.get(state.market), now).runs
    )


def as_checked(
    known: IntegrationState | None,
    *,
    object_name: str,
    market: str,
    fingerprint: str,
    not_ready: str | None,
    now: datetime,
) -> IntegrationState:
    """Return how an integration is remembered once a check of it is recorded.

    A new one, a changed one, and one that comes back count as turned on at `now`, as soon as they
    are ready: then all their records become due (R17). One that is not ready is looked at again,
    later each time (R44). A dry run asks the same and records nothing.
    """
    unchanged = known is not None and known.fingerprint == fingerprint
    enabled_at = known.enabled_at if known is not None and unchanged else None
    if enabled_at is None and not not_ready:
        enabled_at = now

    since, looks, next_look_at = _looks(known, not_ready, now)
    return IntegrationState(
        object=object_name,
        market=market,
        fingerprint=fingerprint,
        enabled_at=enabled_at,
        paused_at=known.paused_at if known else None,
        not_ready=not_ready,
        resting_since=known.resting_since if known else None,
        outputs=known.outputs if known else (),
        dropped_fields=known.dropped_fields if known else (),
        not_ready_since=since,
        looks=looks,
        next_look_at=next_look_at,
    )


def _looks(
    known: IntegrationState | None, not_ready: str | None, now: datetime
) -> tuple[datetime | None, int, datetime | None]:
    """Return since when it is not ready, at how many looks, and when the next one is due."""
    if not not_ready:
        return None, 0, None

    before = known if known is not None and known.not_ready else None
    # A check before its time does not put the next look off.
    if before is not None and before.next_look_at is not None and before.next_look_at > now:
        return before.not_ready_since, before.looks, before.next_look_at

    looks = before.looks + 1 if before else 1
    # The shift is bounded, since a very long pause does not fit a timedelta.
    pause: timedelta = min(LOOK_MAX, LOOK_FIRST * (1 << min(looks - 1, 10)))
    since = before.not_ready_since if before else None
    return since or now, looks, now + pause
