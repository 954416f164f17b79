"""Runs of a job without Dagster's engine: the same assets by the same code, for a quarter of the time.

What the engine adds (events, partitions' states, checks in the instance, retries) is not there: tests that look at
any of it run through Dagster (`dagster_runs`), and `make test-all` runs all others through it as well.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import dagster as dg

from assets.clients_resource import ClientsResource
from assets.step_runs import EXIT_CODE
from pipeline.jobs import JOBS


@dataclass
class AssetRun:
    """A run that has ended: what its assets yielded, and what it failed with."""

    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    yielded: list[Any] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def success(self) -> bool:
        """Whether every asset came to its end."""
        return self.error is None

    @property
    def figures(self) -> dict[str, Any]:
        """Return the figures of all that was materialized, as Dagster would show them."""
        materialized = (dg.MaterializeResult, dg.AssetMaterialization)
        return {
            name: getattr(value, "value", value)
            for one in self.yielded
            if isinstance(one, materialized)
            for name, value in (one.metadata or {}).items()
        }

    @property
    def failure(self) -> tuple[str, int]:
        """Return the message and the exit code that the run failed with."""
        assert isinstance(self.error, dg.Failure), self.error
        return str(self.error.description), int(str(self.error.metadata[EXIT_CODE].value))


class BlockedByCheck(Exception):
    """A blocking check failed: what follows its asset does not run."""


@dataclass
class _Context:
    """What the assets ask of Dagster's context of a run."""

    run: Any
    partition_keys: list[str]
    instance: dg.DagsterInstance
    assets_def: dg.AssetsDefinition | None = None
    log: Any = field(default_factory=dg.get_dagster_logger)

    @property
    def asset_key(self) -> dg.AssetKey:
        """Return the key of the asset that is at work."""
        assert self.assets_def is not None
        return self.assets_def.key


def run_assets(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    key: str,
    tags: Mapping[str, str],
    selected: Collection[dg.AssetKey] = (),
) -> AssetRun:
    """Run a job's assets on one partition, those `selected` or all, until one fails or yields nothing."""
    run = AssetRun()
    about = SimpleNamespace(run_id=run.run_id, root_run_id=None, tags=dict(tags))
    context = _Context(about, [key], instance)
    clients = (definitions.resources or {})["clients"]
    assert isinstance(clients, ClientsResource)

    try:
        for name in JOBS[job][0]:
            asset = dg.AssetKey([name])
            if selected and asset not in selected:
                continue
            context.assets_def = definitions.get_assets_def(asset)
            if not _materialize(context.assets_def, context, clients, run):
                break
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  as Dagster does
        run.error = error
    finally:
        clients.close()
    return run


def _materialize(
    asset: dg.AssetsDefinition, context: _Context, clients: ClientsResource, run: AssetRun
) -> bool:
    """Let one asset do its work; say whether it materialized anything."""
    function = asset.op.compute_fn.decorated_fn
    options = inspect.signature(function, eval_str=True).parameters.get("config")
    config = {"config": options.annotation()} if options else {}

    yielded = []
    for one in function(context, clients=clients, **config):
        yielded.append(one)
        run.yielded.append(one)

    blocking = {spec.name for spec in asset.check_specs if spec.blocking}
    for one in yielded:
        if isinstance(one, dg.AssetCheckResult) and one.check_name in blocking and _stops(one):
            raise BlockedByCheck(one.check_name)
    return any(isinstance(one, dg.MaterializeResult) for one in yielded)


def _stops(check: dg.AssetCheckResult) -> bool:
    return not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
