"""Foreign text for a terminal: what would steer it is shown, not done."""

from __future__ import annotations

import re
from typing import Final

_STEERS: Final = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # controls of ASCII and Latin 1, but tab and line feed
    "\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"  # lines, and the direction of writing
    "\\ud800-\\udfff]"  # halves of a character, which no stream takes
)


def printable(text: str) -> str:
    r"""Return `text` with each character that steers a terminal as Python writes it: `\x1b`.

    Tabs and line ends stay.
    """
    return _STEERS.sub(_written_out, text)


def printable_line(text: str) -> str:
    """Return `text` as one line, so that a value cannot pass for a line of ours."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
