"""API calls: for pulling and pushing much, for a small run, for ticks with nothing new.

python -m benchmarks calls
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.data import make_template, stage
from benchmarks.measuring import Figures, fresh
from benchmarks.report import Section, count

SMALL: int = 100
MINUTES_A_DAY = 1_440
TARGETS = {100_000: 2.5, 1_000_000: 0.6}
"""Calls per 10,000 records, by how many are pulled and pushed."""


def measure(runs: dict[int, Figures], folder: Path) -> Section:
    """Count the calls of whole `runs` (by leads), and those of a small run and of idle ticks on a small org."""
    section = Section("API calls", ("what", "calls", "per 10,000 records", "of which"))
    for leads, figures in runs.items():
        per = figures["calls"] / leads * 10_000
        kinds = _words(figures["calls_by_kind"])
        section.add(f"pull and push {count(leads)} leads", figures["calls"], f"{per:.2f}", kinds)
        if leads in TARGETS:
            what = f"calls per 10,000 records, {count(leads)} at once"
            section.target(what, per, TARGETS[leads], "")
    with stage(make_template(folder / "small", SMALL)) as small:
        run = fresh("benchmarks.whole:run", small.environment)
        section.add(
            f"a run with {SMALL} due leads", run["calls"], "-", _words(run["calls_by_kind"])
        )
        section.target("calls of a small run of one object", run["calls"], 15, "")
        ticks = fresh("benchmarks.calls:ticks", small.environment)
    section.add("a tick with nothing new, all objects", ticks["tick"], "-", "query 1")
    section.target("calls of a tick with nothing new", ticks["tick"], 1, "")
    for minutes in (1, 5):
        calls = MINUTES_A_DAY // minutes * ticks["tick"]
        section.add(f"an idle day, pull interval {minutes} min", calls, "-", "one a tick")
    again = ticks["pushed_again"]
    section.target("records pushed by a rerun with nothing changed", again, 0, "")
    return section


def _words(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kind} {calls}" for kind, calls in sorted(kinds.items()))


def ticks() -> Figures:
    """Ask the org whether anything is new, signed in already; then pull, score and push once more."""
    from pipeline.commands.clients import opened_clients
    from pipeline.steps.pull import pull
    from pipeline.steps.push import push
    from pipeline.steps.score import score
    from pipeline.steps.watch import watch

    with opened_clients() as clients:
        _ = clients.org.org_id
        before = clients.ledger.calls.total(clients.today)
        watch(clients)
        tick = clients.ledger.calls.total(clients.today) - before
        lease = clients.lease("Lead")
        if lease is None:
            raise RuntimeError("the object is taken")
        pull(clients, lease)
        score(clients, lease)
        pushed = push(clients, lease).pushed
    return {"tick": tick, "pushed_again": pushed}
