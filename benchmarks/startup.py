"""Start-up: loading the code location, and what a tick's run imports.

python -m benchmarks startup
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from benchmarks.data import make_template, stage
from benchmarks.measuring import ROOT, Figures, best, timed
from benchmarks.report import Section, seconds

IMPORTED: Final = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")
SHOWN: Final = 12


def measure(times: int) -> Section:
    """Load the code location in fresh processes, and sort what a run imports by its time."""
    section = Section("Start-up", ("what", "wall s", "CPU s", "peak MB"))
    with tempfile.TemporaryDirectory() as folder:
        template = make_template(Path(folder) / "one", 1)
        with stage(template) as small:
            variables = small.environment
            for what, function in (
                ("import dagster", "dagster"),
                ("load the code location (`pipeline.definitions`)", "definitions"),
                ("all that a tick's run imports", "run_imports"),
            ):
                figures = best(times, f"benchmarks.startup:{function}", variables)
                section.add(
                    what,
                    seconds(figures["wall"]),
                    seconds(figures["cpu"]),
                    round(figures["peak_mb"]),
                )
            own, modules = imports(variables)
    top = ", ".join(f"{name} {at / 1e6:.2f} s" for name, at in own.most_common(SHOWN))
    section.note(
        f"A tick's run imports {modules:,} modules; by `-X importtime`, their own time summed by package: {top}."
    )
    section.note(
        "The code server imports before the run is asked for; a run's process imports anew."
    )
    return section


def dagster() -> Figures:
    """Import Dagster alone: the floor of every Dagster project."""
    with timed() as cost:
        import dagster as dg
    return {**cost.figures(), "version": dg.__version__}


def definitions() -> Figures:
    """Load the code location."""
    with timed() as cost:
        import pipeline.definitions  # noqa: F401
    return cost.figures()


def run_imports() -> Figures:
    """Do a run's work on one lead, so that everything is imported; its calls take a few milliseconds."""
    with timed() as cost:
        fresh_run()
    return cost.figures()


def fresh_run() -> None:
    """Load the code location, then pull, score and push."""
    import pipeline.definitions  # noqa: F401
    from benchmarks.whole import run

    run()


def imports(variables: dict[str, str]) -> tuple[Counter[str], int]:
    """Return the microseconds that each package's modules take to import in a run, and how many modules there are."""
    command = [sys.executable, "-X", "importtime", "-c"]
    command.append("from benchmarks.startup import fresh_run; fresh_run()")
    done = subprocess.run(  # noqa: S603  our own command
        command,
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    own: Counter[str] = Counter()
    found = IMPORTED.findall(done.stderr)
    for microseconds, _, _, module in found:
        own[module.partition(".")[0]] += int(microseconds)
    return own, len(found)
