"""R28: 25,000 Leads scored again by a backfill, over three days, through a running webserver and daemon."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.ui.story import LEADS, LIMIT, Story

pytestmark = pytest.mark.timeout(900)
"""The first test of a session waits for six days to pass; each wait of theirs has a bound of its own."""

DONE = (10_000, 10_000, 5_000)
WAITING = (15_000, 5_000, 0)


def test_a_backfill_asks_for_every_record_of_its_days_and_says_so(story: Story) -> None:
    """The backfill's run scores nothing itself: it says for each day how many it asked for."""
    asked = [figures["asked_again"] for figures in story.asked.values()]

    assert asked == list(DONE)
    assert sum(asked) == LEADS
    assert {figures["waiting_done_on"] for figures in story.asked.values()} == {
        story.again[-1].isoformat()
    }


def test_each_day_does_what_the_limit_allows_and_says_how_many_wait(story: Story) -> None:
    """On the third day all is done, with nobody coming back."""
    told = [(day.figures["day_pushed"], day.figures["waiting"]) for day in story.days]

    assert told == list(zip(DONE, WAITING, strict=True))
    assert [day.figures["limit_left"] for day in story.days] == [LIMIT - done for done in DONE]


def test_each_day_says_on_which_day_the_last_record_will_be_done(story: Story) -> None:
    """The finish date stands in the figures while anything waits, and is right."""
    last = story.again[-1].isoformat()

    assert [day.figures.get("waiting_done_on") for day in story.days[:2]] == [last, last]


def test_the_org_never_carries_more_stamps_of_a_day_than_the_limit(story: Story) -> None:
    """Told from the records in the org: each has the stamp of the day on which it was scored last."""
    for number, day in enumerate(story.days):
        assert all(stamped <= LIMIT for stamped in day.stamped.values()), day.stamped
        assert [day.stamped[past.day] for past in story.days[: number + 1]] == list(
            DONE[: number + 1]
        )
        assert sum(day.stamped.values()) == LEADS
    assert set(story.days[-1].stamped) == set(story.again)


def test_a_day_looks_complete_only_when_the_last_record_asked_for_is_done(story: Story) -> None:
    """R28: the `complete` check of the days that were done again says how many wait, and until when."""
    last = story.again[-1].isoformat()
    for day, waiting in zip(story.days, WAITING, strict=True):
        checks = [day.complete[past] for past in story.scored]
        assert sum(check["waiting"] for check in checks) == waiting
        for check in checks:
            assert check["passed"] == (check["waiting"] == 0)
            assert check["passed"] or check["waiting_done_on"] <= last
            assert check["passed"] or "nothing is to be done" in check["words"]


def test_every_day_keeps_its_limit_and_a_check_says_so(story: Story) -> None:
    for day in story.days:
        assert day.daily_limit["passed"], day.daily_limit
        assert day.daily_limit["limit"] == LIMIT


def test_ticks_say_why_they_ask_and_why_they_skip(story: Story) -> None:
    """After the day's limit: one look at the pipeline's own changes, then a reason to skip."""
    first, *later = story.days

    assert first.whys == ["today's daily pull is not in yet", f"{LEADS} records changed lately"]
    assert "15000 waiting; today's limit of 10000 is reached, goes on at midnight" in first.skipped
    assert [len(day.whys) for day in later] == [1, 1]


def test_the_three_days_follow_each_other(story: Story) -> None:
    assert story.again == [story.scored[-1] + timedelta(days=n) for n in (1, 2, 3)]
