"""What a run of the command line says of itself: figures, notes, errors, exit codes (R23, R26)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.commands.runs import _print_run
from pipeline.runs import run_now
from pipeline.steps.budget import LEASE_LASTS
from resources.environment import ledger_url
from resources.ledger.ledger import Ledger
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}
SCORES_AS_TEXT = ("pa.array(scores, pa.int64())", "pa.array([str(score) for score in scores])")


def pulled(plant: Plant) -> dict[str, Any]:
    """Run the pull of Lead as the command does, and return what `--json` shows of it."""
    plant.wait(seconds=5)
    (result,) = run_now("pull", ["Lead"], definitions=plant.definitions, instance=plant.instance)
    return result


def _pulled_beside_another_run(plant: Plant) -> dict[str, Any]:
    ledger = Ledger(ledger_url(plant.folder / "home"))
    assert ledger.leases.acquire("Lead", "another", now=plant.now, lasts=LEASE_LASTS)
    return pulled(plant)


def test_a_market_that_failed_as_a_whole_is_said_in_the_run_that_it_failed_in(
    shared_plant: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """R23: with the reason, on stderr, and the command does not end with 0; nothing counts as scored."""
    built = shared_plant(integration("Lead"))
    model = built.market("fit") / "model.py"
    model.write_text(model.read_text().replace(*SCORES_AS_TEXT))
    built.turn_on()
    built.create("Lead", ACME, ACME)

    result = pulled(built)
    _print_run(result)

    assert result["exit_code"] == 1
    assert "Market fit failed as a whole: score: " in result["error"]
    figures = result["figures"]
    assert (figures["claimed"], figures["scored"], figures["failed"]) == (2, 0, 2)
    assert "Market fit failed as a whole" in capsys.readouterr().err


def test_a_good_run_has_no_note_and_one_that_found_the_object_taken_says_so(
    shared_plant: Build,
) -> None:
    """R26: a program that reads `--json` can tell the two apart."""
    built = shared_plant(integration("Lead"))
    built.turn_on()
    built.create("Lead", ACME)

    good = pulled(built)
    taken = _pulled_beside_another_run(built)

    assert (good["note"], good["error"], good["exit_code"]) == (None, None, 0)
    assert good["figures"]["pushed"] == 1
    assert (taken["note"], taken["error"], taken["exit_code"]) == (
        "another run works on it",
        None,
        0,
    )
    assert taken["figures"] == {}
