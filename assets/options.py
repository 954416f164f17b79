"""What an operator may ask of a run in the launchpad (R31)."""

from typing import Any

import dagster as dg
from pydantic import Field

from pipeline.steps.clients import SCORED


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
    pull: dg.AssetKey | None, prefix: list[str], *, dry_run: bool, first: int
) -> dict[str, Any]:
    """Return the run config that gives these options to a run's assets; `pull` is the one that pulls, if any."""
    scored = dg.AssetKey([*prefix, SCORED])
    ops: dict[str, Any] = {scored.to_python_identifier(): {"config": {"first": first}}}
    if pull is not None:
        ops[pull.to_python_identifier()] = {"config": {"dry_run": dry_run, "first": first}}
    return {"ops": ops}
