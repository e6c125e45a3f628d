"""A cancelled order does not wait for the attempt that runs. It ends, whatever that attempt does."""

from __future__ import annotations

from order_lifecycle.domain import OrderState
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.shop import Shop
from tests.support.waiting import until


async def test_an_attempt_that_fails_after_a_cancel_does_not_block_the_order(shop: Shop) -> None:
    """With ActivityCancellationType.ABANDON this order would hang: the SDK no longer expects the failure."""
    async with shop.working("order", "shipping"):
        shop.outside.hold("charge_payment")
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.outside.reached("charge_payment"))
        shop.outside.hold("close_order")
        await order.signal(OrderWorkflow.cancel_order, "never mind")
        await until(lambda: shop.outside.reached("close_order"))
        shop.outside.refusals["charge_payment"] = 1
        shop.outside.let_go("charge_payment")

        async def failed() -> bool:
            history = await order.fetch_history()
            return any(event.HasField("activity_task_failed_event_attributes") for event in history.events)

        await until(failed)
        shop.outside.let_go("close_order")
        assert (await order.result()).state is OrderState.CANCELLED
