"""Runs a job now, in this process, on the shared Dagster instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import dagster as dg

from assets.clients_resource import ClientsResource
from assets.options import run_config
from assets.partitions import partition_key
from assets.plots import is_plot
from assets.step_runs import EXIT_CODE
from pipeline.core.errors import ConfigurationError, InsightsError
from pipeline.definitions import defs
from pipeline.instance import shared_instance
from pipeline.jobs import OBJECT_TAG

QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The run's events stand in the instance; the terminal gets its figures."""


def run_now(
    job: str,
    objects: Sequence[str],
    *,
    options: Mapping[str, Any] | None = None,
    definitions: dg.Definitions = defs,
    instance: dg.DagsterInstance | None = None,
) -> list[dict[str, Any]]:
    """Run `job` for each of `objects` (none: all with an integration) and return their figures.

    The runs stand in the instance like those that sensor and schedule launch.
    """
    clients = (definitions.resources or {})["clients"]
    if not isinstance(clients, ClientsResource):
        raise TypeError("the definitions' resource `clients` is of another kind")
    opened = clients.get("cli")
    configured, today = opened.configuration.objects, opened.today
    clients.close()

    unknown = [name for name in objects if name not in configured]
    if unknown:
        raise ConfigurationError(
            [
                f"{', '.join(unknown)}: no integration is switched on for it in {clients.config_folder}."
            ]
        )
    chosen = [name for name in configured if name in objects] if objects else list(configured)
    resolved = definitions.resolve_job_def(job)
    selected = resolved.asset_layer.selected_asset_keys

    with nullcontext(instance) if instance else shared_instance() as shared:
        results = []
        for name in chosen:
            result = resolved.execute_in_process(
                instance=shared,
                partition_key=partition_key(today, name),
                tags={OBJECT_TAG: name},
                run_config=run_config(selected, **(options or {})) | QUIET,
                raise_on_error=False,
            )
            results.append(_run_result(name, result))
        return results


def _run_result(object_name: str, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return a run's figures, or why it failed, as `--json` shows them."""
    figures: dict[str, Any] = {}
    for event in result.get_asset_materialization_events():
        metadata = event.materialization.metadata
        figures |= {k: _plain(value) for k, value in metadata.items() if not is_plot(value)}
    for event in result.get_asset_observation_events():
        metadata = event.asset_observation_data.asset_observation.metadata
        figures |= {key: _plain(value) for key, value in metadata.items()}

    error, exit_code = _failure(result) if not result.success else _market_failure(figures)
    return {
        "object": object_name,
        "run_id": result.run_id,
        "figures": figures,
        "note": _note(figures, success=result.success),
        "error": error,
        "exit_code": exit_code,
    }


def _note(figures: Mapping[str, Any], *, success: bool) -> str | None:
    """Say what a run came to that figures do not tell; None where they tell all."""
    if not success:
        return "failed"
    # A run that works says at least how many it read; one that found the object taken says nothing.
    return None if figures else "another run works on it"


def _market_failure(figures: Mapping[str, Any]) -> tuple[str | None, int]:
    """Return which markets failed as a whole in a run that ended well, and the exit code (R23)."""
    failed: Mapping[str, str] = figures.get("markets_failed", {})
    told = [
        f"Market {market} failed as a whole: {why}. Nothing of it was pushed. Its records wait and are tried again "
        "by themselves; `insights status` says when."
        for market, why in sorted(failed.items())
    ]
    return ("\n".join(told), InsightsError.exit_code) if told else (None, 0)


def _plain(value: dg.MetadataValue) -> Any:
    """Return a figure as plain data; a table as its rows."""
    if isinstance(value, dg.TableMetadataValue):
        return [dict(record.data) for record in value.records]
    return value.value


def _failure(result: dg.ExecuteInProcessResult) -> tuple[str, int]:
    """Return why a run failed, and the exit code that says so."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            if failure and failure.description:
                code = failure.metadata.get(EXIT_CODE)
                return failure.description, int(str(code.value)) if code else 1
            error = event.step_failure_data.error
            return str(error.cause.message if error and error.cause else error and error.message), 1
    return "the run failed; see its page in the Dagster UI", 1
