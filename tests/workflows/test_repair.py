"""The audit names an order that its workflow left charged, and `repair` ends it correctly."""

from __future__ import annotations

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError
from temporalio.worker import Worker

from order_lifecycle.cli.repair import NotRepairedError, repair
from order_lifecycle.cli.report import fetch_report
from order_lifecycle.domain import Order, OrderResult, OrderState, Policy
from order_lifecycle.reconciliation import compare_with_temporal
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow
from tests.support.shop import Handle, Shop
from tests.support.waiting import until


@pytest.fixture
def shop(dev_shop: Shop) -> Shop:
    return dev_shop


async def violations(shop: Shop, order_id: str) -> list[str]:
    """Return the violations of invariant 7 by that order. The server also has orders of other tests."""
    found = await compare_with_temporal(shop.client, shop.store.order_states)
    return [violation.detail for violation in found if violation.order_id == order_id]


async def charged(shop: Shop, name: str) -> Handle:
    """Return an order that waits for a shipping worker."""
    order = await shop.start(name)
    await order.signal(OrderWorkflow.approve_order)
    await until(lambda: shop.status(order), lambda status: status.step == "shipping")
    return order


async def repaired(shop: Shop, name: str) -> OrderResult:
    end = await repair(shop.client, shop.store, name)
    assert end is not None
    shop.started = [shop.client.get_workflow_handle(f"order-{name}", result_type=OrderResult)]
    return end


async def test_a_terminated_order_is_named_and_repaired(shop: Shop, name: str) -> None:
    async with shop.working("order"):
        order = await charged(shop, name)
        await order.terminate("by hand")
        way_out = f"`order-lifecycle repair {name}` cancels and refunds it, or ships it if it must"
        assert await violations(shop, name) == [f"the row is charged, the workflow terminated: {way_out}"]
        assert f"trouble    its workflow is terminated: {way_out}" in (await fetch_report(shop.client, name)).as_text()
        end = await repaired(shop, name)
    assert (end.state, end.reason) == (OrderState.CANCELLED, "repaired: the row is charged, the workflow terminated")
    assert shop.payments(name) == [("refunded", "5.00")]
    assert shop.events(name)[-2:] == ["payment_refunded", "order_cancelled"]
    assert await violations(shop, name) == []


async def test_a_repair_does_not_replay_a_flood_of_signals(shop: Shop, name: str) -> None:
    async with shop.working("order"):
        order = await charged(shop, name)
    for _ in range(50):
        await order.signal(OrderWorkflow.dispatch_failed, "the van broke down")
    await order.terminate("by hand")
    async with shop.working("order"):
        await repaired(shop, name)
        assert (await shop.status(shop.started[0])).errors == ()


async def test_the_repair_ships_an_order_that_the_carrier_has(shop: Shop, name: str) -> None:
    async with shop.working("order", "shipping"):
        shop.outside.hold("ship_order")
        order = await shop.start(name)
        await order.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.outside.reached("ship_order"))
        await order.terminate("by hand")
        shop.outside.errors["ship_order"] = 1000  # of the attempt that hangs
        shop.outside.let_go()
        shop.outside.errors.clear()
        end = await repaired(shop, name)
    assert end.state is OrderState.SHIPPED
    assert shop.payments(name) == [("charged", "5.00")]
    assert await violations(shop, name) == []


@workflow.defn(name="OrderWorkflow", sandboxed=False)
class AnotherVersion:
    """Code with which a running order cannot continue."""

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        raise workflow.NondeterminismError("this code does not fit")


async def test_an_order_that_cannot_continue_is_named_and_repaired(shop: Shop, name: str) -> None:
    async with shop.working("order"):
        order = await charged(shop, name)
    await order.signal(OrderWorkflow.dispatch_failed, "so that it has a task")
    async with Worker(shop.client, task_queue=ORDER_QUEUE, workflows=[AnotherVersion]):
        (detail,) = await until(lambda: violations(shop, name), timeout=120)
    assert detail.startswith("the row is charged, and its workflow cannot go on: its task failed ")
    async with shop.working("order"):
        end = await repaired(shop, name)
    assert end.state is OrderState.CANCELLED
    assert shop.payments(name) == [("refunded", "5.00")]
    assert await violations(shop, name) == []


async def test_a_healthy_order_is_not_repaired(shop: Shop, name: str) -> None:
    async with shop.working("order"):
        order = await charged(shop, name)
        with pytest.raises(
            NotRepairedError, match=f"^nothing to repair: order {name} is charged, its workflow is running"
        ):
            await repair(shop.client, shop.store, name)
        await order.signal(OrderWorkflow.cancel_order, "changed my mind")
        assert (await order.result()).state is OrderState.CANCELLED
    with pytest.raises(NotRepairedError, match=f"^nothing to repair: order {name} is cancelled"):
        await repair(shop.client, shop.store, name)


async def test_an_unknown_order_is_not_repaired(shop: Shop, name: str) -> None:
    with pytest.raises(NotRepairedError, match=f"^there is no order {name}:"):
        await repair(shop.client, shop.store, name)


async def test_without_a_history_the_repair_says_what_to_do(shop: Shop, name: str) -> None:
    order = await shop.start(name)
    async with shop.working("order"):
        await shop.until_event(name, "review_requested")
    await order.terminate("by hand")
    await shop.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=shop.client.namespace, workflow_execution=WorkflowExecution(workflow_id=order.id)
        )
    )
    shop.started.clear()
    await until(lambda: is_gone(order))
    with pytest.raises(NotRepairedError, match="cannot be reset, because Temporal has no history of it"):
        await repair(shop.client, shop.store, name)


async def is_gone(order: Handle) -> bool:
    try:
        await order.describe()
    except RPCError:
        return True
    return False
