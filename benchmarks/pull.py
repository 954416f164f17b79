"""Pulling leads from the org into Parquet, against the raw bytes and against simple-salesforce.

python -m benchmarks pull
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.data import PULLED, Stage
from benchmarks.measuring import Figures, best, fresh, timed
from benchmarks.report import Section, count, ratio, seconds

if TYPE_CHECKING:
    import pyarrow as pa

SOQL: Final = f"SELECT {', '.join(PULLED)} FROM Lead"  # noqa: S608  our own names
JOB_SECONDS: Final = 900
REST_LEADS_MAX: Final = 100_000
"""REST paging is measured up to here: a million rows take five hundred calls one after another."""


def measure(stage: Stage, times: int) -> Section:
    """Pull all leads in several ways, each in a process of its own."""
    leads, variables = stage.leads, stage.environment
    with tempfile.TemporaryDirectory() as folder:
        raw = fresh("benchmarks.pull:raw", variables, folder=folder)
        parsed = best(times, "benchmarks.pull:parsed", folder=folder)
    plain = best(times, "benchmarks.pull:plain", variables)
    ours = best(times, "benchmarks.pull:ours", variables)
    bulk2 = best(min(times, 2), "benchmarks.pull:bulk2", variables)
    rows = [
        ("the bytes parsed by pyarrow.csv alone (the limit)", parsed),
        ("plain `requests`, job and pages, parsed by pyarrow.csv", plain),
        ("**this pipeline: job to Parquet**", ours),
        ("simple-salesforce `bulk2`, parsed by pyarrow.csv", bulk2),
    ]
    if leads <= REST_LEADS_MAX:
        rest = fresh("benchmarks.pull:query_all_iter", variables)
        rows.append(("simple-salesforce `query_all_iter`", rest))
    section = Section(
        f"Pull: {count(leads)} leads x {len(PULLED)} fields",
        ("what", "CPU s", "times the limit", "wall s", "records/s", "calls", "peak MB"),
    )
    for name, figures in rows:
        section.add(
            name,
            seconds(figures["cpu"]),
            ratio(figures["cpu"], parsed["cpu"]),
            seconds(figures["wall"]),
            count(leads / figures["wall"]),
            figures.get("calls", "-"),
            round(figures["peak_mb"]),
        )
    section.target("pull, CPU s", ours["cpu"] / leads * 1e5, 0.6, " per 100,000")
    section.target(
        "pull, records/s against plain `requests`",
        plain["wall"] / ours["wall"],
        0.5,
        "",
        least=True,
    )
    section.note(f"The results are {raw['bytes'] / 1e6:.0f} MB of CSV.")
    section.note(
        "simple-salesforce waits 5 s before it first looks at a job: its wall time holds that."
    )
    return section


def _table(pages: Iterable[bytes]) -> pa.Table:
    """Parse pages of bulk results to the pipeline's types."""
    import pyarrow as pa
    from pyarrow import csv

    kinds = {
        "SystemModstamp": pa.timestamp("ms", "UTC"),
        "CreatedDate": pa.timestamp("ms", "UTC"),
        "Mintigo_update_datetime__c": pa.timestamp("ms", "UTC"),
        "NumberOfEmployees": pa.float64(),
        "AnnualRevenue": pa.float64(),
    }
    options = csv.ConvertOptions(
        column_types={name: kinds.get(name, pa.string()) for name in PULLED},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    parse = csv.ParseOptions(newlines_in_values=True)
    tables = [
        csv.read_csv(io.BytesIO(page), parse_options=parse, convert_options=options)
        for page in pages
    ]
    return pa.concat_tables(tables)


def raw(folder: str) -> Figures:
    """Save the raw pages of the query's results."""
    from benchmarks.clients import Plain

    plain = Plain()
    pages = plain.pages(plain.query_job(SOQL))
    for number, page in enumerate(pages):
        (Path(folder) / f"{number}.csv").write_bytes(page)
    return {"bytes": sum(map(len, pages))}


def parsed(folder: str) -> Figures:
    """Parse the saved pages: the limit of every client that ends in Arrow."""
    _table(
        [b"Id," + b",".join(n.encode() for n in PULLED[1:]) + b"\n"]
    )  # loads what is loaded once
    with timed() as cost:
        table = _table(path.read_bytes() for path in sorted(Path(folder).glob("*.csv")))
    return {**cost.figures(), "rows": table.num_rows}


def plain() -> Figures:
    """Pull by plain HTTP calls and pyarrow, without a care for anything that may go wrong."""
    from benchmarks.clients import Plain

    client = Plain()
    _table([b"Id," + b",".join(n.encode() for n in PULLED[1:]) + b"\n"])
    with timed() as cost:
        table = _table(client.pages(client.query_job(SOQL)))
    return {**cost.figures(), "rows": table.num_rows}


def ours() -> Figures:
    """Pull by the pipeline's own client, into a Parquet file."""
    import pyarrow.parquet as pq

    from pipeline.commands.clients import opened_clients
    from pipeline.steps.preflight import check_once, scope_of

    with opened_clients() as clients, tempfile.TemporaryFile() as file:
        schema = scope_of(clients, "Lead", check_once(clients, "Lead")).schema
        before, rows = clients.ledger.calls.total(clients.today), 0
        with timed() as cost, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in clients.org.bulk_query(SOQL, schema, deadline_seconds=JOB_SECONDS):
                writer.write_batch(batch)
                rows += batch.num_rows
        calls = clients.ledger.calls.total(clients.today) - before
    return {**cost.figures(), "rows": rows, "calls": calls}


def bulk2() -> Figures:
    """Pull by simple-salesforce's bulk2."""
    from benchmarks.clients import simple_salesforce

    client = simple_salesforce()
    with timed() as cost:
        pages = client.bulk2.Lead.query(SOQL, max_records=100_000)
        table = _table(page.encode() for page in pages)
    return {**cost.figures(), "rows": table.num_rows}


def query_all_iter() -> Figures:
    """Pull by simple-salesforce's REST paging."""
    import pyarrow as pa

    from benchmarks.clients import simple_salesforce

    client = simple_salesforce()

    def rows() -> Iterator[dict[str, Any]]:
        for record in client.query_all_iter(SOQL):
            record.pop("attributes")
            yield record

    with timed() as cost:
        table = pa.Table.from_pylist(list(rows()))
    return {**cost.figures(), "rows": table.num_rows, "calls": -(-table.num_rows // 2_000)}
