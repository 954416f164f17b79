"""How the four assets are made: one step each, partitioned by day and object."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import dagster as dg

from assets.freshness import DAILY

GROUP: Final = "salesforce"
OWNERS: Final = ("team:revenue-operations",)


def step_asset(
    key: dg.AssetKey,
    *,
    description: str,
    kinds: set[str],
    partitions: dg.PartitionsDefinition[str],
    freshness: dg.FreshnessPolicy = DAILY,
    deps: Iterable[dg.AssetKey] = (),
    check_specs: Sequence[dg.AssetCheckSpec] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Return the decorator of one asset.

    It may yield no materialization (another run has the object), and results of some of its checks
    only. A backfill over many partitions is one run, which reads its partition keys (D5).
    """
    spec = dg.AssetSpec(
        key,
        deps=[dg.AssetDep(dep) for dep in deps],
        description=description,
        group_name=GROUP,
        kinds=kinds,
        owners=OWNERS,
        freshness_policy=freshness,
        metadata=dict(metadata or {}),
        skippable=True,
    )

    return dg.multi_asset(
        name=key.to_python_identifier(),
        specs=[spec],
        check_specs=list(check_specs),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
