"""How many records the next bulk jobs of an object have: fewer after rows were locked (R22, R23).

Other users and automations of the org write the same records. A large job holds the rows' parents
locked for longer, and meets more of what others hold. The jobs of one segment are waited for before
those of the next are made, so smaller jobs are slower ones, too.
"""

from __future__ import annotations

from typing import Final

LOCKED: Final = "UNABLE_TO_LOCK_ROW"
LOCKED_SHARE_MAX: Final = 0.05
"""Past this share of locked rows the next jobs are half as large."""

JOB_ROWS_MIN: Final = 200
"""Salesforce works a job off in batches of 200 rows: a smaller job locks no fewer at a time."""


def next_job_rows(bound: int | None, rows: int, locked: int, most: int) -> int | None:
    """Return how many rows the next jobs have at the most; None for `most`, the settings' bound.

    `bound` was in force for a job of `rows` rows, of which `locked` were locked by others. It grows
    back with each job that was full and met few locks.
    """
    if rows and locked / rows > LOCKED_SHARE_MAX:
        return max(JOB_ROWS_MIN, min(rows, bound or rows) // 2)

    if bound is None or rows < bound:
        return bound
    return None if 2 * bound >= most else 2 * bound
