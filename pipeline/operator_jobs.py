"""Jobs for what else an operator does from the UI: pause, resume, retry, rescore, dry run, first N, explain (R29).

Each asks the same step as the command of the same name. What it did stands in the run's events.
"""

# Without postponed annotations: Dagster reads the config classes, which are made from the configuration.
import zlib
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from pydantic import Field

from assets.clients import WORK_TAG, ClientsResource, stopping_for_people
from assets.options import run_config
from assets.reports import history_page
from pipeline.core.configuration.configuration import Configuration
from pipeline.core.configuration.integration import OBJECTS
from pipeline.jobs import PRIORITY_TAG
from pipeline.steps.asking.explain import explain
from pipeline.steps.asking.failures import retry
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED, Clients
from pipeline.steps.pause import pause, resume
from pipeline.steps.rescore import rescore

FIRST_DEFAULT: Final = 100
Job = dg.JobDefinition | UnresolvedAssetJobDefinition


def operator_jobs(prefix: list[str], configuration: Configuration) -> list[Job]:
    """Return the jobs; what can be chosen in the launchpad is what the configuration has."""
    market = _choice("Market", sorted({i.market for i in configuration.integrations if i.enabled}))
    return [
        *_pausing(market),
        _retrying(),
        _rescoring(market),
        _explaining(),
        _dry_run(prefix),
        _first(prefix),
    ]


def _choice(name: str, values: Sequence[str]) -> Any:
    """Return a type whose values the launchpad offers; any text where there is none to choose from.

    Its name tells its values: Dagster keeps the types of a process by name.
    """
    told = zlib.crc32(" ".join(values).encode())
    return Enum(f"{name}_{told:08x}", {value: value for value in values}) if values else str


_Object = Enum("_Object", {name: name for name in OBJECTS})  # type: ignore[misc]


def _text(choice: Any) -> str:
    return str(choice.value if isinstance(choice, Enum) else choice)


def _do(
    context: dg.OpExecutionContext,
    clients: ClientsResource,
    step: Callable[[Clients], dict[str, Any]],
) -> dg.Output[None]:
    """Do the step with a run's clients, tell it in the log, keep its figures with the run."""
    figures = stopping_for_people(lambda: step(clients.get(context.run.run_id)))
    context.log.info(str(figures.get("said", figures)))
    return dg.Output(None, metadata=figures)


def _pausing(choice: Any) -> list[dg.JobDefinition]:
    class PauseOptions(dg.Config):
        object: _Object = Field(description="The integration's object.")
        market: choice = Field(description="The integration's market.")

    @dg.op(description="Lets an integration rest; its digests stay, other markets go on.")
    def pause_integration_op(
        context: dg.OpExecutionContext, config: PauseOptions, clients: ClientsResource
    ) -> dg.Output[None]:
        name = f"{_text(config.object)}.{_text(config.market)}"

        def step(opened: Clients) -> dict[str, Any]:
            pause(opened, name)
            return {"said": f"{name} is paused; the job resume_integration lets it go on."}

        return _do(context, clients, step)

    @dg.op(description="Lets a paused integration go on; what changed meanwhile is read again.")
    def resume_integration_op(
        context: dg.OpExecutionContext, config: PauseOptions, clients: ClientsResource
    ) -> dg.Output[None]:
        name = f"{_text(config.object)}.{_text(config.market)}"

        def step(opened: Clients) -> dict[str, Any]:
            since = resume(opened, name)
            return {
                "said": f"{name} goes on; what changed since {since:%Y-%m-%d %H:%M} UTC is read again."
            }

        return _do(context, clients, step)

    @dg.job(description="Pause an integration: nothing that changes meanwhile is lost.")
    def pause_integration() -> None:
        pause_integration_op()

    @dg.job(description="Let a paused integration go on.")
    def resume_integration() -> None:
        resume_integration_op()

    return [pause_integration, resume_integration]


