"""A workflow learns of two events at once.

The order worker is split here: workflows and activities have a worker each. While the workflows' worker is away, events
happen, and then it learns of them all at once. This needs the real server: the time-skipping one loses a request to
cancel an activity that has just ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.update.v1 import UpdateRef, WaitPolicy
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest, ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.domain import Address, OrderResult, OrderState
from order_lifecycle.settings import Settings
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.repeats import everyday
from tests.support.shop import Handle, Shop, open_shop_on_dev_server
from tests.support.waiting import until

DONE = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
TIMER_FIRED = EventType.EVENT_TYPE_TIMER_FIRED
STEPS = everyday("charge_payment", of=["receive_order", "validate_order", "charge_payment"])
HILL, ELSEWHERE = (Address(address="5 Lake Dr.", city=city, state="AL", zipcode="43561") for city in ("Hill", "Temp"))


@pytest.fixture
async def shop(settings: Settings, database_url: str, cache: int) -> AsyncIterator[Shop]:
    async with open_shop_on_dev_server(settings, database_url, cache) as shop:
        yield shop


@pytest.mark.parametrize("step", STEPS)
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
    """Return True if the server knows that this step is done."""
    pending = (await shop.started[-1].describe()).raw_description.pending_activities
    return step not in [activity.activity_type.name for activity in pending]


async def test_of_a_cancel_and_an_approval_at_once_the_cancel_wins(shop: Shop, name: str) -> None:
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


@pytest.mark.parametrize("by", ["signal", "Update"])
async def test_a_recorded_approval_beats_a_deadline_that_has_passed(shop: Shop, name: str, by: str) -> None:
    """No worker ran when the deadline passed, and the approval came later. The next worker finds both."""
    policy = shop.policy.model_copy(update={"review_timeout": timedelta(seconds=1)})
    async with shop.working("order activities", "shipping"):
        async with shop.working("order workflows"):
            order = await shop.start(name, policy=policy)
            await until(lambda: shop.status(order), lambda status: status.waiting_for == "approve_order")
        await until(
            lambda: order.fetch_history(), lambda history: TIMER_FIRED in [e.event_type for e in history.events]
        )
        if by == "signal":
            await order.signal(OrderWorkflow.approve_order)
            async with shop.working("order workflows"):
                assert (await order.result()).state is OrderState.SHIPPED
        else:
            approval = asyncio.create_task(order.execute_update(OrderWorkflow.approve, id=name))
            await until(lambda: admitted(shop, order, name))
            async with shop.working("order workflows"):
                assert (await approval).message == "approved"
                assert (await order.result()).state is OrderState.SHIPPED
    assert shop.events(name).count("order_cancelled") == 0


async def admitted(shop: Shop, order: Handle, update_id: str) -> bool:
    """Return True if the server has that Update and waits for a worker to answer it."""
    update = UpdateRef(workflow_execution=WorkflowExecution(workflow_id=order.id), update_id=update_id)
    stage = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
    ask = PollWorkflowExecutionUpdateRequest(
        namespace=shop.client.namespace,
        update_ref=update,
        wait_policy=WaitPolicy(lifecycle_stage=stage),
    )
    try:
        await shop.client.workflow_service.poll_workflow_execution_update(ask, timeout=timedelta(seconds=1))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def test_a_cancel_at_the_end_of_shipping_is_too_late(shop: Shop, name: str) -> None:
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


async def test_a_child_cancelled_from_outside_counts_as_a_failed_try(shop: Shop, name: str) -> None:
    async with shop.working("order", "shipping"):
        shop.outside.hold("prepare_package")
        order = await shop.start(name)
        await order.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.outside.reached("prepare_package"))
        await shop.client.get_workflow_handle(f"ship-{name}-1").cancel()
        await shop.until_event(name, "dispatch_failed")
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    assert shop.payments(name) == [("charged", "5.00")]


@pytest.mark.parametrize("end", ["shipped", "cancelled"])
async def test_an_order_continues_after_a_reset(shop: Shop, name: str, end: str) -> None:
    """A reset gives the workflow another run ID. For the database it is the same order.

    It ships, and its charge can be refunded. New events get keys of the new run, so a change of address is not mistaken
    for one of the first run.
    """
    async with shop.working("order"):
        before = await shop.start(name)
        await before.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.status(before), lambda status: status.step == "shipping")
        await before.execute_update(OrderWorkflow.change_address, HILL)
        first_task = next(event.event_id for event in (await before.fetch_history()).events if event.event_type == DONE)
        await shop.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=shop.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=before.id),
                workflow_task_finish_event_id=first_task,
                request_id=name,
                reason="its first worker had a bug",
                reset_reapply_exclude_types=[ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE],
            )
        )
        order: Handle = shop.client.get_workflow_handle(before.id, result_type=OrderResult)
        assert (await order.describe()).run_id != before.first_execution_run_id
        await until(lambda: shop.status(order), lambda status: status.step == "shipping")
        await order.execute_update(OrderWorkflow.change_address, ELSEWHERE)  # its first, as the one before was
        assert shop.row(name)["address_json"]["city"] == "Temp"
        assert shop.told("address_changed", name) == [HILL.model_dump(), ELSEWHERE.model_dump()]
        if end == "cancelled":
            await order.signal(OrderWorkflow.cancel_order, "changed my mind")
            assert (await order.result()).state is OrderState.CANCELLED
        async with shop.working("shipping"):
            if end == "shipped":
                assert (await order.result()).state is OrderState.SHIPPED
            with suppress(WorkflowFailureError):  # the first run's shipping outlived it, and does no harm
                await shop.client.get_workflow_handle(f"ship-{name}-1").result()
    assert (shop.row(name)["state"], shop.row(name)["address_json"]["city"]) == (end, "Temp")
    assert shop.payments(name) == [("refunded" if end == "cancelled" else "charged", "5.00")]


@pytest.mark.proof
async def test_a_cancel_at_any_moment_of_an_approval_is_done_or_recorded_as_late(shop: Shop, name: str) -> None:
    """The cancel comes 0 to 30 ms later: while approve_order runs, as it ends, and as the charge begins and ends."""
    async with shop.working("order", "shipping"):
        for ms in range(0, 31, 2):
            order = await shop.start_until("review", f"{name}-{ms}")
            await order.signal(OrderWorkflow.approve_order)
            await asyncio.sleep(ms / 1000)
            await order.signal(OrderWorkflow.cancel_order, "changed my mind")
            result = await order.result()
            late = shop.told("late_signal", f"{name}-{ms}")
            assert (result.state, len(late)) in [(OrderState.CANCELLED, 0), (OrderState.SHIPPED, 1)]
