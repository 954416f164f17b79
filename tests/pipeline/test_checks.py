"""The asset checks as people see them by partition: rows, drift, and whether a day is complete (R29, D8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.partitions import partition_key
from pipeline.core.scoring import results as update
from pipeline.core.scoring.drift import RECORDS_MIN
from tests.plant import Plant, integration

ACME = {"Company": "Acme", "Title": "CEO", "LastName": "Ito"}
COMPLETE = dg.AssetCheckKey(dg.AssetKey(["pushed_results"]), "complete")


@pytest.fixture
def leads(shared_plant: Callable[..., Plant]) -> Plant:
    """A plant with one integration of Leads and a limit of ten a day."""
    plant = shared_plant(integration("Lead"), daily_record_limit=10)
    plant.turn_on()
    return plant


def complete(plant: Plant) -> dict[str, tuple[bool, int, str | None]]:
    """Return what the `complete` check says of each partition: passed, waiting, and until when."""
    records = plant.instance.event_log_storage.get_event_records(
        dg.EventRecordsFilter(event_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    )
    found = {}
    for record in sorted(records, key=lambda r: r.storage_id):
        event = record.event_log_entry.dagster_event
        assert event is not None
        data = event.asset_check_evaluation_data
        if data.asset_check_key == COMPLETE:
            until = data.metadata.get("waiting_done_on")
            waits = data.metadata["waiting"].value
            done_on = str(until.value) if until else None
            found[str(data.partition)] = (data.passed, int(str(waits)), done_on)
    return found


def key_of(plant: Plant, back: int = 0) -> str:
    """Return the key of the Leads' partition of today, or some days back."""
    return str(partition_key(plant.today - timedelta(days=back), "Lead"))


def many(count: int, **more: Any) -> Sequence[dict[str, Any]]:
    """Return so many different leads."""
    return [ACME | {"LastName": f"Ito {n}"} | more for n in range(count)]


@pytest.mark.both_ledgers
def test_a_day_is_complete_only_when_the_last_record_asked_for_on_it_is_pushed(
    leads: Plant,
) -> None:
    """R27, R29: 14 leads at ten a day: the first day stays open over midnight and closes by the second day's run."""
    leads.create("Lead", *many(14))
    leads.pull("Lead")
    monday = key_of(leads)
    assert complete(leads)[monday] == (False, 4, "2026-03-11")
    assert leads.checks()["complete"].severity is dg.AssetCheckSeverity.WARN

    leads.wait(days=1)
    leads.pull("Lead")

    assert complete(leads) == {monday: (True, 0, None), key_of(leads): (True, 0, None)}


@pytest.mark.slow
@pytest.mark.both_ledgers
def test_a_day_that_is_redone_is_open_at_once_until_its_last_record_is_scored_again(
    leads: Plant,
) -> None:
    """R28b: the redone partition, not the one of the day on which it was asked for, waits over two days."""
    leads.create("Lead", *many(8))
    leads.pull("Lead")
    leads.wait(days=1)
    leads.create("Lead", *many(5, Company="Umbrella"))
    leads.pull("Lead")
    monday = key_of(leads, back=1)
    assert complete(leads)[monday] == (True, 0, None)

    leads.execute("pull", monday, {"dagster/backfill": "again"})
    assert complete(leads)[monday] == (False, 8, "2026-03-12")
    leads.run("score_and_push", "Lead")
    passed, left, until = complete(leads)[monday]
    assert (passed, left in range(1, 8), until) == (False, True, "2026-03-12")

    leads.wait(days=1)
    leads.run("score_and_push", "Lead")

    assert {passed for passed, _, _ in complete(leads).values()} == {True}
    leads.edit("Lead", leads.create("Lead", *many(1))[0], Company="Hooli")
    leads.pull("Lead")
    assert complete(leads)[monday] == (True, 0, None)


