"""What an operator launches from the UI when the story is over: jobs, a dry run that finds a fault, the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from assets.partitions import partition_key
from assets.reports import PLAN, STATUS
from pipeline.steps.clients import CHANGED_RECORDS
from tests.ui.site import Site
from tests.ui.story import Story

HIDDEN: Final = "PI_Seniority__c"
"""A field that the integration's user loses the right to edit."""


@dataclass
class Operated:
    """What each run said, by its job; `record_id` is the record that was explained."""

    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    record_id: str = ""


def operated(site: Site, story: Story) -> Operated:
    """Launch an operator's jobs over GraphQL, side by side, then those that need the others' end."""
    done = Operated()
    done.record_id = site.org.query("SELECT Id FROM Lead LIMIT 1")[0]["Id"]
    contact = {"object": "Contact", "market": "enterprise_fit"}
    _launched(
        site,
        done,
        {
            "resume_integration": contact,
            "retry_failures": {"objects": ["Account"]},
            "explain_record": {"record_id": done.record_id},
            "rescore": {"markets": ["campaign_response"]},
        },
    )
    site.wait(seconds=30)
    site.org.control(
        "POST", "permissions", {"object": "Lead", "field": HIDDEN, "read": True, "edit": False}
    )
    today = {"dagster/partition": str(partition_key(story.again[-1], "Lead"))}
    _launched(site, done, {"pause_integration": contact}, dry_run=today, reports=True)
    return done


def _launched(
    site: Site,
    done: Operated,
    jobs: Mapping[str, Mapping[str, Any]],
    *,
    dry_run: Mapping[str, str] | None = None,
    reports: bool = False,
) -> None:
    """Launch all, then wait for all."""
    graphql = site.graphql
    runs = {
        job: graphql.launch(job, {"ops": {f"{job}_op": {"config": dict(config)}}})
        for job, config in jobs.items()
    }
    if dry_run:
        options = {"config": {"dry_run": True, "first": 3}}
        runs["dry_run"] = graphql.launch(
            "dry_run", {"ops": {CHANGED_RECORDS: options}}, tags=dry_run
        )
    if reports:
        runs["reports"] = graphql.launch("__ASSET_JOB", assets=(STATUS, PLAN))
    for job, run_id in runs.items():
        done.said[job] = graphql.ended(run_id)
