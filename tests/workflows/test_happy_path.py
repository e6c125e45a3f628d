"""An order to which nothing unusual happens is shipped."""

from __future__ import annotations

from order_lifecycle.domain import OrderResult, OrderState
from order_lifecycle.workflows.order import OrderWorkflow
from order_lifecycle.workflows.progress import ORDER_STATE, ORDER_TOTAL
from tests.support.shop import HAPPY_PATH, Shop


async def test_an_approved_order_is_shipped(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        await order.signal(OrderWorkflow.approve_order)
        assert await order.result() == OrderResult(order_id="abc-001", state=OrderState.SHIPPED)
        known = (await order.describe()).typed_search_attributes
    assert known[ORDER_STATE] == "shipped"
    assert known[ORDER_TOTAL] == 5.0
    assert shop.events() == HAPPY_PATH
    assert shop.payments() == [("charged", "5.00")]
