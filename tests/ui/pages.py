"""The walk of an operator: page by page, what has to be seen, and how each page is brought to show it.

Tests assert the words; `python -m tests.ui.screenshots` keeps the pictures for the documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as Late

from assets.partitions import partition_key
from assets.reports import PLAN, STATUS
from pipeline.sensors import SENSOR
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED, STALE_RECORDS
from tests.processes import LOCATION, patience
from tests.ui.browser import HEIGHT, WIDTH
from tests.ui.operating import HIDDEN
from tests.ui.site import Site
from tests.ui.story import Story

PAUSE: Final = """ops:
  pause_integration_op:
    config:
      object: Lead
      market: campaign_response
"""
"""What an operator fills in to pause an integration."""

Act = Callable[[Page], None]


def _nothing(_page: Page) -> None:
    """Leave the page as it opens."""


@dataclass(frozen=True)
class View:
    """A page of the UI: where it is, what an operator must read there, and how tall a picture of it is."""

    name: str
    path: str
    words: tuple[str, ...]
    act: Act = field(default=_nothing)
    height: int = HEIGHT


def views(site: Site, story: Story) -> list[View]:
    """Return the walk over a site on which the story has happened and the operator's jobs have run."""
    second_again = str(partition_key(story.again[1], "Lead"))
    last_scored = str(partition_key(story.scored[-1], "Account"))
    first_scored = str(partition_key(story.scored[0], "Lead"))
    return [
        View(
            "assets",
            f"/locations/{LOCATION}/asset-groups/salesforce/lineage",
            (
                CHANGED_RECORDS,
                STALE_RECORDS,
                SCORED,
                PUSHED,
                "enterprise_fit",
                "campaign_response",
                "Passed",
            ),
        ),
        View("groups", "/asset-groups", ("markets", "reports", "salesforce")),
        View(
            "partition",
            _partition(SCORED, second_again),
            (
                second_again,
                "claimed_redo",
                "market_versions",
                "limit_left",
                "waiting",
                "waiting_done_on",
                "scores_campaign_response",
                "ranks_enterprise_fit",
                str(story.limit),
            ),
            _see_plots,
            height=1500,
        ),
        View(
            "pushed",
            _partition(PUSHED, last_scored),
            (
                "failed_FIELD_CUSTOM_VALIDATION_EXCEPTION",
                str(story.refused),
                "bulk_jobs",
                "api_calls_left",
            ),
            height=1100,
        ),
        View(
            "failing-check",
            f"/assets/{CHANGED_RECORDS}?view=checks&checkDetail=lead_campaign_response_ready",
            ("Held back until", "Failed", HIDDEN, "Grant Edit on the"),
        ),
        View(
            "complete-check",
            f"/assets/{PUSHED}?view=checks&checkDetail=complete",
            ("Nothing of this day waits", "complete", "daily_limit"),
        ),
        View(
            "backfill",
            f"/runs/b/{story.backfill_id}",
            (*story.partitions, SCORED, PUSHED, "100% completed", "Succeeded"),
        ),
        View(
            "redone",
            _partition(PUSHED, first_scored),
            (first_scored, "asked_again", str(story.limit)),
        ),
        View(
            "sensor",
            f"/locations/{LOCATION}/sensors/{SENSOR}",
            (
                "Asks the org with one API call",
                "1 run requested",
                "0 runs requested",
                "Skip reason:",
                story.skips_after_a_day,
            ),
            _show_why_not,
        ),
        View(
            "jobs",
            "/jobs",
            (
                "pause_integration",
                "resume_integration",
                "retry_failures",
                "rescore",
                "dry_run",
                "push_first",
                "explain_record",
            ),
        ),
        View(
            "launchpad",
            f"/locations/{LOCATION}/jobs/pause_integration/playground/setup?config={quote(PAUSE)}",
            ("pause_integration_op:", "object: Lead", "No errors", "Launch Run"),
        ),
        View(
            "status",
            f"/assets/{STATUS}?view=events",
            ("Account.enterprise_fit", "paused", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "limit_used"),
            height=1300,
        ),
        View(
            "plan",
            f"/assets/{PLAN}?view=events",
            ("waiting_done_on", "all_done_on", "Lead.enterprise_fit", "warnings"),
            height=1300,
        ),
        View(
            "freshness",
            f"/assets/{CHANGED_RECORDS}",
            (
                "Freshness policy",
                "Passing",
                "Fails if more than",
                "Records modified since the last pull",
            ),
        ),
        View(
            "lineage",
            f"/assets/{PUSHED}?view=lineage&lineageScope=upstream&lineageDepth=5",
            (PUSHED, SCORED, "campaign_response", "recency_bands", "titles", "countries"),
        ),
    ]


def _partition(asset: str, key: str) -> str:
    return f"/assets/{asset}?view=partitions&partition={quote(key)}"


def look(page: Page, site: Site, view: View) -> str:
    """Open a page and wait until all its words are to be read; return its text.

    Raises AssertionError, naming the words that are missing.
    """
    page.set_default_timeout(patience() * 1000)
    page.set_viewport_size({"width": WIDTH, "height": view.height})
    page.goto(site.url + view.path)
    view.act(page)
    try:
        page.wait_for_function(
            "words => words.every(word => document.body.innerText.includes(word))",
            arg=list(view.words),
            timeout=patience() * 1000,
        )
    except Late:
        text = page.inner_text("body")
        missing = [word for word in view.words if word not in text]
        raise AssertionError(
            f"{view.name}: {missing} not on {view.path}, which says:\n{text}"
        ) from None
    return page.inner_text("body")


def _see_plots(page: Page) -> None:
    """Wait for the pictures of scores and ranks, which stand in the table itself."""
    page.locator("img[src^='data:image/svg+xml']").nth(3).wait_for()


def _show_why_not(page: Page) -> None:
    """Open ticks that asked for no run, by the link in their last column, until one names the limit.

    How many others stand before it depends on how long the runs took.
    """
    quiet = page.locator("table").get_by_text("0 runs requested")
    quiet.last.wait_for()

    for n in reversed(range(quiet.count())):
        quiet.nth(n).click()
        page.get_by_text("Skip reason:").wait_for()
        if "goes on at midnight" in page.inner_text("body"):
            return
        page.get_by_role("button", name="Close", exact=True).click()
        page.get_by_text("Skip reason:").wait_for(state="detached")
