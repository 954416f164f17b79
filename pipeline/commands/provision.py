"""`insights provision`: creates the missing fields and lets people use them (R13)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from pipeline.commands.clients import (
    opened_admin,
    opened_clients,
)
from pipeline.commands.options import JSON_OPTION, OBJECTS_OPTION, YES_OPTION
from pipeline.commands.terminal import FAILED, confirm, print_json, print_table, problem_json, say

if TYPE_CHECKING:
    from pipeline.core.org_fit.provisioning import ProvisioningPlan, WantedField
    from pipeline.steps.setting_up.provision import Provisioned

COLUMNS: Final = ("do", "field", "type", "label")


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@OBJECTS_OPTION
@click.option(
    "--user", "users", multiple=True, help="Let this user (by user name) see the fields as well."
)
@YES_OPTION
@JSON_OPTION
def provision(
    objects: tuple[str, ...], users: tuple[str, ...], *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Create the missing fields and let the integration user use them, after showing them.

    Fields that are there are never changed. Needs an admin: by SALESFORCE_ADMIN_... variables for
    this command alone, or where the integration user is one.
    """
    from pipeline.steps.setting_up import provision as step

    with opened_clients() as clients:
        plan = step.plan(clients, objects)
        if not as_json:
            _print_plan(plan)
        act = not plan.is_empty and not dry_run
        if act and confirm("Create and grant these fields?", yes=yes):
            with opened_admin(clients) as admin:
                done = step.provision(clients, plan, admin, users=users, object_names=objects)
        else:
            done = None

    if as_json:
        print_json(_plan_json(plan, done))
    elif done:
        _print_done(done)

    if plan.wrong or (done and (done.refused or any(p.severity == "error" for p in done.problems))):
        sys.exit(FAILED)


def _print_plan(plan: ProvisioningPlan) -> None:
    rows = [
        {"do": "create", "field": wanted.full_name, "type": wanted.words, "label": wanted.label}
        for wanted in plan.create
    ]
    rows += [
        {"do": "grant", "field": wanted.full_name, "type": "Edit", "label": ""}
        for wanted in plan.grant
    ]
    if rows:
        print_table(rows, COLUMNS)
    for line in plan.wrong:
        say(f"wrong    {line}")

    if plan.is_empty:
        say("Nothing to create or grant.")
    else:
        count = len(plan.create) + len(plan.grant)
        say(
            f"{count} fields, granted by the permission set Predictive_Insights; "
            f"about {len(plan.create) + 8} API calls."
        )


def _print_done(done: Provisioned) -> None:
    say(
        f"{len(done.created)} created, {len(done.already_there)} there already but hidden, "
        f"{len(done.granted)} granted"
    )
    for name, why in done.refused.items():
        say(f"refused  {name}: {why}")
    for problem in done.problems:
        say(f"{problem.severity:8} {problem}")
    if not done.problems:
        say("Preflight finds nothing wrong. Next: insights check")


def _plan_json(plan: ProvisioningPlan, done: Provisioned | None) -> dict[str, object]:
    def rows(fields: Sequence[WantedField]) -> list[dict[str, str]]:
        return [{"field": w.full_name, "label": w.label, "type": w.words} for w in fields]

    return {
        "create": rows(plan.create),
        "grant": rows(plan.grant),
        "wrong": list(plan.wrong),
        "done": None
        if done is None
        else {
            "created": done.created,
            "already_there": done.already_there,
            "granted": done.granted,
            "refused": done.refused,
            "problems": [problem_json(problem) for problem in done.problems],
        },
    }
