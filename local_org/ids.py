"""Record ids: 15 case-sensitive characters, or 18 with a suffix that survives case folding.

Id = key prefix (3), a pod and reserved part (4), a serial in base 62 (8). The alphabet is in ASCII
order, so ids of one object sort as their serials do. Suffix rule: API notes 8, item 2.
"""

from __future__ import annotations

import re

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# In a real id: the pod and a reserved part. Always this here, so ids made elsewhere show.
INSTANCE = "5e00"
# A letter for each pattern of five capitals: 2 ** 5 of them.
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_VALUE = {character: index for index, character in enumerate(ALPHABET)}
_SHAPE = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?")
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SERIAL_DIGITS = 8
_ID15 = 15
_ID18 = 18


def _suffix(block: str) -> str:
    return _SUFFIX[sum(1 << i for i, character in enumerate(block) if character in _UPPER)]


def to18(id15: str) -> str:
    """Append the three-character suffix to a 15-character id."""
    return id15 + _suffix(id15[:5]) + _suffix(id15[5:10]) + _suffix(id15[10:15])


def normalise(text: str) -> str:
    """Give the 18-character form of a 15- or 18-character id.

    An 18-character id whose case was folded (Excel) is put right by its suffix, as its first 15
    characters alone would name another record.

    Raises:
        ValueError: the text has not the shape of an id, or its suffix cannot belong to it.
    """
    if _SHAPE.fullmatch(text) is None:
        raise ValueError(f"not an id: {text!r}")
    if len(text) == _ID15:
        return to18(text)
    # The common case is tried first: an 18-character id whose case is untouched.
    if to18(text[:15]) == text:
        return text
    return _unfold(text)


def _unfold(text: str) -> str:
    suffix = text[15:].upper()
    characters = list(text[:15].lower())

    for block, letter in enumerate(suffix):
        bits = _SUFFIX.find(letter)
        if bits < 0:
            raise ValueError(f"not an id: {text!r}")
        # Five bits a letter: which of the block's five characters are capitals.
        for i in range(5):
            if bits >> i & 1:
                characters[block * 5 + i] = characters[block * 5 + i].upper()

    id15 = "".join(characters)
    if to18(id15) != id15 + suffix:
        raise ValueError(f"not an id: {text!r}")
    return id15 + suffix


def make_id(prefix: str, serial: int) -> str:
    """Make the 18-character id of an object's ``serial``-th record."""
    digits = []
    rest = serial
    for _ in range(_SERIAL_DIGITS):
        rest, digit = divmod(rest, 62)
        digits.append(ALPHABET[digit])
    return to18(prefix + INSTANCE + "".join(reversed(digits)))


class IdMaker:
    """Makes the ids of consecutive serials fast: suffixes are looked up, not computed."""

    def __init__(self, prefix: str) -> None:
        """Prepare the fixed part of the id and its suffix character."""
        self._head = prefix + INSTANCE
        # Blocks of the suffix: characters 0-4 are fixed, 5-9 and 10-14 hold the serial's digits.
        self._first = _suffix(self._head[:5])

    def ids(self, first: int, count: int) -> list[str]:
        """Make ``count`` ids, from serial ``first`` on."""
        record_ids: list[str] = []
        serial = first
        end = first + count

        while serial < end:
            upper, low = divmod(serial, 3844)
            stop = min(end, serial + 3844 - low)
            # But for the last two digits, all ids of this block are alike, and so are two of the
            # three suffix letters.
            stem = self._head + _base62(upper, 6)
            second = _suffix(stem[5:10])
            lead, base = stem, stem[10:13]
            base_bits = sum(1 << i for i, c in enumerate(base) if c in _UPPER)
            tail = self._first + second

            # So each id costs one look-up: its last two digits, and the suffix letter they make.
            for number in range(low, low + stop - serial):
                pair, bits = _PAIRS[number]
                record_ids.append(lead + pair + tail + _SUFFIX[base_bits | bits])
            serial = stop
        return record_ids


def _base62(number: int, digits: int) -> str:
    out = []
    for _ in range(digits):
        number, digit = divmod(number, 62)
        out.append(ALPHABET[digit])
    return "".join(reversed(out))


def _pairs() -> list[tuple[str, int]]:
    pairs = []
    for number in range(3844):
        pair = _base62(number, 2)
        bits = (8 if pair[0] in _UPPER else 0) | (16 if pair[1] in _UPPER else 0)
        pairs.append((pair, bits))
    return pairs


_PAIRS = _pairs()


def serial_of(id18: str) -> int:
    """Read the serial back out of an id made here; -1 when the org did not make it."""
    if id18[3:7] != INSTANCE:
        return -1
    # A local name is faster in the loop, which runs for every row of a load.
    value = _VALUE
    number = 0
    for character in id18[7:15]:
        number = number * 62 + value[character]
    return number
