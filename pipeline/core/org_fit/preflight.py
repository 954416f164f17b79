"""What preflight finds: whether an integration fits what the org's describes say (R9, R10, R12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.core.configuration.configuration import BrokenIntegration
from pipeline.core.configuration.integration import (
    DATETIME_FIELD,
    HASH_FIELD,
    PARENT_PREFIX,
    Integration,
)
from pipeline.core.configuration.market import SCORE_MAX, Market, MarketInput, MarketOutput
from pipeline.core.org_fit.fields import (
    NUMBER_TYPES,
    TEXT_TYPES,
    Field,
    ObjectDescribe,
    in_other_case,
)

HASH_LENGTH_MIN: Final = 255
CORRECT: Final = "Correct the file; the other markets run."


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: an error holds its integration back, a warning does not."""

    severity: Literal["error", "warning"]
    where: str
    message: str
    remedy: str
    about_type: bool = False

    @property
    def order(self) -> tuple[bool, bool]:
        """Sort errors first, and among them those about a field's type: the first to look at."""
        return self.severity != "error", not self.about_type

    def __str__(self) -> str:
        """Say where, what and what to do, on one line."""
        return f"{self.where}: {self.message} {self.remedy}"


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found: every problem, by integration.

    `broken` are the integrations whose files are wrong: they could not be checked. `others` are the
    mistakes in files that no integration uses.
    """

    found: tuple[tuple[Integration, tuple[Problem, ...]], ...]
    broken: tuple[BrokenIntegration, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def ready(self) -> tuple[Integration, ...]:
        """Return the integrations that may run."""
        return tuple(i for i, _ in self.found if self.why_not_ready(i) is None)

    def of(self, integration: Integration | BrokenIntegration) -> tuple[Problem, ...]:
        """Return the problems of one integration, errors first, field types foremost."""
        by_name = {i.name: problems for i, problems in self.found}
        by_name |= {broken.name: _mistakes(broken) for broken in self.broken}
        return by_name.get(integration.name, ())

    def why_not_ready(self, integration: Integration) -> str | None:
        """Return what keeps the integration from running, a line a problem, or None."""
        return "\n".join(str(p) for p in self.of(integration) if p.severity == "error") or None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return all problems."""
        checked = tuple(problem for _, problems in self.found for problem in problems)
        broken = tuple(problem for one in self.broken for problem in _mistakes(one))
        others = tuple(Problem("error", "configuration", text, CORRECT) for text in self.others)
        return (*checked, *broken, *others)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Return the problems that keep an integration from running."""
        return tuple(p for p in self.problems if p.severity == "error")


def _mistakes(broken: BrokenIntegration) -> tuple[Problem, ...]:
    return tuple(Problem("error", broken.name, text, CORRECT) for text in broken.problems)


def org_problems(
    integration: Integration, market: Market, describes: Mapping[str, ObjectDescribe]
) -> list[Problem]:
    """Return all that keeps `integration` from running, and what to do about it in Setup."""
    describe = describes[integration.object]

    return [
        *_mapping_problems(integration, market),
        *_object_problems(integration, describe),
        *_tracking_problems(integration, describe),
        *_input_problems(integration, market, describes),
        *_candidate_problems(integration, describe),
        *(
            problem
            for name, field_name in integration.outputs.items()
            for problem in _output_problems(
                integration, name, market.outputs[name], field_name, describe
            )
        ),
    ]


def _error(where: str, message: str, remedy: str, *, about_type: bool = False) -> Problem:
    return Problem("error", where, message, remedy, about_type)


def _mapping_problems(integration: Integration, market: Market) -> list[Problem]:
    found = []
    if not integration.is_mapped:
        found.append(
            _error(
                integration.name,
                "inputs or outputs are not mapped yet.",
                "Map both input and output fields, so that the integration can run (R12).",
            )
        )

    unmapped = {n: i for n, i in market.inputs.items() if n not in integration.inputs}
    found += [
        _error(
            f"{integration.name}: inputs: {name}",
            f"market {market.name} requires {market_input.label}, which is not mapped.",
            "Map it to a field (R12).",
        )
        for name, market_input in unmapped.items()
        if market_input.required and integration.inputs
    ]

    found += [
        Problem(
            "warning",
            f"{integration.name}: inputs: {name}",
            f"the model was built on {market_input.label}, which is not mapped.",
            "Map it, or accept less exact scores.",
        )
        for name, market_input in unmapped.items()
        if market_input.used_by_model and not market_input.required
    ]
    return found


def _object_problems(integration: Integration, describe: ObjectDescribe) -> list[Problem]:
    rights = {
        "Create": describe.createable,
        "Read": describe.queryable,
        "Edit": describe.updateable,
    }

    return [
        _error(
            integration.name,
            f"the integration user has no {right} permission on {describe.name}.",
            f"Grant {right} on {describe.name} in the user's permission set (R9).",
        )
        for right, granted in rights.items()
        if not granted
    ]


def _tracking_problems(integration: Integration, describe: ObjectDescribe) -> list[Problem]:
    found: list[Problem] = []
    for name, wanted in ((HASH_FIELD, "TextArea(255)"), (DATETIME_FIELD, "Date/Time")):
        where = f"{integration.name}: {describe.name}.{name}"
        field = describe.fields.get(name)

        if field is None:
            found.append(_missing_tracking_field(where, name, wanted, describe))
            continue
        found += _tracking_misfit(where, name, wanted, field)
        found += _not_writable(where, field)

    return found


def _missing_tracking_field(
    where: str, name: str, wanted: str, describe: ObjectDescribe
) -> Problem:
    near = in_other_case(name, describe.fields)
    message = (
        f"the field is written {near}; case counts."
        if near
        else "the field does not exist, or the user may not see it."
    )
    remedy = f"Create it as {wanted} with exactly this API name and grant the user Edit (R9)."
    return _error(where, message, remedy)


def _tracking_misfit(where: str, name: str, wanted: str, field: Field) -> list[Problem]:
    # A hash field that an admin made as plain text of 255 characters holds digests just as well.
    possible = {"textarea", "string"} if name == HASH_FIELD else {"datetime"}
    remedy = f"Make it {wanted} (R9)."

    if field.type not in possible:
        return [_error(where, f"the field is of type {field.type}.", remedy, about_type=True)]
    if name == HASH_FIELD and field.length < HASH_LENGTH_MIN:
        return [_error(where, f"the field holds {field.length} characters.", remedy)]
    return []


def _not_writable(where: str, field: Field) -> list[Problem]:
    if field.calculated or field.auto_number:
        return [
            _error(where, "a formula or auto number cannot be written.", "Map another field (R10).")
        ]

    if not field.updateable:
        return [
            _error(
                where,
                "the integration user may not edit the field.",
                "Grant Edit on the field in the user's permission set (R9).",
            )
        ]
    return []


def _input_problems(
    integration: Integration, market: Market, describes: Mapping[str, ObjectDescribe]
) -> list[Problem]:
    found = []
    for name, path in integration.inputs.items():
        parent = path.startswith(PARENT_PREFIX)
        describe = describes["Account" if parent else integration.object]
        leaf = path.removeprefix(PARENT_PREFIX)
        where = f"{integration.name}: inputs: {name}: {path}"
        field = describe.fields.get(leaf)

        if field is None:
            near = in_other_case(leaf, describe.fields)
            message = f"{describe.name} has no field {leaf} that the integration user can read."
            remedy = (
                f"Write it {near}."
                if near
                else "Correct the name, or grant Read on the field in the user's permission set (R9)."
            )
            found.append(_error(where, message, remedy))
        elif field.type in ("address", "location", "base64"):
            found.append(
                _error(where, f"a field of type {field.type} cannot be an input.", "Map its parts.")
            )
        elif mismatch := input_misfit(market.inputs[name], field):
            found.append(_error(where, mismatch, "Map a field of another type.", about_type=True))
    return found


def input_misfit(market_input: MarketInput, field: Field) -> str | None:
    """Return why `field` cannot be given to the model as `market_input`, None if it can."""
    numbers = NUMBER_TYPES | {"int", "boolean"}
    possible = {
        "number": numbers | TEXT_TYPES,
        "boolean": numbers,
        "date": {"date", "datetime"},
        "datetime": {"date", "datetime"},
    }.get(market_input.type)
    if possible is None or field.type in possible:
        return None
    return f"the market takes a {market_input.type}, which a {field.type} field does not hold."


def _candidate_problems(integration: Integration, describe: ObjectDescribe) -> list[Problem]:
    name = integration.candidate_field
    if name is None:
        return []
    where = f"{integration.name}: candidate_field: {name}"
    field = describe.fields.get(name)

    if field is None:
        return [
            _error(where, "the field does not exist or cannot be read.", "Create a checkbox (R7).")
        ]
    if field.type != "boolean":
        return [
            _error(
                where,
                f"the field is of type {field.type}.",
                "Choose a checkbox (R7).",
                about_type=True,
            )
        ]
    return []


def _output_problems(
    integration: Integration,
    name: str,
    output: MarketOutput,
    field_name: str,
    describe: ObjectDescribe,
) -> list[Problem]:
    where = f"{integration.name}: outputs: {name}: {field_name}"
    field = describe.fields.get(field_name)
    if field is None:
        near = in_other_case(field_name, describe.fields)
        remedy = (
            f"Write it {near}."
            if near
            else "Create it, and grant the integration user Edit on it (R9)."
        )
        return [_error(where, "the field does not exist, or the user may not see it.", remedy)]

    found = _not_writable(where, field)
    mismatch = misfit(output, field)
    if mismatch:
        found.append(
            _error(where, mismatch, "Map it to a field that can hold it (R10).", about_type=True)
        )
    return found


def misfit(output: MarketOutput, field: Field) -> str | None:
    """Return why `field` cannot hold `output`'s values, or None where it can (R10)."""
    kind = output.kind
    if kind == "boolean":
        return None if field.type == "boolean" else f"yes or no does not fit a {field.type} field."
    if field.type == "boolean":
        return f"a {kind} does not fit a checkbox."

    if kind == "score":
        if field.type not in {*NUMBER_TYPES, "int"}:
            return f"a score needs a number field, this is {field.type}."
        if field.integer_digits < len(str(SCORE_MAX)):
            return f"a score of {SCORE_MAX} does not fit {field.integer_digits} digits."
        return None
    if kind == "number":
        fits = field.type in {*NUMBER_TYPES, "int"}
        return None if fits else f"a number does not fit a {field.type} field."
    return _text_misfit(output, field)


def _text_misfit(output: MarketOutput, field: Field) -> str | None:
    if field.type not in TEXT_TYPES or field.type in ("id", "reference", "time"):
        return f"text does not fit a {field.type} field."
    if field.type == "email":
        return "text does not fit an e-mail field."

    if field.restricted_picklist:
        possible = output.rank_values if output.kind == "rank" else output.values
        if not possible:
            return "free text does not fit a restricted picklist."
        missing = [value for value in possible if value not in field.picklist_values]
        return f"the restricted picklist lacks {', '.join(missing)}." if missing else None
    if field.length < output.text_length_max:
        return f"text of up to {output.text_length_max} characters does not fit {field.length}."
    return None
