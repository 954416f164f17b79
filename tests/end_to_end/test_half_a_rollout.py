"""What was changed is rolled out once, when it stood unchanged, and by one deployment (R17)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.core.configuration.running import IntegrationKey
from pipeline.core.errors import ConfigurationError
from pipeline.steps.preflight import check_and_roll_out
from pipeline.steps.watch import watch
from resources.models import Models
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """Lead, on and without a backlog."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.refresh("Lead")
    built.wait(minutes=20)
    return built


def enabled_at(built: Plant, name: str = "Lead") -> datetime | None:
    states = built.with_clients(lambda clients: clients.ledger.integrations.all())
    moment: datetime | None = states[IntegrationKey(name, "fit")].enabled_at
    return moment


def write_version(built: Plant, version: str) -> None:
    path = built.market("fit") / "market.yaml"
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(f'version: "{version}"' if x.startswith("version") else x for x in lines)
    )


@pytest.mark.slow
def test_a_market_that_is_still_being_copied_is_rolled_out_once_when_it_stands(
    leads: Plant,
) -> None:
    """R17: half the new files under the new version would score all records, and not again."""
    before = enabled_at(leads)
    leads.create("Lead", ACME)
    write_version(leads, "2")
    assert "were changed" in leads.tick()[1]
    with (leads.market("fit") / "model.py").open("a") as file:
        file.write("# the rest\n")
    leads.wait(minutes=5)
    assert "were changed" in leads.tick()[1]
    assert enabled_at(leads) == before

    leads.wait(minutes=5)
    runs, _ = leads.tick()
    after = enabled_at(leads)
    assert [run["success"] for run in runs] == [True]
    assert after is not None
    assert before is not None
    assert after > before

    for _ in range(3):
        leads.wait(minutes=5)
        leads.tick()
    assert enabled_at(leads) == after


def test_a_run_that_meets_a_change_first_stops_and_loses_nothing(leads: Plant) -> None:
    """R17: the deploy may come between the tick and its run."""
    (lead,) = leads.create("Lead", ACME)
    leads.wait(minutes=1)
    write_version(leads, "2")

    assert not leads.pull("Lead")["success"]
    message, code = leads.failure()
    assert "Lead.fit: the mapping or the market's files were changed" in message
    assert code == 1

    leads.wait(minutes=1)
    leads.pull("Lead")
    assert leads.scored_at("Lead", lead)


@pytest.mark.slow
def test_what_was_changed_and_changed_back_rolls_nothing_out(leads: Plant) -> None:
    """R17: a file that an editor saved half differs for a moment only."""
    before = enabled_at(leads)
    write_version(leads, "2")
    leads.tick()
    write_version(leads, "1")
    leads.create("Lead", ACME)
    leads.wait(minutes=5)
    leads.tick()
    write_version(leads, "2")
    leads.wait(minutes=5)

    assert "were changed" in leads.tick()[1]
    assert enabled_at(leads) == before


def test_a_file_that_is_missing_for_a_moment_switches_nothing_off(shared_plant: Build) -> None:
    """R17: an editor or a deploy may delete a file before it writes it anew."""
    built = shared_plant(integration("Lead"), integration("Contact"))
    built.turn_on()
    before = enabled_at(built, "Contact")
    path = built.folder / "config" / "integrations" / "Contact.fit.yaml"
    content = path.read_text()

    path.unlink()
    built.pull("Lead")
    assert enabled_at(built, "Contact") == before
    path.write_text(content)
    built.pull("Contact")
    assert enabled_at(built, "Contact") == before

    path.unlink()
    for _ in range(2):
        built.wait(minutes=1)
        built.pull("Lead")
    assert enabled_at(built, "Contact") is None


@pytest.mark.slow
def test_a_person_who_checks_rolls_out_at_once(leads: Plant) -> None:
    """R17: whoever asks for it says that the files are there."""
    before = enabled_at(leads)
    write_version(leads, "2")
    leads.with_clients(check_and_roll_out)

    assert enabled_at(leads) != before


def test_two_deployments_do_not_renew_each_others_rollout(
    leads: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R17: each time all records would be due again; the message names both and what to do."""
    monkeypatch.setenv("INSIGHTS_DEPLOYMENT", "new host")
    leads.wait(hours=2)
    write_version(leads, "2")
    leads.with_clients(check_and_roll_out)
    after = enabled_at(leads)

    monkeypatch.setenv("INSIGHTS_DEPLOYMENT", "old host")
    write_version(leads, "1")
    leads.wait(minutes=5)
    with pytest.raises(ConfigurationError, match=r"Lead\.fit.*new host.*old host.*Stop one"):
        leads.with_clients(check_and_roll_out)
    assert "new host" in leads.with_clients(watch).skips["Lead"]
    assert not leads.pull("Lead")["success"]
    assert enabled_at(leads) == after

    leads.wait(hours=1)
    leads.with_clients(check_and_roll_out)
    assert enabled_at(leads) != after


def test_files_of_the_training_do_not_belong_to_what_is_rolled_out(tmp_path: Path) -> None:
    """R34: what decides no score makes nothing due."""
    folder = tmp_path / "fit"
    (folder / "training").mkdir(parents=True)
    (folder / "model.py").write_text("a")
    before = Models(tmp_path).files_digest("fit")

    (folder / "training" / "data.csv").write_text("rows")
    (folder / ".swp").write_text("an editor's")
    assert Models(tmp_path).files_digest("fit") == before

    (folder / "names.csv").write_text("reference")
    assert Models(tmp_path).files_digest("fit") != before
