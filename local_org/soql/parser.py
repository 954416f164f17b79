"""SOQL text to its tree."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path as FilePath
from typing import Final, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedEOF, UnexpectedToken
from lark.exceptions import VisitError

from local_org.errors import SalesforceError

from .ast import (
    Aggregate,
    All,
    AllFields,
    Any,
    Comparison,
    Condition,
    Literal,
    Membership,
    Negation,
    Order,
    Path,
    Query,
    SelectItem,
    Unsupported,
)
from .errors import malformed

STATEMENT_MAX: Final = 100_000
STRING_MAX: Final = 4000
"""Characters of a statement, and of one string in it (API notes 2.3)."""
_KINDS: Final = {
    "STRING": "string",
    "NUMBER": "number",
    "DATE": "date",
    "DATETIME": "datetime",
    "WORD": "word",
}


@lru_cache(maxsize=1)
def _lark() -> Lark:
    grammar = FilePath(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=False)


def parse(text: str) -> Query:
    """Read a query.

    Raises:
        SalesforceError: 400 MALFORMED_QUERY, with a caret under the place.
    """
    if len(text) > STATEMENT_MAX:
        raise SalesforceError(
            400,
            "MALFORMED_QUERY",
            f"SOQL statements cannot be longer than {STATEMENT_MAX} characters.",
        )

    try:
        tree = _lark().parse(text)
        return cast("Query", _Builder(text).transform(tree))
    except VisitError as error:
        raise error.orig_exc from None
    # The end of the text is a token too, and Salesforce words it so.
    except UnexpectedToken as error:
        if error.token.type == "$END":
            raise malformed(text, len(text), "unexpected token: '<EOF>'") from None
        raise malformed(
            text, error.token.start_pos or 0, f"unexpected token: '{error.token}'"
        ) from None
    except UnexpectedCharacters as error:
        raise malformed(
            text,
            (error.pos_in_stream or 0),
            f"unexpected token: '{_word(text, (error.pos_in_stream or 0))}'",
        ) from None
    except UnexpectedEOF:
        raise malformed(text, len(text), "unexpected token: '<EOF>'") from None


def parse_condition(text: str) -> Condition:
    """Read a bare condition, as validation rules give it."""
    query = parse(f"SELECT Id FROM Any WHERE {text}")  # noqa: S608 - SOQL, parsed here
    if query.where is None or query.order_by or query.limit is not None or query.group_by:
        raise malformed(text, 0, "a condition was expected")
    return query.where


def _word(text: str, position: int) -> str:
    rest = text[position:].split(maxsplit=1)
    return rest[0] if rest else text[position : position + 1]


def _path(token: Token) -> Path:
    return Path(tuple(token.split(".")), token.start_pos or 0)


def _of(children: list[object], kind: str) -> list[Token]:
    return [child for child in children if isinstance(child, Token) and child.type == kind]


class _Part:
    """A clause on its way to the query."""

    def __init__(self, name: str, value: object) -> None:
        self.name = name
        self.value = value


class _Builder(Transformer[Token, object]):
    """Builds the tree bottom-up; a method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def start(self, children: list[object]) -> object:
        return children[0]

    def query(self, children: list[object]) -> Query:
        parts = {child.name: child.value for child in children if isinstance(child, _Part)}
        name, alias = cast("tuple[Token, str | None]", parts["from"])

        return Query(
            self._text,
            cast("tuple[SelectItem, ...]", parts["select"]),
            str(name),
            name.start_pos or 0,
            alias,
            cast("Condition | None", parts.get("where")),
            cast("tuple[Path, ...]", parts.get("group", ())),
            cast("tuple[Order, ...]", parts.get("order", ())),
            cast("int | None", parts.get("limit")),
            cast("int | None", parts.get("offset")),
        )

    def select_list(self, children: list[object]) -> _Part:
        return _Part("select", tuple(children))

    def path(self, children: list[Token]) -> Path:
        return _path(children[0])

    def aggregate(self, children: list[Token]) -> Aggregate:
        function = children[0]
        path = next((_path(child) for child in _of(list(children), "PATH")), None)
        alias = next((str(child) for child in _of(list(children), "ALIAS")), None)
        return Aggregate(function.upper(), path, alias, function.start_pos or 0)

    def fields_function(self, children: list[Token]) -> AllFields:
        return AllFields(children[1].upper(), children[0].start_pos or 0)

    def subquery(self, children: list[object]) -> Unsupported:
        inner = cast("Query", children[0])
        return Unsupported("subquery", max(0, inner.object_position - 1))

    def type_of(self, children: list[object]) -> Unsupported:
        return Unsupported("typeof", cast("Token", children[0]).start_pos or 0)

    def from_object(self, children: list[Token]) -> _Part:
        alias = next((str(child) for child in _of(list(children), "ALIAS")), None)
        return _Part("from", (children[1] if children[0].type == "FROM" else children[0], alias))

    def where(self, children: list[object]) -> _Part:
        return _Part("where", children[1])

    def all_of(self, children: list[object]) -> All:
        return All(tuple(cast("Condition", c) for c in children if not isinstance(c, Token)))

    def any_of(self, children: list[object]) -> Any:
        return Any(tuple(cast("Condition", c) for c in children if not isinstance(c, Token)))

    def negation(self, children: list[object]) -> Negation:
        return Negation(cast("Condition", children[1]))

    def comparison(self, children: list[object]) -> Comparison:
        path, operator, value = children
        symbol = str(operator).lower()
        return Comparison(
            _path(cast("Token", path)),
            "!=" if symbol == "<>" else symbol,
            cast("Literal", value),
        )

    def membership(self, children: list[object]) -> Membership:
        values = tuple(child for child in children if isinstance(child, Literal))
        return Membership(_path(cast("Token", children[0])), values, bool(_of(children, "NOT")))

    def semi_join(self, children: list[object]) -> Unsupported:
        return Unsupported("semi-join", cast("Token", children[0]).start_pos or 0)

    def inclusion(self, children: list[object]) -> Membership:
        values = tuple(child for child in children if isinstance(child, Literal))
        excluded = bool(_of(children, "EXCLUDES"))
        return Membership(_path(cast("Token", children[0])), values, excluded, multi=True)

    def literal(self, children: list[Token]) -> Literal:
        token = children[0]
        position = token.start_pos or 0
        if token.type == "STRING" and len(token) - 2 > STRING_MAX:
            raise malformed(
                self._text, position, f"string literal longer than {STRING_MAX} characters"
            )
        text = token[1:-1] if token.type == "STRING" else str(token)
        return Literal(_KINDS[token.type], text, position)  # type: ignore[arg-type]

    def group(self, children: list[Token]) -> _Part:
        return _Part("group", tuple(_path(child) for child in _of(list(children), "PATH")))

    def order(self, children: list[object]) -> _Part:
        return _Part("order", tuple(child for child in children if isinstance(child, Order)))

    def order_item(self, children: list[object]) -> Order:
        flags = {child for child in children if isinstance(child, str)} - {children[0]}
        return Order(_path(cast("Token", children[0])), "DESC" in flags, "LAST" in flags)

    def order_aggregate(self, children: list[object]) -> Order:
        token = cast("Token", children[0])
        raise malformed(
            self._text,
            token.start_pos or 0,
            "ORDER BY a function is not supported by the local org",
        )

    def direction(self, children: list[Token]) -> str:
        return children[0].upper()

    def nulls(self, children: list[Token]) -> str:
        return children[1].upper()

    def limit(self, children: list[Token]) -> _Part:
        return _Part("limit", self._count(children[1]))

    def offset(self, children: list[Token]) -> _Part:
        return _Part("offset", self._count(children[1]))

    def _count(self, token: Token) -> int:
        if not token.isdigit():
            raise malformed(self._text, token.start_pos or 0, f"unexpected token: '{token}'")
        return int(token)
