"""YAML files as people write them, wrong: what is told of each, and at which line."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.commands.schema import schema
from pipeline.core.configuration.editor_schemas import EDITOR_SCHEMA_NAMES
from pipeline.core.errors import ConfigurationError
from resources.configuration import FILE_BYTES_MAX, read_configuration

CONFIG = Path(__file__).parents[2] / "config"
SETTINGS = 'environment: local\ntime_zone: Europe/Berlin\ndaily_pull_time: "02:00"\n'
MARKET = """\
label: Fit
kind: account_based
version: "1"
model: model.py:load
inputs:
  company: {label: Company, type: text}
  email: {label: E-mail, type: text}
outputs:
  score: {type: score}
  rank: {type: rank}
  web: {type: insight, value: text, category: fit, enabled: false}
"""
LEAD = """\
object: Lead
market: fit
inputs:
  company: Company
outputs:
  score: Score__c
  rank: Rank__c
"""
FILES: Final = {
    "settings.yaml": SETTINGS,
    "markets/fit/market.yaml": MARKET,
    "markets/fit/model.py": "",
    "integrations/lead.fit.yaml": LEAD,
}
INTEGRATION: Final = "integrations/lead.fit.yaml"


def write(folder: Path) -> Path:
    """Write a configuration that is right."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


def problems(folder: Path) -> list[str]:
    """All problems, with paths below `folder`."""
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(folder).whole()
    return [text.removeprefix(f"{folder}/") for text in caught.value.problems]


