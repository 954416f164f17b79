"""What the names in a query mean: fields and parents, as one user may see them.

Parents become LEFT JOINs, each joined once. What is compared with a field stands in
``conditions``; what is selected and sorted, in ``compiler``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from local_org.database import quote
from local_org.errors import SalesforceError
from local_org.permissions import Access
from local_org.schema import Field, Schema, SObject

from .ast import Path
from .errors import malformed, no_such_column, no_such_relation
from .formula import compile_formula

PARENT_LEVELS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Relation:
    """A joined parent: where it stands in the row, and what it is."""

    names: tuple[str, ...]
    alias: str
    target: SObject


@dataclass
class Scope:
    """The names that one query can use.

    ``access`` None means the org itself (validation rules, formulas): it sees all fields.
    """

    schema: Schema
    now: datetime
    access: Access | None
    text: str = ""
    alias_name: str | None = None
    relations: dict[tuple[str, ...], Relation] = field(default_factory=dict)
    joins: list[str] = field(default_factory=list)

    def start(self, owner: SObject, text: str, alias_name: str | None = None) -> None:
        """Begin with the object that the query is from."""
        self.text, self.alias_name = text, alias_name
        self.relations[()] = Relation((), "t0", owner)

    def source(self, owner: SObject) -> str:
        """Give the FROM part, with the parents joined so far."""
        return f"{quote(owner.name)} AS t0" + "".join(self.joins)

    def resolve(self, owner: SObject, path: Path) -> tuple[tuple[str, ...], Field, str]:
        """Find the field that a path names; gives its names in the schema's case, and its SQL."""
        names = path.names
        if len(names) > 1 and names[0].lower() in {
            owner.name.lower(),
            (self.alias_name or "").lower(),
        }:
            names = names[1:]

        if len(names) > PARENT_LEVELS_MAX + 1:
            raise malformed(self.text, path.position, "more than five levels of parents")

        place: tuple[str, ...] = ()
        here = owner
        for name in names[:-1]:
            place, here = self._parent(here, place, name, path.position)

        entry = here.field(names[-1])
        if entry is None or (self.access is not None and not self.access.readable(here, entry)):
            raise no_such_column(self.text, path.position, names[-1], here.name)
        return (*place, entry.name), entry, self.field_sql(here, place, entry)

    def _parent(
        self, here: SObject, place: tuple[str, ...], name: str, position: int
    ) -> tuple[tuple[str, ...], SObject]:
        link = here.relation(name)
        target = None
        if link is not None and (self.access is None or self.access.readable(here, link)):
            target = self._target(link)
        if link is None or target is None:
            raise no_such_relation(self.text, position, name)
        # A parent that the user may not read looks like one that does not exist.
        if self.access is not None and not self.access.object_rights(target).read:
            raise no_such_relation(self.text, position, name)
        return self.join(place, link, target), target

    def _target(self, link: Field) -> SObject | None:
        # An owner is a user or a queue; the local org has no queues.
        return self.schema.find("User" if "User" in link.reference_to else link.reference_to[0])

    def join(self, place: tuple[str, ...], link: Field, target: SObject) -> tuple[str, ...]:
        """Join a parent once; gives its place."""
        deeper = (*place, str(link.relationship_name))
        # One join a parent, however many of its fields are named.
        if deeper not in self.relations:
            alias = f"t{len(self.relations)}"
            child = self.relations[place].alias
            self.joins.append(
                f" LEFT JOIN {quote(target.name)} AS {alias}"
                f' ON {alias}."Id" = {child}.{quote(link.name)}'
            )
            self.relations[deeper] = Relation(deeper, alias, target)
        return deeper

    def field_sql(self, owner: SObject, place: tuple[str, ...], entry: Field) -> str:
        """Give the SQL of a field of a joined parent (or of the object itself)."""
        alias = self.relations[place].alias
        if entry.formula and entry.calculated:
            return f"({compile_formula(entry.formula, entry.type, self, owner, place)})"
        if entry.sql is not None:
            return f"({entry.sql.format(t=alias)})"
        return f"{alias}.{quote(entry.name)}"

    def formula_field(
        self, owner: SObject, place: tuple[str, ...], names: tuple[str, ...]
    ) -> tuple[str, str]:
        """Resolve a field that a formula names; gives its SQL and type. Formulas see all fields."""
        here = owner
        for name in names[:-1]:
            link = here.relation(name)
            target = self._target(link) if link else None
            if link is None or target is None:
                raise _formula_error(f"Field {name} does not exist. Check spelling.")
            place, here = self.join(place, link, target), target
        entry = here.field(names[-1])
        if entry is None:
            raise _formula_error(f"Field {names[-1]} does not exist. Check spelling.")
        return self.field_sql(here, place, entry), entry.type


def _formula_error(message: str) -> SalesforceError:
    return SalesforceError(400, "FIELD_INTEGRITY_EXCEPTION", message)
