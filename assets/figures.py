"""Turns summaries into the figures that the UI shows with a materialization: counts and ids, no record's values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import dagster as dg

from assets.work import Done
from pipeline.steps.dry_run import DryRun
from pipeline.steps.pull import PullSummary, counts
from pipeline.steps.push import PushSummary
from pipeline.steps.score import ScoreSummary
from pipeline.steps.work import Work

DRY_RUN_RECORDS_SHOWN: Final = 20
_Summary = TypeVar("_Summary")
NOT_KEPT: Final = "(persist is off)"


def run_figures(
    done: Sequence[Done[_Summary]], figures_of: Callable[[_Summary, Work], dict[str, Any]]
) -> dict[str, Any]:
    """Return the figures of a run's partition, or of several, each under its object's name."""
    figures: dict[str, Any] = {}
    for one in done:
        before = f"{one.object}: " if len(done) > 1 else ""
        own = figures_of(one.summary, one.work) if one.summary else {"asked_again": one.asked_again}
        figures |= {before + name: value for name, value in own.items()}
    return figures


def pull_figures(summary: PullSummary, work: Work) -> dict[str, Any]:
    """Return what a pull read and decided."""
    figures: dict[str, Any] = dict(counts(summary))
    if summary.window:
        figures["read_from"] = dg.MetadataValue.timestamp(summary.window.start)
        figures["read_to"] = dg.MetadataValue.timestamp(summary.window.end)
    if summary.newest_change:
        figures["newest_change"] = dg.MetadataValue.timestamp(summary.newest_change)
    return figures | _common(summary.object, work)


def score_figures(summary: ScoreSummary, work: Work) -> dict[str, Any]:
    """Return what was claimed and scored, by reason, and the distribution of scores and ranks."""
    figures: dict[str, Any] = {
        "claimed": summary.claimed,
        **{f"claimed_{reason}": n for reason, n in sorted(summary.by_reason.items())},
        "resumed": summary.resumed,
        "scored": summary.scored,
        "set_aside": summary.set_aside,
        "left_alone": summary.gone,
        "claimed_of_this_pull": summary.pulled_claimed,
        "waiting_of_this_pull": summary.pulled_waiting,
        "segments": summary.segments,
        "market_versions": summary.markets,
    }
    for market, ranks in summary.ranks.items():
        figures[f"ranks_{market}"] = _table("rank", ranks)
    for market, scores in summary.scores.items():
        figures[f"scores_{market}"] = _table("score_from", scores)
    if summary.markets_failed:
        figures["markets_failed"] = summary.markets_failed
    return figures | _common(summary.object, work)


def push_figures(summary: PushSummary, work: Work) -> dict[str, Any]:
    """Return what was pushed, what failed and why, and the bulk jobs with links to their pages."""
    figures: dict[str, Any] = {
        "settled": summary.settled,
        "pushed": summary.pushed,
        "failed": summary.failed,
        "gone": summary.gone,
        "in_flight": summary.in_flight,
        **{f"failed_{code}": n for code, n in summary.failed_by_code.most_common()},
    }
    if summary.jobs:
        links = "\n".join(f"- [{job}]({url})" for job, url in summary.jobs.items())
        figures["bulk_jobs"] = dg.MetadataValue.md(links)
    return figures | _common(summary.object, work)


def dry_run_figures(found: DryRun, *, persist: bool) -> dict[str, Any]:
    """Return what a dry run would do, field by field, for the first records.

    Values stay in Dagster's storage, so they are shown only where all integrations of the object persist (R24).
    """
    records = [
        dg.TableRecord(
            {
                "id": row["id"],
                "reason": row["reason"],
                "field": name,
                "stands": _shown(values["stands"]) if persist else NOT_KEPT,
                "would_be": _shown(values["would_be"]) if persist else NOT_KEPT,
            }
        )
        for row in found.rows[:DRY_RUN_RECORDS_SHOWN]
        for name, values in row["fields"].items()
    ]
    columns = [dg.TableColumn(n) for n in ("id", "reason", "field", "stands", "would_be")]
    return {
        "dry_run": True,
        "read": found.read,
        "due": sum(found.due.values()),
        **{f"due_{reason}": n for reason, n in sorted(found.due.items())},
        "would_push": len(found.rows),
        "would_set_aside": len(found.failed),
        "rules_broken": found.broken,
        "rows": dg.MetadataValue.table(records, schema=dg.TableSchema(columns)),
    }


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _common(name: str, work: Work) -> dict[str, Any]:
    """Return the figures that every materialization carries: what waits, what the day has left, API calls."""
    settings = work.configuration.settings
    use = work.ledger.claims.day_use(work.today, settings.daily_record_limit)
    return {
        "waiting": work.ledger.waiting.ids_waiting(name),
        "limit_used": use.used,
        "limit_left": use.left,
        "api_calls_used": work.ledger.calls.total(work.today),
        "api_calls_left": work.calls_left(),
    }


def _table(label: str, shares: Mapping[str, int] | Counter[str]) -> dg.MetadataValue:
    records = [dg.TableRecord({label: key, "records": n}) for key, n in sorted(shares.items())]
    return dg.MetadataValue.table(
        records,
        schema=dg.TableSchema([dg.TableColumn(label), dg.TableColumn("records", "int")]),
    )
