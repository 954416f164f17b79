"""Makes ``companies.csv`` out of pytickersymbols (the ``local`` extra): run it to refresh the data.

Kept apart from ``train.py``: the package is updated every few weeks, the training data only on
purpose.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

from demo.companies import Company, listed

OUT = Path(__file__).resolve().parent / "companies.csv"
SEED = 20261101
# Home market of the indices -> (the top one, the ones below it). The label is which of the two.
INDICES = {
    "US": ({"S&P 500"}, {"S&P 600"}),
    "DE": ({"DAX"}, {"MDAX", "SDAX"}),
    "FR": ({"CAC_40"}, {"CAC Mid 60"}),
}


def label(company: Company) -> tuple[str, bool] | None:
    """(Home market, in its top index?), or None where the company is in neither or in both."""
    for market, (top, below) in INDICES.items():
        in_top, in_below = bool(company.indices & top), bool(company.indices & below)
        if in_top != in_below:
            return market, in_top
    return None


def main() -> None:
    """Writes one row per company with a known head count and a label.

    Companies without a head count are left out: small ones lack it more often, so that a model
    would learn how well the source is kept instead of anything about companies. For the same reason
    one industry is drawn of the several that the source has: how many there are tells the index.
    """
    chance = random.Random(SEED)  # noqa: S311 (a sample, not a secret)
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "website", "industry", "employees", "country", "large_cap"])
        for company in listed():
            labelled = label(company)
            if labelled is None or not company.employees or not company.industries:
                continue
            market, in_top = labelled
            industry = chance.choice(company.industries)
            writer.writerow(
                [company.name, company.website, industry, company.employees, market, int(in_top)]
            )


if __name__ == "__main__":
    main()
