"""What may happen between two effects: people, time, faults, disasters, and the starts of processes."""

from __future__ import annotations

import shutil
from datetime import time, timedelta
from functools import partial
from typing import Final

from assets.partitions import partition_key
from assets.step_runs import BACKFILL_TAG
from pipeline.steps.clients import SCORED
from pipeline.steps.pause import pause, resume
from pipeline.steps.preflight import check_and_roll_out
from resources.ledger.ledger import Ledger
from tests.simulation.clients import Run
from tests.simulation.schedule import FAULT_PATHS, Schedule
from tests.simulation.scripted import SCRIPTED, Act

PROCESSES_MAX: Final = 5
REQUEST_FAULTS: Final = (
    "http_503",
    "http_500",
    "http_403_limit",
    "drop_before",
    "drop_after",
    "truncate",
)
READ_FAULTS: Final = ("slow", "expire_session", "expire_locator", "query_error")
SAVE_FAULTS: Final = ("lock_rows", "row_error", "job_fail", "job_stuck", "unprocessed_rows")
FAULT_LEADS_TO: Final = {
    "ledger PushJobs.count_result_try": "/successfulResults",
    "ledger Segments.note_unpushed": "/failedResults",
}
"""The effects that only an org that goes wrong at one place leads to, and that place."""
FAULT_KINDS: Final = (*REQUEST_FAULTS, *READ_FAULTS, *SAVE_FAULTS)
"""Every kind of fault that the org knows, save slow queries: nothing here waits for the clock."""


def _tick(schedule: Schedule) -> str | None:
    if len(schedule.scheduler.alive) >= PROCESSES_MAX:
        return None
    schedule.scheduler.spawn(schedule.tick())
    return ""


def _by_hand(schedule: Schedule) -> str | None:
    """Let a person start a run, whoever works on the object."""
    if len(schedule.scheduler.alive) >= PROCESSES_MAX:
        return None
    name = schedule.chance.choice(schedule.configuration().objects)
    job = schedule.chance.choice(("pull", "pull", "score_and_push", "daily_pull"))
    schedule.scheduler.spawn(schedule.start_run(schedule.new_run(job, name, by_daemon=False)))
    return f"{job} {name}"


def _backfill(schedule: Schedule) -> str | None:
    """Let a person materialize past partitions again (R28)."""
    if len(schedule.scheduler.alive) >= PROCESSES_MAX:
        return None
    name = schedule.chance.choice(schedule.configuration().objects)
    days = [schedule.today - timedelta(days=n) for n in (1, 2)]
    if schedule.chance.random() < 0.5:
        schedule.advance(schedule.to_local(time(0, 1)))
        days = [schedule.today - timedelta(days=1)]
    request = f"backfill{schedule.serial}"
    ledger = Ledger(schedule.stage.url)
    ids = [i for day in days for i in ledger.scorings.scored_on(name, day, before=schedule.now())]
    ledger.close()
    keys = [str(partition_key(day, name)) for day in days]
    tags = {BACKFILL_TAG: request}
    run = Run("score_and_push", name, keys, request, None, schedule.now(), tags, by_daemon=True)
    process = schedule.start_run(run)
    schedule.scheduler.spawn(process)
    schedule.redos.append((name, ids, schedule.now(), process))
    return f"{' '.join(keys)}: {len(ids)} records"


def _command(schedule: Schedule) -> str | None:
    """Let a person check, pause or resume."""
    integrations = schedule.configuration().integrations
    name = schedule.chance.choice(integrations).name
    paused = schedule.paused()
    kind = schedule.chance.choice(("check", "pause", "resume", "resume"))
    if kind == "resume" and paused:
        name = schedule.chance.choice(paused)
        schedule.scheduler.spawn(schedule.command(f"resume {name}", partial(resume, name=name)))
    elif kind == "pause":
        schedule.scheduler.spawn(schedule.command(f"pause {name}", partial(pause, name=name)))
    else:
        schedule.scheduler.spawn(schedule.command("check", check_and_roll_out))
    return f"{kind} {name}"


def _seconds(schedule: Schedule) -> str:
    schedule.advance(timedelta(seconds=schedule.chance.randint(1, 30)))
    return ""


def _minutes(schedule: Schedule) -> str:
    schedule.advance(timedelta(seconds=schedule.chance.randint(60, 900)))
    return ""


def _hours(schedule: Schedule) -> str:
    schedule.advance(timedelta(minutes=schedule.chance.randint(30, 400)))
    return ""


def _midnight(schedule: Schedule) -> str:
    """Go to just before midnight, or to after the daily pull's time."""
    at = schedule.chance.choice((time(23, 59, 40), time(23, 59, 40), time(2, 12), time(22, 1)))
    schedule.advance(schedule.to_local(at))
    return str(at)


def _arm(schedule: Schedule) -> str:
    """Let the org go wrong in one way."""
    if path := _path_hunted(schedule):
        schedule.stage.org.arm("http_500", path=path, count=9)
        return f"http_500 {path}"
    return _arm_any(schedule)


