"""R28: Leads scored again by a backfill, over three days, through a running webserver and daemon.

2,500 of them under a limit of 1,000; test_rescoring_in_full.py makes the same claims of 25,000.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.steps.watch import NEWEST_ROWS
from tests.ui.story import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
"""The first test of a session waits for six days to pass; each wait of theirs has a bound of its own."""


def done(story: Story) -> list[int]:
    """Return how many records each of the three days does."""
    return [story.limit, story.limit, story.limit // 2]


def waiting(story: Story) -> list[int]:
    """Return how many records wait at the end of each."""
    return [story.leads - story.limit, story.limit // 2, 0]


def test_a_backfill_asks_for_every_record_of_its_days_and_says_so(story: Story) -> None:
    """The backfill's run scores nothing itself: it says for each day how many it asked for."""
    asked = [figures["asked_again"] for figures in story.asked.values()]

    assert asked == done(story)
    assert sum(asked) == story.leads
    assert {figures["waiting_done_on"] for figures in story.asked.values()} == {
        story.again[-1].isoformat()
    }


def test_each_day_does_what_the_limit_allows_and_says_how_many_wait(story: Story) -> None:
    """On the third day all is done, with nobody coming back."""
    told = [(day.figures["day_pushed"], day.figures["waiting"]) for day in story.days]

    assert told == list(zip(done(story), waiting(story), strict=True))
    assert [day.figures["limit_left"] for day in story.days] == [
        story.limit - n for n in done(story)
    ]


def test_each_day_says_on_which_day_the_last_record_will_be_done(story: Story) -> None:
    """The finish date stands in the figures while anything waits, and is right."""
    last = story.again[-1].isoformat()

    assert [day.figures.get("waiting_done_on") for day in story.days[:2]] == [last, last]


def test_the_org_never_carries_more_stamps_of_a_day_than_the_limit(story: Story) -> None:
    """Told from the records in the org: each has the stamp of the day on which it was scored last."""
    for number, day in enumerate(story.days):
        assert all(stamped <= story.limit for stamped in day.stamped.values()), day.stamped
        assert [day.stamped[past.day] for past in story.days[: number + 1]] == done(story)[
            : number + 1
        ]
        assert sum(day.stamped.values()) == story.leads
    assert set(story.days[-1].stamped) == set(story.again)


def test_a_day_looks_complete_only_when_the_last_record_asked_for_is_done(story: Story) -> None:
    """R28: the `complete` check of the days that were done again says how many wait, and until when."""
    last = story.again[-1].isoformat()
    for day, left in zip(story.days, waiting(story), strict=True):
        checks = [day.complete[past] for past in story.scored]
        assert sum(check["waiting"] for check in checks) == left
        for check in checks:
            assert check["passed"] == (check["waiting"] == 0)
            assert check["passed"] or check["waiting_done_on"] <= last
            assert check["passed"] or "nothing is to be done" in check["words"]


def test_every_day_keeps_its_limit_and_a_check_says_so(story: Story) -> None:
    for day in story.days:
        assert day.daily_limit["passed"], day.daily_limit
        assert day.daily_limit["limit"] == story.limit


def test_ticks_say_why_they_ask_and_why_they_skip(story: Story) -> None:
    """After the day's limit: one look at the pipeline's own changes, then a reason to skip."""
    first, *later = story.days

    assert first.whys == [
        "today's daily pull is not in yet",
        f"{NEWEST_ROWS} or more records changed lately",
    ]
    assert story.skips_after_a_day in first.skipped
    assert [len(day.whys) for day in later] == [1, 1]


def test_the_three_days_follow_each_other(story: Story) -> None:
    assert story.again == [story.scored[-1] + timedelta(days=n) for n in (1, 2, 3)]
