"""The jobs of an operator: stop, start, pause, resume, release, retry, rescore, explain (R29).

Each asks the same step as the command of the same name. What it did stands in the run's events.
"""

# Without postponed annotations: Dagster reads the config classes, which are made here from the
# configuration.
import zlib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from pydantic import Field

from assets.clients_resource import ClientsResource
from assets.options import run_config
from assets.reports import history_page
from assets.step_runs import WORK_TAG, stopping_for_people
from pipeline.core.configuration.configuration import Configuration
from pipeline.core.configuration.integration import OBJECTS
from pipeline.jobs import PRIORITY_TAG
from pipeline.steps.asking.explain import explain
from pipeline.steps.asking.failures import retry
from pipeline.steps.brake import release
from pipeline.steps.clients import CHANGED_RECORDS, PUSHED, SCORED, Clients
from pipeline.steps.pause import pause, resume
from pipeline.steps.rescore import rescore
from pipeline.steps.stop import start, stop

FIRST_DEFAULT: Final = 100
SAID: Final = "said"
"""Among a step's figures: what it did, in a sentence."""

Job = dg.JobDefinition | UnresolvedAssetJobDefinition
Figures = dict[str, Any]


def operator_jobs(keys: Mapping[str, dg.AssetKey], configuration: Configuration) -> list[Job]:
    """Return the jobs; what can be chosen in the launchpad is what the configuration has.

    `keys` are the keys that the assets are mounted at.
    """
    market = _choice("Market", sorted({i.market for i in configuration.integrations if i.enabled}))
    return [
        *_stopping(),
        *_pausing(market),
        _releasing(),
        _retrying(),
        _rescoring(market),
        _explaining(),
        _dry_run(keys),
        _first(keys),
    ]


def _choice(name: str, values: Sequence[str]) -> Any:
    """Return a type whose values the launchpad offers; any text where there is none to choose from.

    Its name carries a checksum of its values: Dagster keeps the types of a process by name.
    """
    checksum = zlib.crc32(" ".join(values).encode())
    return Enum(f"{name}_{checksum:08x}", {value: value for value in values}) if values else str


_Object = Enum("_Object", {name: name for name in OBJECTS})  # type: ignore[misc]


def _text(choice: Any) -> str:
    return str(choice.value if isinstance(choice, Enum) else choice)


def _operator_job(
    name: str,
    options: type[dg.Config],
    step: Callable[[Clients, Any], Figures],
    *,
    does: str,
    description: str,
) -> dg.JobDefinition:
    """Return a job that does `step` with a run's clients and what was chosen in the launchpad.

    What the step did goes to the log, and its figures stay with the run. `does` describes the op.
    """

    @dg.op(name=f"{name}_op", description=does)
    def operator_op(
        context: dg.OpExecutionContext,
        config: options,  # type: ignore[valid-type]
        clients: ClientsResource,
    ) -> dg.Output[None]:
        figures = stopping_for_people(lambda: step(clients.get(context.run.run_id), config))
        context.log.info(str(figures[SAID]))
        return dg.Output(None, metadata=figures)

    @dg.job(name=name, description=description)
    def operator_job() -> None:
        operator_op()

    return operator_job


def _stopping() -> list[dg.JobDefinition]:
    class StopOptions(dg.Config):
        why: str = Field(default="", description="What it is stopped for: shown to everybody.")
        by: str = Field(default="", description="Your name; empty for that of the machine's user.")

    class StartOptions(dg.Config):
        pass

    def stop_chosen(clients: Clients, chosen: StopOptions) -> Figures:
        return {SAID: f"Everything is {stop(clients, chosen.why, chosen.by)}."}

    def start_chosen(clients: Clients, _: StartOptions) -> Figures:
        stopped = start(clients)
        return {SAID: "It goes on." if stopped else "Nothing was stopped."}

    return [
        _operator_job(
            "stop_all",
            StopOptions,
            stop_chosen,
            does="Lets nothing new begin; what has begun finishes.",
            description="Stop everything: no pull, no claim and no bulk job begins until start_all.",
        ),
        _operator_job(
            "start_all",
            StartOptions,
            start_chosen,
            does="Lets everything go on.",
            description="Let everything go on that stop_all has stopped.",
        ),
    ]


def _releasing() -> dg.JobDefinition:
    class ReleaseOptions(dg.Config):
        segments: list[str] = Field(default=[], description="These segments; empty for all.")
        discard: bool = Field(
            default=False, description="Push none of it: their records are scored again."
        )
        by: str = Field(default="", description="Your name; empty for that of the machine's user.")

    def release_chosen(clients: Clients, chosen: ReleaseOptions) -> Figures:
        answered = release(clients, chosen.segments, discard=chosen.discard, by=chosen.by)
        what = "discarded; their records wait again" if chosen.discard else "pushed by the next run"
        return {
            SAID: f"{len(answered)} held segments are {what}.",
            "records": sum(segment.rows for segment in answered),
        }

    return _operator_job(
        "release_segments",
        ReleaseOptions,
        release_chosen,
        does="Answers for segments that the brake holds before their push.",
        description="Push, or discard, what is held since its scores differ from those of the last days.",
    )