def _arm_any(schedule: Schedule) -> str:
    chance = schedule.chance
    hunted = [kind for kind in FAULT_KINDS if kind in schedule.hunt]
    kind = chance.choice(
        hunted or chance.choice((REQUEST_FAULTS, READ_FAULTS, SAVE_FAULTS, SAVE_FAULTS))
    )
    count = chance.choice((1, 1, 2, 9))
    spec: dict[str, object] = {"count": count}
    if kind in {"lock_rows", "row_error"}:
        ids = [i for ids in schedule.world.ids.values() for i in ids]
        some = chance.sample(ids, min(8, len(ids)))
        spec |= {"ids": some, "count": chance.choice((1, 1, 3))}
        if kind == "row_error":
            code = chance.choice(("FIELD_CUSTOM_VALIDATION_EXCEPTION", "UNABLE_TO_LOCK_ROW"))
            spec |= {"code": code, "message": "not today"}
    elif kind in {"job_fail", "job_stuck", "unprocessed_rows"}:
        spec |= {"after_rows": chance.choice((0, 0, 1, 2)), "count": chance.choice((1, 2))}
        if kind == "unprocessed_rows":
            spec["state"] = chance.choice(("Failed", "Aborted"))
    elif kind == "query_error":
        spec["object"] = chance.choice(schedule.world.objects)
        if chance.random() < 0.5:
            spec |= {"status": 500, "code": "QUERY_TIMEOUT", "message": "took too long"}
    elif kind == "expire_locator":
        schedule.stage.org.set_options(query_page_rows=1)
        spec["path"] = "/query/"
    else:
        path = chance.choice(FAULT_PATHS)
        if path:
            spec["path"] = path
        if kind == "http_403_limit":
            spec["limit"] = chance.choice(("daily", "concurrent"))
    schedule.jobs_stuck |= kind == "job_stuck"
    schedule.stage.org.arm(kind, **spec)
    return f"{kind} {spec}"


def _path_hunted(schedule: Schedule) -> str | None:
    """Return where the org must go wrong for a point that is hunted; None for any fault at all."""
    paths = [path for effect, path in FAULT_LEADS_TO.items() if effect in " ".join(schedule.hunt)]
    return schedule.chance.choice([*paths, None]) if paths else None


def _market_down(schedule: Schedule) -> str:
    market = schedule.chance.choice(("fit", "fit", "other"))
    schedule.markets_down.add(market)
    return market


def _market_up(schedule: Schedule) -> str | None:
    if not schedule.markets_down:
        return None
    schedule.markets_down.clear()
    schedule.advance(timedelta(minutes=7))
    return _by_hand(schedule) or ""


def _calm(schedule: Schedule) -> str:
    schedule.calm()
    return ""


def _edit_late(schedule: Schedule) -> str:
    """Let a record's change commit late, and often a pull come before it does."""
    said = schedule.world.edit_late()
    if schedule.chance.random() < 0.5:
        schedule.advance(timedelta(seconds=5))
        _by_hand(schedule)
    return said


def _roll_out(schedule: Schedule) -> str:
    """Let another version of the markets, or another mapping, be installed and checked."""
    if schedule.chance.random() < 0.6:
        schedule.version = str(int(schedule.version) + 1)
    else:
        schedule.narrow = not schedule.narrow
    schedule.scheduler.spawn(schedule.command("check", check_and_roll_out))
    return f"version {schedule.version} narrow {schedule.narrow}"


def _limits(schedule: Schedule) -> str:
    schedule.limit = schedule.chance.choice((8, 14, 25, 40))
    schedule.segment_max = schedule.chance.choice((3, 6, 12))
    schedule.note_limits()
    return f"limit {schedule.limit} segment {schedule.segment_max}"


def _kill_one(schedule: Schedule) -> str | None:
    if not schedule.scheduler.alive:
        return None
    process = schedule.chance.choice(schedule.scheduler.alive)
    schedule.kill(process)
    return process.name


def _power_cut(schedule: Schedule) -> str:
    schedule.kill_all()
    return ""


def _monitor(schedule: Schedule) -> str | None:
    if not schedule.dead:
        return None
    schedule.monitor()
    return ""


def _backup(schedule: Schedule) -> str | None:
    if not schedule.stage.is_sqlite:
        return None
    schedule.stage.copy_ledger(schedule.stage.folder / "backup.db")
    schedule.backup_at = schedule.now()
    return ""


def _restore(schedule: Schedule) -> str | None:
    """Put back a backup of the ledger, of some hours ago: what it forgets is done again."""
    if schedule.backup_at is None:
        return None
    schedule.kill_all()
    schedule.stage.put_ledger(schedule.stage.folder / "backup.db")
    schedule.restored_at.append(schedule.now())
    schedule.redos.clear()
    said, schedule.backup_at = f"of {schedule.backup_at}", None
    return said


