"""The figures that the UI shows with a materialization: counts and ids, no record's values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeVar

import dagster as dg
import pyarrow as pa

from assets.partitions import partition_key
from assets.plots import plot
from assets.step_runs import Done
from pipeline.core.scoring.drift import SCORE_BINS
from pipeline.steps.asking.complete import waiting_done_on
from pipeline.steps.asking.dry_run import DryRun
from pipeline.steps.clients import PUSHED as PUSHED_ASSET
from pipeline.steps.clients import SCORED as SCORED_ASSET
from pipeline.steps.clients import Clients
from pipeline.steps.pull import PullSummary, counts
from pipeline.steps.push_summary import PushSummary
from pipeline.steps.score_summary import ScoreSummary
from resources.ledger.counts import (
    CLAIMED,
    DUE,
    FAILED,
    GONE,
    NOT_DUE,
    PUSHED,
    RANK,
    READ,
    SCORE,
    SCORED,
    parts_of,
)

DAY_TOTALS: Final = (READ, NOT_DUE, DUE, CLAIMED, SCORED, PUSHED, GONE)
NOTHING_WAITS: Final = "nothing waits"
SAMPLE_ROWS: Final = 10
DRY_RUN_RECORDS_SHOWN: Final = 20
_Summary = TypeVar("_Summary")
NOT_KEPT: Final = "(persist is off)"


def run_figures(
    done: Done[_Summary], figures_of: Callable[[Done[_Summary], _Summary], dict[str, Any]]
) -> dict[str, Any]:
    """Return the figures of one partition of a run."""
    own = figures_of(done, done.summary) if done.summary else {"asked_again": done.asked_again}
    return own | standing_figures(done.clients, done.day, done.object)


def materializations(
    key: dg.AssetKey,
    done: Sequence[Done[_Summary]],
    figures_of: Callable[[Done[_Summary], _Summary], dict[str, Any]],
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetMaterialization]:
    """Say what a run did to its partition; where there are several, to each its own as well."""
    if len(done) == 1:
        yield dg.MaterializeResult(asset_key=key, metadata=run_figures(done[0], figures_of))
        return
    yield dg.MaterializeResult(asset_key=key, metadata={"partitions_of_this_run": len(done)})
    for one in done:
        yield dg.AssetMaterialization(
            asset_key=key,
            partition=partition_key(one.day, one.object),
            metadata=run_figures(one, figures_of),
        )


def pull_figures(done: Done[PullSummary], summary: PullSummary) -> dict[str, Any]:  # noqa: ARG001  one signature
    """Return what a pull read and decided."""
    figures: dict[str, Any] = dict(counts(summary))
    if summary.window and summary.watermark_from:
        figures |= {
            "read_from": dg.MetadataValue.timestamp(summary.window.start),
            "read_to": dg.MetadataValue.timestamp(summary.window.end),
            "watermark_from": dg.MetadataValue.timestamp(summary.watermark_from),
            "watermark_to": dg.MetadataValue.timestamp(summary.window.end),
        }
    if summary.newest_change:
        figures["newest_change"] = dg.MetadataValue.timestamp(summary.newest_change)
    return figures


def score_figures(done: Done[ScoreSummary], summary: ScoreSummary) -> dict[str, Any]:
    """Return what was claimed and scored, by reason, and a few of the records."""
    figures: dict[str, Any] = {
        "claimed": summary.claimed,
        **{f"claimed_{reason}": n for reason, n in sorted(summary.by_reason.items())},
        "resumed": summary.resumed,
        "scored": summary.scored,
        "set_aside": summary.set_aside,
        **{f"set_aside_{code}": n for code, n in summary.set_aside_by_code.most_common()},
        "left_alone": summary.gone,
        "claimed_of_this_pull": summary.pulled_claimed,
        "waiting_of_this_pull": summary.pulled_waiting,
        "segments": summary.segments,
        "market_versions": summary.markets,
    }
    if summary.markets_failed:
        figures["markets_failed"] = summary.markets_failed

    figures |= plots(summary.distribution())
    segments = [(done.clients.today, segment) for segment in summary.segments]
    return figures | sample_figures(done.clients, done.object, segments)


def push_figures(done: Done[PushSummary], summary: PushSummary) -> dict[str, Any]:
    """Return what was pushed, what failed and why, and the bulk jobs with links to their pages."""
    figures: dict[str, Any] = {
        "settled": summary.settled,
        "pushed": summary.pushed,
        "failed": summary.failed,
        "gone": summary.gone,
        "in_flight": summary.in_flight,
        "released": summary.released,
        **{f"failed_{code}": n for code, n in summary.failed_by_code.most_common()},
    }

    if summary.unpushed:
        figures["unpushed"] = summary.unpushed
    if summary.newest_change_seconds is not None:
        figures["newest_change_age_seconds"] = summary.newest_change_seconds
    if summary.jobs:
        links = "\n".join(f"- [{job}]({url})" for job, url in summary.jobs.items())
        figures["bulk_jobs"] = dg.MetadataValue.md(links)
    return figures | sample_figures(done.clients, done.object, summary.segments)


def standing_figures(clients: Clients, day: date, object_name: str) -> dict[str, Any]:
    """Return what every materialization carries: what waits, limit, calls, the day's totals."""
    settings = clients.configuration.settings
    use = clients.ledger.days.use(clients.today, settings.daily_record_limit)
    waiting = clients.ledger.waiting.by_kind(object_name)
    state = clients.ledger.objects.all().get(object_name)
    markets = sorted({i.market for i in clients.configuration.of_object(object_name) if i.enabled})

    return {
        "waiting": sum(waiting.values()),
        **{f"waiting_{kind}": records for kind, records in waiting.items()},
        "waiting_done_on": str(waiting_done_on(clients) or NOTHING_WAITS),
        "limit_used": use.used,
        "limit_left": use.remaining,
        "api_calls_used": clients.ledger.calls.total(clients.today),
        "api_calls_left": clients.budget.remaining(),
        **({"watermark": dg.MetadataValue.timestamp(state.watermark)} if state else {}),
        "market_versions": {m: clients.configuration.markets[m].version for m in markets},
        **day_figures(clients, day, object_name),
    }


