"""Which fields the integrations need in the org, and what has to be done for each (R8, R9, R13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD, Integration
from pipeline.core.configuration.market import SCORE_MAX, Market, MarketOutput
from pipeline.core.org_fit.fields import Field, ObjectDescribe, in_other_case
from pipeline.core.org_fit.preflight import HASH_LENGTH_MIN, misfit

LABEL_MAX: Final = 40
TEXT_MAX: Final = 255
LONG_TEXT_MIN: Final = 256
VISIBLE_LINES: Final = 3
NUMBER_DIGITS: Final = 18
NUMBER_DECIMALS: Final = 2

Metadata = Mapping[str, Any]
"""A field's type and size as the Tooling API takes them (API notes 6.2)."""

HASH_METADATA: Final[Metadata] = {"type": "TextArea"}
DATETIME_METADATA: Final[Metadata] = {"type": "DateTime"}
CHECKBOX_METADATA: Final[Metadata] = {"type": "Checkbox", "defaultValue": "false"}


@dataclass(frozen=True, slots=True)
class WantedField:
    """One field that integrations need.

    `outputs` are what is written to it, empty for a field that takes no output. `edit` says
    whether the integration user must write it: a candidate field is only read.
    """

    object: str
    name: str
    label: str
    metadata: Metadata
    edit: bool = True
    outputs: tuple[MarketOutput, ...] = ()

    @property
    def full_name(self) -> str:
        """Return the name as Salesforce says it: `Lead.PI_Score__c`."""
        return f"{self.object}.{self.name}"

    @property
    def words(self) -> str:
        """Return the type as Setup says it: `Number(3, 0)`."""
        return metadata_words(self.metadata)

    def mismatch(self, field: Field) -> str | None:
        """Return why the field that is there cannot be used, None where it can (R9, R10)."""
        if self.edit and (field.calculated or field.auto_number):
            return "it is a formula or auto number, which cannot be written"
        if self.outputs:
            return next((why for o in self.outputs if (why := misfit(o, field))), None)

        fits = {
            "TextArea": field.type in ("textarea", "string") and field.length >= HASH_LENGTH_MIN,
            "DateTime": field.type == "datetime",
            "Checkbox": field.type == "boolean",
        }[self.metadata["type"]]
        return None if fits else f"it is of type {field.type}, not {self.words}"


@dataclass(frozen=True, slots=True)
class ProvisioningPlan:
    """What to do: fields to create, fields to grant, and what stands in the way of others.

    Created fields are granted as well: through the API they are visible to nobody at first.
    """

    create: tuple[WantedField, ...]
    grant: tuple[WantedField, ...]
    wrong: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing to do."""
        return not self.create and not self.grant


def output_metadata(output: MarketOutput) -> Metadata:
    """Return the type of a new field for `output` (R8)."""
    if output.kind == "score":
        return {"type": "Number", "precision": len(str(SCORE_MAX)), "scale": 0}
    if output.kind == "number":
        return {"type": "Number", "precision": NUMBER_DIGITS, "scale": NUMBER_DECIMALS}
    if output.kind == "boolean":
        return CHECKBOX_METADATA
    length = output.text_length_max
    if length > TEXT_MAX:
        size = max(length, LONG_TEXT_MIN)
        return {"type": "LongTextArea", "length": size, "visibleLines": VISIBLE_LINES}
    return {"type": "Text", "length": length}


def metadata_words(metadata: Metadata) -> str:
    """Return a field's type as Setup says it."""
    kind = metadata["type"]
    if kind == "Number":
        return f"Number({metadata['precision']}, {metadata['scale']})"
    return f"{kind}({metadata['length']})" if "length" in metadata else str(kind)


def new_field_words(output: MarketOutput) -> str:
    """Return the type that a new field for `output` gets, as Setup says it."""
    return metadata_words(output_metadata(output))


def plan_provisioning(
    integrations: Sequence[Integration],
    markets: Mapping[str, Market],
    describes: Mapping[str, ObjectDescribe],
) -> ProvisioningPlan:
    """Compare what the integrations need with what the integration user sees.

    Nothing that is there is changed: where it does not fit, the plan says so.
    """
    create: list[WantedField] = []
    grant: list[WantedField] = []
    wrong: list[str] = []

    for wanted in wanted_fields(integrations, markets):
        fields = describes[wanted.object].fields
        field = fields.get(wanted.name)
        if field is None:
            why = _not_creatable(wanted, fields)
            wrong += [f"{wanted.full_name}: {why}."] if why else []
            create += [] if why else [wanted]
        elif why := wanted.mismatch(field):
            wrong.append(
                f"{wanted.full_name}: {why.rstrip('.')}. It is left as it is: map another field, or change it in Setup."
            )
        elif wanted.edit and not field.updateable:
            grant.append(wanted)

    return ProvisioningPlan(tuple(create), tuple(grant), tuple(wrong))


def _not_creatable(wanted: WantedField, fields: Mapping[str, Field]) -> str | None:
    near = in_other_case(wanted.name, fields)
    if near:
        return f"the field is written {near}, and case counts: rename one of them"
    if not wanted.name.endswith("__c"):
        return (
            "the integration user sees no such field, and only custom fields (…__c) can be created"
        )
    return None


def wanted_fields(
    integrations: Sequence[Integration], markets: Mapping[str, Market]
) -> list[WantedField]:
    """Return every field that the integrations write or are routed by.

    Each is there once: R6 lets two integrations share one.
    """
    found: dict[tuple[str, str], WantedField] = {}

    for integration in integrations:
        for wanted in _fields_of(integration, markets[integration.market]):
            key = (wanted.object, wanted.name.lower())
            found[key] = _merge(found[key], wanted) if key in found else wanted
    return list(found.values())


def _fields_of(integration: Integration, market: Market) -> list[WantedField]:
    object_name = integration.object
    wanted = [
        WantedField(object_name, HASH_FIELD, "Mintigo Hashcode", HASH_METADATA),
        WantedField(object_name, DATETIME_FIELD, "Mintigo Update Datetime", DATETIME_METADATA),
    ]

    if integration.candidate_field:
        wanted.append(
            WantedField(
                object_name,
                integration.candidate_field,
                f"{market.label[: LABEL_MAX - 10]} candidate",
                CHECKBOX_METADATA,
                edit=False,
            )
        )

    for key, field_name in integration.outputs.items():
        output = market.outputs[key]
        words = output.label or key.replace("_", " ")
        label = words if output.type == "insight" else f"{market.label} {key.replace('_', ' ')}"
        wanted.append(
            WantedField(
                object_name,
                field_name,
                label[:LABEL_MAX],
                output_metadata(output),
                outputs=(output,),
            )
        )
    return wanted


def _merge(first: WantedField, second: WantedField) -> WantedField:
    """Return one field for both; of two texts the longer."""
    if not second.outputs:
        return first
    longer = second.metadata.get("length", 0) > first.metadata.get("length", 0)
    return WantedField(
        first.object,
        first.name,
        first.label,
        second.metadata if longer else first.metadata,
        outputs=(*first.outputs, *second.outputs),
    )
