"""R28: what test_rescoring.py claims, of 25,000 Leads under a limit of 10,000, on a site of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ui.site import running_site
from tests.ui.story import IN_FULL, Story, told
from tests.ui.test_rescoring import *  # noqa: F403  the claims

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Score 25,000 Leads on three days, and have them scored again on the next three."""
    with running_site(tmp_path_factory.mktemp("ui-in-full"), IN_FULL) as site:
        yield told(site, IN_FULL)
