"""Puts the records of past partitions on the waiting list again (R28, D5)."""

from __future__ import annotations

from datetime import date, datetime

from pipeline.core.due import Reason
from pipeline.steps.work import Work
from resources.ledger.waiting import Wish


def redo(work: Work, request: str, name: str, day: date, asked_at: datetime) -> int:
    """Ask for the records scored in the partition again and return how many that are.

    Recorded once for each `request` (a backfill or root run), so that a retry repeats it harmlessly; records
    scored since it was asked for are passed over.
    """
    now = work.now()
    ids = work.ledger.claims.scored_on(name, day, before=asked_at)
    wishes = [Wish(record_id, Reason.REDO.value, now) for record_id in ids]
    return work.ledger.record_redo(request, name, day, wishes, now)
