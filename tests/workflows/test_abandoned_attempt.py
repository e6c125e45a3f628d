"""A cancelled order leaves the attempt that is under way to itself. Whatever that attempt then does, the order ends."""

from __future__ import annotations

from order_lifecycle.domain import OrderState
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.shop import Shop
from tests.support.waiting import until


async def test_an_attempt_fails_after_the_cancel(shop: Shop) -> None:
    """With ActivityCancellationType.ABANDON this order hangs: the SDK does not expect the failure any more."""
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
