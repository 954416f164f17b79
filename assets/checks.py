"""The asset checks: what pandera found in the outputs, and whether a day kept its limit.

Nothing unchecked is ever pushed, whether these block or not: the steps write only what is valid
(D8). The checks say so where people look, partition by partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

import dagster as dg

from assets.completeness import COMPLETE
from assets.completeness import WORDS as COMPLETE_MEANS
from pipeline.core.configuration.integration import Integration
from pipeline.core.configuration.market import Market
from pipeline.core.org_fit.preflight import Preflight, Problem
from pipeline.core.scoring.drift import PSI_MAX, RECORDS_MIN, Drift, drifts
from pipeline.core.scoring.outputs import HASH_LENGTH_MAX, ROW_HASH, ROW_ID, TEXT_LENGTH_RULE
from pipeline.steps.clients import Clients
from pipeline.steps.score_summary import THE_ROW, ScoreSummary
from resources.ledger.counts import RANK, SCORE, name_of, parts_of

OUTPUT_CHECKS: Final = {
    "rank_values": (
        "rank",
        "Every rank is one that its market may give: A to D, and F where it has F.",
    ),
    "score_range": ("score", "Every score is a whole number from 0 to 100."),
    "insight_types": (
        "insight",
        "Every insight has its declared type and values, and fits its Salesforce field.",
    ),
    "text_lengths": ("text", "Every text is as short as its Salesforce field."),
}
ROW_CHECKS: Final = {
    "record_ids": (ROW_ID, "Every row has an id of 18 characters, and a record one row."),
    "hash_form": (
        ROW_HASH,
        f"Every hash has at most {HASH_LENGTH_MAX} characters: a version, a tag and a digest for each market.",
    ),
}
"""Block: past a share of broken rows nothing of the segment is pushed, nor anything else now."""

DRIFT: Final = "score_drift"
DAILY_LIMIT: Final = "daily_limit"


def ready_check_specs(
    key: dg.AssetKey, integrations: Sequence[Integration]
) -> list[dg.AssetCheckSpec]:
    """Return a check for each integration: is it ready to run? It stands over all partitions."""
    return [
        dg.AssetCheckSpec(
            _ready_check_name(integration),
            asset=key,
            description=f"Fields, types and permissions that {integration.name} needs are there; an integration "
            "that is not ready is held back, the others run.",
        )
        for integration in integrations
    ]


def _ready_check_name(integration: Integration) -> str:
    return f"{integration.object.lower()}_{integration.market}_ready"


def ready_results(
    key: dg.AssetKey, object_name: str, integrations: Sequence[Integration], found: Preflight
) -> Iterator[dg.AssetCheckResult]:
    """Return what preflight found of the object's integrations, and what to do about it."""
    for integration in integrations:
        if integration.object != object_name:
            continue

        own = found.of(integration)
        errors = [problem for problem in own if problem.severity == "error"]
        yield dg.AssetCheckResult(
            passed=not own,
            asset_key=key,
            check_name=_ready_check_name(integration),
            severity=dg.AssetCheckSeverity.ERROR if errors else dg.AssetCheckSeverity.WARN,
            description=_ready_advice(len(errors), len(own) - len(errors)),
            metadata={"problems": _problems_table(own)},
        )


def _problems_table(problems: Sequence[Problem]) -> dg.MetadataValue:
    records = [
        dg.TableRecord(
            {
                "severity": problem.severity,
                "where": problem.where,
                "what": problem.message,
                "do": problem.remedy,
            }
        )
        for problem in problems
    ]
    columns = [dg.TableColumn(column) for column in ("severity", "where", "what", "do")]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def _ready_advice(errors: int, warnings: int) -> str:
    if errors:
        return f"Held back until mended in Setup or in the mapping: {errors} errors; see the table."
    if warnings:
        return f"Runs, with {warnings} warnings."
    return "Ready."


def score_check_specs(
    key: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetCheckSpec]:
    """Return the checks of scored_enriched."""
    outputs = [
        dg.AssetCheckSpec(name, asset=key, description=words, partitions_def=partitions)
        for name, (_, words) in OUTPUT_CHECKS.items()
    ]

    rows = [
        dg.AssetCheckSpec(
            name, asset=key, description=words, partitions_def=partitions, blocking=True
        )
        for name, (_, words) in ROW_CHECKS.items()
    ]

    drift = dg.AssetCheckSpec(
        DRIFT,
        asset=key,
        description="The day's scores and ranks are spread as in the market's training data (PSI up to "
        f"{PSI_MAX}).",
        partitions_def=partitions,
    )
    return [*outputs, *rows, drift]


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
        ),
        dg.AssetCheckSpec(
            COMPLETE, asset=key, description=COMPLETE_MEANS, partitions_def=partitions
        ),
    ]


def output_results(
    key: dg.AssetKey, summary: ScoreSummary, markets: dict[str, Market]
) -> Iterator[dg.AssetCheckResult]:
    """Return a result for each kind of rule: how often it was broken, and on which records."""
    for name, (kind, _) in (OUTPUT_CHECKS | ROW_CHECKS).items():
        broken = {
            rule: rows
            for rule, rows in summary.broken.items()
            if _kind_of_rule(markets, rule) == kind
        }
        failed = {
            market: why
            for market, why in summary.markets_failed.items()
            if kind == "insight" or why.startswith(f"{kind}:")
        }

        # A market that failed as a whole gives no outputs.
        # Rows of a wrong form stop a whole segment.
        blocks = (
            bool(failed) if name in OUTPUT_CHECKS else bool(broken) and summary.segments_refused > 0
        )
        rows = sum(broken.values())

        yield dg.AssetCheckResult(
            passed=not broken and not failed,
            asset_key=key,
            check_name=name,
            severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
            description=_advice(rows, failed)
            if name in OUTPUT_CHECKS
            else _row_advice(rows, blocks),
            metadata={
                "records_set_aside": rows,
                "rules_broken": _rules_broken(summary, broken),
                **({"markets_failed": failed} if failed else {}),
            },
        )


