"""Writes what was measured as Markdown: tables, targets, the machine and the versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "pyarrow",
    "pandas",
    "pandera",
    "sqlalchemy",
    "dagster",
    "simple-salesforce",
    "requests",
    "scikit-learn",
)
LARGE_SECONDS: Final = 10
HOW_TO_READ: Final = """\
How to read it:

- Everything runs on one machine: the local org in its own process, over loopback, and what is measured in
  another, fresh one. CPU seconds are those of the measured process and what it started, never the org's.
- CPU seconds are steadier than wall times, which hold the org's own work (its limits are in a section of their own)
  and whatever else the machine did. Of several repetitions the smallest counts.
- Imports, sign-in and the model's start are left out, except under Start-up and End to end.
- Ratios are against a baseline in the same run, on the same data; they carry over to other machines better than seconds.
- Peak memory is the kernel's high-water mark of the process (`VmHWM`).
- The data are generated from a seed: `benchmarks/data.py`. No Salesforce org was asked; a real one answers more slowly."""


@dataclass(frozen=True)
class Target:
    """One figure held against what design asks for."""

    what: str
    measured: float
    wanted: float
    unit: str
    least: bool = False

    @property
    def is_met(self) -> bool:
        """Say whether the figure is as good as wanted."""
        return self.measured >= self.wanted if self.least else self.measured <= self.wanted

    @property
    def row(self) -> list[str]:
        """Return it as a row of the overview."""
        sign = "≥" if self.least else "≤"
        verdict = "met" if self.is_met else "**missed**"
        return [self.what, f"{self.measured:.3g}{self.unit}", f"{sign} {self.wanted:g}", verdict]


@dataclass
class Section:
    """A table with its heading, the targets that it answers, and what is to be said of it."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row."""
        self.rows.append([str(cell) for cell in cells])

    def target(
        self, what: str, measured: float, wanted: float, unit: str, *, least: bool = False
    ) -> None:
        """Hold a figure against its target."""
        self.targets.append(Target(what, measured, wanted, unit, least))

    def note(self, text: str) -> None:
        """Add a sentence below the table."""
        self.notes.append(text)

    def markdown(self) -> str:
        """Return the section."""
        notes = "\n".join(self.notes)
        return f"## {self.title}\n\n{table(self.columns, self.rows)}\n{notes}\n".rstrip() + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def seconds(value: float) -> str:
    """Write seconds with as many digits as tell something."""
    return f"{value:.1f}" if value >= LARGE_SECONDS else f"{value:.2f}"


def ratio(value: float, baseline: float) -> str:
    """Write how many times the baseline a figure is."""
    return f"{value / baseline:.1f}" if baseline else "-"


def count(value: float) -> str:
    """Write a number with thousands apart."""
    return f"{value:,.0f}"


def document(sections: Sequence[Section], command: str, floor: str = "") -> str:
    """Return the whole page; `floor` is what people wrote below it, which stays."""
    targets = [target.row for section in sections for target in section.targets]
    parts = [
        "# Benchmarks\n",
        f"Written by `{command}` (`make bench`); measured on {datetime.now(UTC):%Y-%m-%d}.\n",
        f"{machine()}\n",
        f"{HOW_TO_READ}\n",
        "## Targets\n",
        table(("what", "measured", "wanted", ""), targets),
        *(section.markdown() for section in sections),
    ]
    return "\n".join(parts) + floor


def machine() -> str:
    """Say what was measured on: processors, memory, system, versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"Machine: {os.cpu_count()} x {_processor()}, {memory:.0f} GB, {platform.system()} {platform.release()}.\n"
        f"Python {platform.python_version()}; {packages}; commit {_commit()}."
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def told(section: Section) -> None:
    """Print a section for whoever waits."""
    sys.stdout.write(f"\n{section.markdown()}")
    for target in section.targets:
        sys.stdout.write("  " + " · ".join(cell for cell in target.row if cell) + "\n")
    sys.stdout.flush()