@pytest.mark.slow
def test_a_tick_tells_of_what_was_asked_for_without_a_run(leads: Plant) -> None:
    """R29: the limit is used up, so no run comes; the day shows all the same that records wait again."""
    ids = leads.create("Lead", *many(10))
    leads.pull("Lead")
    assert complete(leads)[key_of(leads)] == (True, 0, None)

    def again(clients: Any) -> None:
        from pipeline.steps.redo import redo

        redo(clients, "a command", "Lead", clients.today, clients.now() + timedelta(hours=1))

    leads.with_clients(again)
    leads.ask()
    assert complete(leads)[key_of(leads)][:2] == (False, len(ids))

    leads.create("Lead", *many(2))
    leads.pull("Lead")
    leads.delete("Lead", ids[0])
    leads.ask()
    assert complete(leads)[key_of(leads)][:2] == (False, len(ids) + 2)


def test_scores_spread_otherwise_than_in_training_warn_with_both_shares(
    shared_plant: Callable[..., Plant],
) -> None:
    """R29: PSI over 0.25 warns from 200 records on; what was expected stands beside what came."""
    plant = shared_plant(integration("Lead"))
    path = plant.market("fit") / "market.yaml"
    training = {
        "script": "train.py",
        "data": "data.csv",
        "origin": "made",
        "rows": 1000,
        "auc": 0.8,
        "auc_interval": [0.7, 0.9],
        "best_single_feature": {"feature": "title", "auc": 0.6},
        "score_distribution": [0.1] * 10,
        "rank_distribution": dict.fromkeys("ABCDF", 0.2),
    }
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"training": training}))
    plant._define()
    plant.turn_on()
    plant.create("Lead", *many(RECORDS_MIN - 1))
    plant.pull("Lead")
    few = plant.checks()["score_drift"]
    assert few.passed
    assert "Too few" in str(few.description)

    plant.create("Lead", ACME)
    plant.pull("Lead")

    drift = plant.checks()["score_drift"]
    assert (drift.passed, drift.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert float(str(drift.metadata["psi_fit_score"].value)) > 0.25
    shares = [dict(r.data) for r in drift.metadata["shares_fit_score"].value.records]  # type: ignore[union-attr]
    assert {row["expected_percent"] for row in shares} == {10.0}
    assert sorted(row["actual_percent"] for row in shares)[-1] == 100.0
    assert "mapped field" in str(drift.description)


def spoiled(monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    """Let the hashes of the first `bad` rows of each segment be cut short."""
    right: Any = vars(update)["new_hashes"]

    def wrong(*given: Any) -> Any:
        hashes = right(*given).to_pylist()
        import pyarrow as pa

        return pa.array([h[:9] if at < bad else h for at, h in enumerate(hashes)], pa.string())

    monkeypatch.setattr(update, "new_hashes", wrong)


def test_a_row_with_a_hash_of_a_wrong_form_is_not_pushed(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D8: nothing unchecked is pushed: such a record would be due at every pull."""
    spoiled(monkeypatch, bad=1)
    leads.create("Lead", *many(3))

    figures = leads.pull("Lead")

    assert (figures["pushed"], figures["set_aside_INVALID_OUTPUT"]) == (2, 1)
    check = leads.checks()["hash_form"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    (row,) = (dict(r.data) for r in check.metadata["rules_broken"].value.records)  # type: ignore[union-attr]
    assert row["records"] == 1
    assert leads.scored_at("Lead", row["examples"]) is None
    assert leads.checks()["record_ids"].passed


def test_past_a_share_of_broken_rows_none_is_pushed_and_the_run_is_blocked(
    shared_plant: Callable[..., Plant], monkeypatch: pytest.MonkeyPatch
) -> None:
    """D8: 30 of 40 hashes are wrong, so the other ten are not trusted; the next run settles what waits."""
    plant = shared_plant(integration("Lead"))
    plant.turn_on()
    leads = plant.create("Lead", *many(40))
    with monkeypatch.context() as late:
        spoiled(late, bad=30)
        plant.pull("Lead")

    assert not plant.last.success
    check = plant.checks()["hash_form"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "report it" in str(check.description)
    assert "complete" not in plant.checks()
    assert {plant.scored_at("Lead", lead) for lead in leads[::13]} == {None}
    assert plant.waiting("Lead") == 40

    plant.wait(hours=1)
    plant.run("score_and_push", "Lead", resumed=40)
    assert plant.waiting("Lead") == 0
