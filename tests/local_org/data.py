"""A store in a file of its own, for tests that need no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local_org.chunks import Operation, RowResult
from local_org.clock import Clock
from local_org.options import Options
from local_org.query import QueryService
from local_org.store import Store
from local_org.values import Json

FIELDS: dict[str, dict[str, Any]] = {
    "Score__c": {"type": "Number", "precision": 3, "scale": 0},
    "Ratio__c": {"type": "Number", "precision": 5, "scale": 2},
    "Rank__c": {"type": "Text", "length": 1},
    "Hot__c": {"type": "Checkbox", "defaultValue": "false"},
    "Hash__c": {"type": "TextArea"},
    "Scored_at__c": {"type": "DateTime"},
    "Key__c": {"type": "Text", "length": 20, "externalId": True, "unique": True},
    "Tier__c": {
        "type": "Picklist",
        "valueSet": {
            "restricted": True,
            "valueSetDefinition": {
                "value": [
                    {"fullName": "Zeta"},
                    {"fullName": "Alpha"},
                    {"fullName": "Old", "isActive": False},
                ]
            },
        },
    },
    "Topics__c": {
        "type": "MultiselectPicklist",
        "visibleLines": 4,
        "valueSet": {
            "restricted": True,
            "valueSetDefinition": {"value": [{"fullName": name} for name in ("a", "b", "c")]},
        },
    },
}


class Org:
    """A store and its queries, as the integration user sees them."""

    def __init__(self, path: Path, **options: object) -> None:
        """Open the file with some options set; the clock stands still."""
        self.clock = Clock()
        self.clock.freeze()
        self.options = Options()
        for name, value in options.items():
            self.options.set(name, value)
        self.store = Store(path, self.clock, self.options)
        self.queries = QueryService(self.store)
        self.user = self.store.integration.id

    def add_fields(self, object_name: str, **fields: Mapping[str, Any]) -> None:
        """Add custom fields, granted to the integration user."""
        for name, metadata in fields.items():
            self.store.create_custom_field(
                f"{object_name}.{name}",
                {"label": name.removesuffix("__c")} | dict(metadata),
                user_id=None,
                grant_to=[self.user],
            )

    def save(
        self, operation: Operation, name: str, *records: Mapping[str, Json], **more: Any
    ) -> list[RowResult]:
        """Save JSON records."""
        return self.store.save_records(operation, name, records, user_id=self.user, **more)

    def insert(self, name: str, *records: Mapping[str, Json]) -> list[str]:
        """Insert records that must succeed; gives their ids."""
        results = self.save("insert", name, *records)
        assert all(result.success for result in results), results
        return [result.id for result in results]

    def lead(self, **values: Json) -> str:
        """Insert a lead."""
        return self.insert("Lead", {"LastName": "Lee", "Company": "Firm"} | values)[0]

    def table(
        self,
        operation: Operation,
        name: str,
        columns: Sequence[str],
        *rows: Sequence[str],
        **more: Any,
    ) -> list[RowResult]:
        """Save the rows of an ingest file; gives all results."""
        chunks = self.store.save_table(operation, name, columns, rows, user_id=self.user, **more)
        return [result for chunk in chunks for result in chunk]

    def query(self, soql: str, **more: Any) -> dict[str, Any]:
        """Run a query; gives the whole answer."""
        return self.queries.query(soql, user_id=self.user, version="62.0", **more)

    def rows(self, soql: str, **more: Any) -> list[dict[str, Any]]:
        """Run a query; gives its records."""
        records: list[dict[str, Any]] = self.query(soql, **more)["records"]
        return records

    def column(self, soql: str, name: str = "Name", **more: Any) -> list[Any]:
        """Run a query; gives one value of each record."""
        return [record[name] for record in self.rows(soql, **more)]

    def one(self, name: str, record_id: str, field: str) -> Any:
        """Read one field of a record."""
        return self.store.get_record(name, record_id, self.user, "62.0")[field]

    def error(self, operation: Operation, name: str, record: Mapping[str, Json]) -> tuple[str, str]:
        """Save a record that must fail; gives code and message."""
        (result,) = self.save(operation, name, record)
        assert not result.success
        return result.errors[0].code, result.errors[0].message
