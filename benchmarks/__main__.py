"""Runs the benchmarks and writes docs/benchmarks.md: `make bench`.

python -m benchmarks                    # everything, some forty minutes
python -m benchmarks --quick            # everything at small sizes, printed only
python -m benchmarks pull push          # some sections, printed only
python -m benchmarks --largest 100000   # everything, without the largest org
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from benchmarks import calls, due, end_to_end, local_org, memory, pull, push, score, startup
from benchmarks.data import Stage, Template, make_template, stage
from benchmarks.measuring import ROOT, Figures, fresh, together
from benchmarks.report import Section, document, told

PAGE: Final = ROOT / "docs" / "benchmarks.md"
WRITTEN_BY_HAND: Final = "\n## What is left"
"""From this heading on, the page is people's: kept as it stands."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    main: int = 100_000
    large: int = 1_000_000
    times: int = 3
    minutes: int = 6

    def up_to(self, largest: int) -> Plan:
        """Return the plan with no org of more than `largest` leads."""
        sizes = tuple(size for size in self.sizes if size <= largest)
        return replace(
            self, sizes=sizes, main=min(self.main, largest), large=min(self.large, largest)
        )


QUICK: Final = Plan((1_000, 10_000), main=10_000, large=20_000, times=1, minutes=2)


class Bench:
    """The benchmarks of one invocation: templates and whole runs are made once and shared."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        """Measure by `plan`; everything is below `folder`."""
        self.plan = plan
        self.folder = folder
        self._templates: dict[int, Template] = {}

    def template(self, leads: int) -> Template:
        """Return the template with so many leads."""
        if leads not in self._templates:
            self._templates[leads] = make_template(self.folder / f"org-{leads}", leads)
        return self._templates[leads]

    @contextmanager
    def on(self, leads: int) -> Iterator[Stage]:
        """Run a copy of the org with so many leads."""
        with stage(self.template(leads)) as running:
            yield running

    @cached_property
    def runs(self) -> dict[int, Figures]:
        """Return whole runs, each of an org whose leads are all new, by their number."""
        found: dict[int, Figures] = {}
        for leads in self.plan.sizes:
            times = self.plan.times if leads <= self.plan.main else 1
            repeated = []
            for _ in range(times):
                with self.on(leads) as running:
                    repeated.append(fresh("benchmarks.whole:run", running.environment))
            found[leads] = together(repeated)
        return found

    def sections(self) -> dict[str, Callable[[], list[Section]]]:
        """Return what can be measured, in the order of the page."""
        return {
            "pull": self._pull,
            "due": lambda: self._on_main(due.measure),
            "score": lambda: self._on_main(score.measure),
            "push": lambda: self._on_main(push.measure),
            "whole": lambda: memory.measure(self.runs),
            "calls": lambda: [calls.measure(self.runs, self.folder)],
            "end_to_end": lambda: [end_to_end.measure(self.folder, self.plan.minutes)],
            "startup": lambda: [startup.measure(self.plan.times)],
            "local_org": lambda: [
                local_org.measure(leads)
                for leads in dict.fromkeys((self.plan.main, self.plan.large))
            ],
        }

    def _on_main(self, measure: Callable[[Stage, int], Section]) -> list[Section]:
        with self.on(self.plan.main) as running:
            return [measure(running, self.plan.times)]

    def _pull(self) -> list[Section]:
        found = []
        for leads in dict.fromkeys((self.plan.main, self.plan.large)):
            with self.on(leads) as running:
                found.append(pull.measure(running, self.plan.times))
        return found


def main() -> None:
    """Measure what is asked for; write the page where that is everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", help="which to measure (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, once each; nothing is written"
    )
    parser.add_argument("--output", type=Path, default=PAGE, help="the page to write")
    parser.add_argument(
        "--largest", type=int, default=Plan.large, help="the most leads that an org is given"
    )
    asked = parser.parse_args()
    plan = QUICK if asked.quick else Plan().up_to(asked.largest)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        bench = Bench(plan, Path(folder))
        known = bench.sections()
        unknown = sorted(set(asked.sections) - set(known))
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        done: list[Section] = []
        for name in asked.sections or known:
            for section in known[name]():
                told(section)
                done.append(section)
    if not asked.sections and not asked.quick:
        option = "" if asked.largest == Plan.large else f" --largest {asked.largest}"
        write(asked.output, done, f"python -m benchmarks{option}")


def write(page: Path, sections: list[Section], command: str) -> None:
    """Write the page; what people wrote below the figures stays."""
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    at = old.find(WRITTEN_BY_HAND)
    kept = old[at:] if at >= 0 else ""
    page.write_text(document(sections, command, kept), encoding="utf-8")


if __name__ == "__main__":
    main()
