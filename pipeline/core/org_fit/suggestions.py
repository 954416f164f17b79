"""Proposes mappings: inputs to fields that sound alike, outputs to fields that fit or to new names.

A proposal for a person to read. Names and labels are compared word by word (difflib for spellings).
Types must agree by the rules by which preflight checks a mapping (R10).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final

from pipeline.core.configuration.integration import (
    AUDIT_FIELDS,
    PARENT_PREFIX,
    TRACKING_FIELDS,
    Integration,
)
from pipeline.core.configuration.market import Market, MarketInput, MarketOutput
from pipeline.core.org_fit.fields import NUMBER_TYPES, TEXT_TYPES, Field, ObjectDescribe
from pipeline.core.org_fit.preflight import input_misfit, misfit
from pipeline.core.org_fit.provisioning import new_field_words

LIKE_ENOUGH: Final = 0.6
SPELLING_LIKE: Final = 0.85
OTHER_TYPE: Final = 0.7
"""What a likeness counts where the type could be converted, but is another."""

OWN_KIND: Final = 0.05
"""What is added where a market of companies meets an account's field, one of people a person's."""

WITHOUT_MARKET: Final = 0.85
"""What a likeness counts where a field is named after the output, but not after the market."""

API_NAME_MAX: Final = 40
"""Characters of a custom field's API name before `__c`."""

PARENT_LABEL: Final = "Account: "
"""What stands before the label of a parent account's field (R11)."""

_UNMAPPABLE: Final = frozenset(
    {"id", "reference", "address", "location", "base64", "encryptedstring"}
)
_SAME_WORD: Final = {
    "company": "account",
    "organization": "account",
    "organisation": "account",
    "homepage": "website",
    "url": "website",
    "mail": "email",
    "telephone": "phone",
    "zip": "postal",
    "postcode": "postal",
    "turnover": "revenue",
    "surname": "lastname",
    "staff": "employees",
    "headcount": "employees",
}
_LIGHT: Final = frozenset(
    {"name", "number", "no", "annual", "billing", "mailing", "code", "job", "top"}
)
"""Words that say little: a field is not found by them alone."""

_LIGHT_WEIGHT: Final = 0.3
_EMPTY: Final = frozenset({"of", "the", "its", "a", "s", "in", "c"})
_OURS: Final = frozenset({"pi", "predictive", "insights", "insight", "mintigo"})
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

Words = frozenset[str]


@dataclass(frozen=True, slots=True)
class InputProposal:
    """One market input and the field proposed for it (`path` None where none fits).

    `shown` (a key of `--json`) is what people call the field, with `Account: ` before a parent
    account's.
    """

    name: str
    label: str
    type: str
    used_by_model: bool
    required: bool
    path: str | None
    shown: str | None


