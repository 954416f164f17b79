"""The worked examples of docs/examples: their own YAML, the fields of their own tables, record by record (R6, R7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from local_org.launch import CLIENT_ID, CLIENT_SECRET, RunningOrg, start
from tests.plant import ConfiguredPlant, Plant, clean

Example = Callable[..., Plant]

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
NAMES: Final = ("one-candidate-field", "routed-to-one-market", "scored-by-all-markets")
ROW: Final = re.compile(r"^\| `(\w+)` \| ([^|]+) \| (.+) \|$", re.MULTILINE)
TYPES: Final[dict[str, dict[str, Any]]] = {
    "Text Area (255)": {"type": "TextArea"},
    "Date/Time": {"type": "DateTime"},
    "Checkbox": {"type": "Checkbox", "defaultValue": "false"},
    "Number (3, 0)": {"type": "Number", "precision": 3, "scale": 0},
    "Text (1)": {"type": "Text", "length": 1},
    "Text (20)": {"type": "Text", "length": 20},
    "Formula (Checkbox)": {"type": "Checkbox"},
    "Formula (Number)": {"type": "Number", "precision": 18, "scale": 0},
    "Formula (Text)": {"type": "Text"},
}
"""What the examples' tables call a field type, as the org takes it."""

CANDIDATE: Final = "Predictive_Insights_Enrichment_Candidate__c"
SCORE, RANK = "Predictive_Insights_Score__c", "Predictive_Insights_Rank__c"
SMB, MID_MARKET, ENTERPRISE = (
    f"PI_{market}_Candidate__c" for market in ("SMB", "Mid_Market", "Enterprise")
)


@pytest.fixture(scope="module")
def orgs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningOrg]]:
    """Give what starts one org an example, with the fields that its README has created in Setup."""
    with ExitStack() as stack:

        @cache
        def of(name: str, *objects: str) -> RunningOrg:
            org = stack.enter_context(start(tmp_path_factory.mktemp("org") / "org.sqlite3"))
            for api_name, metadata in _fields(name):
                for on in objects:
                    org.control("POST", "fields", {"fields": {f"{on}.{api_name}": metadata}})
            return org

        yield of


@pytest.fixture
def example(
    orgs: Callable[..., RunningOrg],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    through_dagster: bool,
) -> Example:
    """Give what builds a plant on an example's folder, turned on."""
    monkeypatch.setenv("SALESFORCE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", CLIENT_SECRET)

    def build(name: str, *objects: str) -> Plant:
        org = orgs(name, *objects)
        clean(org)
        monkeypatch.setenv("SALESFORCE_LOGIN_URL", org.base_url)
        built = ConfiguredPlant(
            org,
            tmp_path,
            in_memory=True,
            through_dagster=through_dagster,
            source=EXAMPLES / name,
        )
        built.turn_on()
        return built

    return build


