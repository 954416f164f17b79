from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import ConfigurationError
from resources.configuration import read_configuration
from tests.core.support import market_content

SETTINGS = 'environment: local\ntime_zone: Europe/Berlin\ndaily_pull_time: "02:00"\n'
LEAD = "object: Lead\nmarket: fit\ninputs: {company: Company}\noutputs: {score: Score__c}\n"
LOCAL = Path(__file__).parents[2] / "config" / "local"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a configuration that is right."""
    (tmp_path / "markets" / "fit").mkdir(parents=True)
    (tmp_path / "integrations").mkdir()
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    content = {key: value for key, value in market_content().items() if key != "name"}
    (tmp_path / "markets" / "fit" / "market.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "markets" / "fit" / "model.py").touch()
    (tmp_path / "integrations" / "lead.fit.yaml").write_text(LEAD)
    return tmp_path


def problems(folder: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(folder).whole()
    return caught.value.problems


def test_a_folder_is_read_as_it_is_laid_out(folder: Path) -> None:
    """R2: a market's name is its folder's."""
    configuration = read_configuration(folder)

    assert list(configuration.markets) == ["fit"]
    assert [i.name for i in configuration.integrations] == ["Lead.fit"]
    assert configuration.settings.environment == "local"


def test_the_configuration_of_the_demo_is_valid() -> None:
    """R2."""
    assert read_configuration(LOCAL).objects == ("Account", "Contact", "Lead")


def test_a_folder_without_settings_says_where_they_are_looked_for(tmp_path: Path) -> None:
    """R2."""
    (text,) = problems(tmp_path / "nowhere")

    assert "settings.yaml does not exist" in text
    assert "INSIGHTS_CONFIG" in text


def test_a_key_given_twice_is_refused_with_its_line(folder: Path) -> None:
    """R2: the first value would be lost in silence."""
    (folder / "settings.yaml").write_text(SETTINGS + "time_zone: UTC\n")
    (text,) = problems(folder)

    assert text.startswith(f"{folder / 'settings.yaml'}:4: time_zone: this key is given twice")


def test_a_key_given_twice_below_another_is_refused_as_well(folder: Path) -> None:
    """R6: two fields for one output."""
    path = folder / "integrations" / "lead.fit.yaml"
    path.write_text(LEAD.replace("{score: Score__c}", "{score: A__c, score: B__c}"))

    assert problems(folder)[0].startswith(f"{path}:4: outputs.score: this key is given twice")


@pytest.mark.parametrize("bad", ["a: [1", "a: b: c", "\ta: 1", "a: !!python/object:os.system x"])
def test_what_is_no_yaml_is_refused_with_file_and_line(folder: Path, bad: str) -> None:
    """R2: and nothing in it is run."""
    path = folder / "integrations" / "lead.fit.yaml"
    path.write_text(LEAD + bad)
    (text,) = problems(folder)

    assert text.startswith(f"{path}:")
    assert text.removeprefix(f"{path}:")[0].isdigit()


def test_what_is_no_utf8_is_refused_with_its_file(folder: Path) -> None:
    """R2."""
    path = folder / "integrations" / "lead.fit.yaml"
    path.write_bytes(b"object: L\xe9ad")

    assert problems(folder)[0].startswith(f"{path}:1: ")


def test_an_empty_file_is_refused(folder: Path) -> None:
    """R2."""
    (folder / "settings.yaml").write_text("")

    assert "expected keys and values" in problems(folder)[0]


def test_a_time_without_quotes_is_not_taken_for_another(folder: Path) -> None:
    """R2: YAML reads 14:00 as 840."""
    (folder / "settings.yaml").write_text(SETTINGS.replace('"02:00"', "14:00"))

    assert "in quotes" in problems(folder)[0]


def test_problems_of_several_files_are_told_at_once(folder: Path) -> None:
    """R2: unreadable ones together, then those of the content."""
    (folder / "settings.yaml").write_text("a: [1")
    (folder / "integrations" / "lead.fit.yaml").write_text("b: [1")
    assert len(problems(folder)) == 2
    (folder / "settings.yaml").write_text(SETTINGS + "limit: 1\n")
    (folder / "integrations" / "lead.fit.yaml").write_text(LEAD + "persits: true\n")

    assert [text.split(": ")[1] for text in problems(folder)] == ["limit", "persits"]
