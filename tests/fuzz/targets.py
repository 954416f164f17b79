"""All fuzz targets, by name."""

from __future__ import annotations

from tests.fuzz import answers, orgs, tables, texts
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (answers, texts, tables, orgs) for target in module.TARGETS
}
