"""When an integration that is not ready is looked at again (D16, R44)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.core.configuration.running import (
    IntegrationState,
    RunState,
    as_checked,
    running,
)

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
WHY = "a field is missing"


def checked(
    known: IntegrationState | None, now: datetime, why: str | None = WHY
) -> IntegrationState:
    """Return how an integration is remembered after a check at `now`."""
    return as_checked(
        known, object_name="Lead", market="fit", fingerprint="f", not_ready=why, now=now
    )


def test_the_pause_between_looks_doubles_up_to_an_hour() -> None:
    """D16: 5, 10, 20, 40, 60, 60 minutes."""
    known, now, pauses = None, NOW, []
    for _ in range(6):
        known = checked(known, now)
        assert known.next_look_at is not None
        pauses.append((known.next_look_at - now) // timedelta(minutes=1))
        now = known.next_look_at

    assert pauses == [5, 10, 20, 40, 60, 60]
    assert known is not None
    assert (known.not_ready_since, known.looks) == (NOW, 6)


def test_a_check_before_its_time_does_not_put_the_next_look_off() -> None:
    """D16: else an object that is pulled every minute would look at its other integration once an hour."""
    first = checked(None, NOW)

    again = checked(first, NOW + timedelta(minutes=4))

    assert (again.looks, again.next_look_at) == (first.looks, first.next_look_at)


def test_once_ready_the_looks_begin_anew() -> None:
    """D16: the next time that it is not ready it is looked at after five minutes again."""
    later = NOW + timedelta(hours=3)
    ready = checked(checked(None, NOW), later, why=None)

    assert (ready.not_ready_since, ready.looks, ready.next_look_at) == (None, 0, None)
    assert checked(ready, later).next_look_at == later + timedelta(minutes=5)


def test_what_is_not_ready_says_since_when_and_when_it_is_looked_at_again() -> None:
    """D16: the one answer has both; without mappings only a person can help (R12)."""
    known = checked(None, NOW)

    answer = running(known, None, NOW)

    assert answer.state is RunState.NOT_READY
    assert (answer.since, answer.next_look) == (NOW, NOW + timedelta(minutes=5))
    assert not answer.look_is_due(NOW)
    assert answer.look_is_due(NOW + timedelta(minutes=5))
    assert not running(known, None, NOW + timedelta(hours=1), mapped=False).look_is_due(NOW)
