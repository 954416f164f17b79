"""The org's people: what they do to records, and what is known of it afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from local_org.launch import RunningOrg

COMPANIES: Final = ("Acme", "Umbrella", "Initech", "Hooli", "Stark & Söhne", "Globex")
TITLES: Final = ("CEO", "CTO", "Buyer", "VP Sales", "Chef de cuisine", None, "NO SCORE")
BAD: Final = "BAD RANK"
"""A title of which the letters market makes no valid rank: the record fails until it is edited."""

RAISES: Final = "RAISE"
"""A title on which every model raises: the record fails until it is edited, and holds up no other."""

FAIL: Final = (BAD, RAISES)
"""The titles of records that fail by their own values."""

NAME_OF: Final = {"Account": "Name", "Contact": None, "Lead": "Company"}
TITLE_OF: Final = {"Account": "Site", "Contact": "Title", "Lead": "Title"}
MERGE_MIN: Final = 2


@dataclass
class World:
    """The records of one schedule. `gone_at` tells when one was converted, deleted or merged away."""

    org: RunningOrg
    chance: Random
    objects: Sequence[str]
    ids: dict[str, list[str]] = field(
        default_factory=lambda: {"Account": [], "Contact": [], "Lead": []}
    )
    names_of: dict[str, set[str]] = field(default_factory=dict)
    gone_at: dict[str, int] = field(default_factory=dict)
    cleared: set[str] = field(default_factory=set)
    merged: set[str] = field(default_factory=set)
    deleted: list[tuple[str, str]] = field(default_factory=list)
    number: int = 0

    # -- single acts; each says what it did --------------------------------------------------------

    def create(self, most: int = 4) -> str:
        """Create records of one object."""
        name = self.chance.choice(self.objects)
        rows = [self._new(name) for _ in range(self.chance.randint(1, most))]
        made = self._save("insert", name, rows)
        for row, record_id in zip(rows, made, strict=True):
            if record_id:
                self._know(name, record_id, row)
        return f"create {len(rows)} {name}: {' '.join(made)}"

    def create_late(self) -> str:
        """Create a record that shows only later, with its earlier stamp."""
        name, seconds = self.chance.choice(self.objects), self.chance.choice((20, 90, 240, 500))
        self.org.control("POST", "hold-saves", {"seconds": seconds, "object": name})
        return f"late by {seconds} s: {self._create_one(name)}"

    def _create_one(self, name: str) -> str:
        row = self._new(name)
        (record_id,) = self._save("insert", name, [row])
        if record_id:
            self._know(name, record_id, row)
        return f"create {name} {record_id}"

    def edit(self) -> str:
        """Change an important field of some records at once."""
        name, ids = self._some(self.chance.choice((1, 1, 2, 5)))
        rows = [{"Id": i, **self._important(name, i)} for i in ids]
        return f"edit {name} {self._update(name, rows)}"

    def any_record(self) -> tuple[str, str] | None:
        """Choose an object and one of its records; None where there is none."""
        name, ids = self._some(1)
        return (name, ids[0]) if ids else None

    def add(self, name: str, count: int) -> str:
        """Create so many candidates, none of which fails."""
        rows = [self._new(name) | {TITLE_OF[name]: f"Title {self._count()}"} for _ in range(count)]
        rows = [row | {"Fit_Candidate__c": True, "Other_Candidate__c": False} for row in rows]
        made = self._save("insert", name, rows)
        for row, record_id in zip(rows, made, strict=True):
            self._know(name, record_id, row)
        return f"{count} {name}: {' '.join(made[:4])}"

    def retitle(self, name: str, *ids: str) -> str:
        """Give each of these records a title that it never had."""
        return self._update(
            name, [{"Id": i, TITLE_OF[name]: f"Title {self._count()}"} for i in ids]
        )

    def edit_late(self) -> str:
        """Change important fields in a transaction that commits late."""
        name, ids = self._some(1)
        if not ids:
            return ""
        seconds = self.chance.choice((20, 90, 240, 500))
        rows = [{"Id": ids[0], **self._important(name, ids[0])}]
        self.org.control("POST", "hold-saves", {"seconds": seconds, "object": name})
        done = self._update(name, rows)
        if not done:  # refused: what waits to come late is used up by a record that nobody knows
            self._save("insert", name, [self._new(name)])
        return f"late by {seconds} s: edit {name} {done}"

    def touch(self) -> str:
        """Change a field that no market looks at."""
        name, ids = self._some(3)
        return (
            f"touch {name} {self._update(name, [{'Id': i, 'Phone': self._count()} for i in ids])}"
        )

    def touch_all(self, name: str) -> str:
        """Change a field that no market looks at, of every record."""
        return self._update(name, [{"Id": i, "Phone": self._count()} for i in self.ids[name]])

    def check_candidates(self) -> str:
        """Check or uncheck candidate fields; moving a record between markets is both at once."""
        name, ids = self._some(2)
        rows = [
            {
                "Id": i,
                "Fit_Candidate__c": self.chance.random() < 0.6,
                "Other_Candidate__c": self.chance.random() < 0.4,
            }
            for i in ids
        ]
        return f"candidates {name} {self._update(name, rows)}"

    def clear_datetime(self) -> str:
        """Ask for records to be scored again as an admin does (R28)."""
        name, ids = self._some(2)
        rows = [{"Id": i, "Mintigo_update_datetime__c": None} for i in ids]
        self.cleared.update(ids)
        return f"clear datetime {name} {self._update(name, rows)}"

    def delete(self) -> str:
        """Delete a record."""
        name, ids = self._some(1)
        done = self._save("delete", name, [{"Id": i} for i in ids])
        for record_id in filter(None, done):
            self.deleted.append((name, record_id))
        return f"delete {name} {' '.join(done)}"

    def undelete(self) -> str:
        """Bring a deleted record back."""
        if not self.deleted:
            return ""
        name, record_id = self.chance.choice(self.deleted)
        done = self._save("undelete", name, [{"Id": record_id}])
        return f"undelete {name} {' '.join(done)}"

    def merge(self, serial: int) -> str:
        """Merge one record into another."""
        name, ids = self._some(MERGE_MIN)
        if len(ids) < MERGE_MIN:
            return ""
        if self._refused("merge", {"object": name, "master_id": ids[0], "loser_ids": ids[1:]}):
            return ""
        self.gone_at[ids[1]] = serial
        self.merged.add(ids[1])
        return f"merge {name} {ids[1]} into {ids[0]}"

    def convert(self, serial: int) -> str:
        """Convert a lead: an account and a contact come of it."""
        if not self.ids["Lead"]:
            return ""
        lead = self.chance.choice(self.ids["Lead"])
        body = {"lead_id": lead, "create_opportunity": False}
        try:
            made = self.org.control("POST", "convert-lead", body)
        except ValueError:
            return ""
        self.gone_at[lead] = serial
        self.ids["Account"].append(made["accountId"])
        rows = self.org.query(f"SELECT Name FROM Account WHERE Id = '{made['accountId']}'")
        self.names_of.setdefault(made["accountId"], set()).add(rows[0]["Name"])
        self.ids["Contact"].append(made["contactId"])
        return f"convert {lead} to {made['accountId']} and {made['contactId']}"

    def mend(self) -> str:
        """Correct the titles of which no valid rank came."""
        done = []
        for name, ids in self.ids.items():
            field_name = TITLE_OF[name]
            rows = [{"Id": i, field_name: "CEO"} for i in ids if self._title(name, i) in FAIL]
            if rows:
                done.append(self._update(name, rows))
        return f"mend {' '.join(done)}"

    # -- within ------------------------------------------------------------------------------------

    def _title(self, name: str, record_id: str) -> str | None:
        rows = self.org.query(f"SELECT {TITLE_OF[name]} FROM {name} WHERE Id = '{record_id}'")
        title: str | None = rows[0][TITLE_OF[name]] if rows else None
        return title

    def _some(self, most: int) -> tuple[str, list[str]]:
        """Choose an object and some of its records."""
        name = self.chance.choice(self.objects)
        ids = self.ids[name]
        return name, self.chance.sample(ids, min(most, len(ids)))

    def _count(self) -> str:
        self.number += 1
        return str(self.number)

    def _new(self, name: str) -> dict[str, Any]:
        row = self._important(name, None)
        if name != "Account":
            row["LastName"] = f"Person {self._count()}"
        if name == "Contact" and self.ids["Account"]:
            row["AccountId"] = self.chance.choice(self.ids["Account"])
        row["Fit_Candidate__c"] = self.chance.random() < 0.7
        row["Other_Candidate__c"] = self.chance.random() < 0.3
        return row

    def _important(self, name: str, record_id: str | None) -> dict[str, Any]:
        """Return new values of important fields; all of them for a new record."""
        drawn = self.chance.random()
        title = BAD if drawn < 0.06 else self.chance.choice(TITLES)
        title = RAISES if drawn > 0.97 else title
        values: dict[str, Any] = {TITLE_OF[name]: title}
        company = NAME_OF[name]
        if company and (record_id is None or self.chance.random() < 0.5):
            values[company] = self.chance.choice(COMPANIES)
            if record_id and name == "Account":
                self.names_of.setdefault(record_id, set()).add(values[company])
        if name == "Contact" and record_id and self.ids["Account"] and self.chance.random() < 0.3:
            values["AccountId"] = self.chance.choice(self.ids["Account"])
        return values

    def _know(self, name: str, record_id: str, row: Mapping[str, Any]) -> None:
        self.ids[name].append(record_id)
        if name == "Account":
            self.names_of.setdefault(record_id, set()).add(row["Name"])

    def _update(self, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
        saved = self._save("update", name, rows)
        for record_id in filter(None, saved):
            if record_id in self.merged:  # a late commit has brought it back
                self.gone_at.pop(record_id, None)
        return "; ".join(
            f"{record_id} { ({k: v for k, v in row.items() if k != 'Id'}) }"
            for row, record_id in zip(rows, saved, strict=True)
            if record_id
        )

    def _save(self, operation: str, name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Save as a user would; return the ids of what was saved, "" for what was refused."""
        if not rows:
            return []
        body = {"object": name, "operation": operation, "records": [dict(row) for row in rows]}
        answers = self.org.control("POST", "save", body)
        return [answer["id"] if answer["success"] else "" for answer in answers]

    def _refused(self, path: str, body: Mapping[str, Any]) -> bool:
        try:
            self.org.control("POST", path, dict(body))
        except ValueError:
            return True
        return False
