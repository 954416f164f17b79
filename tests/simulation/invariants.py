"""What must hold once faults have stopped and days enough have passed; each breach says of which record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from pipeline.core.configuration.integration import DATETIME_FIELD, HASH_FIELD, Integration
from pipeline.core.limit.push_windows import is_open
from pipeline.core.limit.row_faults import JOB_FAULTS
from pipeline.core.scoring.digest import digests, stored_digests
from pipeline.steps.changed_files import OTHERS_ROLLOUT_HOLDS
from resources.ledger import tables as t
from resources.ledger.counts import FAILED
from resources.ledger.ledger import Ledger
from tests.simulation.clients import expected
from tests.simulation.schedule import Schedule
from tests.simulation.world import BAD, FAIL, TITLE_OF

OUTPUT_OF: Final = {"score": "score", "rank": "rank", "note": "note", "good": "good"}


def broken(schedule: Schedule) -> list[str]:
    """Return every breach of what is promised."""
    found = [f"waiting: {line}" for line in waiting_without_reason(schedule)]
    for check in (
        left_behind,
        current_values,
        daily_limit,
        pushed_twice,
        jobs_left_open,
        written_when_gone,
        redone,
        blamed_for_jobs,
        begun_while_stopped,
        begun_outside_windows,
        slowed_people,
        locked_out,
        rolled_out_by_turns,
    ):
        found += [f"{check.__name__}: {line}" for line in check(schedule)]
    return found


def _rows(schedule: Schedule, table: sa.Table) -> list[Mapping[str, Any]]:
    ledger = Ledger(schedule.stage.url)
    with ledger.database.read() as connection:
        rows: list[Mapping[str, Any]] = [
            dict(row) for row in connection.execute(sa.select(table)).mappings()
        ]
    ledger.close()
    return rows


def _records(schedule: Schedule, name: str) -> list[dict[str, Any]]:
    """Return the object's records of this schedule that a pipeline may score."""
    described = {
        field
        for i in schedule.configuration().of_object(name)
        for field in (*i.inputs.values(), *i.important_fields, *i.outputs.values())
    }
    columns = [
        "Id",
        "IsDeleted",
        HASH_FIELD,
        DATETIME_FIELD,
        TITLE_OF[name],
        "Fit_Candidate__c",
        "Other_Candidate__c",
        *described,
        *(["IsConverted"] if name == "Lead" else []),
    ]
    rows = schedule.stage.org.query(f"SELECT {', '.join(dict.fromkeys(columns))} FROM {name}")
    own = set(schedule.world.ids[name])
    return [
        row
        for row in rows
        if row["Id"] in own and not row["IsDeleted"] and not row.get("IsConverted")
    ]


def _candidates(
    integrations: tuple[Integration, ...], record: Mapping[str, Any]
) -> list[Integration]:
    """Return the integrations that score the record; none where two claim it that write one field (R6)."""
    claiming = [i for i in integrations if not i.candidate_field or record[i.candidate_field]]
    return [
        i
        for i in claiming
        if not any(
            i is not other and set(i.outputs.values()) & set(other.outputs.values())
            for other in claiming
        )
    ]


