"""What the sample models give out, whatever is put in (R8)."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.companies import companies
from demo.people import leads

from .conftest import MARKETS, Market

ARROW_OUTPUT = {
    "score": pa.int64(),
    "rank": pa.string(),
    "reasons": pa.string(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "number": pa.float64(),
}
TEXTS = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.sampled_from(
        ["", " ", "n/a", "N/A", "-", "http://", "HTTPS://WWW.ACME.DE/A?b=c", "acme.com acme.de"]
    ),
    st.sampled_from(["🦄" * 300, "x" * 32_000, "a\u2028b\r\nc", "مرحبا", "(.*[", "\\", "\x00"]),
)
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "number": NUMBERS,
    "boolean": st.one_of(st.none(), st.booleans()),
    "date": st.one_of(st.none(), st.dates()),
}


def rows_of(market: Market) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Any rows at all for a market's inputs."""
    inputs = market.described["inputs"]
    row = st.fixed_dictionaries({name: BY_TYPE[i["type"]] for name, i in inputs.items()})
    return st.lists(row, max_size=6)


def check(market: Market, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Scores rows and asserts what must hold of any output."""
    scored = market.model.score(market.table(rows))
    outputs = market.enabled()

    assert scored.num_rows == len(rows)
    assert set(scored.column_names) == set(outputs)
    for name, output in outputs.items():
        kind = output["type"] if output["type"] != "insight" else output["value"]
        assert scored[name].type == ARROW_OUTPUT[kind], name
        for value in scored[name].to_pylist():
            check_value(output, kind, value)
    results: list[dict[str, Any]] = scored.to_pylist()
    for result in results:
        assert (result["score"] is None) == (result["rank"] is None) == (result["reasons"] is None)
    return results


def check_value(output: dict[str, Any], kind: str, value: Any) -> None:
    """One value fits its declaration."""
    if value is None:
        return
    if kind == "score":
        assert 0 <= value <= 100
    elif kind == "rank":
        assert value in output["values"]
    elif kind in ("text", "reasons"):
        assert 0 < len(value) <= output["length"]
    elif kind == "number":
        assert math.isfinite(value)
        assert -100 <= value <= 100


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_input_makes_an_output_of_the_wrong_type_or_out_of_range(
    market: Market, data: st.DataObject
) -> None:
    check(market, data.draw(rows_of(market)))


def test_a_row_is_scored_the_same_alone_and_among_others_in_any_order(market: Market) -> None:
    rows = demo_rows(market, 300)

    together = market.score(rows)
    backwards = market.score(rows[::-1])[::-1]
    alone = [market.score([row])[0] for row in rows[:40]]

    assert together == backwards
    assert together[:40] == alone


def test_an_empty_table_gives_an_empty_table_of_the_same_columns(market: Market) -> None:
    assert check(market, []) == []


def test_a_table_in_several_chunks_is_scored_like_one(market: Market) -> None:
    rows = demo_rows(market, 50)
    table = market.table(rows)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7)])

    assert market.model.score(chunked).to_pylist() == market.model.score(table).to_pylist()


def test_a_row_with_nothing_in_it_gets_nulls(market: Market) -> None:
    (nothing,) = check(market, [{}])

    assert set(nothing.values()) == {None}


def test_the_demo_records_spread_over_all_ranks_and_both_values_of_insights(
    market: Market,
) -> None:
    scored = check(market, demo_rows(market, 3000))

    assert {row["rank"] for row in scored} == {"A", "B", "C", "D", "F", None}
    for name, output in market.enabled().items():
        if output.get("value") == "boolean":
            assert {row[name] for row in scored} >= {True, False}, name


def demo_rows(market: Market, count: int) -> list[dict[str, Any]]:
    """The demo's leads as inputs of a market."""
    people = leads(3, count)
    if market.name == "enterprise_fit":
        names = {
            "company_name": "Company",
            "website": "Website",
            "industry": "Industry",
            "employees": "NumberOfEmployees",
            "country": "Country",
            "email": "Email",
        }
        return [{name: person.get(field) for name, field in names.items()} for person in people]
    return [
        {
            "response_rate": person.get("Response_Rate__c"),
            "responded_last": person.get("Responded_To_Last_Mailing__c"),
            "last_response_date": _date(person.get("Last_Response_Date__c")),
            "next_mailing_date": _date(person.get("Next_Mailing_Date__c")),
            "mailings_per_year": person.get("Mailings_Per_Year__c"),
            "last_gift": person.get("Last_Gift__c"),
            "average_gift": person.get("Average_Gift__c"),
            "title": person.get("Title"),
        }
        for person in people
    ]


def _date(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)


def test_a_larger_company_of_the_same_sector_never_scores_much_lower(
    enterprise_fit: Market,
) -> None:
    rows = [{"industry": "Software", "employees": float(10**p)} for p in range(1, 7)]

    scores = [row["score"] for row in enterprise_fit.score(rows)]

    assert scores[0] < 30
    assert scores[-1] > 80
    assert all(after >= before - 5 for before, after in pairwise(scores))


def test_the_same_head_count_counts_for_more_in_a_sector_of_small_companies(
    enterprise_fit: Market,
) -> None:
    realty, retail = enterprise_fit.score(
        [
            {"industry": "Real Estate", "employees": 6000.0},
            {"industry": "Specialty Retailers", "employees": 6000.0},
        ]
    )

    assert realty["score"] > retail["score"] + 20
    assert realty["above_sector_median"] is True
    assert retail["above_sector_median"] is False


@pytest.mark.parametrize(
    "impossible", [None, float("nan"), float("inf"), -7.0, 0.0, 99_999_999.0, 0.3]
)
def test_an_impossible_head_count_counts_as_none(
    enterprise_fit: Market, impossible: float | None
) -> None:
    unknown, given = enterprise_fit.score(
        [{"industry": "Software"}, {"industry": "Software", "employees": impossible}]
    )

    assert given == unknown
    assert given["size_band"] is None


@pytest.mark.parametrize(
    ("industry", "name", "sector"),
    [
        ("Regional Banks", "x", "Financials"),
        ("Property & Casualty Insurance", "x", "Financials"),
        ("Real estate investment trust", "x", "Real estate"),
        ("  BIOTECHNOLOGY ", "x", "Health care"),
        ("Medical device manufacturing", "x", "Health care"),
        ("Luft- und Raumfahrttechnik", "x", "Industrials"),
        ("Oil and gas", "x", "Energy"),
        ("Consumer Non-Cyclicals", "x", "Consumer"),
        (None, "First Interstate BancSystem, Inc.", "Financials"),
        ("n/a", "ACME Pharmaceuticals", "Health care"),
    ],
)
def test_industries_as_people_write_them_fall_into_sectors(
    enterprise_fit: Market, industry: str | None, name: str, sector: str
) -> None:
    (scored,) = enterprise_fit.score([{"industry": industry, "company_name": name}])

    assert scored["sector"] == sector


@pytest.mark.parametrize(
    ("website", "country", "foreign"),
    [
        ("HTTPS://WWW.ACME.DE/en/about?x=1", "USA", True),
        ("www.acme.de", "Deutschland", False),
        ("acme.co.uk", "United Kingdom", False),
        ("acme.com acme.de", "US", False),
        ("acme.com/index.de", "US", False),
        ("acme.com", "Germany", False),
        ("acme.de", None, False),
        ("acme.de", "Atlantis", False),
        ("n/a", "US", False),
        (None, "US", False),
    ],
)
def test_a_website_under_another_countrys_domain_is_foreign(
    enterprise_fit: Market, website: str | None, country: str | None, foreign: bool
) -> None:
    (scored,) = enterprise_fit.score(
        [{"industry": "Software", "website": website, "country": country}]
    )

    assert scored["foreign_domain"] is foreign


@pytest.mark.parametrize(
    ("email", "free"),
    [
        ("ann@GMAIL.com ", True),
        ("ann@web.de", True),
        ("ann@notgmail.com", False),
        ("ann@gmail.com.example.com", False),
        ("gmail.com", False),
        (None, False),
    ],
)
def test_free_mail_is_told_by_the_whole_domain(
    enterprise_fit: Market, email: str | None, free: bool
) -> None:
    (scored,) = enterprise_fit.score([{"industry": "Software", "email": email}])

    assert scored["free_mail"] is free


def test_reasons_name_the_strongest_signals_with_their_signs(
    enterprise_fit: Market, campaign_response: Market
) -> None:
    (company,) = enterprise_fit.score([{"industry": "Software", "employees": 87_000.0}])
    (person,) = campaign_response.score(
        [
            {
                "response_rate": 12.0,
                "responded_last": False,
                "last_response_date": dt.date(2024, 1, 1),
                "next_mailing_date": dt.date(2027, 1, 4),
                "mailings_per_year": 1.25,
            }
        ]
    )

    assert "+ 87,000 employees" in company["reasons"]
    assert "+ 7.9 times the Technology median" in company["reasons"]
    assert person["reasons"].startswith("- answered 12 % of mailings")
    assert person["score"] < 15
    assert person["lapsed"] is True
    assert person["recency"] == "more than two years ago"


def test_a_faithful_responder_scores_far_above_a_lapsed_one(campaign_response: Market) -> None:
    next_mailing = dt.date(2027, 1, 4)
    faithful, lapsed = campaign_response.score(
        [
            {
                "response_rate": rate,
                "responded_last": rate > 50,
                "last_response_date": next_mailing - dt.timedelta(weeks=weeks),
                "next_mailing_date": next_mailing,
                "mailings_per_year": 3.0,
            }
            for rate, weeks in ((95.0, 13), (10.0, 140))
        ]
    )

    assert faithful["score"] > 75
    assert faithful["habitual_responder"] is True
    assert lapsed["score"] < 15
    assert lapsed["habitual_responder"] is False


def test_a_response_after_the_next_mailing_counts_as_no_date(campaign_response: Market) -> None:
    (scored,) = campaign_response.score(
        [
            {
                "response_rate": 50.0,
                "last_response_date": dt.date(2030, 1, 1),
                "next_mailing_date": dt.date(2027, 1, 4),
            }
        ]
    )

    assert scored["recency"] is None
    assert "last answer" not in scored["reasons"]


@pytest.mark.parametrize(
    ("title", "seniority", "function"),
    [
        ("VP Sales", "Vice president", "Sales"),
        ("Vice President, Engineering", "Vice president", "Engineering"),
        ("CEO", "Executive", None),
        ("DIRECTOR OF SALES", "Director", "Sales"),
        ("Geschäftsführer", "Executive", None),
        ("Leiter Vertrieb", "Director", "Sales"),
        ("🚀 Financial Controller, acting\nsee notes", None, "Finance"),
        ("International Buyer", "Specialist", "Operations"),
        ("n/a", None, None),
        (None, None, None),
    ],
)
def test_titles_tell_seniority_and_function(
    campaign_response: Market, title: str | None, seniority: str | None, function: str | None
) -> None:
    (scored,) = campaign_response.score([{"response_rate": 50.0, "title": title}])

    assert (scored["seniority"], scored["job_function"]) == (seniority, function)


def test_real_companies_as_messy_as_they_are_nearly_all_get_a_score(
    enterprise_fit: Market,
) -> None:
    rows = [
        {
            "company_name": account["Name"],
            "website": account.get("Website"),
            "industry": account.get("Industry"),
            "employees": account.get("NumberOfEmployees"),
            "country": account.get("BillingCountry"),
        }
        for account in companies()
    ]

    scores = [row["score"] for row in check(enterprise_fit, rows)]

    assert sum(score is not None for score in scores) / len(scores) > 0.95


def test_scoring_needs_neither_scikit_learn_nor_a_pickle(market: Market) -> None:
    code = (
        "import importlib.util, pathlib, sys\n"
        f"path = pathlib.Path({str(MARKETS / market.name)!r})\n"
        "spec = importlib.util.spec_from_file_location('m', path / 'model.py')\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['m'] = module\n"
        "spec.loader.exec_module(module)\n"
        "module.load(path)\n"
        "assert not {'sklearn', 'scipy', 'joblib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

    suffixes = {path.suffix for path in (MARKETS / market.name).rglob("*") if path.is_file()}
    assert suffixes - {".pyc"} <= {".yaml", ".py", ".json", ".csv", ".md"}
