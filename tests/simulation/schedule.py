"""One schedule: what happens by one seed, until all faults have stopped and days enough have passed."""

from __future__ import annotations

import csv
import errno
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import dagster as dg
import pyarrow as pa

from assets.partitions import partition_key
from assets.step_runs import WORK_TAG, partitions_of, run_step
from local_org.launch import CLIENT_SECRET
from pipeline.core.configuration.configuration import Configuration
from pipeline.core.configuration.settings import Settings
from pipeline.core.errors import InsightsError
from pipeline.core.scoring.drift import RECORDS_MIN
from pipeline.jobs import JOBS
from pipeline.sensors import _Asked, _attempt
from pipeline.steps.brake import release
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED, STALE_RECORDS, Clients
from pipeline.steps.pause import resume
from pipeline.steps.preflight import check_and_roll_out
from pipeline.steps.pull import daily_pull, pull
from pipeline.steps.push import push
from pipeline.steps.score import score
from pipeline.steps.watch import watch
from resources.ledger.ledger import Ledger
from resources.salesforce.client import Salesforce
from resources.salesforce.kept_sign_ins import SignIns
from tests.simulation.clients import HALF, STAMP_COLUMN, Context, Log, Run, SimResource, running
from tests.simulation.points import FIRST, TARGETS
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.script import TURN, Event, Script, Start
from tests.simulation.stage import Stage
from tests.simulation.world import World

STEPS: Final[dict[str, Any]] = {
    CHANGED_RECORDS: lambda clients, lease: _noting_slowed(clients, pull(clients, lease)),
    STALE_RECORDS: daily_pull,
    SCORED: score,
    PUSHED: push,
}
QUIET_TIMES: Final = (time(3, 15), time(22, 5))
DAYS_MAX: Final = 16
"""How many days a schedule is given after its faults have stopped."""

HUNTED: Final = 9
"""At how many points a schedule lies in wait for whoever comes past first."""

LENGTH: Final = 200
"""How many events are drawn."""

ROUNDS: Final = 2
"""How often the sensor is asked at one time of a quiet day: what its runs have changed asks for another."""

RETRIES_MAX: Final = 2
"""How often Dagster starts a run again whose process died (`config/dagster/dagster.yaml`)."""

RUN_TURNS_MAX: Final = 100_000
HERE: Final = "here"
ELSEWHERE: Final = "elsewhere"
"""The folders of the configuration of this deployment, and of others."""

Interval: Final = timedelta(minutes=5)

FAULT_PATHS: Final = (
    None,
    "/jobs/ingest",
    "/batches",
    "Results",
    "/query",
    "composite",
    "describe",
    "oauth2",
)


@dataclass(frozen=True)
class Conditions:
    """What stays wrong, beside the org's own faults, until all faults stop.

    `secret` is what is signed in with. Each call of a run takes `call_seconds`. The question what changed has no answer
    in time where `unanswered` is asked about with others. `half_saved` is the file that an editor has half written,
    and `half_copied` says that a deploy is copying the markets' files. A market with `dead_inputs` gives all records
    the same.
    """

    secret: str = CLIENT_SECRET
    call_seconds: int = 0
    unanswered: str = ""
    half_saved: str = ""
    half_copied: bool = False
    dead_inputs: str = ""


