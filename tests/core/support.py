"""Small builders of markets, integrations, fields and tables: each test says only what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD, Integration
from pipeline.core.configuration.market import Market
from pipeline.core.org_fit.fields import Field, ObjectDescribe
from pipeline.core.scoring.scope import ScoringScope

TURNED_ON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE = datetime(2026, 2, 1, tzinfo=UTC)
AFTER = datetime(2026, 3, 2, tzinfo=UTC)

FIELD_TYPES: dict[str, str] = {
    "Id": "id",
    "AccountId": "reference",
    "SystemModstamp": "datetime",
    "CreatedDate": "datetime",
    "Company": "string",
    "Email": "email",
    "Name": "string",
    "Website": "url",
    "NumberOfEmployees": "int",
    "AnnualRevenue": "currency",
    "Birthday__c": "date",
    "Fit_Candidate__c": "boolean",
    "Smb_Candidate__c": "boolean",
}


def field(name: str, kind: str, **more: Any) -> Field:
    """A field as describe reports it, with the figures that its type usually has."""
    usual: dict[str, dict[str, Any]] = {
        "double": {"precision": 3, "scale": 0},
        "string": {"length": 255},
        "textarea": {"length": 255},
        "int": {"digits": 8},
    }
    return Field(name=name, label=name, type=kind, **{**usual.get(kind, {}), **more})


def describe(name: str, *fields: Field, **more: Any) -> ObjectDescribe:
    """An object that the user may create, read and update, with both tracking fields."""
    tracking = (field(HASH_FIELD, "textarea"), field(DATETIME_FIELD, "datetime"))
    plain = tuple(field(n, kind) for n, kind in FIELD_TYPES.items())
    rights = {"createable": True, "updateable": True, "queryable": True}
    return ObjectDescribe(
        name=name,
        fields={f.name: f for f in (*plain, *tracking, *fields)},
        **{**rights, **more},
    )


def market_content(**changes: Any) -> dict[str, Any]:
    """What a market.yaml says: two text inputs, a score, a rank, a text, a number and a checkbox insight."""
    return {
        "name": "fit",
        "label": "Fit",
        "kind": "account_based",
        "version": "1",
        "model": "model.py:load",
        "inputs": {
            "company": {"label": "Company", "type": "text", "used_by_model": True},
            "email": {"label": "E-mail", "type": "text"},
        },
        "outputs": {
            "score": {"type": "score"},
            "rank": {"type": "rank"},
            "note": {"type": "insight", "value": "text", "category": "fit", "length": 5},
            "size": {"type": "insight", "value": "number", "category": "intent"},
            "hot": {"type": "insight", "value": "boolean", "category": "fit"},
            "secret": {
                "type": "insight",
                "value": "boolean",
                "category": "fit",
                "enabled": False,
            },
        },
        **changes,
    }


def market(**changes: Any) -> Market:
    """A market made of `market_content`."""
    return Market.model_validate(market_content(**changes))


def integration(of: str = "Lead", market_name: str = "fit", **changes: Any) -> Integration:
    """An integration of one input and a score."""
    content: dict[str, Any] = {
        "object": of,
        "market": market_name,
        "inputs": {"company": "Company"},
        "outputs": {"score": f"{market_name}_Score__c"},
        **changes,
    }
    return Integration.model_validate(content)


def scope(
    *integrations: Integration,
    resting: tuple[Integration, ...] = (),
    held: tuple[Integration, ...] = (),
    turned_on_at: datetime = TURNED_ON,
) -> ScoringScope:
    """One object as it is scored by `integrations`, while others rest."""
    name = integrations[0].object
    return ScoringScope(
        object=name,
        integrations=integrations,
        resting=resting,
        held=held,
        markets={i.market: market(name=i.market) for i in integrations},
        describes={name: describe(name), "Account": describe("Account")},
        turned_on_at=turned_on_at,
        enabled_at={i.market: turned_on_at for i in integrations},
    )


def records(of: ScoringScope, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A pulled table: each row created and modified after the turning on, unless it says otherwise."""
    usual: dict[str, Any] = {"SystemModstamp": AFTER, "CreatedDate": AFTER}
    full = [{"Id": f"00Q{n:015}", **usual, **row} for n, row in enumerate(rows)]
    return pa.table(
        {f.name: pa.array([row.get(f.name) for row in full], f.type) for f in of.schema}
    )
