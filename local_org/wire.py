"""Requests and replies as the handlers see them, and the table that finds a handler for a path.

A handler is a plain function from ``Request`` to ``Reply`` and runs in a worker thread. It does not
know whether it was called over HTTP or as a part of a composite request, so both behave alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import unquote

from local_org.errors import SalesforceError, not_found

JSON_TYPE = "application/json;charset=UTF-8"
VERSION_PREFIX = re.compile(r"/services/data/v(\d{2}\.\d)(?=/|$)")


@dataclass
class Request:
    """One API request: over HTTP, or a part of a composite one."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    user_id: str
    version: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    body_file: Path | None = None

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            SalesforceError: 400 JSON_PARSER_ERROR, as for a body that was cut off.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise parser_error(self.body, error) from error

    def json_object(self, allowed: Iterable[str] | None = None) -> dict[str, Any]:
        """Read the body as a JSON object whose keys are all among ``allowed`` (None: any)."""
        value = self.json()
        if not isinstance(value, dict):
            raise SalesforceError(
                400, "JSON_PARSER_ERROR", "The HTTP entity body must be a JSON object"
            )
        if allowed is not None:
            refuse_unknown(value, allowed)
        return value

    def check_params(self, allowed: frozenset[str]) -> None:
        """Refuse query parameters that this resource does not know."""
        for name in self.params:
            if name not in allowed:
                raise SalesforceError(
                    400, "INVALID_QUERY_PARAMETER", f"Unknown query parameter: {name}"
                )


@dataclass
class Spool:
    """A body that is read from the disk in blocks and never whole in memory."""

    blocks: Callable[[], Iterator[bytes]]


@dataclass
class Reply:
    """What a handler answers: ``body`` is JSON-ready, text, bytes, a ``Spool``, or None (empty)."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE


OrgT = TypeVar("OrgT")
Handler: TypeAlias = Callable[[OrgT, Request], Reply]
"""Answers a request with what the org has; this module need not know what an org is."""


def parser_error(body: bytes, error: Exception) -> SalesforceError:
    """Build the answer to a body that is no JSON."""
    position = getattr(error, "pos", len(body))
    line = getattr(error, "lineno", 1)
    column = getattr(error, "colno", 1)
    # Jackson's words, which Salesforce passes on.
    what = "Unexpected end-of-input" if position >= len(body) else "Unexpected character"
    return SalesforceError(400, "JSON_PARSER_ERROR", f"{what} at [line:{line}, column:{column}]")


def refuse_unknown(value: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Refuse keys of a request body that this resource does not know, as a typed parser would."""
    for key in value:
        if key not in allowed:
            raise SalesforceError(
                400, "JSON_PARSER_ERROR", f'Unrecognized field "{key}" at [line:1, column:2]'
            )


Route: TypeAlias = tuple[Handler[OrgT], frozenset[str]]


class Router(Generic[OrgT]):
    """Paths below ``/services/data/vXX.0`` and their handlers."""

    def __init__(self) -> None:
        """Start with an empty table."""
        self._routes: list[tuple[re.Pattern[str], dict[str, Route[OrgT]]]] = []
        self._by_template: dict[str, dict[str, Route[OrgT]]] = {}

    def add(self, method: str, template: str, handler: Handler[OrgT], *params: str) -> None:
        """Add a handler, with the query parameters that it knows.

        ``{name}`` in the template stands for one part of the path.
        """
        known = self._by_template.get(template)
        if known is None:
            known = self._by_template[template] = {}
            # A part of the path never has a slash; what is escaped is decoded after the match.
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
            self._routes.append((re.compile(pattern, re.IGNORECASE), known))
        known[method] = (handler, frozenset(params))

    def find(self, method: str, rest: str) -> tuple[Route[OrgT], dict[str, str]]:
        """Give the route of a path (what follows the version) and the path's parts.

        Raises:
            SalesforceError: 404 for a path that this org does not know, 405 for a wrong method.
        """
        path = rest.rstrip("/") or "/"
        allowed: list[str] = []
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            # HEAD is answered as GET; the server leaves the body out.
            route = methods.get("GET" if method == "HEAD" else method)
            if route is not None:
                return route, {k: unquote(v) for k, v in match.groupdict().items()}
            allowed += methods

        if allowed:
            names = ", ".join(f"{name}" for name in sorted(set(allowed)))
            raise SalesforceError(
                405,
                "METHOD_NOT_ALLOWED",
                f"HTTP Method '{method}' not allowed. Allowed are {names}",
            )
        raise not_found()
