"""An Update tells its caller that the change is made, or why it is not."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.service import RPCError

from order_lifecycle.domain import SHORTEST_ATTEMPT, Address, OrderState, Policy
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.repeats import everyday
from tests.support.shop import Handle, Shop
from tests.support.waiting import until

ACCEPTED = WorkflowUpdateStage.ACCEPTED
ELSEWHERE = Address(address="5 Lake Dr.", city="Temp", state="AL", zipcode="43561")


async def refusal(order: Handle, update: str, *arguments: object) -> str:
    """Return why the order refuses that Update."""
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await order.execute_update(update, args=arguments)
    return str(getattr(refused.value.cause, "message", refused.value.cause))


async def attempt(order: Handle, step: str) -> int:
    """Return the number of the current attempt of that step, as the server knows it."""
    pending = (await order.describe()).raw_description.pending_activities
    (number,) = [activity.attempt for activity in pending if activity.activity_type.name == step]
    return number


async def test_an_update_answers_once_the_change_is_made(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        result = await order.execute_update(OrderWorkflow.change_address, ELSEWHERE)
        assert (result.state, result.message) == (OrderState.AWAITING_REVIEW, "goes to 5 Lake Dr., Temp")
        assert shop.row()["address_json"] == ELSEWHERE.model_dump()  # it is so when the answer comes
        result = await order.execute_update(OrderWorkflow.approve)
        assert result.message == "approved"
        assert (await order.result()).state is OrderState.SHIPPED
    assert shop.told("carrier_dispatched") == [{"address": ELSEWHERE.model_dump()}]


async def test_an_update_does_not_answer_before_the_database_does(shop: Shop) -> None:
    """An attempt that timed out may still write the address, so an exhausted budget is not a refusal."""
    policy = Policy(budget=timedelta(seconds=2))
    async with shop.working("order", "shipping"):
        order = await shop.start(policy=policy)
        await until(lambda: shop.status(order), lambda status: status.waiting_for == "approve_order")
        with shop.place_taken("address_changed#1"):
            asked = await order.start_update(OrderWorkflow.change_address, ELSEWHERE, wait_for_stage=ACCEPTED)
            more_than_the_budget = policy.budget // SHORTEST_ATTEMPT + 2
            await until(lambda: attempt(order, "change_address"), lambda number: number >= more_than_the_budget)
        assert (await asked.result()).message == "goes to 5 Lake Dr., Temp"
        assert shop.row()["address_json"] == ELSEWHERE.model_dump()
        await order.signal(OrderWorkflow.cancel_order)
        assert (await order.result()).state is OrderState.CANCELLED
    assert shop.told("address_changed") == [ELSEWHERE.model_dump()]


async def test_an_order_answers_updates_before_it_is_received(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("receive_order")
        assert (await order.execute_update(OrderWorkflow.approve)).message == "approved"
        result = await order.execute_update(OrderWorkflow.cancel, "never mind")
        assert (result.state, result.message) == (OrderState.CANCELLED, "cancelled: never mind")
    assert shop.events() == ["order_received", "order_cancelled"]


async def test_a_second_approval_is_refused(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("receive_order")
        await order.execute_update(OrderWorkflow.approve)
        assert await refusal(order, "approve") == "already approved"
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED


async def test_a_second_cancel_is_refused(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("prepare_package")
        shop.outside.hold("close_order")
        first = await order.start_update(OrderWorkflow.cancel, "first", wait_for_stage=ACCEPTED)
        await until(lambda: shop.outside.reached("close_order"))
        assert await refusal(order, "cancel", "second") == "already being cancelled"
        shop.outside.let_go("close_order")
        assert (await first.result()).message == "cancelled: first"
        with pytest.raises(RPCError):  # the workflow has ended
            await order.execute_update(OrderWorkflow.cancel, "third")
    assert shop.told("order_cancelled") == [{"reason": "first"}]
    assert shop.payments() == [("refunded", "5.00")]


async def test_an_update_after_dispatch_is_refused(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("ship_order")
        for update, arguments, what in (
            ("change_address", [ELSEWHERE], "change the address"),
            ("cancel", ["why"], "cancel"),
            ("approve", [], "approve"),
        ):
            assert await refusal(order, update, *arguments) == f"too late to {what}: order abc-001 is dispatched"
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    assert "late_signal" not in shop.events()  # who asked knows, so there is nothing to record


async def test_an_update_that_loses_to_the_carrier_is_refused(shop: Shop) -> None:
    """The workflow accepts the Update, but only the database knows whether the carrier has the parcel."""
    async with shop.working("order", "shipping"):
        order = await shop.start_until("dispatch_carrier")
        shop.outside.hold("close_order")
        cancel = await order.start_update(OrderWorkflow.cancel, wait_for_stage=ACCEPTED)
        await until(lambda: shop.outside.reached("close_order"))
        shop.outside.let_go("dispatch_carrier")
        await shop.until_event("abc-001", "carrier_dispatched")
        assert (await refusal(order, "change_address", ELSEWHERE)).startswith("too late to change the address")
        shop.outside.let_go("close_order")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await cancel.result()
        assert "too late to cancel: order abc-001 is " in str(refused.value.cause)
        assert (await order.result()).state is OrderState.SHIPPED


@pytest.mark.parametrize(
    "end", everyday("cancelled", "failed", of=["cancelled", "cancelled without a word", "expired", "failed"])
)
async def test_an_approval_of_an_order_that_is_being_closed_is_refused(shop: Shop, end: str) -> None:
    """A caller who is told "approved" would leave, and the order would still be cancelled."""
    shop.outside.hold("close_order")
    if end == "failed":
        shop.outside.refusals["validate_order"] = 1
    async with shop.working("order", "shipping"):
        if end == "failed":
            order = await shop.start()
        else:
            order = await shop.start_until("review")
        if end.startswith("cancelled"):
            await order.signal(OrderWorkflow.cancel_order, "changed my mind" if end == "cancelled" else "")
        elif end == "expired":
            await shop.env.sleep(shop.policy.review_timeout)
        await until(lambda: shop.outside.reached("close_order"))
        why = {
            "cancelled": "changed my mind",
            "cancelled without a word": "no reason given",
            "expired": "review expired",
            "failed": "validate_order failed",
        }[end]
        assert await refusal(order, "approve") == f"too late to approve: order abc-001 is ending ({why})"
        assert (await shop.status(order)).reason == why
        await order.signal(OrderWorkflow.approve_order)
        await shop.until_event("abc-001", "late_signal")
        shop.outside.let_go()
        with suppress(WorkflowFailureError):
            await order.result()
    assert shop.row()["state"] == ("failed" if end == "failed" else "cancelled")
    assert shop.told("late_signal") == [{"reason": "approve_order"}]


async def test_the_address_can_change_between_two_tries_at_shipping(shop: Shop) -> None:
    """The Update answers, and the next try goes to the new address."""
    shop.outside.refusals["dispatch_carrier"] = 1
    async with shop.working("order", "shipping"):
        order = await shop.start_until("dispatch_carrier")
        with shop.place_taken("dispatch_failed#1"):
            shop.outside.let_go("dispatch_carrier")
            await until(shop.somebody_waits)
            shop.outside.hold_next("dispatch_carrier")
            status = await order.query(OrderWorkflow.status)
            assert (status.state, status.shipping_tries, len(status.errors)) == (OrderState.CHARGED, 1, 1)
            change = await order.start_update(OrderWorkflow.change_address, ELSEWHERE, wait_for_stage=ACCEPTED)
        assert (await change.result()).message == "goes to 5 Lake Dr., Temp"
        await until(lambda: shop.outside.reached("dispatch_carrier"))
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    assert shop.told("carrier_dispatched") == [{"address": ELSEWHERE.model_dump()}]
