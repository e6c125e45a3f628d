"""Two things that a workflow learns of in the same moment, on the real server: the one that skips time loses what is
asked of an activity that has just ended. Both halves of the order worker are workers of their own here: while the
workflows' half is away, things happen, and when it is back it learns of all of them at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from shop import Shop, open_shop, until
from temporalio.testing import WorkflowEnvironment

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.domain import OrderState
from order_lifecycle.settings import Settings
from order_lifecycle.workflows.order import OrderWorkflow


@pytest.fixture
async def shop(settings: Settings, database_url: str, cache: dict[str, int]) -> AsyncIterator[Shop]:
    env = WorkflowEnvironment.from_client(await connect_to_temporal(settings))
    async with open_shop(env, database_url, cache) as shop:
        yield shop


@pytest.fixture
def name() -> str:
    """That no other order of this server has."""
    return uuid.uuid4().hex[:8]


@pytest.mark.parametrize("step", ["receive_order", "validate_order", "charge_payment"])
async def test_a_cancel_and_the_end_of_a_step(shop: Shop, name: str, step: str) -> None:
    async with shop.working("order activities", "shipping"):
        async with shop.working("order workflows"):
            shop.outside.hold(step)
            order = await shop.start(name)
            await order.signal(OrderWorkflow.approve_order)
            await until(lambda: shop.outside.reached(step))
        await order.signal(OrderWorkflow.cancel_order, "changed my mind")
        shop.outside.let_go()
        await until(lambda: completed(shop, step))
        async with shop.working("order workflows"):
            assert (await order.result()).state is OrderState.CANCELLED
    assert shop.payments(name) == ([("refunded", "5.00")] if step == "charge_payment" else [])


async def completed(shop: Shop, step: str) -> bool:
    """Whether the server knows that this step is done."""
    pending = (await shop.started[-1].describe()).raw_description.pending_activities
    return step not in [activity.activity_type.name for activity in pending]


async def test_a_cancel_and_an_approval(shop: Shop, name: str) -> None:
    async with shop.working("order activities", "shipping"):
        async with shop.working("order workflows"):
            order = await shop.start(name)
            await shop.until_event(name, "review_requested")
            await until(lambda: shop.status(order), lambda status: status.waiting_for == "approve_order")
        await order.signal(OrderWorkflow.approve_order)
        await order.signal(OrderWorkflow.cancel_order, "changed my mind")
        async with shop.working("order workflows"):
            assert (await order.result()).state is OrderState.CANCELLED
    assert shop.payments(name) == []


async def test_a_cancel_and_the_end_of_shipping(shop: Shop, name: str) -> None:
    async with shop.working("order activities", "shipping"):
        async with shop.working("order workflows"):
            shop.outside.hold("dispatch_carrier")
            order = await shop.start(name)
            await order.signal(OrderWorkflow.approve_order)
            await until(lambda: shop.outside.reached("dispatch_carrier"))
        await order.signal(OrderWorkflow.cancel_order, "changed my mind")
        shop.outside.let_go()
        assert await shop.client.get_workflow_handle(f"ship-{name}-1").result() is True
        async with shop.working("order workflows"):
            assert (await order.result()).state is OrderState.SHIPPED
    assert shop.told("late_signal", name) == [{"reason": "cancelled: changed my mind"}]


async def test_a_cancel_at_any_moment_of_an_approval(shop: Shop, name: str) -> None:
    """While approve_order runs, as it ends, and as the charge begins and ends: 0 to 30 ms later."""
    async with shop.working("order", "shipping"):
        for ms in range(0, 31, 2):
            order = await shop.start_until("review", f"{name}-{ms}")
            await order.signal(OrderWorkflow.approve_order)
            await asyncio.sleep(ms / 1000)
            await order.signal(OrderWorkflow.cancel_order, "changed my mind")
            result = await order.result()
            late = shop.told("late_signal", f"{name}-{ms}")
            assert (result.state, len(late)) in [(OrderState.CANCELLED, 0), (OrderState.SHIPPED, 1)]
