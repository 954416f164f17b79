"""One site for all tests of the UI, with what happened on it before anybody looks.

It ends with this folder's last test: a browser's event loop and a daemon at work are nothing for the tests after it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.ui.browser import open_browser
from tests.ui.operating import Operated, operated
from tests.ui.site import Site, running_site
from tests.ui.story import IN_SMALL, Story, told


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the local org, a code server, Dagster's webserver and daemon."""
    with running_site(tmp_path_factory.mktemp("ui"), IN_SMALL) as running:
        yield running


@pytest.fixture(scope="package")
def story(site: Site) -> Story:
    """Score 2,500 Leads on three days, and have them scored again on the next three."""
    return told(site, IN_SMALL)


@pytest.fixture(scope="package")
def done(site: Site, story: Story) -> Operated:
    """Launch an operator's jobs when the story is over."""
    return operated(site, story)


@pytest.fixture(scope="package")
def page() -> Iterator[Page]:
    """Open one page of a headless browser; without a browser this fails."""
    with open_browser() as opened:
        yield opened
