"""Small bar charts as SVG in Markdown, which Dagster's UI shows with a materialization."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import dagster as dg

BAR_WIDTH: Final = 30
BAR_GAP: Final = 6
BAR_HEIGHT_MAX: Final = 70
MARGIN: Final = 8
LINE: Final = 14
BLUE: Final = "#4f43dd"
GREY: Final = "#5b6472"

Chart = tuple[str, Mapping[str, int]]
"""A title, and the height of each bar by its label."""


def plot(title: str, charts: Sequence[Chart]) -> dg.MetadataValue:
    """Return bar charts, one below the other, as a picture that needs no network."""
    drawn = base64.b64encode(svg(charts).encode()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{drawn})")


def is_plot(value: object) -> bool:
    """Say whether a figure is a picture, which a terminal cannot show."""
    return isinstance(value, dg.MarkdownMetadataValue) and "](data:image/" in str(value.value)


def svg(charts: Sequence[Chart]) -> str:
    """Return the charts as an SVG image."""
    height = LINE + BAR_HEIGHT_MAX + 3 * LINE
    widest = max((len(bars) for _, bars in charts), default=0) * (BAR_WIDTH + BAR_GAP)
    longest = max((len(title) for title, _ in charts), default=0) * 7
    width = 2 * MARGIN + max(widest, longest)
    parts = [
        _chart(title, bars, MARGIN + index * height) for index, (title, bars) in enumerate(charts)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height * len(charts) + MARGIN}" '
        f'font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'
    )


def _chart(title: str, bars: Mapping[str, int], top: int) -> str:
    most = max([*bars.values(), 1])
    bottom = top + 2 * LINE + BAR_HEIGHT_MAX
    drawn = [f'<text x="{MARGIN}" y="{top + LINE // 2}" fill="{GREY}">{escape(title)}</text>']
    for index, (label, records) in enumerate(bars.items()):
        left = MARGIN + index * (BAR_WIDTH + BAR_GAP)
        middle = left + BAR_WIDTH // 2
        tall = round(BAR_HEIGHT_MAX * records / most)
        drawn.append(
            f'<rect x="{left}" y="{bottom - tall}" width="{BAR_WIDTH}" height="{tall}" fill="{BLUE}"/>'
            + _label(middle, bottom - tall - 3, str(records))
            + _label(middle, bottom + LINE, label)
        )
    return "".join(drawn)


def _label(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle" fill="{GREY}">{escape(text)}</text>'
