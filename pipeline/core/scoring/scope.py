"""One object as it is scored now: its integrations that run, its fields, and what is read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from pipeline.core.configuration.integration import (
    DATETIME_FIELD,
    HASH_FIELD,
    PARENT_PREFIX,
    Integration,
    conflicts,
)
from pipeline.core.configuration.market import Market
from pipeline.core.org_fit.fields import ObjectDescribe, arrow_type


@dataclass(frozen=True, slots=True)
class ScoringScope:
    """What scoring one object means at this moment.

    `integrations` are those that run; `resting` those that are switched on but do not run now (paused, not
    ready, or their market is held): what the hash field keeps for them stays. `held` are those of them whose
    market failed as a whole: their records wait for it (R23). `enabled_at` says by market
    when each was last turned on or replaced (R17); `turned_on_at` when pulls of the object began (R16). `left` are those that were switched off with
    `old_values: clear`; `left_fields` holds for each market the fields that its mapping no longer names (R19).
    """

    object: str
    integrations: tuple[Integration, ...]
    resting: tuple[Integration, ...]
    held: tuple[Integration, ...]
    markets: Mapping[str, Market]
    describes: Mapping[str, ObjectDescribe]
    turned_on_at: datetime
    enabled_at: Mapping[str, datetime]
    left: tuple[Integration, ...] = ()
    left_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return every field that a decision or a scoring needs, each once, `Id` first."""
        wanted = ["Id", "SystemModstamp", "CreatedDate", HASH_FIELD, DATETIME_FIELD]
        for integration in self.integrations:
            if integration.candidate_field:
                wanted.append(integration.candidate_field)
            wanted += integration.important_fields
            wanted += integration.inputs.values()
        known = self.describes[self.object].fields
        candidates = [i.candidate_field or "" for i in self.resting]
        wanted += [name for name in candidates if name in known]
        return tuple(dict.fromkeys(wanted))

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema of `columns`."""
        return pa.schema([(path, self._arrow_type(path)) for path in self.columns])

    @property
    def account_changes(self) -> bool:
        """Say whether a change of the parent account makes records of the object due (R18)."""
        return any(i.account_changes for i in self.integrations)

    @property
    def output_fields(self) -> tuple[str, ...]:
        """Return every field that a push may write, without the tracking fields."""
        mapped = [f for i in (*self.integrations, *self.left) for f in i.outputs.values()]
        removed = [f for fields in self.left_fields.values() for f in fields]
        return tuple(dict.fromkeys((*mapped, *removed)))

    @property
    def clearing(self) -> tuple[Integration, ...]:
        """Return the integrations whose values are cleared on records that they no longer score (R7, R19)."""
        return (*(i for i in self.integrations if i.old_values == "clear"), *self.left)

    @property
    def filters(self) -> dict[str, bool]:
        """Return the conditions that leave records alone: converted leads, halves of person accounts (R25)."""
        if self.object == "Lead":
            return {"IsConverted": False}
        if self.object == "Contact" and "IsPersonAccount" in self.describes["Contact"].fields:
            return {"IsPersonAccount": False}
        return {}

    def conflicting(self, integration: Integration) -> tuple[Integration, ...]:
        """Return the other integrations that write a field of `integration` (R6)."""
        return tuple(
            first if second.market == integration.market else second
            for first, second in conflicts(self.integrations)
            if integration.market in (first.market, second.market)
        )

    def _arrow_type(self, path: str) -> pa.DataType:
        parent = path.startswith(PARENT_PREFIX)
        describe = self.describes["Account" if parent else self.object]
        return arrow_type(describe.fields[path.removeprefix(PARENT_PREFIX)])
