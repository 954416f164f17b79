"""Puts the records of past partitions on the waiting list again (R28, D5)."""

from __future__ import annotations

from datetime import date, datetime

from pipeline.core.scoring.due import Reason
from pipeline.steps.clients import Clients
from resources.ledger.waiting import ScoringRequest


def redo(clients: Clients, request: str, object_name: str, day: date, asked_at: datetime) -> int:
    """Ask for the records scored in the partition to be scored again; return how many they are.

    Recorded once for each `request` (a backfill or root run), so that a retry does no harm. Records
    scored since `asked_at` are passed over.
    """
    now = clients.now()
    ids = clients.ledger.scorings.scored_on(object_name, day, before=asked_at)
    requests = [ScoringRequest(record_id, Reason.REDO.value, now) for record_id in ids]

    return clients.ledger.record_redo(request, object_name, day, requests, now)