def _value(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for part in path.split("."):
        value = value[part] if value else None
    return value


def waiting_without_reason(schedule: Schedule) -> list[str]:
    """Return what waits though nothing is in its way: only what fails by its own values may."""
    found = [
        f"segment {row['segment_id']} of {row['object']} is left {row['state']}"
        for row in _rows(schedule, t.segments)
        if row["state"] in ("claimed", "scored")
    ]
    rows = _rows(schedule, t.waiting)
    names = {row["object"] for row in rows}
    there = {record["Id"]: record[TITLE_OF[n]] for n in names for record in _records(schedule, n)}
    found += [
        f"{row['object']} {row['record_id']} waits as {row['reason']} until {row['not_before']}, error "
        f"{row['error_code']}: {row['error_message']}, held for {row['held_for']}, and nothing is in its way"
        for row in rows
        # A record that was deleted while it failed is found out at its next try.
        if there.get(row["record_id"], BAD) not in FAIL or not row["error_code"]
    ]
    return found


def failing_records(schedule: Schedule) -> list[str]:
    """Return the records that keep failing, with their codes."""
    return [
        f"{row['object']} {row['record_id']} fails: {row['error_code']}"
        for row in _rows(schedule, t.waiting)
        if row["error_code"]
    ]


def current_values(schedule: Schedule) -> list[str]:
    """Every candidate without a lasting failure carries the scores, hash and insights of its current values."""
    found: list[str] = []
    configuration = schedule.configuration()
    states = {(row["object"], row["market"]): row for row in _rows(schedule, t.integrations)}
    failing = {row["record_id"] for row in _rows(schedule, t.waiting) if row["error_code"]}
    for name in configuration.objects:
        for record in _records(schedule, name):
            for integration in _candidates(configuration.of_object(name), record):
                if record[TITLE_OF[name]] in FAIL:
                    if record["Id"] not in failing:
                        found.append(
                            f"{name} {record['Id']} cannot be scored and is not listed as failing"
                        )
                    continue
                state = states[name, integration.market]
                found += _of_market(schedule, record, integration, state["enabled_at"])
    return found


def _of_market(
    schedule: Schedule, record: Mapping[str, Any], integration: Integration, since: datetime
) -> Iterator[str]:
    """Yield what one market's values on one record lack."""
    who = f"{integration.object} {record['Id']} {integration.market}"
    fields = integration.important_fields
    values = pa.table({f: pa.array([_value(record, f)], pa.string()) for f in fields})
    digest = digests(values, fields)[0].as_py()
    hashes = pa.chunked_array([pa.array([record[HASH_FIELD]], pa.string())])
    stored = stored_digests(hashes, integration.tag)[0].as_py()
    if stored != digest:
        shown = {f: _value(record, f) for f in fields}
        yield f"{who}: the hash holds {stored}, its values {shown} give {digest}"
    stamp = record[DATETIME_FIELD]
    if stamp is None:
        yield f"{who}: {DATETIME_FIELD} is empty"
    elif datetime.fromisoformat(stamp) < since - timedelta(seconds=1):
        yield f"{who}: scored at {stamp}, before the market was rolled out at {since}"
    wanted = list(_outputs(schedule, record, integration))
    actual = {output: record[field] for output, field in integration.outputs.items()}
    if not any(_alike(actual, outputs) for outputs in wanted):
        yield f"{who}: carries {actual}, its values give {wanted[0]}"


def _alike(actual: Mapping[str, Any], outputs: Mapping[str, Any]) -> bool:
    return all((actual[name] or None) == (outputs[name] or None) for name in actual)


def _outputs(
    schedule: Schedule, record: Mapping[str, Any], integration: Integration
) -> Iterator[dict[str, Any]]:
    """Yield the outputs that the record may carry: a contact may have been scored under its account's older name."""
    market = schedule.configuration().markets[integration.market]
    company = _value(record, integration.inputs["company"])
    companies = [company]
    if integration.object == "Contact" and not integration.account_changes:
        companies += sorted(schedule.world.names_of.get(record["AccountId"] or "", ()))
    for one in companies:
        inputs = pa.table(
            {
                "company": pa.array([one], pa.string()),
                "title": pa.array([_value(record, integration.inputs["title"])], pa.string()),
            }
        )
        row = expected(schedule, inputs, market.version).to_pylist()[0]
        note = (row["note"] or "").strip()
        yield {**row, "note": note}


def _day_of(schedule: Schedule, stamp: str) -> date:
    moment = datetime.fromisoformat(stamp[:19]).replace(tzinfo=UTC)
    return moment.astimezone(schedule.settings.zone).date()


def daily_limit(schedule: Schedule) -> Iterator[str]:
    """On no day were more records scored than the limit, counted by the stamps of what was uploaded."""
    scored: defaultdict[date, set[tuple[str, str]]] = defaultdict(set)
    for _, _, rows in schedule.uploads:
        for record_id, stamp, _ in rows:
            scored[_day_of(schedule, stamp)].add((record_id, stamp[:19]))
    both = {schedule._day(at) for at in schedule.restored_at} & {
        schedule._day(at) for at in schedule.lake_lost_at
    }
    for day, rows_of_day in scored.items():
        limit = schedule.limits_of[day]
        if len(rows_of_day) > limit and day not in both:
            yield f"{len(rows_of_day)} records were scored on {day}, the limit was {limit}"


def pushed_twice(schedule: Schedule) -> Iterator[str]:
    """No record was written twice for one scoring, save where a restored ledger has forgotten the first time.

    Even then the record tells what was written, unless its values have changed since, or its datetime was cleared.
    """
    written: dict[tuple[str, str], tuple[datetime, str, str]] = {}
    for at, job_id, rows in schedule.uploads:
        saved = set(schedule.succeeded.get(job_id, ()))
        for record_id, stamp, digest in rows:
            if record_id not in saved:
                continue
            before = written.get((record_id, stamp))
            written[record_id, stamp] = (at, job_id, digest)
            if before is None:
                continue
            forgotten = any(before[0] <= moment <= at for moment in schedule.restored_at)
            if not (forgotten and (before[2] != digest or record_id in schedule.world.cleared)):
                yield f"{record_id} was written twice with {stamp}, by {before[1]} and {job_id}"


def begun_while_stopped(schedule: Schedule) -> Iterator[str]:
    """While everything was stopped, nothing was claimed and no bulk job was made."""
    for what, at in _begun(schedule):
        if any(since < at < until for since, until in schedule.stopped):
            yield f"{what} was begun at {at}, while everything was stopped"


def begun_outside_windows(schedule: Schedule) -> Iterator[str]:
    """Outside the push windows nothing was claimed and no bulk job was made (R22)."""
    settings = schedule.settings
    for what, at in _begun(schedule):
        if not is_open(settings.windows, at.astimezone(settings.zone).time()):
            yield f"{what} was begun at {at}, outside the windows {settings.push_windows}"


def _begun(schedule: Schedule) -> list[tuple[str, datetime]]:
    """Return the segments that were claimed and the bulk jobs that were made, each with when."""
    segments, jobs = _rows(schedule, t.segments), _rows(schedule, t.push_jobs)
    begun = [(f"segment {row['segment_id']}", row["created_at"]) for row in segments]
    return begun + [(f"job {row['job_id']}", row["created_at"]) for row in jobs]


def slowed_people(schedule: Schedule) -> Iterator[str]:
    """A record that people alone change, at hours, is never slowed down (R15)."""
    if schedule.acts["hourly edits"]:
        yield from (f"{record_id} was slowed down" for record_id in schedule.slowed)


def locked_out(schedule: Schedule) -> Iterator[str]:
    """Credentials that were refused for good are sent once: a user is locked after some tries (R3)."""
    for times in schedule.refused.values():
        if times > 1:
            yield f"the same wrong credentials were sent {times} times"


def rolled_out_by_turns(schedule: Schedule) -> Iterator[str]:
    """What another deployment rolled out is not rolled out anew within the hour (R17)."""
    for row in _rows(schedule, t.integrations):
        for theirs in schedule.rolled_out_elsewhere:
            if theirs < row["enabled_at"] < theirs + OTHERS_ROLLOUT_HOLDS:
                yield (
                    f"{row['object']}.{row['market']} was rolled out at {row['enabled_at']}, "
                    f"and by another deployment at {theirs}"
                )


def jobs_left_open(schedule: Schedule) -> Iterator[str]:
    """No job whose id the ledger knows is left open in the org."""
    known = {row["job_id"]: row["state"] for row in _rows(schedule, t.push_jobs)}
    for job in schedule.stage.org.control("GET", "jobs"):
        if job["id"] in known and not job["ended"]:
            yield f"job {job['id']} is {job['state']} in the org and {known[job['id']]} in the ledger"


def written_when_gone(schedule: Schedule) -> Iterator[str]:
    """What was converted, deleted or merged away before a run began was not written by it (R25)."""
    # What a late commit or an administrator brought back is there again.
    back = {record["Id"] for name in schedule.world.ids for record in _records(schedule, name)}
    for _, job_id, rows in schedule.uploads:
        for record_id, stamp, _ in rows:
            gone_at = None if record_id in back else schedule.world.gone_at.get(record_id)
            began = schedule.scored_from.get((record_id, stamp[:19]))
            if gone_at is not None and began is not None and gone_at < began:
                yield f"{record_id} was gone before the run that scored it began, and is in job {job_id}"


def left_behind(schedule: Schedule) -> Iterator[str]:
    """No working file outlives its segment, and no half-written one the next run (R24)."""
    for path in (schedule.lake / "_work").glob("*"):
        if not path.name.startswith("job-"):  # notes go at the next push
            yield f"{path.name} is left in the lake's working folder"


def blamed_for_jobs(schedule: Schedule) -> Iterator[str]:
    """No record failed by what a job failed with (R23), unless its scores were lost with the lake."""
    if schedule.restored_at or schedule.lake_lost_at:
        return
    for row in _rows(schedule, t.day_counts):
        kind, _, code = row["name"].partition(":")
        if kind == FAILED and code in JOB_FAULTS and row["records"]:
            yield f"{row['records']} of {row['object']} failed by {code} on {row['day']}"


def redone(schedule: Schedule) -> Iterator[str]:
    """What a backfill asked for has been scored again since (R28)."""
    for name, ids, asked_at, process in schedule.redos:
        if process.killed or "score_and_push" not in process.facts["run"].job:
            continue
        if not process.facts["run"].done:
            continue
        integrations = schedule.configuration().of_object(name)
        for record in _records(schedule, name):
            if record["Id"] not in ids or record[TITLE_OF[name]] in FAIL:
                continue
            if not _candidates(integrations, record):
                continue
            stamp = record[DATETIME_FIELD]
            if stamp is None or datetime.fromisoformat(stamp) < asked_at - timedelta(seconds=1):
                yield f"{name} {record['Id']} was asked for again at {asked_at}, and was last scored at {stamp}"
