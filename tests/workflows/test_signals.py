"""Each signal at each `await` of the story. test_every_wait.py has the cancel."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from order_lifecycle.domain import Address, OrderState
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.repeats import everyday, in_proof
from tests.support.shop import HAPPY_PATH, Shop
from tests.support.waiting import until

ELSEWHERE = Address(address="5 Lake Dr.", city="Temp", state="AL", zipcode="43561")

# What an order waits for, in the words of `status` -> (the step that it is, and its state then).
WAITS = {
    "receive_order": ("receive_order", None),
    "review": ("review", OrderState.AWAITING_REVIEW),
    "charge_payment": ("charge_payment", OrderState.APPROVED),
    "prepare_package": ("shipping", OrderState.CHARGED),
    "dispatch_carrier": ("shipping", OrderState.CHARGED),
    "ship_order": ("ship_order", OrderState.DISPATCHED),
}
every_wait = pytest.mark.parametrize("wait", WAITS)
before_dispatch = pytest.mark.parametrize("wait", [wait for wait in WAITS if wait != "ship_order"])


@every_wait
async def test_the_status_query_answers_at_each_await(shop: Shop, wait: str) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until(wait)
        status = await shop.status(order)
        assert (status.step, status.state) == WAITS[wait]
        waits_for = {"review": "approve_order", "shipping": "child workflow ship-abc-001-1"}
        assert status.waiting_for == waits_for.get(wait, waits_for.get(status.step, status.step))
        budget = shop.policy.review_timeout if wait == "review" else shop.policy.budget
        assert status.deadline is not None
        assert timedelta(0) < budget - (status.deadline - await shop.env.get_current_time()) < timedelta(minutes=1)
        assert str(status.total) == "5.00"

        await order.signal(OrderWorkflow.approve_order)
        if wait == "ship_order":
            await shop.until_event("abc-001", "late_signal")
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    assert [event for event in shop.events() if event != "late_signal"] == HAPPY_PATH
    assert shop.told("late_signal") == ([{"reason": "approve_order"}] if wait == "ship_order" else [])


@before_dispatch
async def test_an_address_changed_by_signal_is_shipped_to(shop: Shop, wait: str) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until(wait)
        await order.signal(OrderWorkflow.update_address, ELSEWHERE)
        if wait != "receive_order":  # an order that is not there yet changes as soon as it is
            await shop.until_event("abc-001", "address_changed")
        if wait in ("receive_order", "review"):
            await order.signal(OrderWorkflow.approve_order)
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
        assert (await shop.status(order)).address == ELSEWHERE
    assert shop.told("carrier_dispatched") == [{"address": ELSEWHERE.model_dump()}]
    assert sorted(shop.events()) == sorted([*HAPPY_PATH, "address_changed"])


@pytest.mark.parametrize("wait", everyday("review", "dispatch_carrier", of=WAITS))
async def test_a_dispatch_failed_signal_from_outside_changes_nothing(shop: Shop, wait: str) -> None:
    """A client sends it in place of the child workflow: `status` shows it, and nothing changes."""
    async with shop.working("order", "shipping"):
        order = await shop.start_until(wait)
        await order.signal(OrderWorkflow.dispatch_failed, "the van broke down")
        assert (await shop.status(order)).errors == ("the van broke down",)
        await order.signal(OrderWorkflow.approve_order)
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    assert [event for event in shop.events() if event != "late_signal"] == HAPPY_PATH


async def test_a_cancel_that_loses_to_the_carrier_does_not_refund(shop: Shop) -> None:
    """The database decides whether the carrier has the parcel, and the workflow follows it."""
    async with shop.working("order", "shipping"):
        order = await shop.start_until("dispatch_carrier")
        shop.outside.hold("close_order")
        await order.signal(OrderWorkflow.cancel_order, "changed my mind")
        await until(lambda: shop.outside.reached("close_order"))
        shop.outside.let_go("dispatch_carrier")
        await shop.until_event("abc-001", "carrier_dispatched")
        shop.outside.let_go("close_order")
        assert (await order.result()).state is OrderState.SHIPPED
    assert shop.told("late_signal") == [{"reason": "cancelled: changed my mind"}]


async def test_a_cancel_while_a_failed_order_is_closed_is_recorded_as_late(shop: Shop) -> None:
    """The cancel changes nothing, but is recorded."""
    shop.outside.refusals["charge_payment"] = 1
    shop.outside.hold("close_order")
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.outside.reached("close_order"))
        await order.signal(OrderWorkflow.cancel_order, "changed my mind")
        shop.outside.let_go("close_order")
        with pytest.raises(WorkflowFailureError):
            await order.result()
    assert shop.events()[-2:] == ["order_failed", "late_signal"]
    assert shop.told("late_signal") == [{"reason": "cancelled: changed my mind"}]


async def test_late_signals_are_recorded_and_change_nothing(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("ship_order")
        await order.signal(OrderWorkflow.cancel_order, "too late")
        await order.signal(OrderWorkflow.update_address, ELSEWHERE)
        await until(lambda: len(shop.told("late_signal")) == 2)
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    late = sorted(payload["reason"] for payload in shop.told("late_signal"))
    assert late == ["cancel_order", "update_address"]
    assert shop.row()["address_json"]["city"] == "Columbus"


@pytest.mark.parametrize(
    ("signal", "arguments"),
    [
        ("cancel_order", ["why"]),
        *in_proof(("approve_order", []), ("update_address", [ELSEWHERE]), ("dispatch_failed", ["why"])),
    ],
)
async def test_a_signal_after_the_end_is_refused(shop: Shop, signal: str, arguments: list[object]) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        await order.result()
        with pytest.raises(RPCError):
            await order.signal(signal, args=arguments)
        status = await shop.status(order)
        assert (status.state, status.waiting_for) == (OrderState.SHIPPED, None)
    assert shop.events() == HAPPY_PATH


async def test_of_several_addresses_the_last_one_counts(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("receive_order")
        for number in range(1, 6):
            await order.signal(
                OrderWorkflow.update_address, ELSEWHERE.model_copy(update={"address": f"{number} Lake Dr."})
            )
        await order.signal(OrderWorkflow.approve_order)
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    assert [payload["address"] for payload in shop.told("address_changed")] == [f"{n} Lake Dr." for n in range(1, 6)]
    assert shop.row()["address_json"]["address"] == "5 Lake Dr."


async def test_an_order_without_a_review_is_cancelled_at_the_deadline(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        status = await shop.status(order)
        assert status.deadline is not None
        assert status.deadline - await shop.env.get_current_time() > timedelta(days=2, hours=23)
        result = await order.result()  # skips three days
        assert (result.state, result.reason) == (OrderState.CANCELLED, "review expired")
        assert await shop.env.get_current_time() >= status.deadline
    assert shop.events() == ["order_received", "order_validated", "review_requested", "order_cancelled"]


async def test_a_long_review_does_not_use_up_the_budget(shop: Shop) -> None:
    """The budget of an hour is for the work on an order. A review of two days does not count."""
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        await shop.env.sleep(timedelta(days=2))
        await order.signal(OrderWorkflow.update_address, ELSEWHERE)
        await until(lambda: shop.status(order), lambda status: status.address == ELSEWHERE)
        await order.signal(OrderWorkflow.approve_order)
        assert (await order.result()).state is OrderState.SHIPPED
    assert "late_signal" not in shop.events()
    assert shop.told("carrier_dispatched") == [{"address": ELSEWHERE.model_dump()}]
