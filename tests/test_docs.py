"""What code, tests and documentation cite is there: rules, decisions, API notes, tests, files and pages."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from resources.ledger.tables import metadata

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
DECISIONS: Final = DOCS / "decisions"

WITH_CITATIONS: Final = (
    "assets",
    "benchmarks",
    "config",
    "demo",
    "docs",
    "local_org",
    "pipeline",
    "resources",
    "tests",
)
SUFFIXES: Final = {".lark", ".md", ".py", ".yaml"}
AT_THE_TOP: Final = ("CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md", "pyproject.toml")

RULE: Final = re.compile(r"\bR([1-9]\d?)[abc]?\b")
DECISION: Final = re.compile(r"\bD([1-9]\d?)\b")
"""Two digits at the most: three are a linter's rule, as in `noqa: D100`."""

NOTE: Final = re.compile(
    r"API notes,? (?:section )?"
    r"(?P<sections>\d(?:\.\d+)?(?:(?:, | and )\d(?:\.\d+)?)*)"
    r"(?:, (?:point|item) (?P<point>\d+))?"
)
"""As in `API notes 3.2`, `API notes 5, 2.5 and 3.2` and `API notes 8, point 2`."""

TEST: Final = re.compile(r"\b(tests/[\w/]+\.py)(?:::(test_\w+))?")
FILE: Final = re.compile(r"`((?:assets|config|demo|local_org|pipeline|resources)/[\w./-]*)`")
PAGE: Final = re.compile(r"\b(docs/[\w/-]+\.md)\b")
LINK: Final = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


@cache
def cited_in() -> tuple[tuple[str, str], ...]:
    """Return every file that may cite something, by its name: its text, each run of blanks as one."""
    files = [ROOT / name for name in AT_THE_TOP]
    for folder in WITH_CITATIONS:
        files += sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in SUFFIXES)

    return tuple(
        (str(path.relative_to(ROOT)), " ".join(path.read_text(encoding="utf-8").split()))
        for path in files
        if path != Path(__file__)
    )


def pages() -> list[Path]:
    """Return the pages that people read."""
    return [*(ROOT / n for n in AT_THE_TOP if n.endswith(".md")), *sorted(DOCS.rglob("*.md"))]


def citations(pattern: re.Pattern[str]) -> set[tuple[int, str]]:
    """Return the numbers that `pattern` finds, each with the file that cites it."""
    return {(int(number), name) for name, text in cited_in() for number in pattern.findall(text)}


def decisions() -> dict[int, Path]:
    """Return the pages of the decisions by number."""
    return {int(path.name[1:3]): path for path in DECISIONS.glob("d[0-9][0-9]-*.md")}


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in words}


def test_every_rule_that_is_cited_exists() -> None:
    """With a heading of its own in docs/rules.md."""
    rules = (DOCS / "rules.md").read_text(encoding="utf-8")
    there = {int(number) for number in re.findall(r"^### R(\d+) ", rules, re.MULTILINE)}
    cited = citations(RULE)

    assert len(cited) > 300
    assert sorted((n, name) for n, name in cited if n not in there) == []


def test_every_decision_that_is_cited_exists() -> None:
    """With a page of its own in docs/decisions."""
    there, cited = decisions(), citations(DECISION)

    assert len(cited) > 60
    assert sorted((n, name) for n, name in cited if n not in there) == []


def test_every_api_note_that_is_cited_exists() -> None:
    """As a section or a row of docs/local-org.md."""
    page = (DOCS / "local-org.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (\d) ", page, re.MULTILINE))
    rows = re.findall(r"^\| (\d\.\d(?:, \d\.\d)*) ", page, re.MULTILINE)
    sections |= {number for row in rows for number in row.split(", ")}
    points = {
        number
        for row in re.findall(r"^\| (\d+(?:, \d+)*) [^|]", page.partition("## 8 ")[2], re.MULTILINE)
        for number in row.split(", ")
    }
    missing, found = [], 0
    for name, text in cited_in():
        for note in NOTE.finditer(text):
            found += 1
            cited = re.split(r", | and ", note["sections"])
            missing += [(name, section) for section in cited if section not in sections]
            if note["point"] and note["point"] not in points:
                missing.append((name, f"8, point {note['point']}"))

    assert found > 40
    assert missing == []


def test_every_test_that_a_page_names_exists() -> None:
    """By its file and its name; those of docs/local-org.md have a test beside the local org's."""
    missing, found = [], 0
    for page in pages():
        for file, name in TEST.findall(page.read_text(encoding="utf-8")):
            found += 1
            path = ROOT / file
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            if not text or (name and not re.search(rf"^ *def {name}\(", text, re.MULTILINE)):
                missing.append(f"{page.name}: {file}::{name}")

    assert found > 150
    assert missing == []


def test_every_file_that_the_documentation_names_exists() -> None:
    """Code moves, and the pages that point at it must follow."""
    missing, found = [], 0
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for file in FILE.findall(page.read_text(encoding="utf-8")):
            found += 1
            if not (ROOT / file).exists():
                missing.append(f"{page.name}: {file}")

    assert found > 80
    assert missing == []


def test_every_page_that_code_names_exists() -> None:
    """In docstrings, comments and messages."""
    named = {(page, name) for name, text in cited_in() for page in PAGE.findall(text)}

    assert len(named) > 30
    assert sorted((page, name) for page, name in named if not (ROOT / page).is_file()) == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """To a file, and where it names a heading, to a heading that is there."""
    broken = []
    for file, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{file}#{anchor}")

    assert broken == []


def test_the_index_of_decisions_lists_every_page_in_order() -> None:
    """Each with the title that the page has."""
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[D(\d+)\]\((d\d\d-[\w-]+\.md)\) \| ([^|]+?) \|", index, re.MULTILINE)
    there = [
        (
            str(number),
            path.name,
            path.read_text(encoding="utf-8").partition("\n")[0].removeprefix(f"# D{number} "),
        )
        for number, path in sorted(decisions().items())
    ]

    assert listed == there


def test_every_decision_says_when_what_and_why() -> None:
    """A date and a state, then the same headings on every page."""
    for path in decisions().values():
        text = path.read_text(encoding="utf-8")

        assert re.search(
            r"^- Date: 2\d{3}-\d\d(-\d\d)?$\n"
            r"^- Status: (accepted|in place|partly built|accepted, not yet built)\b",
            text,
            re.MULTILINE,
        ), path.name
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        wanted = ["Decision", "Reason", "Rejected", "Consequences"]
        assert [h for h in headings if h in wanted] == wanted, path.name
        assert set(headings) <= {*wanted, "Measured"}, path.name


def test_the_page_on_the_ledger_has_every_table_and_column() -> None:
    """In the order of the declaration, with the key in bold."""
    page = (DOCS / "ledger.md").read_text(encoding="utf-8")
    sections = re.split(r"^## `(\w+)`$", page, flags=re.MULTILINE)[1:]
    described = {
        table: re.findall(r"^\| (\*\*)?`(\w+)`", text, re.MULTILINE)
        for table, text in zip(sections[::2], sections[1::2], strict=True)
    }
    declared = {
        table.name: [("**" if c.primary_key else "", c.name) for c in table.columns]
        for table in metadata.sorted_tables
    }

    assert described == declared


def test_the_glossary_defines_every_word_once() -> None:
    """Each word is a heading, and leads to one meaning."""
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^### (.+)$", page, re.MULTILINE)

    assert len(words) > 60
    assert len(words) == len({word.lower() for word in words})
