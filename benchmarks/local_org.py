"""What the local org itself can do, so that nobody takes its limits for the pipeline's.

python -m benchmarks local_org
"""

from __future__ import annotations

from benchmarks.clients import Plain
from benchmarks.data import CUSTOM_FIELDS, LOADED_AT_ONCE, leads_csv
from benchmarks.measuring import peak_megabytes, timed
from benchmarks.pull import SOQL
from benchmarks.report import Section, count, seconds
from local_org.launch import RunningOrg, start

UPDATED_MAX = 100_000


def measure(leads: int) -> Section:
    """Load, count, query and update leads by plain HTTP calls."""
    section = Section(
        f"The local org by itself: {count(leads)} leads", ("what", "wall s", "rows/s", "MB/s")
    )
    with start() as org:
        org.add_fields(**CUSTOM_FIELDS)
        with timed() as cost:
            for first in range(0, leads, LOADED_AT_ONCE):
                rows = leads_csv(first, min(LOADED_AT_ONCE, leads - first))
                org.control("POST", "load?object=Lead", rows, content_type="text/csv")
        section.add("load over the control endpoint", *_speed(cost.wall, leads))
        client = Plain(org.base_url)
        with timed() as cost:
            client.call("GET", "query", params={"q": "SELECT COUNT() FROM Lead"})
        section.add("`SELECT COUNT()`", seconds(cost.wall), "-", "-")
        ids = _queried(client, section, leads)
        _updated(client, section, ids[:UPDATED_MAX])
        section.note(_peak(org))
    return section


def _queried(client: Plain, section: Section, leads: int) -> list[str]:
    with timed() as cost:
        job_id = client.query_job(SOQL)
    section.add("bulk query of 12 fields: the job", *_speed(cost.wall, leads))
    with timed() as cost:
        pages = client.pages(job_id)
    size = sum(map(len, pages))
    section.add("its results, downloaded", *_speed(cost.wall, leads, size))
    first = pages[0].decode().splitlines()[1 : UPDATED_MAX + 1]
    return [line.partition(",")[0].strip('"') for line in first]


def _updated(client: Plain, section: Section, ids: list[str]) -> None:
    lines = [f"{i},{n % 101},{'ABCD'[n % 4]},Large,true" for n, i in enumerate(ids)]
    header = "Id,PI_Score__c,PI_Rank__c,PI_Note__c,PI_Good__c"
    csv = "\n".join([header, *lines, ""]).encode()
    with timed() as cost:
        job = client.update_job(csv)
    if job["numberRecordsFailed"]:
        raise RuntimeError(f"{job['numberRecordsFailed']} rows failed")
    what = f"bulk update of {count(len(ids))} rows: upload and job"
    section.add(what, *_speed(cost.wall, len(ids), len(csv)))
    with timed() as cost:
        results = client.results(job["id"])
    section.add("its results, downloaded", *_speed(cost.wall, len(ids), len(results)))


def _speed(wall: float, rows: int, size: int | None = None) -> tuple[str, str, str]:
    per_second = "-" if size is None else f"{size / wall / 1e6:.0f}"
    return seconds(wall), count(rows / wall), per_second


def _peak(org: RunningOrg) -> str:
    held = peak_megabytes(org.process.pid) if org.process else 0.0
    return f"Over all of this the org's process held {held:.0f} MB at the most."
