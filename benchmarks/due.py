"""Deciding which pulled records are due, and putting them on the waiting list.

python -m benchmarks due
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.data import Stage
from benchmarks.measuring import Figures, best, timed
from benchmarks.report import Section, count, ratio, seconds

if TYPE_CHECKING:
    import pyarrow as pa

HASHED: Final = ("Company", "Website", "Email", "Industry", "NumberOfEmployees")


def measure(stage: Stage, times: int) -> Section:
    """Decide on all leads, in a fresh process each time."""
    figures = best(times, "benchmarks.due:decide", stage.environment, leads=stage.leads)
    section = Section(
        f"Due: {count(stage.leads)} leads",
        ("what", "CPU s", "times sha256", "times a bare pass of the model"),
    )
    rows = {
        "sha256 over five joined columns (the limit)": "limit",
        "a bare pass of the model over the same leads": "model",
        "**normalise and digest five fields**": "digest",
        "**decide: digests, compare with what is stored, reasons**": "decide",
        "**put them all on the waiting list (new)**": "list",
        "the same once more (known already)": "again",
    }
    for what, name in rows.items():
        cpu = figures[f"{name}_cpu"]
        section.add(
            what, seconds(cpu), ratio(cpu, figures["limit_cpu"]), ratio(cpu, figures["model_cpu"])
        )
    per = figures["digest_cpu"] / stage.leads * 1e5
    section.target("due: normalise and hash 5 fields, CPU s", per, 0.15, " per 100,000")
    return section


def decide(leads: int) -> Figures:
    """Decide on generated leads, as the pull does with what it read."""
    import pyarrow as pa

    from benchmarks.score import bare_model, pulled
    from pipeline.commands.clients import opened_clients
    from pipeline.core.scoring.digest import digests
    from pipeline.core.scoring.due import due_after_pull, new_hashes, row_statuses
    from pipeline.steps.preflight import check_once, scope_of
    from pipeline.steps.score_market import model_inputs
    from resources.ledger.waiting import ScoringRequest

    figures: Figures = {}
    with opened_clients() as clients:
        scope = scope_of(clients, "Lead", check_once(clients, "Lead"))
        table = pulled(scope, leads)
        model = bare_model(clients)
        integration = scope.integrations[0]
        inputs = model_inputs(integration, scope.markets[integration.market], table)
        model.score(inputs.slice(0, 1_000))
        with timed() as cost:
            model.score(inputs)
        figures |= cost.figures("model")
        with timed() as cost:
            sha256(table)
        figures |= cost.figures("limit")
        with timed() as cost:
            digests(table, HASHED)
        figures |= cost.figures("digest")
        with timed() as cost:
            statuses = row_statuses(scope, table)
            reasons = due_after_pull(scope, table, statuses)
            hashes = new_hashes(scope, statuses)
        figures |= cost.figures("decide")
        lease = clients.lease("Lead")
        if lease is None:
            raise RuntimeError("the object is taken")
        columns = (table.column("Id"), reasons, table.column("SystemModstamp"), hashes)
        for name in ("list", "again"):
            now = clients.now()
            with timed() as cost:
                rows = zip(
                    *(
                        pa.chunked_array(c).to_pylist() if isinstance(c, list) else c.to_pylist()
                        for c in columns
                    ),
                    strict=True,
                )
                requests = [
                    ScoringRequest(i, reason, now, modstamp=stamp, hash=digest, order_at=stamp)
                    for i, reason, stamp, digest in rows
                ]
                clients.ledger.add_requests(lease, requests, now)
            figures |= cost.figures(name)
    return figures


def sha256(table: pa.Table) -> list[bytes]:
    """Return a plain hash over the same columns, joined: nothing normalised, nothing kept apart."""
    import hashlib

    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [pc.fill_null(pc.cast(table.column(name), pa.string()), "") for name in HASHED]
    joined = pc.cast(pc.binary_join_element_wise(*texts, "\x1f"), pa.binary())
    return [hashlib.sha256(row).digest() for row in joined.to_pylist()]
