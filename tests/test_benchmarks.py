"""The benchmarks' own machinery, on a handful of records: figures are not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import due, measuring, pull, push, score
from benchmarks.__main__ import WRITTEN_BY_HAND, write
from benchmarks.data import leads_csv, make_template, stage
from benchmarks.measuring import fresh, together
from benchmarks.memory import measure as measure_whole
from benchmarks.report import Section


@pytest.mark.slow
def test_every_stage_is_measured_and_the_page_has_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handful of leads go through every way that is compared."""
    monkeypatch.setattr(measuring, "in_this_process", True)
    with stage(make_template(tmp_path / "few", 50)) as few:
        sections = [one.measure(few, 1) for one in (pull, due, score, push)]
    with stage(make_template(tmp_path / "new", 20)) as new:
        run = fresh("benchmarks.whole:run", new.environment)
    sections += measure_whole({20: run})
    page = tmp_path / "benchmarks.md"
    page.write_text(f"old{WRITTEN_BY_HAND}\n\nby a person\n")

    write(page, sections, "python -m benchmarks")

    text = page.read_text()
    assert run["pushed"] == 20
    assert "## Pull: 50 leads x 12 fields" in text
    assert "| pull, CPU s |" in text
    assert text.count("by a person") == 1
    assert not text.startswith("old")


def test_leads_are_the_same_at_every_call() -> None:
    """Two runs measure the same data, whatever was made before."""
    assert leads_csv(100, 3) == leads_csv(100, 3)
    assert leads_csv(100, 3) != leads_csv(103, 3)


def test_the_smallest_of_several_runs_counts_and_the_median_stands_beside_it() -> None:
    """Neighbours only make a figure larger."""
    runs = [{"cpu": 3.0, "rows": 5}, {"cpu": 1.0, "rows": 5}, {"cpu": 2.0, "rows": 5}]

    assert together(runs) == {"cpu": 1.0, "median_cpu": 2.0, "rows": 5}


def test_a_target_tells_whether_it_is_met() -> None:
    """Both kinds: at most, and at least."""
    section = Section("t", ("a",))
    section.target("at most", 2.0, 1.0, "")
    section.target("at least", 2.0, 1.0, "", least=True)

    assert [target.is_met for target in section.targets] == [False, True]


@pytest.mark.slow
def test_a_process_holds_after_many_ticks_what_it_held_after_few(tmp_path: Path) -> None:
    """Open files, connections, threads and model processes; memory is in the table, and not judged."""
    with stage(make_template(tmp_path / "org", 5)) as small:
        figures = fresh("benchmarks.soak:soak", small.environment, ticks=300)

    held = [
        {k: v for k, v in s.items() if k not in ("ticks", "memory_mb")} for s in figures["samples"]
    ]
    assert len(held) == 10
    assert held[-1] == held[2]
