"""Shipping fails, steps fail permanently, data belong to others, code has bugs: every order ends and keeps no money."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateFailedError

from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.domain import Address, Order, OrderState, Policy, ShippingRequest
from order_lifecycle.workflows.order import OrderWorkflow
from order_lifecycle.workflows.shipping import ShippingWorkflow
from tests.support.orders import an_order
from tests.support.repeats import everyday, in_proof
from tests.support.shop import HAPPY_PATH, Handle, Outside, Shop
from tests.support.waiting import until

ELSEWHERE = Address(address="5 Lake Dr.", city="Temp", state="AL", zipcode="43561")


async def why_it_failed(order: Handle) -> str:
    with pytest.raises(WorkflowFailureError) as failure:
        await order.result()
    assert (await order.describe()).status is WorkflowExecutionStatus.FAILED
    cause: Any = failure.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(getattr(cause, "message", cause))


async def test_an_order_whose_shipping_fails_three_times_is_refunded(shop: Shop) -> None:
    shop.outside = Outside(always_fail=frozenset({"dispatch_carrier"}))
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        why = "dispatch_carrier: dispatch_carrier does not work, and will not"
        assert await why_it_failed(order) == f"shipping failed 3 times, last: {why}"
        assert (await shop.status(order)).errors == (why,) * 3
        for number in (1, 2, 3):  # each try is a child of its own, which ends by itself
            assert await shop.client.get_workflow_handle(f"ship-abc-001-{number}").result() is False
    assert shop.told("dispatch_failed") == [{"reason": why}] * 3
    assert shop.payments() == [("refunded", "5.00")]
    assert shop.told("order_failed") == [{"reason": f"shipping failed 3 times, last: {why}"}]


async def test_shipping_can_succeed_at_the_second_try(shop: Shop) -> None:
    shop.outside.refusals["prepare_package"] = 1
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        assert (await order.result()).state is OrderState.SHIPPED
        assert (await shop.status(order)).shipping_tries == 2
    assert [event for event in shop.events() if event != "dispatch_failed"] == HAPPY_PATH
    assert len(shop.told("dispatch_failed")) == 1


async def test_a_child_workflow_id_in_use_counts_as_a_failed_try(shop: Shop) -> None:
    """This happens after a reset of the order's workflow. That try fails, and the next has another ID."""
    other = ShippingRequest(order_id="other", attempt=1, policy=shop.policy, budget_left=timedelta(minutes=1))
    await shop.client.start_workflow(ShippingWorkflow.run, other, id="ship-abc-001-1", task_queue="nobody's")
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        assert (await order.result()).state is OrderState.SHIPPED
    assert shop.told("dispatch_failed") == [{"reason": "Workflow execution already started"}]


@pytest.mark.parametrize(
    "step",
    everyday(
        "charge_payment",
        "prepare_package",
        of=["receive_order", "validate_order", "charge_payment", "prepare_package", "ship_order"],
    ),
)
async def test_a_step_that_fails_a_few_times_is_retried(shop: Shop, step: str) -> None:
    shop.outside.errors[step] = 3
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        assert (await order.result()).state is OrderState.SHIPPED
    assert shop.events() == HAPPY_PATH


@pytest.mark.parametrize("step", ["receive_order", "validate_order", "charge_payment"])
async def test_a_refused_step_fails_the_order(shop: Shop, step: str) -> None:
    shop.outside = Outside(always_fail=frozenset({step}))
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        assert await why_it_failed(order) == f"{step} does not work, and will not"
    assert shop.row()["state"] == "failed"
    assert shop.payments() == []


class OfAnotherVersion(OrderActivities):
    """Steps whose answers this version's workflow does not know."""

    @activity.defn
    def validate_order(self, order: Order) -> str:  # type: ignore[override]
        return OrderActivities.validate_order(self, order).upper()

    @activity.defn
    def charge_payment(self, order: Order) -> str:  # type: ignore[override]
        return OrderActivities.charge_payment(self, order).upper()

    @activity.defn
    def close_order(self, order: Order, run_id: str, end: OrderState, reason: str) -> str:  # type: ignore[override]
        return OrderActivities.close_order(self, order, run_id, end, reason).upper()


def mixed(step: str) -> type[OrderActivities]:
    """Return the activities of this version, with one step of the other version."""
    activities = type("Mixed", (OrderActivities,), {step: getattr(OfAnotherVersion, step)})
    assert issubclass(activities, OrderActivities)
    return activities


@pytest.mark.parametrize("step", ["validate_order", "charge_payment"])
async def test_an_unreadable_answer_of_a_step_fails_the_order(shop: Shop, step: str) -> None:
    shop.order_activities = mixed(step)
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        assert "validation error" in await why_it_failed(order)
    assert shop.row()["state"] == "failed"
    assert shop.payments() == ([("refunded", "5.00")] if step == "charge_payment" else [])


async def test_a_refund_with_an_unreadable_answer_still_counts(shop: Shop) -> None:
    shop.outside = Outside(always_fail=frozenset({"dispatch_carrier"}))
    shop.order_activities = mixed("close_order")
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        assert "validation error" in await why_it_failed(order)
    assert shop.row()["state"] == "failed"
    assert shop.payments() == [("refunded", "5.00")]


async def test_a_step_that_fails_for_the_whole_budget_fails_the_order(shop: Shop) -> None:
    shop.outside.errors["charge_payment"] = 1000
    async with shop.working("order", "shipping"):
        order = await shop.start(policy=shop.policy.model_copy(update={"budget": timedelta(seconds=20)}))
        await order.signal(OrderWorkflow.approve_order)
        assert await why_it_failed(order) == "charge_payment failed"
    assert shop.row()["state"] == "failed"