@pytest.mark.parametrize("name", NAMES)
def test_example_shows_the_yaml_that_it_has(name: str) -> None:
    """The block in the README is the file that the test below runs."""
    folder = EXAMPLES / name
    shown = re.findall(r"```yaml\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    files = [path.read_text() for path in (folder / "integrations").glob("*.yaml")]

    assert len(shown) == 1
    assert shown[0] in files


@pytest.mark.parametrize("name", NAMES)
def test_example_lists_every_field_that_it_writes_or_chooses_by(name: str) -> None:
    """Whoever creates the table's fields has all that the integrations need."""
    folder = EXAMPLES / name
    listed = {row[0] for row in _rows(name)}
    needed = {"Mintigo_hash__c", "Mintigo_update_datetime__c"}
    for path in (folder / "integrations").glob("*.yaml"):
        integration = yaml.safe_load(path.read_text())
        needed |= {integration["candidate_field"], *integration["outputs"].values()}

    assert needed <= listed


@pytest.mark.slow
def test_one_candidate_field_scores_the_checked_leads_and_no_others(example: Example) -> None:
    """R7, use-case 1: checked, unchecked, checked later, unchecked later, and checked again."""
    built = example("one-candidate-field", "Lead", "Contact")
    northwind, contoso = built.create(
        "Lead",
        _lead("Northwind", 250) | {CANDIDATE: True},
        _lead("Contoso", 20),
    )

    assert built.pull("Lead")["pushed"] == 1
    assert _lead_of(built, northwind) == (100, "A", True)
    assert _lead_of(built, contoso) == (None, None, False)
    assert built.refresh("Lead")["read"] == 0

    built.edit("Lead", contoso, **{CANDIDATE: True})
    assert built.pull("Lead")["pushed"] == 1
    assert _lead_of(built, contoso) == (58, "C", False)

    built.edit("Lead", northwind, **{CANDIDATE: False})
    assert built.pull("Lead")["claimed"] == 0
    built.edit("Lead", northwind, NumberOfEmployees=3_000)
    assert built.pull("Lead")["claimed"] == 0
    assert _lead_of(built, northwind) == (100, "A", True)
    built.edit("Lead", northwind, **{CANDIDATE: True})
    assert built.pull("Lead")["pushed"] == 1
    assert _lead_of(built, northwind) == (71, "B", False)

    built.edit("Lead", contoso, **{CANDIDATE: False})
    assert built.pull("Lead")["claimed"] == 0
    built.edit("Lead", contoso, **{CANDIDATE: True})
    assert built.pull("Lead")["claimed"] == 0
    assert _lead_of(built, contoso) == (58, "C", False)


@pytest.mark.slow
def test_one_candidate_field_scores_the_checked_contacts_and_no_others(example: Example) -> None:
    """R7, R11, use-case 1: two contacts of one account, one of them chosen."""
    built = example("one-candidate-field", "Lead", "Contact")
    (account,) = built.create("Account", {"Name": "Fabrikam", "NumberOfEmployees": 5_000})
    chosen, other = built.create(
        "Contact",
        {"LastName": "Ito", "AccountId": account, CANDIDATE: True},
        {"LastName": "Okafor", "AccountId": account},
    )

    assert built.pull("Contact")["pushed"] == 1
    assert _read(built, "Contact", chosen, SCORE, RANK) == (58, "C")
    assert _read(built, "Contact", other, SCORE, RANK) == (None, None)


@pytest.mark.slow
def test_accounts_are_routed_to_the_market_of_their_checkbox(example: Example) -> None:
    """R6, use-case 2A: three markets write the same fields, each on its own accounts."""
    built = example("routed-to-one-market", "Account")
    bakery, midtown, steel, unsorted = built.create(
        "Account",
        _account("Corner Bakery", 12, SMB),
        _account("Midtown Logistics", 400, MID_MARKET),
        _account("Global Steel", 25_000, ENTERPRISE),
        _account("Unsorted", 50),
    )

    figures = built.pull("Account")

    assert (figures["pushed"], figures["claimed_by_two_markets"]) == (3, 0)
    assert figures["bulk_jobs"].count("](") == 1
    assert _routed(built, bakery) == (100, "A", "SMB")
    assert _routed(built, midtown) == (100, "A", "Mid-Market")
    assert _routed(built, steel) == (100, "A", "Enterprise")
    assert _routed(built, unsorted) == (None, None, None)
    assert built.refresh("Account")["read"] == 0


@pytest.mark.slow
def test_account_moved_to_another_market_and_back_is_scored_each_time(example: Example) -> None:
    """R7, use-case 2A: the same fields then show the other market's score."""
    built = example("routed-to-one-market", "Account")
    (riverside,) = built.create("Account", _account("Riverside Foods", 150, SMB))
    built.pull("Account")
    assert _routed(built, riverside) == (89, "A", "SMB")

    built.edit("Account", riverside, **{SMB: False, MID_MARKET: True})
    assert built.pull("Account")["pushed"] == 1
    assert _routed(built, riverside) == (100, "A", "Mid-Market")

    built.edit("Account", riverside, **{SMB: True, MID_MARKET: False})
    assert built.pull("Account")["pushed"] == 1
    assert _routed(built, riverside) == (89, "A", "SMB")


def test_account_with_two_boxes_checked_is_reported_and_left_alone(example: Example) -> None:
    """R6, use-case 2A: until one box is cleared."""
    built = example("routed-to-one-market", "Account")
    (twofold,) = built.create("Account", _account("Twofold", 400, SMB, MID_MARKET))

    figures = built.pull("Account")

    assert (figures["claimed_by_two_markets"], figures["claimed"]) == (1, 0)
    assert built.refresh("Account")["read"] == 0
    assert _routed(built, twofold) == (None, None, None)

    built.edit("Account", twofold, **{SMB: False})
    assert built.pull("Account")["pushed"] == 1
    assert _routed(built, twofold) == (100, "A", "Mid-Market")


@pytest.mark.slow
def test_formula_fields_show_the_right_one_of_three_scores(example: Example) -> None:
    """R6, use-case 2B: each account is scored by all markets in one row, and counted once."""
    built = example("scored-by-all-markets", "Account")
    bakery, midtown, steel, unchosen = built.create(
        "Account",
        _account("Corner Bakery", 12, CANDIDATE),
        _account("Midtown Logistics", 400, CANDIDATE),
        _account("Global Steel", 25_000, CANDIDATE),
        _account("Unchosen", 50),
    )

    figures = built.pull("Account")

    assert (figures["pushed"], figures["limit_used"]) == (3, 3)
    assert figures["bulk_jobs"].count("](") == 1
    assert _by_all(built, bakery) == [(100, "A"), (45, "C"), (0, "D")]
    assert _by_all(built, midtown) == [(64, "B"), (100, "A"), (76, "B")]
    assert _by_all(built, steel) == [(0, "D"), (16, "D"), (100, "A")]
    assert _by_all(built, unchosen) == [(None, None)] * 3
    for account in (bakery, midtown, steel):
        assert _read(built, "Account", account, SCORE, RANK) == (100, "A")
    assert _read(built, "Account", unchosen, SCORE, RANK) == (None, None)


@pytest.mark.slow
def test_account_that_outgrows_its_market_shows_the_next_ones_score_at_once(
    example: Example,
) -> None:
    """R6, use-case 2B: the formula moves without any pull; the next pull then scores anew."""
    built = example("scored-by-all-markets", "Account")
    (midtown,) = built.create("Account", _account("Midtown Logistics", 400, CANDIDATE))
    built.pull("Account")

    built.edit("Account", midtown, NumberOfEmployees=1_200)
    assert _read(built, "Account", midtown, SCORE, RANK) == (76, "B")

    assert built.pull("Account")["pushed"] == 1
    assert _by_all(built, midtown) == [(35, "D"), (95, "A"), (100, "A")]
    assert _read(built, "Account", midtown, SCORE, RANK) == (100, "A")


# -- what the examples say, and what the org holds -------------------------------------------------


def _rows(name: str) -> list[tuple[str, str, str]]:
    """Return the rows of the README's table of fields: API name, type, and what it says of it."""
    rows = ROW.findall((EXAMPLES / name / "README.md").read_text())
    assert rows
    return [(api_name, kind.strip(), words) for api_name, kind, words in rows]


def _fields(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the fields of the README's table, as the org takes them."""
    for api_name, kind, words in _rows(name):
        label = api_name.removesuffix("__c").replace("_", " ")
        formula = {"formula": words.strip("`")} if kind.startswith("Formula") else {}
        yield api_name, TYPES[kind] | {"label": label} | formula


def _lead(company: str, employees: int) -> dict[str, Any]:
    return {"LastName": "Ito", "Company": company, "NumberOfEmployees": employees}


def _account(name: str, employees: int, *checked: str) -> dict[str, Any]:
    return {"Name": name, "NumberOfEmployees": employees, **dict.fromkeys(checked, True)}


def _read(built: Plant, name: str, record_id: str, *fields: str) -> tuple[Any, ...]:
    soql = f"SELECT {', '.join(fields)} FROM {name} WHERE Id = '{record_id}'"
    (row,) = built.org.query(soql)
    return tuple(row[field] for field in fields)


def _lead_of(built: Plant, record_id: str) -> tuple[Any, ...]:
    return _read(built, "Lead", record_id, SCORE, RANK, "Predictive_Insights_In_Band__c")


def _routed(built: Plant, record_id: str) -> tuple[Any, ...]:
    return _read(built, "Account", record_id, SCORE, RANK, "Predictive_Insights_Scored_By__c")


def _by_all(built: Plant, record_id: str) -> list[tuple[Any, ...]]:
    return [
        _read(built, "Account", record_id, f"PI_ABM_{market}_Score__c", f"PI_ABM_{market}_Rank__c")
        for market in ("SMB", "Mid_Market", "Enterprise")
    ]
