"""What outlives the process: records, schema, jobs with their results, sessions, call counts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from local_org import launch
from tests.local_org.support import Api, csv_text, rows

pytestmark = pytest.mark.slow


def test_all_of_the_org_is_there_after_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "org.sqlite3"
    with launch.start(data) as org:
        org.add_fields(Score__c={"type": "Number", "precision": 3, "scale": 0})
        ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(5)])
        api = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
        ingest = api.ingest(csv_text(["Id", "Score__c"], [[one, 5] for one in ids]))
        query = api.bulk_query("SELECT Id, Score__c FROM Lead")
        still_open = api.open_ingest()
        used, org_id, token = org.calls()["used_24h"], org.org_id, api.access_token

    with launch.start(data) as org:
        api = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
        api.session.headers["Authorization"] = f"Bearer {token}"

        assert org.org_id == org_id
        assert org.calls()["used_24h"] == used
        assert {row["Score__c"] for row in org.query("SELECT Score__c FROM Lead")} == {5.0}
        assert len(api.results(ingest, "successfulResults")) == 5
        results = rows(api.get(f"jobs/query/{query['id']}/results").content)
        assert sorted(row["Id"] for row in results) == sorted(ids)
        assert api.get(f"jobs/ingest/{still_open['id']}").json()["state"] == "Open"
        assert api.open_ingest()["id"] not in {ingest["id"], query["id"], still_open["id"]}


def test_a_killed_orgs_job_fails_with_its_rest_unprocessed(tmp_path: Path) -> None:
    data = tmp_path / "org.sqlite3"
    org = launch.spawn(data)
    try:
        org.add_fields(Score__c={"type": "Number", "precision": 3, "scale": 0})
        ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(500)])
        api = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
        org.arm("job_stuck", after_rows=200)
        job = api.open_ingest()
        api.upload(job, csv_text(["Id", "Score__c"], [[one, 5] for one in ids]))
        api.close(job)
        while api.get(f"jobs/ingest/{job['id']}").json()["numberRecordsProcessed"] < 200:
            pass
        time.sleep(1)  # the job is stuck now; what it did is on disk a moment after it is visible
    finally:
        assert org.process is not None
        org.process.kill()
        org.process.wait()

    with launch.start(data) as org:
        api = Api(org, launch.CLIENT_ID, launch.CLIENT_SECRET)
        ended = api.get(f"jobs/ingest/{job['id']}").json()
        done = {row["Id"] for row in api.results(job, "successfulResults")}
        left = {row["Id"] for row in api.results(job, "unprocessedrecords")}

        assert ended["state"] == "Failed"
        assert "restarted" in ended["errorMessage"]
        assert (done, left) == (set(ids[:200]), set(ids[200:]))


@pytest.mark.parametrize("option", ["nope=1", "gzip=maybe", "gzip"])
def test_a_wrong_option_ends_with_code_2_and_says_what_is_known(
    tmp_path: Path, option: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local_org", "--data", str(tmp_path / "o"), "--option", option],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert option.partition("=")[0] in done.stderr
    assert not (tmp_path / "o").exists()


def test_help_lists_every_option() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local_org", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "bulk_zero_rows" in done.stdout
    assert "session_seconds" in done.stdout