def _rules_broken(
    summary: ScoreSummary, broken: Mapping[tuple[str, str, str], int]
) -> dg.MetadataValue:
    records = [
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
    ]

    columns = [
        dg.TableColumn(column, "int" if column == "records" else "string")
        for column in ("market", "output", "is_not", "records", "examples")
    ]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def drift_result(
    key: dg.AssetKey, clients: Clients, day: date, object_name: str
) -> dg.AssetCheckResult:
    """Compare the day's scores and ranks with those of each market's training (PSI)."""
    totals = clients.ledger.counts.of_day(day, object_name)

    found: list[Drift] = []
    for one in clients.configuration.of_object(object_name):
        training = clients.configuration.markets[one.market].training
        if one.enabled and training is not None:
            scores = parts_of(totals, name_of(SCORE, one.market))
            ranks = parts_of(totals, name_of(RANK, one.market))
            found += drifts(one.market, training, scores, ranks)
    drifted = [drift for drift in found if drift.has_drifted]

    metadata: dict[str, Any] = {
        f"psi_{d.market}_{d.output}": round(d.psi, 4) for d in found if d.is_enough
    }
    metadata |= {f"records_{d.market}_{d.output}": d.records for d in found}
    metadata |= {f"shares_{d.market}_{d.output}": _shares(d) for d in found if d.is_enough}

    return dg.AssetCheckResult(
        passed=not drifted,
        asset_key=key,
        check_name=DRIFT,
        severity=dg.AssetCheckSeverity.WARN,
        description=_drift_advice(found, drifted),
        metadata=metadata,
    )


def _shares(drift: Drift) -> dg.MetadataValue:
    """Return expected and actual shares side by side, in percent."""
    records = [
        dg.TableRecord(
            {
                drift.output: one.name,
                "expected_percent": round(100 * one.expected, 1),
                "actual_percent": round(100 * one.actual, 1),
            }
        )
        for one in drift.bins
    ]

    columns = [
        dg.TableColumn(drift.output),
        *(dg.TableColumn(c, "float") for c in ("expected_percent", "actual_percent")),
    ]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def _drift_advice(found: Sequence[Drift], drifted: Sequence[Drift]) -> str:
    if drifted:
        names = ", ".join(f"{d.market} {d.output} (PSI {d.psi:.2f})" for d in drifted)
        return (
            f"{names}: spread otherwise than in training, PSI over {PSI_MAX}. The scores were pushed. Compare the "
            "shares below; see whether a mapped field is empty or filled in another way since lately, or whether only "
            "part of the records came (an import, one segment). If the records have truly changed, train the model "
            "anew on newer data."
        )

    if not found:
        return "No market of this object tells how its scores were spread in training: nothing to compare with."
    if not any(d.is_enough for d in found):
        return f"Too few to tell: a day needs {RECORDS_MIN} scored records of a market."
    return "Scores and ranks are spread as in training."


def _kind_of_rule(markets: Mapping[str, Market], rule: tuple[str, str, str]) -> str:
    """Return which check a broken rule belongs to."""
    market, output, words = rule
    if market == THE_ROW:
        return output
    kind = markets[market].outputs[output].type
    if kind in ("score", "rank"):
        return kind
    return "text" if words.startswith(TEXT_LENGTH_RULE) else "insight"


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


def _row_advice(rows: int, blocks: bool) -> str:
    if blocks:
        return (
            f"{rows} rows have an id or a hash of a wrong form, too many to trust the others: nothing of their "
            "segments was pushed, and this run pushes nothing. It is a fault of the pipeline or of what the org "
            "answers: keep the run's page and report it; the records wait and are tried again by themselves."
        )
    if rows:
        return (
            f"{rows} rows were set aside and not pushed; the others were. It is a fault of the pipeline or of what "
            "the org answers: report it with the ids below."
        )
    return "All rows keep to their rules."


def limit_result(
    key: dg.AssetKey, clients: Clients, day_used: int, in_files: int
) -> dg.AssetCheckResult:
    """Check the day's scored rows against the limit: those in the ledger, and those in the lake."""
    limit = clients.configuration.settings.daily_record_limit
    most = max(day_used, in_files)
    return dg.AssetCheckResult(
        passed=most <= limit,
        asset_key=key,
        check_name=DAILY_LIMIT,
        description=_limit_advice(most, limit),
        metadata={"limit": limit, "claimed_in_ledger": day_used, "scored_in_files": in_files},
    )


def _limit_advice(most: int, limit: int) -> str:
    words = f"{most} of {limit} records of the day were scored, over all objects."
    if most <= limit:
        return words
    return (
        f"{words} Either daily_record_limit was lowered during the day, which is no harm, or the ledger had forgotten "
        "scorings: see whether it was put back from a backup today, or whether two ledgers work on this org."
    )
