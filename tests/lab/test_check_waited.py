"""The check of notebook 04's first exercise, with a right order and one order for each mistake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from order_lifecycle import lab
from order_lifecycle.lab.second_server import TimeSkipping
from order_lifecycle.lab.servers import LabServers
from tests.lab.starting import Start


@pytest.fixture
def skipping(lab_servers: LabServers) -> Iterator[TimeSkipping]:
    server = lab.time_skipping()
    workers = lab.start_workers(at=server)
    yield server
    for worker in workers:
        worker.stop()
    server.stop()


@pytest.fixture
async def client(skipping: TimeSkipping) -> Client:
    return await Client.connect(skipping.temporal_host, data_converter=pydantic_data_converter)


async def said(start: Start, skipping: TimeSkipping, order_id: str, days: float, end: str | None) -> str:
    order = await start(order_id)
    await lab.wait_for_state(order, "awaiting_review")
    await skipping.skip(days=days)
    if end:
        await order.execute_update(end)
    if end or days >= 3:
        await order.result()
    return str(lab.check_waited(await lab.timeline(order), days=2.5))


async def test_the_check_of_a_long_review_names_each_mistake(
    client: Client, start: Start, skipping: TimeSkipping
) -> None:
    assert "There is no timeline yet" in str(lab.check_waited(..., days=2.5))
    assert "It was approved after 2.6 days" in await said(start, skipping, "right", 2.6, "approve")
    assert "It waited for 2.0 days" in await said(start, skipping, "too-soon", 2, "approve")
    assert "It waited for a little less than 2.5 days" in await said(start, skipping, "nearly", 2.4999, "approve")
    assert "It was not approved" in await said(start, skipping, "cancelled", 2.6, "cancel")
    assert "Its deadline passed after 3.0 days" in await said(start, skipping, "expired", 3, None)
    assert "The order still waits" in await said(start, skipping, "waits", 1, None)
    child = await lab.timeline(client.get_workflow_handle("ship-right-1"))
    assert "not the timeline of an order that was reviewed" in str(lab.check_waited(child, days=2.5))
