"""What the scores come from, as external assets, so that lineage runs from training data to Salesforce fields."""

from __future__ import annotations

import dagster as dg

from pipeline.core.market import Market

GROUP = "markets"


def market_key(prefix: list[str], market: str) -> dg.AssetKey:
    """Return the key of a market's model."""
    return dg.AssetKey([*prefix, "market", market])


def market_assets(prefix: list[str], market: Market) -> list[dg.AssetSpec]:
    """Return a market's model, upstream of it its training data, and its reference data."""
    references = [
        dg.AssetSpec(
            dg.AssetKey([*prefix, "reference", market.name, reference.name]),
            description=reference.description,
            group_name=GROUP,
            kinds={"csv"},
            metadata={"file": reference.file},
        )
        for reference in market.reference
    ]
    training = [_training(prefix, market)] if market.training else []
    model = dg.AssetSpec(
        market_key(prefix, market.name),
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
        },
    )
    return [*references, *training, model]


def _training(prefix: list[str], market: Market) -> dg.AssetSpec:
    training = market.training
    if training is None:
        raise ValueError(f"market {market.name} names no training")
    return dg.AssetSpec(
        dg.AssetKey([*prefix, "training", market.name]),
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
        },
    )
