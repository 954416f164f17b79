"""What is measured on: generated, seeded leads in a local org, and a configuration with one market.

A *template* is an org's file and the pipeline's home, made once for each number of leads: the integration is
turned on, and every lead was created after that, so that each is due. A *stage* is a running copy of one.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.measuring import fresh
from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, spawn

SEED: Final = 20260102
LOADED_AT_ONCE: Final = 100_000
TRAINING_ROWS: Final = 5_000
MARKET: Final = Path(__file__).parent / "market"
COLUMNS: Final = (
    "LastName",
    "FirstName",
    "Company",
    "Website",
    "Email",
    "Industry",
    "Country",
    "NumberOfEmployees",
    "AnnualRevenue",
)
INPUTS: Final = {
    "company": "Company",
    "website": "Website",
    "email": "Email",
    "industry": "Industry",
    "country": "Country",
    "employees": "NumberOfEmployees",
    "revenue": "AnnualRevenue",
}
OUTPUTS: Final = {
    "score": "PI_Score__c",
    "rank": "PI_Rank__c",
    "note": "PI_Note__c",
    "good": "PI_Good__c",
}
CUSTOM_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Mintigo_hash__c": {"type": "TextArea"},
    "Mintigo_update_datetime__c": {"type": "DateTime"},
    "PI_Score__c": {"type": "Number", "precision": 3, "scale": 0},
    "PI_Rank__c": {"type": "Text", "length": 1},
    "PI_Note__c": {"type": "Text", "length": 40},
    "PI_Good__c": {"type": "Checkbox", "defaultValue": "false"},
}
PULLED: Final = (
    "Id",
    "SystemModstamp",
    "CreatedDate",
    "Mintigo_hash__c",
    "Mintigo_update_datetime__c",
    *INPUTS.values(),
)
"""The 12 fields that the pipeline reads of a lead."""

SETTINGS: Final[Mapping[str, Any]] = {
    "environment": "local",
    "time_zone": "UTC",
    "daily_pull_time": "02:00",
    "pull_interval_minutes": 1,
    "daily_record_limit": 10_000_000,
    "daily_api_calls_limit": 1_000_000_000,
    "segment_records_max": 100_000,
}
"""Limits out of the way, and segments as large as they may be: fewer jobs, more memory."""

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}
"""The trees' threads would wait for each other in busy loops, which count as CPU seconds."""

_NAMES: Final = ("Adler", "Brandt", "Castro", "Dubois", "Eriksen", "Fischer", "Garcia", "Hansen")
_WORDS: Final = ("Nord", "Blue", "Alpha", "Müller", "The Green", "Sierra", "Quartz", "Lumen")
_ENDINGS: Final = ("com", "de", "org", "co.uk", "io", "fr")
_COUNTRIES: Final = ("Germany", "United States", "France", "United Kingdom", "Spain", "")
_INDUSTRIES: Final = ("Technology", "Banking", "Retail", "Energy", "Education", "Healthcare", "")


def leads_csv(first: int, count: int) -> bytes:
    """Return leads number `first` and the following ones as CSV: the same for a number at every call."""
    import numpy as np

    random = np.random.default_rng([SEED, first])

    def picked(choices: tuple[str, ...]) -> list[str]:
        return [choices[at] for at in random.integers(0, len(choices), count)]

    employees = np.exp(random.normal(4.5, 2.0, count)).astype(int) + 1
    revenue = employees * random.integers(40_000, 400_000, count)
    columns = zip(
        range(first, first + count),
        picked(_NAMES),
        picked(_WORDS),
        picked(_ENDINGS),
        picked(_INDUSTRIES),
        picked(_COUNTRIES),
        employees.tolist(),
        revenue.tolist(),
        strict=True,
    )
    rows = [
        f"{name}{n},Kim,{word} {name} {n % 50_000} GmbH,https://www.company{n % 50_000}.{ending},"
        f"kim.{name.lower()}{n}@company{n % 50_000}.{ending},{industry},{country},{staff},{turnover}"
        for n, name, word, ending, industry, country, staff, turnover in columns
    ]
    return "\n".join([",".join(COLUMNS), *rows]).encode()


