"""`insights pause` and `insights resume` as commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.core.errors import ConfigurationError


def test_unknown_integration_is_refused_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No org is asked for it, and no variable of the connection is needed."""
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path))
    monkeypatch.delenv("SALESFORCE_LOGIN_URL", raising=False)

    result = CliRunner().invoke(cli, ["pause", "Lead.enterprise_fitt"])

    assert isinstance(result.exception, ConfigurationError)
    assert "did you mean 'Lead.enterprise_fit'?" in str(result.exception)


def test_integration_that_was_never_checked_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state would be lost otherwise."""
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path))

    result = CliRunner().invoke(cli, ["resume", "Lead.enterprise_fit"])

    assert "run `insights check` first" in str(result.exception)