def day_figures(clients: Clients, day: date, object_name: str) -> dict[str, Any]:
    """Return what happened to the object over the whole of a day, whichever runs did it."""
    totals = clients.ledger.counts.of_day(day, object_name)
    failed = parts_of(totals, FAILED)
    figures: dict[str, Any] = {f"day_{counted}": totals[counted] for counted in DAY_TOTALS}
    figures["day_failed"] = sum(failed.values())
    if failed:
        by_code = Counter(failed).most_common()
        figures["day_failed_by_code"] = _table("code", by_code)
    return figures | {f"day_{chart}": drawn for chart, drawn in plots(totals).items()}


def plots(totals: Mapping[str, int]) -> dict[str, dg.MetadataValue]:
    """Return a chart for each market's scores (by tens) and ranks, from counts by their names."""
    charts: dict[str, dg.MetadataValue] = {}
    for kind, label in ((SCORE, "scores"), (RANK, "ranks")):
        markets: dict[str, dict[str, int]] = {}
        for name, records in parts_of(totals, kind).items():
            market, _, value = name.partition(":")
            markets.setdefault(market, {})[value] = records

        for market, values in sorted(markets.items()):
            known = SCORE_BINS if kind == SCORE else sorted(values.keys() - {"none"})
            names = [*known, *(["none"] if "none" in values else [])]
            bars = {value: values.get(value, 0) for value in names}
            charts[f"{label}_{market}"] = plot(f"{label} of {market}", bars)
    return charts


def sample_figures(
    clients: Clients, object_name: str, segments: Sequence[tuple[date, str]]
) -> dict[str, Any]:
    """Return a few of the records as a table, those that failed first.

    Each has id, reason, scores, ranks and result.

    No inputs and no texts. Scores and ranks only of integrations that persist (R24).
    """
    for day, segment in segments:
        scored = clients.lake.read_file(SCORED_ASSET, day, object_name, segment)
        if scored is not None:
            settled = clients.lake.read_file(PUSHED_ASSET, day, object_name, segment)
            return {"sample": _sample(clients, object_name, scored, settled)}
    return {}


def _sample(
    clients: Clients, object_name: str, scored: pa.Table, settled: pa.Table | None
) -> dg.MetadataValue:
    outputs = {
        f"{i.market}.output.{output}": f"{i.market}_{output}"
        for i in clients.configuration.of_object(object_name)
        for output in i.outputs
        if clients.configuration.markets[i.market].outputs[output].type in ("score", "rank")
    }
    # Columns of integrations that do not persist are not in the file (R24).
    shown = {column: label for column, label in outputs.items() if column in scored.column_names}

    results: dict[str, str] = {}
    if settled is not None:
        rows = settled.select(["id", "status", "code"]).to_pylist()
        results = {row["id"]: f"{row['status']} {row['code']}".strip() for row in rows}

    ids = scored.column("id").to_pylist()
    failed = [at for at, i in enumerate(ids) if results.get(i, "pushed") != "pushed"]
    chosen = dict.fromkeys([*failed[: SAMPLE_ROWS // 2], *range(len(ids))])
    few = scored.take(pa.array(list(chosen)[:SAMPLE_ROWS], pa.int64()))

    records = [
        dg.TableRecord(
            {
                "id": row["id"],
                "reason": row["reason"],
                **{label: _cell(row[column]) for column, label in shown.items()},
                "result": results.get(row["id"], "scored"),
            }
        )
        for row in few.select(["id", "reason", *shown]).to_pylist()
    ]

    columns = [dg.TableColumn(n) for n in ("id", "reason", *shown.values(), "result")]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def dry_run_figures(found: DryRun, *, persist: bool) -> dict[str, Any]:
    """Return what a dry run would do, field by field, for the first records.

    Values stay in Dagster's storage, so they are shown only where all integrations of the object
    persist (R24).
    """
    records = [
        dg.TableRecord(
            {
                "id": row["id"],
                "reason": row["reason"],
                "field": name,
                "stands": _cell(values["stands"]) if persist else NOT_KEPT,
                "would_be": _cell(values["would_be"]) if persist else NOT_KEPT,
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


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _table(label: str, shares: Sequence[tuple[str, int]]) -> dg.MetadataValue:
    records = [dg.TableRecord({label: key, "records": n}) for key, n in shares]
    return dg.MetadataValue.table(
        records,
        schema=dg.TableSchema([dg.TableColumn(label), dg.TableColumn("records", "int")]),
    )
