"""The digest of a record's important fields, and the hash field that keeps one a market (D1).

`Mintigo_hash__c` begins with a version character. Each market that the record was scored with adds
a dot, its four-character tag and twenty hexadecimal digits: 251 characters for ten markets.

A digest only detects change. It is taken over typed values (`Field.arrow_type`), so
that REST and Bulk agree on it. It covers neither the market's version nor its outputs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

VERSION: Final = "1"
DIGEST_BYTES: Final = 10
ENTRY_LENGTH: Final = 1 + 4 + 2 * DIGEST_BYTES

OUTDATED: Final = "0" * 2 * DIGEST_BYTES
"""A digest that no inputs have. The market scored the record once, and has to score it again."""


def normalise(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return `column` as text in which equal values are equal; null becomes "".

    Text is trimmed as Salesforce trims it at save. CRLF and CR become LF, and NUL is dropped (API
    notes 3.1, 8).
    """
    kind = column.type

    if pa.types.is_string(kind):
        if _may_hold(column, b"\r", b"\0"):
            column = pc.replace_substring(column, "\x00", "")
            column = pc.replace_substring(column, "\r\n", "\n")
            column = pc.replace_substring(column, "\r", "\n")
        text = pc.ascii_trim_whitespace(column)
    elif pa.types.is_floating(kind):
        # Adding zero turns -0.0 into 0.0: they are equal, and their texts are not.
        text = pc.cast(pc.add(column, 0.0), pa.string())
    elif pa.types.is_boolean(kind):
        text = pc.cast(pc.fill_null(column, False), pa.string())
    elif pa.types.is_timestamp(kind):
        text = pc.cast(pc.cast(column, pa.int64()), pa.string())
    else:
        text = pc.cast(column, pa.string())

    return pc.fill_null(text, "")


def digests(table: pa.Table, fields: Sequence[str]) -> pa.Array:
    """Return one digest a row (20 hexadecimal digits) over the columns `fields`, in that order.

    Each value is preceded by its length, so that no two different rows give the same text.
    """
    parts: list[pa.ChunkedArray] = []
    for field in fields:
        text = normalise(table.column(field))
        parts += [pc.cast(pc.binary_length(text), pa.string()), text]

    if not parts or table.num_rows == 0:
        return _hexdigests([b""] * table.num_rows)

    joined = pc.binary_join_element_wise(*parts, ":")
    return _hexdigests(pc.cast(joined, pa.binary()).to_pylist())


def _may_hold(column: pa.ChunkedArray, *marks: bytes) -> bool:
    """Say whether a text column's memory holds one of `marks`.

    Twenty times as fast as a search of each value. A mark in a part of the memory that the column
    does not use is a false alarm, and does no harm.
    """
    memory = (chunk.buffers()[2] for chunk in column.chunks)
    texts = (buffer.to_pybytes() for buffer in memory if buffer is not None)
    return any(mark in text for text in texts for mark in marks)


def _hexdigests(rows: Sequence[bytes]) -> pa.Array:
    """Return the digest of each of `rows` in hexadecimal digits."""
    digest = hashlib.blake2b
    block = b"".join([digest(row, digest_size=DIGEST_BYTES).digest() for row in rows])

    # All have one width, so the array is laid over one block of digits: no text is made for each.
    digits = pa.py_buffer(block.hex().encode())
    fixed = pa.Array.from_buffers(pa.binary(2 * DIGEST_BYTES), len(rows), [None, digits])
    return pc.cast(pc.cast(fixed, pa.binary()), pa.string())


def stored_digests(hashes: pa.ChunkedArray, tag: str) -> pa.ChunkedArray:
    """Return the digest that each hash field keeps for the market with `tag`; null for none."""
    # Whole entries are skipped, so that a tag is never found inside another market's entry.
    other_entries = rf"(?:\..{{{ENTRY_LENGTH - 1}}})*?"
    digest = rf"(?P<digest>[0-9a-f]{{{2 * DIGEST_BYTES}}})"
    pattern = rf"^{VERSION}{other_entries}\.{re.escape(tag)}{digest}"
    return pc.struct_field(pc.extract_regex(hashes, pattern), "digest")


def hash_field(entries: Mapping[str, pa.Array]) -> pa.Array:
    """Return the hash field's values, one a row.

    `entries` has the digests by tag; null where the row is not a candidate.
    """
    # An entry without a digest is null as a whole, and becomes the empty text.
    parts = [
        pc.fill_null(pc.binary_join_element_wise(f".{tag}", entries[tag], ""), "")
        for tag in sorted(entries)
    ]
    return pc.binary_join_element_wise(VERSION, *parts, "")