def _retrying() -> dg.JobDefinition:
    class RetryOptions(dg.Config):
        objects: list[_Object] = Field(default=[], description="Only these objects; empty for all.")
        codes: list[str] = Field(default=[], description="Only these error codes; empty for all.")
        ids: list[str] = Field(default=[], description="Only these records; empty for all.")

    @dg.op(description="Lets failing records be tried by the next run, within the day's limit.")
    def retry_failures_op(
        context: dg.OpExecutionContext, config: RetryOptions, clients: ClientsResource
    ) -> dg.Output[None]:
        def step(opened: Clients) -> dict[str, Any]:
            names = [_text(name) for name in config.objects]
            records = retry(opened, names, config.codes, config.ids)
            return {
                "said": f"{records} failing records are tried by the next run; the sensor asks for it.",
                "records": records,
            }

        return _do(context, clients, step)

    @dg.job(description="Try records that failed again now, instead of after their wait.")
    def retry_failures() -> None:
        retry_failures_op()

    return retry_failures


def _rescoring(choice: Any) -> dg.JobDefinition:
    class RescoreOptions(dg.Config):
        objects: list[_Object] = Field(
            default=[], description="These objects, with all their markets."
        )
        markets: list[choice] = Field(
            default=[], description="These markets, on all their objects."
        )

    @dg.op(description="Makes all records of an object or a market due again, at the limit's pace.")
    def rescore_op(
        context: dg.OpExecutionContext, config: RescoreOptions, clients: ClientsResource
    ) -> dg.Output[None]:
        def step(opened: Clients) -> dict[str, Any]:
            names = [_text(name) for name in config.objects]
            asked = rescore(opened, names, [_text(market) for market in config.markets])
            return {
                "said": f"{', '.join(asked.integrations)}: {asked.total} records will be scored again.",
                "records": asked.total,
                "done_on": str(asked.done_on or "nothing to do"),
            }

        return _do(context, clients, step)

    @dg.job(
        name="rescore",
        description="Score a whole object or market again, over as many days as the limit takes. For single days, "
        "launch a backfill over their partitions instead.",
    )
    def rescore_job() -> None:
        rescore_op()

    return rescore_job


def _explaining() -> dg.JobDefinition:
    class ExplainOptions(dg.Config):
        record_id: str = Field(description="A record's id, of 15 or 18 characters.")

    @dg.op(
        description="Tells every scoring of one record. Its values are shown by `insights explain` only."
    )
    def explain_record_op(
        context: dg.OpExecutionContext, config: ExplainOptions, clients: ClientsResource
    ) -> dg.Output[None]:
        def step(opened: Clients) -> dict[str, Any]:
            found = explain(opened, config.record_id)
            said = f"{sum(len(one.scorings) for one in found)} scorings of {config.record_id} are known."
            return {"said": said, "history": dg.MetadataValue.md(history_page(found))}

        return _do(context, clients, step)

    @dg.job(
        description="One record's history: every scoring, why, by which models, and how its push ended."
    )
    def explain_record() -> None:
        explain_record_op()

    return explain_record


def _dry_run(prefix: list[str]) -> UnresolvedAssetJobDefinition:
    key = dg.AssetKey([*prefix, CHANGED_RECORDS])
    options = {"config": {"dry_run": True, "first": FIRST_DEFAULT}}
    return dg.define_asset_job(
        "dry_run",
        selection=dg.AssetSelection.assets(key),
        config={"ops": {key.to_python_identifier(): options}},
        description="Show what a pull of one object would push, beside what stands in the org. Writes nothing.",
    )


def _first(prefix: list[str]) -> UnresolvedAssetJobDefinition:
    keys = [dg.AssetKey([*prefix, name]) for name in (CHANGED_RECORDS, SCORED, PUSHED)]
    return dg.define_asset_job(
        "push_first",
        selection=dg.AssetSelection.assets(*keys),
        config=run_config(None, prefix, dry_run=False, first=FIRST_DEFAULT),
        tags={WORK_TAG: "true", PRIORITY_TAG: "10"},
        description="Pull one object and push no more than the first records; the others wait.",
    )