@dataclass(frozen=True, slots=True)
class OutputProposal:
    """One enabled output and the field proposed for it.

    `exists` tells a field of the org from a new one; `shown` (a key of `--json`) is the label of
    the one, the type of the other.
    """

    name: str
    field: str
    exists: bool
    shown: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A proposed integration of one market with one object."""

    object: str
    market: str
    market_label: str
    inputs: tuple[InputProposal, ...]
    outputs: tuple[OutputProposal, ...]

    @property
    def input_mapping(self) -> dict[str, str]:
        """Return the proposed inputs as an integration has them."""
        return {p.name: p.path for p in self.inputs if p.path is not None}

    @property
    def output_mapping(self) -> dict[str, str]:
        """Return the proposed outputs as an integration has them."""
        return {p.name: p.field for p in self.outputs}


def suggest(
    object_name: str,
    market: Market,
    describes: Mapping[str, ObjectDescribe],
    others: Sequence[Integration] = (),
) -> Suggestion:
    """Propose both mappings of `market` on the object.

    `describes` holds the object, and Account for Contact. `others` are the integrations that the
    object has already: what they write is proposed neither as an input nor as an output.
    """
    written = {f.lower() for i in others if i.object == object_name for f in i.outputs.values()}
    routes = {(i.candidate_field or "").lower() for i in others}
    own = [f for f in _mappable(describes[object_name]) if f.name.lower() not in written | routes]
    fields = {f.name: f for f in own}
    if object_name == "Contact" and "Account" in describes:
        fields |= {PARENT_PREFIX + f.name: f for f in _mappable(describes["Account"])}

    inputs = _inputs(market, fields)
    read = {path.lower() for path in inputs.values()}
    outputs = _outputs(market, describes[object_name], written | read | routes)

    return Suggestion(
        object=object_name,
        market=market.name,
        market_label=market.label,
        inputs=tuple(
            _input_proposal(key, market.inputs[key], inputs.get(key), fields)
            for key in market.inputs
        ),
        outputs=tuple(outputs),
    )


def _input_proposal(
    name: str, market_input: MarketInput, path: str | None, fields: Mapping[str, Field]
) -> InputProposal:
    label = None
    if path is not None:
        label = (PARENT_LABEL if path.startswith(PARENT_PREFIX) else "") + fields[path].label

    return InputProposal(
        name=name,
        label=market_input.label,
        type=market_input.type,
        used_by_model=market_input.used_by_model,
        required=market_input.required,
        path=path,
        shown=label,
    )


def _mappable(describe: ObjectDescribe) -> list[Field]:
    """Return the fields that may be inputs: none that a push changes, none of ours (R10)."""
    return [
        field
        for field in describe.fields.values()
        if field.type not in _UNMAPPABLE
        and field.name not in AUDIT_FIELDS
        and field.name not in TRACKING_FIELDS
        and not (field.custom and _is_ours(field))
    ]


def _inputs(market: Market, fields: Mapping[str, Field]) -> dict[str, str]:
    """Return the likest field for each input, each field for one input at the most."""
    likeness = {
        (key, path): score
        for key, market_input in market.inputs.items()
        for path, field in fields.items()
        if (score := _input_likeness(market, key, market_input, path, field)) >= LIKE_ENOUGH
    }
    return _best_pairs(likeness)


def _input_likeness(
    market: Market, key: str, market_input: MarketInput, path: str, field: Field
) -> float:
    if input_misfit(market_input, field):
        return 0.0

    score = _likest((key, market_input.label), (field.name, field.label))
    usual = {
        "text": TEXT_TYPES,
        "number": NUMBER_TYPES | {"int"},
        "boolean": frozenset({"boolean"}),
        "date": frozenset({"date", "datetime"}),
        "datetime": frozenset({"date", "datetime"}),
    }[market_input.type]
    if field.type not in usual:
        score *= OTHER_TYPE

    of_account = path.startswith(PARENT_PREFIX)
    return score + (OWN_KIND if of_account == (market.kind == "account_based") else 0.0)


def _best_pairs(likeness: Mapping[tuple[str, str], float]) -> dict[str, str]:
    """Return pairs, the likest first, each side once; of equals the earlier written."""
    chosen: dict[str, str] = {}
    for (key, path), _ in sorted(likeness.items(), key=lambda item: -item[1]):
        if key not in chosen and path not in chosen.values():
            chosen[key] = path
    return chosen


def _outputs(
    market: Market, describe: ObjectDescribe, taken: Collection[str]
) -> list[OutputProposal]:
    market_words = _words(market.name) | _words(market.label)
    fields = [
        field
        for field in describe.fields.values()
        if field.custom
        and field.updateable
        and not field.calculated
        and field.name not in TRACKING_FIELDS
        and field.name.lower() not in taken
        and (_is_ours(field) or _words(field.name) & market_words)
    ]

    likeness = {
        (key, field.name): score
        for key, output in market.enabled_outputs.items()
        for field in fields
        if (score := _output_likeness(key, output, market_words, field)) >= LIKE_ENOUGH
    }
    chosen = _best_pairs(likeness)

    # Names of Salesforce's fields do not differ by case alone.
    used = {f.lower() for f in (*describe.fields, *taken, *chosen.values())}
    proposals = []
    for key, output in market.enabled_outputs.items():
        if key in chosen:
            label = describe.fields[chosen[key]].label
            proposals.append(OutputProposal(key, chosen[key], exists=True, shown=label))
            continue
        new = new_field_name(market.name, key, used)
        used.add(new.lower())
        proposals.append(OutputProposal(key, new, exists=False, shown=new_field_words(output)))
    return proposals


def _output_likeness(key: str, output: MarketOutput, market_words: Words, field: Field) -> float:
    if misfit(output, field):
        return 0.0
    best = 0.0

    for text in (field.name, field.label):
        of_field = _words(text) - _OURS
        for wanted in (_words(key), _words(output.label)):
            if not any(_matches(word, of_field) for word in wanted):
                continue
            with_market = _likeness(of_field, wanted | market_words)
            best = max(best, with_market, WITHOUT_MARKET * _likeness(of_field, wanted))

    return best


def new_field_name(market: str, output: str, used: Collection[str]) -> str:
    """Return an API name for a new field, such as `PI_Enterprise_Fit_Score__c`.

    `used` are the names that are taken, in lower case.
    """
    room = API_NAME_MAX - len("PI__")
    words = "_".join(part.capitalize() for part in output.split("_") if part)[: room - 2]
    of_market = "_".join(part.capitalize() for part in market.split("_") if part)
    base = f"PI_{of_market[: room - len(words)].rstrip('_')}_{words.rstrip('_')}"

    for number in range(1, len(used) + 2):
        suffix = f"_{number}" if number > 1 else ""
        candidate = f"{base[: API_NAME_MAX - len(suffix)].rstrip('_')}{suffix}__c"
        if candidate.lower() not in used:
            return candidate
    raise AssertionError("more names than there are used ones cannot all be used")


def _is_ours(field: Field) -> bool:
    return bool((_words(field.name) | _words(field.label)) & _OURS)


def _likest(wanted: Iterable[str], offered: Sequence[str]) -> float:
    return max(_likeness(_words(w), _words(o)) for w in wanted for o in offered)


def _likeness(first: Words, second: Words) -> float:
    """Return 0 to 1: the weight of the words that both have, against that of all."""
    both = sum(_weight(w) for w in first if _matches(w, second))
    both += sum(_weight(w) for w in second if _matches(w, first))
    total = sum(_weight(w) for w in (*first, *second))
    return both / total if total else 0.0


def _weight(word: str) -> float:
    return _LIGHT_WEIGHT if word in _LIGHT else 1.0


def _matches(word: str, others: Words) -> bool:
    return word in others or any(_spelt_alike(word, other) for other in others)


@lru_cache(maxsize=20_000)
def _spelt_alike(first: str, second: str) -> bool:
    return SequenceMatcher(None, first, second).ratio() >= SPELLING_LIKE


@lru_cache(maxsize=20_000)
def _words(text: str) -> Words:
    """Return the words of a name or label, in lower case, with one word for each thing."""
    text = text.removesuffix("__c").replace("E-mail", "Email").replace("e-mail", "email")
    found = (word.lower() for word in _WORD.findall(text))
    return frozenset(_SAME_WORD.get(word, word) for word in found if word not in _EMPTY)


def as_yaml(suggestion: Suggestion, *, enabled: bool) -> str:
    """Return the proposal as an integration's file, with comments for the person who reads it."""
    lines = [
        f"# {suggestion.market_label} on {suggestion.object}: a proposal, to be read before it is turned on.",
        "# An asterisk marks inputs that the model was built on. A change of a mapped input makes a record due.",
        f"market: {suggestion.market}",
        f"object: {suggestion.object}",
        f"enabled: {'true ' if enabled else 'false'}  # true: scored and pushed once it passes `insights check`",
        "persist: true   # keep inputs and outputs of every scoring; false keeps neither",
        "# candidate_field: PI_Candidate__c  # a checkbox: only records where it is checked are scored",
        *_block("inputs", [_input_line(p) for p in suggestion.inputs]),
        *_block("outputs", [_output_line(p) for p in suggestion.outputs]),
    ]

    return "\n".join(lines) + "\n"


def _block(key: str, entries: Sequence[tuple[str, str]]) -> list[str]:
    """Return a mapping's lines, comments below each other; `{}` where nothing is mapped."""
    mapped = any(not text.startswith("#") for text, _ in entries)
    width = max((len(text) for text, _ in entries), default=0)
    header = f"{key}:" if mapped else f"{key}: {{}}"
    return [header, *(f"  {text.ljust(width)}  # {comment}" for text, comment in entries)]


def _input_line(proposal: InputProposal) -> tuple[str, str]:
    mark = "*" if proposal.used_by_model else " "
    if proposal.path is None:
        needed = "required" if proposal.required else "no field fits"
        words = f"{mark} {proposal.label}: {needed}; map a field that holds {proposal.type}"
        return f"# {proposal.name}:", words
    return f"{proposal.name}: {proposal.path}", f"{mark} {proposal.label} <- {proposal.shown}"


def _output_line(proposal: OutputProposal) -> tuple[str, str]:
    words = (
        f"-> {proposal.shown}"
        if proposal.exists
        else f"-> new, {proposal.shown}: `insights provision` creates it"
    )
    return f"{proposal.name}: {proposal.field}", words
