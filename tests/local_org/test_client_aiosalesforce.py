"""aiosalesforce, a second client that this project did not write, against the org."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest
from aiosalesforce import ClientCredentialsFlow, Salesforce
from aiosalesforce.auth import SoapLogin
from aiosalesforce.exceptions import SalesforceError

from local_org import launch

pytestmark = pytest.mark.slow

T = TypeVar("T")
HOST = "https://acme.my.salesforce.com"


class ToHttp(httpx.AsyncHTTPTransport):
    """Takes the https requests of the client to a loopback http address."""

    def __init__(self, base: str) -> None:
        """Send everything to ``base``."""
        super().__init__()
        self._base = httpx.URL(base)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the loopback address, path and query unchanged."""
        request.url = request.url.copy_with(
            scheme="http", host=self._base.host, port=self._base.port
        )
        return await super().handle_async_request(request)


def run(org: launch.RunningOrg, work: Callable[[Any], Awaitable[T]], auth: Any = None) -> T:
    """Run a coroutine with a signed-in client."""

    async def main() -> T:
        async with httpx.AsyncClient(transport=ToHttp(org.base_url), timeout=30) as http:
            signed = auth or ClientCredentialsFlow(launch.CLIENT_ID, launch.CLIENT_SECRET)
            return await work(Salesforce(http, HOST, signed, version="62.0"))

    return asyncio.run(main())


def test_limits(org: launch.RunningOrg) -> None:
    assert run(org, lambda sf: sf.get_limits())["DailyApiRequests"]["Max"] == 15000


def test_soap_login(org: launch.RunningOrg) -> None:
    auth = SoapLogin(launch.USERNAME, launch.PASSWORD, launch.SECURITY_TOKEN)

    assert run(org, lambda sf: sf.get_limits(), auth)["DailyApiRequests"]


def test_queries_follow_their_pages(org: launch.RunningOrg) -> None:
    org.set_options(query_page_rows=200)
    ids = org.load("Lead", [{"LastName": "Aio", "Company": str(n)} for n in range(450)])

    async def work(sf: Any) -> list[str]:
        return [r["Id"] async for r in sf.query("SELECT Id FROM Lead WHERE LastName = 'Aio'")]

    assert sorted(run(org, work)) == sorted(ids)


def test_records(org: launch.RunningOrg) -> None:
    async def work(sf: Any) -> tuple[Any, Any, Any]:
        made = await sf.sobject.create("Lead", {"LastName": "Doe", "Company": "X"})
        await sf.sobject.update("Lead", made, {"Score__c": 5})
        read = await sf.sobject.get("Lead", made, fields=["LastName", "Score__c"])
        first = await sf.sobject.upsert(
            "Lead", "aio-1", external_id_field="ExtKey__c", data={"LastName": "U", "Company": "X"}
        )
        again = await sf.sobject.upsert(
            "Lead", "aio-1", external_id_field="ExtKey__c", data={"LastName": "V"}
        )
        return read, first, again

    read, first, again = run(org, work)

    assert (read["LastName"], read["Score__c"]) == ("Doe", 5.0)
    assert (first.created, again.created) == (True, False)
    assert first.id == again.id


def test_an_expired_session_is_renewed(org: launch.RunningOrg) -> None:
    async def work(sf: Any) -> Any:
        await sf.get_limits()
        await asyncio.to_thread(org.control, "DELETE", "sessions")
        return await sf.get_limits()

    assert run(org, work)["DailyApiRequests"]


def test_a_503_is_tried_again(org: launch.RunningOrg) -> None:
    fault = org.arm("http_503", path="/limits")

    assert run(org, lambda sf: sf.get_limits())["DailyApiRequests"]

    assert org.fault_count(fault) == 1


def test_a_refused_query_carries_code_and_message(org: launch.RunningOrg) -> None:
    async def work(sf: Any) -> list[Any]:
        return [record async for record in sf.query("SELECT Nope FROM Lead")]

    with pytest.raises(SalesforceError, match="INVALID_FIELD"):
        run(org, work)


def test_a_bulk_update_with_all_three_results(org: launch.RunningOrg) -> None:
    ids = org.load("Lead", [{"LastName": str(n), "Company": "X"} for n in range(3)])
    data = [{"Id": ids[0], "Rank__c": "A"}, {"Id": ids[1], "Rank__c": "AB"}]

    async def work(sf: Any) -> Any:
        # The public method polls every 5 s; its own lower level takes the interval.
        results = sf.bulk_v2.ingest.perform_operation("update", "Lead", data, polling_interval=0.05)
        return [result async for result in results]

    (result,) = run(org, work)

    assert result.job_info.state == "JobComplete"
    assert [row["Id"] for row in result.successful_results] == [ids[0]]
    assert result.failed_results[0]["sf__Error"].startswith("STRING_TOO_LONG:")
    assert result.unprocessed_records == []


def test_listing_and_aborting_jobs(org: launch.RunningOrg) -> None:
    async def work(sf: Any) -> tuple[str, str, list[str]]:
        job = await sf.bulk_v2.ingest.create_job("update", "Lead")
        aborted = await sf.bulk_v2.ingest.abort_job(job.id)
        listed = [one.id async for one in sf.bulk_v2.ingest.list_jobs()]
        return job.id, aborted.state, listed

    job_id, state, listed = run(org, work)

    assert state == "Aborted"
    assert job_id in listed


def test_composite_and_batch(org: launch.RunningOrg) -> None:
    lead = org.load("Lead", [{"LastName": "Comp", "Company": "X"}])[0]

    async def work(sf: Any) -> tuple[Any, Any]:
        async with sf.composite(all_or_none=False) as composite:
            one = composite.query(f"SELECT Id FROM Lead WHERE Id = '{lead}'")
        async with sf.composite.batch() as batch:
            two = batch.query(f"SELECT Id FROM Lead WHERE Id = '{lead}'")
        return one.records, two.records

    first, second = run(org, work)

    assert [record["Id"] for record in first] == [lead]
    assert [record["Id"] for record in second] == [lead]
