"""What the scores come from, as external assets: lineage begins at the training data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import dagster as dg

from assets.lineage import Lineage
from pipeline.core.configuration.market import Market

GROUP: Final = "markets"
MARKET: Final = "market"
"""Stands before a market's name in the key of its model."""


def market_key(market: str) -> dg.AssetKey:
    """Return the key of a market's model."""
    return dg.AssetKey([MARKET, market])


def market_assets(market: Market, lineage: Lineage) -> list[dg.AssetSpec]:
    """Return a market's model, upstream of it its training data, and its reference data."""
    references = [
        dg.AssetSpec(
            dg.AssetKey(["reference", market.name, reference.name]),
            description=reference.description,
            group_name=GROUP,
            kinds={"csv"},
            metadata={"file": reference.file, **lineage.of_file(market, reference.file)},
        )
        for reference in market.reference
    ]
    training = [_training(market, lineage)] if market.training else []

    model = dg.AssetSpec(
        market_key(market.name),
        description=market.description,
        group_name=GROUP,
        kinds={"python"},
        deps=[spec.key for spec in (*references, *training)],
        metadata={
            "version": market.version,
            "kind": market.kind,
            "inputs": ", ".join(
                name + ("*" if market_input.used_by_model else "")
                for name, market_input in market.inputs.items()
            ),
            "outputs": ", ".join(market.enabled_outputs),
            **lineage.of_market(market),
        },
    )
    return [*references, *training, model]


def _training(market: Market, lineage: Lineage) -> dg.AssetSpec:
    training = market.training
    if training is None:
        raise ValueError(f"market {market.name} names no training")

    return dg.AssetSpec(
        dg.AssetKey(["training", market.name]),
        description=training.origin,
        group_name=GROUP,
        kinds={"csv"},
        metadata={
            "data": training.data,
            "script": training.script,
            "rows": training.rows,
            "held_out_auc": training.auc,
            "auc_from": training.auc_interval[0],
            "auc_to": training.auc_interval[1],
            **lineage.of_file(market, training.data),
        },
    )


def first_scorings(
    instance: dg.DagsterInstance,
    models: Mapping[str, dg.AssetKey],
    scored: Collection[str],
    markets: Mapping[str, Market],
) -> Iterator[dg.AssetMaterialization]:
    """Report on a market's model, once, that a version was scored with.

    So lineage shows which version is in use since when.

    `models` are the keys of the markets' models; `scored` are the markets that gave scores in this
    run.
    """
    for name in sorted(scored):
        key, market = models[name], markets[name]
        newest = instance.get_latest_materialization_event(key)
        reported = newest.asset_materialization if newest else None
        version = reported.metadata.get("version") if reported else None
        if version is not None and version.value == market.version:
            continue

        training: dict[str, Any] = {}
        if market.training:
            training = {
                "held_out_auc": market.training.auc,
                "training_rows": market.training.rows,
            }

        yield dg.AssetMaterialization(
            asset_key=key,
            description=f"Version {market.version} scored for the first time.",
            metadata={"version": market.version, "kind": market.kind, **training},
        )
