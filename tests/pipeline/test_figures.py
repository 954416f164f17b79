"""What the UI says with every materialization: counts, what waits and until when, the whole day (R29)."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.partitions import partition_key
from assets.plots import SHOWN_IN_PLACE, plot
from local_org.launch import RunningOrg
from tests.plant import Plant, integration

ACME = {"Company": "Acme", "Title": "CEO", "LastName": "Ito"}
ASSETS = ("salesforce_changed_records", "scored_enriched", "pushed_results")
STANDING = {
    "waiting",
    "waiting_changes",
    "waiting_refresh",
    "waiting_failing",
    "waiting_done_on",
    "limit_used",
    "limit_left",
    "api_calls_used",
    "api_calls_left",
    "watermark",
    "market_versions",
    "day_read",
    "day_not_due",
    "day_due",
    "day_claimed",
    "day_scored",
    "day_pushed",
    "day_failed",
    "day_gone",
}


def figures_of(plant: Plant, asset: str, day: Any = None, name: str = "Lead") -> dict[str, Any]:
    """Return the newest figures of a partition, as its page shows them."""
    key = dg.AssetKey([asset])
    partition = str(partition_key(day or plant.today, name))
    found = plant.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    materialization = found[0].asset_materialization
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}


def picture(markdown: str) -> dict[str, int]:
    """Return the bars of a plot, having parsed it as the browser would; the UI must show it in place."""
    assert len(markdown) < SHOWN_IN_PLACE
    _, _, encoded = markdown.removesuffix(")").partition("data:image/svg+xml;base64,")
    root = ET.fromstring(base64.b64decode(encoded))
    numbers, labels = (
        (text.text or "").split() for text in root.iter("{http://www.w3.org/2000/svg}text")
    )
    return dict(zip(labels, map(int, numbers), strict=True))


def test_the_longest_plot_is_shown_in_place() -> None:
    """Dagster's UI hides Markdown of 1,000 characters and more behind a link."""
    bars = {str(n): 99_999 for n in range(0, 100, 10)} | {"none": 12_345}

    assert picture(str(plot("scores of " + "m" * 40, bars).value)) == bars


@pytest.fixture
def leads(shared_plant: Callable[..., Plant]) -> Plant:
    """A plant with one integration of Leads and a limit of ten a day."""
    plant = shared_plant(integration("Lead"), daily_record_limit=10)
    plant.turn_on()
    return plant


def test_every_asset_tells_of_its_run_and_of_the_whole_day(
    leads: Plant, shared_org: RunningOrg
) -> None:
    """R29: two runs of a day; the page shows the newest, its day totals both."""
    first, bad = leads.create("Lead", ACME, ACME | {"Company": "BAD RANK"})
    leads.pull("Lead")
    leads.wait(minutes=10)
    leads.edit("Lead", first, Company="Umbrella")
    leads.wait(minutes=1)
    run = leads.pull("Lead")

    found = {asset: figures_of(leads, asset) for asset in ASSETS}
    for figures in found.values():
        assert figures.keys() >= STANDING
        so_far = 1 if "read" in figures else 2  # the pull tells before its run has scored
        assert sum(picture(figures["day_scores_fit"]).values()) == so_far
    pulled, scored, pushed = found.values()
    assert (pulled["read"], pulled["not_due"], pulled["due"]) == (run["read"], 0, 2)
    assert pulled["watermark_from"] < pulled["watermark_to"] == pulled["watermark"]
    assert (scored["claimed"], scored["scored"], pushed["pushed"], pushed["failed"]) == (1, 1, 1, 0)
    assert {n: pushed[f"day_{n}"] for n in ("read", "claimed", "scored", "pushed", "failed")} == {
        "read": 4,  # the second pull reads the minutes before the first again
        "claimed": 3,
        "scored": 2,
        "pushed": 2,
        "failed": 1,
    }
    assert [dict(r.data) for r in pushed["day_failed_by_code"].records] == [
        {"code": "INVALID_OUTPUT", "records": 1}
    ]
    assert (pushed["waiting"], pushed["waiting_failing"], pushed["waiting_changes"]) == (1, 1, 0)
    assert pushed["waiting_done_on"] == leads.today.isoformat()
    assert 60 <= pushed["newest_change_age_seconds"] <= 90
    assert shared_org.base_url in pushed["bulk_jobs"]
    assert (scored["market_versions"], run["market_versions"]) == ({"fit": "1"}, {"fit": "1"})
    assert list(picture(scored["scores_fit"])) == [str(n) for n in range(0, 100, 10)]
    assert sum(picture(scored["ranks_fit"]).values()) == 1
    (row,) = (dict(r.data) for r in pushed["sample"].records)
    assert row.keys() == {"id", "reason", "fit_score", "fit_rank", "result"}
    assert (row["id"], row["reason"], row["result"]) == (first, "changed", "pushed")
    assert bad not in repr(scored["sample"])
    for value in ("Acme", "Umbrella", "CEO"):
        assert value not in repr(found)


