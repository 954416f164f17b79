"""Integrations: one market applied to one object, with its mappings (R4 to R8)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from pipeline.core.market import Market, Name, Strict

ObjectName = Literal["Account", "Contact", "Lead"]
OBJECTS: Final[tuple[ObjectName, ...]] = ("Account", "Contact", "Lead")
LEAD_BASED_OBJECTS: Final = ("Contact", "Lead")
HASH_FIELD: Final = "Mintigo_hash__c"
DATETIME_FIELD: Final = "Mintigo_update_datetime__c"
TRACKING_FIELDS: Final = (HASH_FIELD, DATETIME_FIELD)
AUDIT_FIELDS: Final = frozenset(
    {
        "CreatedById",
        "CreatedDate",
        "LastModifiedById",
        "LastModifiedDate",
        "SystemModstamp",
        "LastActivityDate",
        "LastReferencedDate",
        "LastViewedDate",
    }
)
PARENT_PREFIX: Final = "Account."
MARKETS_PER_OBJECT_MAX: Final = 10

FieldPath = Annotated[str, Field(pattern=r"^(Account\.)?[A-Za-z]\w{0,79}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,79}$")]


class Integration(Strict):
    """One market on one object: which fields go in, which come out, and for which records."""

    object: ObjectName
    market: Name
    enabled: bool = True
    persist: bool = True
    candidate_field: FieldName | None = None
    inputs: dict[Name, FieldPath] = Field(default_factory=dict)
    outputs: dict[Name, FieldName] = Field(default_factory=dict)
    null_outputs: Literal["clear", "keep"] = "clear"
    account_changes: bool = False
    """True: a change of the parent account makes its contacts due (R18)."""

    old_values: Literal["keep", "clear"] = "keep"
    """What becomes of values once nothing keeps them fresh: the candidate unchecked, the insight taken out of the
    mapping, the integration switched off (R7, R19)."""

    @property
    def name(self) -> str:
        """Return the name that people see: object and market."""
        return f"{self.object}.{self.market}"

    @property
    def tag(self) -> str:
        """Return the four characters that stand for the market in the hash field."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.market.encode()).digest()[:3]).decode()

    @property
    def important_fields(self) -> tuple[str, ...]:
        """Return the fields whose change makes a record due, in the order that the digest takes them.

        Fields of the parent account count only where the integration opted in (R18); without that,
        the account a contact belongs to counts, since moving it to another company changes its inputs.
        """
        by_input = [self.inputs[name] for name in sorted(self.inputs)]
        if self.account_changes:
            return tuple(by_input)
        own = [path for path in by_input if not path.startswith(PARENT_PREFIX)]
        return tuple(own if len(own) == len(by_input) else [*own, "AccountId"])

    @property
    def is_mapped(self) -> bool:
        """Say whether both mappings are there: without them it does not run (R12)."""
        return bool(self.inputs) and bool(self.outputs)

    def fingerprint(self, market: Market) -> str:
        """Return what identifies mapping and model: another one is rolled out like a new market (R17, R19)."""
        parts = {
            "version": market.version,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "candidate_field": self.candidate_field,
            "account_changes": self.account_changes,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def problems(integration: Integration, market: Market) -> list[str]:
    """Return what is wrong with `integration` as written, one line a problem, without asking the org."""
    found: list[str] = []
    where = f"integration {integration.name}"
    if market.kind == "lead_based" and integration.object not in LEAD_BASED_OBJECTS:
        found.append(
            f"{where}: market {market.name} is lead based and scores Contact and Lead only, "
            f"not {integration.object} (R5)."
        )
    found += [
        f"{where}: inputs: the market has no input {name!r}; it has {', '.join(market.inputs)}."
        for name in integration.inputs
        if name not in market.inputs
    ]
    enabled = market.enabled_outputs
    found += [
        f"{where}: outputs: the market has no enabled output {name!r}; it has {', '.join(enabled)}."
        for name in integration.outputs
        if name not in enabled
    ]
    found += _field_problems(integration, where)
    return found


def _field_problems(integration: Integration, where: str) -> list[str]:
    found: list[str] = []
    outputs = {field.lower() for field in integration.outputs.values()}
    for name, path in integration.inputs.items():
        leaf = path.removeprefix(PARENT_PREFIX)
        if leaf in AUDIT_FIELDS or leaf in TRACKING_FIELDS:
            found.append(
                f"{where}: inputs: {name}: {path} changes with every push, so every record would "
                "be due for ever: map another field (R10)."
            )
        if path.lower() in outputs:
            found.append(f"{where}: {path} is both an input and an output (R10).")
        if path.startswith(PARENT_PREFIX) and integration.object != "Contact":
            found.append(
                f"{where}: inputs: {name}: {path}: only Contact has a parent account (R11)."
            )
    found += [
        f"{where}: outputs: {name}: {field} is written by the pipeline itself."
        for name, field in integration.outputs.items()
        if field in TRACKING_FIELDS
    ]
    if len(set(outputs)) < len(integration.outputs):
        found.append(f"{where}: outputs: two outputs are mapped to one field.")
    return found


def conflicts(integrations: Sequence[Integration]) -> list[tuple[Integration, Integration]]:
    """Return the pairs on one object that write the same field (R6)."""
    return [
        (first, second)
        for index, first in enumerate(integrations)
        for second in integrations[index + 1 :]
        if first.object == second.object
        and {f.lower() for f in first.outputs.values()}
        & {f.lower() for f in second.outputs.values()}
    ]


def object_problems(integrations: Sequence[Integration]) -> list[str]:
    """Return what is wrong between the integrations of one object (R6, R19)."""
    found: list[str] = []
    for first, second in conflicts(integrations):
        written = {field.lower() for field in second.outputs.values()}
        shared = sorted(field for field in first.outputs.values() if field.lower() in written)
        routes = {(i.candidate_field or "").lower() for i in (first, second)}
        if "" in routes or len(routes) == 1:
            found.append(
                f"integrations {first.name} and {second.name} both write {', '.join(shared)}: give each "
                "its own fields, or a candidate_field of its own that routes each record to one of them (R6)."
            )
    if len(integrations) > MARKETS_PER_OBJECT_MAX:
        found.append(
            f"{integrations[0].object} has {len(integrations)} integrations; "
            f"{HASH_FIELD} holds {MARKETS_PER_OBJECT_MAX} at the most."
        )
    tags = {integration.market: integration.tag for integration in integrations}
    if len(set(tags.values())) < len(tags):
        found.append(
            f"{integrations[0].object}: two market names share the tag that {HASH_FIELD} knows "
            "them by: rename one."
        )
    all_outputs = {f.lower() for i in integrations for f in i.outputs.values()}
    found += [
        f"integration {i.name}: inputs: {name}: {path} is written by a market on {i.object} (R10)."
        for i in integrations
        for name, path in i.inputs.items()
        if path.lower() in all_outputs
        and path.lower() not in {f.lower() for f in i.outputs.values()}
    ]
    return found
