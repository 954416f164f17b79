"""Records that sharing hides from the user are not taken for deleted ones (R23, R25)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.steps.asking.visibility import may_be_hidden
from tests.plant import Plant, integration

Build = Callable[..., Plant]
ACME = {"LastName": "Ito", "Company": "Acme", "Title": "CEO"}


@pytest.fixture
def leads(shared_plant: Build) -> Plant:
    """A plant that scores two leads a day, turned on."""
    built = shared_plant(integration("Lead"), daily_record_limit=2)
    built.turn_on()
    return built


def test_hidden_record_waits_and_is_scored_once_it_is_shown(leads: Plant) -> None:
    """R23: it is asked for again after a day; a deleted one that was claimed with it is left alone."""
    *_, hidden, deleted = leads.create("Lead", ACME, ACME, ACME, ACME)
    leads.pull("Lead")
    leads.org.control("POST", "hidden", {"ids": [hidden]})
    leads.delete("Lead", deleted)
    leads.wait(days=1)
    leads.run("score_and_push", "Lead", resumed=None)

    assert leads.waiting("Lead") == 1
    (failure,) = leads.failures()
    assert (failure.record_id, failure.error_code) == (hidden, "NOT_VISIBLE")

    leads.org.control("POST", "hidden", {"ids": [hidden], "on": False})
    leads.wait(days=1)
    leads.run("score_and_push", "Lead", resumed=None)
    assert leads.waiting("Lead") == 0
    assert leads.scored_at("Lead", hidden)


def test_record_that_stays_hidden_is_a_permanent_failure_after_three_more_days(
    leads: Plant,
) -> None:
    """R23: a person is told; the record stays on the list."""
    *_, hidden = leads.create("Lead", ACME, ACME, ACME)
    leads.pull("Lead")
    leads.org.control("POST", "hidden", {"ids": [hidden]})

    seen = []
    for _ in range(4):
        leads.wait(hours=25)
        leads.run("score_and_push", "Lead", resumed=None)
        seen += [(failure.tries, failure.lasting) for failure in leads.failures()]

    assert seen == [(1, False), (2, False), (3, False), (4, True)]
    assert leads.waiting("Lead") == 1


def test_check_says_on_which_objects_the_user_lacks_view_all(leads: Plant) -> None:
    """What sharing hides nobody would miss."""
    rights = {"object": "ObjectPermissions", "operation": "update"}
    of_lead = leads.org.control(
        "POST", "query", {"soql": "SELECT Id FROM ObjectPermissions WHERE SobjectType = 'Lead'"}
    )["records"]

    def give(view_all: bool) -> None:
        rows = [{"Id": one["Id"], "PermissionsViewAllRecords": view_all} for one in of_lead]
        leads.org.control("POST", "save", rights | {"records": rows})

    before = leads.with_clients(lambda clients: may_be_hidden(clients, ["Lead"]))
    give(view_all=False)
    try:
        after = leads.with_clients(lambda clients: may_be_hidden(clients, ["Contact", "Lead"]))
    finally:
        give(view_all=True)

    assert before == []
    assert [text.split(":")[0] for text in after] == ["Lead"]
