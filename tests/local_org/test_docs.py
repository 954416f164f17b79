"""The documentation of the local org says what is there."""

from __future__ import annotations

import re
from pathlib import Path

from local_org.control import known_requests
from local_org.faults import KINDS
from local_org.options import Options

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "local-org.md").read_text(encoding="utf-8")
README = (ROOT / "local_org" / "README.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)::(test_\w+)`", PAGE))
    there = {
        (path.stem, name)
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert len(named) > 100
    assert sorted(named - there) == []


def test_every_option_that_the_page_names_exists() -> None:
    options = set(Options().as_dict())
    named = set()
    for group in re.findall(r"options? ((?:`\w+`(?:, | and )?)+)", PAGE):
        named |= set(re.findall(r"`(\w+)`", group))

    assert len(named) > 20
    assert sorted(named - options) == []


def test_the_readme_lists_every_fault_and_every_control_request() -> None:
    assert [kind for kind in sorted(KINDS) if f"| `{kind}` |" not in README] == []
    missing = []
    for method, name in known_requests():
        rows = [row for row in README.splitlines() if f"/_control/{name}" in row or not name]
        if not any(f"`{method}" in row for row in rows):
            missing.append(f"{method} /_control/{name}")
    assert missing == []
