"""One object as it is scored now: its integrations that run, its fields, and what is read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import pyarrow as pa

from pipeline.core.configuration.integration import (
    DATETIME_FIELD,
    HASH_FIELD,
    PARENT_PREFIX,
    Integration,
    conflicts,
)
from pipeline.core.configuration.market import Market
from pipeline.core.org_fit.fields import ObjectDescribe
from pipeline.core.soql import Compare

ACCOUNT_CHANGED_AT: Final = PARENT_PREFIX + "SystemModstamp"
"""When a record's account changed; read where that makes the record due (R18)."""


@dataclass(frozen=True, slots=True)
class ScoringScope:
    """What scoring one object means now.

    `integrations` run now. `resting` are switched on and do not run now: they are paused or not
    ready, or their market is held. What the hash field keeps for them stays. `held` are those of
    them whose market failed as a whole: their records wait for it (R23).

    `enabled_at` says by market when each was last turned on or replaced (R17), `turned_on_at` when
    pulls of the object began (R16).

    `retired` were switched off with `old_values: clear`. `dropped_fields` holds by market the
    fields that its mapping no longer names and that are to be cleared (R19).
    """

    object: str
    integrations: tuple[Integration, ...]
    resting: tuple[Integration, ...]
    held: tuple[Integration, ...]
    markets: Mapping[str, Market]
    describes: Mapping[str, ObjectDescribe]
    turned_on_at: datetime
    enabled_at: Mapping[str, datetime]
    retired: tuple[Integration, ...] = ()
    dropped_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return every field that a decision or a scoring needs, each once, `Id` first."""
        wanted = ["Id", "SystemModstamp", "CreatedDate", HASH_FIELD, DATETIME_FIELD]
        wanted += [ACCOUNT_CHANGED_AT] * self.account_changes

        for integration in self.integrations:
            if integration.candidate_field:
                wanted.append(integration.candidate_field)
            wanted += integration.important_fields
            wanted += integration.inputs.values()

        # Of a resting integration only whom it would score: its inputs may be what cannot be read.
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
        mapped = [f for i in (*self.integrations, *self.retired) for f in i.outputs.values()]
        dropped = [f for fields in self.dropped_fields.values() for f in fields]
        return tuple(dict.fromkeys((*mapped, *dropped)))

    @property
    def clearing(self) -> tuple[Integration, ...]:
        """Return the integrations that clear values where they no longer score (R7, R19)."""
        return (*(i for i in self.integrations if i.old_values == "clear"), *self.retired)

    @property
    def scorable(self) -> tuple[Compare, ...]:
        """Return the conditions that a record must meet to be scored at all (R25)."""
        return scorable(self.describes[self.object])

    @property
    def rivals(self) -> tuple[tuple[Integration, Integration], ...]:
        """Return the pairs that write one field: a record that both claim is not scored (R6)."""
        return tuple(conflicts(self.integrations))

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
        return describe.fields[path.removeprefix(PARENT_PREFIX)].arrow_type


def scorable(describe: ObjectDescribe) -> tuple[Compare, ...]:
    """Return the conditions that leave out converted leads and contact halves (R25)."""
    if describe.name == "Lead":
        return (Compare("IsConverted", "=", False),)

    # An org without person accounts has no such field, and may not be asked for it.
    if describe.name == "Contact" and "IsPersonAccount" in describe.fields:
        return (Compare("IsPersonAccount", "=", False),)

    return ()
