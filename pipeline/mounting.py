"""Mounts the assets below a key, beside those of a team that has a deployment already (D15).

Assets, jobs and sensors are written without a prefix. Here, and only here, their keys get one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

LINEAGE: Final = "dagster/column_lineage"

Asset = dg.AssetsDefinition | dg.AssetSpec


def mount(assets: Sequence[Asset], prefix: Sequence[str]) -> list[Asset]:
    """Return the assets with `prefix` before their keys and before those that they refer to.

    Without a prefix they are returned as they are.
    """
    if not prefix:
        return list(assets)

    replacements = {key: key.with_prefix(prefix) for asset in assets for key in _keys(asset)}
    return [
        _mount_spec(asset, replacements)
        if isinstance(asset, dg.AssetSpec)
        else _mount_definition(asset, replacements)
        for asset in assets
    ]


def _keys(asset: Asset) -> list[dg.AssetKey]:
    return [asset.key] if isinstance(asset, dg.AssetSpec) else list(asset.keys)


def _mount_spec(
    spec: dg.AssetSpec, replacements: Mapping[dg.AssetKey, dg.AssetKey]
) -> dg.AssetSpec:
    return spec.replace_attributes(
        key=replacements[spec.key],
        deps=[dg.AssetDep(replacements[dep.asset_key]) for dep in spec.deps],
        metadata=_mount_lineage(spec.metadata, replacements),
    )


def _mount_definition(
    asset: dg.AssetsDefinition, replacements: Mapping[dg.AssetKey, dg.AssetKey]
) -> dg.AssetsDefinition:
    moved = asset.with_attributes(asset_key_replacements=replacements).map_asset_specs(
        lambda spec: spec.replace_attributes(metadata=_mount_lineage(spec.metadata, replacements))
    )

    # An op's name must be its own in the whole deployment, where another team may have an asset of
    # the same name. Dagster renames the assets of a definition, but not its op.
    op = moved.op.with_replaced_properties(name=moved.key.to_python_identifier())
    return dg.AssetsDefinition.dagster_internal_init(
        **{**moved.get_attributes_dict(), "node_def": op}
    )


def _mount_lineage(
    metadata: Mapping[str, Any], replacements: Mapping[dg.AssetKey, dg.AssetKey]
) -> dict[str, Any]:
    """Return an asset's metadata, in which columns come from the columns of mounted assets."""
    lineage = metadata.get(LINEAGE)
    if not isinstance(lineage, dg.TableColumnLineage):
        return dict(metadata)

    moved = {
        column: [dg.TableColumnDep(replacements[dep.asset_key], dep.column_name) for dep in deps]
        for column, deps in lineage.deps_by_column.items()
    }
    return {**metadata, LINEAGE: dg.TableColumnLineage(moved)}