@pytest.mark.slow
def test_what_the_limit_leaves_over_is_told_by_lane_and_day(leads: Plant) -> None:
    """R27: 25 new records at ten a day are done on the day after tomorrow."""
    leads.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(25)))

    leads.pull("Lead")

    pushed = figures_of(leads, "pushed_results")
    assert (pushed["waiting"], pushed["waiting_changes"]) == (15, 15)
    assert (pushed["limit_used"], pushed["limit_left"]) == (10, 0)
    assert pushed["waiting_done_on"] == "2026-03-12"


def test_scores_are_not_shown_where_persist_is_off(shared_plant: Callable[..., Plant]) -> None:
    """R24: Dagster keeps what is shown; ids, reasons and results stay."""
    plant = shared_plant(integration("Lead", persist=False))
    plant.turn_on()
    (lead,) = plant.create("Lead", ACME)

    plant.pull("Lead")

    (row,) = (dict(r.data) for r in figures_of(plant, "pushed_results")["sample"].records)
    assert row == {"id": lead, "reason": "new", "result": "pushed"}


@pytest.mark.slow
def test_a_model_version_is_told_once_when_it_first_scores(leads: Plant) -> None:
    """R29: the lineage shows since when which version is in use."""
    key = dg.AssetKey(["market", "fit"])

    def versions() -> list[Any]:
        records = leads.instance.fetch_materializations(key, limit=10).records
        return [r.asset_materialization.metadata["version"].value for r in reversed(records)]  # type: ignore[union-attr]

    (lead,) = leads.create("Lead", ACME)
    leads.pull("Lead")
    leads.edit("Lead", lead, Company="Umbrella")
    leads.pull("Lead")
    assert versions() == ["1"]

    path = leads.market("fit") / "market.yaml"
    market = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(market | {"version": "2"}))
    leads._define()
    leads.turn_on()
    leads.edit("Lead", lead, Company="Hooli")
    leads.pull("Lead")
    assert versions() == ["1", "2"]


@pytest.mark.slow
def test_a_day_counts_once_what_a_repeated_segment_scores_twice(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: a run that dies between scoring and pushing, whose working file is lost, is repeated on the same claim."""
    leads.create("Lead", ACME)
    from resources.salesforce.client import Salesforce

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as late:
        late.setattr(Salesforce, "create_ingest_job", dies)
        leads.pull("Lead")
    (segment,) = leads.with_clients(lambda clients: clients.ledger.segments.unfinished("Lead"))
    leads.with_clients(lambda clients: clients.lake.delete_working_file(segment.segment_id))
    leads.wait(minutes=11)
    leads.run("score_and_push", "Lead")

    figures = figures_of(leads, "pushed_results")
    assert [figures[f"day_{n}"] for n in ("read", "claimed", "scored", "pushed")] == [1, 1, 1, 1]
    assert sum(picture(figures["day_scores_fit"]).values()) == 1
