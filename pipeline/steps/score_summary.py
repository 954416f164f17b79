"""What one run's scoring of one object came to, counted as it happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.configuration.market import Market
from pipeline.core.scoring.outputs import EXAMPLES_MAX, Validated
from resources.ledger.counts import RANK, SCORE, name_of

THE_ROW: Final = ""
"""In place of a market where a rule is about the row itself: its id and its hash."""

SCORE_BAND: Final = 10
"""How many scores one bar of the distribution holds."""


@dataclass
class ScoreSummary:
    """What one run claimed and scored of one object; counts are records.

    `resumed` are rows of segments that an earlier run had scored. Of the rows `set_aside`,
    `waits_for_markets` were not scored since their markets are held or rest. Of the due records
    that this run's own pull read, `pulled_claimed` were claimed and `pulled_waiting` wait.

    `broken` counts rows by market (`THE_ROW` for ids and hashes), output and rule; `examples` holds
    ids of some of them. `segments_refused` had too many broken rows to push any. `markets_failed`
    says why a market failed as a whole, `markets_failed_on_few_rows` of which of them a handful of
    rows tell it.
    """

    object: str
    claimed: int = 0
    resumed: int = 0
    pulled_claimed: int = 0
    pulled_waiting: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    set_aside: int = 0
    waits_for_markets: int = 0
    set_aside_by_code: Counter[str] = field(default_factory=Counter)
    gone: int = 0
    segments: list[str] = field(default_factory=list)
    broken: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    markets_failed: dict[str, str] = field(default_factory=dict)
    markets_failed_on_few_rows: set[str] = field(default_factory=set)
    markets: dict[str, str] = field(default_factory=dict)
    scores: dict[str, Counter[str]] = field(default_factory=dict)
    ranks: dict[str, Counter[str]] = field(default_factory=dict)
    segments_refused: int = 0

    def count_broken(self, market: str, output: str, rule: str, ids: Sequence[str]) -> None:
        """Count the rows `ids` whose `output` broke `rule`, and keep some of them as examples."""
        key = (market, output, rule)
        self.broken[key] += len(ids)
        examples = self.examples.setdefault(key, [])
        examples += ids[: EXAMPLES_MAX - len(examples)]

    def count_market(self, market: Market, ids: Sequence[str], result: Validated) -> None:
        """Count what came of the records `ids` at the market, or note why it failed as a whole."""
        if result.whole:
            self.markets_failed[market.name] = result.whole
        if result.is_on_few_rows:
            self.markets_failed_on_few_rows.add(market.name)

        for broken in result.broken:
            broken_ids = [ids[row] for row in broken.rows]
            self.count_broken(market.name, broken.output, broken.rule, broken_ids)
        self._count_distribution(market, result)

    def count_set_aside(self, codes: Iterable[str], *, for_markets: int = 0) -> None:
        """Count rows that were claimed and not scored, by the code that says why."""
        listed = list(codes)
        self.set_aside += len(listed)
        self.set_aside_by_code.update(listed)
        self.waits_for_markets += for_markets

    def _count_distribution(self, market: Market, result: Validated) -> None:
        """Count the market's valid scores, in bands of ten, and its ranks."""
        for name in result.outputs.column_names:
            kind = market.outputs[name].kind
            if kind not in ("score", "rank"):
                continue

            column = result.outputs.column(name).filter(result.valid)
            if kind == "score":
                column = pc.cast(_bands(column), pa.string())
            counts = self.scores if kind == "score" else self.ranks
            counts.setdefault(market.name, Counter()).update(
                {str(e["values"] or "none"): e["counts"] for e in column.value_counts().to_pylist()}
            )

    def distribution(self) -> Counter[str]:
        """Return the scores and ranks that came out, by the names under which a day counts them."""
        return Counter(
            {
                name_of(kind, market, value): records
                for kind, markets in ((SCORE, self.scores), (RANK, self.ranks))
                for market, counts in markets.items()
                for value, records in counts.items()
            }
        )


def _bands(scores: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the lowest score of each score's band; 100 belongs to the last one."""
    return pc.multiply(
        pc.min_element_wise(pc.divide(scores, SCORE_BAND), SCORE_BAND - 1), SCORE_BAND
    )
