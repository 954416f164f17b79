"""What happens in stored scripts alone: people, faults that last, and what must hold at that moment.

What an act needs to know stands in its event as `given`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

from pipeline.steps.preflight import check_and_roll_out
from pipeline.steps.stop import start, stop
from tests.simulation.schedule import Schedule

Act = Callable[[Schedule], str | None]

INTERVAL_MINUTES: Final = 5
SAVED: Final = timedelta(seconds=12)
"""After so long a pull reads what was saved."""


# -- people ----------------------------------------------------------------------------------------


def _add(schedule: Schedule) -> str:
    """Let people import good candidates: `rows` of `object`."""
    said = schedule.world.add(schedule.given["object"], schedule.given["rows"])
    schedule.advance(SAVED)
    return said


def _retitle(schedule: Schedule) -> str:
    """Let somebody give every record of `object` another title."""
    name = schedule.given["object"]
    schedule.world.retitle(name, *schedule.world.ids[name])
    schedule.advance(SAVED)
    return f"{len(schedule.world.ids[name])} {name}"


def _touch_all(schedule: Schedule) -> str:
    """Let somebody change a field that no market looks at, of every record of `object`."""
    name = schedule.given["object"]
    schedule.world.touch_all(name)
    schedule.advance(SAVED)
    return f"{len(schedule.world.ids[name])} {name}"


def _hourly_edits(schedule: Schedule) -> str | None:
    """Let a person correct one record again and again, an hour after each of its scorings."""
    record = schedule.world.any_record()
    if record is None:
        return None

    for _ in range(8):
        schedule.world.retitle(*record)
        schedule.advance(timedelta(seconds=12))
        run = schedule.new_run("pull", record[0], by_daemon=False)
        schedule.finish_quietly(schedule.start_run(run))
        schedule.advance(timedelta(hours=1))
    return " ".join(record)


def _stopped(schedule: Schedule) -> str:
    """Let a person stop everything; runs that come meanwhile begin nothing."""
    schedule.finish_quietly(schedule.command("stop", partial(stop, why="a migration", by="Mori")))
    since = schedule.now()
    said = schedule.world.create()
    schedule.advance(timedelta(seconds=12))
    for job in ("pull", "score_and_push"):
        for name in schedule.configuration().objects:
            run = schedule.new_run(job, name, by_daemon=False)
            schedule.finish_quietly(schedule.start_run(run))

    schedule.advance(timedelta(seconds=12))
    schedule.stopped.append((since, schedule.now()))
    schedule.finish_quietly(schedule.command("start", start))
    return said


# -- time, and the daemon ---------------------------------------------------------------------------


def _ticks(schedule: Schedule) -> str:
    """Let the daemon tick so many `times`, its runs end, and so many `minutes` pass after each."""
    for _ in range(schedule.given["times"]):
        schedule.finish_quietly(schedule.tick())
        schedule.advance(timedelta(minutes=schedule.given.get("minutes", INTERVAL_MINUTES)))
    return ""


def _at_once(schedule: Schedule) -> str:
    """Let people start a run of each of `jobs` on `object` at once, and wait for all of them."""
    for job in schedule.given["jobs"]:
        run = schedule.new_run(job, schedule.given["object"], by_daemon=False)
        schedule.scheduler.spawn(schedule.start_run(run))
    while schedule.scheduler.alive:
        schedule.turn(schedule.chance.choice(schedule.scheduler.alive))
    return ""


# -- what goes wrong and stays so, until all faults stop ----------------------------------------------


def _fault(schedule: Schedule) -> str:
    """Let the org go wrong as `given` says.

    `{job}` in its path is the job of the last upload; its `ids` are all of an object.
    """
    spec = dict(schedule.given)
    if "ids" in spec:
        spec["ids"] = list(schedule.world.ids[spec["ids"]])
    if "path" in spec and schedule.uploads:
        spec["path"] = spec["path"].replace("{job}", schedule.uploads[-1][1])
    schedule.stage.org.arm(**spec)
    return ""


def _conditions(schedule: Schedule) -> str:
    """Let conditions of `schedule.Conditions` be as `given`, and the others as they were."""
    schedule.conditions = replace(schedule.conditions, **schedule.given)
    return ""


def _hide(schedule: Schedule) -> str:
    """Hide a `field` of `object` from the user."""
    schedule.hide(schedule.given["object"], schedule.given["field"])
    return ""


def _share(schedule: Schedule) -> str:
    """Let sharing hide every record of `object` from the user, or show them again (`on`)."""
    ids = list(schedule.world.ids[schedule.given["object"]])
    body = {"ids": ids, "on": not schedule.given["on"]}
    schedule.stage.org.control("POST", "hidden", body)
    return f"{len(ids)} records"


def _deploy(schedule: Schedule) -> str:
    """Let other files of the markets be put in the place of the old ones; nobody checks them."""
    schedule.version = schedule.given["version"]
    return ""


def _another_deployment(schedule: Schedule) -> str:
    """Let somebody check another checkout, with another `version` of the markets, on this ledger."""
    step = schedule.command("check", check_and_roll_out, elsewhere=schedule.given["version"])
    schedule.finish_quietly(step)
    schedule.rolled_out_elsewhere.append(schedule.now())
    return ""


# -- what must hold now ------------------------------------------------------------------------------


def _scored_by_now(schedule: Schedule) -> str:
    """See that all of `object` carry the scores of their values."""
    from tests.simulation.invariants import current_values

    return _noted(schedule, "scored_by_now", current_values(schedule))


def _settled_by_now(schedule: Schedule) -> str:
    """See that nothing of `object` waits, for no reason at least."""
    from tests.simulation.invariants import waiting_without_reason

    return _noted(schedule, "settled_by_now", waiting_without_reason(schedule))


def _none_fails_by_now(schedule: Schedule) -> str:
    """See that no record of `object` is a failing one."""
    from tests.simulation.invariants import failing_records

    return _noted(schedule, "none_fails_by_now", failing_records(schedule))


def _noted(schedule: Schedule, what: str, lines: Sequence[str]) -> str:
    name = schedule.given["object"]
    found = [line for line in lines if name in line.split(" ")]
    schedule.problems += [f"{what}: at {schedule.time:%d %H:%M} {line}" for line in found]
    return ""


SCRIPTED: Final[dict[str, Act]] = {
    "stopped": _stopped,
    "hourly edits": _hourly_edits,
    "add": _add,
    "retitle": _retitle,
    "touch all": _touch_all,
    "ticks": _ticks,
    "at once": _at_once,
    "fault": _fault,
    "conditions": _conditions,
    "hide": _hide,
    "share": _share,
    "deploy": _deploy,
    "another deployment": _another_deployment,
    "scored by now": _scored_by_now,
    "settled by now": _settled_by_now,
    "none fails by now": _none_fails_by_now,
}