def write_configuration(folder: Path, **settings: Any) -> None:
    """Write the benchmarks' configuration, with its trained trees, below `folder`."""
    market = folder / "markets" / "boosted"
    shutil.copytree(MARKET, market, ignore=shutil.ignore_patterns("__pycache__"))
    (market / "trees.pickle").write_bytes(trained_trees())
    (folder / "integrations").mkdir()
    integration = {"object": "Lead", "market": "boosted", "inputs": INPUTS, "outputs": OUTPUTS}
    written = {"settings.yaml": {**SETTINGS, **settings}}
    written["integrations/lead.boosted.yaml"] = integration
    for name, content in written.items():
        (folder / name).write_text(yaml.safe_dump(dict(content)))


@cache
def trained_trees() -> bytes:
    """Train 100 trees of 31 leaves on generated features, and return them pickled."""
    os.environ.update(ONE_THREAD)  # before OpenMP is loaded

    import numpy as np
    from sklearn.ensemble import HistGradientBoostingRegressor

    from benchmarks.market.model import FEATURES

    random = np.random.default_rng(SEED)
    features = random.normal(3.0, 2.0, (TRAINING_ROWS, FEATURES))
    target = 50 + 8 * (features[:, 0] - 3) + 4 * np.sin(features[:, 1:]).sum(axis=1)
    trees = HistGradientBoostingRegressor(
        max_iter=100, max_leaf_nodes=31, early_stopping=False, random_state=SEED
    )
    return pickle.dumps(trees.fit(features, target))


@dataclass(frozen=True)
class Template:
    """An org's file, the pipeline's home and configuration, with so many leads; nothing runs on it."""

    folder: Path
    leads: int


@dataclass(frozen=True)
class Stage:
    """A running copy of a template."""

    org: RunningOrg
    folder: Path
    leads: int

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that point the pipeline, and nothing else, at this stage."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("INSIGHTS", "SALESFORCE"))}
        return {
            **kept,
            "INSIGHTS_CONFIG": str(self.folder / "config"),
            "INSIGHTS_HOME": str(self.folder / "home"),
            "SALESFORCE_LOGIN_URL": self.org.base_url,
            "SALESFORCE_CLIENT_ID": CLIENT_ID,
            "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
            **ONE_THREAD,
        }


def make_template(folder: Path, leads: int, **settings: Any) -> Template:
    """Make an org of so many leads, each created after the integration was turned on."""
    folder.mkdir(parents=True)
    write_configuration(folder / "config", **settings)
    org = spawn(folder / "org.sqlite3")
    try:
        org.add_fields(**CUSTOM_FIELDS)
        org.control("POST", "clock", {"offset_seconds": -3_600})
        fresh("benchmarks.whole:turn_on", Stage(org, folder, leads).environment)
        org.control("POST", "clock", {"offset_seconds": -60})
        for first in range(0, leads, LOADED_AT_ONCE):
            rows = leads_csv(first, min(LOADED_AT_ONCE, leads - first))
            org.control("POST", "load?object=Lead", rows, content_type="text/csv")
        org.control("POST", "clock", {"offset_seconds": 0})
    finally:
        org.stop()
    return Template(folder, leads)


@contextmanager
def stage(template: Template) -> Iterator[Stage]:
    """Run the org on a copy of the template, which is left alone; the copy goes at the end."""
    copy = template.folder.with_name(f"{template.folder.name}-stage")
    shutil.copytree(template.folder, copy)
    org = spawn(copy / "org.sqlite3")
    try:
        yield Stage(org, copy, template.leads)
    finally:
        org.stop()
        if org.process is not None and org.process.stdout is not None:
            org.process.stdout.close()
        shutil.rmtree(copy)
