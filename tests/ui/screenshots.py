"""`python -m tests.ui.screenshots`: take the pictures of docs/images anew, from the walk that the tests take."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import click
from playwright.sync_api import Page

from tests.ui.browser import open_browser
from tests.ui.operating import operated
from tests.ui.pages import View, look, views
from tests.ui.site import Site, running_site
from tests.ui.story import IN_FULL, told

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
BYTES_MAX: Final = 200_000
SETTLE_MILLISECONDS: Final = 1_500
"""For what moves: an arrow that is drawn, a spinner that goes."""


@click.command()
@click.option("--into", type=click.Path(path_type=Path), default=IMAGES, help="The folder.")
def main(into: Path) -> None:
    """Run a site, let the story happen, walk through it and keep a picture of each page."""
    with (
        tempfile.TemporaryDirectory(prefix="ui-") as folder,
        running_site(Path(folder), IN_FULL) as site,
        open_browser() as page,
    ):
        story = told(site, IN_FULL)
        operated(site, story)
        for view in views(site, story):
            click.echo(f"{take(page, site, view, into):8} bytes  {view.name}.png")


def take(page: Page, site: Site, view: View, into: Path) -> int:
    """Keep a picture of one page; return its size."""
    look(page, site, view)
    page.wait_for_timeout(SETTLE_MILLISECONDS)
    path = into / f"{view.name}.png"
    page.screenshot(path=path, animations="disabled")
    size = path.stat().st_size
    if size > BYTES_MAX:
        raise click.ClickException(f"{path.name} has {size} bytes; {BYTES_MAX} are the most")
    return size


if __name__ == "__main__":
    main()
