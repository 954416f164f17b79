"""What happens on the site before anybody looks: three days of scoring, and three on which it is done again.

The days are the last six of the real calendar, since Dagster shows no partition of the future. Nothing here decides
anything: what was seen is kept, and tests say whether it is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from assets.partitions import partition_key
from demo.companies import companies
from demo.people import leads
from demo.stage import SEED, make_fields
from pipeline.sensors import SENSOR
from pipeline.steps.clients import PUSHED, SCORED
from pipeline.steps.pause import pause
from pipeline.steps.preflight import check_and_roll_out
from tests.processes import until
from tests.ui.site import ZONE, Site

IN_FULL: Final = 10_000
IN_SMALL: Final = 1_000
"""The daily limit: a story has two and a half times as many Leads."""

COMPANIES: Final = 400
EVENING: Final = 22
"""From this hour any lane may take what is left of the day."""
TICKS_MAX: Final = 5
QUIET_LOOKS: Final = 7
"""How often the sensor must be seen switched off, one look after the other, before it counts as off."""

RULE: Final = "Legal_hold"
REFUSED: Final = "Under legal hold: ask the legal department first"


@dataclass
class Day:
    """What was to be seen at the end of one of the days: a run's figures, and checks by the partition's day."""

    day: date
    figures: dict[str, Any] = field(default_factory=dict)
    stamped: dict[date, int] = field(default_factory=dict)
    complete: dict[date, dict[str, Any]] = field(default_factory=dict)
    daily_limit: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""
    whys: list[str] = field(default_factory=list)


@dataclass
class Story:
    """The days on which all Leads were scored, the backfill over them, and the days on which it was worked off."""

    scored: list[date]
    again: list[date]
    limit: int
    backfill_id: str = ""
    asked: dict[date, dict[str, Any]] = field(default_factory=dict)
    days: list[Day] = field(default_factory=list)
    refused: int = 0

    @property
    def leads(self) -> int:
        """Return how many Leads there are: what the limit lets through in two and a half days."""
        return self.limit * 5 // 2

    @property
    def skips_after_a_day(self) -> str:
        """Return why the sensor skips when the first day's limit is used up."""
        left = self.leads - self.limit
        return f"{left} waiting; today's limit of {self.limit} is reached, goes on at midnight"

    @property
    def partitions(self) -> list[str]:
        """Return the partitions that the backfill was launched for."""
        return [str(partition_key(day, "Lead")) for day in self.scored]


def told(site: Site, limit: int) -> Story:
    """Let the whole story happen on a site that has just been started."""
    today = datetime.now(ZONE).date()
    days = [today - timedelta(days=n) for n in reversed(range(6))]
    story = Story(scored=days[:3], again=days[3:], limit=limit)
    _fill(site, story)
    _score_everything(site, story)
    _ask_again(site, story)
    for day in story.again:
        story.days.append(_work_off(site, story, day))
    return story


def _fill(site: Site, story: Story) -> None:
    """Fill the org a month before the first day, as the demo does, and turn the integrations on the day before."""
    first = story.scored[0]
    make_fields(site.org)
    site.set_clock(datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=20))
    site.org.load("Account", companies()[:COMPANIES])
    site.org.load("Lead", leads(SEED, story.leads))
    site.be(first - timedelta(days=1), 23, 30)
    found = site.with_clients(check_and_roll_out)
    assert not found.errors, [str(problem) for problem in found.errors]


def _score_everything(site: Site, story: Story) -> None:
    """Score Accounts, some of which the org refuses, and Leads on the first three days, up to each day's limit."""
    site.org.control(
        "POST",
        "validation-rules",
        {
            "object": "Account",
            "name": RULE,
            "condition": "BillingCountry = 'Japan'",
            "message": REFUSED,
        },
    )
    for number, day in enumerate(story.scored):
        site.be(day, EVENING, 10)
        if number == len(story.scored) - 1:
            story.refused = site.run("daily_pull", "Account", day)["failed"]
        site.run("daily_pull", "Lead", day)
    site.with_clients(lambda clients: pause(clients, "Account.enterprise_fit"))
    site.with_clients(lambda clients: pause(clients, "Contact.enterprise_fit"))


