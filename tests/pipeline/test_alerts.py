"""Alerts reach a real HTTP receiver, once, and hold no record's values (R29)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from pipeline.alerts import WEBHOOK
from resources.environment import alerts_not_sent
from tests.plant import Plant, integration
from tests.receiver import Receiver, listening

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
NO_OKAFOR = {
    "object": "Lead",
    "name": "No_Okafor",
    "condition": "LastName = 'Okafor'",
    "message": "Okafor is on legal hold.",
}


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Listen on loopback and name the address in the environment."""
    with listening() as receiver:
        monkeypatch.setenv(WEBHOOK, receiver.url)
        yield receiver


@dataclass
class Watcher:
    """The alert sensor of a plant, with its cursor."""

    plant: Plant
    cursor: str | None = None

    def tick(self) -> str:
        """Evaluate the sensor once and return what it says."""
        sensor = self.plant.definitions.resolve_sensor_def("alerts")
        with dg.build_sensor_context(
            instance=self.plant.instance,
            cursor=self.cursor,
            definitions=self.plant.definitions,
            resources=self.plant.definitions.resources,
        ) as context:
            found = sensor.evaluate_tick(context)
        self.cursor = found.cursor or self.cursor
        return found.skip_message or ""


def test_without_a_webhook_it_is_off_and_says_so(
    shared_plant: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEBHOOK, raising=False)
    built = shared_plant(integration("Lead"))
    sensor = built.definitions.resolve_sensor_def("alerts")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert WEBHOOK in Watcher(built).tick()


