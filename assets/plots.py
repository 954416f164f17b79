"""Small bar charts as SVG in Markdown, which Dagster's UI shows with a materialization.

The UI shows Markdown of less than 1,000 characters where it stands, and hides longer behind a link.
So a chart is as short as can be: bars are strokes of one path, and numbers and labels each one line
of text stretched to the width.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Final

import dagster as dg

SHOWN_IN_PLACE: Final = 1_000
CELL: Final = 43
CELL_CHARACTERS: Final = 6
BAR_HEIGHT_MAX: Final = 60
BOTTOM: Final = 80
THOUSAND: Final = 1_000
LONGEST: Final = 99_999
"""Beyond it numbers are told in thousands."""


def plot(title: str, bars: Mapping[str, int]) -> dg.MetadataValue:
    """Return a bar chart, heights by label, as a picture that needs no network."""
    drawn = base64.b64encode(svg(bars).encode()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{drawn})")


def is_plot(value: object) -> bool:
    """Say whether a figure is a picture, which a terminal cannot show."""
    return isinstance(value, dg.MarkdownMetadataValue) and "](data:image/" in str(value.value)


def svg(bars: Mapping[str, int]) -> str:
    """Return the chart as an SVG image: numbers above, labels below."""
    width, most = CELL * len(bars), max([*bars.values(), 1])
    strokes = "".join(
        f"M{CELL * at + CELL // 2},{BOTTOM}v-{round(BAR_HEIGHT_MAX * records / most)}"
        for at, records in enumerate(bars.values())
    )
    numbers = _line([_short(records) for records in bars.values()], 12, width)
    labels = _line([*bars], BOTTOM + 14, width)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{BOTTOM + 18}" font-family="monospace" '
        f'font-size="12" fill="#567"><path stroke="#54d" stroke-width="30" d="{strokes}"/>{numbers}{labels}</svg>'
    )


def _short(records: int) -> str:
    return str(records) if records <= LONGEST else f"{records // THOUSAND}k"


def _line(texts: list[str], y: int, width: int) -> str:
    """Return texts each in the middle of its cell.

    The line's length is set, whatever the browser's font.
    """
    cells = "".join(f"{text[:CELL_CHARACTERS]:^{CELL_CHARACTERS}}" for text in texts)
    return f'<text y="{y}" textLength="{width}" xml:space="preserve">{escape(cells)}</text>'
