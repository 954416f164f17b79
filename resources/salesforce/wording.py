"""Salesforce's messages without the values that they quote (R24).

No list of patterns can know every message: triggers, flows and validation rules word their own. So
nothing is looked for that must go. What may stay is named instead: words that Salesforce's own
messages are made of, the object's field names, and record ids.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from resources.salesforce.ids import id18

CUT: Final = "…"
EXPLANATION: Final = " (Values are cut out, since persist is off; the job's results in Salesforce have the words in full.)"

_VOCABULARY: Final = """
    a access active an and are as at bad be been before blank by can cannot caused changed character characters
    closed could create created data date delete deleted do does duplicate duplicates edit empty entity error
    exceeded exclusive execution expected failed field fields filter for format formula found from has have id ids
    in inactive incorrect insufficient integer into invalid is it job large least length less limit limits list
    locked long longer lookup max maximum missing more must name no not null number object obtain of on one only
    operation or out owner permission permissions picklist process processed processing query read record records
    reference related required restricted rights rule running save saved select size specify string system that the
    there this time to too trigger type unable unknown update updated use used user valid validation value values
    was were when while with without write written
"""
"""What Salesforce's standard messages are made of (API notes 3.3), without names of things."""

_WORDS: Final = frozenset(_VOCABULARY.split())
_PHRASES: Final = re.compile(
    r"duplicates value on record with id|\(max length=\d+\)|InvalidBatch ?: Field name not found"
)
_QUOTED: Final = re.compile(r"\"[^\"]*\"|“[^”]*”|\u2018[^\u2019]*\u2019|(?<!\w)'[^']*'(?!\w)")
_TOKEN: Final = re.compile(rf"{_PHRASES.pattern}|{CUT}|\w(?:\S*\w)?|[:,.;()\[\]]|\S")
_ID_LENGTH: Final = 18
_REPEATED: Final = re.compile(rf"{CUT}(?:[\s,.;:()\[\]]*{CUT})+")


def without_values(message: str, names: Container[str]) -> str:
    """Return `message` with every word cut out that may be a record's value.

    Words stay up to the first colon, record ids and `names` (the fields' API names) anywhere. What
    is quoted goes, unless it is a field's name.
    """
    unquoted = _QUOTED.sub(lambda found: _name_or_cut(found[0][1:-1], names), message)
    kept: list[str] = []
    after_colon = False
    for found in _TOKEN.finditer(unquoted):
        word = found[0]
        may_stay = word in names or _is_id(word) or _PHRASES.fullmatch(word) is not None
        if not after_colon:
            may_stay = may_stay or word.lower() in _WORDS
        is_mark = len(word) == 1 and word in ":,.;()[]"
        kept.append(word if may_stay or is_mark else CUT)
        after_colon = after_colon or word == ":"

    text = re.sub(r"\s+([:,.;)\]])|([(\[])\s+", r"\1\2", " ".join(kept))
    text = _REPEATED.sub(CUT, text)
    return text + EXPLANATION if CUT in text else text


def _name_or_cut(quoted: str, names: Container[str]) -> str:
    return quoted if quoted in names else CUT


def _is_id(word: str) -> bool:
    """Say whether `word` is a record id: no value has its suffix, a checksum, by chance."""
    return (
        len(word) == _ID_LENGTH
        and word.isascii()
        and word.isalnum()
        and any(character.isdigit() for character in word[:-3])
        and id18(word[:-3]) == word
    )
