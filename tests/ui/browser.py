"""A headless Chromium: the machine's own where it has one, else the one that Playwright installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Error, Page, sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH: Final = 1400
HEIGHT: Final = 900
ARGUMENTS: Final = ("--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server")
"""As root, and in a container with little shared memory, Chromium starts only so; the pages are on loopback."""


@contextmanager
def open_browser() -> Iterator[Page]:
    """Give a page of a browser.

    Raises:
        RuntimeError: there is none; the text says what to do.
    """
    own = next((path for name in NAMES if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=own, args=list(ARGUMENTS))
        except Error as error:
            raise RuntimeError(
                f"No browser can be started ({own or 'none on the PATH'}): run .ci/install-browser. {error}"
            ) from error
        try:
            yield browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT},
                timezone_id="Europe/Berlin",
                locale="en-GB",
            )
        finally:
            browser.close()
