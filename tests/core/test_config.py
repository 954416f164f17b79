from __future__ import annotations

from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.core.configuration.configuration import Configuration, Document, check_configuration
from pipeline.core.errors import ConfigurationError
from tests.core.support import market_content

SETTINGS: dict[str, Any] = {
    "environment": "sandbox",
    "time_zone": "Europe/Berlin",
    "daily_pull_time": "02:00",
}
LEAD: dict[str, Any] = {
    "object": "Lead",
    "market": "fit",
    "inputs": {"company": "Company"},
    "outputs": {"score": "Score__c"},
}


def configured(
    settings: Any = SETTINGS,
    markets: list[Any] | None = None,
    integrations: list[Any] | None = None,
) -> Configuration:
    """Check a configuration whose integrations are called a.yaml, b.yaml and so on."""
    return check_configuration(
        Document("settings.yaml", settings),
        [
            Document(f"{n}/market.yaml", m)
            for n, m in enumerate([market_content()] if markets is None else markets)
        ],
        [
            Document(f"{'ab'[n]}.yaml", i)
            for n, i in enumerate([LEAD] if integrations is None else integrations)
        ],
    ).whole()


def problems(**parts: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        configured(**parts)
    return caught.value.problems


def test_the_defaults_are_those_of_the_guide() -> None:
    """R2, R20."""
    settings = configured().settings

    assert settings.daily_api_calls_limit == 15_000
    assert settings.daily_record_limit == 10_000
    assert settings.refresh_period_days == 30
    assert settings.pull_interval_minutes == 5
    assert settings.new_and_changed_share_percent == 30
    assert settings.zone == ZoneInfo("Europe/Berlin")
    assert settings.daily_pull_time == time(2)


def test_the_days_limit_is_divided_as_the_settings_say() -> None:
    """R20."""
    policy = configured(
        {**SETTINGS, "daily_record_limit": 200, "new_and_changed_share_percent": 40}
    ).settings.day_policy

    assert (policy.limit, policy.changes_share) == (200, 80)


@pytest.mark.parametrize("lacking", ["environment", "time_zone", "daily_pull_time"])
def test_what_init_asks_for_has_no_default(lacking: str) -> None:
    """R2: a daily pull time without its time zone means nothing."""
    (text,) = problems(settings={k: v for k, v in SETTINGS.items() if k != lacking})

    assert text.startswith(f"settings.yaml: {lacking}: ")


def test_an_unknown_time_zone_is_refused_with_the_nearest_one() -> None:
    """R2."""
    (text,) = problems(settings={**SETTINGS, "time_zone": "Europe/Berln"})

    assert (
        text
        == "settings.yaml: time_zone: 'Europe/Berln' is no time zone; did you mean 'Europe/Berlin'?"
    )


def test_an_empty_time_zone_is_refused() -> None:
    """R2: Dagster itself would take it."""
    assert "is no time zone" in problems(settings={**SETTINGS, "time_zone": ""})[0]


@pytest.mark.parametrize("number", [840, 0, 1.5])
def test_a_time_that_yaml_took_for_a_number_is_refused(number: float) -> None:
    """R2: 14:00 without quotes is 840, which would be read as fourteen minutes past midnight."""
    assert (
        'in quotes, as in "14:00"' in problems(settings={**SETTINGS, "daily_pull_time": number})[0]
    )


@pytest.mark.parametrize("bad", ["25:00", "two", ""])
def test_what_is_no_time_is_refused(bad: str) -> None:
    """R2."""
    assert "daily_pull_time" in problems(settings={**SETTINGS, "daily_pull_time": bad})[0]


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("environment", "staging"),
        ("pull_interval_minutes", 0),
        ("refresh_period_days", 0),
        ("daily_record_limit", 0),
        ("daily_api_calls_limit", -1),
        ("new_and_changed_share_percent", 101),
        ("segment_records_max", 0),
        ("partitions_start", "2026-13-45"),
        ("partitions_start", "yesterday"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_with_its_name(key: str, bad: Any) -> None:
    """R1, R2."""
    (text,) = problems(settings={**SETTINGS, key: bad})

    assert text.startswith(f"settings.yaml: {key}: ")


def test_an_unknown_setting_is_refused_with_the_nearest_right_one() -> None:
    """R2: never ignored."""
    (text,) = problems(settings={**SETTINGS, "daily_record_limits": 5})

    assert text.startswith("settings.yaml: daily_record_limits: unknown key; allowed here are ")
    assert text.endswith("; did you mean 'daily_record_limit'?")


def test_an_unknown_key_far_from_all_others_is_refused_without_a_guess() -> None:
    """R2."""
    (text,) = problems(settings={**SETTINGS, "zzz": 5})

    assert text.startswith("settings.yaml: zzz: unknown key; allowed here are environment, ")
    assert "did you mean" not in text


@pytest.mark.parametrize(
    ("content", "where", "near"),
    [
        ({"lable": "x"}, "lable", "label"),
        (
            {"inputs": {"company": {"label": "C", "type": "text", "requird": True}}},
            "inputs.company.requird",
            "required",
        ),
        ({"outputs": {"score": {"type": "score", "lenght": 3}}}, "outputs.score.lenght", "length"),
        (
            {"reference": [{"name": "a", "file": "b", "descripton": "c"}]},
            "reference.0.descripton",
            "description",
        ),
    ],
)
def test_an_unknown_key_inside_a_market_is_refused_with_the_nearest_of_its_place(
    content: dict[str, Any], where: str, near: str
) -> None:
    """R8: the keys of that place, not those of the file."""
    found = problems(markets=[market_content(**content)])

    (text,) = [text for text in found if text.startswith(f"0/market.yaml: {where}: unknown key; ")]
    assert text.endswith(f"; did you mean {near!r}?")


def test_an_unknown_key_of_a_markets_training_is_refused_with_the_nearest_one() -> None:
    """docs/markets.md."""
    training = {
        "script": "s",
        "data": "d",
        "origin": "o",
        "rows": 1,
        "auc": 0.5,
        "auc_interval": [0.4, 0.6],
        "best_single_feature": {"feature": "a", "auc": 0.5, "aucc": 1},
        "scrip": "x",
    }
    found = problems(markets=[market_content(training=training)])

    aucc, scrip = (text for text in found if "unknown key" in text)
    assert scrip.startswith("0/market.yaml: training.scrip: ")
    assert scrip.endswith("; did you mean 'script'?")
    assert aucc.startswith("0/market.yaml: training.best_single_feature.aucc: ")
    assert aucc.endswith("allowed here are feature, auc; did you mean 'auc'?")


@pytest.mark.parametrize("name", ["Opportunity", "Thing__c"])
def test_another_object_is_refused_by_name(name: str) -> None:
    """R4."""
    (text,) = problems(integrations=[{**LEAD, "object": name}])

    assert (
        text
        == f"a.yaml: object: {name!r} is not supported; allowed are Account, Contact, Lead (R4)."
    )


def test_location_based_intent_is_refused_where_it_stands() -> None:
    """R8."""
    outputs = {"near": {"type": "insight", "value": "text", "category": "location_intent"}}

    assert (
        "0/market.yaml: outputs.near.category: location-based intent insights are not supported; "
        "allowed are fit, intent (R8)"
        in problems(markets=[market_content(outputs=outputs)], integrations=[])
    )


def test_an_unknown_market_is_refused_with_the_nearest_one() -> None:
    """R6."""
    (text,) = problems(integrations=[{**LEAD, "market": "fitt"}])

    assert text == "a.yaml: market: there is no market 'fitt'; there are fit; did you mean 'fit'?"


def test_a_market_whose_own_file_is_wrong_is_not_called_missing() -> None:
    """R8: one mistake, one line."""
    (text,) = problems(markets=[market_content(kind="odd")])

    assert text.startswith("0/market.yaml: kind: ")


def test_an_integration_that_is_switched_off_conflicts_with_none() -> None:
    """R6: one market is replaced by another by switching the old one off."""
    other = {**LEAD, "market": "smb"}
    markets = [market_content(), market_content(name="smb")]

    assert "(R6)" in problems(markets=markets, integrations=[LEAD, other])[0]
    assert configured(markets=markets, integrations=[LEAD, {**other, "enabled": False}])


def test_an_integration_written_twice_is_refused() -> None:
    """R6: which of the two files counts would be chance."""
    found = problems(integrations=[LEAD, {**LEAD, "outputs": {"score": "Other__c"}}])

    assert found == ("b.yaml: market: Lead.fit is defined more than once, first in a.yaml.",)


@pytest.mark.parametrize("content", [None, "text", ["a"], 5])
def test_a_file_without_keys_and_values_is_refused(content: Any) -> None:
    """R2: an empty file included."""
    assert "expected keys and values" in problems(settings=content)[0]


def test_all_problems_of_all_files_are_told_at_once() -> None:
    """R2: settings, markets and integrations together."""
    found = problems(
        settings={**SETTINGS, "time_zone": "Nowhere", "daily_record_limit": 0},
        markets=[market_content(kind="lead_based"), {"name": "broken"}],
        integrations=[
            {**LEAD, "object": "Account", "outputs": {"secret": "A__c"}},
            {**LEAD, "objct": "x"},
        ],
    )
    files = [text.split(":")[0] for text in found]

    assert files.count("settings.yaml") == 2
    assert files.count("a.yaml") == 2
    assert files.count("b.yaml") == 1
    assert files.count("1/market.yaml") >= 4


def test_only_integrations_that_are_on_and_mapped_are_run() -> None:
    """R12."""
    off = {**LEAD, "object": "Contact", "enabled": False}
    unmapped = {"object": "Account", "market": "fit"}

    assert configured(integrations=[LEAD, off]).objects == ("Lead",)
    assert configured(integrations=[unmapped]).objects == ()
    assert len(configured(integrations=[LEAD, off]).integrations) == 2
