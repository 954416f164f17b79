"""The asset checks: what pandera found in the outputs, and whether a day kept its limit.

Nothing unchecked is ever pushed, whether these block or not: the steps write only what is valid (D8).
The checks say so where people look, partition by partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import dagster as dg

from pipeline.core.integration import Integration
from pipeline.core.market import Market
from pipeline.steps.preflight import Preflight
from pipeline.steps.score import ScoreSummary
from pipeline.steps.work import Work

OUTPUT_CHECKS: Final = {
    "rank_values": (
        "rank",
        "Every rank is one that its market may give: A to D, and F where it has F.",
    ),
    "score_range": ("score", "Every score is a whole number from 0 to 100."),
    "insight_types": (
        "insight",
        "Every insight has its declared type and fits its Salesforce field.",
    ),
}
DAILY_LIMIT: Final = "daily_limit"


def ready_check_specs(
    key: dg.AssetKey, integrations: Sequence[Integration]
) -> list[dg.AssetCheckSpec]:
    """Return a check for each integration: is it ready to run? It stands over all partitions."""
    return [
        dg.AssetCheckSpec(
            _ready(integration),
            asset=key,
            description=f"Fields, types and permissions that {integration.name} needs are there; an integration "
            "that is not ready is held back, the others run.",
        )
        for integration in integrations
    ]


def _ready(integration: Integration) -> str:
    return f"{integration.object.lower()}_{integration.market}_ready"


def ready_results(
    key: dg.AssetKey, name: str, integrations: Sequence[Integration], found: Preflight
) -> Iterator[dg.AssetCheckResult]:
    """Return what preflight found of the object's integrations, and what to do in Setup about it."""
    for integration in integrations:
        if integration.object != name:
            continue
        own = found.of(integration)
        errors = [problem for problem in own if problem.severity == "error"]
        yield dg.AssetCheckResult(
            passed=not own,
            asset_key=key,
            check_name=_ready(integration),
            severity=dg.AssetCheckSeverity.ERROR if errors else dg.AssetCheckSeverity.WARN,
            description=_ready_advice(len(errors), len(own) - len(errors)),
            metadata={
                "problems": dg.MetadataValue.table(
                    [
                        dg.TableRecord(
                            {
                                "severity": problem.severity,
                                "where": problem.where,
                                "what": problem.message,
                                "do": problem.remedy,
                            }
                        )
                        for problem in own
                    ],
                    schema=dg.TableSchema(
                        [dg.TableColumn(column) for column in ("severity", "where", "what", "do")]
                    ),
                )
            },
        )


def _ready_advice(errors: int, warnings: int) -> str:
    if errors:
        return f"Held back until {errors} problems are mended in Setup or in the mapping; see the table."
    if warnings:
        return f"Runs, with {warnings} warnings."
    return "Ready."


def score_check_specs(
    key: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetCheckSpec]:
    """Return the checks of scored_enriched."""
    return [
        dg.AssetCheckSpec(name, asset=key, description=words, partitions_def=partitions)
        for name, (_, words) in OUTPUT_CHECKS.items()
    ]


def push_check_specs(
    key: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetCheckSpec]:
    """Return the checks of pushed_results."""
    return [
        dg.AssetCheckSpec(
            DAILY_LIMIT,
            asset=key,
            description="No more records were scored on this day than the daily limit, over all objects.",
            partitions_def=partitions,
        )
    ]


def output_results(
    key: dg.AssetKey, summary: ScoreSummary, markets: dict[str, Market]
) -> Iterator[dg.AssetCheckResult]:
    """Return a result for each kind of output: which rule was broken, how often, and on which records."""
    for name, (kind, _) in OUTPUT_CHECKS.items():
        broken = {
            rule: rows
            for rule, rows in summary.broken.items()
            if _kind(markets, rule[0], rule[1]) == kind
        }
        failed = {
            m: why
            for m, why in summary.markets_failed.items()
            if kind == "insight" or _names(why, kind)
        }
        rows = sum(broken.values())
        yield dg.AssetCheckResult(
            passed=not broken and not failed,
            asset_key=key,
            check_name=name,
            severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
            description=_advice(rows, failed),
            metadata={
                "records_set_aside": rows,
                "rules_broken": dg.MetadataValue.table(
                    [
                        dg.TableRecord(
                            {
                                "market": market,
                                "output": output,
                                "is_not": rule,
                                "records": n,
                                "examples": ", ".join(summary.examples[market, output, rule]),
                            }
                        )
                        for (market, output, rule), n in broken.items()
                    ],
                    schema=dg.TableSchema(
                        [
                            dg.TableColumn("market"),
                            dg.TableColumn("output"),
                            dg.TableColumn("is_not"),
                            dg.TableColumn("records", "int"),
                            dg.TableColumn("examples"),
                        ]
                    ),
                ),
                **({"markets_failed": failed} if failed else {}),
            },
        )


def _kind(markets: dict[str, Market], market: str, output: str) -> str:
    kind = markets[market].outputs[output].type
    return "insight" if kind == "reasons" else kind


def _names(why: str, kind: str) -> bool:
    return why.startswith(f"{kind}:")


def _advice(rows: int, failed: dict[str, str]) -> str:
    if failed:
        return (
            "The markets named below could not be used as a whole: nothing of theirs was pushed, their "
            "records wait. Mend the model; the records are tried again by themselves."
        )
    if rows:
        return (
            f"{rows} records were set aside and not pushed; the others were. Mend the model or map another "
            "field; the records are tried again by themselves."
        )
    return "All values keep to their rules."


def limit_result(key: dg.AssetKey, work: Work, day_used: int, in_files: int) -> dg.AssetCheckResult:
    """Hold the day's scored rows, as the ledger counts them and as the lake keeps them, against the limit."""
    limit = work.configuration.settings.daily_record_limit
    most = max(day_used, in_files)
    return dg.AssetCheckResult(
        passed=most <= limit,
        asset_key=key,
        check_name=DAILY_LIMIT,
        description=f"{most} of {limit} records of the day were scored, over all objects.",
        metadata={"limit": limit, "claimed_in_ledger": day_used, "scored_in_files": in_files},
    )
