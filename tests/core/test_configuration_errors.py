"""Bad settings, markets and integrations: each is refused with its file, its line, its key and what to write."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.configuration.configuration import Configuration, Document, check_configuration
from pipeline.core.configuration.editor_schemas import EDITOR_SCHEMA_NAMES, editor_schema
from pipeline.core.configuration.integration import MARKETS_PER_OBJECT_MAX
from pipeline.core.configuration.mistakes import KeyPath, Mistake, list_choices, nearest
from pipeline.core.errors import ConfigurationError
from tests.core.support import market_content

SCHEMAS = Path(__file__).parents[2] / "config" / "schemas"
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
    """Check a configuration whose markets are m0.yaml, …, whose integrations i0.yaml, and so on."""
    markets = [market_content()] if markets is None else markets
    integrations = [LEAD] if integrations is None else integrations
    return check_configuration(
        Document("settings.yaml", settings),
        [Document(f"m{n}.yaml", content) for n, content in enumerate(markets)],
        [Document(f"i{n}.yaml", content) for n, content in enumerate(integrations)],
    ).whole()


def problems(**parts: Any) -> tuple[str, ...]:
    """All that is wrong, one line a problem."""
    with pytest.raises(ConfigurationError) as caught:
        configured(**parts)
    return caught.value.problems


def setting(key: str, value: Any) -> str:
    """The one problem with settings where `key` is `value`."""
    (text,) = problems(settings={**SETTINGS, key: value})
    return text


# -- lines -----------------------------------------------------------------------------------------


def test_a_problem_stands_at_the_line_of_its_key_or_of_the_nearest_key_above() -> None:
    """R2: a key that is missing has no line of its own."""
    lines: dict[KeyPath, int] = {(): 1, ("object",): 2, ("outputs",): 6, ("outputs", "scroe"): 7}
    document = Document("lead.fit.yaml", {**LEAD, "outputs": {"scroe": "A__c"}}, lines)
    with pytest.raises(ConfigurationError) as caught:
        check_configuration(
            Document("settings.yaml", SETTINGS), [Document("m", market_content())], [document]
        ).whole()

    assert caught.value.problems == (
        "lead.fit.yaml:7: outputs.scroe: the market fit has no enabled output 'scroe'; it has score, "
        "rank, note, size, hot; did you mean 'score'? (R8)",
    )
    assert document.line(("outputs", "scroe", "deeper")) == 7
    assert document.line(("market",)) == 1


def test_problems_come_file_by_file_and_line_by_line() -> None:
    """R2: as a person mends them."""
    lines: dict[KeyPath, int] = {(): 1, ("pull_interval_minutes",): 9, ("daily_record_limit",): 4}
    wrong = {**SETTINGS, "pull_interval_minutes": 0, "daily_record_limit": 0}
    with pytest.raises(ConfigurationError) as caught:
        check_configuration(
            Document("settings.yaml", wrong, lines),
            [Document("m", market_content())],
            [Document("i", {**LEAD, "market": "x"})],
        ).whole()

    assert [p.split(": ")[0] for p in caught.value.problems] == [
        "settings.yaml:4",
        "settings.yaml:9",
        "i",
    ]


def test_what_the_reading_found_is_told_with_the_rest() -> None:
    """R2: one reading shows all there is to mend."""
    unread = Document("i.yaml", None, mistakes=(Mistake((), "bad.", line=3),), is_read=False)
    with pytest.raises(ConfigurationError) as caught:
        check_configuration(Document("s.yaml", {**SETTINGS, "time_zone": ""}), [], [unread]).whole()

    assert [text.split(": ")[0] for text in caught.value.problems] == ["s.yaml", "i.yaml:3"]


def test_a_mistaken_key_does_not_hide_the_mistakes_of_other_keys() -> None:
    """R10: an unknown key and an audit field in one file are told at once."""
    found = problems(
        integrations=[
            {**LEAD, "persits": True, "inputs": {"company": "CreatedDate", "email": "no field"}}
        ]
    )

    assert [text.split(": ")[1] for text in found] == ["inputs.email", "persits", "inputs.company"]


def test_an_integration_without_its_market_is_checked_as_far_as_it_goes() -> None:
    """R10: the fields need no market."""
    found = problems(integrations=[{**LEAD, "market": "fitt", "inputs": {"a": "CreatedDate"}}])

    assert [text.split(": ")[1] for text in found] == ["market", "inputs.a"]


def test_an_unknown_market_is_told_beside_an_unknown_object() -> None:
    """R4, R6."""
    found = problems(integrations=[{"object": "Opportunity", "market": "fitt"}])

    assert [text.split(": ")[1] for text in found] == ["object", "market"]


# -- what was found, what is allowed, what is nearest ------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("daily_record_limit", "10k", "found '10k'; a whole number is expected."),
        ("daily_record_limit", "10000", "a whole number is expected: write it without quotes."),
        ("daily_record_limit", 10.5, "found 10.5; a whole number is expected."),
        ("daily_record_limit", True, "found true; a whole number is expected."),
        ("daily_record_limit", None, "found nothing; a whole number is expected."),
        ("daily_record_limit", [1], "found a list; a whole number is expected."),
        ("daily_record_limit", {"a": 1}, "found keys and values; a whole number is expected."),
        ("daily_record_limit", -5, "found -5; 1 is the least."),
        ("refresh_period_days", 0, "found 0; 1 is the least."),
        ("pull_interval_minutes", -1, "found -1; 1 is the least."),
        ("daily_api_calls_limit", 10**40, "1000000000 is the most."),
        ("new_and_changed_share_percent", 101, "found 101; 100 is the most."),
        ("environment", "prod", "found 'prod'; allowed are local, sandbox, production."),
        ("environment", "Sandbox", "; did you mean 'sandbox'?"),
        ("time_zone", "", "'' is no time zone; an IANA name is, as in Europe/Berlin."),
        ("time_zone", "Berlin", "'Berlin' is no time zone; did you mean 'Europe/Berlin'?"),
        ("time_zone", "europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("time_zone", "localtime", "'localtime' is no time zone"),
        ("time_zone", 5, "found 5; text is expected: write it in quotes."),
        ("daily_pull_time", "25:00", "found '25:00'; hours and minutes are expected, as in 02:00"),
        ("daily_pull_time", "02:00:30", "hours and minutes are expected"),
        ("daily_pull_time", "02:00Z", "hours and minutes are expected"),
        ("daily_pull_time", "2:00", "hours and minutes are expected"),
        ("daily_pull_time", None, "found nothing; hours and minutes are expected"),
        ("partitions_start", "2026-02-30", "'2026-02-30' is no date"),
        ("partitions_start", "soon", "found 'soon'; a date is expected, as in 2026-01-31."),
    ],
)
def test_a_wrong_setting_says_what_was_found_and_what_is_allowed(
    key: str, value: Any, says: str
) -> None:
    """R2."""
    text = setting(key, value)

    assert text.startswith(f"settings.yaml: {key}: ")
    assert says in text


def test_a_missing_setting_says_so() -> None:
    """R2."""
    (text,) = problems(settings={k: v for k, v in SETTINGS.items() if k != "environment"})

    assert text == "settings.yaml: environment: this key is missing; it must be given."


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("object", "Opportunity", "'Opportunity' is not supported; allowed are Account, "),
        ("object", "lead", "; did you mean 'Lead'? (R4)"),
        ("object", ["Lead"], "a list is not supported"),
        ("enabled", "yes", "found 'yes'; true or false is expected."),
        ("enabled", 1, "found 1; true or false is expected."),
        ("persist", "true", "true or false is expected: write it without quotes."),
        ("inputs", None, "found nothing; keys and values are expected: write {} or leave the key"),
        ("inputs", ["Company"], "found a list; keys and values are expected."),
        ("outputs", "Score__c", "found 'Score__c'; keys and values are expected."),
        ("candidate_field", "Is it?", "found 'Is it?'; the API name of a field of the object"),
        ("null_outputs", "cleer", "allowed are clear, keep; did you mean 'clear'?"),
        ("market", "Fit", "found 'Fit'; a name is up to 60 small letters, digits and _"),
    ],
)
def test_a_wrong_value_in_an_integration_says_what_was_found_and_what_is_allowed(
    key: str, value: Any, says: str
) -> None:
    """R4, R7."""
    found = problems(integrations=[{**LEAD, key: value}])

    assert found[0].startswith(f"i0.yaml: {key}: ")
    assert says in found[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"version": 1}, "m0.yaml: version: found 1; text is expected: write it in quotes."),
        ({"version": ""}, "m0.yaml: version: found ''; it may not be empty."),
        (
            {"kind": "lead-based"},
            "allowed are account_based, lead_based; did you mean 'lead_based'?",
        ),
        ({"model": "model.py"}, "file.py:function is expected, as in model.py:load."),
        ({"inputs": {"Bad Name": {"label": "a", "type": "text"}}}, "inputs.Bad Name: found"),
        ({"inputs": {"a": {"label": "a", "type": "txt"}}}, "did you mean 'text'?"),
        ({"outputs": {"score": None}}, "outputs.score: found nothing; keys and values are"),
        ({"outputs": {"score": {"type": "reasons", "length": 0}}}, "found 0; 1 is the least."),
        ({"reference": {"name": "a"}}, "reference: found keys and values; a list is expected."),
    ],
)
def test_a_wrong_value_in_a_market_says_what_was_found_and_what_is_allowed(
    content: dict[str, Any], says: str
) -> None:
    """R8."""
    (text,) = problems(markets=[market_content(**content)], integrations=[])

    assert says in text


@pytest.mark.parametrize("category", ["location_intent", "location", "Location-based intent"])
def test_location_based_intent_is_refused_by_name_at_its_category(category: str) -> None:
    """R8."""
    outputs = {"near": {"type": "insight", "value": "text", "category": category}}
    (text,) = problems(markets=[market_content(outputs=outputs)], integrations=[])

    assert text == (
        "m0.yaml: outputs.near.category: location-based intent insights are not supported; allowed "
        "are fit, intent (R8)"
    )


def test_a_secret_that_landed_in_the_settings_is_refused_and_not_repeated() -> None:
    """R3: secrets come from the environment."""
    text = setting("client_secret", "hunter2")

    assert "client_secret: unknown key" in text
    assert "hunter2" not in text


def test_a_problem_stays_on_one_line_whatever_the_key_is() -> None:
    """R2: one line a problem."""
    text = setting("a\nb", 1)

    assert "\n" not in text
    assert "'a\\nb': unknown key" in text


def test_a_long_value_is_cut() -> None:
    """R2."""
    assert len(setting("environment", "x" * 10_000)) < 300


def test_the_nearest_name_is_found_whatever_its_case() -> None:
    """R2."""
    assert nearest("SCROE", ["rank", "score"]) == "score"
    assert nearest("zzz", ["rank", "score"]) is None
    assert nearest("a", []) is None


def test_a_long_list_of_what_is_allowed_is_cut_and_the_nearest_is_named_all_the_same() -> None:
    """R2."""
    text = list_choices("n99", [f"n{n}" for n in range(100)])

    assert "n39 and 60 more; did you mean 'n99'?" in text


# -- integrations held against markets and each other ------------------------------------------------


def test_a_lead_based_market_on_account_is_refused_at_its_object() -> None:
    """R5."""
    (text,) = problems(
        markets=[market_content(kind="lead_based")], integrations=[{**LEAD, "object": "Account"}]
    )

    assert text == (
        "i0.yaml: object: the market fit is lead based and scores Contact and Lead only, not Account "
        "(R5)."
    )


@pytest.mark.parametrize("name", ["secret", "sore"])
def test_an_output_that_is_not_enabled_is_refused_at_its_line(name: str) -> None:
    """R8: and the enabled ones are named."""
    (text,) = problems(integrations=[{**LEAD, "outputs": {name: "A__c"}}])

    assert text.startswith(f"i0.yaml: outputs.{name}: the market fit has no enabled output ")
    assert "it has score, rank, note, size, hot" in text


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("LastModifiedDate", "an audit"),
        ("lastmodifieddate", "an audit"),
        ("SystemModstamp", "an audit"),
        ("Mintigo_hash__c", "a tracking"),
        ("MINTIGO_UPDATE_DATETIME__C", "a tracking"),
    ],
)
def test_a_field_that_changes_with_pushes_is_no_input_whatever_its_case(
    field: str, kind: str
) -> None:
    """R10: Salesforce itself does not mind the case."""
    (text,) = problems(integrations=[{**LEAD, "inputs": {"company": field}}])

    assert text.startswith(f"i0.yaml: inputs.company: {field} is {kind} field; ")
    assert text.endswith("(R10).")


def test_a_tracking_field_is_no_output_whatever_its_case() -> None:
    """R10."""
    (text,) = problems(integrations=[{**LEAD, "outputs": {"score": "mintigo_HASH__c"}}])

    assert text.startswith("i0.yaml: outputs.score: mintigo_HASH__c is a tracking field")


def test_two_integrations_of_one_field_are_refused_at_the_second() -> None:
    """R6: and both are named."""
    found = problems(
        markets=[market_content(), market_content(name="smb")],
        integrations=[LEAD, {**LEAD, "market": "smb"}],
    )

    assert found == (
        "i1.yaml: outputs.score: integrations Lead.fit and Lead.smb both write Score__c: give each its "
        "own fields, or a candidate_field of its own that routes each record to one of them (R6).",
    )


def many(count: int, **first: Any) -> dict[str, Any]:
    """So many markets on Lead, each with a field of its own."""
    names = [f"m{n}" for n in range(count)]
    written = [{**LEAD, "market": n, "outputs": {"score": f"{n}__c"}} for n in names]
    return {
        "markets": [market_content(name=name) for name in names],
        "integrations": [{**written[0], **first}, *written[1:]],
    }


def test_ten_markets_on_an_object_are_read_and_eleven_refused() -> None:
    """D1: the hash field holds ten digests."""
    assert len(configured(**many(MARKETS_PER_OBJECT_MAX)).of_object("Lead")) == 10
    (text,) = problems(**many(11))

    assert text.startswith("i10.yaml: market: Lead has 11 integrations that are enabled; Mintigo_")


def test_a_market_that_is_switched_off_does_not_count_among_the_ten() -> None:
    """D1."""
    assert len(configured(**many(11, enabled=False)).of_object("Lead")) == 10


# -- the clocks go forward ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "at", "says"),
    [
        ("Europe/Berlin", "02:30", "02:30 does not exist on 2026-03-29 in Europe/Berlin"),
        ("Europe/Berlin", "02:00", "runs at 03:00."),
        ("America/New_York", "02:15", "does not exist on 2026-03-08 in America/New_York"),
        ("Australia/Lord_Howe", "02:15", "runs at 02:30."),  # half an hour is skipped there
        ("America/Santiago", "00:00", "runs at 01:00."),
        ("America/Havana", "00:30", "runs at 01:30."),  # a gap at midnight
    ],
)
def test_a_daily_pull_time_that_the_clocks_skip_is_accepted_with_a_notice(
    zone: str, at: str, says: str
) -> None:
    """R17: and it says when the daily pull runs on that day."""
    settings = {**SETTINGS, "time_zone": zone, "daily_pull_time": at}
    (text,) = configured(settings=settings).settings.notices(date(2026, 1, 1))

    assert text.startswith("settings.yaml: daily_pull_time: ")
    assert says in text


@pytest.mark.parametrize(
    ("zone", "at"),
    [
        ("Europe/Berlin", "03:00"),
        ("Europe/Berlin", "01:59"),
        ("UTC", "02:30"),
        ("Asia/Tokyo", "02:30"),
    ],
)
def test_a_daily_pull_time_that_every_day_has_needs_no_notice(zone: str, at: str) -> None:
    """R17."""
    settings = {**SETTINGS, "time_zone": zone, "daily_pull_time": at}

    assert configured(settings=settings).settings.notices(date(2026, 1, 1)) == ()


def test_the_notice_is_of_the_next_such_day() -> None:
    """R17: last spring's is over."""
    read = configured(settings={**SETTINGS, "daily_pull_time": "02:30"})

    assert "2026-03-29" in read.settings.notices(date(2026, 3, 29))[0]
    assert "2027-03-28" in read.settings.notices(date(2026, 3, 30))[0]


