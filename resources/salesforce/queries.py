"""SOQL queries over REST: several in one call, page after page, or by ids (API notes 2.2, 2.6).

How an answer is read is `query`'s; how a query of many rows is run as a job, `bulk_query`'s.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

import pyarrow as pa

from pipeline.core.soql import In, select
from resources.salesforce.errors import (
    AnswerShort,
    OrgUnavailable,
    QueriesRefused,
    QueryRefused,
    SalesforceError,
    SessionLost,
    TooManyConcurrentRequests,
    UnexpectedAnswer,
    error_from_answer,
    understood,
)
from resources.salesforce.query_answers import (
    LOCATOR_EXPIRED,
    QUERIES_PER_CALL,
    QUERY_STARTS_MAX,
    URL_CHARACTERS_MAX,
    Record,
    batch_from_records,
    is_short,
    plain_rows,
    queries_by_ids,
    rows_beyond,
)
from resources.salesforce.session import Session

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce as Library

logger = logging.getLogger(__name__)

_SAFE_IN_QUERY: Final = "',()*=<>!:"
"""Legal in an address as they are; encoded, they would make lists of ids half as long again."""


class Queries:
    """Runs queries in one session."""

    def __init__(self, session: Session) -> None:
        """Make all calls in `session`."""
        self._session = session

    def known_ids(self, object_name: str, ids: Sequence[str]) -> set[str]:
        """Return which of `ids` the org has, deleted ones included, as far as the user sees them.

        One API call for 2,500 ids.
        """
        found: set[str] = set()
        for group in queries_by_ids(lambda some: select(["Id"], object_name, In("Id", some)), ids):
            queries = {f"ids_{number}": soql for number, soql in enumerate(group)}
            rows, errors = self.ask_each(queries, with_deleted=True)
            if errors:
                raise next(iter(errors.values()))
            found |= {row["Id"] for part in rows.values() for row in part}
        return found

    def ask(self, queries: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of at most five small queries by name, for one API call.

        For counts and newest stamps: give aggregates an alias (`COUNT(Id) n`).

        Raises QueriesRefused, with each refused query's error and the others' rows.
        """
        rows, errors = self.ask_each(queries)
        refused = {name: e for name, e in errors.items() if isinstance(e, QueryRefused)}
        if len(refused) < len(errors):
            raise next(error for name, error in errors.items() if name not in refused)
        if refused:
            raise QueriesRefused(refused, rows)
        return rows

    def ask_each(
        self,
        queries: Mapping[str, str],
        *,
        within_seconds: float = math.inf,
        with_deleted: bool = False,
    ) -> tuple[dict[str, list[dict[str, Any]]], dict[str, SalesforceError]]:
        """Return rows by name, and by name why a query has none, as `ask` for one API call.

        One query's refusal, time-out or error costs the others nothing. Raises what concerns the
        call as a whole. Deleted records are left out unless `with_deleted`.
        """
        # Where a cursor expires before its last page, or rows are missing, all is asked again.
        for start in range(1, QUERY_STARTS_MAX + 1):
            answers = self._composite(queries, within_seconds, with_deleted=with_deleted)
            errors = {name: a for name, a in answers.items() if isinstance(a, SalesforceError)}

            try:
                rows = {
                    name: self._all_rows(answer)
                    for name, answer in answers.items()
                    if not isinstance(answer, SalesforceError)
                }
                return rows, errors
            except (QueryRefused, AnswerShort) as error:
                if not _may_begin_again(error, start):
                    raise
        raise AssertionError("the loop returns or raises")  # pragma: no cover

    def count(self, soql: str) -> int:
        """Return the number that a `SELECT COUNT() ...` gives."""
        answer = self._first_page(soql)
        with understood("count"):
            return int(answer["totalSize"])

    def query(self, soql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows to `schema`, a batch a page of up to 2,000: one API call each.

        Parents' fields are columns such as `Account.Name`. A page is asked for when the one before
        has been taken. Raises AnswerShort at the end where rows are missing, those given are right.
        """
        yield from self.begin(soql, schema)[1]

    def begin(self, soql: str, schema: pa.Schema) -> tuple[int, Iterator[pa.RecordBatch]]:
        """Return how many rows the query has, by its first page, and all its batches.

        One API call, and one for each later page once it is asked for.
        """
        first = self._first_page(soql)
        with understood("query"):
            return int(first["totalSize"]), self._batches_from(first, soql, schema)

    def _batches_from(
        self, first: Record, soql: str, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches from the `first` page on.

        Where the cursor expires between two pages, or there are fewer rows than the first page
        says, the query is begun again and records that were given already are passed over.
        """
        given: list[pa.Array] = []
        for start in range(1, QUERY_STARTS_MAX + 1):
            try:
                for records in self._pages(first if start == 1 else self._first_page(soql)):
                    batch = batch_from_records(records, schema)
                    if start > 1:
                        batch = rows_beyond(batch, given)
                    given.append(batch["Id"])
                    yield batch
                return

            except (QueryRefused, AnswerShort) as error:
                if not _may_begin_again(error, start):
                    raise

    def read_by_ids(
        self,
        select: Callable[[Sequence[str]], str],
        ids: Sequence[str],
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the records of `ids` to `schema`: one API call for 2,500 ids, in no set order.

        Records that are gone or hidden are left out. `select` writes the SOQL for some ids.
        """
        for group in queries_by_ids(select, ids):
            yield from self._batches_of(group, schema)

    def _batches_of(self, group: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        queries = {f"ids_{number}": soql for number, soql in enumerate(group)}
        for rows in self.ask(queries).values():
            if rows:
                yield batch_from_records(rows, schema)

    def _first_page(self, soql: str) -> Record:
        """Return the first page; a query too long for an address goes in the body of a call."""
        if len(quote_plus(soql)) > URL_CHARACTERS_MAX:
            part = self._composite({"query": soql})["query"]
            if isinstance(part, SalesforceError):
                raise part
            return part
        answer: Record = self._session.call(
            lambda sf: sf.query(soql), "query", refusal=QueryRefused
        )
        return answer

    def _pages(self, answer: Record) -> Iterator[Sequence[Record]]:
        """Yield the records of `answer` and of the pages after it.

        Raises AnswerShort after the last one where there are fewer than `answer` promises.
        """
        before, given = None, 0
        with understood("query"):
            promised = int(answer["totalSize"])

        while True:
            with understood("query"):
                records, following = answer["records"], answer.get("nextRecordsUrl")
                is_last = answer["done"] or not following
                given += len(records)

            if records:
                yield records
            if is_last:
                break

            if following == before:
                raise UnexpectedAnswer("A page of a query names itself as the next.")
            before = following
            answer = self._next_page(following)

        if is_short(given, promised):
            raise AnswerShort("a query", given, promised)

    def _next_page(self, url: Any) -> Record:
        # Put behind the org's own address as it is: anything else may lead the token elsewhere.
        if not isinstance(url, str) or not url.startswith("/services/data/"):
            raise UnexpectedAnswer("A page of a query names no page of the org as the next.")
        answer: Record = self._session.call(
            lambda sf: sf.query_more(url, identifier_is_url=True),
            "read the next page of a query",
            refusal=QueryRefused,
        )
        return answer

    def _composite(
        self,
        queries: Mapping[str, str],
        within_seconds: float = math.inf,
        *,
        with_deleted: bool = False,
    ) -> dict[str, Record | SalesforceError]:
        """Ask several queries in one call and return each one's first page, or its error.

        A passing error of one query is tried again with the whole call, and given at last.
        """
        if not 0 < len(queries) <= QUERIES_PER_CALL:
            raise ValueError(f"{len(queries)} queries: one call takes 1 to {QUERIES_PER_CALL}")
        names = list(queries)
        resource = "queryAll" if with_deleted else "query"
        base = f"/services/data/v{self._session.api_version}/{resource}/?q="
        body = {
            "allOrNone": False,
            "compositeRequest": [
                {
                    "method": "GET",
                    "url": base + quote_plus(soql, safe=_SAFE_IN_QUERY),
                    "referenceId": f"q{number}",
                }
                for number, soql in enumerate(queries.values())
            ],
        }

        answers: list[Record | SalesforceError] = []

        def request(sf: Library) -> None:
            answer = sf.restful("composite", method="POST", json=body) or {}
            parts = {part["referenceId"]: part for part in answer.get("compositeResponse", ())}
            answers[:] = [_part(parts, f"q{number}", name) for number, name in enumerate(names)]
            passing = next((part for part in answers if isinstance(part, OrgUnavailable)), None)
            if passing is not None:
                raise passing

        try:
            self._session.call(
                request,
                "ask several queries",
                refusal=QueryRefused,
                within_seconds=within_seconds,
            )
        except OrgUnavailable:
            if not answers:
                raise
        return dict(zip(names, answers, strict=True))

    def _all_rows(self, answer: Record) -> list[dict[str, Any]]:
        """Return the rows of `answer` and of the pages after it, a call each."""
        rows: list[dict[str, Any]] = []
        for records in self._pages(answer):
            with understood("query"):
                rows.extend(plain_rows({"records": records}))
        return rows


def _may_begin_again(error: QueryRefused | AnswerShort, start: int) -> bool:
    """Say whether a query that ended so is begun once more after its `start`-th time."""
    is_worth_it = isinstance(error, AnswerShort) or error.code == LOCATOR_EXPIRED
    return is_worth_it and start < QUERY_STARTS_MAX


def _part(parts: Mapping[str, Any], reference: str, name: str) -> Record | SalesforceError:
    """Return one query's answer out of a composite answer, or why it has none.

    Raises what concerns the call as a whole: a lost session, a limit.
    """
    part = parts.get(reference)
    if part is None:
        return OrgUnavailable(f"The org left out the answer to the query {name}.")
    if part["httpStatusCode"] == HTTPStatus.OK:
        body: Record = part["body"]
        return body

    error = error_from_answer(
        part["httpStatusCode"], part["body"], f"query {name}", refusal=QueryRefused
    )
    if isinstance(error, TooManyConcurrentRequests):
        raise error
    if isinstance(error, QueryRefused | OrgUnavailable):
        return error
    if isinstance(error, SessionLost):
        logger.info("The session was lost inside a composite call.")
    raise error
