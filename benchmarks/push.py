"""Pushing updates and reading every row's result back, against a raw upload of a ready CSV.

python -m benchmarks push
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.data import Stage
from benchmarks.measuring import Figures, best, timed
from benchmarks.report import Section, count, ratio, seconds

if TYPE_CHECKING:
    import pyarrow as pa

JOB_SECONDS = 900


def measure(stage: Stage, times: int) -> Section:
    """Update all leads in several ways, each in a process of its own."""
    leads, variables = min(stage.leads, 100_000), stage.environment
    ways = {
        "raw upload of a ready CSV, its results downloaded (the limit)": "raw",
        "**this pipeline: Arrow to CSV to job, every row's result matched**": "ours",
        "simple-salesforce `bulk2`, from a ready CSV file": "bulk2",
    }
    found = {w: best(times, f"benchmarks.push:{w}", variables, leads=leads) for w in ways.values()}
    section = Section(
        f"Push: {count(leads)} updates of 6 fields",
        ("what", "CPU s", "times the limit", "wall s", "records/s", "calls"),
    )
    for what, way in ways.items():
        figures = found[way]
        section.add(
            what,
            seconds(figures["cpu"]),
            ratio(figures["cpu"], found["raw"]["cpu"]),
            seconds(figures["wall"]),
            count(leads / figures["wall"]),
            figures.get("calls", "-"),
        )
    per = found["ours"]["cpu"] / leads * 1e5
    section.target("push: CSV, job, all results matched, CPU s", per, 0.5, " per 100,000")
    section.note(
        "simple-salesforce waits 5 s before it first looks at a job: its wall time holds that."
    )
    return section


def updates(leads: int) -> pa.Table:
    """Return new values for the first leads of the org, as the pipeline would push them."""
    from datetime import UTC, datetime

    import pyarrow as pa

    from benchmarks.clients import Plain

    plain = Plain()
    pages = plain.pages(plain.query_job("SELECT Id FROM Lead"))
    lines = [line for page in pages for line in page.decode().replace('"', "").split()[1:]]
    ids = lines[:leads]
    now = datetime.now(UTC).replace(microsecond=0)
    return pa.table(
        {
            "Id": ids,
            "Mintigo_hash__c": [f"1.abcd{n:020x}" for n in range(len(ids))],
            "Mintigo_update_datetime__c": pa.array([now] * len(ids), pa.timestamp("ms", "UTC")),
            "PI_Score__c": pa.array([n % 101 for n in range(len(ids))], pa.int64()),
            "PI_Rank__c": ["ABCD"[n % 4] for n in range(len(ids))],
            "PI_Note__c": [f"Large company {n % 7}" for n in range(len(ids))],
            "PI_Good__c": [n % 2 == 0 for n in range(len(ids))],
        }
    )


def raw(leads: int) -> Figures:
    """Upload a ready CSV by plain HTTP calls, wait, and download the results, unread."""
    from benchmarks.clients import Plain
    from resources.salesforce.update_csv import update_csv

    csv = update_csv(updates(leads))
    plain = Plain()
    with timed() as cost:
        job = plain.update_job(csv)
        results = plain.results(job["id"])
    return _checked(cost.figures(), results.count(b"\n") - 1, leads)


def ours(leads: int) -> Figures:
    """Push by the pipeline's client: every sent id must be among the results."""
    import pyarrow.compute as pc

    from pipeline.commands.clients import opened_clients
    from resources.salesforce.update_csv import update_csv

    table = updates(leads)
    with opened_clients() as clients:
        org = clients.org
        org.describe("Lead")
        before = clients.ledger.calls.total(clients.today)
        with timed() as cost:
            job_id = org.create_ingest_job("Lead")
            org.upload(job_id, update_csv(table))
            org.close_job(job_id)
            job = org.wait_for_job(job_id, deadline_seconds=JOB_SECONDS, rows=table.num_rows)
            results = org.results(job, sent=table.num_rows)
            matched = pc.is_in(table.column("Id"), value_set=results.succeeded_ids)
            written = int(pc.sum(matched).as_py())
        calls = clients.ledger.calls.total(clients.today) - before
    return _checked({**cost.figures(), "calls": calls}, written, leads)


def bulk2(leads: int) -> Figures:
    """Push by simple-salesforce's bulk2, and read all three kinds of results."""
    import tempfile
    from pathlib import Path

    from benchmarks.clients import simple_salesforce
    from resources.salesforce.update_csv import update_csv

    csv = update_csv(updates(leads))
    client = simple_salesforce()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "updates.csv"
        path.write_bytes(csv)
        with timed() as cost:
            jobs: list[dict[str, Any]] = client.bulk2.Lead.update(str(path), batch_size=leads)
            results = [client.bulk2.Lead.get_all_ingest_records(job["job_id"]) for job in jobs]
    written = sum(len(result["successfulRecords"]) for result in results)
    return _checked(cost.figures(), written, leads)


def _checked(figures: Figures, written: int, leads: int) -> Figures:
    if written != leads:
        raise RuntimeError(f"{written} of {leads} rows were written")
    return figures
