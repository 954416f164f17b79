"""What a fuzz target is: one function of bytes that lets only declared errors out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SECRET = "Zq9secret"
"""Stands where a token, a password or a record's value does; no message may hold it."""


@dataclass(frozen=True, slots=True)
class Target:
    """`run` ends quietly or with an AssertionError or anything else: both are findings.

    `seeds` are real inputs, which both fuzzers begin with; `words` are put into inputs whole.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def text_of(data: bytes) -> str:
    """Return the bytes as text, whatever they are."""
    return data.decode("utf-8", "replace")


def keeps_secret(text: object) -> None:
    """Fail where a message holds the secret."""
    assert SECRET not in str(text), f"a message holds what it must not: {text}"
