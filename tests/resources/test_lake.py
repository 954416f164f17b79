from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.lake import Lake

DAY = date(2026, 3, 2)
TABLE = pa.table({"id": ["a", "b", "c"], "reason": ["new", "stale", "stale"]})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def write(lake: Lake, file: str = "segment-1", table: pa.Table = TABLE) -> Path:
    return lake.write("scored_enriched", DAY, "Lead", file, table)


def test_nothing_is_made_before_something_is_written(lake: Lake) -> None:
    """D15: loading opens nothing; an empty partition is no error."""
    assert lake.files("scored_enriched", DAY, "Lead") == []
    assert list(lake.read("scored_enriched", DAY, "Lead")) == []
    assert lake.count_by("scored_enriched", DAY, "Lead", "reason") == {}
    assert not lake.root.exists()


def test_a_file_lies_where_its_asset_day_and_object_say(lake: Lake) -> None:
    """D4: readable with any tool as it is."""
    path = write(lake)

    assert path.relative_to(lake.root).as_posix() == (
        "scored_enriched/day=2026-03-02/object=Lead/segment-1.parquet"
    )
    assert pq.read_table(path, partitioning=None).equals(TABLE)


def test_a_partition_is_read_a_file_at_a_time_and_holds_nothing_else(lake: Lake) -> None:
    """D2, D4: neither another day, nor another object, nor another asset."""
    write(lake, "segment-2", TABLE.slice(2))
    write(lake, "segment-1", TABLE.slice(0, 2))
    lake.write("scored_enriched", DAY, "Account", "other", TABLE)
    lake.write("scored_enriched", date(2026, 3, 3), "Lead", "other", TABLE)
    lake.write("pushed_results", DAY, "Lead", "other", TABLE)
    tables = list(lake.read("scored_enriched", DAY, "Lead"))

    assert [t.column("id").to_pylist() for t in tables] == [["a", "b"], ["c"]]
    assert [t.column_names for t in tables] == [["id", "reason"]] * 2


def test_only_the_columns_asked_for_are_read(lake: Lake) -> None:
    """D4."""
    write(lake)

    assert [t.column_names for t in lake.read("scored_enriched", DAY, "Lead", ["id"])] == [["id"]]


def test_rows_are_counted_over_all_files_of_a_partition(lake: Lake) -> None:
    """D3: what a ledger from a backup is told."""
    write(lake)
    write(lake, "segment-2")

    assert lake.count_by("scored_enriched", DAY, "Lead", "reason") == {"new": 2, "stale": 4}


def test_a_segment_written_again_replaces_its_file(lake: Lake) -> None:
    """D3: a crash repeats the same segment, which is counted once."""
    write(lake)
    write(lake, table=TABLE.slice(1))

    assert lake.count_by("scored_enriched", DAY, "Lead", "reason") == {"stale": 2}


@pytest.mark.parametrize(
    "breaks_off",
    [lambda lake: write(lake, table="no table"), lambda lake: lake.write_working_file("w", None)],
)
def test_a_write_that_breaks_off_leaves_what_was_there(
    lake: Lake, breaks_off: Callable[[Lake], object]
) -> None:
    """D4: whole files or none, and no rubbish."""
    write(lake)
    lake.write_working_file("w", TABLE)
    before = sorted(p for p in lake.root.rglob("*") if p.is_file())
    with pytest.raises((AttributeError, TypeError)):
        breaks_off(lake)

    assert sorted(p for p in lake.root.rglob("*") if p.is_file()) == before
    assert next(lake.read("scored_enriched", DAY, "Lead")).equals(TABLE)
    kept = lake.read_working_file("w")
    assert kept is not None
    assert kept.equals(TABLE)


def test_a_file_that_is_being_written_is_not_part_of_the_partition(lake: Lake) -> None:
    """D4: its temporary name ends otherwise."""
    path = write(lake)
    path.with_name(".segment-2.parquet.1a2b3c4d").write_bytes(b"half")

    assert lake.files("scored_enriched", DAY, "Lead") == [path]


def test_working_files_are_kept_until_they_are_deleted(lake: Lake) -> None:
    """R24: deleting twice is no error, reading one that is gone gives none."""
    lake.write_working_file("segment-1", TABLE)
    assert lake.read_working_file("segment-1") == TABLE
    lake.delete_working_file("segment-1")
    lake.delete_working_file("segment-1")

    assert lake.read_working_file("segment-1") is None
    assert not list(lake.root.rglob("*.parquet*"))
