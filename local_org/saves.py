"""Saves as the HTTP side asks for them: JSON records, or the rows of an ingest file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from .chunks import Chunk, Operation, RowResult, in_chunks
from .errors import RowError, SalesforceError
from .parts import Parts
from .permissions import Access
from .refusals import ROLLED_BACK, invalid_batch, no_access
from .rights import find_external_id
from .row_readers import CsvRows, json_chunk
from .saver import Saver
from .schema import Field, SObject
from .values import Json

_REMOVALS: Final = frozenset({"delete", "hardDelete", "undelete"})
_MAY_CREATE: Final = frozenset({"insert", "upsert"})


class Saves:
    """Saves of whole requests and jobs, cut into chunks."""

    def __init__(self, parts: Parts) -> None:
        """Keep what a save has to do with."""
        self._parts = parts
        self._data = parts.data
        self._rights = parts.rights

    # --- JSON ------------------------------------------------------------------------------------

    def save_records(
        self,
        operation: Operation,
        object_name: str,
        records: Sequence[Mapping[str, Json]],
        *,
        user_id: str,
        all_or_none: bool = False,
        external_id_field: str | None = None,
    ) -> list[RowResult]:
        """Save JSON records; results come in their order.

        Raises:
            SalesforceError: the request fails as a whole.
        """
        owner, access = self._rights.visible(object_name, user_id)
        self._require_right(owner, access, operation)
        external = find_external_id(owner, access, external_id_field)

        if not all_or_none:
            return self._save_json(operation, owner, access, records, external)
        try:
            with self._data.write():
                results = self._save_json(operation, owner, access, records, external)
                _roll_back_unless_all(results)
                return results
        except _RollBack as rollback:
            return [
                result
                if not result.success
                else RowResult("" if result.created else result.id, False, False, (ROLLED_BACK,))
                for result in rollback.results
            ]

    def _require_right(self, owner: SObject, access: Access, operation: Operation) -> None:
        rights = access.object_rights(owner)
        allowed = {
            "insert": owner.createable and rights.create,
            "update": owner.updateable and rights.edit,
            "upsert": owner.createable and (rights.create or rights.edit),
        }.get(operation, owner.deletable and rights.delete)

        if not allowed:
            raise SalesforceError(
                self._parts.options.error_insufficient_access_status,
                "INSUFFICIENT_ACCESS_OR_READONLY",
                "insufficient access rights on object",
            )

    def _save_json(
        self,
        operation: Operation,
        owner: SObject,
        access: Access,
        records: Sequence[Mapping[str, Json]],
        external: Field | None,
    ) -> list[RowResult]:
        saver = Saver(self._parts, owner, access)
        inserting = operation in _MAY_CREATE
        size = max(1, self._parts.options.chunk_rows)

        results: list[RowResult] = []
        for start in range(0, len(records), size):
            part = records[start : start + size]
            if operation in _REMOVALS:
                part = [{"Id": _id_of(record)} for record in part]
            chunk = json_chunk(self._data, owner, access, part, insert=inserting)
            results += saver.save(operation, chunk, external)

        if owner.setup:
            self._rights.forget()
        return results

    # --- CSV -------------------------------------------------------------------------------------

    def save_table(
        self,
        operation: Operation,
        object_name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        user_id: str,
        external_id_field: str | None = None,
        chunks_together: int = 10,
    ) -> Iterator[list[RowResult]]:
        """Save the rows of an ingest file; gives one list of results for each chunk, in row order.

        Args:
            operation: what to do with the rows.
            object_name: the object.
            columns: the header of the file.
            rows: its rows; each has as many cells as there are columns.
            user_id: whose rights count.
            external_id_field: what upsert matches on.
            chunks_together: chunks written to disk at once. Each keeps its own stamp; with 1 each
                is visible to others before the next begins, at twice the cost.

        Raises:
            SalesforceError: the whole job fails; ``message`` is its errorMessage.
        """
        owner = self._data.object(object_name)
        access = self._rights.access(user_id)
        external = find_external_id(owner, access, external_id_field)
        _check_table(operation, owner, columns)

        reader = CsvRows(self._data, owner, access, columns, insert=operation in _MAY_CREATE)
        saver = Saver(self._parts, owner, access)
        refusal = None if _has_right(owner, access, operation) else no_access()

        chunks = in_chunks(rows, max(1, self._parts.options.chunk_rows))
        while together := list(islice(chunks, max(1, chunks_together))):
            with self._data.write():
                results = [
                    _save_chunk(saver, operation, reader.chunk(part), external, refusal)
                    for part in together
                ]
            # Outside the transaction: the reader of the results may take its time.
            yield from results


def _check_table(operation: Operation, owner: SObject, columns: Sequence[str]) -> None:
    if operation in _REMOVALS and list(columns) != ["Id"]:
        raise invalid_batch(f"The '{operation}' batch must contain only ids")
    if operation == "insert" and "Id" in columns:
        raise invalid_batch("Field name not found : Id")
    if owner.setup:
        raise SalesforceError(
            400, "INVALIDENTITY", f"Entity '{owner.name}' is not supported by the Bulk API."
        )


def _has_right(owner: SObject, access: Access, operation: Operation) -> bool:
    rights = access.object_rights(owner)
    return {
        "insert": rights.create,
        "update": rights.edit,
        "upsert": rights.create or rights.edit,
    }.get(operation, rights.delete)


def _save_chunk(
    saver: Saver,
    operation: Operation,
    chunk: Chunk,
    external: Field | None,
    refusal: RowError | None,
) -> list[RowResult]:
    if refusal is None:
        return saver.save(operation, chunk, external)
    # In Bulk a missing right on the object fails each row, where REST refuses the request.
    chunk.errors = [error or refusal for error in chunk.errors]
    return chunk.results()


class _RollBack(Exception):
    """Leaves the transaction, and takes the results along that say why."""

    def __init__(self, results: list[RowResult]) -> None:
        super().__init__("rolled back")
        self.results = results


def _roll_back_unless_all(results: list[RowResult]) -> None:
    if not all(result.success for result in results):
        raise _RollBack(results)


def _id_of(record: Mapping[str, Json]) -> Json:
    return next((value for name, value in record.items() if name.lower() == "id"), "")
