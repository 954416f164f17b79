from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest

from pipeline.core import errors
from pipeline.core.errors import (
    BudgetExhausted,
    CannotProceedNow,
    ConfigurationError,
    FolderNotWritable,
    InsightsError,
    LeaseLost,
    NotReady,
    WrongOrg,
)

ALL = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)
]


def test_all_errors_hang_below_one_root() -> None:
    """A caller may catch everything of ours, and nothing else, in one word."""
    assert len(ALL) == 11
    assert all(issubclass(kind, InsightsError) for kind in ALL)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ConfigurationError, 2),
        (NotReady, 1),
        (WrongOrg, 1),
        (LeaseLost, 1),
        (CannotProceedNow, 3),
        (BudgetExhausted, 3),
        (FolderNotWritable, 3),
    ],
)
def test_each_branch_has_the_exit_code_that_the_command_line_promises(
    kind: type[InsightsError], code: int
) -> None:
    """0 done, 1 failed, 2 wrong configuration, 3 not now."""
    assert kind.exit_code == code


def test_a_configuration_error_keeps_each_problem_and_shows_all() -> None:
    """R2: one line a problem."""
    error = ConfigurationError(["a.yaml: one.", "b.yaml: two."])

    assert error.problems == ("a.yaml: one.", "b.yaml: two.")
    assert str(error) == "a.yaml: one.\nb.yaml: two."


def test_an_exhausted_budget_says_when_it_goes_on() -> None:
    """R21."""
    at = datetime(2026, 3, 2, tzinfo=UTC)

    assert BudgetExhausted("used up", resumes_at=at).resumes_at == at
    assert CannotProceedNow("not now").resumes_at is None
