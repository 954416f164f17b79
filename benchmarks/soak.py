"""Whether one process can go on for ever: memory, files, connections and model processes over many ticks.

python -m benchmarks.soak                  # 50,000 ticks of the sensors, the better part of an hour
python -m benchmarks.soak --ticks 2000     # fewer
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.data import make_template, stage
from benchmarks.measuring import Figures, children, fresh, timed
from benchmarks.report import Section

TICKS: Final = 50_000
"""Half a year at the default interval, a month at one minute."""

SAMPLES: Final = 10
LEADS: Final = 20
CHECK_EVERY: Final = 50
"""So often the models are loaded and the org is held against the configuration, as a run does."""

WARMED_UP: Final = 0.2
"""The share of the ticks after which caches are full: growth is counted from there."""

GROWTH_MB_MAX: Final = 20
"""By so much memory may differ: the allocator's moods."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process held after so many ticks."""

    ticks: int
    memory_mb: float
    files: int
    connections: int
    threads: int
    processes: int


def measure(ticks: int) -> Section:
    """Let a process tick so often on a small org, and show what it held on the way."""
    with tempfile.TemporaryDirectory() as folder:
        template = make_template(Path(folder) / "org", LEADS)
        with stage(template) as small:
            variables = {**small.environment, "INSIGHTS_SOAK_FOLDER": folder}
            figures = fresh("benchmarks.soak:soak", variables, ticks=ticks)

    section = Section(
        f"Age: {ticks:,} ticks in one process",
        ("ticks", "memory MB", "open files", "connections", "threads", "model processes"),
    )
    for sample in figures["samples"]:
        section.add(
            f"{sample['ticks']:,}", round(sample["memory_mb"], 1), *list(sample.values())[2:]
        )
    section.target("growth after the first fifth, MB", figures["growth_mb"], GROWTH_MB_MAX, "")
    section.note(f"A tick took {1_000 * figures['wall'] / ticks:.1f} ms on the wall.")
    return section


def soak(ticks: int) -> Figures:
    """Evaluate both sensors so often in this process, with the instance that they have, and sample it."""
    import dagster as dg

    from pipeline.definitions import build_definitions
    from pipeline.steps.preflight import check_and_roll_out

    home = Path(os.environ["INSIGHTS_HOME"])
    definitions = build_definitions(config=Path(os.environ["INSIGHTS_CONFIG"]), home=home)
    overrides = {"telemetry": {"enabled": False}}
    samples: list[Sample] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        dg.DagsterInstance.local_temp(folder, overrides=overrides) as instance,
        timed() as cost,
    ):
        for tick in range(ticks + 1):
            if tick and tick % max(1, ticks // SAMPLES) == 0:
                samples.append(_sample(tick))
            for name in ("salesforce_changes", "alerts"):
                _tick(definitions, instance, name)
            if tick % CHECK_EVERY == 0:
                _with_clients(definitions, check_and_roll_out)

    first = next(s for s in samples if s.ticks >= WARMED_UP * ticks)
    return {
        **cost.figures(),
        "samples": [{name: getattr(s, name) for name in Sample.__slots__} for s in samples],
        "growth_mb": samples[-1].memory_mb - first.memory_mb,
    }


def _tick(definitions: Any, instance: Any, name: str) -> None:
    """Evaluate a sensor as a code server does."""
    import dagster as dg

    sensor = definitions.resolve_sensor_def(name)
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, resources=definitions.resources
    ) as context:
        sensor.evaluate_tick(context)


def _with_clients(definitions: Any, step: Any) -> None:
    resource = definitions.resources["clients"]
    try:
        step(resource.get("soak"))
    finally:
        resource.close()


def _sample(ticks: int) -> Sample:
    """Return what this process holds now (Linux)."""
    opened = list(_opened_files())
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return Sample(
        ticks=ticks,
        memory_mb=int(status["VmRSS"].split()[0]) * 1024 / 1e6,
        files=len(opened),
        connections=sum(target.startswith("socket:") for target in opened),
        threads=int(status["Threads"]),
        processes=len(children(os.getpid())),
    )


def _opened_files() -> Iterator[str]:
    for entry in Path("/proc/self/fd").iterdir():
        try:
            yield str(entry.readlink())
        except FileNotFoundError:
            continue  # the listing's own


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=TICKS)
    print(measure(parser.parse_args().ticks).markdown())


if __name__ == "__main__":
    main()
