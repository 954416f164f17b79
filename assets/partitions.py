"""The one partitioning of all assets: a calendar day by an object (R20).

A day's partition holds what was scored on that day and nothing else, so that partition and limit
are the same thing. The day ahead exists already, since runs of a day are asked for from its first
second on.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import dagster as dg

from pipeline.core.configuration.integration import OBJECTS

DAY: Final = "day"
OBJECT: Final = "object"


def day_by_object(start: str, time_zone: str) -> dg.MultiPartitionsDefinition:
    """Return the partitions: days from `start` (ISO date) in `time_zone`, by object."""
    return dg.MultiPartitionsDefinition(
        {
            DAY: dg.DailyPartitionsDefinition(start_date=start, timezone=time_zone, end_offset=1),
            OBJECT: dg.StaticPartitionsDefinition(list(OBJECTS)),
        }
    )


def partition_key(day: date, name: str) -> dg.MultiPartitionKey:
    """Return the key of one day's partition of one object."""
    return dg.MultiPartitionKey({DAY: day.isoformat(), OBJECT: name})


def day_and_object(key: str) -> tuple[date, str]:
    """Return what a partition key stands for; raise ValueError where it is none."""
    text, _, name = key.partition("|")
    day = date.fromisoformat(text)
    if name not in OBJECTS or day.isoformat() != text:
        raise ValueError(f"{key!r} is no day and object, as in 2026-01-31|{OBJECTS[0]}")
    return day, name
