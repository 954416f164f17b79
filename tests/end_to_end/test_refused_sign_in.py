"""A sign-in that was refused for good is not tried again by itself, and is said (R3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local_org.launch import PASSWORD, SECURITY_TOKEN, USERNAME
from pipeline.steps.asking.status import status
from resources.environment import refused_sign_in
from tests.plant import Plant, integration

Build = Callable[..., Plant]


def sign_ins(built: Plant) -> int:
    return sum("/oauth2/token" in call["path"] for call in built.org.calls()["log"])


def test_a_wrong_password_is_sent_once_however_many_ticks_and_runs_follow(
    shared_plant: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3: ten wrong ones lock the user; the sensor and `status` say what to do."""
    built = shared_plant(integration("Lead"))
    monkeypatch.setenv("INSIGHTS_HOME", str(built.folder / "home"))
    built.turn_on()
    monkeypatch.setenv("SALESFORCE_USERNAME", USERNAME)
    monkeypatch.setenv("SALESFORCE_SECURITY_TOKEN", SECURITY_TOKEN)
    monkeypatch.setenv("SALESFORCE_PASSWORD", "expired")

    before = sign_ins(built)
    for _ in range(6):
        built.wait(minutes=5)
        _, why_not = built.tick()
    built.pull("Lead")
    assert sign_ins(built) == before + 1
    assert "invalid_grant" in why_not
    assert "not sent again" in why_not
    assert built.with_clients(lambda clients: status(clients, refused_sign_in())).sign_in_refused

    monkeypatch.setenv("SALESFORCE_PASSWORD", PASSWORD)
    assert refused_sign_in() is None
    assert built.pull("Lead")["success"]


@pytest.mark.slow
def test_ticks_and_runs_share_one_session(shared_plant: Build) -> None:
    """R21: a tick a minute and a run after each is not two sign-ins a minute."""
    built = shared_plant(integration("Lead"))
    before = sign_ins(built)
    built.turn_on()
    for n in range(3):
        built.create("Lead", {"LastName": f"L{n}", "Company": "Acme"})
        built.wait(minutes=5)
        runs, _ = built.tick(resumed=None)
        assert all(run["success"] for run in runs)

    assert sign_ins(built) == before + 1
