"""Two workers of each kind share the work, and every order is shipped."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.enums.v1 import EventType

from order_lifecycle.faults import Faults
from order_lifecycle.workers.start import wait_until_ready
from order_lifecycle.workflows.order import OrderWorkflow
from tests.chaos.world import World


@pytest.mark.proof
@pytest.mark.parametrize("orders_at_once", [40])
@pytest.mark.timeout(300)
async def test_two_workers_of_each_kind_share_the_orders(orders_at_once: int, world: World) -> None:
    faults = Faults(fail=1 / 3, hang=1 / 3)
    workers = {kind: [world.worker(kind, faults) for _ in range(2)] for kind in ("order", "shipping")}
    for worker in (*workers["order"], *workers["shipping"]):  # none comes when the work is done
        # Against hanging only: on a machine half as quick as usual, not all four had started after 20 s once.
        await asyncio.to_thread(wait_until_ready, worker, timeout=60)
    orders = await asyncio.gather(
        *(world.start(f"shared-{orders_at_once}-{number:02}") for number in range(orders_at_once))
    )
    await asyncio.gather(*(order.signal(OrderWorkflow.approve_order) for order in orders))
    async with asyncio.timeout(150):
        results = await asyncio.gather(*(order.result() for order in orders))
    assert [result.state for result in results] == ["shipped"] * orders_at_once
    for kind, workflow_id in (("order", "order-shared-{}-{:02}"), ("shipping", "ship-shared-{}-{:02}-1")):
        who = await asyncio.gather(
            *(who_worked(world, workflow_id.format(orders_at_once, number)) for number in range(orders_at_once))
        )
        assert set().union(*who) == {worker.pid for worker in workers[kind]}
        if kind == "order":  # many an order was in the hands of both
            assert sum(len(one) == 2 for one in who) > orders_at_once / 4


async def who_worked(world: World, workflow_id: str) -> set[int]:
    """Return the process IDs of the workers that ran an activity of that workflow."""
    history = await world.client.get_workflow_handle(workflow_id).fetch_history()
    return {
        int(event.activity_task_started_event_attributes.identity.partition("@")[0])
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
    }
