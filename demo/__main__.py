"""The main job on the local org, told as it happens: `make demo`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from demo.people import leads
from demo.salesperson import edits
from demo.stage import HOME, SEED, environment, insights, seed, start_org
from local_org.launch import RunningOrg

WEB_LEADS: Final = 25
EDITS: Final = 40
LEGAL_HOLDS: Final = 3
SETTLE_SECONDS: Final = 3
"""A pull leaves the newest two seconds to the next one."""


@click.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=HOME,
    help="Folder of the state; what an earlier demo left in it goes.",
)
def main(home: Path) -> None:
    """Set the stage, run the three pulls, give the account; end with 0 if all went as it should."""
    began = time.monotonic()
    _forget(home)
    org = start_org(home)
    try:
        code = _play(org, home)
    finally:
        org.stop()
    print(f"\nIt took {time.monotonic() - began:.0f} seconds. To look further: make ui")
    sys.exit(code)


def _forget(home: Path) -> None:
    """Delete what an earlier demo left, and nothing that is no demo's."""
    if not home.exists() or not any(home.iterdir()):
        return
    if not (home / "org.db").exists():
        raise click.ClickException(f"{home} holds other things than a demo; name another folder.")
    shutil.rmtree(home)


def _play(org: RunningOrg, home: Path) -> int:
    print(f"A local Salesforce org is running at {org.base_url}.")
    made = seed(org)
    print(
        "It holds "
        + ", ".join(f"{n:,} {name}s" for name, n in made.items())
        + ", untouched for months.\n"
    )
    _hold_some_accounts(org)
    variables = environment(org, home)

    print("1. Are the integrations ready? (insights check)")
    checked = insights(["check"], variables)
    print(_indent(checked.stdout or checked.stderr))
    if checked.returncode:
        return checked.returncode

    print(f"2. {WEB_LEADS} leads arrive from a web form; the pull finds them. (insights pull)")
    org.load("Lead", leads(SEED + 1, WEB_LEADS))
    time.sleep(SETTLE_SECONDS)
    first = _run(["pull"], variables)

    print(
        f"3. A salesperson saves {EDITS} edits; the pull scores those that matter. (insights pull)"
    )
    _edit(org)
    time.sleep(SETTLE_SECONDS)
    second = _run(["pull"], variables)

    print("4. The daily pull: never scored, then scored too long ago. (insights refresh)")
    third = _run(["refresh"], variables)

    _account(variables)
    failed = [run for run in (*first, *second, *third) if run["error"]]
    return 1 if failed or not all((first, second, third)) else 0


def _hold_some_accounts(org: RunningOrg) -> None:
    """Let a validation rule of the org refuse every save of a few accounts, as admins do."""
    held = org.query("SELECT Id FROM Account ORDER BY Name LIMIT 3")[:LEGAL_HOLDS]
    for account in held:
        _save(org, "Account", {"Id": account["Id"], "Site": "LEGAL HOLD"})
    org.control(
        "POST",
        "validation-rules",
        {
            "object": "Account",
            "name": "Legal_hold",
            "condition": "Site = 'LEGAL HOLD'",
            "message": "This account is on legal hold.",
        },
    )


def _edit(org: RunningOrg) -> None:
    records = [
        org.query(f"SELECT FIELDS(ALL) FROM {name} LIMIT 200")  # noqa: S608  our own names
        for name in ("Account", "Contact", "Lead")
    ]
    for name, record_id, changes in edits(SEED, *records, count=EDITS):
        _save(org, name, {"Id": record_id, **changes})


def _save(org: RunningOrg, name: str, record: Mapping[str, Any]) -> None:
    """Save one record as a user does in the browser."""
    org.control("POST", "save", {"object": name, "operation": "update", "records": [record]})


def _run(arguments: list[str], variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Run a job by the command and show its figures, object by object."""
    done = insights([*arguments, "--json"], variables)
    try:
        runs: list[dict[str, Any]] = json.loads(done.stdout)
    except json.JSONDecodeError:
        print(_indent(done.stderr))
        return []
    columns = ("read", "due", "claimed", "scored", "pushed", "failed", "waiting")
    print("   " + "object".ljust(9) + "".join(column.rjust(9) for column in columns))
    for run in runs:
        figures = run["figures"]
        print("   " + run["object"].ljust(9) + "".join(f"{figures.get(c, 0):9,}" for c in columns))
        if run["error"]:
            print(_indent(run["error"]))
    print()
    return runs


def _account(variables: Mapping[str, str]) -> None:
    """Tell what became of everything, from the ledger."""
    found = json.loads(insights(["status", "--json"], variables).stdout)
    failures = json.loads(insights(["failures", "--json"], variables).stdout)["records"]
    print("The account")
    print(
        f"   scored today      {found['limit_used']:,} of {found['limit']:,}, the daily record limit"
    )
    calls = found["api_calls"]
    details = ", ".join(f"{n} {kind}" for kind, n in calls.items())
    print(
        f"   API calls         {sum(calls.values()):,} of {found['api_calls_limit']:,} ({details})"
    )
    print(
        f"   waiting           {found['waiting_total']:,}, the last done on {found['last_done_on']}"
    )
    by_reason: Counter[tuple[str, str]] = Counter()
    for row in found["waiting"]:
        by_reason[row["reason"], row["state"]] += row["records"]
    for (reason, state), records in by_reason.items():
        print(
            f"                     {records:,} {reason.replace('_', ' ')}, {state.replace('_', ' ')}"
        )
    print(f"   failed            {len(failures):,}")
    for (code, message), records in Counter((f["code"], f["message"]) for f in failures).items():
        print(f"                     {records:,} with {code}: {message}")


def _indent(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.rstrip().splitlines()) + "\n"


if __name__ == "__main__":
    main()