@dataclass
class Schedule:
    """One seed's world, processes and time.

    With `hunt` it lies in wait at these points and no others, and arms these faults of the org and no others.
    With a `script` happens what stands in it; else the events are drawn, and `script_played` gives them.
    """

    stage: Stage
    seed: int
    hunt: frozenset[str] = frozenset()
    script: Script | None = None
    length: int = LENGTH
    scheduler: Scheduler = field(init=False)
    log: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    happened: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        drawn = Start.drawn(Random(self.seed), hunting=bool(self.hunt))
        start = self.start = self.script.start if self.script else drawn
        chance = self.chance = Random(self.seed)  # each event seeds it anew
        self.zone_name, self.time = start.zone, datetime.fromisoformat(start.begins)
        self.shape = start.shape
        self.version, self.narrow = "1", False
        self.limit = start.limit
        self.segment_max = start.segment_max
        self.api_limit = start.api_limit
        self.rows_per_page = start.rows_per_page
        self.serial = 0
        self.given: Mapping[str, Any] = {}
        self.conditions = Conditions()
        self.hidden: list[dict[str, str]] = []
        self.refused: Counter[str] = Counter()
        self.rolled_out_elsewhere: list[datetime] = []
        self.jobs_stuck = self.disk_full = self.ledger_full = self._was_full = False
        self._configured: tuple[Any, Configuration] | None = None
        self.markets_down: set[str] = set()
        self.sign_ins = SignIns()
        self.clients: list[Salesforce] = []
        self.cursor: dict[str, Any] = {}
        self.dead: list[Run] = []
        self.runs = 0
        self.backup_at: datetime | None = None
        self.stopped: list[tuple[datetime, datetime]] = []
        self.slowed: list[str] = []
        self.restored_at: list[datetime] = []
        self.lake_lost_at: list[datetime] = []
        self.redos: list[tuple[str, list[str], datetime, Process]] = []
        self.calls_by_day: Counter[date] = Counter()
        self.uploads: list[tuple[datetime, str, list[tuple[str, str, str]]]] = []
        self.succeeded: dict[str, list[str]] = {}
        self.scored_from: dict[tuple[str, str], int] = {}
        self.limits_of: defaultdict[date, int] = defaultdict(int)
        self.scheduler = Scheduler(
            chance,
            switching=start.switching,
            killing=start.killing,
            on_kill=lambda process, point: self.say(f"KILLED {process.name} {point}"),
        )
        self.deadly = self._points_to_wait_at()
        self.stage.fresh()
        self.lake = self.stage.folder / "lake"
        shutil.rmtree(self.lake, ignore_errors=True)
        self.world = World(self.stage.org, chance, self.configuration().objects)
        self._set_clock()

    def _points_to_wait_at(self) -> tuple[str, ...]:
        if self.script is not None:
            return self.script.deadly
        own = range(self.seed * HUNTED, (self.seed + 1) * HUNTED)
        return tuple(sorted(self.hunt or {TARGETS[at % len(TARGETS)] for at in own}))

    @property
    def script_played(self) -> Script:
        """Return what has happened, to be kept or made shorter."""
        return Script(self.seed, self.start, self.deadly, tuple(self.happened))

    # -- what is asked by the clients --------------------------------------------------------------

    def now(self) -> datetime:
        """Return the time on the pipeline's clock."""
        return self.time + timedelta(milliseconds=400)

    @property
    def today(self) -> date:
        """Return the day of the settings' zone."""
        return self.now().astimezone(self.settings.zone).date()

    @property
    def settings(self) -> Settings:
        """Return the settings as they stand now."""
        return self.configuration().settings

    def configuration(self) -> Configuration:
        """Return the configuration as it stands now."""
        key = (self.shape, self.version, self.narrow, self.limit, self.segment_max)
        if self._configured is None or self._configured[0] != key:
            written = self.stage.configuration(self.shape, self.version, self.narrow)
            settings = written.settings.model_copy(
                update={
                    "time_zone": self.zone_name,
                    "daily_record_limit": self.limit,
                    "segment_records_max": self.segment_max,
                    "daily_api_calls_limit": self.api_limit,
                    **self.start.settings,
                }
            )
            self._configured = (key, replace(written, settings=settings))
        return self._configured[1]

    def configuration_in(self, folder: Path) -> Configuration:
        """Return what a process reads in its configuration's folder now."""
        whole = self.configuration()
        half_saved, version = self.conditions.half_saved, self.version
        if folder.parent.name == ELSEWHERE:
            version = folder.name
        elif self.conditions.half_copied:
            version = f"{HALF}{version}"

        found = self.stage.configuration(self.shape, version, self.narrow, half_saved)
        return replace(found, settings=whole.settings)

    def say(self, text: str) -> None:
        """Write one line into the schedule's log."""
        process = self.scheduler.current
        who = f" [{process.name}]" if process else ""
        self.log.append(f"{self.time:%d %H:%M:%S}{who} {text}")

    def bound_pages(self, connection: Any) -> None:
        """Let the ledger's file not grow while its disk is full."""
        if self.ledger_full:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            self._was_full = True
        elif self._was_full:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000000")

    def sleep(self, seconds: float) -> None:
        """Let time pass for everybody, as a process waits for a job."""
        self.advance(timedelta(seconds=max(1, round(seconds))))

    def let_jobs_run(self) -> None:
        """Let the org work off its jobs, stuck ones excepted, and keep their results."""
        seconds = 0.03 if self.jobs_stuck else 10
        self.stage.org.control("GET", f"jobs/idle?timeout_seconds={seconds}")
        self.collect_results()

    def collect_results(self) -> None:
        """Note which rows of which job were saved; the org forgets its jobs after a week."""
        folder = self.stage.org.data.with_name(f"{self.stage.org.data.name}-front") / "jobs"
        for _, job_id, _ in self.uploads:
            path = folder / job_id / "successful.csv"
            if path.exists():
                with path.open(encoding="utf-8", newline="") as file:
                    self.succeeded[job_id] = [row["Id"] for row in csv.DictReader(file)]

    def note_call(self, what: str) -> None:
        """Count a call to the org; pulls may not go beyond the budget (R21)."""
        process = self.scheduler.current
        day = self.today
        self.calls_by_day[day] += 1
        over = self.calls_by_day[day] > self.api_limit
        pushes = process is not None and process.step == PUSHED
        if over and not pushes and not any(self._day(at) == day for at in self.restored_at):
            self.problems.append(
                f"API budget: {process.name if process else '?'} made call {self.calls_by_day[day]} of {day} ({what}); "
                f"the limit is {self.api_limit}"
            )

    def note_upload(self, job_id: str, rows: list[tuple[str, str, str]]) -> None:
        """Remember what was uploaded."""
        self.uploads.append((self.now(), job_id, rows))
        if self.conditions.dead_inputs and self.settings.brake_psi and len(rows) >= RECORDS_MIN:
            self.problems.append(
                f"garbage_pushed: all {len(rows)} records of job {job_id} have the same scores, and nobody said yes"
            )
        self.say(f"upload {job_id}: {' '.join(f'{i}@{s}' for i, s, _ in rows)}")

    def note_refused(self) -> None:
        """Count that the org has refused what was signed in with."""
        self.refused[self.conditions.secret] += 1

    def let_call_take_long(self) -> None:
        """Let the time pass that a run's call takes, and see that the run still has its object (D3)."""
        process = self.scheduler.current
        if process is None or not self.conditions.call_seconds or "run" not in process.facts:
            return

        self.advance(timedelta(seconds=self.conditions.call_seconds))
        for clients in process.facts["resource"].opened:
            for name in clients.leases:
                if clients.ledger.leases.holder(name, clients.now()) != clients.run_id:
                    self.problems.append(
                        f"lease_ran_out: {clients.run_id} is at work, and has not had {name} since its last call"
                    )

    def note_half_copied(self, rows: int) -> None:
        """Take it for wrong that files score which a deploy has half copied (R17)."""
        self.problems.append(f"half_copied: {rows} records were scored by half the new files")

    def hide(self, name: str, field_name: str) -> None:
        """Hide a field from the user, until all faults stop."""
        hidden = {"object": name, "field": field_name}
        self.stage.org.control("POST", "permissions", hidden | {"read": False, "edit": False})
        self.hidden.append(hidden)

    def note_scored(self, table: pa.Table) -> None:
        """Remember when the process began that scored these rows: later it must have left gone ones alone."""
        process = self.scheduler.current
        began = process.serial if process else self.serial
        stamps = table.column(STAMP_COLUMN).to_pylist()
        for record_id, stamp in zip(table.column("Id").to_pylist(), stamps, strict=True):
            self.scored_from[record_id, f"{stamp:%Y-%m-%dT%H:%M:%S}"] = began

    # -- time --------------------------------------------------------------------------------------

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self.settings.zone).date()

    def advance(self, span: timedelta) -> None:
        """Let time pass."""
        self.time += span
        self._set_clock()

    def _set_clock(self) -> None:
        body = {"now": self.now().isoformat(timespec="milliseconds"), "frozen": True}
        self.stage.org.control("POST", "clock", body)
        self.note_limits()

    def note_limits(self) -> None:
        """Note what may be scored on this day by whoever is at work, whatever settings it has read."""
        alive = [p.facts.get("limit", 0) for p in self.scheduler.alive]
        self.limits_of[self.today] = max(self.limits_of[self.today], self.limit, *alive, 0)

    def to_local(self, at: time, *, later: bool = True) -> timedelta:
        """Return how long it is until a wall-clock time comes next."""
        local = self.now().astimezone(self.settings.zone)
        day = local.date() + timedelta(days=1 if later and at <= local.time() else 0)
        moment = datetime.combine(day, at, self.settings.zone).astimezone(UTC)
        return max(timedelta(seconds=1), moment - self.time)

    # -- processes ---------------------------------------------------------------------------------

    def _process(self, name: str, body: Callable[[Process], None]) -> Process:
        self.serial += 1
        return Process(name, body, self.serial, {"limit": self.limit})

    def _resource(self, folder: str = HERE) -> SimResource:
        return SimResource(self, folder)

    def start_run(self, run: Run) -> Process:
        """Launch a run: a process of its own."""
        self.runs += 1
        self.say(
            f"launch {run.run_id}: {run.job} {' '.join(run.keys)}"
            + (" again" if run.retries else "")
        )
        process = self._process(run.run_id, lambda process: self._work(process, run))
        process.facts["run"] = run
        return process

    def new_run(self, job: str, name: str, *, by_daemon: bool) -> Run:
        """Return a work run on today's partition."""
        key = str(partition_key(self.today, name))
        run_id = f"r{self.runs:03d}{'d' if by_daemon else 'h'}-{name.lower()}"
        tags = {WORK_TAG: "true"}
        return Run(job, name, [key], run_id, None, self.now(), tags, by_daemon=by_daemon)

    def _work(self, process: Process, run: Run) -> None:
        """Do a run's assets one after another, as Dagster's executor does in its process."""
        resource = process.facts["resource"] = self._resource()
        context = Context(run, run.keys, Log(self.say), run.created_at)
        try:
            for asset in JOBS[run.job][0]:
                process.step = asset
                if asset not in run.done:
                    if not self._asset(context, resource, asset):
                        return  # nothing materialized: what follows is skipped
                    run.done.add(asset)
        except dg.Failure as failure:
            self.say(f"FAILED at {process.step}: {(failure.description or '')[:160]}")
        except Exception as error:  # noqa: BLE001  sorted out there
            self._sort_out(error, process)
        finally:
            process.step = "teardown"
            self._closed(resource, process)

    def _asset(self, context: Any, resource: Any, asset: str) -> bool:
        if asset == CHANGED_RECORDS:
            for clients, name, _ in partitions_of(context, resource):
                _stopping(partial(check_and_roll_out, clients, [name]))
        done = list(run_step(context, resource, STEPS[asset]))
        for one in done:
            self.say(f"done {asset} {one.object} {one.day} {_figures(one)}")
        return bool(done)

    def _sort_out(self, error: Exception, process: Process) -> None:
        """Take what a full disk raises; anything else is a fault of the pipeline."""
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        self.say(f"RAISED at {process.step}: {type(error).__name__}: {str(error)[:160]}")
        if not full:
            import traceback

            where = "".join(traceback.format_exception(error))[-1500:]
            self.problems.append(f"unexpected error in {process.name} at {process.step}: {where}")

    def _closed(self, resource: SimResource, process: Process) -> None:
        try:
            resource.close()
        except InsightsError as error:
            self.say(f"teardown: {str(error)[:120]}")
        except Exception as error:  # noqa: BLE001
            self._sort_out(error, process)

    def tick(self) -> Process:
        """Let the daemon evaluate the sensor: a process; what it asks for is launched when it ends."""
        return self._process(f"tick{self.serial}", self._tick)

    def _tick(self, process: Process) -> None:
        resource = self._resource()
        process.facts["asked"] = []
        try:
            clients = resource.get("tick-salesforce_changes")
            watched = watch(clients)
            busy, cursor = self.busy(), dict(self.cursor)
            for wanted in watched.wanted:
                if wanted.object in busy:
                    continue
                remembered = f"{wanted.object} {wanted.job} {wanted.topic}".rstrip()
                attempt = _attempt(cursor.get(remembered), wanted, clients.now(), Interval)
                if attempt is None:
                    continue
                cursor[remembered] = _Asked(
                    f"{wanted.job} {wanted.situation}", attempt, clients.now()
                )
                process.facts["asked"].append((wanted.job, wanted.object))
                busy.add(wanted.object)
            self.cursor = cursor
            self.say(f"asks {process.facts['asked']}; {dict(watched.skips)}"[:400])
        except InsightsError as error:
            self.say(f"tick skipped: {str(error)[:120]}")
        except Exception as error:  # noqa: BLE001
            self._sort_out(error, process)
        finally:
            self._closed(resource, process)

    def busy(self) -> set[str]:
        """Return the objects that a run of the daemon works on, or did when its process died."""
        alive = [p.facts["run"] for p in self.scheduler.alive if "run" in p.facts]
        return {run.object for run in (*alive, *self.dead) if run.by_daemon}

    def command(
        self, name: str, step: Callable[[Clients], Any], elsewhere: str | None = None
    ) -> Process:
        """Let a person give a command in a process of its own.

        With `elsewhere` it is given in another checkout, whose markets have that version.
        """
        folder = f"{ELSEWHERE}/{elsewhere}" if elsewhere else HERE

        def body(process: Process) -> None:
            resource = self._resource(folder)
            try:
                step(resource.get(f"c{process.serial}"))
                process.facts["went_well"] = True
            except InsightsError as error:
                self.say(f"{name}: {str(error)[:120]}")
            except Exception as error:  # noqa: BLE001
                self._sort_out(error, process)
            finally:
                self._closed(resource, process)

        return self._process(name, body)

    def ended(self, process: Process) -> None:
        """See to what follows from a process's end."""
        if process.error is not None:
            raise process.error
        run = process.facts.get("run")
        if process.killed and run is not None and run.by_daemon:
            self.dead.append(run)
        if not process.killed:
            for job, name in process.facts.get("asked", ()):
                self._launch(self.start_run(self.new_run(job, name, by_daemon=True)))

    def _launch(self, process: Process) -> None:
        if self.scheduler.quiet:
            self.finish(process)
        else:
            self.scheduler.spawn(process)

    def finish(self, process: Process) -> None:
        """Let a process do all its work."""
        self.scheduler.run(process)
        self.ended(process)

    def turn(self, process: Process) -> None:
        """Give a process its turn."""
        self.scheduler.turn(process)
        if process.finished:
            self.ended(process)

    def monitor(self) -> None:
        """Let Dagster's run monitoring find the runs whose process died: started again, or given up."""
        for run in self.dead:
            if run.retries < RETRIES_MAX and self.chance.random() < 0.7:
                again = replace(
                    run,
                    run_id=f"{run.run_id}+",
                    root_run_id=run.root_run_id or run.run_id,
                    retries=run.retries + 1,
                )
                self._launch(self.start_run(again))
        self.dead = []

    # -- the schedule ------------------------------------------------------------------------------

    def play(self) -> list[str]:
        """Play the schedule to its end and return what is wrong then."""
        from tests.simulation.invariants import broken

        try:
            self._prologue()
            self._chaos()
            self._quiet()
            self.problems += broken(self)
        finally:
            for process in list(self.scheduler.alive):
                self.scheduler.kill(process)
            for client in self.clients:
                client.close()
        return self.problems

    def _prologue(self) -> None:
        """Let the org have records, and turn the integrations on, however often that is killed."""
        self.say(
            f"{self.zone_name} {self.shape} limit {self.limit} segment {self.segment_max} API {self.api_limit}"
        )
        self.chance.seed(f"{self.seed} begins")
        for _ in range(self.chance.randint(1, 4)):
            self.say(self.world.create())
        self.advance(timedelta(minutes=20))
        for attempt in range(10):
            self.scheduler.quiet = attempt > 3
            self.scheduler.deadly = {self.chance.choice(FIRST)}
            process = self.command("check", check_and_roll_out)
            self.finish(process)
            if process.facts.get("went_well"):
                break
        self.scheduler.quiet = False
        self.advance(timedelta(seconds=7))

    def _chaos(self) -> None:
        self.scheduler.deadly = set(self.deadly)
        for event in self.script.events if self.script else self._drawn():
            self.chance.seed(event.seed)
            self.given = event.given
            self._happen(event)

    def _drawn(self) -> Iterator[Event]:
        """Draw one event after the other, as things stand when it is its turn."""
        from tests.simulation.acts import ACTS, mood

        factors = mood(self)
        names = list(ACTS)
        weights = [weight * factors.get(name, 1) for name, (weight, _) in ACTS.items()]
        draws = Random(f"{self.seed} events")
        for _ in range(self.length):
            goes_on = self.scheduler.alive and draws.random() < 0.6
            what = TURN if goes_on else draws.choices(names, weights)[0]
            yield Event(what, draws.getrandbits(32))

    def _happen(self, event: Event) -> None:
        from tests.simulation.acts import ACTS

        if event.what == TURN:
            if self.scheduler.alive:
                process = self.chance.choice(self.scheduler.alive)
                self.turn(process)
                self.happened.append(replace(event, said=process.name))
            return
        said = ACTS[event.what][1](self)
        if said is not None:
            self.acts[event.what] += 1
            self.say(f"{event.what}: {said}")
            self.happened.append(replace(event, said=said))

    def _quiet(self) -> None:
        """Stop all faults; what is left to do is done in the days that follow."""
        self.chance.seed(f"{self.seed} ends")
        self.say("-- faults stop")
        self.calm()
        self.segment_max = 100
        for process in list(self.scheduler.alive):
            if self.chance.random() < 0.3:
                self.kill(process)
        self.scheduler.quiet = True
        began = self.today
        for _ in range(RUN_TURNS_MAX):
            if not self.scheduler.alive:
                break
            self.turn(self.chance.choice(self.scheduler.alive))
        self.monitor()
        self.let_jobs_run()
        for name in self.paused():
            self.finish(self.command(f"resume {name}", partial(resume, name=name)))
        if self.settings.brake_psi:
            self.finish(self.command("release", partial(release, discard=True)))
        self.finish(self.command("check", check_and_roll_out))
        if self.chance.random() < 0.7:
            self.say(self.world.mend())
        self._overlap_passes()
        self._days(began)
        if self.chance.random() < 0.2:
            self._an_ordinary_day()
            self._days(self.today)

    def _overlap_passes(self) -> None:
        self.advance(timedelta(minutes=11))
        self._ticks()

    def _an_ordinary_day(self) -> None:
        """Let people go on working, some in transactions that take long."""
        self.say("-- an ordinary day")
        for _ in range(2):
            self.say(self.world.edit_late())
            self.advance(timedelta(seconds=5))
        self.say(self.world.edit())
        self.advance(timedelta(seconds=12))
        self._ticks()
        self._overlap_passes()

    def _days(self, began: date) -> None:
        """Let days pass until nothing is left to do; a daily pull after the day on which it `began` is among them."""
        for _ in range(DAYS_MAX):
            for at in QUIET_TIMES:
                self.advance(self.to_local(at))
                self._ticks()
            self.collect_results()
            if self.today > began and self.is_settled():
                return

    def _ticks(self) -> None:
        for _ in range(ROUNDS):
            process = self.tick()
            self.finish(process)
            if not process.facts["asked"]:
                return
            self.advance(timedelta(seconds=61))

    def kill(self, process: Process) -> None:
        """Kill a process where it stands."""
        self.say(f"kill {process.name}")
        self.scheduler.kill(process)
        run = process.facts.get("run")
        if run is not None and run.by_daemon:
            self.dead.append(run)

    def kill_all(self) -> None:
        """Let the power fail."""
        for process in list(self.scheduler.alive):
            self.kill(process)

    def finish_quietly(self, process: Process) -> None:
        """Let a process do all its work, with nothing in its way."""
        self.scheduler.quiet, quiet = True, self.scheduler.quiet
        self.finish(process)
        self.scheduler.quiet = quiet

    def calm(self) -> None:
        """Take all faults away."""
        for fault in self.stage.org.control("GET", "faults"):
            self.fired[fault["kind"]] += fault["fired"]
        self.stage.org.clear_faults()
        self.stage.org.set_options(query_page_rows=2000)
        self.stage.org.control("GET", "jobs/idle?timeout_seconds=10")
        self.jobs_stuck = self.disk_full = self.ledger_full = False
        self.markets_down.clear()
        self.conditions = Conditions()
        while self.hidden:
            self.stage.org.control("POST", "permissions", self.hidden.pop() | {"clear": True})
        self.collect_results()

    def paused(self) -> list[str]:
        """Return the names of the paused integrations."""
        ledger = Ledger(self.stage.url)
        states = ledger.integrations.all()
        ledger.close()
        return [
            i.name
            for i in self.configuration().integrations
            if (state := states.get(i.key)) and state.paused_at
        ]

    def is_settled(self) -> bool:
        """Say whether nothing is left that time would change."""
        from tests.simulation.invariants import waiting_without_reason

        return not waiting_without_reason(self)


def _noting_slowed(clients: Clients, summary: Any) -> Any:
    """Note which records a pull has slowed down."""
    running().slowed += summary.slowed_examples
    return summary


def _stopping(step: Callable[[], Any]) -> None:
    try:
        step()
    except InsightsError as error:
        raise dg.Failure(description=str(error)) from error


def _figures(done: Any) -> str:
    summary = done.summary
    if summary is None:
        return f"asked again {done.asked_again}"
    names = ("read", "claimed", "resumed", "scored", "settled", "pushed", "failed", "in_flight")
    return " ".join(f"{n} {getattr(summary, n)}" for n in names if getattr(summary, n, 0))
