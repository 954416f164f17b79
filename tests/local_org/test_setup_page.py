"""Setup's page of bulk jobs, as an admin reads it in the browser (API notes, 3.6)."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
import requests

from local_org import launch
from tests.local_org.support import Api, csv_text

pytestmark = pytest.mark.slow

HOME = "/lightning/setup/AsyncApiJobStatus/home"


class Page(HTMLParser):
    """The rows of a page's tables, its links, and any tag that data smuggled in."""

    def __init__(self, text: str) -> None:
        """Read the page."""
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a row or a cell, or note a link."""
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True
        if tag == "a":
            self.links.append(dict(attrs)["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        """Add text to the open cell."""
        if self._open:
            self.rows[-1][-1] += data


def read(org: launch.RunningOrg, path: str) -> Page:
    """Read a page as a browser does: without a token."""
    answer = requests.get(org.base_url + path, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    return Page(answer.text)


def test_the_home_page_lists_running_and_completed_jobs(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    done = api.ingest(csv_text(["Id", "Rank__c"], [[lead_ids[0], "A"], [lead_ids[1], "AB"]]))
    still_open = api.open_ingest()

    rows = {row[0]: row for row in read(org, HOME).rows}

    assert rows[still_open["id"]][3] == "Open"
    row = dict(zip(rows["Job ID"], rows[done["id"]], strict=True))
    assert (row["Object"], row["Operation"], row["Status"]) == ("Lead", "Update", "Completed")
    assert (row["Records Processed"], row["Records Failed"]) == ("2", "1")
    assert row["Submitted By"] == launch.USERNAME
    assert row["Job Type"] == "Bulk V2 Ingest"


def test_a_jobs_own_page_leads_to_the_message_of_each_failed_row(
    org: launch.RunningOrg, api: Api, lead_ids: list[str]
) -> None:
    job = api.ingest(csv_text(["Id", "Rank__c"], [[lead_ids[0], "AB"]]))
    home = read(org, HOME)
    (link,) = [href for href in home.links if href.endswith(job["id"])]

    page = read(org, link)
    (failed_link,) = [href for href in page.links if href.endswith("/failed")]
    failed = read(org, failed_link)

    assert ["Status", "Completed"] in page.rows
    assert failed.rows[0] == ["sf__Id", "sf__Error", "Id", "Rank__c"]
    assert failed.rows[1][1].startswith("STRING_TOO_LONG:")


def test_lightnings_own_form_of_link_opens_the_job(org: launch.RunningOrg, api: Api) -> None:
    job = api.bulk_query("SELECT Id FROM Lead LIMIT 1")

    page = read(org, f"/lightning/setup/AsyncApiJobStatus/page?address=%2F{job['id']}")

    assert ["Query", "SELECT Id FROM Lead LIMIT 1"] in page.rows
    assert ["Operation", "Query"] in page.rows


def test_a_failed_jobs_page_says_why(org: launch.RunningOrg, api: Api, lead_ids: list[str]) -> None:
    job = api.ingest(csv_text(["Id", "Nope__c"], [[lead_ids[0], 1]]))

    page = read(org, f"/lightning/setup/AsyncApiJobStatus/{job['id']}")

    assert ["Error Message", "InvalidBatch : Field name not found : Nope__c"] in page.rows


def test_markup_in_data_stays_text(org: launch.RunningOrg, api: Api, lead_ids: list[str]) -> None:
    text = "<script>alert(1)</script>"
    job = api.ingest(csv_text(["Id", "Description"], [[lead_ids[0], text]]))

    page = read(org, f"/lightning/setup/AsyncApiJobStatus/{job['id']}/results/successful")

    assert text in page.rows[1]
    assert "script" not in page.tags


def test_a_job_that_is_not_there_is_a_404(org: launch.RunningOrg) -> None:
    answer = requests.get(
        f"{org.base_url}/lightning/setup/AsyncApiJobStatus/7505e000zzzzzzzAAA", timeout=30
    )

    assert answer.status_code == 404
