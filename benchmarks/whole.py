"""The whole way of records, without Dagster's start: pull, score, push, in one process of its own."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.measuring import Figures, children, peak_megabytes, timed


def turn_on() -> Figures:
    """Hold the configuration against the org and turn the integrations on, as `insights check` does."""
    from pipeline.commands.clients import opened_clients
    from pipeline.steps.preflight import check_and_roll_out

    with opened_clients() as clients:
        found = check_and_roll_out(clients)
    return {"errors": [str(problem) for problem in found.errors]}


def run(name: str = "Lead") -> Figures:
    """Pull, score and push one object; return each step's cost, the API calls and the records."""
    import os

    import pandas as pd

    from pipeline.commands.clients import opened_clients
    from pipeline.core.scoring.outputs import ROW_HASH, ROW_ID
    from pipeline.core.scoring.schemas import row_schema
    from pipeline.steps.preflight import check_once, scope_of
    from pipeline.steps.pull import pull
    from pipeline.steps.push import push
    from pipeline.steps.score import score

    figures: Figures = {"start_mb": peak_megabytes()}
    with opened_clients() as clients:
        before = Counter(clients.ledger.calls.by_kind(clients.today))
        scope_of(
            clients, name, check_once(clients, name)
        )  # imports and the model's own start: `startup` measures them
        row_schema().validate(pd.DataFrame({ROW_ID: [], ROW_HASH: []}, dtype=str))  # pandera's rest
        figures["ready_mb"] = peak_megabytes()
        lease = clients.lease(name)
        if lease is None:
            raise RuntimeError("the object is taken")
        steps: dict[str, Any] = {"pull": pull, "score": score, "push": push}
        with timed() as total:
            for word, step in steps.items():
                with timed() as cost:
                    summary = step(clients, lease)
                figures |= cost.figures(word)
                figures[f"{word}_peak_mb"] = peak_megabytes()
        figures |= total.figures()
        figures["pushed"], figures["failed"] = summary.pushed, summary.failed
        made = Counter(clients.ledger.calls.by_kind(clients.today)) - before
        figures["calls"], figures["calls_by_kind"] = made.total(), dict(made)
        figures["models_peak_mb"] = max(map(peak_megabytes, children(os.getpid())), default=0.0)
    return figures


def profiled(name: str = "Lead", lines: int = 45) -> Figures:
    """Do `run` under cProfile and print where the CPU time went (not the time spent waiting)."""
    import cProfile
    import pstats
    import sys
    import time

    profile = cProfile.Profile(time.process_time)
    figures = profile.runcall(run, name)
    for order in ("cumulative", "tottime"):
        pstats.Stats(profile, stream=sys.stderr).sort_stats(order).print_stats(lines)
    return figures
