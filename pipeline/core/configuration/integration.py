"""Integrations: one market applied to one object, with its mappings (R4 to R8)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator

from pipeline.core.configuration.market import Flag, Market, Name, Strict
from pipeline.core.configuration.mistakes import (
    FIELD_NAME_PATTERN,
    FIELD_PATH_PATTERN,
    Mistake,
    display,
    list_choices,
)
from pipeline.core.configuration.running import IntegrationKey

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
_AUDIT: Final = frozenset(field.lower() for field in AUDIT_FIELDS)
_TRACKING: Final = frozenset(field.lower() for field in TRACKING_FIELDS)
PARENT_PREFIX: Final = "Account."
MARKETS_PER_OBJECT_MAX: Final = 10

FieldPath = Annotated[str, Field(pattern=FIELD_PATH_PATTERN)]
FieldName = Annotated[str, Field(pattern=FIELD_NAME_PATTERN)]


class Integration(Strict):
    """One market on one object: which fields go in, which come out, and for which records."""

    object: ObjectName
    """Which object; a lead-based market scores Contact and Lead only (R4, R5)."""
    market: Name
    """The market's name: that of its folder below markets/."""
    enabled: Flag = True
    """False: it does not run."""
    persist: Flag = True
    """True: inputs and outputs of each scoring are kept; False: neither, after the push (R24)."""
    candidate_field: FieldName | None = None
    """A checkbox: only records where it is checked are scored with this market (R7)."""
    inputs: dict[Name, FieldPath] = Field(default_factory=dict)
    """The market's inputs: the Salesforce field that each is read from."""
    outputs: dict[Name, FieldName] = Field(default_factory=dict)
    """The market's enabled outputs: the Salesforce field that each is written to."""
    null_outputs: Literal["clear", "keep"] = "clear"
    """What a null output does to its field (R8)."""
    account_changes: Flag = False
    """True: a change of the parent account makes its contacts due (R18)."""

    old_values: Literal["keep", "clear"] = "keep"
    """What becomes of values that nothing keeps fresh any more: the candidate was unchecked, the
    insight unmapped, or the integration switched off (R7, R19)."""

    @field_validator("object", mode="before")
    @classmethod
    def _is_supported(cls, value: Any) -> Any:
        """Refuse any other object by its name (R4)."""
        if value not in OBJECTS:
            raise ValueError(
                f"{display(value)} is not supported; {list_choices(str(value), OBJECTS, lead='allowed are', rule='R4')}"
            )
        return value

    @property
    def name(self) -> str:
        """Return the name that people see: object and market."""
        return f"{self.object}.{self.market}"

    @property
    def key(self) -> IntegrationKey:
        """Return what the ledger knows it by."""
        return IntegrationKey(self.object, self.market)

    @property
    def tag(self) -> str:
        """Return the four characters that stand for the market in the hash field."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.market.encode()).digest()[:3]).decode()

    @property
    def important_fields(self) -> tuple[str, ...]:
        """Return the fields whose change makes a record due, in the digest's order.

        Fields of the parent account count only where the integration opted in (R18). Without that,
        the account a contact belongs to counts: moving it to another company changes its inputs.
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
        """Return what identifies mapping and model; another one is rolled out anew (R17, R19)."""
        parts = {
            "version": market.version,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "candidate_field": self.candidate_field,
            "account_changes": self.account_changes,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def integration_mistakes(integration: Integration, market: Market | None) -> list[Mistake]:
    """Return what is wrong with `integration` as written, without asking the org.

    Where there is no `market` of its name, what needs none is looked at all the same.
    """
    return [
        *([] if market is None else _market_mistakes(integration, market)),
        *_input_mistakes(integration),
        *_output_mistakes(integration),
    ]


def _market_mistakes(integration: Integration, market: Market) -> list[Mistake]:
    found: list[Mistake] = []
    if market.kind == "lead_based" and integration.object not in LEAD_BASED_OBJECTS:
        found.append(
            Mistake(
                ("object",),
                f"the market {market.name} is lead based and scores "
                f"{' and '.join(LEAD_BASED_OBJECTS)} only, not {integration.object} (R5).",
            )
        )

    found += [
        Mistake(
            ("inputs", name),
            f"the market {market.name} has no input {name!r}; {list_choices(name, market.inputs)}",
        )
        for name in integration.inputs
        if name not in market.inputs
    ]

    enabled = market.enabled_outputs
    found += [
        Mistake(
            ("outputs", name),
            f"the market {market.name} has no enabled output {name!r}; "
            f"{list_choices(name, enabled, rule='R8')}",
        )
        for name in integration.outputs
        if name not in enabled
    ]
    return found


def _input_mistakes(integration: Integration) -> list[Mistake]:
    found: list[Mistake] = []
    outputs = {field.lower() for field in integration.outputs.values()}
    for name, path in integration.inputs.items():
        key = ("inputs", name)

        leaf = path.removeprefix(PARENT_PREFIX).lower()
        kind = "an audit" if leaf in _AUDIT else "a tracking" if leaf in _TRACKING else ""
        if kind:
            message = (
                f"{path} is {kind} field; these change with pushes, so that records would be due "
                "for ever: map another field (R10)."
            )
            found.append(Mistake(key, message))

        if path.lower() in outputs:
            found.append(Mistake(key, f"{path} is both an input and an output (R10)."))
        if path.startswith(PARENT_PREFIX) and integration.object != "Contact":
            found.append(Mistake(key, f"{path}: only Contact has a parent account (R11)."))
    return found


def _output_mistakes(integration: Integration) -> list[Mistake]:
    found: list[Mistake] = []
    written: dict[str, str] = {}
    for name, field in integration.outputs.items():
        if field.lower() in _TRACKING:
            message = f"{field} is a tracking field, written by the pipeline itself (R10)."
            found.append(Mistake(("outputs", name), message))
        first = written.setdefault(field.lower(), name)
        if first != name:
            message = f"two outputs are mapped to one field: {field} is that of {first} already."
            found.append(Mistake(("outputs", name), message))
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


def object_mistakes(integrations: Sequence[Integration]) -> list[Mistake]:
    """Return what is wrong between the integrations of one object, each at one (R6, R10, D1)."""
    return [
        *_conflict_mistakes(integrations),
        *_hash_field_mistakes(integrations),
        *_loop_mistakes(integrations),
    ]


def _conflict_mistakes(integrations: Sequence[Integration]) -> list[Mistake]:
    found: list[Mistake] = []
    for first, second in conflicts(integrations):
        routes = {(i.candidate_field or "").lower() for i in (first, second)}
        if "" not in routes and len(routes) > 1:
            continue

        written = {field.lower(): field for field in first.outputs.values()}
        shared = {n: written[f.lower()] for n, f in second.outputs.items() if f.lower() in written}
        message = (
            f"integrations {first.name} and {second.name} both write {', '.join(shared.values())}: "
            "give each its own fields, or a candidate_field of its own that routes each record to one "
            "of them (R6)."
        )
        found.append(Mistake(("outputs", next(iter(shared))), message, second.name))
    return found


def _hash_field_mistakes(integrations: Sequence[Integration]) -> list[Mistake]:
    found: list[Mistake] = []
    if len(integrations) > MARKETS_PER_OBJECT_MAX:
        one_too_many = integrations[MARKETS_PER_OBJECT_MAX]
        message = (
            f"{one_too_many.object} has {len(integrations)} integrations that are enabled; "
            f"{HASH_FIELD} holds {MARKETS_PER_OBJECT_MAX} at the most: disable or remove some."
        )
        found.append(Mistake(("market",), message, one_too_many.name))

    # A tag is 24 bits of a hash, so two markets may have the same one by chance.
    by_tag: dict[str, Integration] = {}
    for integration in integrations:
        other = by_tag.setdefault(integration.tag, integration)
        if other.market != integration.market:
            message = (
                f"the markets {other.market} and {integration.market} share the tag that "
                f"{HASH_FIELD} knows them by: rename one."
            )
            found.append(Mistake(("market",), message, integration.name))
    return found


def _loop_mistakes(integrations: Sequence[Integration]) -> list[Mistake]:
    """Return the inputs that another integration writes: records would be due for ever."""
    writers = {f.lower(): i for i in integrations for f in i.outputs.values()}

    return [
        Mistake(
            ("inputs", name),
            f"{path} is written by a market on {i.object} (R10): {writers[path.lower()].name}.",
            i.name,
        )
        for i in integrations
        for name, path in i.inputs.items()
        if path.lower() in writers
        and path.lower() not in {field.lower() for field in i.outputs.values()}
    ]