async def test_even_with_a_small_budget_each_attempt_has_250_ms(shop: Shop) -> None:
    """A fortieth of this budget is 25 ms, which is too short for a step or a refund."""
    shop.outside = Outside(always_fail=frozenset({"dispatch_carrier"}))
    async with shop.working("order", "shipping"):
        order = await shop.start(policy=Policy(budget=timedelta(seconds=1)))
        await order.signal(OrderWorkflow.approve_order)
        await why_it_failed(order)
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in (await order.fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    # The server shortens an attempt to the time that its step has left, which is zero for "no limit".
    shortest = timedelta(milliseconds=250)
    attempts = [
        step.start_to_close_timeout.ToTimedelta()
        for step in scheduled
        if not timedelta() < step.schedule_to_close_timeout.ToTimedelta() < shortest
    ]
    assert min(attempts) == shortest
    assert shop.row()["state"] == "failed"


async def test_a_failing_refund_is_retried_until_it_succeeds(shop: Shop) -> None:
    shop.outside.errors["close_order"] = 6
    async with shop.working("order"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.status(order), lambda status: status.step == "shipping")
        await order.signal(OrderWorkflow.cancel_order)
        assert (await order.result()).state is OrderState.CANCELLED
    assert shop.payments() == [("refunded", "5.00")]


# It ends at once, whoever still waits for an answer.
@pytest.mark.filterwarnings("ignore::temporalio.workflow.UnfinishedSignalHandlersWarning")
async def test_an_order_id_of_another_run_fails_the_workflow(shop: Shop) -> None:
    """The row belongs to another run, as when Temporal's server was emptied and the database was not."""
    shop.store.receive(an_order(), "another run")
    before = shop.row(), shop.events()
    async with shop.working("order", "shipping"):
        shop.outside.hold("receive_order")
        order = await shop.start()
        await order.signal(OrderWorkflow.update_address, ELSEWHERE)
        await order.signal(OrderWorkflow.approve_order)
        shop.outside.let_go()
        assert "already in this database (received), from another run" in await why_it_failed(order)
    assert (shop.row(), shop.events()) == before


@pytest.mark.parametrize("step", ["close_order", "ship_order"])
async def test_a_refused_refund_or_last_step_is_retried_until_it_succeeds(shop: Shop, step: str) -> None:
    """Neither a refused refund nor a refused last step may end the order."""
    shop.outside.refusals[step] = 3
    async with shop.working("order", "shipping"):
        order = await shop.start_until("dispatch_carrier")
        if step == "close_order":
            await order.signal(OrderWorkflow.cancel_order, "changed my mind")
        else:
            shop.outside.let_go()
        end = OrderState.CANCELLED if step == "close_order" else OrderState.SHIPPED
        assert (await order.result()).state is end
    assert shop.payments() == [("refunded" if step == "close_order" else "charged", "5.00")]


async def test_a_workflow_ends_if_its_order_was_closed_in_the_database(shop: Shop) -> None:
    """Somebody closed it by hand. The next step is refused. The order does not continue as if it were dispatched."""
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        assert order.first_execution_run_id is not None
        shop.store.close(an_order(), order.first_execution_run_id, OrderState.CANCELLED, "by hand")
        await order.signal(OrderWorkflow.approve_order)
        result = await order.result()
    assert (result.state, result.reason) == (OrderState.CANCELLED, "the database has it as cancelled")
    assert shop.events()[-1] == "order_cancelled"


async def test_of_two_orders_with_one_payment_id_one_fails(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        orders = [await shop.start(name, payment_id="p-1") for name in ("first", "second")]
        for order in orders:
            await order.signal(OrderWorkflow.approve_order)
        for order in orders:
            with suppress(WorkflowFailureError):
                await order.result()
    assert sorted(shop.row(name)["state"] for name in ("first", "second")) == ["failed", "shipped"]
    assert shop.payments("first") + shop.payments("second") == [("charged", "5.00")]
    (failed,) = shop.told("order_failed", "first") + shop.told("order_failed", "second")
    (number,) = (name for name in ("first", "second") if shop.row(name)["state"] == "failed")
    # Which is what a validation that comes late enough says, and what the charge says.
    assert failed["reason"] in (
        "payment p-1 belongs to another order",
        f"payment p-1 does not belong to order {number}",
    )


@pytest.mark.parametrize(
    ("signal", "arguments"),
    [
        ("update_address", ["not an address"]),
        ("no_such_signal", []),
        *in_proof(
            ("update_address", []),
            ("update_address", [{"address": ""}]),
            ("cancel_order", [{"why": 1}, 2, 3]),
            ("dispatch_failed", []),
        ),
    ],
)
async def test_a_malformed_signal_is_ignored(shop: Shop, signal: str, arguments: list[Any]) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        await order.signal(signal, args=arguments)
        await order.signal(OrderWorkflow.approve_order)
        assert (await order.result()).state is OrderState.SHIPPED
    assert shop.events() == HAPPY_PATH


@pytest.mark.parametrize(
    ("update", "arguments"),
    [
        ("change_address", ["not an address"]),
        *in_proof(("change_address", []), ("cancel", [1, 2]), ("no_such_update", [])),
    ],
)
async def test_a_malformed_update_is_refused(shop: Shop, update: str, arguments: list[Any]) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        with pytest.raises(WorkflowUpdateFailedError):
            await order.execute_update(update, args=arguments)
        await order.signal(OrderWorkflow.approve_order)
        assert (await order.result()).state is OrderState.SHIPPED
    assert shop.events() == HAPPY_PATH
