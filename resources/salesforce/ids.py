"""Record ids: 18 characters out, 15 or 18 in (API notes 8, point 2)."""

from __future__ import annotations

from typing import Final

_SUFFIX: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SHORT: Final = 15
_BLOCK: Final = 5


def id18(record_id: str) -> str:
    """Return the 18-character form; another length is returned as it is.

    Each block of five gives one character of the suffix, by which of its letters are capitals.
    """
    if len(record_id) != _SHORT:
        return record_id
    blocks = (record_id[start : start + _BLOCK] for start in range(0, _SHORT, _BLOCK))
    return record_id + "".join(_SUFFIX[_capitals(block)] for block in blocks)


def _capitals(block: str) -> int:
    return sum(1 << place for place, letter in enumerate(block) if "A" <= letter <= "Z")