def the_problem(folder: Path, name: str, content: str | bytes) -> str:
    """The one problem that there is with `content` in the file `name`, from its line on."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (text,) = problems(folder)
    assert text.startswith(f"{name}:"), text
    return text.removeprefix(f"{name}:")


# -- where it stands -------------------------------------------------------------------------------


def test_a_misspelt_output_is_told_with_file_line_key_and_the_nearest_right_name(
    folder: Path,
) -> None:
    """R8."""
    assert the_problem(folder, INTEGRATION, LEAD.replace("score:", "scroe:")) == (
        "6: outputs.scroe: the market fit has no enabled output 'scroe'; it has score, rank; did you "
        "mean 'score'? (R8)"
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("settings.yaml", "time_zone: E", "time_zone: F", "2: time_zone: "),
        ("settings.yaml", "environment: local\n", "", "1: environment: this key is missing"),
        ("settings.yaml", '"02:00"', "14:00", "3: daily_pull_time: write the time in quotes"),
        (INTEGRATION, "Lead", "Opportunity", "1: object: 'Opportunity' is not supported"),
        (INTEGRATION, "fit", "fot", "2: market: there is no market 'fot'; there are fit; did you"),
        (INTEGRATION, "company: Company", "company: LastModifiedDate", "4: inputs.company: LastM"),
        (INTEGRATION, "company: Company", "company: Mintigo_hash__c", "4: inputs.company: Mintigo"),
        (INTEGRATION, "rank: R", "web: R", "7: outputs.web: the market fit has no enabled output"),
        (INTEGRATION, "Rank__c", "score__C", "7: outputs.rank: two outputs are mapped to one fie"),
        (
            INTEGRATION,
            "  score",
            "  scores: A__c\n  score",
            "6: outputs.scores: the market fit has",
        ),
        ("markets/fit/market.yaml", "E-mail, type: text", "E, type: txt", "7: inputs.email.type: "),
        (
            "markets/fit/market.yaml",
            "category: fit",
            "category: location_intent",
            "11: outputs.web",
        ),
        (
            "markets/fit/market.yaml",
            "label: E-mail, ",
            "",
            "7: inputs.email.label: this key is mis",
        ),
        ("markets/fit/market.yaml", '"1"', "1", "3: version: found 1; text is expected: write it"),
        (
            "markets/fit/market.yaml",
            "label: Fit",
            "name: fit\nlabel: Fit",
            "1: name: remove this k",
        ),
    ],
)
def test_a_problem_is_told_at_its_line(
    folder: Path, name: str, old: str, new: str, says: str
) -> None:
    """R4 to R10."""
    assert old in FILES[name]
    text = the_problem(folder, name, FILES[name].replace(old, new, 1))

    assert text.startswith(says)


def test_an_item_of_a_list_has_its_own_line(folder: Path) -> None:
    """docs/markets.md."""
    listed = "reference:\n  - {name: a, file: a.csv}\n  -\n    name: b\n    fle: b.csv\n"
    path = folder / "markets" / "fit" / "market.yaml"
    path.write_text(MARKET + listed)
    missing, unknown = problems(folder)

    assert missing.startswith("markets/fit/market.yaml:15: reference.1.file: this key is missing")
    assert unknown.startswith("markets/fit/market.yaml:16: reference.1.fle: unknown key; ")


def test_problems_of_all_files_are_told_at_once_those_that_cannot_be_read_included(
    folder: Path,
) -> None:
    """R2: whoever mends them reads once."""
    (folder / "settings.yaml").write_text(SETTINGS + "limit: 1\npull_interval_minutes: 0\n")
    (folder / "integrations" / "account.fit.yaml").write_text("a: [1")
    (folder / "integrations" / "contact.fit.yaml").write_text("object: Contact\nmarket: fot\n")
    (folder / INTEGRATION).write_text(LEAD + "persits: true\n")
    (folder / "markets" / "empty").mkdir()

    assert [text.split(": ")[0] for text in problems(folder)] == [
        "settings.yaml:4",
        "settings.yaml:5",
        "markets/empty/market.yaml",
        "integrations/account.fit.yaml:1",
        "integrations/contact.fit.yaml:2",
        "integrations/lead.fit.yaml:8",
    ]


# -- files that are no YAML, or more YAML than is read ---------------------------------------------


@pytest.mark.parametrize("name", ["settings.yaml", "markets/fit/market.yaml", INTEGRATION])
@pytest.mark.parametrize("content", ["", "\n\n", "# nothing but this\n", "null\n"])
def test_an_empty_file_is_refused(folder: Path, name: str, content: str) -> None:
    """R2: and a market whose file is empty is not called missing as well."""
    assert the_problem(folder, name, content) == "1: expected keys and values, found nothing."


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("just text\n", "1: expected keys and values, found 'just text'."),
        ("- object: Lead\n", "1: expected keys and values, found a list."),
        ("{}: 1\n" + LEAD, "1: a key is one word, not a list or keys and values."),
        ("object: Lead\nmarket: [fit\n", "3: "),
        (
            "object: Lead: x\n",
            "1: mapping values are not allowed here: put text that holds a colon",
        ),
        (
            LEAD + "\tpersist: true\n",
            "8: found character '\\t' that cannot start any token: write",
        ),
        (LEAD + "---\n" + LEAD, "8: but found another document: one file holds one document"),
        (LEAD + "label: a\x07b\n", "8: the character U+0007 is not allowed in YAML."),
        (LEAD + "a: " + "[" * 30, "8: more than 20 levels stand inside each other."),
        (LEAD + 'a: "\\UFFFFFFFF"\n', "the file is not YAML: it holds an escape or a number out"),
        (LEAD + "a: &x {}\nb: *x\n", "8: an anchor (&name) is not read here: leave it out"),
        ("a: &a [*a]\n", "1: an anchor (&name) is not read here"),
        (
            LEAD + "label: *Company\n",
            "8: an alias (*name) is not read here: write the value itself",
        ),
        (LEAD + "<<: {persist: true}\n", "8: <<: unknown key; "),
        (LEAD + "a: !!python/object:os.system x\n", "8: a tag (!name) is not read here"),
        (LEAD + 'a: "\\ud800"\n', "8: half a character (a lone surrogate) is not text"),
        (LEAD.encode("utf-16"), "1: the file is not in UTF-8: save it in that encoding."),
        (LEAD.encode() + b"# caf\xe9\n", "8: the file is not in UTF-8: save it in that encoding."),
        (LEAD + "#" * FILE_BYTES_MAX, "the file is larger than 1,000,000 bytes."),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, str) else "bytes",
)
def test_a_file_of_another_shape_is_refused_at_its_line(
    folder: Path, content: str | bytes, says: str
) -> None:
    """R2: nothing in it is run, and nothing is guessed."""
    path = folder / INTEGRATION
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    assert says in problems(folder)[0]


def test_all_anchors_aliases_and_tags_of_a_file_are_told_at_once(folder: Path) -> None:
    """R2."""
    path = folder / INTEGRATION
    path.write_text(LEAD + "a: &x 1\nb: *x\nc: !t 1\n")

    assert [text.split(": ")[0] for text in problems(folder)] == [
        f"{INTEGRATION}:{line}" for line in (8, 9, 10)
    ]


def test_keys_given_twice_are_all_told_with_the_line_of_the_first(folder: Path) -> None:
    """R2: which of the two counts would be chance."""
    path = folder / INTEGRATION
    path.write_text(LEAD + "  score: Other__c\nmarket: smb\n")

    assert problems(folder) == [
        f"{INTEGRATION}:8: outputs.score: this key is given twice, first in line 6.",
        f"{INTEGRATION}:9: market: this key is given twice, first in line 2.",
    ]


@pytest.mark.parametrize("name", ["settings.yaml", "markets/fit/market.yaml", INTEGRATION])
@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_any_line_ends_are_read_and_lines_still_count(
    folder: Path, name: str, ending: str, mark: bytes
) -> None:
    """R2: files are edited on Windows too."""
    text = FILES[name].replace("\n", ending)
    (folder / name).write_bytes(mark + text.encode())

    assert read_configuration(folder).objects == ("Lead",)
    wrong = FILES[name].count("\n") + 1
    text += f"unheard_of: 1{ending}"
    assert the_problem(folder, name, mark + text.encode()).startswith(f"{wrong}: unheard_of: unkno")


def test_tabs_that_indent_nothing_are_read(folder: Path) -> None:
    """R2: in comments and in quotes."""
    (folder / INTEGRATION).write_text(LEAD + "persist: false # so\tit is\t\n")

    assert read_configuration(folder).integrations[0].persist is False


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("10k", "found '10k'; a whole number is expected."),
        ("1e4", "found '1e4'; a whole number is expected."),
        ("-5", "found -5; 1 is the least."),
        ("0x_", "found '0x_'; a whole number is expected."),
        ("yes", "found true; a whole number is expected."),
        ("9" * 5000, "a whole number is expected."),
        ("2026-01-01", "found '2026-01-01'; a whole number is expected."),
        ("", "found nothing; a whole number is expected."),
    ],
)
def test_a_limit_that_is_no_number_is_told_as_it_is_written(
    folder: Path, written: str, says: str
) -> None:
    """R20."""
    text = the_problem(folder, "settings.yaml", f"{SETTINGS}daily_record_limit: {written}\n")

    assert text.startswith("4: daily_record_limit: found ")
    assert text.endswith(says)


def test_a_date_needs_no_quotes_and_a_key_is_the_word_that_it_is(folder: Path) -> None:
    """R2: YAML would make a date of the one, and true of the other."""
    (folder / "settings.yaml").write_text(SETTINGS + "partitions_start: 2026-02-01\n")
    (folder / "markets/fit/market.yaml").write_text(MARKET + "  on: {type: reasons}\n")
    (folder / INTEGRATION).write_text(LEAD + "  on: Reasons__c\n")
    read = read_configuration(folder)

    assert read.settings.partitions_start == "2026-02-01"
    assert read.integrations[0].outputs["on"] == "Reasons__c"


# -- files that are not there, or not where they are read ------------------------------------------


def test_a_markets_folder_without_its_file_is_refused(folder: Path) -> None:
    """R2: and an integration of it is not told that there is no such market."""
    (folder / "markets/fit/market.yaml").rename(folder / "markets/fit/market.yml")

    assert problems(folder) == [
        "markets/fit/market.yaml: the market's folder has no market.yaml: add it, or remove the "
        "folder. There is a market.yml: rename it."
    ]


def test_folders_that_are_no_markets_are_passed_over(folder: Path) -> None:
    """R2: what Python and editors leave behind."""
    for name in ("__pycache__", ".git"):
        (folder / "markets" / name).mkdir()
    (folder / "integrations" / ".#lead.fit.yaml").symlink_to("nobody@nowhere")

    assert list(read_configuration(folder).markets) == ["fit"]


def test_a_model_file_that_is_not_there_is_refused_with_the_nearest_that_is(folder: Path) -> None:
    """docs/markets.md."""
    text = the_problem(folder, "markets/fit/market.yaml", MARKET.replace("model.py", "modle.py"))

    assert text == (
        f"4: model: there is no file 'modle.py' in {folder}/markets/fit; there are model.py; did you "
        "mean 'model.py'?"
    )


def test_a_model_file_of_a_name_too_long_for_any_file_is_refused(folder: Path) -> None:
    """docs/markets.md."""
    long = MARKET.replace("model.py", f"{'m' * 5000}.py")

    assert "there is no file" in the_problem(folder, "markets/fit/market.yaml", long)


def test_a_market_whose_folder_cannot_be_a_name_is_refused(folder: Path) -> None:
    """docs/markets.md: the folder is the name."""
    shutil.copytree(folder / "markets" / "fit", folder / "markets" / "Big Fit")

    assert problems(folder) == [
        "markets/Big Fit/market.yaml:1: name: found 'Big Fit'; a name is up to 60 small letters, "
        "digits and _, a letter first."
    ]


@pytest.mark.parametrize("name", ["contact.fit.yml", "contact.fit.YAML"])
def test_an_integration_of_another_ending_is_not_passed_over_in_silence(
    folder: Path, name: str
) -> None:
    """R2: its records would never be scored, and nobody would know."""
    (folder / "integrations" / name).write_text(LEAD.replace("Lead", "Contact"))

    assert problems(folder) == [f"integrations/{name}: its name must end in .yaml."]


def test_missing_settings_are_told_with_the_rest(folder: Path) -> None:
    """R2."""
    (folder / "settings.yaml").rename(folder / "settings.yml")
    (folder / INTEGRATION).write_text(LEAD + "persits: true\n")
    settings_text, integration_text = problems(folder)

    assert settings_text.startswith("settings.yaml: settings.yaml does not exist. Set INSIGHTS_")
    assert settings_text.endswith("There is a settings.yml: rename it.")
    assert integration_text.startswith(f"{INTEGRATION}:8: persits: ")


def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    """R2."""
    (folder / "integrations" / "contact.fit.yaml").mkdir()

    assert "the file cannot be read: Is a directory." in problems(folder)[0]


# -- whatever stands there -------------------------------------------------------------------------

_WORDS = st.sampled_from(
    [
        *("object", "market", "inputs", "outputs", "score", "company", "Lead", "fit", "enabled"),
        *("time_zone", "daily_pull_time", "version", "model", "label", "type", "training"),
        *(
            "1",
            "-1",
            "1.5",
            "0x_",
            ".nan",
            ".inf",
            "14:00",
            "2026-13-45",
            "yes",
            "~",
            "<<",
            "=",
            "''",
        ),
        *(
            '"\\ud800"',
            '"\\UFFFFFFFF"',
            '"\\0"',
            "&a",
            "*a",
            "!!int",
            "!!binary",
            "!x",
            "%YAML 1.9",
        ),
        *("model.py:load", "../x.py:load", "A" * 300 + ".py:load", "9" * 5000, "\ufeff", "\u2028"),
    ]
)
_GLUE = st.sampled_from(
    [
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        " ",
        "- ",
        "? ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\t",
        "#",
        "---\n",
        "|\n",
        '"',
    ]
)
_LIKE_YAML = st.lists(st.one_of(_WORDS, _GLUE), max_size=40).map("".join)
_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(_WORDS, st.integers()), inner, max_size=4),
    ),
    max_leaves=12,
)


@st.composite
def _edited(draw: st.DrawFn) -> str:
    """A right file with a stretch of it replaced."""
    text = FILES[draw(st.sampled_from([name for name in FILES if name.endswith(".yaml")]))]
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 30)))
    return text[:start] + draw(st.one_of(_WORDS, _GLUE, st.text(max_size=5))) + text[end:]


_CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    _LIKE_YAML.map(str.encode),
    _VALUES.map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode(errors="replace")),
    _edited().map(str.encode),
)


@pytest.mark.slow
@given(
    name=st.sampled_from([name for name in FILES if name.endswith(".yaml")]),
    content=_CONTENTS,
    above=st.booleans(),
)
@example(name=INTEGRATION, content=b"%YAML 1." + b"9" * 5000 + b"\n---\na: 1", above=False)
@example(name=INTEGRATION, content=b"[" * 50_000, above=False)
@example(name=INTEGRATION, content=b"a: !!timestamp x\nb: !!bool x\n? [a]\n: =", above=True)
@example(name="settings.yaml", content=b'time_zone: "a\\0b"', above=False)
@example(name="settings.yaml", content=b"time_zone: ../../etc/passwd", above=False)
@example(name="markets/fit/market.yaml", content=b'model: "a\\0b.py:load"', above=True)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_file_holds_is_read_or_refused_and_nothing_else(
    name: str, content: bytes, above: bool
) -> None:
    """R2: a mistake in a file never ends in a traceback; each problem is one line that can be printed."""
    with TemporaryDirectory() as temporary:
        folder = write(Path(temporary))
        path = folder / name
        path.write_bytes(path.read_bytes() + content if above else content)
        told: tuple[str, ...] | None = None
        try:
            read_configuration(folder).whole()
        except ConfigurationError as error:
            told = error.problems
    assert told is None or told
    for text in told or ():
        assert text.startswith(str(folder))
        assert len(text.splitlines()) == 1
        assert text.encode()


# -- schemas for editors ---------------------------------------------------------------------------


def test_every_file_of_the_sample_names_its_schema_in_its_first_line() -> None:
    """R2: editors complete and check what is written."""
    files = sorted((CONFIG / "local").rglob("*.yaml"))
    named = {}
    for path in files:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        if first.startswith("# yaml-language-server: $schema="):
            named[path] = (path.parent / first.partition("=")[2]).resolve()

    assert {path.name for path in files if path not in named} <= {"schema.yaml"}
    for path, schema_file in named.items():
        kind = {"settings.yaml": "settings", "market.yaml": "market"}.get(path.name, "integration")
        assert schema_file == CONFIG / "schemas" / f"{kind}.schema.json"


def test_the_command_writes_the_schemas_as_they_are_published(tmp_path: Path) -> None:
    """R2."""
    written = CliRunner().invoke(schema, ["--write", str(tmp_path / "new")])

    assert written.exit_code == 0, written.output
    for name in EDITOR_SCHEMA_NAMES:
        file = f"{name}.schema.json"
        assert (tmp_path / "new" / file).read_text() == (CONFIG / "schemas" / file).read_text()
        assert CliRunner().invoke(schema, [name]).output == (CONFIG / "schemas" / file).read_text()


def test_the_command_without_a_name_or_a_folder_says_what_it_needs() -> None:
    """R2."""
    result = CliRunner().invoke(schema, [])

    assert result.exit_code == 2
    assert "settings, market, integration" in result.output