# -- the schemas for editors -------------------------------------------------------------------------


@pytest.mark.parametrize("name", EDITOR_SCHEMA_NAMES)
def test_the_published_schema_is_that_of_the_models(name: Any) -> None:
    """Mend with: insights schema --write config/schemas."""
    published = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))

    assert published == editor_schema(name)


@pytest.mark.parametrize("name", EDITOR_SCHEMA_NAMES)
def test_a_schema_refuses_unknown_keys_wherever_keys_are_known(name: Any) -> None:
    """R2: as the reading does."""
    schema = editor_schema(name)

    for part in [schema, *schema.get("$defs", {}).values()]:
        assert part["additionalProperties"] is False
        for inner in part["properties"].values():
            if "patternProperties" in inner:
                assert inner["additionalProperties"] is False


def test_every_key_of_settings_and_integrations_is_explained_to_the_editor() -> None:
    """R2: it shows while one types."""
    for name in ("settings", "integration"):
        properties = editor_schema(name)["properties"]
        assert [key for key, part in properties.items() if not part.get("description")] == []


def test_a_market_file_has_no_key_for_the_name() -> None:
    """docs/markets.md: the folder is the name."""
    schema = editor_schema("market")

    assert "name" not in schema["properties"]
    assert "name" not in schema["required"]
