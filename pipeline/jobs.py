"""The jobs: what each run includes and what it leaves out."""

from collections.abc import Mapping
from typing import Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from assets.step_runs import WORK_TAG
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED, STALE_RECORDS

PRIORITY_TAG: Final = "dagster/priority"
OBJECT_TAG: Final = "insights/object"
JOBS: Final = {
    "pull": (
        (CHANGED_RECORDS, SCORED, PUSHED),
        "Pull what changed on one object since the last pull, score and push what is due. Leaves out the daily pull.",
    ),
    "daily_pull": (
        (STALE_RECORDS, SCORED, PUSHED),
        "List what was never scored or too long ago on one object, score and push what the day's limit allows.",
    ),
    "score_and_push": (
        (SCORED, PUSHED),
        "Score and push what waits on one object, and finish what an earlier run began. Pulls nothing.",
    ),
}


def jobs(keys: Mapping[str, dg.AssetKey]) -> list[UnresolvedAssetJobDefinition]:
    """Return the jobs of the assets, which are mounted at `keys`.

    Their runs are work runs, and go before backfills in the queue.
    """
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(*(keys[asset] for asset in assets)),
            description=description,
            tags={WORK_TAG: "true", PRIORITY_TAG: "10"},
        )
        for name, (assets, description) in JOBS.items()
    ]
