"""What an operator may ask of a run in the launchpad (R31)."""

from collections.abc import Iterable
from typing import Any

import dagster as dg
from pydantic import Field

from pipeline.steps.clients import CHANGED_RECORDS, SCORED, STALE_RECORDS


class PullOptions(dg.Config):
    """A dry run instead of a pull; by default none."""

    dry_run: bool = Field(
        default=False,
        description="Score and show what would be pushed, beside what stands in the org. Writes nothing anywhere, "
        "and the rest of the run is skipped.",
    )
    first: int = Field(
        default=0, ge=0, description="In a dry run, how many records to show; 0 for 100."
    )


class ScoreOptions(dg.Config):
    """The first records only; by default as many as the day allows."""

    first: int = Field(
        default=0,
        ge=0,
        description="Claim and push no more than so many records; 0 for as many as the day allows. The others wait.",
    )


def run_config(
    assets: Iterable[dg.AssetKey], *, dry_run: bool = False, first: int = 0
) -> dict[str, Any]:
    """Return the run config that gives these options to those of a run's assets that take them."""
    options: dict[str, dict[str, Any]] = {
        CHANGED_RECORDS: {"dry_run": dry_run, "first": first},
        STALE_RECORDS: {"dry_run": dry_run, "first": first},
        SCORED: {"first": first},
    }
    return {
        "ops": {
            key.to_python_identifier(): {"config": options[key.path[-1]]}
            for key in assets
            if key.path[-1] in options
        }
    }
