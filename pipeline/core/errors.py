"""The tree of errors that a person may meet. Nobody catches `Exception`; callers catch a branch.

    InsightsError
    ├── ConfigurationError      what is written down is wrong: exit code 2
    ├── NotReady                what is written down is right, the org is not: exit code 1
    ├── WrongOrg                another org answered than the one the state belongs to (R1)
    ├── LeaseLost               another run has taken over the object
    ├── WorkingFileMissing      what was scored is not in this machine's lake
    ├── ModelFailed             a market's model gave nothing for these rows: one of them may be why
    ├── MarketUnavailable       a market cannot be asked at all: stops that market alone
    └── CannotProceedNow        nothing is wrong, but not now (limit, budget, org away): exit code 3
        ├── BudgetExhausted     the daily API budget (R21)
        └── FolderNotWritable   a disk is full, read-only or forbidden

The branch for Salesforce's own answers hangs below this root in `resources.salesforce.errors`.
Messages say what is wrong, where, and what to do; they never hold secrets or record values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path


class InsightsError(Exception):
    """Root of all errors that the product raises on purpose."""

    exit_code = 1


class ConfigurationError(InsightsError):
    """One or more problems in settings, markets or integrations: all of them, not the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep each of `problems` (one line a problem) and join them for display."""
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class NotReady(InsightsError):
    """The org lacks something that an integration needs (R9, R10)."""


class WrongOrg(InsightsError):
    """The connected org is not the one that the ledger's state belongs to (R1)."""


class LeaseLost(InsightsError):
    """Another run took the object's lease: this run must stop without another effect."""


class WorkingFileMissing(InsightsError):
    """What an earlier step scored is not in the lake: it was lost, or lies on another machine."""


class ModelFailed(InsightsError):
    """A market's model gave nothing usable for the rows of one call: one of them may be why (R23).

    It raised, took too long (`is_slow`), ended its process, or gave no table, a broken one, or one
    with another number of rows. The message names no value.
    """

    def __init__(self, message: str, *, is_slow: bool = False) -> None:
        """Say in `message` what it did, and where in its file."""
        super().__init__(message)
        self.is_slow = is_slow


class MarketUnavailable(InsightsError):
    """A market cannot be asked, whatever the rows: its process or its file does not work (R23).

    The search for rows that a model fails on is not for it.
    """


class CannotProceedNow(InsightsError):
    """Nothing is wrong, but nothing can be done now.

    `resumes_at` is when it is worth trying again (aware UTC), None where unknown.
    """

    exit_code = 3

    def __init__(self, message: str, *, resumes_at: datetime | None = None) -> None:
        """Say why in `message`."""
        super().__init__(message)
        self.resumes_at = resumes_at


class BudgetExhausted(CannotProceedNow):
    """The daily API calls limit is used up or too near to begin another pull (R21)."""


class FolderNotWritable(CannotProceedNow):
    """A folder takes no files now: its disk is full or read-only, or forbidden to this user."""

    def __init__(self, what: str, folder: Path, why: str) -> None:
        """Name the folder: `what` it is, where, and `why` it takes nothing."""
        super().__init__(
            f"{what} {folder} cannot be written ({why}). What was done so far is kept; the next run goes on from "
            "there. Make room on that disk, or let this user write there."
        )
