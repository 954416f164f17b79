"""Rows on their way into the data file: chunks of up to 200, by columns, and their results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from .errors import RowError
from .schema import Field
from .values import Stored

Operation: TypeAlias = Literal["insert", "update", "upsert", "delete", "hardDelete", "undelete"]


class RowResult(NamedTuple):
    """What became of one row."""

    id: str
    created: bool
    success: bool
    errors: tuple[RowError, ...] = ()


class Unset:
    """The value of a cell that leaves its field alone."""

    def __repr__(self) -> str:
        """Give the name of the one value of this class."""
        return "UNSET"


# None cannot stand for it: None clears a field.
UNSET: Final = Unset()
Cell: TypeAlias = "Stored | Unset"


@dataclass
class Chunk:
    """Some rows by columns: checks and SQL take a column at a time, for speed."""

    fields: list[Field]
    columns: list[list[Cell]]
    ids: list[str]
    errors: list[RowError | None]
    created: list[bool] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Give the number of rows."""
        return len(self.ids)

    def live(self) -> list[int]:
        """Give the places of the rows that have not failed yet."""
        return [place for place, error in enumerate(self.errors) if error is None]

    def pick(self, places: list[int]) -> Chunk:
        """Take some rows out into a chunk of their own."""
        return Chunk(
            self.fields,
            [[column[place] for place in places] for column in self.columns],
            [self.ids[place] for place in places],
            [self.errors[place] for place in places],
        )

    def results(self) -> list[RowResult]:
        """Say what became of each row."""
        created = self.created or [False] * self.size
        return [
            RowResult(record_id, is_new, True)
            if error is None
            else RowResult(record_id, False, False, (error,))
            for record_id, is_new, error in zip(self.ids, created, self.errors, strict=True)
        ]


def in_chunks(rows: Iterable[Sequence[str]], size: int) -> Iterator[list[Sequence[str]]]:
    """Cut rows into lists of ``size``."""
    batch: list[Sequence[str]] = []
    # By hand, as itertools.batched came with Python 3.12.
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []

    if batch:
        yield batch


def is_value(cell: Cell) -> bool:
    """Tell whether a cell has a value: neither null nor left alone."""
    return cell is not None and cell is not UNSET


def fold(value: object) -> str:
    """Bring text into the form in which case does not matter."""
    return str(value).casefold()
