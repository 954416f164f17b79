"""A browser on the running webserver: page by page, what an operator must be able to read (R29)."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.ui.operating import Operated
from tests.ui.pages import look, views
from tests.ui.site import Site
from tests.ui.story import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
"""The first test of a session waits for six days to pass; each wait of theirs has a bound of its own."""

NAMES = (
    "assets",
    "groups",
    "partition",
    "pushed",
    "failing-check",
    "complete-check",
    "backfill",
    "redone",
    "sensor",
    "jobs",
    "launchpad",
    "status",
    "plan",
    "freshness",
    "lineage",
)


@pytest.mark.parametrize("name", NAMES)
def test_page_says_what_an_operator_must_know(
    site: Site, story: Story, done: Operated, page: Page, name: str
) -> None:
    (view,) = [one for one in views(site, story) if one.name == name]

    look(page, site, view)


def test_the_walk_has_every_page(site: Site, story: Story) -> None:
    assert tuple(view.name for view in views(site, story)) == NAMES
