"""The whole way of records at growing sizes: time, CPU and peak memory of each step.

python -m benchmarks whole
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measuring import Figures
from benchmarks.report import Section, count, seconds

MEMORY_MB = {100_000: 300, 1_000_000: 400}
GROWTH_MAX = 1.1
STEPS = ("pull", "score", "push")
REFERENCE = 100_000


def measure(runs: Mapping[int, Figures]) -> list[Section]:
    """Show the whole `runs` (by leads): their cost, and how memory and CPU grow."""
    return [_cost(runs), _growth(runs)]


def _cost(runs: Mapping[int, Figures]) -> Section:
    section = Section(
        "All four, one object, without Dagster's start",
        ("leads", *(f"{step} CPU s" for step in STEPS), "CPU s", "wall s", "CPU s per 100,000"),
    )
    for leads, figures in runs.items():
        steps = [seconds(figures[f"{step}_cpu"]) for step in STEPS]
        per = seconds(figures["cpu"] / leads * 1e5)
        section.add(count(leads), *steps, seconds(figures["cpu"]), seconds(figures["wall"]), per)
    if REFERENCE in runs:
        section.target("all four, wall s", runs[REFERENCE]["wall"], 5, " for 100,000")
        section.target("all four, CPU s", runs[REFERENCE]["cpu"], 2.5, " for 100,000")
    section.note(
        "Every lead is new: pulled, decided on, listed, claimed, scored, pushed, settled; the push is one"
    )
    section.note(
        "job for each 100,000. CPU seconds hold the market's own process; wall time holds the org's work."
    )
    return section


def _growth(runs: Mapping[int, Figures]) -> Section:
    section = Section(
        "Memory and growth",
        (
            "leads",
            "ready MB",
            "after pull",
            "after score",
            "after push",
            "market's process MB",
            "CPU against linear",
        ),
    )
    smallest = min(runs)
    base = runs[smallest]["cpu"] / smallest
    for leads, figures in runs.items():
        growth = figures["cpu"] / leads / base
        after = [round(figures[f"{step}_peak_mb"]) for step in STEPS]
        section.add(
            count(leads),
            round(figures["ready_mb"]),
            *after,
            round(figures["models_peak_mb"]),
            f"{growth:.2f}",
        )
        if leads in MEMORY_MB:
            what = f"peak memory at {count(leads)}, MB"
            section.target(what, figures["peak_mb"], MEMORY_MB[leads], "")
    if len(runs) > 1:
        largest = max(runs)
        growth = runs[largest]["cpu"] / largest / base
        what = f"CPU against linear, {count(smallest)} to {count(largest)}"
        section.target(what, growth, GROWTH_MAX, "")
    section.note("*Ready* is the process with everything imported, before its first record.")
    return section