def test_a_failed_run_is_told_once_in_its_own_words(
    shared_plant: Build, chat: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = shared_plant(integration("Lead"))
    built.turn_on()
    watcher = Watcher(built)
    assert watcher.tick() == "nothing to tell"
    with monkeypatch.context() as wrong:
        wrong.setenv("SALESFORCE_CLIENT_SECRET", "not-it")
        assert not built.pull("Lead")["success"]

    assert watcher.tick() == "told of 1"

    (text,) = chat.texts()
    assert "of pull 2026-03-10|Lead failed" in text
    assert "Check the SALESFORCE_... variables" in text
    assert "not-it" not in text
    assert watcher.tick() == "nothing to tell"
    assert chat.texts() == []


def test_what_failed_before_the_sensor_was_switched_on_is_not_told(
    shared_plant: Build, chat: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = shared_plant(integration("Lead"))
    built.turn_on()
    with monkeypatch.context() as wrong:
        wrong.setenv("SALESFORCE_CLIENT_SECRET", "not-it")
        assert not built.pull("Lead")["success"]

    assert Watcher(built).tick() == "nothing to tell"


def test_a_failing_check_is_told_with_counts_and_no_values(
    shared_plant: Build, chat: Receiver
) -> None:
    built = shared_plant(integration("Lead"))
    built.turn_on()
    watcher = Watcher(built)
    watcher.tick()
    built.create("Lead", ACME | {"Company": "Secret BAD SCORE"})
    built.pull("Lead")

    watcher.tick()

    told = [text for text in chat.texts() if "score_range" in text]
    assert len(told) == 1
    assert "warns: 1 records were set aside" in told[0]
    assert "Secret" not in told[0]


def test_a_cursor_of_release_0_1_0_is_read_on(shared_plant: Build, chat: Receiver) -> None:
    """What it told is not told again, and what came after it is told."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.create("Lead", ACME | {"Company": "BAD SCORE"}, ACME | {"Company": "BAD RANK"})
    built.pull("Lead")
    name = f"scored_enriched: score_range of {built.today}|Lead"
    cursor = {"told": [f"check {built.today} {name}"], "runs": -1, "checks": -1, "backlog": {}}

    Watcher(built, json.dumps(cursor)).tick()

    (text,) = [text for text in chat.texts() if "Check" in text]
    assert "rank_values" in text


def test_a_used_up_limit_is_told_with_the_day_of_the_last_record(
    shared_plant: Build, chat: Receiver
) -> None:
    built = shared_plant(integration("Lead"), daily_record_limit=2)
    built.turn_on()
    watcher = Watcher(built)
    built.create("Lead", *(ACME | {"LastName": f"Ito {n}"} for n in range(5)))
    built.pull("Lead")

    watcher.tick()

    (text,) = chat.texts()
    assert "limit of 2 records is used up and 3 wait" in text
    assert "the last of them is scored on 2026-03-12" in text
    assert watcher.tick() == "nothing to tell"


def test_a_used_up_api_budget_is_told_with_the_time_of_resumption(
    shared_plant: Build, chat: Receiver
) -> None:
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.configure(integration("Lead"), daily_api_calls_limit=10)
    watcher = Watcher(built)

    watcher.tick()

    (text,) = chat.texts()
    assert "daily API calls limit is nearly used up" in text
    assert "resumes at 2026-03-11 00:00" in text


def test_pulls_that_stopped_are_told_until_the_org_answers_again(
    shared_plant: Build, chat: Receiver
) -> None:
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.pull("Lead")
    watcher = Watcher(built)
    built.wait(minutes=25)
    assert watcher.tick() == "nothing to tell"
    built.wait(minutes=10)

    assert watcher.tick() == "told of 1"

    assert "no successful pull" in chat.texts()[0]
    built.ask()
    assert watcher.tick() == "told of 1"
    assert "Over: nothing was heard of Lead since" in chat.texts()[0]
    built.wait(minutes=35)
    assert watcher.tick() == "told of 1"


@pytest.mark.slow
def test_a_quiet_org_that_answers_is_not_silent(shared_plant: Build, chat: Receiver) -> None:
    """Nothing new for a day is no reason to be woken."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.pull("Lead")
    built.refresh("Lead")
    watcher = Watcher(built)
    for _ in range(4):
        built.wait(minutes=20)
        built.ask()
        assert watcher.tick() == "nothing to tell"


@pytest.mark.slow
def test_a_backlog_that_grows_for_three_days_is_told(shared_plant: Build, chat: Receiver) -> None:
    built = shared_plant(integration("Lead"), daily_record_limit=1)
    built.turn_on()
    watcher = Watcher(built)
    told = []
    for day in range(10, 14):
        built.set_clock(datetime(2026, 3, day, 12, tzinfo=UTC))
        built.create("Lead", *(ACME | {"LastName": f"Ito {day} {n}"} for n in range(3)))
        built.pull("Lead")
        watcher.tick()
        told.append([text for text in chat.texts() if "backlog grows" in text])

    assert [len(texts) for texts in told] == [0, 0, 0, 1]
    assert "8 records wait, on the 3 days before it were 2, 4, 6" in told[3][0]


@pytest.mark.slow
def test_a_held_market_is_told(shared_plant: Build, chat: Receiver) -> None:
    built = shared_plant(integration("Lead"))
    built.turn_on()
    watcher = Watcher(built)
    watcher.tick()
    built.create("Lead", ACME | {"Company": "RAISE"})
    built.pull("Lead")

    watcher.tick()

    assert any("Market fit failed as a whole" in text for text in chat.texts())


def test_failing_records_a_held_market_and_a_stale_asset_are_told_once_and_once_more_at_their_end(
    shared_plant: Build, chat: Receiver
) -> None:
    """R29: what came of each, however many ticks come in between."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.refresh("Lead")
    watcher = Watcher(built)
    watcher.tick()
    built.create("Lead", ACME, ACME | {"LastName": "Okafor"})
    built.org.control("POST", "validation-rules", NO_OKAFOR)
    built.pull("Lead")
    built.with_clients(lambda c: c.ledger.holds.hold("fit", "it raises", built.now))
    built.wait(hours=40)

    watcher.tick()
    begun = chat.texts()
    quiet = [watcher.tick(), watcher.tick()]
    built.with_clients(lambda c: c.ledger.holds.release("fit", ["Lead"], built.now))
    watcher.tick()
    met_again = chat.texts()
    built.org.control("DELETE", "validation-rules/Lead/No_Okafor")
    built.refresh("Lead")
    built.ask()
    watcher.tick()
    ended = chat.texts()

    code = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert [text for text in begun if f"1 records fail with {code}, the others are pushed" in text]
    assert [text for text in begun if "Market fit failed as a whole" in text]
    assert quiet == ["nothing to tell", "nothing to tell"]
    assert [text for text in met_again if text.startswith("• Over: market fit was held since")]
    assert [text for text in begun if "The asset stale_records is stale" in text]
    assert [text for text in ended if f"Over: no record of Lead fails with {code}" in text]
    assert [text for text in ended if "Over: the daily pull of Lead was late" in text]
    assert [text for text in ended if "Over: nothing was heard of Lead since" in text]
    assert watcher.tick() == "nothing to tell"
    assert chat.texts() == []


def test_an_end_that_a_webhook_refuses_is_told_at_a_later_tick(
    shared_plant: Build, chat: Receiver
) -> None:
    """R29."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    watcher = Watcher(built)
    built.with_clients(lambda c: c.ledger.holds.hold("fit", "it raises", built.now))
    watcher.tick()
    built.with_clients(lambda c: c.ledger.holds.release("fit", ["Lead"], built.now))
    chat.texts()
    chat.status = 404
    watcher.tick()
    chat.status = 200

    watcher.tick()

    assert ["Over: market fit" in text for text in chat.texts()] == [True]


def test_status_says_when_alerts_cannot_be_sent(shared_plant: Build, chat: Receiver) -> None:
    """R29: since when and why, without the address; and when the sensor has fallen silent."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    home = built.folder / "home"
    watcher = Watcher(built)
    never = alerts_not_sent(built.now, home)
    built.with_clients(lambda c: c.ledger.holds.hold("fit", "it raises", built.now))
    began = built.now
    chat.status = 404
    watcher.tick()
    built.wait(minutes=5)
    watcher.tick()
    refused = alerts_not_sent(built.now, home)
    chat.status = 200
    watcher.tick()
    well = alerts_not_sent(built.now, home)
    built.wait(minutes=11)
    silent = alerts_not_sent(built.now, home)

    assert "no tick of the sensor alerts has ended well from this home folder yet" in (never or "")
    assert f"since {began:%Y-%m-%d %H:%M} UTC: The webhook at 127.0.0.1 answered 404" in (
        refused or ""
    )
    assert "secret-part" not in (refused or "")
    assert well is None
    assert "no tick of the sensor alerts has ended well since" in (silent or "")


def test_status_says_nothing_of_alerts_that_nobody_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEBHOOK, raising=False)

    assert alerts_not_sent(datetime.now(UTC), tmp_path) is None


@pytest.mark.parametrize("status", [404, 500])
def test_a_webhook_that_refuses_loses_nothing_and_its_address_stays_secret(
    shared_plant: Build, chat: Receiver, status: int
) -> None:
    built = shared_plant(integration("Lead"), daily_record_limit=1)
    built.turn_on()
    watcher = Watcher(built)
    built.create("Lead", ACME, ACME)
    built.pull("Lead")
    chat.status = status

    said = watcher.tick()

    assert "127.0.0.1" in said
    assert "secret-part" not in said
    chat.status = 200
    assert watcher.tick() == "told of 1"
    assert "limit of 1" in chat.texts()[0]
