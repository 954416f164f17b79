"""`insights init`: asks what it must, writes what the org and the answers give, overwrites nothing."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from local_org.launch import start
from pipeline.core.configuration.settings import Settings
from resources.configuration import read_configuration
from tests.steps.conftest import Desk

ROOT = Path(__file__).parents[2]
ANSWERS = ("--environment", "local", "--time-zone", "Europe/Berlin")


def test_init_writes_a_configuration_that_reads_as_it_is(plain_desk: Desk) -> None:
    """One integration for each object and market that go together (R5)."""
    said = plain_desk.run("init", *ANSWERS, "--object", "Account", "--object", "Lead")

    assert said.code == 0, said.text
    read = read_configuration(plain_desk.config)
    assert {i.name for i in read.integrations} == {
        "Account.enterprise_fit",
        "Lead.enterprise_fit",
        "Lead.campaign_response",
    }
    assert read.settings.time_zone == "Europe/Berlin"
    assert "left out Account.campaign_response" in said.text
    written = read.of_object("Account")[0]
    assert written.inputs["company_name"] == "Name"
    assert written.outputs["score"] == "PI_Enterprise_Fit_Score__c"


def test_every_setting_stands_in_the_file_with_a_comment_or_its_default(plain_desk: Desk) -> None:
    plain_desk.run("init", *ANSWERS, "--object", "Lead", "--daily-pull-time", "14:00")
    text = (plain_desk.config / "settings.yaml").read_text()

    for name in Settings.model_fields:
        assert f"{name}:" in text, name
    assert yaml.safe_load(text)["daily_pull_time"] == "14:00"


def test_markets_on_one_object_get_fields_of_their_own(plain_desk: Desk) -> None:
    """Two markets that write one field would be refused (R6)."""
    plain_desk.run("init", *ANSWERS, "--object", "Lead")
    first, second = read_configuration(plain_desk.config).of_object("Lead")

    assert not set(first.outputs.values()) & set(second.outputs.values())


def test_init_overwrites_nothing_without_force(plain_desk: Desk) -> None:
    plain_desk.run("init", *ANSWERS, "--object", "Lead")
    settings = plain_desk.config / "settings.yaml"
    settings.write_text(settings.read_text() + "# mine\n")

    again = plain_desk.run("init", *ANSWERS, "--object", "Lead", "--object", "Account")

    assert again.code == 2
    assert "settings.yaml exists already" in again.text
    assert "# mine" in settings.read_text()
    assert not (plain_desk.config / "integrations" / "account.enterprise_fit.yaml").exists()
    assert plain_desk.run("init", *ANSWERS, "--object", "Lead", "--force").code == 0
    assert "# mine" not in settings.read_text()


def test_force_leaves_a_market_that_is_there_alone(plain_desk: Desk) -> None:
    plain_desk.run("init", *ANSWERS, "--object", "Account")
    model = plain_desk.config / "markets" / "enterprise_fit" / "model.py"
    model.write_text("# ours\n")

    plain_desk.run("init", *ANSWERS, "--object", "Account", "--force")

    assert model.read_text() == "# ours\n"


@pytest.mark.parametrize(
    ("answers", "allowed"),
    [
        (("--environment", "staging", "--time-zone", "UTC", "--object", "Lead"), "local, sandbox"),
        ((*ANSWERS, "--object", "Opportunity"), "'Opportunity' is not supported: only Account, "),
        ((*ANSWERS, "--object", "Lead", "--market", "enterprise"), "did you mean 'enterprise_fit'"),
        (
            ("--environment", "local", "--time-zone", "Europe/Berln", "--object", "Lead"),
            "did you mean 'Europe/Berlin'",
        ),
        ((*ANSWERS, "--object", "Lead", "--daily-pull-time", "25:00"), "daily_pull_time"),
    ],
)
def test_a_bad_answer_is_refused_with_what_is_allowed(
    plain_desk: Desk, answers: tuple[str, ...], allowed: str
) -> None:
    said = plain_desk.run("init", *answers)

    assert said.code == 2
    assert allowed in said.text
    assert not plain_desk.config.exists()


def test_all_bad_answers_are_told_at_once(plain_desk: Desk) -> None:
    said = plain_desk.run(
        "init", "--environment", "x", "--time-zone", "y", "--object", "Case", "--market", "z"
    )

    assert [w for w in ("environment:", "object:", "market:") if w not in said.text] == []


def test_an_org_of_another_kind_than_the_answer_is_refused(plain_desk: Desk) -> None:
    said = plain_desk.run(
        "init", "--environment", "production", "--time-zone", "UTC", "--object", "Lead"
    )

    assert said.code == 2
    assert "is local. Choose local, or correct SALESFORCE_LOGIN_URL" in said.text


def test_where_nobody_can_be_asked_missing_options_are_a_wrong_usage(plain_desk: Desk) -> None:
    said = plain_desk.run("init", "--environment", "local", "--time-zone", "UTC")

    assert said.code == 2
    assert "--object is missing: one of Account, Contact, Lead" in said.text


def test_another_org_than_the_one_remembered_stops_init(
    plain_desk: Desk,
) -> None:
    """R1."""
    plain_desk.run("init", *ANSWERS, "--object", "Lead")
    plain_desk.check()
    with start() as other:
        plain_desk.connect(other)

        said = plain_desk.run("init", *ANSWERS, "--object", "Lead", "--force")

        assert said.code == 1
        assert "insights org switch" in said.text


@pytest.mark.slow
def test_at_a_terminal_a_person_is_asked(plain_desk: Desk) -> None:
    """Environment, time zone, objects and markets; the defaults are taken with Return."""
    keys = b"local\nEurope/Berlin\nLead\nenterprise_fit\n"
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", "init"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=dict(os.environ),
    )
    os.close(terminal)
    os.write(controller, keys)
    text, _ = process.communicate()
    os.close(controller)

    assert process.returncode == 0, text.decode()
    for question in (b"Kind of org", b"Time zone", b"Objects to score", b"Markets"):
        assert question in text
    assert [i.name for i in read_configuration(plain_desk.config).integrations] == [
        "Lead.enterprise_fit"
    ]