def _pausing(choice: Any) -> list[dg.JobDefinition]:
    class PauseOptions(dg.Config):
        object: _Object = Field(description="The integration's object.")
        market: choice = Field(description="The integration's market.")

        @property
        def integration(self) -> str:
            return f"{_text(self.object)}.{_text(self.market)}"

    def pause_chosen(clients: Clients, chosen: PauseOptions) -> Figures:
        name = chosen.integration
        pause(clients, name)
        return {SAID: f"{name} is paused; the job resume_integration lets it go on."}

    def resume_chosen(clients: Clients, chosen: PauseOptions) -> Figures:
        name = chosen.integration
        since = resume(clients, name)
        return {
            SAID: f"{name} goes on; what changed since {since:%Y-%m-%d %H:%M} UTC is read again."
        }

    return [
        _operator_job(
            "pause_integration",
            PauseOptions,
            pause_chosen,
            does="Lets an integration rest; its digests stay, other markets go on.",
            description="Pause an integration: nothing that changes meanwhile is lost.",
        ),
        _operator_job(
            "resume_integration",
            PauseOptions,
            resume_chosen,
            does="Lets a paused integration go on; what changed meanwhile is read again.",
            description="Let a paused integration go on.",
        ),
    ]


def _retrying() -> dg.JobDefinition:
    class RetryOptions(dg.Config):
        objects: list[_Object] = Field(default=[], description="Only these objects; empty for all.")
        codes: list[str] = Field(default=[], description="Only these error codes; empty for all.")
        ids: list[str] = Field(default=[], description="Only these records; empty for all.")

    def retry_chosen(clients: Clients, chosen: RetryOptions) -> Figures:
        objects = [_text(name) for name in chosen.objects]
        records = retry(clients, objects, chosen.codes, chosen.ids)
        return {
            SAID: f"{records} failing records are tried by the next run; the sensor asks for it.",
            "records": records,
        }

    return _operator_job(
        "retry_failures",
        RetryOptions,
        retry_chosen,
        does="Lets failing records be tried by the next run, within the day's limit.",
        description="Try records that failed again now, instead of after their wait.",
    )


def _rescoring(choice: Any) -> dg.JobDefinition:
    class RescoreOptions(dg.Config):
        objects: list[_Object] = Field(
            default=[], description="These objects, with all their markets."
        )
        markets: list[choice] = Field(
            default=[], description="These markets, on all their objects."
        )

    def rescore_chosen(clients: Clients, chosen: RescoreOptions) -> Figures:
        objects = [_text(name) for name in chosen.objects]
        asked = rescore(clients, objects, [_text(market) for market in chosen.markets])
        return {
            SAID: f"{', '.join(asked.integrations)}: {asked.total} records will be scored again.",
            "records": asked.total,
            "done_on": str(asked.done_on or "nothing to do"),
        }

    return _operator_job(
        "rescore",
        RescoreOptions,
        rescore_chosen,
        does="Makes all records of an object or a market due again, at the limit's pace.",
        description="Score a whole object or market again, over as many days as the limit takes. For single days, "
        "launch a backfill over their partitions instead.",
    )


def _explaining() -> dg.JobDefinition:
    class ExplainOptions(dg.Config):
        record_id: str = Field(description="A record's id, of 15 or 18 characters.")

    def explain_chosen(clients: Clients, chosen: ExplainOptions) -> Figures:
        found = explain(clients, chosen.record_id)
        scorings = sum(len(one.scorings) for one in found)
        return {
            SAID: f"{scorings} scorings of {chosen.record_id} are known.",
            "history": dg.MetadataValue.md(history_page(found)),
        }

    return _operator_job(
        "explain_record",
        ExplainOptions,
        explain_chosen,
        does="Tells every scoring of one record. Its values are shown by `insights explain` only.",
        description="One record's history: every scoring, why, by which models, and how its push ended.",
    )


def _dry_run(keys: Mapping[str, dg.AssetKey]) -> UnresolvedAssetJobDefinition:
    key = keys[CHANGED_RECORDS]
    return dg.define_asset_job(
        "dry_run",
        selection=dg.AssetSelection.assets(key),
        config=run_config([key], dry_run=True, first=FIRST_DEFAULT),
        description="Show what a pull of one object would push, beside what stands in the org. Writes nothing.",
    )


def _first(keys: Mapping[str, dg.AssetKey]) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        "push_first",
        selection=dg.AssetSelection.assets(
            *(keys[name] for name in (CHANGED_RECORDS, SCORED, PUSHED))
        ),
        config=run_config([keys[SCORED]], first=FIRST_DEFAULT),
        tags={WORK_TAG: "true", PRIORITY_TAG: "10"},
        description="Pull one object and push no more than the first records; the others wait.",
    )