def _forget_a_run(schedule: Schedule) -> str | None:
    """Let a run list what is due and finish, and put back the ledger of when it had listed it."""
    if not schedule.stage.is_sqlite:
        return None
    schedule.kill_all()
    said = schedule.world.create()
    schedule.advance(timedelta(seconds=5))
    name = schedule.chance.choice(schedule.configuration().objects)
    process = schedule.start_run(schedule.new_run("pull", name, by_daemon=False))
    schedule.scheduler.spawn(process)
    turns, copied = schedule.chance.randint(0, 8), False
    while process in schedule.scheduler.alive:
        turns -= process.step == SCORED
        if turns < 0 and not copied:
            schedule.stage.copy_ledger(schedule.stage.folder / "moment.db")
            copied = True
        schedule.turn(process)
    if not copied:
        return said
    schedule.kill_all()
    schedule.stage.put_ledger(schedule.stage.folder / "moment.db")
    schedule.restored_at.append(schedule.now())
    schedule.redos.clear()
    schedule.say(schedule.world.edit())
    schedule.advance(timedelta(minutes=13))  # until then the dead run has the object
    again = schedule.start_run(schedule.new_run("pull", name, by_daemon=False))
    schedule.scheduler.spawn(again)
    while again in schedule.scheduler.alive:
        schedule.turn(again)
    return f"{said}; the ledger forgets what {process.name} scored"


def _lose_lake(schedule: Schedule) -> str:
    schedule.kill_all()
    shutil.rmtree(schedule.lake, ignore_errors=True)
    schedule.lake_lost_at.append(schedule.now())
    return ""


def _fill_disk(schedule: Schedule) -> str:
    if schedule.chance.random() < 0.5:
        schedule.disk_full = True
        return "lake"
    schedule.ledger_full = True
    return "ledger"


def _kill_org(schedule: Schedule) -> str:
    schedule.stage.kill_org()
    schedule.world.org = schedule.stage.org
    schedule.advance(timedelta(seconds=5))
    return ""


ACTS: Final[dict[str, tuple[float, Act]]] = {
    "tick": (12, _tick),
    "by hand": (7, _by_hand),
    "backfill": (2, _backfill),
    "command": (3, _command),
    "create": (5, lambda s: s.world.create()),
    "create late": (1.5, lambda s: s.world.create_late()),
    "edit": (8, lambda s: s.world.edit()),
    "edit late": (4, _edit_late),
    "touch": (2, lambda s: s.world.touch()),
    "candidates": (3, lambda s: s.world.check_candidates()),
    "clear datetime": (1.5, lambda s: s.world.clear_datetime()),
    "delete": (1, lambda s: s.world.delete()),
    "undelete": (1, lambda s: s.world.undelete()),
    "merge": (1, lambda s: s.world.merge(s.serial)),
    "convert": (1, lambda s: s.world.convert(s.serial)),
    "seconds": (16, _seconds),
    "minutes": (6, _minutes),
    "hours": (1.5, _hours),
    "midnight": (1.5, _midnight),
    "arm": (6, _arm),
    "market down": (1.5, _market_down),
    "market up": (2, _market_up),
    "calm": (2, _calm),
    "roll out": (0.7, _roll_out),
    "limits": (1, _limits),
    "kill": (1.5, _kill_one),
    "power cut": (0.5, _power_cut),
    "monitor": (3, _monitor),
    "backup": (0.7, _backup),
    "restore": (0.5, _restore),
    "run forgotten": (0.4, _forget_a_run),
    "lake lost": (0.4, _lose_lake),
    "disk full": (0.8, _fill_disk),
    "org killed": (0.04, _kill_org),
    **{name: (0, act) for name, act in SCRIPTED.items()},
}
"""Every act by name, with its weight; those of weight 0 happen in scripts alone."""

MARKETS_FAIL: Final[dict[str, float]] = {"market down": 4, "market up": 4, "create": 2}
FORGETFUL: Final[dict[str, float]] = {"backup": 6, "restore": 6, "run forgotten": 8, "edit": 2}
FAULTY: Final[dict[str, float]] = {"arm": 3, "edit": 2}
BUSY: Final[dict[str, float]] = {"backfill": 4, "midnight": 3, "limits": 3}
MOODS: Final = ({}, {}, MARKETS_FAIL, FORGETFUL, FAULTY, BUSY)
"""What happens more often in some schedules: factors of the weights."""

LEADS_TO: Final = {
    "ledger Segments.withdraw": FORGETFUL,
    "ledger Holds.hold": MARKETS_FAIL,
    "ledger Holds.release": MARKETS_FAIL,
    "ledger Calls.note_limit_reached": FAULTY,
    "ledger PushJobs.count_result_try": FAULTY,
    "ledger Segments.note_unpushed": FAULTY,
    **dict.fromkeys(FAULT_KINDS, FAULTY),
}
"""The mood in which a schedule that hunts a point or a fault comes past it sooner."""


def mood(schedule: Schedule) -> dict[str, float]:
    """Return the factors of this schedule's acts."""
    hunted = [
        LEADS_TO.get(point.removeprefix("before ").removeprefix("after "), BUSY)
        for point in sorted(schedule.hunt)
    ]
    return schedule.chance.choice(hunted or MOODS)
