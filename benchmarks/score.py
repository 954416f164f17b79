"""Scoring: what the pipeline adds to a bare pass of the model over the same records.

python -m benchmarks score
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from benchmarks.data import Stage, leads_csv
from benchmarks.measuring import Figures, best, timed
from benchmarks.report import Section, count, ratio, seconds

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.scoring.scope import ScoringScope
    from pipeline.steps.clients import Clients


def measure(stage: Stage, times: int) -> Section:
    """Score all leads, in a fresh process each time."""
    figures = best(times, "benchmarks.score:scored", stage.environment, leads=stage.leads)
    section = Section(
        f"Score: {count(stage.leads)} leads, 100 trees over 30 features",
        ("what", "wall s", "CPU s", "times a bare pass (CPU)"),
    )
    rows = {
        "the trees alone (scikit-learn)": "trees",
        "a bare pass of the model: 30 features, then the trees": "bare",
        "the same model in the market's own process": "remote",
        "**score a segment: inputs, model, checks of every value**": "score",
        "**what is to be pushed and kept, as tables**": "result",
    }
    for what, name in rows.items():
        wall, cpu = figures[f"{name}_wall"], figures[f"{name}_cpu"]
        section.add(what, seconds(wall), seconds(cpu), ratio(cpu, figures["bare_cpu"]))
    per = figures["score_wall"] / stage.leads * 1e5
    section.target("score: 100 trees, 30 features, wall s", per, 0.4, " per 100,000")
    return section


def bare_model(clients: Clients) -> Any:
    """Return the market's model, loaded into this process."""
    from pathlib import Path

    from benchmarks.market.model import load
    from resources.environment import config_folder

    folder = Path(config_folder()) / "markets" / next(iter(clients.configuration.markets))
    return load(folder)


def pulled(scope: ScoringScope, leads: int) -> pa.Table:
    """Return generated leads as a pull reads them, none scored yet."""
    from datetime import UTC, datetime

    import pyarrow as pa
    from pyarrow import csv

    read = csv.read_csv(io.BytesIO(leads_csv(0, leads)))
    ids = pa.array([f"00Q{n:012d}AAA" for n in range(leads)])
    now = pa.array([datetime.now(UTC)] * leads, pa.timestamp("ms", "UTC"))
    known = {"Id": ids, "SystemModstamp": now, "CreatedDate": now}
    columns = []
    for field in scope.schema:
        if field.name in known:
            columns.append(known[field.name])
        elif field.name in read.column_names:
            columns.append(read.column(field.name).cast(field.type))
        else:
            columns.append(pa.nulls(leads, field.type))
    return pa.table(columns, schema=scope.schema)


def scored(leads: int) -> Figures:
    """Score generated leads in several ways; the first pass of each is not measured."""
    from datetime import UTC, datetime

    from benchmarks.market.model import features
    from pipeline.commands.clients import opened_clients
    from pipeline.core.scoring.due import row_statuses
    from pipeline.core.scoring.results import segment_result
    from pipeline.steps.preflight import check_once, scope_of
    from pipeline.steps.score_market import model_inputs, score_markets
    from pipeline.steps.score_summary import ScoreSummary

    figures: Figures = {}
    with opened_clients() as clients:
        scope = scope_of(clients, "Lead", check_once(clients, "Lead"))
        table = pulled(scope, leads)
        integration = scope.integrations[0]
        market = scope.markets[integration.market]
        inputs = model_inputs(integration, market, table)
        bare, remote, statuses = (
            bare_model(clients),
            clients.models.get(market),
            row_statuses(scope, table),
        )
        matrix = features(inputs)
        steps: dict[str, Any] = {
            "trees": lambda: bare.trees.predict(matrix),
            "bare": lambda: bare.score(inputs),
            "remote": lambda: remote.score(inputs),
            "score": lambda: score_markets(clients, scope, table, statuses, ScoreSummary("Lead")),
        }
        for name, step in steps.items():
            step()
            with timed() as cost:
                given = step()
            figures |= cost.figures(name)
        reasons = dict.fromkeys(table.column("Id").to_pylist(), "new")
        with timed() as cost:
            segment_result(scope, datetime.now(UTC), table, statuses, given, reasons)
        figures |= cost.figures("result")
    return figures
