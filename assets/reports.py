"""Status and plan as pages in the UI, and the words of a record's history (R27, R29, R30).

Materialise a report to renew it. None shows a record's values: what Dagster keeps cannot be
forgotten singly.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import dagster as dg

from assets.clients_resource import ClientsResource
from assets.step_asset import OWNERS
from assets.step_runs import stopping_for_people
from pipeline.steps.asking.explain import WORDS, Explained
from pipeline.steps.asking.plan import plan
from pipeline.steps.asking.status import status
from resources.environment import alerts_not_sent, refused_sign_in

GROUP: Final = "reports"
STATUS: Final = "status_report"
PLAN: Final = "plan_report"


def report_assets() -> list[dg.AssetsDefinition]:
    """Return the two reports."""
    return [_status_report(), _plan_report()]


def _status_report() -> dg.AssetsDefinition:
    @dg.asset(
        key=dg.AssetKey(STATUS),
        group_name=GROUP,
        owners=OWNERS,
        kinds={"markdown"},
        description="What is used of the day, what waits and until when, what fails, which integrations run, which markets are held. Costs no "
        "API call.",
    )
    def asset(
        context: dg.AssetExecutionContext, clients: ClientsResource
    ) -> dg.MaterializeResult[Any]:
        opened = clients.get(context.run.run_id)
        not_sent = alerts_not_sent(opened.now(), clients.home)
        found = status(opened, refused_sign_in(), not_sent)
        failing = [{"code": code, "records": n} for code, n in found.failing.items()]

        return dg.MaterializeResult(
            metadata={
                "day": str(found.day),
                "limit_used": found.limit_used,
                **({"nothing_is_pushed": found.no_push} if found.no_push else {}),
                **({"held": dg.MetadataValue.md("\n".join(found.held))} if found.held else {}),
                "limit": found.limit,
                "waiting": found.waiting_total,
                "last_done_on": str(found.last_done_on or "nothing waits"),
                "api_calls": sum(found.api_calls.values()),
                "api_calls_limit": found.api_calls_limit,
                "waits": dg.MetadataValue.md(
                    markdown(found.waiting, ("object", "reason", "state", "records"))
                ),
                "integrations": dg.MetadataValue.md(
                    markdown(
                        found.integrations,
                        ("integration", "state", "why", "since", "market_version"),
                    )
                ),
                "markets_held": dg.MetadataValue.md(
                    markdown(
                        found.markets_held, ("market", "since", "why", "next_trial", "waiting")
                    )
                ),
                "fails": dg.MetadataValue.md(markdown(failing, ("code", "records"))),
                "unpushed": dg.MetadataValue.md(
                    markdown(found.unpushed, ("segment", "records", "tries", "next_try", "why"))
                ),
                **({"sign_in_refused": found.sign_in_refused} if found.sign_in_refused else {}),
                **({"alerts_not_sent": found.alerts_not_sent} if found.alerts_not_sent else {}),
            }
        )

    return asset


def _plan_report() -> dg.AssetsDefinition:
    @dg.asset(
        key=dg.AssetKey(PLAN),
        group_name=GROUP,
        owners=OWNERS,
        kinds={"markdown"},
        description="What waits and what is to come, and the day on which the last record is scored. Costs an API call "
        "for five integrations, and two or three for each object.",
    )
    def asset(
        context: dg.AssetExecutionContext, clients: ClientsResource
    ) -> dg.MaterializeResult[Any]:
        found = stopping_for_people(lambda: plan(clients.get(context.run.run_id)))
        rows = [
            {
                name: getattr(row, name)
                for name in ("integration", "change", "records", "due", "days")
            }
            for row in found.integrations
        ]

        return dg.MaterializeResult(
            metadata={
                "day": str(found.day),
                "left_today": found.left_today,
                "waiting": found.waiting_total,
                "waiting_done_on": str(found.waiting_done_on or "nothing waits"),
                "to_do": found.to_do,
                "all_done_on": str(found.all_done_on or "nothing to do"),
                "waits": dg.MetadataValue.md(
                    markdown(found.waiting, ("object", "reason", "state", "records"))
                ),
                "integrations": dg.MetadataValue.md(
                    markdown(rows, ("integration", "change", "records", "due", "days"))
                ),
                "warnings": dg.MetadataValue.md(
                    "\n".join(f"- {w}" for w in found.warnings) or "None."
                ),
            }
        )

    return asset


def history_page(found: Sequence[Explained]) -> str:
    """Return a record's history as Markdown: no inputs, outputs or messages."""
    if not found:
        return "Nothing is kept of this record."

    pages = []
    for one in found:
        rows = [
            {
                "scored at": scoring.scored_at,
                "day": scoring.day,
                "why": WORDS[scoring.reason],
                "changed": ", ".join(
                    f"{m.market}: {', '.join(m.changed)}" for m in scoring.markets if m.changed
                ),
                "markets": ", ".join(f"{m.market} {m.version}" for m in scoring.markets),
                "result": f"{scoring.result} {scoring.code}".strip(),
                "bulk job": scoring.job_id,
            }
            for scoring in one.scorings
        ]

        page = f"**{one.object} {one.record_id}**\n\n" + markdown(
            rows, tuple(rows[0]) if rows else ()
        )

        if one.waiting:
            why = f" after {one.waiting.error_code}" if one.waiting.error_code else ""
            page += f"\n\nWaits ({WORDS[one.waiting.reason]}){why}, not before {_cell(one.waiting.not_before)}."
        pages.append(page)
    return "\n\n".join(pages)


def markdown(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as a Markdown table; "None." where there are none."""
    if not rows:
        return "None."
    lines = [columns, ["---"] * len(columns), *([_cell(row[c]) for c in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    text = "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