def _ask_again(site: Site, story: Story) -> None:
    """Launch the backfill on the fourth day and wait until the daemon has run it."""
    site.be(story.again[0], EVENING, 10)
    story.backfill_id = site.graphql.backfill(
        (SCORED, PUSHED), story.partitions, "The model was corrected: score these days again"
    )

    def run() -> str | None:
        runs = site.graphql.backfill_state(story.backfill_id)["runs"]
        return str(runs[0]["id"]) if runs else None

    ended = site.graphql.ended(until(run, "the daemon to launch the backfill's run"))
    assert ended["status"] == "SUCCESS", ended
    for day, partition in zip(story.scored, story.partitions, strict=True):
        story.asked[day] = site.graphql.materialization(PUSHED, partition)


def _work_off(site: Site, story: Story, day: date) -> Day:
    """Let the sensor tick on one evening, and look at what is done. On the first one until it skips."""
    seen = Day(day)
    site.be(day, EVENING, 10)
    _tick(site, seen)
    ticks = 1
    while day == story.again[0] and not seen.skipped and ticks < TICKS_MAX:
        _tick(site, seen)
        ticks += 1
    partition = str(partition_key(day, "Lead"))
    seen.figures = site.graphql.materialization(PUSHED, partition)
    for past in story.scored:
        key = str(partition_key(past, "Lead"))
        seen.complete[past] = site.graphql.check(PUSHED, "complete", key)
    seen.daily_limit = site.graphql.check(PUSHED, "daily_limit", partition)
    seen.stamped = _stamped(site)
    return seen


def _tick(site: Site, seen: Day) -> None:
    """Switch the sensor on, which lets it tick at once, and off; wait for the runs that it asked for."""
    before = _ticks(site)
    site.graphql.switch(SENSOR, on=True)
    tick = until(lambda: _newer(site, before), "the sensor to tick")
    _switch_off(site)
    assert tick["status"] in ("SUCCESS", "SKIPPED"), tick
    seen.skipped = tick["skipReason"] or ""
    for run_id in tick["runIds"]:
        ended = site.graphql.ended(run_id)
        assert ended["status"] == "SUCCESS", ended
        seen.whys.append(site.graphql.tags(run_id)["insights/why"])
    _switch_off(site)
    site.wait(seconds=30)


def _switch_off(site: Site) -> None:
    """Switch the sensor off for good: a tick that ends at that moment puts back the state that it began with."""
    looks = iter(range(QUIET_LOOKS))

    def stays_off() -> bool:
        nonlocal looks
        if site.graphql.sensor(SENSOR)["sensorState"]["status"] == "RUNNING":
            site.graphql.switch(SENSOR, on=False)
            looks = iter(range(QUIET_LOOKS))
        return next(looks, None) is None

    until(stays_off, "the sensor to stay off")


def _ticks(site: Site) -> set[str]:
    return {tick["id"] for tick in site.graphql.sensor(SENSOR)["sensorState"]["ticks"]}


def _newer(site: Site, before: set[str]) -> dict[str, Any] | None:
    """Return the tick that came after those of `before`, once it is over."""
    ticks = site.graphql.sensor(SENSOR)["sensorState"]["ticks"]
    found = [t for t in ticks if t["id"] not in before and t["status"] != "STARTED"]
    return found[0] if found else None


def _stamped(site: Site) -> dict[date, int]:
    """Return how many Leads carry a stamp of each of the last days, as the org itself counts them."""
    today = datetime.now(ZONE).date()
    return {day: n for k in range(8) if (n := _stamped_on(site, day := today - timedelta(days=k)))}


def _stamped_on(site: Site, day: date) -> int:
    midnights = [
        datetime(on.year, on.month, on.day, tzinfo=ZONE).astimezone(UTC)
        for on in (day, day + timedelta(days=1))
    ]
    after, before = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in midnights)
    field = "Mintigo_update_datetime__c"
    rows = site.org.query(
        f"SELECT COUNT(Id) n FROM Lead WHERE {field} >= {after} AND {field} < {before}"
    )
    return int(rows[0]["n"])
