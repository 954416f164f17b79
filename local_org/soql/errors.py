"""SOQL errors in Salesforce's form: excerpt, caret, row and column, text (API notes 2.5)."""

from __future__ import annotations

from typing import Final

from local_org.errors import SalesforceError

from .ast import Unsupported

_EXCERPT: Final = 100
"""Lines longer than this are shown as an excerpt around the caret."""
_BEFORE: Final = 40


def soql_error(text: str, position: int, code: str, message: str) -> SalesforceError:
    """Build the error for the place in the query that is wrong."""
    position = min(position, len(text))
    row = text.count("\n", 0, position) + 1
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)

    line = text[start : end if end >= 0 else len(text)]
    column = position - start
    shift = max(0, column - _BEFORE) if len(line) > _EXCERPT else 0
    excerpt = line[shift : shift + _EXCERPT]

    return SalesforceError(
        400,
        code,
        f"\n{excerpt}\n{' ' * (column - shift)}^\nERROR at Row:{row}:Column:{column + 1}\n{message}",
    )


def malformed(text: str, position: int, message: str) -> SalesforceError:
    """Build MALFORMED_QUERY at a place."""
    return soql_error(text, position, "MALFORMED_QUERY", message)


def no_such_column(text: str, position: int, name: str, entity: str) -> SalesforceError:
    """Build the error for a field that is not there, or that the user does not see."""
    return soql_error(
        text,
        position,
        "INVALID_FIELD",
        f"No such column '{name}' on entity '{entity}'. If you are attempting to use a custom "
        "field, be sure to append the '__c' after the custom field name. Please reference your "
        "WSDL or the describe call for the appropriate names.",
    )


def no_such_relation(text: str, position: int, name: str) -> SalesforceError:
    """Build the error for a parent that is not there."""
    return soql_error(
        text,
        position,
        "INVALID_FIELD",
        f"Didn't understand relationship '{name}' in field path. If you are attempting to use a "
        "custom relationship, be sure to append the '__r' after the custom relationship name. "
        "Please reference your WSDL or the describe call for the appropriate names.",
    )


def no_such_object(text: str, position: int, name: str) -> SalesforceError:
    """Build INVALID_TYPE for an object that is not there, or that the user does not see."""
    return soql_error(
        text,
        position,
        "INVALID_TYPE",
        f"sObject type '{name}' is not supported. If you are attempting to use a custom object, "
        "be sure to append the '__c' after the entity name. Please reference your WSDL or the "
        "describe call for the appropriate names.",
    )


def unsupported(text: str, item: Unsupported) -> SalesforceError:
    """Refuse a part of SOQL that Salesforce knows and the local org does not."""
    what = {
        "subquery": "Child subqueries are",
        "typeof": "TYPEOF is",
        "semi-join": "Semi-joins are",
    }[item.what]
    return malformed(text, item.position, f"{what} not supported by the local org")
