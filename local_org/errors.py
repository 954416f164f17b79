"""What goes wrong, in Salesforce's words.

``SalesforceError`` fails a whole request (or a whole bulk job); ``RowError`` fails one row of it.
Codes and message forms are those of API notes 2.5 and 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row was not saved: Salesforce's code, its message, the fields it names."""

    code: str
    message: str
    fields: tuple[str, ...] = ()

    def as_status(self) -> dict[str, object]:
        """Give the form of collections and of record POST results (``statusCode``)."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}

    def as_error_code(self) -> dict[str, object]:
        """Give the form of a failed single-record call (``errorCode``)."""
        return {"message": self.message, "errorCode": self.code, "fields": list(self.fields)}

    def as_csv(self) -> str:
        """Give the ``sf__Error`` text: ``CODE:message:Field1,Field2 --`` (API notes 3.2)."""
        named = ",".join(self.fields)
        return (
            f"{self.code}:{self.message}:{named} --" if named else f"{self.code}:{self.message}:--"
        )


class SalesforceError(Exception):
    """A request that fails as a whole.

    Attributes:
        status: the HTTP status.
        code: Salesforce's ``errorCode``.
        message: Salesforce's text.
        fields: the fields it names, if any.
    """

    def __init__(self, status: int, code: str, message: str, fields: tuple[str, ...] = ()) -> None:
        """Keep the four parts of the answer."""
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields

    def body(self) -> list[dict[str, object]]:
        """Give the JSON array that a REST answer carries."""
        entry: dict[str, object] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            entry["fields"] = list(self.fields)
        return [entry]


def not_found(message: str = "The requested resource does not exist") -> SalesforceError:
    """Build the 404 for an object, a record or a path that is not there."""
    return SalesforceError(404, "NOT_FOUND", message)
